//! Guesses of the secret, by address: after a number of wrong ones, new connections of the address are read one
//! after the other, with a delay. Connections of trusted proxies have many clients: there single requests are refused.
//!
//! The session bounds what one connection may try. A client that knows the secret waits only with a new
//! connection, and only while another one at its address guesses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::ids::ClientAddress;

#[derive(Clone, Copy, Debug)]
struct Guesser {
    wrong: u8,
    last: Instant,
    /// When the next new connection is read.
    next: Instant,
}

#[derive(Debug, Default)]
pub struct Guesses(HashMap<ClientAddress, Guesser>);

impl Guesses {
    /// Most bytes of one entry of the table, for the accounting of memory.
    pub const ENTRY_BYTES: usize = 3 * (size_of::<ClientAddress>() + size_of::<Guesser>());

    /// A wrong secret was shown.
    pub fn failed(&mut self, address: ClientAddress, now: Instant, limits: &Limits) {
        let memory = limits.wrong_secret_memory;
        if self.is_full(limits) && !self.0.contains_key(&address) {
            self.0.retain(|_, guesser| now < guesser.last + memory);
        }
        let guesser = self.0.entry(self.key(address, limits)).or_insert(Guesser { wrong: 0, last: now, next: now });
        let before = if now < guesser.last + memory { guesser.wrong } else { 0 };
        (guesser.wrong, guesser.last) = (before.saturating_add(1), now);
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
        if now >= self.0.get(&key)?.last + limits.wrong_secret_memory {
            self.0.remove(&key);
            return None;
        }
        self.0.get_mut(&key).filter(|guesser| guesser.wrong >= limits.wrong_secrets_max)
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.0.len() >= limits.wrong_secret_addresses_max
    }

    /// Under which an address is counted.
    fn key(&self, address: ClientAddress, limits: &Limits) -> ClientAddress {
        if self.is_full(limits) && !self.0.contains_key(&address) { ClientAddress::OTHERS } else { address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn new_connections_of_an_address_that_guesses_are_read_one_after_the_other() {
        let now = Instant::now();
        let limits = Limits { wrong_secret_addresses_max: 2, ..Limits::default() };
        let mut guesses = Guesses::default();
        let [one, other, third, fourth] = [1, 2, 3, 4].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()));
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
        assert_eq!(guesses.0.len(), 3, "two, and all others");
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
}
