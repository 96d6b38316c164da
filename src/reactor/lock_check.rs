//! What the locks of WebDAV mean for operations: which names one changes, and what follows when it has ended. Submits
//! nothing.

use std::collections::BTreeMap;

use crate::command::Whole;
use crate::dav_locks::{Change, DavLocks, LockToken};
use crate::error::StoreError;
use crate::ids::ConnId;
use crate::object::Key;
use crate::platform::Op;
use crate::upload::UploadRef;

/// The locks, and what follows for them when operations end.
#[derive(Debug, Default)]
pub(super) struct LockCheck {
    pub(super) locks: DavLocks,
    /// What the tokens are made of: bytes that cannot be guessed, and how many locks this process has granted.
    pub(super) secret: [u8; 16],
    pub(super) granted: u64,
    /// Operations in the place of those that were refused: what their end is reported as.
    pub(super) refused: BTreeMap<ConnId, StoreError>,
    /// The locks of what is about to be gone, by their roots.
    pub(super) going: BTreeMap<ConnId, Vec<(Key, LockToken)>>,
}

impl LockCheck {
    pub(super) fn is_idle(&self) -> bool {
        let has_locks = !(self.locks.is_empty() && self.locks.is_settled());
        !cfg!(feature = "webdav") || !has_locks && self.refused.is_empty() && self.going.is_empty()
    }
}

/// What an operation changes.
pub(super) fn changes(op: &Op) -> [Option<Change<'_>>; 2] {
    let of_name = |key, is_deep| Some(Change { key, is_of_name: true, is_deep });
    match op {
        Op::Create(put) => [of_name(&put.key, false), None],
        Op::Store { put, .. } => [of_name(&put.key, false), None],
        Op::Commit { key, .. } => [of_name(key, false), None],
        Op::OpenUpload { upload: UploadRef::New(new), .. } => [of_name(&new.put.key, false), None],
        Op::PlaceCopy { copying, .. } => [of_name(&copying.to, copying.replaces_dir), None],
        Op::Run(Whole::Delete { key, .. }) => [of_name(key, true), None],
        Op::Run(Whole::Rename { from, to, replaces_dir, .. }) => [of_name(from, true), of_name(to, *replaces_dir)],
        Op::Run(Whole::MakeDir { key, .. }) => [of_name(key, false), None],
        Op::Run(Whole::SetTime { key, .. } | Whole::SetProperties { key, .. }) => {
            [Some(Change { key, is_of_name: false, is_deep: false }), None]
        }
        _ => [None, None],
    }
}

/// The locks of what will be gone when an operation has ended.
pub(super) fn going(op: &Op, locks: &DavLocks) -> Vec<(Key, LockToken)> {
    match op {
        Op::Run(Whole::Delete { key, .. }) => locks.roots(key, true),
        Op::Run(Whole::Rename { from, to, replaces_dir, .. }) => {
            let mut all = locks.roots(from, true);
            if *replaces_dir {
                all.extend(locks.roots(to, false));
            }
            all
        }
        Op::PlaceCopy { copying, .. } if copying.replaces_dir => locks.roots(&copying.to, false),
        _ => Vec::new(),
    }
}
