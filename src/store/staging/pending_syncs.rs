//! What must be synced before a change may be acknowledged, and which directories are not durable yet.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use crate::platform::Outcome;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::DirId;
use crate::store::mutex::lock;
use crate::store::staging::synced_entries::SyncedEntry;
use crate::store::staging::trash::Removal;
use crate::upload::UploadId;

/// What a change leaves to be done.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) outcome: Outcome,
    /// Before the outcome is acknowledged.
    pub(crate) syncs: PendingSyncs,
    /// A large file that lost its name: to be closed where that may take a while.
    pub(crate) displaced: Option<OwnedFd>,
}

/// What must be synced before a change may be acknowledged.
#[derive(Debug, Default)]
pub(crate) struct PendingSyncs {
    /// Directories with changed entries; the last is synced first.
    pub(crate) dirs: Vec<Arc<Dir>>,
    /// Directories that are durable once all of `dirs` are synced.
    pub(crate) created: Vec<DirCreation>,
    /// Entries of directories that were synced once all of `dirs` are.
    pub(crate) entries: Vec<SyncedEntry>,
    /// Uploads that another was concatenated from: removed once all of `dirs` are synced.
    pub(crate) joined: Vec<UploadId>,
    /// Trees in the trash: emptied once all of `dirs` are synced.
    pub(crate) discarded: Vec<Removal>,
}

impl PendingSyncs {
    /// Adds the syncs of another change.
    pub(crate) fn join(&mut self, other: Self) {
        for dir in &other.dirs {
            self.add(dir);
        }
        self.created.extend(other.created);
        self.entries.extend(other.entries);
        self.joined.extend(other.joined);
        self.discarded.extend(other.discarded);
    }

    /// Has a directory synced before all others.
    pub(crate) fn put_first(&mut self, dir: &Dir) {
        if let Some(at) = self.dirs.iter().position(|one| one.id == dir.id) {
            let dir = self.dirs.remove(at);
            self.dirs.push(dir);
        }
    }

    pub(crate) fn add(&mut self, dir: &Arc<Dir>) {
        if !self.dirs.iter().any(|one| one.id == dir.id) {
            self.dirs.push(Arc::clone(dir));
        }
    }
}

/// Directories that were made or moved and whose entry in their parent is perhaps not durable. A second
/// upload into such a directory must not be acknowledged before the first one's syncs, so it owes them
/// too.
#[derive(Debug, Default)]
pub(crate) struct UnsyncedDirs(pub(crate) Mutex<New>);

/// The parent of each new directory, and which making it was.
#[derive(Debug, Default)]
pub(crate) struct New {
    pub(crate) parents: HashMap<DirId, (u64, Arc<Dir>)>,
    /// Where directories were moved to. What is under one cannot be told from its inode, so as long
    /// as a move is not durable, every change must sync it.
    pub(crate) moves: BTreeMap<u64, Arc<Dir>>,
    next: u64,
}

/// One making of one directory, or one move into it. The number tells it from a later directory with the
/// same inode.
pub(crate) type DirCreation = (DirId, u64);

impl UnsyncedDirs {
    /// Makes a directory in `parent`; no `DirCreation` if it was there already. The lock is held
    /// meanwhile, so that no thread finds the new directory on the disk and not in here; only
    /// workers take it, and only to make directories and to find out what to sync.
    pub(crate) fn make(
        &self,
        parent: &Arc<Dir>,
        make: impl FnOnce() -> Result<(Arc<Dir>, bool), Errno>,
    ) -> Result<(Arc<Dir>, Option<DirCreation>), Errno> {
        let mut new = lock(&self.0);
        let (child, made) = make()?;
        if !made {
            return Ok((child, None));
        }
        let number = new.number();
        new.parents.insert(child.id, (number, Arc::clone(parent)));
        let making = (child.id, number);
        Ok((child, Some(making)))
    }

    /// Moves a directory to `parent`: `place` gives nothing if it did not. The lock is held for the same
    /// reason as in `make`.
    pub(crate) fn move_to<T, E>(
        &self,
        parent: &Arc<Dir>,
        place: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let mut new = lock(&self.0);
        let moved = place()?;
        if moved.is_some() {
            let number = new.number();
            new.moves.insert(number, Arc::clone(parent));
        }
        Ok(moved)
    }

    /// They are durable, or gone.
    pub(crate) fn forget(&self, makings: &[DirCreation]) {
        if !makings.is_empty() {
            let mut new = lock(&self.0);
            for (id, number) in makings {
                new.moves.remove(number);
                if new.parents.get(id).is_some_and(|(known, _)| known == number) {
                    new.parents.remove(id);
                }
            }
        }
    }

    /// Has `fresh` synced instead of the directory that was opened before by its path.
    pub(crate) fn replace(&self, stale: DirId, fresh: &Arc<Dir>) {
        let mut new = lock(&self.0);
        let New { parents, moves, .. } = &mut *new;
        for dir in parents.values_mut().map(|(_, parent)| parent).chain(moves.values_mut()) {
            if dir.id == stale {
                *dir = Arc::clone(fresh);
            }
        }
        // Mounted again, the file system may have numbered it again.
        if let Some(making) = parents.remove(&stale) {
            parents.insert(fresh.id, making);
        }
    }

    pub(crate) fn above(&self, id: DirId) -> PendingSyncs {
        let new = lock(&self.0);
        let mut syncs = PendingSyncs::default();
        for (number, parent) in &new.moves {
            syncs.created.push((parent.id, *number));
            syncs.add(parent);
            new.climb(parent.id, &mut syncs);
        }
        new.climb(id, &mut syncs);
        syncs
    }
}

impl New {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn climb(&self, mut id: DirId, syncs: &mut PendingSyncs) {
        while let Some((number, parent)) = self.parents.get(&id) {
            // Been here; or a directory that was moved into one it once held makes a circle.
            if syncs.created.contains(&(id, *number)) {
                break;
            }
            syncs.created.push((id, *number));
            syncs.add(parent);
            id = parent.id;
        }
    }
}
