//! Wrong secrets and passwords, by address: each drains a bucket that fills again with time. While it is empty, new
//! connections of the address are read one after the other, with a delay, and passwords that would have to be checked
//! are refused. Where that delay would be too long, single requests that show a secret are refused in its place, as
//! on connections of trusted proxies, which have many clients. A request without credentials guesses nothing, and is
//! served.
//!
//! The session bounds what one connection may try. A client that knows the secret, or has a password that was checked
//! before, waits only with a new connection, and only while another one at its address guesses.
//!
//! An address is never refused for what others did. A table that is full forgets the addresses that have least to be
//! forgotten, after it has counted IPv6 networks of one /48 together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::access::password::Finding;
use crate::config::{Fixed, Limits};
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
        self.checks > 0 || self.wrong_at.is_some_and(|at| now < at + limits.live.wrong_secret_memory)
    }

    /// Time until one more wrong secret is within the bound.
    fn wait(&self, now: Instant, limits: &Limits) -> Duration {
        let spare = limits.live.wrong_secret_memory - place(limits);
        self.full.saturating_duration_since(now).saturating_sub(spare)
    }

    /// Both are counted together from now on.
    fn add(&mut self, other: &Self, now: Instant, limits: &Limits) {
        let unforgotten = self.full.saturating_duration_since(now) + other.full.saturating_duration_since(now);
        self.full = now + unforgotten.min(limits.live.wrong_secret_memory);
        self.next = self.next.max(other.next);
        self.checks += other.checks;
        self.wrong_at = self.wrong_at.max(other.wrong_at);
    }

    /// Wrong secrets that are not forgotten yet.
    fn wrong(&self, now: Instant, limits: &Limits) -> usize {
        let left = self.full.saturating_duration_since(now).as_nanos();
        usize::try_from(left.div_ceil(place(limits).as_nanos().max(1))).unwrap_or(usize::MAX)
    }
}

/// This part of a full table is emptied at once.
const SPACE_DIVISOR: usize = 16;

/// How long one place in a bucket takes to fill.
fn place(limits: &Limits) -> Duration {
    limits.live.wrong_secret_memory / u32::from(limits.live.wrong_secrets_max.max(1))
}

#[derive(Debug, Default)]
pub struct Guesses {
    guessers: HashMap<ClientAddress, Guesser>,
    /// Passwords that are being checked, of all addresses.
    checks: usize,
}

impl Guesses {
    /// Bytes of one entry, in a table that is at most half empty, and while the table is gathered.
    const ENTRY_BYTES: usize = 4 * (size_of::<ClientAddress>() + size_of::<Guesser>());

    /// Most bytes of the table, for the accounting of memory.
    pub const fn bytes_max(limits: &Fixed) -> usize {
        (limits.wrong_secret_addresses_max + limits.password_checks_max) * Self::ENTRY_BYTES
    }

    /// A wrong secret was shown.
    pub fn failed(&mut self, address: ClientAddress, now: Instant, limits: &Limits) {
        let guesser = self.entry(address, now, limits);
        guesser.full = (guesser.full.max(now) + place(limits)).min(now + limits.live.wrong_secret_memory);
        guesser.wrong_at = Some(now);
    }

