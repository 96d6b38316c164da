//! How long something took, counted in fixed buckets: each bound is twice the one before it.
//!
//! Counting is a shift and three additions; nothing here allocates or reads a clock.

use std::time::Duration;

/// The first bound, in microseconds.
const FIRST_US: u64 = 8;
/// How many bounds there are: the last is 16.8 seconds.
const BOUNDS: usize = 22;

/// Lengths of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were within each bound and not within the one before; the last bucket counts those
    /// beyond every bound.
    buckets: [u64; BOUNDS + 1],
    sum_ns: u64,
}

impl Histogram {
    /// Something took this long.
    pub fn observe(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up, so that a bound holds exactly those that were no longer.
        let steps = (ns.div_ceil(1000).saturating_sub(1)) / FIRST_US;
        let place = (u64::BITS - steps.leading_zeros()) as usize;
        self.buckets[place.min(BOUNDS)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// Each bound with how many were no longer than that. The rest, up to [`Histogram::count`],
    /// were longer than the last.
    pub fn within(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut so_far = 0;
        self.buckets[..BOUNDS].iter().enumerate().map(move |(place, count)| {
            so_far += count;
            (Duration::from_micros(FIRST_US << place), so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: Duration = Duration::from_nanos(1);

    #[test]
    fn a_bound_holds_what_took_exactly_that_long_and_nothing_longer() {
        let bounds: Vec<Duration> = Histogram::default().within().map(|(bound, _)| bound).collect();
        assert_eq!(bounds.first(), Some(&Duration::from_micros(8)));
        assert_eq!(bounds.last(), Some(&Duration::from_micros(16_777_216)));
        for bound in &bounds {
            let mut histogram = Histogram::default();
            histogram.observe(*bound);
            histogram.observe(*bound + NS);
            for (other, count) in histogram.within() {
                let expected = u64::from(other >= *bound) + u64::from(other > *bound);
                assert_eq!(count, expected, "{bound:?} within {other:?}");
            }
            assert_eq!(histogram.count(), 2);
        }
    }

    #[test]
    fn count_and_sum_know_also_what_is_beyond_every_bound() {
        let mut histogram = Histogram::default();
        for took in [Duration::ZERO, NS, Duration::from_millis(3), Duration::from_secs(3600)] {
            histogram.observe(took);
        }
        assert_eq!((histogram.count(), histogram.sum()), (4, Duration::from_nanos(3_600_003_000_001)));
        assert_eq!(histogram.within().map(|(_, count)| count).max(), Some(3));
        histogram.observe(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_nanos(u64::MAX)));
    }
}
