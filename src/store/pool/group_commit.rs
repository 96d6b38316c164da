//! Group commit: changes in the same directory share one `fsync` of it.
//!
//! Whoever finds nobody syncing a directory leads: it takes all that wait, syncs once, and does so
//! again while more came. The others go back to work at once. A sync only ever counts for changes
//! that had registered before it began.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use crate::error::StoreError;
use crate::platform::Health;
use crate::store::fs::errno::TARGET;
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::stat::DirId;
use crate::store::fs::sync::Scope;
use crate::store::pool::jobs::{Finished, Job};
use crate::store::pool::workers::{Lane, lock};
use crate::store::shared::{Dir, Disk};

/// What must be synced before a change may be acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Directories whose entries changed; the last is synced first.
    pub(crate) dirs: Vec<Arc<Dir>>,
    /// Directories that are durable once all of `dirs` are synced.
    pub(crate) made: Vec<Making>,
}

/// A change that has happened and is not durable yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// What is told when it is.
    pub(crate) finished: Finished,
    /// What is missing.
    pub(crate) owed: Owed,
}

/// Who waits for the sync of which directory. A directory is in the map while somebody leads.
#[derive(Debug, Default)]
pub(crate) struct Syncs(Mutex<BTreeMap<DirId, Vec<Pending>>>);

