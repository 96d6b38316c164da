//! The SHA-256 of stored files, kept from their upload on in `.filewharf/digests`.
//!
//! A table of a fixed number of entries of 64 bytes, at the place that the inode gives. An entry holds what the ETag is
//! made of (inode, size, mtime, ctime), so a change by any program makes it void, and a sum over itself, so a torn write
//! makes nothing else void. A look-up is one read, nothing is synced, and an entry that is lost or was displaced by
//! another file is only a digest that is not known. It is made with the first digest.
//!
//! Not an extended attribute: to set one changes the ctime, so it could not be tied to it; and what is tied to the mtime
//! only would survive a program that restores that. Nor is the device part of an entry: it may differ after a restart,
//! and a table tells of the files of one file system only.
//!
//! Recorded when a staged file gets its name, which no other program can have opened. A write in the same tick of the
//! clock as the rename would leave the ctime as it is; but it sets the mtime to that tick, and a file with an mtime
//! that is its ctime is not recorded (see [`before`]).

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, Stat, Timespec, fstat, ftruncate, openat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::object::Meta;
use crate::store::fs::errno::TARGET;
use crate::store::fs::linux;
use crate::store::fs::stat::{self, Kind};
use crate::wire::key::RESERVED;

const FILE: &str = "digests";
const ENTRY_LEN: usize = 64;
/// Spreads inode numbers beyond the table over all of it. Odd, so that none fall together that would not have to.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// The sum over an entry begins with this, so that one of zeros is none. Another layout would have another number.
const LAYOUT: u64 = 0x4469_6765_7374_7331;

#[derive(Debug)]
pub(crate) struct Digests {
    entries: u64,
    /// Open once there is one.
    table: OnceLock<OwnedFd>,
    /// Other machines may write to the table, and this one would not notice.
    is_remote: bool,
    /// False where the table may only be read, or could not be made.
    is_writable: AtomicBool,
}

impl Digests {
    /// Opens the table of `root`, if there is one; `entries_max` of 0 keeps none. Other servers may make it
    /// at any time where the root is `shared`.
    pub(crate) fn open(root: BorrowedFd<'_>, entries_max: usize, is_writable: bool, shared: bool) -> Self {
        let digests = Self {
            entries: entries_max as u64,
            table: OnceLock::new(),
            is_remote: !linux::is_on_this_machine(root),
            is_writable: AtomicBool::new(is_writable && entries_max > 0),
        };
        if entries_max > 0
            && let Ok(table) = open_table(root, is_writable, is_writable && shared)
        {
            digests.shrink(&table);
            let _ = digests.table.set(table);
        }
        digests
    }

    /// More than the table has now were permitted before.
    fn shrink(&self, table: &OwnedFd) {
        let len_max = self.entries.saturating_mul(ENTRY_LEN as u64);
        if self.is_writable() && fstat(table).is_ok_and(|stat| stat::len(&stat) > len_max) {
            let _ = ftruncate(table, len_max);
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable.load(Ordering::Relaxed)
    }

    /// True once a digest was kept, in this process or before.
    pub(crate) fn is_used(&self) -> bool {
        self.table.get().is_some()
    }

    fn offset(&self, ino: u64) -> u64 {
        // Neighbours stay together: files of one directory often have inodes in a row.
        let entry = (ino % self.entries).wrapping_add((ino / self.entries).wrapping_mul(SPREAD)) % self.entries;
        entry * ENTRY_LEN as u64
    }

    /// The digest of this version of a file. Waits for the disk.
    pub(crate) fn find(&self, stat: &Stat, meta: &Meta) -> Option<[u8; 32]> {
        let table = self.table.get()?;
        if self.is_remote {
            linux::drop_cached(table.as_fd());
        }
        let (offset, mut bytes) = (self.offset(stat::id(stat).1), [0; ENTRY_LEN]);
        match retry_on_intr(|| pread(table, &mut bytes, offset)) {
            Ok(ENTRY_LEN) => decode(&bytes, meta),
            _ => None,
        }
    }

    /// The same without waiting; `None` if it would have to.
    pub(crate) fn find_now(&self, stat: &Stat, meta: &Meta) -> Option<Option<[u8; 32]>> {
        let Some(table) = self.table.get() else { return Some(None) };
        if self.is_remote {
            return None;
        }
        let (offset, mut bytes) = (self.offset(stat::id(stat).1), [0; ENTRY_LEN]);
        match linux::pread_cached(table.as_fd(), &mut bytes, offset) {
            Ok(ENTRY_LEN) => Some(decode(&bytes, meta)),
            Ok(_) => Some(None),
            Err(_) => None,
        }
    }

    /// Keeps the digest of a file that has just got its name. One that cannot be written is not known later.
    pub(crate) fn keep(&self, root: BorrowedFd<'_>, stat: &Stat, digest: &[u8; 32]) {
        if !self.is_writable() || times_are_alike(stat) {
            return;
        }
        let table = match self.table.get() {
            Some(table) => table,
            None => match open_table(root, true, true) {
                Ok(made) => self.table.get_or_init(|| made),
                Err(errno) => {
                    log::warn!(target: TARGET, "no digests are kept: {RESERVED}/{FILE} cannot be made: {errno}");
                    self.is_writable.store(false, Ordering::Relaxed);
                    return;
                }
            },
        };
        let entry = encode(&stat::meta(stat), digest);
        if let Err(errno) = retry_on_intr(|| pwrite(table, &entry, self.offset(stat::id(stat).1))) {
            log::debug!(target: TARGET, "a digest is not kept: {errno}");
        }
    }
}

fn open_table(root: BorrowedFd<'_>, is_writable: bool, is_made: bool) -> Result<OwnedFd, Errno> {
    let dir_flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let ours = openat(root, RESERVED, dir_flags, Mode::empty())?;
    let mut flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags |= if is_writable { OFlags::RDWR } else { OFlags::RDONLY };
    flags.set(OFlags::CREATE, is_made);
    let table = openat(&ours, FILE, flags, Mode::RUSR | Mode::WUSR)?;
    if stat::kind(&fstat(&table)?) == Kind::File { Ok(table) } else { Err(Errno::INVAL) }
}

/// True if a write in the tick of the last change could have left both as they are.
#[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between systems")]
fn times_are_alike(stat: &Stat) -> bool {
    (stat.st_mtime as i64, stat.st_mtime_nsec as i64) == (stat.st_ctime as i64, stat.st_ctime_nsec as i64)
}

/// A nanosecond before the mtime: the time to set so that it is not that of the rename, whatever the resolution of the
/// clock.
#[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap, reason = "their types differ between systems")]
pub(crate) fn before(stat: &Stat) -> Timespec {
    let (seconds, nanoseconds) = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
    match nanoseconds {
        0 => Timespec { tv_sec: seconds - 1, tv_nsec: 999_999_999 },
        _ => Timespec { tv_sec: seconds, tv_nsec: nanoseconds - 1 },
    }
}

/// The ETag, the size, the digest, the sum.
fn encode(meta: &Meta, digest: &[u8; 32]) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[..16].copy_from_slice(&meta.etag.0);
    entry[16..24].copy_from_slice(&meta.len.to_le_bytes());
    entry[24..56].copy_from_slice(digest);
    let sum = sum(&entry);
    entry[56..].copy_from_slice(&sum.to_le_bytes());
    entry
}

