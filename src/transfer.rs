//! The accounting of one body: where it is, where it ends, and what the store still owes. Moves no byte itself: the
//! caller that moved them reports the number.

use std::time::Instant;

use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

use crate::config::Limits;
use crate::error::Failure;
use crate::upload::DigestState;

/// Bytes that all connections have moved since the start, over any socket. Each is entered once, by the call that moved it;
/// what a connection, a client or a turn has moved is the difference of two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter(u64);

impl Meter {
    /// Bytes were moved, or work was done that takes as long.
    pub const fn enter(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes as u64);
    }

    pub const fn reading(self) -> u64 {
        self.0
    }

    /// What it will read once this many bytes more were moved.
    pub const fn after(self, bytes: usize) -> u64 {
        self.0.saturating_add(bytes as u64)
    }

    /// Bytes until that reading.
    pub fn left_until(self, reading: u64) -> usize {
        usize::try_from(reading.saturating_sub(self.0)).unwrap_or(usize::MAX)
    }
}

/// What is computed of a file while it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    None,
    Sha256,
    #[cfg(feature = "archives")]
    Crc32,
}

/// The digest of a body as it passes, if one is needed.
#[derive(Clone, Debug, Default)]
pub enum Hasher {
    #[default]
    None,
    Sha256(Box<Sha256>),
    #[cfg(feature = "archives")]
    Crc32(crc32fast::Hasher),
}

impl Hasher {
    pub fn new(wanted: Hash) -> Self {
        match wanted {
            Hash::None => Self::None,
            Hash::Sha256 => Self::Sha256(Box::default()),
            #[cfg(feature = "archives")]
            Hash::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    pub fn sha256_if(is_wanted: bool) -> Self {
        Self::new(if is_wanted { Hash::Sha256 } else { Hash::None })
    }

    /// True if it is needed: then every byte must pass through this process.
    pub const fn is_wanted(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Sha256(hasher) => hasher.update(bytes),
            #[cfg(feature = "archives")]
            Self::Crc32(hasher) => hasher.update(bytes),
        }
    }

    /// To continue from later; `None` if nothing is hashed.
    pub fn state(&self) -> Option<DigestState> {
        match self {
            Self::Sha256(hasher) => Some(DigestState(hasher.serialize().as_slice().into())),
            _ => None,
        }
    }

    /// Continues from there; `None` if that is no such state.
    pub fn resume(state: &DigestState) -> Option<Self> {
        let state = state.0.as_ref().try_into().ok()?;
        Sha256::deserialize(state).ok().map(|hasher| Self::Sha256(Box::new(hasher)))
    }

    /// The digest of everything so far.
    pub fn finish(&mut self) -> Option<[u8; 32]> {
        match std::mem::take(self) {
            Self::None => None,
            Self::Sha256(hasher) => Some((*hasher).finalize().into()),
            #[cfg(feature = "archives")]
            Self::Crc32(hasher) => {
                let mut digest = [0; 32];
                digest[..4].copy_from_slice(&hasher.finalize().to_be_bytes());
                Some(digest)
            }
        }
    }
}

/// How far an upload is.
#[derive(Debug)]
pub struct Upload {
    /// First byte not yet handed to the store.
    next: u64,
    /// Where the body ends, if its head says it.
    end: Option<u64>,
    /// The most it may become.
    len_max: u64,
    /// Bytes the store has taken over.
    written: u64,
}

impl Upload {
    /// An upload of `end` bytes, or of at most `len_max` if the length is unknown.
    pub const fn new(end: Option<u64>, len_max: u64) -> Self {
        Self { next: 0, end, len_max, written: 0 }
    }

    /// The rest of an upload with its first `offset` bytes there.
    pub const fn resume(offset: u64, end: Option<u64>, len_max: u64) -> Self {
        Self { next: offset, end, len_max, written: offset }
    }

    /// Reserves the next `len` bytes and returns their offset.
    pub fn launch(&mut self, len: usize) -> Result<u64, Failure> {
        let at = self.next;
        let next = at.checked_add(len as u64).ok_or(Failure::TooLarge)?;
        if next > self.end.unwrap_or(self.len_max) {
            return Err(Failure::TooLarge);
        }
        self.next = next;
        Ok(at)
    }

