//! Which directories are being synced, and the changes that wait for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::store::fs::root::Dir;
use crate::store::fs::stat::DirId;
use crate::store::mutex::lock;
use crate::store::pool::jobs::Pending;

/// The changes that wait for the sync of each directory. A directory is in the map while a worker leads.
#[derive(Debug, Default)]
pub(crate) struct SyncGroups(Mutex<HashMap<DirId, Option<Batch>>>);

/// Changes that one sync makes durable.
#[derive(Debug)]
pub(crate) struct Batch {
    /// As the last of them has opened it: a descriptor that was opened earlier may be stale.
    pub(crate) dir: Arc<Dir>,
    pub(crate) changes: Vec<Pending>,
}

impl Batch {
    pub(crate) fn add(&mut self, dir: Arc<Dir>, pending: Pending) {
        self.dir = dir;
        self.changes.push(pending);
    }
}

impl SyncGroups {
    /// Registers; gives the change back as a batch if there is no leader, which makes the caller the leader.
    pub(crate) fn join(&self, dir: Arc<Dir>, pending: Pending) -> Option<Batch> {
        let mut map = lock(&self.0);
        match map.get_mut(&dir.id) {
            Some(Some(waiting)) => waiting.add(dir, pending),
            Some(waiting) => *waiting = Some(Batch { dir, changes: vec![pending] }),
            None => {
                map.insert(dir.id, None);
                return Some(Batch { dir, changes: vec![pending] });
            }
        }
        None
    }

    /// The changes registered since; the leader is done when there are none.
    pub(crate) fn next_batch(&self, dir: DirId) -> Option<Batch> {
        let mut map = lock(&self.0);
        let batch = map.get_mut(&dir)?.take();
        if batch.is_none() {
            map.remove(&dir);
        }
        batch
    }

    /// Changes that have joined and wait for their leader.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.0).values().flatten().map(|batch| batch.changes.len()).sum()
    }
}
