//! The directory a change is made in: made if it is missing, and synced after the change.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{Key, MissingParents};
use crate::platform::Health;
use crate::store::fs::errno::{TARGET, is_passing, is_stale};
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::standing;
use crate::store::fs::sync::Scope;
use crate::store::quota::ledger::Quotas;
use crate::store::staging::pending_syncs::{DirCreation, PendingSyncs, UnsyncedDirs};
use crate::store::staging::synced_entries::SyncedEntries;

const NO_PARENT: Failure = Failure::Conflict("the folder for it is not there: make that first");

/// Times a walk that met a removal is repeated.
const RACE_TRIES: u32 = 8;

/// A directory for a change, with the directories that were made on the way to it.
#[derive(Debug)]
pub(crate) struct ResolvedParent {
    pub(crate) dir: Arc<Dir>,
    made: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    parent: Arc<Dir>,
    making: DirCreation,
    name: Box<str>,
}

impl ResolvedParent {
    /// One that was there.
    pub(crate) fn found(dir: Arc<Dir>) -> Self {
        Self { dir, made: Vec::new() }
    }

    /// True if the directory itself was made.
    pub(crate) fn is_new(&self) -> bool {
        self.made.last().is_some_and(|step| step.making.0 == self.dir.id)
    }
}

/// The directories in which changes are made.
#[derive(Debug)]
pub(crate) struct Parents {
    fs: Arc<FileSystem>,
    quotas: Arc<Quotas>,
    pub(crate) unsynced: UnsyncedDirs,
    synced_entries: SyncedEntries,
}

impl Parents {
    pub(crate) fn new(fs: Arc<FileSystem>, quotas: Arc<Quotas>) -> Self {
        Self { fs, quotas, unsynced: UnsyncedDirs::default(), synced_entries: SyncedEntries::default() }
    }

    /// The directory at a path, or the one above it that is there: what is made in between passes on what it has.
    pub(crate) fn nearest_dir(&self, mut path: &str) -> Option<Arc<Dir>> {
        loop {
            match self.fs.dir(path) {
                Ok(dir) => return Some(dir),
                Err(Errno::NOENT) if !self.fs.rest(path).is_empty() => {
                    path = path.rsplit_once('/').map_or("", |(above, _)| above);
                }
                Err(_) => return None,
            }
        }
    }

