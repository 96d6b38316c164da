//! Networks of addresses, as they are written on the command line: `10.0.0.0/8,::1`. Resolves no names.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A list of networks, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    /// Bits in which its addresses are alike.
    prefix: u32,
}

/// Why a text is no list of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// It is not `ADDRESS` or `ADDRESS/BITS`.
    Syntax,
    /// The address has bits after the prefix.
    HostBits,
}

impl NetworkError {
    /// What is wrong.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Syntax => "write addresses or networks, for example 10.0.0.0/8,::1",
            Self::HostBits => "the bits of a network after its prefix must be 0, for example 10.0.0.0/8",
        }
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for NetworkError {}

impl Networks {
    /// True if one of the networks has this address. An IPv4 address is the same however the socket reports it.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address.to_canonical()))
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let (first, address, bits) = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => (first.to_bits().into(), address.to_bits().into(), 32),
            (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let differing: u128 = first ^ address;
        differing.checked_shr(bits - self.prefix).unwrap_or(0) == 0
    }
}

impl FromStr for Networks {
    type Err = NetworkError;

    /// Reads `ADDRESS[/BITS],…`; an address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| NetworkError::Syntax)?;
        // Addresses are compared as IPv4 where they are that: this network would have none.
        let first = if prefix.is_none() { first.to_canonical() } else { first };
        let (bits, after) = match first {
            IpAddr::V4(first) => (32, u128::from(first.to_bits()).checked_shl(96)),
            IpAddr::V6(_) if first.to_canonical() != first => return Err(NetworkError::Syntax),
            IpAddr::V6(first) => (128, Some(first.to_bits())),
        };
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            Some(prefix) => Some(prefix).filter(is_number).and_then(|prefix| prefix.parse().ok()),
            None => Some(bits),
        };
        let prefix: u32 = prefix.filter(|prefix| *prefix <= bits).ok_or(NetworkError::Syntax)?;
        match after.and_then(|after| after.checked_shl(prefix)).unwrap_or(0) {
            0 => Ok(Self { first, prefix }),
            _ => Err(NetworkError::HostBits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(networks: &str, address: &str) -> bool {
        networks.parse::<Networks>().expect("networks").contain(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix_and_no_others() {
        for (networks, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.4/30", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.4", "192.0.2.4", "192.0.2.5"),
            ("192.0.2.4/32", "192.0.2.4", "192.0.2.3"),
            ("::ffff:192.0.2.4", "192.0.2.4", "192.0.2.5"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::", "127.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8,::1,192.0.2.0/24", "192.0.2.77", "192.0.3.77"),
        ] {
            assert!(contain(networks, inside), "{inside} in {networks}");
            assert!(!contain(networks, outside), "{outside} in {networks}");
        }
    }

    #[test]
    fn what_names_no_network_is_refused() {
        for text in [
            "",
            ",",
            "10.0.0.0/8,",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "::/+1",
            "::ffff:0:0/96",
        ] {
            assert_eq!(text.parse::<Networks>(), Err(NetworkError::Syntax), "{text:?}");
        }
        for text in ["10.0.0.1/8", "0.0.0.1/0", "192.0.2.4/29", "2001:db8::1/64", "::1/127"] {
            assert_eq!(text.parse::<Networks>(), Err(NetworkError::HostBits), "{text:?}");
        }
    }
}
