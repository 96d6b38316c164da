//! One upload that is not visible yet: the file in which it grows, and the space promised to it.

use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Failure, StoreError};
use crate::store::fs::stat::At;
use crate::store::quota::ledger::Holding;

/// A promise counts while the upload is on course to be complete this long after it was made, ...
const COURSE: Duration = Duration::from_secs(3600);
/// ... which is not asked before this time.
const COURSE_GRACE: Duration = Duration::from_secs(10);

/// A private directory: it stays what it is, and locked, for as long as a file grows in it.
pub(crate) trait PrivateDir: AsFd + Debug + Send + Sync {}

impl<T: AsFd + Debug + Send + Sync> PrivateDir for T {}

/// One upload.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The one descriptor that writes and syncs: a failed write-back is reported to it only.
    pub(crate) file: OwnedFd,
    dir: Arc<dyn PrivateDir>,
    name: Box<str>,
    pub(crate) len: Option<u64>,
    /// The final name as announced, for the log.
    pub(crate) path: Box<str>,
    /// The space that is kept for it; the promise ends with the upload.
    pub(crate) promise: OnceLock<Arc<Promise>>,
    /// What it holds of quotas.
    pub(crate) holding: Option<Arc<Holding>>,
    /// Its file gets execute bits when it is complete.
    pub(crate) is_executable: bool,
    failed: OnceLock<Failure>,
}

impl Staged {
    /// `file` has this name in `dir`; `path` is its final name.
    pub(crate) fn new(file: OwnedFd, (dir, name): (Arc<dyn PrivateDir>, String), path: &str, len: Option<u64>) -> Self {
        let (promise, failed) = (OnceLock::new(), OnceLock::new());
        Self {
            file,
            dir,
            name: name.into(),
            len,
            path: path.into(),
            promise,
            holding: None,
            is_executable: false,
            failed,
        }
    }

    pub(crate) fn holding(self, holding: Option<Arc<Holding>>) -> Self {
        Self { holding, ..self }
    }

    pub(crate) fn executable(self, is_executable: bool) -> Self {
        Self { is_executable, ..self }
    }

    /// The directory and the name of the file.
    pub(crate) fn at(&self) -> At<'_> {
        (self.dir.as_fd(), &self.name)
    }

    /// Every later step is refused too: what is in the file cannot be known any more.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        // Of two pieces at two workers, the second may be reported first: the peer is sent the same.
        self.failed.get().map_or(Ok(()), |failure| Err(StoreError::refused(*failure, "an earlier write failed")))
    }

    /// The first error of a file is final.
    pub(crate) fn fail(&self, error: StoreError) -> StoreError {
        self.failed.get_or_init(|| error.failure);
        error
    }
}

/// The space promised to one upload.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) len: u64,
    since: Instant,
    pub(crate) written: AtomicU64,
    /// The end of the window that is being filled.
    pub(crate) window_end: AtomicU64,
    /// The end of what the file system has reserved.
    pub(crate) reserved: AtomicU64,
}

impl Promise {
    pub(crate) fn new(len: u64, now: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self { len, since: now, written: zero(), window_end: zero(), reserved: zero() }
    }

    /// False for an upload so slow that its space is nothing to keep from others.
    pub(crate) fn is_on_course(&self, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.since).saturating_sub(COURSE_GRACE);
        u128::from(self.written.load(Ordering::Relaxed)) * COURSE.as_millis() >= u128::from(self.len) * time.as_millis()
    }

    /// Bytes that are promised and that the file system still counts as free.
    pub(crate) fn outstanding(&self, now: Instant) -> u64 {
        let taken = self.written.load(Ordering::Relaxed).max(self.reserved.load(Ordering::Relaxed));
        if self.is_on_course(now) { self.len.saturating_sub(taken) } else { 0 }
    }

    pub(crate) fn ahead(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed).saturating_sub(self.written.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::clock;

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
