//! Guesses of the secret, by address: after a number of wrong ones, new connections of the address are read one
//! after the other, with a delay.
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
pub(super) struct Guesses(HashMap<ClientAddress, Guesser>);

impl Guesses {
    /// Most bytes of one entry of the table, for the accounting of memory.
    pub(super) const ENTRY_BYTES: usize = 3 * (size_of::<ClientAddress>() + size_of::<Guesser>());

    /// A wrong secret was shown.
    pub(super) fn failed(&mut self, address: ClientAddress, now: Instant, limits: &Limits) {
        let memory = limits.wrong_secret_memory;
        if self.is_full(limits) && !self.0.contains_key(&address) {
            self.0.retain(|_, guesser| now < guesser.last + memory);
        }
        let guesser = self.0.entry(self.key(address, limits)).or_insert(Guesser { wrong: 0, last: now, next: now });
        let before = if now < guesser.last + memory { guesser.wrong } else { 0 };
        (guesser.wrong, guesser.last) = (before.saturating_add(1), now);
    }

    /// How long a new connection must not be read; `None` if that is too long, and it is refused.
    pub(super) fn wait(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Option<Duration> {
        let key = self.key(address, limits);
        let Some(guesser) = self.0.get_mut(&key) else { return Some(Duration::ZERO) };
        if now >= guesser.last + limits.wrong_secret_memory {
            self.0.remove(&key);
            return Some(Duration::ZERO);
        }
        if guesser.wrong < limits.wrong_secrets_max {
            return Some(Duration::ZERO);
        }
        let next = guesser.next.max(now);
        let wait = next - now;
        if wait > limits.wrong_secret_wait_max {
            return None;
        }
        guesser.next = next + limits.wrong_secret_delay;
        Some(wait)
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
}
