//! The files the loop knows, by their ids.
//!
//! Only the loop touches this table; workers own what they need. An id is never used twice.

use std::sync::Arc;

use slab::Slab;

use crate::ids::FileId;
use crate::store::fs::read::OpenFile;
use crate::store::pool::growing::Growing;
use crate::store::pool::jobs::Held;

/// The low bits of an id are the index, the others count the uses of the table: 16 million files at once, and
/// 10^12 files before a number comes again.
const INDEX_BITS: u32 = 24;

#[derive(Debug, Default)]
pub(crate) struct Handles {
    slots: Slab<(u64, Held)>,
    next: u64,
    uploads: u64,
}

impl Handles {
    pub(crate) fn uploads_len(&self) -> u64 {
        self.uploads
    }

    pub(crate) fn add(&mut self, held: Held) -> FileId {
        self.uploads += u64::from(matches!(held, Held::Staging(_)));
        let slot = self.slots.vacant_entry();
        // Descriptors run out long before: the kernel's own ceiling is 2^20 by default.
        debug_assert!(slot.key() < 1 << INDEX_BITS, "more files than ids");
        let id = (self.next << INDEX_BITS) | slot.key() as u64;
        self.next += 1;
        slot.insert((id, held));
        FileId(id)
    }

    fn index(id: FileId) -> usize {
        usize::try_from(id.0 & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, id: FileId) -> Option<&Held> {
        self.slots.get(Self::index(id)).filter(|(known, _)| *known == id.0).map(|(_, held)| held)
    }

    pub(crate) fn reading(&self, id: FileId) -> Option<&Arc<OpenFile>> {
        if let Some(Held::Reading(file)) = self.get(id) { Some(file) } else { None }
    }

    pub(crate) fn cached(&self, id: FileId) -> Option<&[u8]> {
        if let Some(Held::Cached(content)) = self.get(id) { Some(content) } else { None }
    }

    pub(crate) fn staging(&self, id: FileId) -> Option<&Arc<Growing>> {
        if let Some(Held::Staging(staged)) = self.get(id) { Some(staged) } else { None }
    }

    pub(crate) fn held(&self, id: FileId) -> Held {
        self.get(id).cloned().unwrap_or(Held::None)
    }

    /// The same, and the id means nothing from now on.
    pub(crate) fn take(&mut self, id: FileId) -> Held {
        if self.get(id).is_none() {
            return Held::None;
        }
        let (_, held) = self.slots.remove(Self::index(id));
        self.uploads -= u64::from(matches!(held, Held::Staging(_)));
        held
    }
}
