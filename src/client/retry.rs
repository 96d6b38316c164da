//! For how long and how soon a failed request is tried again.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{ClientError, ErrorKind};
use super::options::{Options, Waiting};

/// Longest wait that a server's `retry=` may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// How often content that arrives damaged is sent again.
const DAMAGED_MAX: u32 = 5;

/// The failures of one operation since it made progress.
#[derive(Debug)]
pub(super) struct Retry {
    failures: u32,
    /// The time of the first one.
    since: Option<Instant>,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { failures: 0, since: None }
    }

    /// Forgets the failures, after progress that is not lost by the next one.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Waits before the next try; returns the error if there should be none.
    pub(super) fn pause(&mut self, error: ClientError, options: &Options) -> Result<(), ClientError> {
        let now = Instant::now();
        let Some(wait) = self.wait(&error.kind, options, now) else { return Err(error) };
        options.on_retry.call(&Waiting { error: &error, wait, left: self.left(options, now) });
        thread::sleep(wait);
        Ok(())
    }

    fn left(&mut self, options: &Options, now: Instant) -> Duration {
        options.retry_for.saturating_sub(now - *self.since.get_or_insert(now))
    }

    fn wait(&mut self, kind: &ErrorKind, options: &Options, now: Instant) -> Option<Duration> {
        let left = self.left(options, now);
        // Content that is damaged each time costs a whole transfer each time.
        let is_damaged_again = matches!(kind, ErrorKind::DigestMismatch) && self.failures >= DAMAGED_MAX;
        if !kind.is_retryable() || left.is_zero() || is_damaged_again {
            return None;
        }
        let doubled = options.backoff_first.saturating_mul(1 << self.failures.min(16)).min(options.backoff_max);
        self.failures += 1;
        // Random, so that many clients that were cut off together do not return together.
        let random = f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX);
        let wait = doubled.mul_f64(0.5 + 0.5 * random);
        let wait = match kind {
            ErrorKind::Refused { retry_after: Some(asked), .. } => wait.max((*asked).min(RETRY_AFTER_MAX)),
            _ => wait,
        };
        // The last try is made at the end of the time.
        Some(wait.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ErrorKind {
        ErrorKind::ConnectionLost(std::io::ErrorKind::ConnectionReset.into())
    }

    // covers: all-try-again
    #[test]
    fn waits_double_up_to_a_bound_until_the_time_is_over() {
        let (options, start) = (Options { retry_for: Duration::from_secs(300), ..Options::default() }, Instant::now());
        let mut retry = Retry::new();
        for base in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = retry.wait(&lost(), &options, start).expect("time is left").as_millis();
            assert!((base / 2..=base).contains(&wait), "{wait} of {base}");
        }
        let end = start + options.retry_for;
        let just_before = end - Duration::from_millis(7);
        assert_eq!(retry.wait(&lost(), &options, just_before), Some(Duration::from_millis(7)));
        assert_eq!(retry.wait(&lost(), &options, end), None);
        retry.reset();
        assert!(retry.wait(&lost(), &options, end).is_some());
        for tries in 0..8 {
            let waits = retry.wait(&ErrorKind::DigestMismatch, &options, end).is_some();
            assert_eq!(waits, tries < 4, "{tries}: content that is damaged again and again");
        }
        let once = Options { retry_for: Duration::ZERO, ..Options::default() };
        assert_eq!(Retry::new().wait(&lost(), &once, start), None);
    }

    #[test]
    fn the_server_may_ask_for_a_longer_wait_within_reason() {
        let options = Options { retry_for: Duration::from_secs(300), ..Options::default() };
        let (mut retry, now) = (Retry::new(), Instant::now());
        let busy = |seconds| ErrorKind::Refused {
            code: 429,
            message: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(retry.wait(&busy(7), &options, now), Some(Duration::from_secs(7)));
        assert_eq!(retry.wait(&busy(86_400), &options, now), Some(RETRY_AFTER_MAX));
        assert_eq!(retry.wait(&ErrorKind::SourceChanged, &options, now), None);
    }
}
