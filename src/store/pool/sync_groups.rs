//! Which directories are being synced, and the changes that wait for that.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::store::fs::stat::DirId;
use crate::store::mutex::lock;
use crate::store::pool::jobs::Pending;

/// The changes that wait for the sync of each directory. A directory is in the map while a worker leads.
#[derive(Debug, Default)]
pub(crate) struct SyncGroups(Mutex<HashMap<DirId, Vec<Pending>>>);

impl SyncGroups {
    /// Registers; gives the change back if there is no leader, which makes the caller the leader.
    pub(crate) fn join(&self, dir: DirId, pending: Pending) -> Option<Pending> {
        let mut map = lock(&self.0);
        let Some(waiting) = map.get_mut(&dir) else {
            map.insert(dir, Vec::new());
            return Some(pending);
        };
        waiting.push(pending);
        None
    }

    /// The changes registered since; the leader is done when there are none.
    pub(crate) fn next_batch(&self, dir: DirId) -> Vec<Pending> {
        let mut map = lock(&self.0);
        let batch = map.get_mut(&dir).map(std::mem::take).unwrap_or_default();
        if batch.is_empty() {
            map.remove(&dir);
        }
        batch
    }
}
