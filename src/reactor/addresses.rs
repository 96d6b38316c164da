//! How many connections each client address has: one address may have a share of all.
//!
//! An IPv4 address counts as one client, and so does an IPv6 /64, which is what a provider assigns to one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::Limits;

/// What counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address(u128);

impl Address {
    pub(super) fn of(peer: SocketAddr) -> Self {
        match peer.ip().to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }

    /// All addresses that a full table has no entry for.
    pub(super) const OTHERS: Self = Self(u128::MAX);

    /// What one address may have of `of`; at least one, and without a bound where it may have all.
    pub(super) const fn share(limits: &Limits, of: usize) -> usize {
        let percent = limits.per_address_percent as usize;
        if percent >= 100 {
            return usize::MAX;
        }
        let share = of / 100 * percent + of % 100 * percent / 100;
        if share == 0 { 1 } else { share }
    }
}

/// Connections by address.
#[derive(Debug)]
pub(super) struct AddressShares {
    connections: HashMap<Address, usize>,
    connections_max: usize,
}

impl AddressShares {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { connections: HashMap::new(), connections_max: Address::share(limits, limits.connections_max) }
    }

    /// Counts a connection; false, and not counted, if its address has its share already.
    pub(super) fn add(&mut self, address: Address) -> bool {
        let connections = self.connections.entry(address).or_default();
        let admits = *connections < self.connections_max;
        *connections += usize::from(admits);
        admits
    }

    /// A connection that was counted has ended.
    pub(super) fn remove(&mut self, address: Address) {
        let Some(connections) = self.connections.get_mut(&address) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.connections.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |ip: &str| Address::of(SocketAddr::new(ip.parse().expect("an address"), 1));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
        let all = Limits { per_address_percent: 100, ..Limits::default() };
        assert_eq!(Address::share(&all, 9), usize::MAX);
    }

    #[test]
    fn a_share_is_one_at_least_and_right_for_every_number() {
        let limits = |per_address_percent| Limits { per_address_percent, ..Limits::default() };
        for (percent, of, share) in
            [(0, 9, 1), (50, 1, 1), (50, 4097, 2048), (33, 250, 82), (50, usize::MAX, usize::MAX / 2)]
        {
            assert_eq!(Address::share(&limits(percent), of), share, "{percent} % of {of}");
        }
    }

    #[test]
    fn an_address_has_its_share_of_the_connections_and_is_forgotten_when_they_end() {
        let limits = Limits { connections_max: 5, ..Limits::default() };
        let mut addresses = AddressShares::new(&limits);
        let [one, other] = [1, 2].map(|n| Address::of(SocketAddr::from(([127, 0, 0, n], 1))));
        assert_eq!([one, one, one, other].map(|address| addresses.add(address)), [true, true, false, true]);
        addresses.remove(one);
        assert!(addresses.add(one));
        [one, one, other].into_iter().for_each(|address| addresses.remove(address));
        assert!(addresses.connections.is_empty());
    }
}
