//! Figures for people: percentiles and spreads.

use std::fmt;
use std::time::Duration;

/// Many durations, reported as a few.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that `permille` of a thousand do not exceed.
    pub fn permille(&self, permille: usize) -> Duration {
        let at = (self.0.len() * permille).div_ceil(1000).saturating_sub(1);
        self.0.get(at).copied().unwrap_or_default()
    }

    pub fn least(&self) -> Duration {
        self.0.first().copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.permille(500)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999, most) = (self.median(), self.permille(990), self.permille(999), self.permille(1000));
        write!(f, "n={} p50={p50:.1?} p99={p99:.1?} p99.9={p999:.1?} max={most:.1?}", self.len())
    }
}

/// The middle of some numbers, the lower one of two; 0 of none.
pub fn median(all: &[f64]) -> f64 {
    let mut all = all.to_vec();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Jain's index of fairness: 1 if everybody got the same, one part of `all.len()` if one got all.
pub fn jain(all: &[f64]) -> f64 {
    let (sum, squares) = all.iter().fold((0.0, 0.0), |(sum, squares), it| (sum + it, squares + it * it));
    if squares == 0.0 { 0.0 } else { sum * sum / (all.len() as f64 * squares) }
}

/// Bytes per second in MiB/s.
pub fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / (1 << 20) as f64 / time.as_secs_f64()
}