    /// A directory for a change; what is missing of it is made.
    pub(crate) fn make_parents(&self, path: &str) -> Result<ResolvedParent, StoreError> {
        match self.fs.dir(path) {
            Ok(dir) => return Ok(ResolvedParent::found(dir)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.fs.change_error("open folder", path, errno)),
        }
        self.quotas.check_counted(path)?;
        for _ in 0..RACE_TRIES {
            let mut parent = ResolvedParent::found(self.fs.root());
            let stepped = self.fs.rest(path).split('/').try_for_each(|part| self.step(&mut parent, part));
            match stepped {
                Ok(()) => return Ok(parent),
                // A directory was removed after the walk had passed it: again, from the root.
                Err(Errno::NOENT) if !self.fs.is_root_gone() => self.undo(parent),
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    self.undo(parent);
                    return Err(self.fs.change_error("mkdirat", path, errno));
                }
            }
        }
        Err(self.fs.gone("mkdirat", path))
    }

    /// A directory for a change, made only where that is asked for.
    pub(crate) fn resolve(&self, path: &str, missing: MissingParents) -> Result<ResolvedParent, StoreError> {
        match missing {
            MissingParents::Make => self.make_parents(path),
            MissingParents::Refuse => match self.fs.dir(path) {
                Ok(dir) => Ok(ResolvedParent::found(dir)),
                Err(Errno::NOENT) => Err(StoreError::refused(NO_PARENT, "open folder")),
                Err(errno) => Err(self.fs.change_error("open folder", path, errno)),
            },
        }
    }

    /// A directory that is made where nothing has its name, and all above it is there.
    pub(crate) fn make_new_dir(&self, key: &Key) -> Result<ResolvedParent, StoreError> {
        let (path, taken) = (key.as_str(), || StoreError::refused(Failure::PreconditionFailed, "mkdirat"));
        if key.is_root() {
            return Err(taken());
        }
        let mut parent = self.resolve(key.parent(), MissingParents::Refuse)?;
        let there = standing(parent.dir.fd.as_fd(), key.name());
        if there.map_err(|e| self.fs.change_error("fstatat", path, e))?.is_some() {
            return Err(taken());
        }
        self.quotas.check_counted(path)?;
        match self.step(&mut parent, key.name()) {
            Ok(()) if parent.is_new() => Ok(parent),
            Ok(()) => Err(taken()), // another request was faster
            Err(Errno::NOENT) => Err(self.fs.gone("mkdirat", path)),
            Err(errno) => Err(self.fs.change_error("mkdirat", path, errno)),
        }
    }

    fn step(&self, parent: &mut ResolvedParent, part: &str) -> Result<(), Errno> {
        let child = match self.fs.child(&parent.dir, part) {
            Err(Errno::NOENT) => {
                let (child, making) = self.make_child(&parent.dir, part)?;
                if let Some(making) = making {
                    parent.made.push(Step { parent: Arc::clone(&parent.dir), making, name: part.into() });
                }
                child
            }
            other => other?,
        };
        parent.dir = child;
        Ok(())
    }

    fn make_child(&self, at: &Arc<Dir>, part: &str) -> Result<(Arc<Dir>, Option<DirCreation>), Errno> {
        self.quotas.making_dir(&at.path, part);
        let make = || {
            match mkdirat(&at.fd, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => match self.fs.child(at, part) {
                    Ok(child) => Ok((child, true)),
                    Err(errno) => {
                        // It is not recorded yet: left there, it would pass for an old directory,
                        // with an own entry that need not be synced.
                        let _ = unlinkat(&at.fd, part, AtFlags::REMOVEDIR);
                        Err(errno)
                    }
                },
                Err(Errno::EXIST) => Ok((self.fs.child(at, part)?, false)),
                Err(errno) => Err(errno),
            }
        };
        if self.fs.durable {
            return self.unsynced.make(at, make);
        }
        // Nothing is syncs, so nothing is noted; the number is only there to be forgotten.
        let (child, made) = make()?;
        let making = made.then_some((child.id, u64::MAX));
        Ok((child, making))
    }

    /// The change failed: removes the directories made for it, unless they are in use already.
    pub(crate) fn undo(&self, parent: ResolvedParent) {
        for step in parent.made.iter().rev() {
            if unlinkat(&step.parent.fd, &*step.name, AtFlags::REMOVEDIR).is_ok() {
                self.unsynced.forget(&[step.making]);
            }
        }
    }

    pub(crate) fn sync_dir(&self, dir: &Dir, changes: usize) -> Result<(), Errno> {
        // After one failed sync the kernel may report success for lost pages: believe none.
        if self.fs.health.state() == Health::Degraded {
            return Err(Errno::IO);
        }
        let synced = (self.fs.sync.names)(dir.fd.as_fd()).inspect_err(|&errno| {
            let path = &dir.path;
            log::error!(
                target: TARGET,
                "store.fsync_failed folder={path:?} cause={errno}: state unknown of {changes} changes"
            );
            if !is_passing(errno) {
                self.fs.degrade("fsync folder", errno);
            }
            if is_stale(errno) {
                self.reopen_unsynced(dir);
            }
        });
        // Another sync may have failed while this one ran.
        synced.and_then(|()| self.fs.check_synced().map_err(|_| Errno::IO))
    }

    /// Later changes may need the sync of this directory as well: without another descriptor none of them could
    /// be acknowledged before a restart.
    fn reopen_unsynced(&self, stale: &Dir) {
        // The first opens the root again if that is stale too.
        if self.fs.open_own(&stale.path, dir_flags(), false).is_ok()
            && let Ok(fresh) = self.fs.dir(&stale.path)
        {
            self.unsynced.replace(stale.id, &fresh);
        }
    }

    /// The syncs of a change inside `dir`: the directory itself, and every directory above it that is
    /// so new that its own entry may not be durable.
    pub(crate) fn syncs_for(&self, dir: &Arc<Dir>) -> PendingSyncs {
        let mut syncs = self.syncs_above(dir);
        if self.fs.durable {
            syncs.add(&self.synced_for(dir));
        }
        syncs
    }

    /// The same without the directory itself.
    pub(crate) fn syncs_above(&self, dir: &Arc<Dir>) -> PendingSyncs {
        if !self.fs.durable {
            return PendingSyncs::default();
        }
        let above = self.unsynced.above(dir.id);
        let mut syncs = PendingSyncs { created: above.created, ..PendingSyncs::default() };
        for dir in &above.dirs {
            syncs.add(&self.synced_for(dir));
        }
        self.add_entries_above(dir, &mut syncs);
        syncs
    }

    /// Where servers share the root: the syncs of each directory on the way to `dir` whose entry there this server has
    /// not synced itself. A sync of the whole file system covers them anyway.
    fn add_entries_above(&self, dir: &Dir, syncs: &mut PendingSyncs) {
        if !self.fs.is_shared() || self.fs.sync.scope == Scope::Everything || self.fs.rest(&dir.path).is_empty() {
            return;
        }
        let mut at = self.fs.root();
        for part in self.fs.rest(&dir.path).split('/') {
            // It was moved or removed since: then there is no way to it that could be kept.
            let Ok(child) = self.fs.child(&at, part) else { return };
            let (entry, is_synced) = self.synced_entries.look_up(&at, part, &child);
            if !is_synced {
                syncs.add(&at);
                syncs.entries.push(entry);
            }
            at = child;
        }
    }

    /// All directories of these were synced.
    pub(crate) fn were_synced(&self, syncs: &PendingSyncs) {
        self.unsynced.forget(&syncs.created);
        self.synced_entries.were_synced(&syncs.entries);
    }

    /// The directory to sync so that the names in `dir` are on the disk.
    pub(crate) fn synced_for(&self, dir: &Arc<Dir>) -> Arc<Dir> {
        match self.fs.sync.scope {
            Scope::Dir => Arc::clone(dir),
            Scope::Everything => self.fs.root(),
        }
    }
}
