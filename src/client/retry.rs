//! How often and how soon a failed request is tried again.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::Duration;

use super::error::ErrorKind;
use super::options::{Options, Progress};

/// Longest wait that a server's `retry=` may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Counts the failures of one operation.
#[derive(Debug)]
pub(super) struct Retry {
    first: Duration,
    max: Duration,
    retries: u32,
    failures: u32,
}

impl Retry {
    pub(super) fn new(options: &Options) -> Self {
        Self { first: options.backoff_first, max: options.backoff_max, retries: options.retries, failures: 0 }
    }

    /// Starts counting anew, after progress that is not lost by the next failure.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next try; gives the error back if there should be none.
    pub(super) fn pause(&mut self, kind: ErrorKind, progress: &mut dyn Progress) -> Result<(), ErrorKind> {
        let Some(wait) = self.wait(&kind) else { return Err(kind) };
        progress.retrying(&kind, wait);
        thread::sleep(wait);
        Ok(())
    }

    fn wait(&mut self, kind: &ErrorKind) -> Option<Duration> {
        if !kind.is_retryable() || self.failures >= self.retries {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures += 1;
        // Random, so that many clients that were cut off together do not return together.
        let random = f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX);
        let wait = doubled.mul_f64(0.5 + 0.5 * random);
        match kind {
            ErrorKind::Refused { retry_after: Some(asked), .. } => Some(wait.max((*asked).min(RETRY_AFTER_MAX))),
            _ => Some(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ErrorKind {
        ErrorKind::ConnectionLost(std::io::ErrorKind::ConnectionReset.into())
    }

    // covers: K9
    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let mut retry = Retry::new(&Options::default());
        for base in [200, 400, 800, 1600, 3200] {
            let wait = retry.wait(&lost()).expect("tries are left").as_millis();
            assert!((base / 2..=base).contains(&wait), "{wait} of {base}");
        }
        assert_eq!(retry.wait(&lost()), None);
        retry.reset();
        assert!(retry.wait(&lost()).is_some());
    }

    #[test]
    fn the_server_may_ask_for_a_longer_wait_within_reason() {
        let mut retry = Retry::new(&Options::default());
        let busy = |seconds| ErrorKind::Refused {
            code: 429,
            message: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(retry.wait(&busy(7)), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait(&busy(86_400)), Some(RETRY_AFTER_MAX));
        assert_eq!(retry.wait(&ErrorKind::SourceChanged), None);
    }
}
