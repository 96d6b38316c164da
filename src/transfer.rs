//! The accounting of one body: where it is, where it ends, what the store still owes, and whether
//! the peer keeps a minimum rate. Moves no byte itself: the caller that moved them reports the number.

use std::time::{Duration, Instant};

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

/// What our own store does to the time and the bytes of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtStore {
    KeepsUp,
    /// It keeps the peer waiting since then.
    Since(Instant),
    /// It did until now: what was sent meanwhile comes next.
    Over,
}

/// The minimum rate: at least this many bytes in every window. Time spent waiting for our own disk does not count, nor
/// what a peer sent in that time: one byte now and then would be fast enough on a disk that others keep busy.
#[derive(Debug)]
pub struct MinRate {
    window_end: Instant,
    moved: u64,
    /// Bytes that lay in the send queue of the kernel when the window began.
    queued: u64,
    store: AtStore,
    /// Since when the limits of its client do.
    limit_since: Option<Instant>,
    /// By how much such waits have moved the end of the window: fewer bytes than a [`Duration`] has.
    limited_ms: u32,
}

impl MinRate {
    /// A rate that begins now.
    pub fn new(now: Instant, window: Duration) -> Self {
        Self {
            window_end: now + window,
            moved: 0,
            queued: 0,
            store: AtStore::KeepsUp,
            limit_since: None,
            limited_ms: 0,
        }
    }

    /// The peer sent `n` bytes.
    pub fn received(&mut self, n: usize) {
        if self.store == AtStore::Over {
            self.store = AtStore::KeepsUp;
        } else {
            self.moved += n as u64;
        }
    }

    /// The kernel took `n` bytes for the peer.
    pub const fn sent(&mut self, n: usize) {
        self.moved += n as u64;
    }

    /// From here on the peer waits for our store.
    pub const fn store_began(&mut self, now: Instant) {
        if !self.waits_for_store() {
            self.store = AtStore::Since(now);
        }
    }

    /// The store is done: the time it took is not the peer's.
    pub fn store_ended(&mut self, now: Instant) {
        if let AtStore::Since(since) = self.store {
            self.window_end += now.saturating_duration_since(since);
            self.store = AtStore::Over;
        }
    }

    /// From here on the peer waits for the limits of its client.
    pub fn limit_began(&mut self, now: Instant) {
        self.limit_since.get_or_insert(now);
    }

    /// They permit more: the time that took is not the peer's. True if it waited.
    pub fn limit_ended(&mut self, now: Instant) -> bool {
        let since = self.limit_since.take();
        let waited = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.window_end += waited;
        self.limited_ms = self.limited_ms.saturating_add(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        since.is_some()
    }

    const fn waits_for_store(&self) -> bool {
        matches!(self.store, AtStore::Since(_))
    }

    const fn waits_for_us(&self) -> bool {
        self.waits_for_store() || self.limit_since.is_some()
    }

    /// When to look at the rate again; never while the peer waits for us.
    pub const fn deadline(&self) -> Option<Instant> {
        if self.waits_for_us() { None } else { Some(self.window_end) }
    }

    /// Bytes per second since the window began, the time included that the limits of its client took, which owe it `due`
    /// bytes while it waits for them. None while the peer waits for our store, and before `contention_wait` of it. `queued` as for
    /// [`MinRate::check`].
    pub fn rate(&self, now: Instant, limits: &Limits, queued: u64, due: u64) -> Option<u64> {
        let window = limits.fixed.rate_window;
        let time =
            (now + window + Duration::from_millis(self.limited_ms.into())).saturating_duration_since(self.window_end);
        if self.waits_for_store() || time < limits.live.contention_wait.min(window / 2) {
            return None;
        }
        let due = if self.limit_since.is_some() { due } else { 0 };
        let millis = time.as_millis().max(1);
        u64::try_from(u128::from(self.left(queued).saturating_add(due)) * 1000 / millis).ok()
    }

    /// Bytes that left the kernel since the window began.
    const fn left(&self, queued: u64) -> u64 {
        self.queued.saturating_add(self.moved).saturating_sub(queued)
    }

    /// Looks at the rate at the end of a window, and begins the next one. `queued` bytes of what we
    /// sent are still in the kernel: what left it counts, not what it took, for it may take megabytes
    /// at once and then nothing for a while.
    pub fn check(&mut self, now: Instant, limits: &Limits, queued: u64) -> Result<(), Failure> {
        let window = limits.fixed.rate_window;
        if self.waits_for_us() || now < self.window_end {
            return Ok(());
        }
        let wanted = u128::from(limits.live.rate_bytes_per_s_min) * window.as_millis() / 1000;
        let enough = u128::from(self.left(queued)) >= wanted;
        *self = Self { queued, store: self.store, ..Self::new(now, window) };
        if enough { Ok(()) } else { Err(Failure::TimedOut) }
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

    fn limits() -> Limits {
        Limits::default().with(|limits| {
            limits.fixed.rate_window = Duration::from_secs(10);
            limits.live.rate_bytes_per_s_min = 10;
        })
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn what_left_the_kernel_counts_not_what_it_took() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let mut rate = MinRate::new(start, window);
        rate.sent(5000);
        assert_eq!(rate.check(start + window, &limits(), 4900), Ok(()), "100 of 5000 bytes have left");
        assert_eq!(rate.check(start + 2 * window, &limits(), 4800), Ok(()), "100 more, though none was taken");
        assert_eq!(rate.check(start + 3 * window, &limits(), 4750), Err(Failure::TimedOut));
    }

    #[test]
    fn a_flush_is_due_after_a_window_and_holds_back_after_two() {
        assert_eq!(Flush::Idle(10).due(19, 10), None);
        assert_eq!(Flush::Idle(10).due(25, 10), Some((10, 15)));
        assert!(!Flush::Running(25).must_pause(34, 10));
        assert!(Flush::Running(25).must_pause(35, 10));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn time_at_our_own_disk_is_not_the_peers() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let mut rate = MinRate::new(start, window);
        rate.received(99);
        rate.store_began(start + Duration::from_secs(1));
        assert_eq!(rate.deadline(), None);
        rate.store_ended(start + Duration::from_secs(5));
        assert_eq!(rate.deadline(), Some(start + Duration::from_secs(14)));
        assert_eq!(rate.check(start + Duration::from_secs(13), &limits(), 0), Ok(()));
        assert_eq!(rate.check(start + Duration::from_secs(14), &limits(), 0), Err(Failure::TimedOut));
        rate.received(500);
        assert_eq!(rate.check(start + Duration::from_secs(24), &limits(), 0), Err(Failure::TimedOut), "sent meanwhile");
        rate.received(100);
        assert_eq!(rate.check(start + Duration::from_secs(34), &limits(), 0), Ok(()));
    }
}
