//! `HOST:PORT/path`: where a server listens and what is meant on it.
//!
//! Nothing is resolved here; a name becomes an address when a connection is opened.

use std::fmt;

use crate::wire::key;

/// The port that is meant when none is given.
pub const DEFAULT_PORT: u16 = 7070;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A file or directory on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePath {
    /// The server.
    pub address: Address,
    /// Absolute: `/` where none was given.
    pub path: String,
}

impl RemotePath {
    /// Reads `HOST[:PORT][/path]`; the error is for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!("{text}: write HOST:PORT/path, without a scheme"));
        }
        let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (host, port) = split(authority).ok_or_else(|| {
            format!("{text}: write HOST:PORT/path, for example 127.0.0.1:7070/folder/ or [::1]:7070/folder/")
        })?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("{text}: {port} is no port, it must be 1 to 65535"))?,
        };
        let path = if path.is_empty() { "/" } else { path };
        key::absolute(path).map_err(|failure| format!("{text}: {failure}"))?;
        Ok(Self { address: Address { host: host.to_owned(), port }, path: path.to_owned() })
    }

    /// Does it spell out host and port, so that no local file can be meant?
    pub fn has_explicit_port(text: &str) -> bool {
        let authority = text.split('/').next().unwrap_or(text);
        let port_is_number =
            |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        matches!(split(authority), Some((_, Some(port))) if port_is_number(port))
    }

    /// The last component, `None` for the root.
    pub fn name(&self) -> Option<&str> {
        self.path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty())
    }
}

/// Cuts `HOST[:PORT]` in two; brackets around IPv6 are taken off.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']')?;
            match tail {
                "" => (host, None),
                tail => (host, Some(tail.strip_prefix(':')?)),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return None, // IPv6 without its brackets
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    (!host.is_empty()).then_some((host, port))
}

/// A directory's path with its final slash.
pub fn as_dir(path: &str) -> String {
    if path.ends_with('/') { path.to_owned() } else { format!("{path}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_path_are_told_apart() {
        for (text, host, port, path, display) in [
            ("127.0.0.1:7070/a b/c", "127.0.0.1", 7070, "/a b/c", "127.0.0.1:7070"),
            ("[::1]:81/x:9/", "::1", 81, "/x:9/", "[::1]:81"),
            ("[::1]", "::1", DEFAULT_PORT, "/", "[::1]:7070"),
            ("box", "box", DEFAULT_PORT, "/", "box:7070"),
            ("box/f", "box", DEFAULT_PORT, "/f", "box:7070"),
        ] {
            let got = RemotePath::parse(text).expect(text);
            assert_eq!((got.address.host.as_str(), got.address.port, got.path.as_str()), (host, port, path), "{text}");
            assert_eq!(got.address.to_string(), display);
        }
    }

    #[test]
    fn what_names_no_server_is_refused_with_words() {
        let texts =
            ["", "/a", ":7070/a", "h:0/a", "h:65536/", "h:x/a", "::1/a", "http://h:1/a", "h:1/a/../b", "h:1/a\nb"];
        for text in texts {
            assert!(RemotePath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_a_spelled_out_port_tells_a_place_from_a_local_name() {
        for yes in ["h:1", "h:1/a", "[::1]:70/"] {
            assert!(RemotePath::has_explicit_port(yes), "{yes}");
        }
        for no in ["h", "h/a", "./h:1", "a:b", "h:123456", "", ".", "-"] {
            assert!(!RemotePath::has_explicit_port(no), "{no}");
        }
    }

    #[test]
    fn the_name_of_a_place_is_its_last_component() {
        for (text, name) in [("h:1", None), ("h:1/", None), ("h:1/a", Some("a")), ("h:1/a/b/", Some("b"))] {
            assert_eq!(RemotePath::parse(text).expect(text).name(), name, "{text}");
        }
    }
}
