//! What a listener's address stands for. Numbers and `localhost` are never looked up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address behind `ADDR:PORT`: numbers, `localhost`, or, where the client and with it the system's resolver
/// is part of the program, any name. The resolver is a sixteenth of a server that is linked statically.
pub fn resolve(text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (name, port) = text.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    if name.eq_ignore_ascii_case("localhost") {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    look_up(text)
}

#[cfg(feature = "client")]
fn look_up(text: &str) -> io::Result<SocketAddr> {
    std::net::ToSocketAddrs::to_socket_addrs(text)?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(not(feature = "client"))]
fn look_up(_text: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::NotFound, "is neither an IP address nor localhost"))
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
    fn this_machine_knows_itself() {
        let address = resolve("localhost:7070").expect("an address");
        assert!(address.ip().is_loopback() && address.port() == 7070, "{address}");
    }
}
