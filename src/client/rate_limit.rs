//! How fast bodies move, over all connections of a run. Never counts requests and replies.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pieces that are waited for, in a second.
const PIECES: u64 = 10;

/// Most bytes in a second, for all clients that have a clone.
#[derive(Clone, Debug)]
pub struct RateLimit {
    bytes: u64,
    /// When the next byte may move.
    next: Arc<Mutex<Instant>>,
}

impl RateLimit {
    /// At most this number of bytes in a second.
    pub fn new(bytes: u64) -> Self {
        Self { bytes: bytes.max(1), next: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Most bytes to move before [`Self::wait`].
    pub(super) fn piece(&self) -> usize {
        usize::try_from(self.bytes.div_ceil(PIECES)).unwrap_or(usize::MAX)
    }

    /// Waits until bytes that have moved are paid for.
    pub(super) fn wait(&self, bytes: usize) {
        thread::sleep(self.due(bytes, Instant::now()));
    }

    fn due(&self, bytes: usize, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes as f64);
        *next - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_rate_and_what_was_not_used_is_not_saved() {
        let limit = RateLimit::new(1000);
        let (other, now) = (limit.clone(), Instant::now() + Duration::from_secs(100));
        assert_eq!(limit.piece(), 100);
        assert_eq!(limit.due(100, now), Duration::from_millis(100));
        assert_eq!(other.due(100, now), Duration::from_millis(200));
        let later = now + Duration::from_secs(10);
        assert_eq!(limit.due(50, later), Duration::from_millis(50));
    }
}