/// The digest, if the entry is whole and of this version of this file.
fn decode(entry: &[u8; ENTRY_LEN], meta: &Meta) -> Option<[u8; 32]> {
    let is_of_it = entry[..16] == meta.etag.0 && entry[16..24] == meta.len.to_le_bytes();
    if !is_of_it || entry[56..] != sum(entry).to_le_bytes() {
        return None;
    }
    entry[24..56].try_into().ok()
}

/// Over all but the last 8 bytes, where it is written.
fn sum(entry: &[u8; ENTRY_LEN]) -> u64 {
    let (words, _) = entry.as_chunks();
    words[..7]
        .iter()
        .fold(LAYOUT, |sum, word| stat::finalise(sum.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_add(SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Etag;

    const META: Meta = Meta { len: 5, mtime: 7, etag: Etag([3; 16]), sha256: None, is_executable: false };

    #[test]
    fn an_entry_is_of_one_version_and_void_with_any_bit_changed() {
        let entry = encode(&META, &[9; 32]);
        assert_eq!(decode(&entry, &META), Some([9; 32]));
        assert_eq!(decode(&entry, &Meta { len: 6, ..META }), None);
        assert_eq!(decode(&entry, &Meta { etag: Etag([4; 16]), ..META }), None);
        for bit in 0..8 * ENTRY_LEN {
            let mut torn = entry;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&torn, &META), None, "bit {bit}");
        }
        let none = Meta { len: 0, etag: Etag([0; 16]), ..META };
        assert_eq!(decode(&[0; ENTRY_LEN], &none), None, "a hole is no entry");
    }

    #[test]
    fn an_entry_torn_at_any_byte_is_void() {
        let (old, new) = (encode(&META, &[9; 32]), encode(&META, &[8; 32]));
        for cut in 0..=ENTRY_LEN {
            let torn: Vec<u8> = new[..cut].iter().chain(&old[cut..]).copied().collect();
            let found = decode(&torn.try_into().expect("one entry"), &META);
            // The first bytes of both are alike.
            assert!(found.is_none() || cut <= 24 && found == Some([9; 32]) || cut == 64, "{cut}: {found:?}");
        }
    }

    #[test]
    fn every_inode_has_a_place_in_the_table_and_neighbours_have_neighbours() {
        for entries in [1, 7, 1024, 1 << 20] {
            let digests =
                Digests { entries, table: OnceLock::new(), is_remote: false, is_writable: AtomicBool::new(false) };
            for ino in [0, 1, entries - 1, entries, 1 << 32, u64::MAX - 1, u64::MAX] {
                assert!(digests.offset(ino) < entries * 64, "{ino}");
            }
            assert_eq!(digests.offset(entries + 1) % 64, 0);
        }
        let digests =
            Digests { entries: 1 << 20, table: OnceLock::new(), is_remote: false, is_writable: AtomicBool::new(false) };
        assert_eq!(digests.offset(5 << 32 | 9), digests.offset(5 << 32 | 8) + 64);
    }

    #[test]
    fn the_time_that_is_set_is_before_the_one_there_was() {
        let mut stat = fstat(tempfile::tempfile().expect("a file")).expect("its times");
        for (sec, nsec, wanted) in [(5, 7, (5, 6)), (5, 0, (4, 999_999_999)), (-1, 0, (-2, 999_999_999))] {
            (stat.st_mtime, stat.st_mtime_nsec) = (sec, nsec);
            let time = before(&stat);
            assert_eq!((time.tv_sec, time.tv_nsec), wanted);
        }
    }
}
