//! How often and how soon something is tried again.
//!
//! Decides only; the waiting is done by the caller.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::{ErrorKind, Options};

/// Longest wait that a server's `retry=` may ask for.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// Counts the failures of one operation.
#[derive(Debug)]
pub(super) struct Retry {
    first: Duration,
    max: Duration,
    retries: u32,
    failures: u32,
}

impl Retry {
    /// Nothing has failed yet.
    pub(super) fn new(options: &Options) -> Self {
        Self { first: options.backoff_first, max: options.backoff_max, retries: options.retries, failures: 0 }
    }

    /// Something was achieved for good: start counting anew.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next try; `None` when there should be none.
    pub(super) fn wait(&mut self, kind: &ErrorKind) -> Option<Duration> {
        if !kind.is_retryable() || self.failures >= self.retries {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures += 1;
        let wait = doubled.mul_f64(0.5 + 0.5 * random());
        match kind {
            ErrorKind::Refused { retry: Some(asked), .. } => Some(wait.max((*asked).min(ASKED_MAX))),
            _ => Some(wait),
        }
    }
}

/// From 0 to 1, so that many clients cut off together do not come back together.
fn random() -> f64 {
    f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ErrorKind {
        ErrorKind::ConnectionLost(std::io::ErrorKind::ConnectionReset.into())
    }

    // covers: K9
    #[test]
    fn waits_double_up_to_their_bound_and_end() {
        let mut retry = Retry::new(&Options::default());
        for base in [200, 400, 800, 1600, 3200] {
            let wait = retry.wait(&lost()).expect("tries are left").as_millis();
            assert!((base / 2..=base).contains(&wait), "{wait} of {base}");
        }
        assert_eq!(retry.wait(&lost()), None);
        retry.progressed();
        assert!(retry.wait(&lost()).is_some());
    }

    #[test]
    fn the_server_may_ask_for_a_longer_wait_within_reason() {
        let mut retry = Retry::new(&Options::default());
        let busy =
            |seconds| ErrorKind::Refused { code: 429, words: String::new(), retry: Some(Duration::from_secs(seconds)) };
        assert_eq!(retry.wait(&busy(7)), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait(&busy(86_400)), Some(ASKED_MAX));
        assert_eq!(retry.wait(&ErrorKind::SourceChanged), None);
    }
}
