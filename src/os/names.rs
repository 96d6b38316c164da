//! What a listener's address stands for. Never asks anybody when numbers were given.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where this machine keeps names (hosts(5)).
const HOSTS: &str = "/etc/hosts";

/// The address behind `ADDR:PORT`: numbers, a name in the hosts file, or, where the client and with
/// it the system's resolver is part of the program, any name. The resolver is a sixteenth of a
/// server that is linked statically, and what a listener is told is an address of its own machine.
#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
pub fn resolve(text: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (name, port) = text.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
    match find(&hosts, name) {
        Some(address) => Ok(SocketAddr::new(address, port)),
        None => ask(text),
    }
}

/// The first address of a name in a hosts file. A machine without such a file knows itself, too
/// (RFC 6761 §6.3).
fn find(hosts: &str, name: &str) -> Option<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    let found = lines.filter_map(|mut words| {
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    });
    found.into_iter().next().or_else(|| name.eq_ignore_ascii_case("localhost").then_some(Ipv4Addr::LOCALHOST.into()))
}

#[cfg(feature = "client")]
fn ask(text: &str) -> io::Result<SocketAddr> {
    std::net::ToSocketAddrs::to_socket_addrs(text)?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(not(feature = "client"))]
fn ask(_text: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::NotFound, "is neither an address nor a name in /etc/hosts"))
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

    #[test]
    fn the_first_line_with_a_name_counts() {
        let hosts =
            "# 10.0.0.9 box\n\n10.0.0.1\tbox.lan Box # other\n10.0.0.2 box\n::1 localhost six\nnonsense other\n";
        assert_eq!(find(hosts, "box"), Some([10, 0, 0, 1].into()));
        assert_eq!(find(hosts, "BOX.lan"), Some([10, 0, 0, 1].into()));
        assert_eq!(find(hosts, "six"), "::1".parse().ok());
        assert_eq!(find(hosts, "localhost"), "::1".parse().ok());
        assert_eq!(find("", "localhost"), Some([127, 0, 0, 1].into()));
        for unknown in ["other", "10.0.0.1", "", "#"] {
            assert_eq!(find(hosts, unknown), None, "{unknown}");
        }
    }
}
