//! Directories that lose their name with all that is in them: moved to the trash, or replaced. What replaces one
//! changes places with it there, so that something has the name at every moment.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Stat, renameat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{Key, Precondition};
use crate::store::fs::errno::{SiteErrno, TARGET};
use crate::store::fs::linux;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, At, Kind, standing};
use crate::store::fs::sync::Scope;
use crate::store::namespace::Namespace;
use crate::store::quota::ledger::MovingDir;
use crate::store::staging::notes::{self, Note};
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::staging::trash::Removal;

const READ_ONLY: Failure = Failure::Denied("the server is read-only");
const MOUNTED: Failure = Failure::Conflict("another file system is mounted in that folder");
const INTO_ITSELF: Failure = Failure::Conflict("a folder cannot move into itself");
const NO_EXCHANGE: Failure = Failure::Conflict("this file system cannot replace a folder: remove it first");

/// Where a directory will be in the trash: all that can be refused has been.
#[derive(Debug)]
pub(super) struct Bin {
    trash: Arc<Dir>,
    /// `.filewharf`, if the trash was just made.
    above: Option<Arc<Dir>>,
    name: String,
    charged: Option<MovingDir>,
    /// Of what replaces it.
    note: Option<Note>,
}

/// What is about to replace something, and where that will be.
pub(super) struct Replacement {
    bin: Bin,
    note: Note,
}

impl Bin {
    pub(super) fn at(&self) -> At<'_> {
        (self.trash.fd.as_fd(), &self.name)
    }

    /// The same place, for what has come there and counts for quotas until it is removed.
    pub(super) fn holding(&self, charged: MovingDir) -> Self {
        let Self { trash, above, name, .. } = self;
        let (trash, above, name) = (Arc::clone(trash), above.clone(), name.clone());
        Self { trash, above, name, charged: Some(charged), note: None }
    }

    /// The removal of what is in it.
    pub(super) fn removal(self) -> Removal {
        let Self { trash, name, charged, note, .. } = self;
        Removal::new(trash, (&name, &name), (charged, note))
    }

    /// Moves a directory into it.
    pub(super) fn take(&self, (dir, name): At<'_>) -> Result<(), Errno> {
        renameat(dir, name, &self.trash.fd, &*self.name)
    }

    /// What is in it is to be removed, once it is in the trash for good. Its old place must not forget it before.
    pub(super) fn empty(self, names: &Namespace, syncs: &mut PendingSyncs) {
        if names.fs.durable {
            for own in self.above.iter().chain([&self.trash]) {
                let synced = names.parents.synced_for(own);
                syncs.add(&synced);
                syncs.put_first(&synced);
            }
        }
        syncs.discarded.push(self.removal());
    }
}

/// Refuses a directory in which another file system is mounted.
pub(super) fn refuse_mounts(fs: &FileSystem, key: &Key) -> Result<(), StoreError> {
    if fs.mounts.is_any_in(key.as_str()) { Err(StoreError::refused(MOUNTED, "mounts")) } else { Ok(()) }
}

/// Why two names could not change places.
pub(super) fn exchange_error(fs: &FileSystem, path: &str, errno: Errno) -> StoreError {
    match errno {
        Errno::NOSYS | Errno::NOTSUP | Errno::INVAL => StoreError::refused(NO_EXCHANGE, "renameat2"),
        errno => fs.change_error("renameat2", path, errno),
    }
}

impl Namespace {
    /// For what has this name.
    pub(super) fn bin_for(&self, key: &Key) -> Result<Bin, StoreError> {
        refuse_mounts(&self.fs, key)?;
        let bin = self.empty_bin(key.as_str())?;
        Ok(Bin { charged: Some(self.quotas.removing_dir(key)?), ..bin })
    }

    /// For what does not count for a quota, or is to have this path.
    pub(super) fn empty_bin(&self, path: &str) -> Result<Bin, StoreError> {
        let Some(dirs) = &self.staging.dirs else { return Err(StoreError::refused(READ_ONLY, "trash")) };
        let opened = self.staging.trash.open(&self.fs.root());
        let (trash, above) = opened.map_err(|(site, errno)| self.fs.change_error(site, path, errno))?;
        Ok(Bin { trash, above, name: dirs.trash_name(path), charged: None, note: None })
    }

    /// What has the name `from` is about to replace what has another name, if one of them is a directory: then where it is
    /// is noted for good.
    pub(super) fn begin_replacement(
        &self,
        (from, stat): (&Key, &Stat),
        (target, to): (&Dir, &Key),
        precondition: &Precondition,
    ) -> Result<Option<Replacement>, StoreError> {
        let refused = |failure| Err(StoreError::refused(failure, "rename"));
        let failed = |site, errno| self.fs.change_error(site, to.as_str(), errno);
        let there = standing(target.fd.as_fd(), to.name()).map_err(|errno| failed("fstatat", errno))?;
        if from == to || !there.is_some_and(|there| is_other_kind(stat, &there)) {
            return Ok(None);
        }
        if !matches!(precondition, Precondition::None | Precondition::Present) {
            return refused(Failure::PreconditionFailed);
        }
        if is_inside(from, to) || is_inside(to, from) {
            return refused(INTO_ITSELF);
        }
        let bin = self.bin_for(to)?;
        let (notes, above) = self.staging.notes.open(&self.fs.root()).map_err(|(site, errno)| failed(site, errno))?;
        let noted = (stat::id(stat).1, from.as_str());
        let made = Note::make(notes, &bin.name, noted);
        let (note, file) = made.map_err(|errno| failed("write a note", errno))?;
        if let Err(errno) = self.sync_note(&note, &file, above.as_deref()) {
            note.remove();
            return Err(failed("fsync a note", errno));
        }
        Ok(Some(Replacement { bin, note }))
    }

