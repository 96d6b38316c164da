//! Uploads that are not visible yet, and the directories that changes are made in: made, and synced after the change.

pub(crate) mod dirs;
pub(crate) mod locks;
pub(crate) mod parents;
pub(crate) mod pending_syncs;
pub(crate) mod space;
pub(crate) mod staged;
pub(crate) mod synced_entries;
pub(crate) mod write;
