//! Free space: how much of it uploads may still take, and how far it is reserved for them.
//!
//! An upload of announced length is promised its space, so that of three uploads into space for two one is
//! refused, early, instead of all three failing in the middle. The promise comes with the first part of
//! the body and lasts while more of it comes: a client that announces a length and sends nothing takes
//! nothing from others. The file system reserves blocks ahead of the body in windows.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::fs::fstatvfs;
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::os::process::clock;
use crate::store::fs::linux;
use crate::store::pool::workers::lock;
use crate::store::shared::Disk;
use crate::store::upload::write::Staged;

/// Shorter uploads are promised nothing: writing them tells of a full disk soon enough.
pub(crate) const PROMISE_MIN: u64 = 1024 * 1024;
/// Bytes reserved at a time.
const WINDOW: u64 = 64 * 1024 * 1024;
/// A length is promised once this part of it has come.
const FIRST_PART: u64 = 1024;
/// A promise counts while the upload is on course to be complete this long after it was made, ...
const COURSE: Duration = Duration::from_secs(3600);
/// ... which is not asked before this time.
const COURSE_GRACE: Duration = Duration::from_secs(10);
/// How long free space is taken to be what it was, less what was promised since. A refusal always
/// measures anew.
const MEASURED_FOR: Duration = Duration::from_millis(100);

/// The space promised to one upload.
#[derive(Debug)]
pub(crate) struct Promise {
    len: u64,
    since: Instant,
    written: AtomicU64,
    /// The end of the window that is being filled.
    window_end: AtomicU64,
    /// The end of what the file system has reserved.
    reserved: AtomicU64,
}

impl Promise {
    fn new(len: u64, now: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self { len, since: now, written: zero(), window_end: zero(), reserved: zero() }
    }

