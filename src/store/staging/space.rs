//! Free space: how much of it uploads may still take, and how far it is reserved for them.
//!
//! An upload of announced length is promised its space, so that of three uploads into space for two one is
//! refused, early, instead of all three failing in the middle. The promise comes with the first part of
//! the body and lasts while more of it comes: a client that announces a length and sends nothing takes
//! nothing from others. The file system reserves blocks ahead of the body in windows.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::os::process::clock;
use crate::store::fs::linux;
use crate::store::fs::root::FileSystem;
use crate::store::fs::usage::free_bytes;
use crate::store::mutex::lock;
use crate::store::staging::staged::{Promise, Staged};

/// Shorter uploads are promised nothing: writing them tells of a full disk soon enough.
pub(crate) const PROMISE_MIN: u64 = 1024 * 1024;
/// Bytes reserved at a time.
const WINDOW: u64 = 64 * 1024 * 1024;
/// A length is promised once this part of it has come.
const FIRST_PART: u64 = 1024;
/// How long free space is taken to be what it was, less what was promised since. A refusal always
/// measures again.
const MEASURED_FOR: Duration = Duration::from_millis(100);

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
    /// Of uploads under way: as many as slots and `Fixed::uploads_without_slot_max` at most.
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

impl Space {
    /// True if an upload is refused before its body where there is no space for it.
    pub(crate) fn checks(&self, len: Option<u64>) -> bool {
        self.min_free > 0 || len.is_some_and(|len| len >= PROMISE_MIN)
    }

    /// Refuses an upload for which there is no space now. Promises nothing.
    pub(crate) fn check(&self, fs: &FileSystem, len: Option<u64>) -> Result<(), StoreError> {
        if !self.checks(len) {
            return Ok(());
        }
        let (mut ledger, need) = (lock(&self.ledger), len.unwrap_or(0).max(1));
        self.need(fs, &mut ledger, need, clock())?;
        if need < PROMISE_MIN {
            // It is not measured again for each of many small ones.
            ledger.room -= need;
        }
        Ok(())
    }

    /// Space for the next `bytes` of an upload: promised, reserved, or refused.
    pub(crate) fn take(&self, fs: &FileSystem, staged: &Staged, offset: u64, bytes: u64) -> Result<(), StoreError> {
        let end = offset + bytes;
        let Some(len) = staged.len else {
            // Nothing was promised to it, so it must leave what was promised to others.
            if offset / PROMISE_MIN != end / PROMISE_MIN {
                let mut ledger = lock(&self.ledger);
                self.need(fs, &mut ledger, 1, clock())?;
                ledger.room = ledger.room.saturating_sub(PROMISE_MIN);
            }
            return Ok(());
        };
        if len < PROMISE_MIN {
            return if offset == 0 && len > 0 { reserve(fs, staged, 0, len) } else { Ok(()) };
        }
        let promise = match staged.promise.get() {
            Some(promise) => promise,
            None if end < len / FIRST_PART => return Ok(()),
            None => self.promise(fs, staged, len, offset)?,
        };
        promise.written.fetch_add(bytes, Ordering::Relaxed);
        if end > promise.window_end.load(Ordering::Relaxed) { self.next_window(fs, staged, promise) } else { Ok(()) }
    }

    fn promise<'a>(
        &self,
        fs: &FileSystem,
        staged: &'a Staged,
        len: u64,
        written: u64,
    ) -> Result<&'a Arc<Promise>, StoreError> {
        let (mut ledger, now) = (lock(&self.ledger), clock());
        // Another worker may have written another piece of it meanwhile.
        if let Some(promise) = staged.promise.get() {
            return Ok(promise);
        }
        let need = len.saturating_sub(written);
        self.need(fs, &mut ledger, need, now)?;
        let promise = staged.promise.get_or_init(|| Arc::new(Promise::new(len, now)));
        promise.written.fetch_add(written, Ordering::Relaxed);
        // What an upload that is resumed has already needs no reservation.
        promise.window_end.store(written - written % WINDOW, Ordering::Relaxed);
        ledger.promises.push(Arc::downgrade(promise));
        ledger.room = ledger.room.saturating_sub(need);
        Ok(promise)
    }

    fn next_window(&self, fs: &FileSystem, staged: &Staged, promise: &Promise) -> Result<(), StoreError> {
        let from = promise.window_end.load(Ordering::Relaxed);
        let to = promise.len.min(from + WINDOW);
        let taken = promise.window_end.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        if from >= to || taken.is_err() {
            return Ok(());
        }
        let now = clock();
        let mut ledger = lock(&self.ledger);
        if !promise.is_on_course(now) {
            self.need(fs, &mut ledger, to - from, now)?;
        }
        let ahead: u64 = ledger.promises.iter().filter_map(Weak::upgrade).map(|promise| promise.ahead()).sum();
        if !fs.caps.reserve || ahead.saturating_add(to - from) > self.reserved_max {
            return Ok(());
        }
        promise.reserved.store(to, Ordering::Relaxed);
        drop(ledger);
        reserve(fs, staged, from, to - from)
    }

    /// Refuses if fewer than `bytes` are left beside what was promised and what is to stay free.
    fn need(&self, fs: &FileSystem, ledger: &mut Ledger, bytes: u64, now: Instant) -> Result<(), StoreError> {
        let is_fresh = ledger.measured.is_some_and(|then| now.saturating_duration_since(then) < MEASURED_FOR);
        if !is_fresh || ledger.room < bytes {
            ledger.promises.retain(|promise| promise.strong_count() > 0);
            let promises = ledger.promises.iter().filter_map(Weak::upgrade);
            let promised = promises.fold(0_u64, |sum, promise| sum.saturating_add(promise.outstanding(now)));
            ledger.room = self.free_space(fs).saturating_sub(promised).saturating_sub(self.min_free);
            ledger.measured = Some(now);
        }
        if ledger.room < bytes { Err(StoreError::refused(Failure::NoSpace, "fstatvfs")) } else { Ok(()) }
    }

    fn free_space(&self, fs: &FileSystem) -> u64 {
        #[cfg(test)]
        if let Some(free) = *lock(&self.free) {
            return free;
        }
        free_bytes(fs.root().fd.as_fd()).unwrap_or(u64::MAX)
    }
}

fn reserve(fs: &FileSystem, staged: &Staged, from: u64, len: u64) -> Result<(), StoreError> {
    if !fs.caps.reserve {
        return Ok(());
    }
    match linux::reserve(staged.file.as_fd(), from, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(fs.change_error("fallocate", &staged.path, errno)),
    }
}
