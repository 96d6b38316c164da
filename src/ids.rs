//! Names for things that outlive one call: connections, files, client groups and listeners.
//!
//! A slot is reused, a generation is not: a late event, timer or completion that carries an old
//! generation can never reach the next user of the slot. This file never looks anything up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use sha2::{Digest as _, Sha256};

/// One connection: its slot in the slab and which use of that slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// Slots are `u32`: the slab is capped far below that by `Limits::connections_max`.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// Index in the slab.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Which use of the slot this is.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// Packs both halves into one word, as `mio::Token` wants it.
    pub const fn to_token(self) -> usize {
        ((self.generation as usize) << 32) | self.slot as usize
    }

    /// The inverse of [`ConnId::to_token`].
    pub const fn from_token(token: usize) -> Self {
        Self { slot: (token & 0xFFFF_FFFF) as u32, generation: (token >> 32) as u32 }
    }
}

const _: () = assert!(usize::BITS == 64, "a mio token packs slot and generation");

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// One operation of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    pub conn: ConnId,
    /// Tells apart small uploads of one connection that are under way at once; 0 for all other operations.
    pub number: u8,
}

impl From<ConnId> for OpId {
    fn from(conn: ConnId) -> Self {
        Self { conn, number: 0 }
    }
}

/// One open file of the store. Made by the store, meaningful only to it, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is what a provider assigns to one; where a client
/// has proved a name and that matters more, the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddress(u128);

impl ClientAddress {
    /// All addresses that a full table has no entry for.
    pub const OTHERS: Self = Self(u128::MAX);

    pub fn of(peer: SocketAddr) -> Self {
        Self::of_ip(peer.ip())
    }

    pub fn of_ip(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }

    /// The IPv6 /48 of the network, which is what a provider assigns to a site; `None` for an IPv4 address. Never one of the
    /// addresses.
    pub const fn site(self) -> Option<Self> {
        const MARK: u128 = 2;
        if self.0 >> 32 == 0xFFFF { None } else { Some(Self(self.0 >> 80 << 80 | MARK)) }
    }

    /// A client that has proved this name, wherever it is. Never one of the addresses, nor [`Self::OTHERS`].
    pub fn of_name(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(name).into();
        let half = digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        // No client has a multicast address, and those of a /64 end with zeros.
        Self((half | 0xFF << 120 | 1) & !2)
    }

    /// True for a client that has proved a name.
    pub const fn is_name(self) -> bool {
        self.0 >> 120 == 0xFF && self.0 & 3 == 1
    }

    pub const fn to_bits(self) -> u128 {
        self.0
    }

    /// The inverse of [`ClientAddress::to_bits`].
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// What stands for the address of a client of a Unix socket, which has none: this machine, without a port.
pub const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A client group: its place in the table, which is only valid while the group is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(NonZeroU32);

impl GroupId {
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// The inverse of [`GroupId::index`].
    pub(crate) fn at(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("the number of groups is bounded"))
    }
}

/// One listening address, in the order the addresses were configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_the_id_it_was_made_from() {
        for id in [ConnId::new(0, 0), ConnId::new(u32::MAX, 7), ConnId::new(3, u32::MAX)] {
            assert_eq!(ConnId::from_token(id.to_token()), id);
        }
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |ip: &str| ClientAddress::of(SocketAddr::new(ip.parse().expect("an address"), 1));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
        let site = of("2001:db8:0:1::1").site();
        assert!(site == of("2001:db8:0:ffff::").site() && site != of("2001:db8:1:1::1").site());
        assert_eq!(site.and_then(ClientAddress::site), site);
        assert!(site != Some(of("2001:db8:0::")) && of("192.0.2.1").site().is_none());
        assert_ne!(of("::1").site(), Some(of("::1")));
        let named = ClientAddress::of_name;
        assert!(named("anna") == named("anna") && named("anna") != named("bob"));
        assert_eq!(ClientAddress::from_bits(named("anna").to_bits()), named("anna"));
        assert_eq!(named("anna").to_bits() >> 120, 0xFF);
        assert_eq!(named("anna").to_bits() & 3, 1);
        let addresses = [of("192.0.2.1"), of("ff02::1"), of("2001:db8::1"), ClientAddress::OTHERS];
        assert!(named("anna").is_name() && !addresses.iter().any(|address| address.is_name()));
    }
}