    /// How long a new connection must not be read; `None` if that is too long, and its requests ask
    /// [`Guesses::may_try`] instead.
    pub fn wait(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Option<Duration> {
        let Some(guesser) = self.guesser(address, now, limits) else { return Some(Duration::ZERO) };
        let next = guesser.next.max(now);
        let wait = next - now;
        if wait > limits.live.wrong_secret_wait_max {
            return None;
        }
        guesser.next = next + limits.live.wrong_secret_delay;
        Some(wait)
    }

    /// True if a request of this address may show a secret now, where requests do not wait.
    pub fn may_try(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> bool {
        let Some(guesser) = self.guesser(address, now, limits) else { return true };
        let is_time = guesser.next <= now;
        if is_time {
            guesser.next = now + limits.live.wrong_secret_delay;
        }
        is_time
    }

    /// What is known of an address that has guessed too often.
    fn guesser(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Option<&mut Guesser> {
        let key = self.key(address);
        self.guessers.get_mut(&key).filter(|guesser| !guesser.wait(now, limits).is_zero())
    }

    /// A password is to be checked; otherwise why it is not. Those under way count as wrong: so an address never
    /// has more of them checked at once than it may show wrong ones. Addresses that have shown none lately have half of the
    /// places to themselves.
    pub fn begin_check(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> Result<(), Finding> {
        let under_way = self.checks;
        if under_way >= limits.fixed.password_checks_max {
            return Err(Finding::Busy);
        }
        let guesser = self.entry(address, now, limits);
        let wait = guesser.wait(now, limits);
        if !wait.is_zero() {
            let seconds = wait.as_millis().div_ceil(1000);
            return Err(Finding::TooManyGuesses(u32::try_from(seconds).unwrap_or(u32::MAX)));
        }
        let is_over = guesser.wrong(now, limits) + guesser.checks >= usize::from(limits.live.wrong_secrets_max);
        if is_over || guesser.may_guess(now, limits) && under_way >= limits.fixed.password_checks_max.div_ceil(2) {
            return Err(Finding::Busy);
        }
        guesser.checks += 1;
        self.checks += 1;
        Ok(())
    }

    /// The check that [`Guesses::begin_check`] permitted is over.
    pub fn end_check(&mut self, address: ClientAddress, finding: Finding, now: Instant, limits: &Limits) {
        self.checks = self.checks.checked_sub(1).expect("a check that ended had begun");
        // The entry stays while checks are under way.
        if let Some(guesser) = self.guessers.get_mut(&self.key(address)) {
            guesser.checks = guesser.checks.saturating_sub(1);
        }
        if finding == Finding::Wrong {
            self.failed(address, now, limits);
        }
    }

    fn entry(&mut self, address: ClientAddress, now: Instant, limits: &Limits) -> &mut Guesser {
        if self.guessers.len() >= limits.fixed.wrong_secret_addresses_max
            && !self.guessers.contains_key(&self.key(address))
        {
            self.make_space(now, limits);
        }
        let key = self.key(address);
        self.guessers.entry(key).or_insert(Guesser { full: now, next: now, checks: 0, wrong_at: None })
    }

    /// Under which an address is counted. A site and its networks never have entries at the same time.
    fn key(&self, address: ClientAddress) -> ClientAddress {
        address.site().filter(|site| self.guessers.contains_key(site)).unwrap_or(address)
    }

    /// Empties a part of the table, so that this is done once for many new addresses. Entries with checks under way
    /// stay: they are bounded by the number of these.
    fn make_space(&mut self, now: Instant, limits: &Limits) {
        self.guessers.retain(|_, guesser| now < guesser.full || guesser.checks > 0);
        let most = limits.fixed.wrong_secret_addresses_max;
        let aim = most - most.div_ceil(SPACE_DIVISOR);
        if self.guessers.len() > aim {
            self.gather(now, limits);
        }
        let idle = self.guessers.values().filter(|guesser| guesser.checks == 0);
        let mut ends: Vec<Instant> = idle.map(|guesser| guesser.full).collect();
        let surplus = self.guessers.len().saturating_sub(aim).min(ends.len());
        if surplus == 0 {
            return;
        }
        // The time at which a bucket is full again is soonest for those that guessed least, and longest ago.
        let (sooner, last, _) = ends.select_nth_unstable(surplus - 1);
        let last = *last;
        let mut equal = surplus - sooner.iter().filter(|end| **end < last).count();
        self.guessers.retain(|_, guesser| {
            let is_equal = guesser.full == last && equal > 0;
            let is_forgotten = guesser.checks == 0 && (guesser.full < last || is_equal);
            equal -= usize::from(is_forgotten && is_equal);
            !is_forgotten
        });
    }

    /// Counts IPv6 networks of one site together, where several of them have guessed: an attacker with a site has
    /// 65,536 of them.
    fn gather(&mut self, now: Instant, limits: &Limits) {
        let mut networks: HashMap<ClientAddress, usize> = HashMap::new();
        for site in self.guessers.keys().filter_map(|address| address.site()) {
            *networks.entry(site).or_default() += 1;
        }
        let has_several = |site: &ClientAddress| networks.get(site).is_some_and(|count| *count > 1);
        let gathered: Vec<(ClientAddress, Guesser)> =
            self.guessers.extract_if(|address, _| address.site().as_ref().is_some_and(has_several)).collect();
        for (site, guesser) in gathered.iter().filter_map(|(address, guesser)| Some((address.site()?, guesser))) {
            self.guessers.entry(site).and_modify(|sum| sum.add(guesser, now, limits)).or_insert(*guesser);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(fixed: Fixed) -> Limits {
        Limits { fixed, ..Limits::default() }
    }

    fn addresses() -> [ClientAddress; 4] {
        [1, 2, 3, 4].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()))
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn new_connections_of_an_address_that_guesses_are_read_one_after_the_other() {
        let now = Instant::now();
        let limits = Limits::default();
        let mut guesses = Guesses::default();
        let [one, other, ..] = addresses();
        let delay = limits.live.wrong_secret_delay;
        for _ in 0..limits.live.wrong_secrets_max {
            assert_eq!(guesses.wait(one, now, &limits), Some(Duration::ZERO));
            guesses.failed(one, now, &limits);
        }
        let most = limits.live.wrong_secret_wait_max.as_millis() / delay.as_millis();
        for n in 0..=u32::try_from(most).expect("few") {
            assert_eq!(guesses.wait(one, now, &limits), Some(n * delay));
        }
        assert_eq!(guesses.wait(one, now, &limits), None);
        assert_eq!(guesses.wait(other, now, &limits), Some(Duration::ZERO));
        let later = now + limits.live.wrong_secret_memory;
        assert_eq!(guesses.wait(one, later, &limits), Some(Duration::ZERO), "forgotten");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_request_of_an_address_that_guesses_is_refused_until_its_time_has_come() {
        let (now, limits, mut guesses) = (Instant::now(), Limits::default(), Guesses::default());
        let [one, other] = [1, 2].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()));
        for _ in 0..limits.live.wrong_secrets_max {
            assert!(guesses.may_try(one, now, &limits));
            guesses.failed(one, now, &limits);
        }
        for n in 0..3 {
            let now = now + n * limits.live.wrong_secret_delay;
            assert_eq!([0; 3].map(|_| guesses.may_try(one, now, &limits)), [true, false, false]);
            assert!(guesses.may_try(other, now, &limits));
        }
        assert!(guesses.may_try(one, now + limits.live.wrong_secret_memory, &limits), "forgotten");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn wrong_passwords_of_an_address_are_bounded_and_the_answer_says_when_to_try_again() {
        let mut now = Instant::now();
        let limits = fixed(Fixed { password_checks_max: 100, ..Fixed::default() });
        let most = usize::from(limits.live.wrong_secrets_max);
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
        let limits = fixed(Fixed { password_checks_max: 4, ..Fixed::default() });
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
        now += limits.live.wrong_secret_memory - Duration::from_millis(1);
        assert_eq!(guesses.begin_check(one, now, &limits), Err(Finding::Busy), "not forgotten yet");
        now += Duration::from_millis(1);
        assert_eq!(guesses.begin_check(one, now, &limits), Ok(()), "it is forgotten");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn checks_are_bounded_over_all_addresses_and_keep_their_entries_in_a_full_table() {
        let now = Instant::now();
        let limits = fixed(Fixed { password_checks_max: 3, wrong_secret_addresses_max: 1, ..Fixed::default() });
        let mut guesses = Guesses::default();
        let [one, other, third, fourth] = addresses();
        for address in [one, other, third] {
            assert_eq!(guesses.begin_check(address, now, &limits), Ok(()));
        }
        assert_eq!(guesses.guessers.len(), 3, "bounded by the checks");
        assert_eq!(guesses.begin_check(fourth, now, &limits), Err(Finding::Busy));
        for address in [one, other, third] {
            guesses.end_check(address, Finding::Wrong, now, &limits);
        }
        assert_eq!(guesses.checks, 0);
        assert_eq!(guesses.guessers[&one].wrong(now, &limits), 1);
        assert!(guesses.guessers.values().all(|guesser| guesser.checks == 0), "{guesses:?}");
    }

    fn network(site: u16, nth: u16) -> ClientAddress {
        ClientAddress::of_ip([0x2001, 0xdb8, site, nth, 0, 0, 0, 1].into())
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn no_number_of_addresses_that_guess_slows_down_one_that_does_not() {
        let mut now = Instant::now();
        let limits = Limits::default();
        let mut guesses = Guesses::default();
        let most = limits.fixed.wrong_secret_addresses_max;
        let addresses = |n: u32| [ClientAddress::of_ip(n.to_be_bytes().into()), network(n as u16, 7)];
        for address in (0..3 * most as u32).flat_map(addresses) {
            for _ in 0..limits.live.wrong_secrets_max {
                guesses.failed(address, now, &limits);
            }
            now += Duration::from_micros(50);
            assert!(guesses.guessers.len() <= most, "it is bounded");
        }
        for honest in
            (0..500).flat_map(|n| [ClientAddress::of_ip([198, 51, n as u8, 7].into()), network(0xF000 + n, 0)])
        {
            assert_eq!(guesses.wait(honest, now, &limits), Some(Duration::ZERO));
            assert!(guesses.may_try(honest, now, &limits));
            guesses.failed(honest, now, &limits);
            assert!(guesses.may_try(honest, now, &limits), "one mistake is free");
            assert_eq!(guesses.begin_check(honest, now, &limits), Ok(()));
            guesses.end_check(honest, Finding::Right, now, &limits);
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_full_table_forgets_those_that_guessed_least_and_keeps_those_that_are_limited() {
        let now = Instant::now();
        let limits = fixed(Fixed { wrong_secret_addresses_max: 160, ..Fixed::default() });
        let mut guesses = Guesses::default();
        let limited = ClientAddress::of_ip([192, 0, 2, 1].into());
        for _ in 0..limits.live.wrong_secrets_max {
            guesses.failed(limited, now, &limits);
        }
        // Each address guesses once, to make the server forget the one that is limited.
        for n in 0..100_000_u32 {
            guesses.failed(ClientAddress::of_ip(n.to_be_bytes().into()), now, &limits);
        }
        assert_ne!(guesses.wait(limited, now, &limits).map(|_| guesses.may_try(limited, now, &limits)), Some(true));
        assert!(guesses.guessers.len() > 140, "no more is forgotten than must be");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn networks_of_one_site_are_counted_together_where_the_table_is_full() {
        let now = Instant::now();
        let limits = fixed(Fixed { wrong_secret_addresses_max: 16, ..Fixed::default() });
        let mut guesses = Guesses::default();
        for n in 0..15 {
            guesses.failed(network(1, n), now, &limits);
        }
        guesses.failed(network(2, 0), now, &limits);
        assert!(guesses.may_try(network(1, 99), now, &limits), "there is space for each");
        guesses.failed(network(1, 16), now, &limits);
        assert!(!guesses.guessers.contains_key(&network(1, 3)));
        assert!(guesses.may_try(network(1, 99), now, &limits) && !guesses.may_try(network(1, 98), now, &limits));
        assert!(guesses.begin_check(network(1, 97), now, &limits).is_err());
        assert_eq!(guesses.guessers[&network(2, 0)].wrong(now, &limits), 1, "another site");
        for n in 0..60_000 {
            guesses.failed(network(1, n), now, &limits);
        }
        assert_eq!(guesses.guessers.len(), 2, "an attacker with a site is one");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn checks_that_began_before_their_networks_were_gathered_end_under_the_site() {
        let now = Instant::now();
        let limits = fixed(Fixed { wrong_secret_addresses_max: 4, ..Fixed::default() });
        let mut guesses = Guesses::default();
        for n in 0..4 {
            assert_eq!(guesses.begin_check(network(1, n), now, &limits), Ok(()));
        }
        assert_eq!(guesses.begin_check(network(2, 0), now, &limits), Ok(()));
        assert_eq!(guesses.guessers.len(), 2);
        for n in 0..4 {
            guesses.end_check(network(1, n), Finding::Wrong, now, &limits);
        }
        guesses.end_check(network(2, 0), Finding::Right, now, &limits);
        assert!(guesses.guessers.values().all(|guesser| guesser.checks == 0) && guesses.checks == 0, "{guesses:?}");
    }
}
