//! Group commit: changes in the same folder share one `fsync` of it.
//!
//! Whoever finds nobody syncing a folder leads: it takes all that wait, syncs once, and does so
//! again while more came. The others go back to work at once. A sync only ever counts for changes
//! that had registered before it began.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fault::TARGET;
use super::jobs::{Finished, Job};
use super::meta::FolderId;
use super::resolve::folder_flags;
use super::shared::{Disk, Folder};
use super::sync::Scope;
use crate::error::StoreError;
use crate::os::workers::{Lane, lock};
use crate::platform::Health;

/// What must be synced before a change may be acknowledged.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Folders whose entries changed; the last is synced first.
    pub(super) folders: Vec<Arc<Folder>>,
    /// Folders that are durable once all of `folders` are synced.
    pub(super) made: Vec<Making>,
}

/// A change that has happened and is not durable yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// What is told when it is.
    pub(super) finished: Finished,
    /// What is missing.
    pub(super) owed: Owed,
}

/// Who waits for the sync of which folder. A folder is in the map while somebody leads.
#[derive(Debug, Default)]
pub(super) struct Syncs(Mutex<BTreeMap<FolderId, Vec<Pending>>>);

impl Syncs {
    /// Registers; gives the change back if nobody leads, which makes the caller the leader.
    fn join(&self, folder: FolderId, pending: Pending) -> Option<Pending> {
        match lock(&self.0).entry(folder) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push(pending);
                None
            }
            Entry::Vacant(place) => {
                place.insert(Vec::new());
                Some(pending)
            }
        }
    }

    /// Those who came since; an empty answer ends the leading.
    fn next_batch(&self, folder: FolderId) -> Vec<Pending> {
        let mut map = lock(&self.0);
        let batch = map.get_mut(&folder).map(std::mem::take).unwrap_or_default();
        if batch.is_empty() {
            map.remove(&folder);
        }
        batch
    }
}

impl Disk {
    /// Finishes a change once everything it owes is synced, here or by a leader elsewhere.
    pub(super) fn settle(&self, pending: Pending) {
        self.settle_many(vec![pending]);
    }

    /// The same for several: those that owe the same folder share its sync.
    pub(super) fn settle_many(&self, all: Vec<Pending>) {
        let mut led: Option<(Arc<Folder>, Vec<Pending>)> = None;
        for mut pending in all {
            let Some(folder) = pending.owed.folders.pop() else {
                self.made.forget(&pending.owed.made);
                self.finished.push(pending.finished);
                continue;
            };
            match &mut led {
                Some((leading, batch)) if leading.id == folder.id => batch.push(pending),
                Some(_) => {
                    // Not here: leading another folder could keep this one waiting.
                    pending.owed.folders.push(folder);
                    self.lanes.push(Lane::Sync, Job::Settle(pending));
                }
                None => led = self.syncs.join(folder.id, pending).map(|first| (folder, vec![first])),
            }
        }
        if let Some((folder, batch)) = led {
            self.lead(&folder, batch);
        }
    }

    fn lead(&self, folder: &Folder, mut batch: Vec<Pending>) {
        while !batch.is_empty() {
            let result = self.sync_folder(folder, batch.len());
            if result.is_ok() {
                self.failures.of_commit(None);
            }
            for pending in batch {
                match result {
                    Err(errno) => self.fail(pending, errno),
                    Ok(()) if pending.owed.folders.is_empty() => self.settle(pending),
                    // Not here: leading another folder could keep this one waiting.
                    Ok(()) => self.lanes.push(Lane::Sync, Job::Settle(pending)),
                }
            }
            batch = self.syncs.next_batch(folder.id);
        }
    }

    pub(super) fn sync_folder(&self, folder: &Folder, changes: usize) -> Result<(), Errno> {
        // After one failed sync the kernel may report success for lost pages: believe none.
        if self.health() == Health::Degraded {
            return Err(Errno::IO);
        }
        let synced = (self.sync.names)(folder.fd.as_fd()).inspect_err(|&errno| {
            let path = &folder.path;
            log::error!(
                target: TARGET,
                "store.fsync_failed folder={path:?} cause={errno}: state unknown of {changes} changes"
            );
            if !super::fault::is_passing(errno) {
                self.degrade("fsync folder", errno);
            }
            if super::fault::is_stale(errno) {
                self.reopen_owed(folder);
            }
        });
        // Another sync may have failed while this one ran.
        if synced.is_ok() && self.health() == Health::Degraded { Err(Errno::IO) } else { synced }
    }

    /// Later changes may owe the sync of this folder as well: without another descriptor none of them could
    /// be acknowledged before a restart.
    fn reopen_owed(&self, stale: &Folder) {
        // The first opens the root again if that is stale too.
        if self.open_beneath(&stale.path, folder_flags(), false).is_ok()
            && let Ok(fresh) = self.folder(&stale.path)
        {
            self.made.replace(stale.id, &fresh);
        }
    }

