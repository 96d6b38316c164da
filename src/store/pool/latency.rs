//! Whether the disk keeps up with the writes of the loop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::os::process::clock;
use crate::os::sys;

/// An inline call this long means that the disk does not keep up. A write into the page cache
/// takes microseconds; 5 ms is the longest turn that is allowed.
const SLOW: Duration = Duration::from_millis(5);
/// How long a slow call counts.
const SLOW_FOR: Duration = Duration::from_millis(500);

/// Remembers when a write was last slow. Any thread may report one.
#[derive(Debug)]
pub(crate) struct DiskLatency {
    start: Instant,
    slow_until_ns: AtomicU64,
}

impl DiskLatency {
    pub(crate) fn start() -> Self {
        Self { start: clock(), slow_until_ns: AtomicU64::new(0) }
    }

    fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Runs `call` and remembers if it was slow. A call that only lost its core to another process
    /// says nothing about the disk.
    pub(crate) fn measure<T>(&self, call: impl FnOnce() -> T) -> T {
        self.measure_since(sys::waits_of_this_thread(), call)
    }

    /// The same where the waits of this thread were counted a moment ago: a small call must not pay
    /// for counting them. Without the count (getrusage(2)), small uploads to ext4 cost 17 to 47 % more, as a
    /// lost core would look like a slow disk.
    pub(crate) fn measure_since<T>(&self, waits: i64, call: impl FnOnce() -> T) -> T {
        let before = clock();
        let result = call();
        let after = clock();
        if after.saturating_duration_since(before) > SLOW && sys::waits_of_this_thread() != waits {
            self.slow_until_ns.fetch_max(self.ns(after + SLOW_FOR), Ordering::Relaxed);
        }
        result
    }

    /// True for a while after a slow call.
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        self.slow_until_ns.load(Ordering::Relaxed) > self.ns(now)
    }
}
