//! How many connections each client address has: one address may have a share of all. Connections are counted by
//! address, not by client group: nothing else is known of one that is idle.

use std::collections::HashMap;

use crate::config::{Fixed, Live};
use crate::ids::ClientAddress;

/// Connections by address.
#[derive(Debug)]
pub(super) struct AddressShares {
    connections: HashMap<ClientAddress, usize>,
    /// The share of one address.
    connections_max: usize,
}

impl AddressShares {
    pub(super) fn new(limits: &Fixed) -> Self {
        Self { connections: HashMap::new(), connections_max: limits.address_share(limits.connections_max) }
    }

    /// Counts a connection; false, and not counted, if its address has its share already.
    pub(super) fn add(&mut self, address: ClientAddress, limits: &Live) -> bool {
        let bound = if limits.client_connections_max > 0 { limits.client_connections_max } else { usize::MAX };
        let connections = self.connections.entry(address).or_default();
        let admits = *connections < self.connections_max.min(bound);
        *connections += usize::from(admits);
        admits
    }

    /// A connection that was counted has ended.
    pub(super) fn remove(&mut self, address: ClientAddress) {
        let Some(connections) = self.connections.get_mut(&address) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.connections.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_share_is_one_at_least_and_right_for_every_number() {
        let limits = |per_address_percent| Fixed { per_address_percent, ..Fixed::default() };
        for (percent, of, share) in
            [(0, 9, 1), (50, 1, 1), (50, 4097, 2048), (33, 250, 82), (50, usize::MAX, usize::MAX / 2)]
        {
            assert_eq!(limits(percent).address_share(of), share, "{percent} % of {of}");
        }
    }

    #[test]
    fn an_address_has_its_share_of_the_connections_and_is_forgotten_when_they_end() {
        let limits = Fixed { connections_max: 5, ..Fixed::default() };
        let mut addresses = AddressShares::new(&limits);
        let [one, other] = [1, 2].map(|n| ClientAddress::of(SocketAddr::from(([127, 0, 0, n], 1))));
        assert_eq!(
            [one, one, one, other].map(|address| addresses.add(address, &Live::default())),
            [true, true, false, true]
        );
        addresses.remove(one);
        assert!(addresses.add(one, &Live::default()));
        [one, one, other].into_iter().for_each(|address| addresses.remove(address));
        assert!(addresses.connections.is_empty());
    }
}
