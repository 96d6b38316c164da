//! Changes: uploads from their staging file to their name, directories, renames and removals.

pub(crate) mod commit;
pub(crate) mod deferred_unlink;
pub(crate) mod inherited;
pub(crate) mod locks;
pub(crate) mod namespace;
pub(crate) mod open;
pub(crate) mod parents;
pub(crate) mod pending_syncs;
pub(crate) mod same;
pub(crate) mod space;
pub(crate) mod staged;
pub(crate) mod staging;
pub(crate) mod synced_entries;
pub(crate) mod write;
