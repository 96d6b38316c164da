//! What uploads that are kept hold of quotas: what has come of them, from when they are made or found until they have
//! their name or are gone.

use std::collections::HashSet;
use std::sync::Arc;

use crate::object::Key;
use crate::store::mutex::lock;
use crate::store::quota::ledger::Holding;
use crate::store::resumable::index::Share;
use crate::store::resumable::uploads::ResumableUploads;
use crate::upload::UploadId;

impl ResumableUploads {
    /// What an upload that is there already holds from now on: what it held by now, and what it takes besides. A pass and a
    /// connection may find the same upload at once, so it is looked up and noted under one lock: its bytes count once.
    pub(crate) fn hold(&self, id: UploadId, key: &Key, share: Share) -> Option<Arc<Holding>> {
        if !self.names.quotas.is_used() {
            return None;
        }
        let mut index = lock(&self.index);
        let holding = self.names.quotas.recover(key, share.bytes, index.holding(id));
        index.hold(id, holding.clone());
        holding
    }

    /// The same for one that a pass has found.
    pub(crate) fn hold_found(&self, id: UploadId, key: &Key, share: Share) {
        if self.names.quotas.is_used() && share.is_unfinished {
            self.hold(id, key, share);
        }
    }

    /// What these uploads hold, of which another is joined.
    pub(crate) fn holdings(&self, joins: &[(UploadId, u64)]) -> Vec<Arc<Holding>> {
        if joins.is_empty() || !self.names.quotas.is_used() {
            return Vec::new();
        }
        // One may be joined several times, and holds its bytes once.
        let ids: HashSet<UploadId> = joins.iter().map(|(id, _)| *id).collect();
        let index = lock(&self.index);
        ids.into_iter().filter_map(|id| index.holding(id)).collect()
    }
}
