//! Wrong secrets and passwords, by address: each drains a bucket that fills again with time. While it is empty, new
//! connections of the address are read one after the other, with a delay, and passwords that would have to be checked
//! are refused. Connections of trusted
//! proxies have many clients: there single requests are refused.
//!
//! The session bounds what one connection may try. A client that knows the secret, or has a password that was checked
//! before, waits only with a new connection, and only while another one at its address guesses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::access::password::Finding;
use crate::config::Limits;
use crate::ids::ClientAddress;

#[derive(Clone, Copy, Debug)]
struct Guesser {
    /// When the bucket is full again. Each wrong secret moves this by the time that its place takes to fill.
    full: Instant,
    /// When the next new connection is read.
    next: Instant,
    /// Passwords that are being checked: each may be wrong.
    checks: usize,
    /// When it last showed a wrong secret.
    wrong_at: Option<Instant>,
}

impl Guesser {
    /// True if it has shown a wrong secret lately, or may be about to.
    fn may_guess(&self, now: Instant, limits: &Limits) -> bool {
        self.checks > 0 || self.wrong_at.is_some_and(|at| now < at + limits.wrong_secret_memory)
    }

    /// Time until one more wrong secret is within the bound.
    fn wait(&self, now: Instant, limits: &Limits) -> Duration {
        let spare = limits.wrong_secret_memory - place(limits);
        self.full.saturating_duration_since(now).saturating_sub(spare)
    }

    /// Wrong secrets that are not forgotten yet.
    fn wrong(&self, now: Instant, limits: &Limits) -> usize {
        let left = self.full.saturating_duration_since(now).as_nanos();
        usize::try_from(left.div_ceil(place(limits).as_nanos().max(1))).unwrap_or(usize::MAX)
    }
}

/// How long one place in a bucket takes to fill.
fn place(limits: &Limits) -> Duration {
    limits.wrong_secret_memory / u32::from(limits.wrong_secrets_max.max(1))
}

#[derive(Debug, Default)]
pub struct Guesses {
    guessers: HashMap<ClientAddress, Guesser>,
    /// Passwords that are being checked, of all addresses.
    checks: usize,
}

impl Guesses {
    /// Most bytes of one entry of the table, for the accounting of memory.
    pub const ENTRY_BYTES: usize = 3 * (size_of::<ClientAddress>() + size_of::<Guesser>());

    /// A wrong secret was shown.
    pub fn failed(&mut self, address: ClientAddress, now: Instant, limits: &Limits) {
        let guesser = self.entry(address, now, limits);
        guesser.full = (guesser.full.max(now) + place(limits)).min(now + limits.wrong_secret_memory);
        guesser.wrong_at = Some(now);
    }