impl Syncs {
    /// Registers; gives the change back if nobody leads, which makes the caller the leader.
    fn join(&self, dir: DirId, pending: Pending) -> Option<Pending> {
        match lock(&self.0).entry(dir) {
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
    fn next_batch(&self, dir: DirId) -> Vec<Pending> {
        let mut map = lock(&self.0);
        let batch = map.get_mut(&dir).map(std::mem::take).unwrap_or_default();
        if batch.is_empty() {
            map.remove(&dir);
        }
        batch
    }
}

impl Disk {
    /// Finishes a change once everything it owes is synced, here or by a leader elsewhere.
    pub(crate) fn settle(&self, pending: Pending) {
        self.settle_many(vec![pending]);
    }

    /// The same for several: those that owe the same directory share its sync.
    pub(crate) fn settle_many(&self, all: Vec<Pending>) {
        let mut led: Option<(Arc<Dir>, Vec<Pending>)> = None;
        for mut pending in all {
            let Some(dir) = pending.owed.dirs.pop() else {
                self.made.forget(&pending.owed.made);
                self.finished.push(pending.finished);
                continue;
            };
            match &mut led {
                Some((leading, batch)) if leading.id == dir.id => batch.push(pending),
                Some(_) => {
                    // Not here: leading another directory could keep this one waiting.
                    pending.owed.dirs.push(dir);
                    self.lanes.push(Lane::Sync, Job::Settle(pending));
                }
                None => led = self.syncs.join(dir.id, pending).map(|first| (dir, vec![first])),
            }
        }
        if let Some((dir, batch)) = led {
            self.lead(&dir, batch);
        }
    }

    fn lead(&self, dir: &Dir, mut batch: Vec<Pending>) {
        while !batch.is_empty() {
            let result = self.sync_dir(dir, batch.len());
            if result.is_ok() {
                self.failures.of_commit(None);
            }
            for pending in batch {
                match result {
                    Err(errno) => self.fail(pending, errno),
                    Ok(()) if pending.owed.dirs.is_empty() => self.settle(pending),
                    // Not here: leading another directory could keep this one waiting.
                    Ok(()) => self.lanes.push(Lane::Sync, Job::Settle(pending)),
                }
            }
            batch = self.syncs.next_batch(dir.id);
        }
    }

    pub(crate) fn sync_dir(&self, dir: &Dir, changes: usize) -> Result<(), Errno> {
        // After one failed sync the kernel may report success for lost pages: believe none.
        if self.health() == Health::Degraded {
            return Err(Errno::IO);
        }
        let synced = (self.sync.names)(dir.fd.as_fd()).inspect_err(|&errno| {
            let path = &dir.path;
            log::error!(
                target: TARGET,
                "store.fsync_failed folder={path:?} cause={errno}: state unknown of {changes} changes"
            );
            if !crate::store::fs::errno::is_passing(errno) {
                self.degrade("fsync folder", errno);
            }
            if crate::store::fs::errno::is_stale(errno) {
                self.reopen_owed(dir);
            }
        });
        // Another sync may have failed while this one ran.
        if synced.is_ok() && self.health() == Health::Degraded { Err(Errno::IO) } else { synced }
    }

    /// Later changes may owe the sync of this directory as well: without another descriptor none of them could
    /// be acknowledged before a restart.
    fn reopen_owed(&self, stale: &Dir) {
        // The first opens the root again if that is stale too.
        if self.open_beneath(&stale.path, dir_flags(), false).is_ok()
            && let Ok(fresh) = self.dir(&stale.path)
        {
            self.made.replace(stale.id, &fresh);
        }
    }

    fn fail(&self, mut pending: Pending, errno: Errno) {
        let failure = crate::store::fs::errno::inside(errno);
        self.failures.of_commit(Some(failure));
        pending.finished.result = Err(StoreError { failure, site: "fsync folder", source: Some(errno.into()) });
        self.finished.push(pending.finished);
    }

    /// What a change inside `dir` owes: the directory itself, and every directory above it that is
    /// so new that its own entry may not be durable, whoever made or moved it.
    pub(crate) fn owes(&self, dir: &Arc<Dir>) -> Owed {
        let mut owed = self.owes_way(dir);
        if self.durable {
            owed.add(&self.synced_for(dir));
        }
        owed
    }

    /// The same for the way to a directory only.
    pub(crate) fn owes_way(&self, dir: &Arc<Dir>) -> Owed {
        if !self.durable {
            return Owed::default();
        }
        let above = self.made.above(dir.id);
        let mut owed = Owed { dirs: Vec::new(), made: above.made };
        for dir in &above.dirs {
            owed.add(&self.synced_for(dir));
        }
        owed
    }

    /// Whose sync brings the names in `dir` to the disk.
    fn synced_for(&self, dir: &Arc<Dir>) -> Arc<Dir> {
        match self.sync.scope {
            Scope::Dir => Arc::clone(dir),
            Scope::Everything => self.root(),
        }
    }
}

impl Owed {
    /// Adds what another change owes.
    pub(crate) fn join(&mut self, other: Self) {
        for dir in &other.dirs {
            self.add(dir);
        }
        self.made.extend(other.made);
    }

    /// Has a directory synced before all others that are owed.
    pub(crate) fn put_first(&mut self, dir: &Dir) {
        if let Some(at) = self.dirs.iter().position(|one| one.id == dir.id) {
            let dir = self.dirs.remove(at);
            self.dirs.push(dir);
        }
    }

    fn add(&mut self, dir: &Arc<Dir>) {
        if !self.dirs.iter().any(|one| one.id == dir.id) {
            self.dirs.push(Arc::clone(dir));
        }
    }
}

/// Directories that were made or moved and whose entry in their parent is perhaps not durable. A second
/// upload into such a directory must not be acknowledged before the first one's syncs, so it owes them
/// too.
#[derive(Debug, Default)]
pub(crate) struct Made(pub(crate) Mutex<New>);

/// The parent of each new directory, and which making it was.
#[derive(Debug, Default)]
pub(crate) struct New {
    pub(crate) parents: BTreeMap<DirId, (u64, Arc<Dir>)>,
    /// Where directories were moved to. What is beneath one cannot be told from its inode, so as long
    /// as a move is not durable, every change owes it.
    pub(crate) moves: BTreeMap<u64, Arc<Dir>>,
    next: u64,
}

/// One making of one directory, or one move into it. The number tells it from a later directory with the
/// same inode.
pub(crate) type Making = (DirId, u64);

impl Made {
    /// Makes a directory in `parent`; no `Making` if it was there already. The lock is held
    /// meanwhile, so that nobody can find the new directory on the disk and not in here; only
    /// workers take it, and only to make directories and to find out what they owe.
    pub(crate) fn make(
        &self,
        parent: &Arc<Dir>,
        make: impl FnOnce() -> Result<(Arc<Dir>, bool), Errno>,
    ) -> Result<(Arc<Dir>, Option<Making>), Errno> {
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

    /// Moves a directory to `parent`: `place` tells whether it did. The lock is held for the same
    /// reason as in `make`.
    pub(crate) fn move_to<E>(&self, parent: &Arc<Dir>, place: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        let mut new = lock(&self.0);
        let moved = place()?;
        if moved {
            let number = new.number();
            new.moves.insert(number, Arc::clone(parent));
        }
        Ok(moved)
    }

    /// They are durable, or gone.
    pub(crate) fn forget(&self, makings: &[Making]) {
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
    fn replace(&self, stale: DirId, fresh: &Arc<Dir>) {
        let mut new = lock(&self.0);
        let New { parents, moves, .. } = &mut *new;
        for dir in parents.values_mut().map(|(_, parent)| parent).chain(moves.values_mut()) {
            if dir.id == stale {
                *dir = Arc::clone(fresh);
            }
        }
        // Mounted anew, the file system may have numbered it anew.
        if let Some(making) = parents.remove(&stale) {
            parents.insert(fresh.id, making);
        }
    }

    fn above(&self, id: DirId) -> Owed {
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

    fn climb(&self, mut id: DirId, owed: &mut Owed) {
        while let Some((number, parent)) = self.parents.get(&id) {
            // Been here; or a directory that was moved into one it once held makes a circle.
            if owed.made.contains(&(id, *number)) {
                break;
            }
            owed.made.push((id, *number));
            owed.add(parent);
            id = parent.id;
        }
    }
}
