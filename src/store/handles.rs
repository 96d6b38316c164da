//! The files the loop knows: ids, what they stand for, and what was learned on the way.
//!
//! Only the loop touches this table; workers own what they need. An id is never used twice.

use std::sync::Arc;

use slab::Slab;

use crate::ids::FileId;
use crate::store::fs::read::OpenFile;
use crate::store::pool::jobs::Held;
use crate::store::upload::write::Staged;

/// The low bits of an id are the place, the others say which use of the place it is: 16 million
/// files at once, and 10^12 files before a number comes again.
const PLACE_BITS: u32 = 24;

/// A file for reading as the loop sees it.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The open file.
    pub(crate) file: Arc<OpenFile>,
    /// `sendfile` refused it: copy instead.
    pub(crate) copied: bool,
}

#[derive(Debug)]
enum Entry {
    Reading(Reading),
    /// A file whose content is in memory; nothing is open.
    Kept(Arc<[u8]>),
    Staging(Arc<Staged>),
}

/// What of `content` is behind `offset`.
pub(crate) fn behind(content: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|at| content.get(at..)).unwrap_or_default()
}

/// All open files.
#[derive(Debug, Default)]
pub(crate) struct Files {
    slots: Slab<(u64, Entry)>,
    next: u64,
    staging: u64,
}

impl Files {
    /// How many uploads are open.
    pub(crate) fn staging_len(&self) -> u64 {
        self.staging
    }

    /// A file for reading gets its id.
    pub(crate) fn add_reading(&mut self, file: Arc<OpenFile>) -> FileId {
        self.add(Entry::Reading(Reading { file, copied: false }))
    }

    /// Content that is in memory gets its id.
    pub(crate) fn add_kept(&mut self, content: Arc<[u8]>) -> FileId {
        self.add(Entry::Kept(content))
    }

    /// An upload gets its id.
    pub(crate) fn add_staging(&mut self, staged: Staged) -> FileId {
        self.staging += 1;
        self.add(Entry::Staging(Arc::new(staged)))
    }

    fn add(&mut self, entry: Entry) -> FileId {
        let slot = self.slots.vacant_entry();
        // Descriptors run out long before: the kernel's own ceiling is 2^20 by default.
        debug_assert!(slot.key() < 1 << PLACE_BITS, "more files than ids");
        let id = (self.next << PLACE_BITS) | slot.key() as u64;
        self.next += 1;
        slot.insert((id, entry));
        FileId(id)
    }

    fn place(id: FileId) -> usize {
        usize::try_from(id.0 & ((1 << PLACE_BITS) - 1)).unwrap_or(usize::MAX)
    }

    /// A file for reading.
    pub(crate) fn reading(&mut self, id: FileId) -> Option<&mut Reading> {
        match self.slots.get_mut(Self::place(id)) {
            Some((known, Entry::Reading(reading))) if *known == id.0 => Some(reading),
            _ => None,
        }
    }

    /// Content that is in memory.
    pub(crate) fn kept(&self, id: FileId) -> Option<&[u8]> {
        match self.slots.get(Self::place(id)) {
            Some((known, Entry::Kept(content))) if *known == id.0 => Some(content),
            _ => None,
        }
    }

    /// An upload.
    pub(crate) fn staging(&self, id: FileId) -> Option<&Arc<Staged>> {
        match self.slots.get(Self::place(id)) {
            Some((known, Entry::Staging(staged))) if *known == id.0 => Some(staged),
            _ => None,
        }
    }

    /// Whatever it is.
    pub(crate) fn held(&self, id: FileId) -> Held {
        match self.slots.get(Self::place(id)) {
            Some((known, Entry::Reading(reading))) if *known == id.0 => Held::Reading(Arc::clone(&reading.file)),
            Some((known, Entry::Kept(content))) if *known == id.0 => Held::Kept(Arc::clone(content)),
            Some((known, Entry::Staging(staged))) if *known == id.0 => Held::Staging(Arc::clone(staged)),
            _ => Held::None,
        }
    }

    /// The same, and the id means nothing from now on.
    pub(crate) fn take(&mut self, id: FileId) -> Held {
        let held = self.held(id);
        match held {
            Held::None => {}
            Held::Reading(_) | Held::Kept(_) => drop(self.slots.remove(Self::place(id))),
            Held::Staging(_) => {
                self.staging -= 1;
                self.slots.remove(Self::place(id));
            }
        }
        held
    }
}
