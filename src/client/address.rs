//! `HOST:PORT/path`, perhaps with a scheme before it: the address of a server and a path on it. Names are resolved when
//! a connection is opened.

use std::fmt;

use crate::error::WITHOUT_TLS;
use crate::wire::{key, percent};

/// The port if none is given.
pub const DEFAULT_PORT: u16 = 7070;
/// What stands before the address of a server with TLS.
const TLS_SCHEME: &str = "tls://";

/// What stands before an address.
struct Scheme {
    text: &'static str,
    tls: bool,
    port: u16,
    /// The path is percent-encoded, as in the address that a browser shows. The protocol is `line` all the same.
    is_url: bool,
}

const SCHEMES: [Scheme; 4] = [
    Scheme { text: TLS_SCHEME, tls: true, port: DEFAULT_PORT, is_url: false },
    Scheme { text: "https://", tls: true, port: 443, is_url: true },
    Scheme { text: "http://", tls: false, port: 80, is_url: true },
    // None.
    Scheme { text: "", tls: false, port: DEFAULT_PORT, is_url: false },
];

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether the server is spoken to over TLS.
    pub tls: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { TLS_SCHEME } else { "" })?;
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A file or directory on a server, as `[tls://]HOST[:PORT][/path]`, or with `http://` or `https://` and a percent-encoded
/// path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePath {
    /// The server.
    pub address: Address,
    /// Absolute; `/` if there was none.
    pub path: String,
}

/// Why a text is no [`RemotePath`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// It begins with another scheme than `tls://`, `http://` and `https://`.
    Scheme,
    /// The path of a URL is not percent-encoded UTF-8, or a query or fragment follows it.
    Url,
    /// It begins with `tls://` or `https://`, and this build has no TLS.
    NoTls,
    /// It does not begin with `HOST` or `HOST:PORT`.
    Syntax,
    /// This is no port from 1 to 65535.
    Port(String),
    /// There is a colon before the path, as `scp` has it.
    Colon {
        /// Without it.
        instead: String,
    },
    /// There is a user before the host, as `scp` has it.
    User,
    /// The path cannot be requested, with the reason.
    Path(&'static str),
}

impl RemotePath {
    /// Parses `[tls://]HOST[:PORT][/path]`. After `http://` the port is 80 if there is none, after `https://` 443.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (scheme, text) = split_scheme(text);
        let tls = scheme.tls;
        if tls && !cfg!(feature = "tls") {
            return Err(ParseError::NoTls);
        }
        if text.contains("://") {
            return Err(ParseError::Scheme);
        }
        let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (host, port) = split(authority).ok_or(ParseError::Syntax)?;
        if host.contains('@') {
            return Err(ParseError::User);
        }
        let port = port.map_or(Ok(scheme.port), |port| match port.parse() {
            _ if !port.bytes().any(|byte| byte.is_ascii_digit()) => {
                let host = authority.strip_suffix(port).and_then(|host| host.strip_suffix(':')).unwrap_or(host);
                let slash = if port.is_empty() { "" } else { "/" };
                Err(ParseError::Colon { instead: format!("{host}{slash}{port}{path}") })
            }
            Ok(0) | Err(_) => Err(ParseError::Port(port.to_owned())),
            Ok(port) => Ok(port),
        })?;
        let path = if path.is_empty() { "/" } else { path };
        let path = if scheme.is_url { decoded(path).ok_or(ParseError::Url)? } else { path.to_owned() };
        key::absolute(&path).map_err(|failure| ParseError::Path(failure.words()))?;
        Ok(Self { address: Address { host: host.to_owned(), port, tls }, path })
    }

    /// True for a text with a scheme, or with a host and a port, which is not taken for a local file.
    pub fn is_explicit(text: &str) -> bool {
        let (scheme, text) = split_scheme(text);
        let authority = text.split('/').next().unwrap_or(text);
        let is_number =
            |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        !scheme.text.is_empty() || matches!(split(authority), Some((_, Some(port))) if is_number(port))
    }

    /// True for a text with a scheme that stands for TLS.
    pub(crate) fn is_tls(text: &str) -> bool {
        split_scheme(text).0.tls
    }

    /// The last component, `None` for the root.
    pub fn name(&self) -> Option<&str> {
        Some(last_component(&self.path)).filter(|name| !name.is_empty())
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.path)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("write HOST:PORT/path, or tls://, http:// or https:// before it"),
            Self::Url => f.write_str(
                "the path of an address with http:// is percent-encoded and nothing follows it: write %25 for %, %3F for ?, \
                 %23 for #",
            ),
            Self::NoTls => f.write_str(WITHOUT_TLS),
            Self::Syntax => {
                f.write_str("write HOST:PORT/path, for example 127.0.0.1:7070/folder/ or [::1]:7070/folder/")
            }
            Self::Port(port) => write!(f, "{port} is no port, it must be 1 to 65535"),
            Self::Colon { instead } => write!(f, "a port follows the colon: write {instead}"),
            Self::User => f.write_str("write HOST without a user; --user NAME logs in"),
            Self::Path(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ParseError {}

fn split_scheme(text: &str) -> (&'static Scheme, &str) {
    let found = SCHEMES.iter().find_map(|scheme| Some((scheme, text.strip_prefix(scheme.text)?)));
    found.unwrap_or((&SCHEMES[SCHEMES.len() - 1], text)) // the last one is empty, and always found
}

/// The path of a URL, decoded.
fn decoded(path: &str) -> Option<String> {
    let bytes = percent::decode(path).filter(|_| !path.contains(['?', '#']))?;
    Some(bytes.decode_utf8().ok()?.into_owned())
}

/// Splits `HOST[:PORT]`, without the brackets around IPv6.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port {
        "" => None,
        // Another colon is that of an IPv6 address without brackets.
        port => Some(port.strip_prefix(':').filter(|port| !port.contains(':'))?),
    };
    (!host.is_empty()).then_some((host, port))
}

