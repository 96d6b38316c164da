//! What a listener's address stands for. Numbers and `localhost` are never looked up.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
#[cfg(feature = "share")]
use std::net::{Ipv6Addr, UdpSocket};
use std::path::PathBuf;

/// Begins an address that is the path of a Unix socket.
pub const UNIX: &str = "unix:";

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Ip(SocketAddr),
    /// On a Unix socket, at this absolute path.
    Unix(PathBuf),
}

impl Address {
    /// Where that is over TCP.
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        if let Self::Ip(address) = self { Some(*address) } else { None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// The address of `unix:PATH` or of `ADDR:PORT`.
pub fn resolve(text: &str) -> io::Result<Address> {
    match text.strip_prefix(UNIX) {
        Some(path) => Ok(Address::Unix(std::path::absolute(path)?)),
        None => resolve_ip(text).map(Address::Ip),
    }
}

/// The address of `ADDR:PORT`: numbers, `localhost`, or, where the client and with it the system's resolver
/// is part of the program, any name. The resolver is a sixteenth of a server that is linked statically.
fn resolve_ip(text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(scoped) = with_scope(text) {
        return scoped;
    }
    let (name, port) = text.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    if name.eq_ignore_ascii_case("localhost") {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    look_up(text)
}

/// `[IPV6%INTERFACE]:PORT`, which `parse` takes only with the number of the interface.
fn with_scope(text: &str) -> Option<io::Result<SocketAddr>> {
    let (ip, rest) = text.strip_prefix('[')?.split_once('%')?;
    let (interface, port) = rest.split_once("]:")?;
    let (ip, port) = (ip.parse().ok()?, port.parse().ok()?);
    Some(index_of(interface).map(|index| SocketAddrV6::new(ip, port, 0, index).into()))
}

/// The number of an interface (RFC 4007 §11.2).
#[cfg(target_os = "linux")]
fn index_of(interface: &str) -> io::Result<u32> {
    use rustix::net::{AddressFamily, SocketType, socket};

    // Any socket serves.
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    let index = rustix::net::netdevice::name_to_index(socket, interface);
    index.map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("there is no network interface {interface}")))
}

#[cfg(not(target_os = "linux"))]
fn index_of(_interface: &str) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, "here the interface after % must be given by its number"))
}

#[cfg(feature = "client")]
fn look_up(text: &str) -> io::Result<SocketAddr> {
    std::net::ToSocketAddrs::to_socket_addrs(text)?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(not(feature = "client"))]
fn look_up(_text: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::NotFound, "is neither an IP address nor localhost"))
}

/// As [`of_interfaces`]; first those that this machine connects from to others, which others most likely reach.
#[cfg(feature = "share")]
pub fn for_clients() -> Vec<IpAddr> {
    // Documentation has these addresses for itself. To connect a datagram socket sends nothing: it chooses a route.
    let far: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let outgoing = far.into_iter().filter_map(|(any, far)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((far, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
    });
    let mut found: Vec<IpAddr> = outgoing.collect();
    for ip in of_interfaces() {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// The addresses of this machine's interfaces, but for those that other machines cannot reach by their number alone.
#[cfg(all(feature = "tls", target_os = "linux"))]
pub fn of_interfaces() -> Vec<IpAddr> {
    // What cannot be read is left out: the addresses are for convenience.
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let ips = found.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    ips.filter(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    })
    .collect()
}

/// None are known.
#[cfg(not(all(feature = "tls", target_os = "linux")))]
pub fn of_interfaces() -> Vec<IpAddr> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_themselves() {
        for text in ["127.0.0.1:0", "0.0.0.0:7070", "[::1]:80"] {
            assert_eq!(resolve(text).expect(text).to_string(), text);
        }
        for bad in ["", "7070", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":7070"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_absolute() {
        assert_eq!(resolve("unix:/run/x@y:1").expect("a path").to_string(), "unix:/run/x@y:1");
        let here = std::env::current_dir().expect("a directory").join("x");
        assert_eq!(resolve("unix:x").expect("a path"), Address::Unix(here));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_interface_of_a_link_local_address_has_a_name_or_a_number() {
        let number = std::fs::read_to_string("/sys/class/net/lo/ifindex").expect("the loopback interface");
        let number = number.trim();
        for (text, wanted) in [
            ("[fe80::1%lo]:80", format!("[fe80::1%{number}]:80")),
            ("[fe80::1%7]:80", "[fe80::1%7]:80".to_owned()),
            ("[fe80::1]:80", "[fe80::1]:80".to_owned()),
            ("[::1%lo]:0", format!("[::1%{number}]:0")),
        ] {
            assert_eq!(resolve(text).expect(text).to_string(), wanted);
        }
        let error = resolve("[fe80::1%none0]:80").expect_err("no such interface").to_string();
        assert_eq!(error, "there is no network interface none0");
        for bad in ["[fe80::1%]:80", "[fe80::1%lo]", "[fe80::1%lo]:x", "[127.0.0.1%lo]:80", "[%lo]:80"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_knows_itself() {
        let address = resolve("localhost:7070").expect("an address").socket_addr();
        assert!(address.is_some_and(|address| address.ip().is_loopback() && address.port() == 7070), "{address:?}");
    }
}