    fn sync_note(&self, note: &Note, file: &OwnedFd, above: Option<&Dir>) -> Result<(), Errno> {
        if !self.fs.durable {
            return Ok(());
        }
        (self.fs.sync.content)(file.as_fd(), false)?;
        // Where all is synced at once, nothing that comes after it is kept without it.
        match self.fs.sync.scope {
            Scope::Dir => above.into_iter().chain([&*note.dir]).try_for_each(|dir| self.parents.sync_dir(dir, 1)),
            Scope::Everything => Ok(()),
        }
    }

    /// It gets the name `to`. What had that is in the trash then.
    pub(super) fn replace(
        &self,
        Replacement { mut bin, note }: Replacement,
        from: (BorrowedFd<'_>, &Key, &Stat),
        to: (BorrowedFd<'_>, &Key),
    ) -> Result<Bin, StoreError> {
        if let Err(error) = self.exchange(&bin, from, to) {
            match standing(bin.trash.fd.as_fd(), &bin.name) {
                Ok(None) => note.remove(),
                _ => log::error!(
                    target: TARGET,
                    "/{} is in .filewharf/trash/{}, and is put back by the next start",
                    from.1,
                    bin.name
                ),
            }
            return Err(error);
        }
        bin.note = Some(note);
        Ok(bin)
    }

    fn exchange(
        &self,
        bin: &Bin,
        (source, from, stat): (BorrowedFd<'_>, &Key, &Stat),
        (target, to): (BorrowedFd<'_>, &Key),
    ) -> Result<(), StoreError> {
        let is_dir = stat::kind(stat) == Kind::Dir;
        let _moving = if is_dir { self.quotas.moving_dir(from, to)? } else { None };
        let moving = if is_dir { None } else { self.quotas.moving((from, to), (stat::len(stat), None))? };
        let (old, new) = ((source, from.name()), bin.at());
        bin.take(old).map_err(|errno| self.fs.change_error("renameat", to.as_str(), errno))?;
        linux::rename_exchange(new.0, new.1, target, to.name()).map_err(|errno| {
            let _ = self.place(new, old, true);
            exchange_error(&self.fs, to.as_str(), errno)
        })?;
        if let Some(moving) = moving {
            moving.done();
        }
        Ok(())
    }

    /// Puts back what processes that ended had taken away to replace something, and had not yet.
    pub(crate) fn put_back(&self) {
        let (root, Some(dirs)) = (self.fs.root(), &self.staging.dirs) else { return };
        let Ok(notes) = notes::find(root.fd.as_fd()) else { return };
        let staging = dirs.current();
        for note in notes.iter().filter(|note| !staging.is_of_living(note.name())) {
            match self.put_back_one(&root, note) {
                Ok(None) => {}
                Ok(Some(path)) => {
                    log::info!(target: TARGET, "put back {path:?}, which was about to replace something");
                }
                Err((site, cause)) => {
                    let name = note.name();
                    log::error!(target: TARGET, "cannot put back .filewharf/trash/{name}: {site}: {cause}");
                    continue;
                }
            }
            note.remove();
        }
    }

    /// The path of what was put back, unless that was not needed.
    fn put_back_one(&self, root: &Dir, note: &Note) -> Result<Option<String>, SiteErrno> {
        let (trash, _) = self.staging.trash.open(root)?;
        let there = standing(trash.fd.as_fd(), note.name()).map_err(|errno| ("fstatat trash", errno))?;
        let Some(there) = there else { return Ok(None) };
        let (inode, path) = note.read().ok_or(("read .filewharf/replacing", Errno::INVAL))?;
        if stat::id(&there).1 != inode {
            return Ok(None);
        }
        let (above, last) = path.rsplit_once('/').unwrap_or(("", &path));
        let dir = self.fs.dir(above).map_err(|errno| ("open folder", errno))?;
        self.place((trash.fd.as_fd(), note.name()), (dir.fd.as_fd(), last), true)?;
        if self.fs.durable {
            let synced = [&dir, &trash].into_iter().try_for_each(|dir| self.parents.sync_dir(dir, 1));
            synced.map_err(|errno| ("fsync folder", errno))?;
        }
        Ok(Some(path))
    }
}

fn is_inside(one: &Key, other: &Key) -> bool {
    one.as_str().strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// True unless both are files: then one cannot take the place of the other in one step.
fn is_other_kind(stat: &Stat, there: &Stat) -> bool {
    let kinds = (stat::kind(stat), stat::kind(there));
    matches!(kinds, (Kind::Dir, Kind::Dir | Kind::File) | (Kind::File, Kind::Dir))
}