    /// How long a new connection must not be read; `None` if that is too long, and it is refused.
    pub fn wait(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Option<Duration> {
        let Some(guesser) = self.guesser(address, now, limits) else { return Some(Duration::ZERO) };
        let next = guesser.next.max(now);
        let wait = next - now;
        if wait > limits.wrong_secret_wait_max {
            return None;
        }
        guesser.next = next + limits.wrong_secret_delay;
        Some(wait)
    }

    /// True if a request of this address may show a secret now, where requests do not wait.
    pub fn may_try(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> bool {
        let Some(guesser) = self.guesser(address, now, limits) else { return true };
        let is_time = guesser.next <= now;
        if is_time {
            guesser.next = now + limits.wrong_secret_delay;
        }
        is_time
    }

    /// What is known of an address that has guessed too often.
    fn guesser(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Option<&mut Guesser> {
        let key = self.key(address, limits);
        self.guessers.get_mut(&key).filter(|guesser| !guesser.wait(now, limits).is_zero())
    }

    /// A password is to be checked; otherwise why it is not. Those under way count as wrong: so an address never
    /// has more of them checked at once than it may show wrong ones. Addresses that have shown none lately have half of the
    /// places to themselves.
    pub fn begin_check(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Result<(), Finding> {
        let under_way = self.checks;
        if under_way >= limits.password_checks_max {
            return Err(Finding::Busy);
        }
        let guesser = self.entry(address, now, limits);
        let wait = guesser.wait(now, limits);
        if !wait.is_zero() {
            let seconds = wait.as_millis().div_ceil(1000);
            return Err(Finding::TooManyGuesses(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        let is_over = guesser.wrong(now, limits) + guesser.checks >= usize::from(limits.wrong_secrets_max);
        if is_over || guesser.may_guess(now, limits) && under_way >= limits.password_checks_max.div_ceil(2) {
            return Err(Finding::Busy);
        }
        guesser.checks += 1;
        self.checks += 1;
        Ok(())
    }

    /// The check that [`Guesses::begin_check`] permitted is over.
    pub fn end_check(&mut self, address: ClientAddress, finding: Finding, now: Instant, limits: &Limits) {
        self.checks = self.checks.checked_sub(1).expect("a check that ended had begun");
        // The entry stays while checks are under way; it may have been that of all other addresses.
        let is_own = self.guessers.get(&address).is_some_and(|guesser| guesser.checks > 0);
        let key = if is_own { address } else { ClientAddress::OTHERS };
        if let Some(guesser) = self.guessers.get_mut(&key) {
            guesser.checks = guesser.checks.saturating_sub(1);
        }
        if finding == Finding::Wrong {
            self.failed(address, now, limits);
        }
    }

    fn entry(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> &mut Guesser {
        if self.is_full(limits) && !self.guessers.contains_key(&address) {
            self.guessers.retain(|_, guesser| now < guesser.full || guesser.checks > 0);
        }
        self.guessers.entry(self.key(address, limits)).or_insert(Guesser {
            full: now,
            next: now,
            checks: 0,
            wrong_at: None,
        })
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.guessers.len() >= limits.wrong_secret_addresses_max
    }

    /// Under which an address is counted.
    fn key(&self, address: ClientAddress, limits: &Limits) -> ClientAddress {
        if self.is_full(limits) && !self.guessers.contains_key(&address) { ClientAddress::OTHERS } else { address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [ClientAddress; 4] {
        [1, 2, 3, 4].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()))
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn new_connections_of_an_address_that_guesses_are_read_one_after_the_other() {
        let now = Instant::now();
        let limits = Limits { wrong_secret_addresses_max: 2, ..Limits::default() };
        let mut guesses = Guesses::default();
        let [one, other, third, fourth] = addresses();
        let delay = limits.wrong_secret_delay;
        for _ in 0..limits.wrong_secrets_max {
            assert_eq!(guesses.wait(one, now, &limits), Some(Duration::ZERO));
            guesses.failed(one, now, &limits);
        }
        let most = limits.wrong_secret_wait_max.as_millis() / delay.as_millis();
        for n in 0..=u32::try_from(most).expect("few") {
            assert_eq!(guesses.wait(one, now, &limits), Some(n * delay));
        }
        assert_eq!(guesses.wait(one, now, &limits), None);
        assert_eq!(guesses.wait(other, now, &limits), Some(Duration::ZERO));
        let later = now + limits.wrong_secret_memory;
        assert_eq!(guesses.wait(one, later, &limits), Some(Duration::ZERO), "forgotten");
        for address in [one, other, third, fourth] {
            for _ in 0..limits.wrong_secrets_max / 2 {
                guesses.failed(address, later, &limits);
            }
        }
        assert_eq!(guesses.guessers.len(), 3, "two, and all others");
        assert_eq!(guesses.wait(third, later, &limits), Some(Duration::ZERO));
        assert_eq!(guesses.wait(fourth, later, &limits), Some(delay), "as one address");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_request_of_an_address_that_guesses_is_refused_until_its_time_has_come() {
        let (now, limits, mut guesses) = (Instant::now(), Limits::default(), Guesses::default());
        let [one, other] = [1, 2].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()));
        for _ in 0..limits.wrong_secrets_max {
            assert!(guesses.may_try(one, now, &limits));
            guesses.failed(one, now, &limits);
        }
        for n in 0..3 {
            let now = now + n * limits.wrong_secret_delay;
            assert_eq!([0; 3].map(|_| guesses.may_try(one, now, &limits)), [true, false, false]);
            assert!(guesses.may_try(other, now, &limits));
        }
        assert!(guesses.may_try(one, now + limits.wrong_secret_memory, &limits), "forgotten");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn wrong_passwords_of_an_address_are_bounded_and_it_is_told_when_to_try_again() {
        let mut now = Instant::now();
        let limits = Limits { password_checks_max: 100, ..Limits::default() };
        let most = usize::from(limits.wrong_secrets_max);
        let mut guesses = Guesses::default();
        let [one, other, ..] = addresses();
        for _ in 0..most {
            assert_eq!(guesses.begin_check(one, now, &limits), Ok(()));
        }
        assert_eq!(guesses.begin_check(one, now, &limits), Err(Finding::Busy), "each of them may be wrong");
        assert_eq!(guesses.begin_check(other, now, &limits), Ok(()));
        guesses.end_check(other, Finding::Right, now, &limits);
        guesses.end_check(one, Finding::Right, now, &limits);
        assert_eq!(guesses.begin_check(one, now, &limits), Ok(()), "a right one costs nothing");
        for _ in 0..most {
            guesses.end_check(one, Finding::Wrong, now, &limits);
        }
        assert_eq!(guesses.checks, 0);
        let Err(Finding::TooManyGuesses(seconds)) = guesses.begin_check(one, now, &limits) else {
            panic!("more guesses than permitted")
        };
        now += Duration::from_secs(u64::from(seconds)) - Duration::from_millis(1);
        assert!(guesses.begin_check(one, now, &limits).is_err(), "the time is not longer than it must be");
        now += Duration::from_millis(1);
        assert_eq!(guesses.begin_check(one, now, &limits), Ok(()), "the time is true");
        assert_eq!(guesses.begin_check(one, now, &limits), Err(Finding::Busy));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn addresses_that_guess_leave_half_of_the_places_to_those_that_do_not() {
        let mut now = Instant::now();
        let limits = Limits { password_checks_max: 4, ..Limits::default() };
        let mut guesses = Guesses::default();
        let [one, other, third, fourth] = addresses();
        for address in [one, other] {
            guesses.failed(address, now, &limits);
            assert_eq!(guesses.begin_check(address, now, &limits), Ok(()));
        }
        for address in [one, other] {
            assert_eq!(guesses.begin_check(address, now, &limits), Err(Finding::Busy));
        }
        for address in [third, fourth] {
            assert_eq!(guesses.begin_check(address, now, &limits), Ok(()));
        }
        guesses.end_check(one, Finding::Right, now, &limits);
        assert_eq!(guesses.begin_check(one, now, &limits), Err(Finding::Busy), "three of four are taken");
        now += limits.wrong_secret_memory - Duration::from_millis(1);
        assert_eq!(guesses.begin_check(one, now, &limits), Err(Finding::Busy), "not forgotten yet");
        now += Duration::from_millis(1);
        assert_eq!(guesses.begin_check(one, now, &limits), Ok(()), "it is forgotten");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn checks_are_bounded_over_all_addresses_and_counted_down_under_the_entry_they_began_under() {
        let now = Instant::now();
        let limits = Limits { password_checks_max: 6, wrong_secret_addresses_max: 1, ..Limits::default() };
        let mut guesses = Guesses::default();
        let [one, other, third, fourth] = addresses();
        for address in [one, other, third] {
            assert_eq!(guesses.begin_check(address, now, &limits), Ok(()));
        }
        assert_eq!(guesses.begin_check(fourth, now, &limits), Err(Finding::Busy));
        for address in [one, other, third] {
            guesses.end_check(address, Finding::Wrong, now, &limits);
        }
        assert_eq!(guesses.checks, 0);
        assert!(guesses.guessers.values().all(|guesser| guesser.checks == 0), "{guesses:?}");
    }
}