/// Empty for the root.
pub(crate) fn last_component(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// The path with a slash at its end.
pub(crate) fn as_dir(path: &str) -> String {
    if path.ends_with('/') { path.to_owned() } else { format!("{path}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_path_are_parsed() {
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
    fn an_address_of_a_browser_is_taken_with_its_default_port_and_its_escapes() {
        for (text, port, path) in [
            ("http://box", 80, "/"),
            ("http://box:7070/a%20b/%C3%A9", 7070, "/a b/é"),
            ("http://[::1]/x/", 80, "/x/"),
            ("http://box/100%25", 80, "/100%"),
        ] {
            let got = RemotePath::parse(text).expect(text);
            assert_eq!((got.address.port, got.path.as_str(), got.address.tls), (port, path, false), "{text}");
        }
        #[cfg(feature = "tls")]
        {
            let got = RemotePath::parse("https://box/a").expect("a path").address;
            assert_eq!((got.port, got.tls), (443, true));
        }
        for text in ["http://box/a?b", "http://box/a#b", "http://box/%", "http://box/%ff", "http://box/%2e%2e/a"] {
            assert!(RemotePath::parse(text).is_err(), "{text}");
        }
        assert_eq!(RemotePath::parse("http://anna@box/a"), Err(ParseError::User));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_scheme_says_that_the_server_speaks_tls() {
        for (text, host, path, display) in [
            ("tls://box", "box", "/", "tls://box:7070"),
            ("tls://box:7070/a/b", "box", "/a/b", "tls://box:7070"),
            ("tls://[::1]:7070/", "::1", "/", "tls://[::1]:7070"),
        ] {
            let got = RemotePath::parse(text).expect(text);
            let address = &got.address;
            assert_eq!((address.tls, address.host.as_str(), address.port), (true, host, 7070), "{text}");
            assert_eq!((got.path.as_str(), address.to_string().as_str()), (path, display));
        }
        assert!(!RemotePath::parse("box:7070").expect("a path").address.tls);
        for text in ["tls://", "tls:///a", "tls://tls://h:1", "tls://:1", "TLS://h:1", "tls:/h:1"] {
            assert!(RemotePath::parse(text).is_err(), "{text}");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_says_so() {
        assert_eq!(RemotePath::parse("tls://box:7070/a"), Err(ParseError::NoTls));
    }

    #[test]
    fn invalid_remote_paths_are_refused() {
        let texts =
            ["", "/a", ":7070/a", "h:0/a", "h:65536/", "h:x/a", "::1/a", "ftp://h:1/a", "h:1/a/../b", "h:1/a\nb"];
        for text in texts {
            assert!(RemotePath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_scp_would_take_is_answered_with_what_to_write() {
        for (text, wanted) in [
            ("h:/tmp", "a port follows the colon: write h/tmp"),
            ("h:", "a port follows the colon: write h"),
            ("h:dir/f", "a port follows the colon: write h/dir/f"),
            ("[::1]:/tmp", "a port follows the colon: write [::1]/tmp"),
            ("root@h:/tmp", "write HOST without a user; --user NAME logs in"),
            ("root@h/f", "write HOST without a user; --user NAME logs in"),
            ("h:7070x/f", "7070x is no port, it must be 1 to 65535"),
        ] {
            assert_eq!(RemotePath::parse(text).expect_err(text).to_string(), wanted);
        }
    }

    #[test]
    fn only_a_scheme_or_a_port_makes_a_remote_path() {
        for yes in ["h:1", "h:1/a", "[::1]:70/", "tls://h", "tls://h:1/a", "tls://", "http://h", "https://h/a"] {
            assert!(RemotePath::is_explicit(yes), "{yes}");
        }
        for no in ["h", "h/a", "./h:1", "a:b", "h:123456", "", ".", "-"] {
            assert!(!RemotePath::is_explicit(no), "{no}");
        }
    }

    #[test]
    fn the_name_of_a_remote_path_is_its_last_component() {
        for (text, name) in [("h:1", None), ("h:1/", None), ("h:1/a", Some("a")), ("h:1/a/b/", Some("b"))] {
            assert_eq!(RemotePath::parse(text).expect(text).name(), name, "{text}");
        }
    }
}