    fn fail(&self, mut pending: Pending, errno: Errno) {
        let failure = super::fault::inside(errno);
        self.failures.of_commit(Some(failure));
        pending.finished.result = Err(StoreError { failure, site: "fsync folder", source: Some(errno.into()) });
        self.finished.push(pending.finished);
    }

    /// What a change inside `folder` owes: the folder itself, and every folder above it that is
    /// so new that its own entry may not be durable, whoever made or moved it.
    pub(super) fn owes(&self, folder: &Arc<Folder>) -> Owed {
        let mut owed = self.owes_way(folder);
        if self.durable {
            owed.add(&self.synced_for(folder));
        }
        owed
    }

    /// The same for the way to a folder only.
    pub(super) fn owes_way(&self, folder: &Arc<Folder>) -> Owed {
        if !self.durable {
            return Owed::default();
        }
        let above = self.made.above(folder.id);
        let mut owed = Owed { folders: Vec::new(), made: above.made };
        for folder in &above.folders {
            owed.add(&self.synced_for(folder));
        }
        owed
    }

    /// Whose sync brings the names in `folder` to the disk.
    fn synced_for(&self, folder: &Arc<Folder>) -> Arc<Folder> {
        match self.sync.scope {
            Scope::Folder => Arc::clone(folder),
            Scope::Everything => self.root(),
        }
    }
}

impl Owed {
    /// Adds what another change owes.
    pub(super) fn join(&mut self, other: Self) {
        for folder in &other.folders {
            self.add(folder);
        }
        self.made.extend(other.made);
    }

    /// Has a folder synced before all others that are owed.
    pub(super) fn put_first(&mut self, folder: &Folder) {
        if let Some(at) = self.folders.iter().position(|one| one.id == folder.id) {
            let folder = self.folders.remove(at);
            self.folders.push(folder);
        }
    }

    fn add(&mut self, folder: &Arc<Folder>) {
        if !self.folders.iter().any(|one| one.id == folder.id) {
            self.folders.push(Arc::clone(folder));
        }
    }
}

/// Folders that were made or moved and whose entry in their parent is perhaps not durable. A second
/// upload into such a folder must not be acknowledged before the first one's syncs, so it owes them
/// too.
#[derive(Debug, Default)]
pub(super) struct Made(pub(super) Mutex<New>);

/// The parent of each new folder, and which making it was.
#[derive(Debug, Default)]
pub(super) struct New {
    pub(super) parents: BTreeMap<FolderId, (u64, Arc<Folder>)>,
    /// Where folders were moved to. What is beneath one cannot be told from its inode, so as long
    /// as a move is not durable, every change owes it.
    pub(super) moves: BTreeMap<u64, Arc<Folder>>,
    next: u64,
}

/// One making of one folder, or one move into it. The number tells it from a later folder with the
/// same inode.
pub(super) type Making = (FolderId, u64);

impl Made {
    /// Makes a folder in `parent`; no `Making` if it was there already. The lock is held
    /// meanwhile, so that nobody can find the new folder on the disk and not in here; only
    /// workers take it, and only to make folders and to find out what they owe.
    pub(super) fn make(
        &self,
        parent: &Arc<Folder>,
        make: impl FnOnce() -> Result<(Arc<Folder>, bool), Errno>,
    ) -> Result<(Arc<Folder>, Option<Making>), Errno> {
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

    /// Moves a folder to `parent`: `place` tells whether it did. The lock is held for the same
    /// reason as in `make`.
    pub(super) fn move_to<E>(&self, parent: &Arc<Folder>, place: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        let mut new = lock(&self.0);
        let moved = place()?;
        if moved {
            let number = new.number();
            new.moves.insert(number, Arc::clone(parent));
        }
        Ok(moved)
    }

    /// They are durable, or gone.
    pub(super) fn forget(&self, makings: &[Making]) {
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

    /// Has `fresh` synced instead of the folder that was opened before by its path.
    fn replace(&self, stale: FolderId, fresh: &Arc<Folder>) {
        let mut new = lock(&self.0);
        let New { parents, moves, .. } = &mut *new;
        for folder in parents.values_mut().map(|(_, parent)| parent).chain(moves.values_mut()) {
            if folder.id == stale {
                *folder = Arc::clone(fresh);
            }
        }
        // Mounted anew, the file system may have numbered it anew.
        if let Some(making) = parents.remove(&stale) {
            parents.insert(fresh.id, making);
        }
    }

    fn above(&self, id: FolderId) -> Owed {
        let new = lock(&self.0);
        let mut owed = Owed::default();
        for (number, parent) in &new.moves {
            owed.made.push((parent.id, *number));
            owed.add(parent);
            new.climb(parent.id, &mut owed);
        }
        new.climb(id, &mut owed);
        owed
    }
}

impl New {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn climb(&self, mut id: FolderId, owed: &mut Owed) {
        while let Some((number, parent)) = self.parents.get(&id) {
            // Been here; or a folder that was moved into one it once held makes a circle.
            if owed.made.contains(&(id, *number)) {
                break;
            }
            owed.made.push((id, *number));
            owed.add(parent);
            id = parent.id;
        }
    }
}
