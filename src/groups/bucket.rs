//! Token buckets, each held as one time: when it is full again. Never reads a clock.

use std::time::{Duration, Instant};

/// How fast a bucket fills, and what it holds when it is full. 0 per second stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    per_s: u64,
    burst: u64,
    /// In which an empty bucket is full.
    burst_time: Duration,
}

/// Least burst of bytes: less would mean a call for every few bytes.
const BURST_BYTES_MIN: u64 = 16 * 1024;
/// A burst of bytes is what comes in this many parts of a second. Larger ones would show in the rate of short
/// transfers.
const BURSTS_PER_S: u64 = 32;

impl Rate {
    /// Bytes per second.
    pub(super) fn of_bytes(per_s: u64) -> Self {
        Self::new(per_s, (per_s / BURSTS_PER_S).max(BURST_BYTES_MIN))
    }

    /// Requests per second: as many may come at once.
    pub(super) fn of_requests(per_s: u64) -> Self {
        Self::new(per_s, per_s)
    }

    fn new(per_s: u64, burst: u64) -> Self {
        Self { per_s, burst, burst_time: time(burst, per_s) }
    }

    pub(super) const fn is_limited(self) -> bool {
        self.per_s > 0
    }

    pub(super) const fn per_s(self) -> u64 {
        self.per_s
    }

    pub(super) const fn burst(self) -> u64 {
        self.burst
    }

    fn time(self, tokens: u64) -> Duration {
        time(tokens, self.per_s)
    }

    /// The tokens that come in a time.
    fn tokens(self, time: Duration) -> u64 {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match ns.checked_mul(self.per_s) {
            Some(product) => product / NS_PER_S,
            None => narrow(u128::from(ns) * u128::from(self.per_s) / u128::from(NS_PER_S)),
        }
    }
}

const NS_PER_S: u64 = 1_000_000_000;

/// In which this many tokens come: rounded up, so that the rate is never exceeded. Numbers that permit it are divided
/// as 64 bits, which takes a tenth of the time: this is on the way of every request.
fn time(tokens: u64, per_s: u64) -> Duration {
    let per_s = per_s.max(1);
    Duration::from_nanos(match tokens.checked_mul(NS_PER_S) {
        Some(product) => product.div_ceil(per_s),
        None => narrow((u128::from(tokens) * u128::from(NS_PER_S)).div_ceil(u128::from(per_s))),
    })
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full: Instant,
}

impl Bucket {
    pub(super) const fn new(now: Instant) -> Self {
        Self { full: now }
    }

    pub(super) fn is_full(self, now: Instant) -> bool {
        self.full <= now
    }

    /// Tokens in it.
    pub(super) fn tokens(self, rate: Rate, now: Instant) -> u64 {
        let missing = self.full.saturating_duration_since(now);
        rate.tokens(rate.burst_time.saturating_sub(missing))
    }

    /// Takes tokens, also more than there are: then it is empty until they have come.
    pub(super) fn take(&mut self, tokens: u64, rate: Rate, now: Instant) {
        self.full = self.full.max(now) + rate.time(tokens);
    }

    /// Tokens that were taken and have not come yet.
    pub(super) fn debt(self, rate: Rate, now: Instant) -> u64 {
        rate.tokens(self.full.saturating_duration_since(now).saturating_sub(rate.burst_time))
    }

    /// It fills at another rate from now on: what is in it stays, up to what it then holds.
    pub(super) fn change(&mut self, before: Rate, after: Rate, now: Instant) {
        if before == after {
            return;
        }
        if !after.is_limited() {
            self.full = now;
            return;
        }
        let missing = before.tokens(self.full.saturating_duration_since(now));
        let debt = missing.saturating_sub(before.burst);
        let missing = after.burst.saturating_sub(before.burst.saturating_sub(missing)).saturating_add(debt);
        self.full = now + after.time(missing);
    }

    /// Time until this many tokens are in it, which is at most a burst.
    pub(super) fn wait(self, tokens: u64, rate: Rate, now: Instant) -> Duration {
        let spare = rate.burst_time.saturating_sub(rate.time(tokens));
        self.full.saturating_duration_since(now).saturating_sub(spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_bucket_gives_its_burst_at_once_and_its_rate_ever_after() {
        let (rate, mut now) = (Rate::of_bytes(1 << 20), Instant::now());
        let mut bucket = Bucket::new(now);
        let (mut given, begin) = (0, now);
        for _ in 0..1000 {
            let there = bucket.tokens(rate, now);
            assert!(there <= rate.burst());
            bucket.take(there, rate, now);
            given += there;
            now += bucket.wait(rate.burst() / 2, rate, now);
            assert!(bucket.tokens(rate, now) >= rate.burst() / 2 - 1, "the time that was returned is enough");
        }
        let may = (1 << 20) as f64 * (now - begin).as_secs_f64() + rate.burst() as f64;
        assert!(given as f64 <= may + 1.0 && given as f64 >= may * 0.99 - rate.burst() as f64, "{given} of {may}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn what_was_taken_too_much_is_waited_for() {
        let (rate, now) = (Rate::of_requests(2), Instant::now());
        let mut bucket = Bucket::new(now);
        bucket.take(5, rate, now);
        assert_eq!((bucket.tokens(rate, now), bucket.debt(rate, now)), (0, 3));
        assert_eq!(bucket.wait(1, rate, now), Duration::from_secs(2));
        let later = now + Duration::from_secs(2);
        assert_eq!((bucket.tokens(rate, later), bucket.debt(rate, later)), (1, 0));
        assert!(!bucket.is_full(later) && bucket.is_full(later + Duration::from_millis(500)));
    }
}