    /// False for an upload so slow that its space is nothing to keep from others.
    fn is_on_course(&self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.since).saturating_sub(COURSE_GRACE);
        u128::from(self.written.load(Ordering::Relaxed)) * COURSE.as_millis() >= u128::from(self.len) * time.as_millis()
    }

    /// Bytes that are promised and that the file system still counts as free.
    fn outstanding(&self, now: Instant) -> u64 {
        let taken = self.written.load(Ordering::Relaxed).max(self.reserved.load(Ordering::Relaxed));
        if self.is_on_course(now) { self.len.saturating_sub(taken) } else { 0 }
    }

    /// Bytes reserved and not filled.
    fn ahead(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

/// What all uploads together may take.
#[derive(Debug)]
pub(crate) struct Space {
    min_free: u64,
    reserved_max: u64,
    ledger: Mutex<Ledger>,
    /// Pretended free space.
    #[cfg(test)]
    pub(crate) free: Mutex<Option<u64>>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// Of uploads under way: there are no more of them than slots.
    promises: Vec<Weak<Promise>>,
    /// Bytes neither promised nor to be kept free, when that was measured.
    room: u64,
    measured: Option<Instant>,
}

impl Space {
    /// `min_free` bytes are never given to uploads; no more than `reserved_max` are reserved ahead.
    pub(crate) fn new(min_free: u64, reserved_max: u64) -> Self {
        Self {
            min_free,
            reserved_max,
            ledger: Mutex::default(),
            #[cfg(test)]
            free: Mutex::default(),
        }
    }

    /// As if some time had passed.
    #[cfg(test)]
    pub(crate) fn forget_measurement(&self) {
        lock(&self.ledger).measured = None;
    }
}

impl Disk {
    /// True if an upload is refused before its body where there is no space for it.
    pub(crate) fn checks_space(&self, len: Option<u64>) -> bool {
        self.space.min_free > 0 || len.is_some_and(|len| len >= PROMISE_MIN)
    }

    /// Refuses an upload for which there is no space now. Promises nothing.
    pub(crate) fn check_space(&self, len: Option<u64>) -> Result<(), StoreError> {
        if !self.checks_space(len) {
            return Ok(());
        }
        let (mut ledger, need) = (lock(&self.space.ledger), len.unwrap_or(0).max(1));
        self.need(&mut ledger, need, clock())?;
        if need < PROMISE_MIN {
            // It is not measured again for each of many small ones.
            ledger.room -= need;
        }
        Ok(())
    }

    /// Space for the next `bytes` of an upload: promised, reserved, or refused.
    pub(crate) fn take_space(&self, staged: &Staged, offset: u64, bytes: u64) -> Result<(), StoreError> {
        let end = offset + bytes;
        let Some(len) = staged.len else {
            // Nothing was promised to it, so it must leave what was promised to others.
            if offset / PROMISE_MIN != end / PROMISE_MIN {
                let mut ledger = lock(&self.space.ledger);
                self.need(&mut ledger, 1, clock())?;
                ledger.room = ledger.room.saturating_sub(PROMISE_MIN);
            }
            return Ok(());
        };
        if len < PROMISE_MIN {
            return if offset == 0 && len > 0 { self.reserve(staged, 0, len) } else { Ok(()) };
        }
        let promise = match staged.promise.get() {
            Some(promise) => promise,
            None if end < len / FIRST_PART => return Ok(()),
            None => self.promise(staged, len, offset)?,
        };
        promise.written.fetch_add(bytes, Ordering::Relaxed);
        if end > promise.window_end.load(Ordering::Relaxed) { self.next_window(staged, promise) } else { Ok(()) }
    }

    fn promise<'a>(&self, staged: &'a Staged, len: u64, written: u64) -> Result<&'a Arc<Promise>, StoreError> {
        let (mut ledger, now) = (lock(&self.space.ledger), clock());
        // Another worker may have written another piece of it meanwhile.
        if let Some(promise) = staged.promise.get() {
            return Ok(promise);
        }
        let need = len.saturating_sub(written);
        self.need(&mut ledger, need, now)?;
        let promise = staged.promise.get_or_init(|| Arc::new(Promise::new(len, now)));
        promise.written.fetch_add(written, Ordering::Relaxed);
        ledger.promises.push(Arc::downgrade(promise));
        ledger.room = ledger.room.saturating_sub(need);
        Ok(promise)
    }

    fn next_window(&self, staged: &Staged, promise: &Promise) -> Result<(), StoreError> {
        let from = promise.window_end.load(Ordering::Relaxed);
        let to = promise.len.min(from + WINDOW);
        let taken = promise.window_end.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        if from >= to || taken.is_err() {
            return Ok(());
        }
        let now = clock();
        let mut ledger = lock(&self.space.ledger);
        if !promise.is_on_course(now) {
            self.need(&mut ledger, to - from, now)?;
        }
        let ahead: u64 = ledger.promises.iter().filter_map(Weak::upgrade).map(|promise| promise.ahead()).sum();
        if !self.caps.reserve || ahead.saturating_add(to - from) > self.space.reserved_max {
            return Ok(());
        }
        promise.reserved.store(to, Ordering::Relaxed);
        drop(ledger);
        self.reserve(staged, from, to - from)
    }

    fn reserve(&self, staged: &Staged, from: u64, len: u64) -> Result<(), StoreError> {
        if !self.caps.reserve {
            return Ok(());
        }
        match linux::reserve(staged.file.as_fd(), from, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(self.change_error("fallocate", &staged.path, errno)),
        }
    }

    /// Refuses if fewer than `bytes` are left beside what was promised and what is to stay free.
    fn need(&self, ledger: &mut Ledger, bytes: u64, now: Instant) -> Result<(), StoreError> {
        let is_fresh = ledger.measured.is_some_and(|then| now.saturating_duration_since(then) < MEASURED_FOR);
        if !is_fresh || ledger.room < bytes {
            ledger.promises.retain(|promise| promise.strong_count() > 0);
            let promises = ledger.promises.iter().filter_map(Weak::upgrade);
            let promised = promises.fold(0_u64, |sum, promise| sum.saturating_add(promise.outstanding(now)));
            ledger.room = self.free_space().saturating_sub(promised).saturating_sub(self.space.min_free);
            ledger.measured = Some(now);
        }
        if ledger.room < bytes { Err(StoreError::refused(Failure::NoSpace, "fstatvfs")) } else { Ok(()) }
    }

    fn free_space(&self) -> u64 {
        #[cfg(test)]
        if let Some(free) = *lock(&self.space.free) {
            return free;
        }
        match fstatvfs(&self.root().fd) {
            // A file system of no blocks does not count them.
            Ok(fs) if fs.f_blocks > 0 => fs.f_bavail.saturating_mul(fs.f_frsize),
            _ => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_counts_while_the_upload_is_on_course() {
        let start = clock();
        let promise = Promise::new(3600, start);
        let outstanding = |after: u64| promise.outstanding(start + COURSE_GRACE + Duration::from_secs(after));
        assert_eq!((outstanding(0), outstanding(1)), (3600, 0), "a second, and not a byte");
        promise.written.store(600, Ordering::Relaxed);
        assert_eq!((outstanding(600), outstanding(601)), (3000, 0));
        promise.reserved.store(1600, Ordering::Relaxed);
        assert_eq!((outstanding(600), promise.ahead()), (2000, 1000));
    }
}
