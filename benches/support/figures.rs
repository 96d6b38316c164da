//! Figures for people: percentiles and spreads.

use std::fmt;
use std::time::Duration;

/// Many durations, told as a few.
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

/// Bytes per second in MiB/s.
pub fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / (1 << 20) as f64 / time.as_secs_f64()
}
