//! Which entries of directories this server has synced itself, where others share the root.
//!
//! A directory that is there may have been made or moved by another server that has not synced it yet, or never will.
//! So before a change inside is acknowledged, each directory above is synced once by this server.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;

use crate::store::fs::linux;
use crate::store::fs::root::Dir;
use crate::store::mutex::lock;

/// Entries that are remembered. All are forgotten when there are more: then they are synced once more.
const ENTRIES_MAX: usize = 4096;

/// One directory under one name in another: a digest of both, of the name, and of when it was made, as its inode may
/// be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SyncedEntry(u64);

#[derive(Debug, Default)]
pub(crate) struct SyncedEntries {
    hash: RandomState,
    synced: Mutex<HashSet<SyncedEntry>>,
}

impl SyncedEntries {
    /// The entry of `child` in `parent`, and true if it was synced as it is.
    pub(crate) fn look_up(&self, parent: &Dir, name: &str, child: &Dir) -> (SyncedEntry, bool) {
        let entry = SyncedEntry(self.hash.hash_one((parent.id, name, child.id, linux::made_at(&child.fd))));
        (entry, lock(&self.synced).contains(&entry))
    }

    pub(crate) fn were_synced(&self, entries: &[SyncedEntry]) {
        if !entries.is_empty() {
            let mut synced = lock(&self.synced);
            if synced.len() + entries.len() > ENTRIES_MAX {
                synced.clear();
            }
            synced.extend(entries.iter().take(ENTRIES_MAX));
        }
    }
}
