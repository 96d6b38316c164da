//! Changes of names: uploads from their staging file to their name, directories, renames and removals.

pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod dav_records;
pub(crate) mod deferred_unlink;
pub(crate) mod exchange;
pub(crate) mod file_copy;
pub(crate) mod inherited;
pub(crate) mod same;
pub(crate) mod stripes;
pub(crate) mod times;
pub(crate) mod tree_copy;

use std::sync::Arc;

use crate::object::Durability;
use crate::store::fs::root::FileSystem;
use crate::store::quota::ledger::Quotas;
use crate::store::staging::parents::Parents;
use crate::store::staging::write::Staging;

/// The names of one file system.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) quotas: Arc<Quotas>,
    /// What an upload is acknowledged as.
    pub(crate) stored: Durability,
    pub(crate) staging: Staging,
    pub(crate) parents: Parents,
}
