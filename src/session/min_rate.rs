//! Whether the peer keeps a minimum rate while it waits for nothing of ours.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::error::Failure;

/// The minimum rate: at least this many bytes in every window, time spent waiting for our own disk not counted. Where an
/// upload sent less in that time than it could have, it was its own: one byte now and then would be fast enough on a disk
/// that others keep busy.
#[derive(Debug)]
pub struct MinRate {
    window_end: Instant,
    moved: u64,
    /// Bytes that lay in the send queue of the kernel when the window began.
    queued: u64,
    /// Since when the store keeps the peer waiting.
    store_since: Option<Instant>,
    /// By how much such waits have moved the end of the window since the peer sent something.
    excused: Duration,
    /// Since when the limits of its client keep it waiting.
    limit_since: Option<Instant>,
    /// By how much such waits have moved the end of the window: fewer bytes than a [`Duration`] has.
    limited_ms: u32,
}

impl MinRate {
    /// A rate that begins now.
    pub(super) fn new(now: Instant, window: Duration) -> Self {
        Self {
            window_end: now + window,
            moved: 0,
            queued: 0,
            store_since: None,
            excused: Duration::ZERO,
            limit_since: None,
            limited_ms: 0,
        }
    }

    /// The peer sent `n` bytes; `is_all` if nothing kept it from sending more.
    pub(super) fn received(&mut self, n: usize, is_all: bool) {
        let excused = std::mem::take(&mut self.excused);
        if is_all {
            self.window_end -= excused;
        }
        self.moved += n as u64;
    }

    /// The kernel took `n` bytes for the peer.
    pub(super) const fn sent(&mut self, n: usize) {
        self.moved += n as u64;
    }

    /// From here on the peer waits for our store.
    pub(super) fn store_began(&mut self, now: Instant) {
        self.store_since.get_or_insert(now);
    }

    /// The store is done: the time it took is not the peer's. What that waited for its limits as well is left out when
    /// they permit more.
    pub(super) fn store_ended(&mut self, now: Instant) {
        if let Some(since) = self.store_since.take() {
            self.excuse(self.limit_since.unwrap_or(now).saturating_duration_since(since));
        }
    }

    fn excuse(&mut self, waited: Duration) {
        self.window_end += waited;
        self.excused += waited;
    }

    /// From here on the peer waits for the limits of its client.
    pub(super) fn limit_began(&mut self, now: Instant) {
        self.limit_since.get_or_insert(now);
    }

    /// They permit more: the time that took is not the peer's. True if it waited.
    pub(super) fn limit_ended(&mut self, now: Instant) -> bool {
        let Some(since) = self.limit_since.take() else { return false };
        if let Some(store) = self.store_since {
            self.excuse(since.saturating_duration_since(store));
            self.store_since = Some(now);
        }
        let waited = now.saturating_duration_since(since);
        self.window_end += waited;
        self.limited_ms = self.limited_ms.saturating_add(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        true
    }

    /// True while the peer waits for our store, or for the limits of its client.
    pub(super) const fn waits_for_us(&self) -> bool {
        self.store_since.is_some() || self.limit_since.is_some()
    }

    /// When to look at the rate again; never while the peer waits for us.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        if self.waits_for_us() { None } else { Some(self.window_end) }
    }

    /// Bytes per second since the window began, the time included that the limits of its client took, which owe it `due`
    /// bytes while it waits for them. None while the peer waits for our store, and before `contention_wait` of it. `queued` as for
    /// [`MinRate::check`].
    pub(super) fn rate(&self, now: Instant, limits: &Limits, queued: u64, due: u64) -> Option<u64> {
        let window = limits.fixed.rate_window;
        let time =
            (now + window + Duration::from_millis(self.limited_ms.into())).saturating_duration_since(self.window_end);
        if self.store_since.is_some() || time < limits.live.contention_wait.min(window / 2) {
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
    pub(super) fn check(&mut self, now: Instant, limits: &Limits, queued: u64) -> Result<(), Failure> {
        let window = limits.fixed.rate_window;
        if now < self.window_end {
            return Ok(());
        }
        let wanted = u128::from(limits.live.rate_bytes_per_s_min) * window.as_millis() / 1000;
        let enough = u128::from(self.left(queued)) >= wanted;
        *self = Self { queued, ..Self::new(now, window) };
        if enough { Ok(()) } else { Err(Failure::TimedOut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn time_at_our_own_disk_is_not_the_peers() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let mut rate = MinRate::new(start, window);
        let at = |s| start + Duration::from_secs(s);
        rate.received(99, true);
        rate.store_began(at(1));
        assert_eq!(rate.deadline(), None);
        rate.store_ended(at(5));
        assert_eq!(rate.deadline(), Some(at(14)));
        assert_eq!(rate.check(at(13), &limits(), 0), Ok(()));
        assert_eq!(rate.check(at(14), &limits(), 0), Err(Failure::TimedOut));
        rate.received(100, true);
        assert_eq!(rate.check(at(24), &limits(), 0), Ok(()));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn time_at_our_own_disk_is_the_peers_if_it_sent_little_in_it() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let at = |s| start + Duration::from_secs(s);
        for (is_all, window_end) in [(true, 10), (false, 14)] {
            let mut rate = MinRate::new(start, window);
            rate.store_began(at(1));
            rate.store_ended(at(5));
            rate.received(5, is_all);
            assert_eq!(rate.deadline(), Some(at(window_end)), "all: {is_all}");
            rate.received(1, true);
            assert_eq!(rate.deadline(), Some(at(window_end)), "what comes later says nothing of the wait");
        }
        let mut rate = MinRate::new(start, window);
        for s in [1, 6] {
            rate.store_began(at(s));
            rate.store_ended(at(s + 2));
        }
        assert_eq!(rate.deadline(), Some(at(14)));
        rate.received(1, true);
        assert_eq!(rate.deadline(), Some(at(10)), "it sent little in both");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn time_at_our_own_disk_and_at_the_limits_of_its_client_is_left_out_once() {
        let (start, window) = (Instant::now(), Duration::from_secs(10));
        let at = |s| start + Duration::from_secs(s);
        for (store, limit, waited, of_limit) in [
            ((1, 5), (6, 8), 6, 2),
            ((1, 7), (5, 8), 7, 3),
            ((1, 8), (5, 7), 7, 2),
            ((5, 7), (1, 8), 7, 7),
            ((4, 8), (1, 5), 7, 4),
        ] {
            let mut rate = MinRate::new(start, window);
            for s in 1..=8 {
                (s == store.0).then(|| rate.store_began(at(s)));
                (s == limit.0).then(|| rate.limit_began(at(s)));
                (s == store.1).then(|| rate.store_ended(at(s)));
                (s == limit.1).then(|| assert!(rate.limit_ended(at(s))));
            }
            assert_eq!(rate.deadline(), Some(at(10 + waited)), "{store:?} {limit:?}");
            rate.received(500, true);
            assert_eq!(rate.deadline(), Some(at(10 + of_limit)), "{store:?} {limit:?}: it sent little");
        }
    }
}