    /// The store has taken over `len` bytes.
    pub fn finish_write(&mut self, len: usize) {
        self.written += len as u64;
        assert!(self.written <= self.next, "more bytes written than were launched");
    }

    /// Bytes handed to the store.
    pub const fn launched(&self) -> u64 {
        self.next
    }

    /// True if it is as long as was announced.
    pub fn is_at_its_end(&self) -> bool {
        self.end == Some(self.next)
    }

    /// True if it is shorter than was announced.
    pub fn misses_its_end(&self) -> bool {
        self.end.is_some_and(|end| self.next < end)
    }

    /// True once the store has written everything it was given.
    pub const fn is_written(&self) -> bool {
        self.written == self.next
    }
}

/// How far the early write-back of an upload is; see `Op::Flush`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing is on its way; everything before this offset was flushed.
    Idle(u64),
    /// The bytes before this offset are on their way.
    Running(u64),
}

impl Flush {
    /// With `launched` bytes written: the range to flush now, if any.
    pub const fn due(self, launched: u64, window: u64) -> Option<(u64, u64)> {
        match self {
            Self::Idle(from) if launched - from >= window => Some((from, launched - from)),
            Self::Idle(_) | Self::Running(_) => None,
        }
    }

    /// True if the upload must pause until the running flush is done.
    pub const fn must_pause(self, launched: u64, window: u64) -> bool {
        match self {
            Self::Idle(_) => false,
            Self::Running(to) => launched - to >= window,
        }
    }
}

/// How much of an upload that can be resumed is safe, and when the rest is made so.
#[derive(Debug)]
pub struct Checkpoints {
    /// Bytes that are safe.
    safe: u64,
    /// When the last one ended.
    ended: Instant,
    /// True while one is at the store.
    is_running: bool,
    /// False where nothing may be made safe before the whole part is verified.
    is_wanted: bool,
}

impl Checkpoints {
    pub const fn new(safe: u64, is_wanted: bool, now: Instant) -> Self {
        Self { safe, ended: now, is_running: false, is_wanted }
    }

    pub const fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// True if one is to begin, with `launched` bytes of the upload received.
    pub fn is_due(&self, launched: u64, now: Instant, limits: &Limits) -> bool {
        self.at(launched, limits).is_some_and(|at| now >= at)
            || self.is_wanted && !self.is_running && launched - self.safe >= limits.live.upload_sync_bytes
    }

    /// When one is to begin though few bytes come.
    pub fn at(&self, launched: u64, limits: &Limits) -> Option<Instant> {
        let is_next = self.is_wanted && !self.is_running && launched > self.safe;
        is_next.then(|| self.ended + limits.live.upload_sync_interval)
    }

    /// True if the upload must pause until the running one is done: more would have to be sent again after a
    /// failure than the operator permits.
    pub const fn must_pause(&self, launched: u64, limits: &Limits) -> bool {
        self.is_running && launched - self.safe >= limits.live.upload_sync_bytes.saturating_mul(2)
    }

    pub const fn began(&mut self) {
        self.is_running = true;
    }

    pub const fn finished(&mut self, safe: u64, now: Instant) {
        (self.safe, self.ended, self.is_running) = (safe, now, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: more-body-than-announced
    #[test]
    fn an_upload_never_takes_more_than_was_announced() {
        let mut upload = Upload::new(Some(10), 1 << 40);
        assert_eq!(upload.launch(6), Ok(0));
        assert_eq!(upload.launch(5), Err(Failure::TooLarge));
        assert_eq!(upload.launch(4), Ok(6));
        upload.finish_write(6);
        assert!(!upload.is_written());
        upload.finish_write(4);
        assert!(upload.is_written());
        let mut open_ended = Upload::new(None, 3);
        assert_eq!(open_ended.launch(4), Err(Failure::TooLarge));
        assert_eq!(Upload::new(None, u64::MAX).launch(usize::MAX), Ok(0));
    }

    #[test]
    fn a_flush_is_due_after_a_window_and_holds_back_after_two() {
        assert_eq!(Flush::Idle(10).due(19, 10), None);
        assert_eq!(Flush::Idle(10).due(25, 10), Some((10, 15)));
        assert!(!Flush::Running(25).must_pause(34, 10));
        assert!(Flush::Running(25).must_pause(35, 10));
    }
}
