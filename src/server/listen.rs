//! One address to listen on, as it is written on the command line.
#![warn(missing_docs)]

use std::fmt;
use std::str::FromStr;

use crate::config::{NetworkError, Networks, SocketFile};
use crate::dialect::{Kind, Listening, OptionError, UnknownDialect};
use crate::os::net::UNIX;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What it speaks.
    pub kind: Kind,
    /// `ADDR:PORT`, where port 0 asks the kernel, or `unix:PATH`.
    pub address: String,
    /// What follows the address as a query, for the dialect to understand.
    pub options: Vec<(String, String)>,
    /// Of the query as well (`proxy=`): connections are accepted from these addresses only, and each must begin with a
    /// header of the PROXY protocol, version 1 or 2, which says for which client it is.
    pub proxies: Option<Networks>,
    /// Of the query as well (`tls`): connections are encrypted, after the header of a proxy.
    pub is_tls: bool,
    /// Of the query as well (`reuseport`): other processes of this user may listen on the address too, and the kernel
    /// gives each a share of the connections (SO_REUSEPORT, socket(7)).
    pub shares_port: bool,
    /// Of the query as well (`mode=` and `owner=`): the file of a Unix socket. Without effect elsewhere.
    pub socket_file: SocketFile,
}

/// Why a text does not say where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// Before the `@`.
    Dialect(UnknownDialect),
    /// After the `?`.
    Option(OptionError),
    /// The number of the port is too large.
    Port(String),
    /// There is a port, but no address.
    NoAddress {
        /// The port.
        port: String,
    },
    /// It is the address of a page.
    Scheme {
        /// Without the scheme.
        instead: String,
    },
    /// It is not `ADDR:PORT`.
    Syntax(String),
    /// No path follows `unix:`.
    NoPath,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialect(error) => error.fmt(f),
            Self::Option(error) => error.fmt(f),
            Self::Port(port) => write!(f, "port {port} is not in 0..=65535"),
            Self::NoAddress { port } => write!(
                f,
                "write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every IPv4 address, [::]:{port} for \
                 every IPv6 address"
            ),
            Self::Scheme { instead } => write!(f, "write {instead}, without a scheme"),
            Self::Syntax(text) => {
                let port = if is_number(text) { text } else { "7070" };
                write!(f, "{text:?} is not ADDR:PORT, for example 127.0.0.1:{port}")
            }
            Self::NoPath => f.write_str("write the path of the socket, for example unix:/run/filewharf/http.sock"),
        }
    }
}

impl std::error::Error for ListenError {}

/// The options that every dialect has.
const PROXY: &str = "proxy";
const TLS: &str = "tls";
const REUSEPORT: &str = "reuseport";
/// Those of Unix sockets.
const MODE: &str = "mode";
const OWNER: &str = "owner";
const MODE_MAX: u32 = 0o777;

fn invalid(name: &str, value: &str, reason: &'static str) -> ListenError {
    ListenError::Option(OptionError::Invalid { option: format!("{name}={value}"), reason })
}

/// Takes the value of an option; `None` if it is not there.
fn take(options: &mut Vec<(String, String)>, name: &'static str) -> Result<Option<String>, ListenError> {
    let mut taken = options.extract_if(.., |(there, _)| there == name).map(|(_, value)| value);
    match (taken.next(), taken.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(ListenError::Option(OptionError::Repeated(name))),
    }
}

/// Takes an option without a value. True if it is there.
fn take_switch(
    options: &mut Vec<(String, String)>,
    name: &'static str,
    reason: &'static str,
) -> Result<bool, ListenError> {
    match take(options, name)?.as_deref() {
        None => Ok(false),
        Some("") => Ok(true),
        Some(value) => Err(invalid(name, value, reason)),
    }
}

fn networks(value: &str) -> Result<Networks, ListenError> {
    value.parse().map_err(|error: NetworkError| invalid(PROXY, value, error.reason()))
}

/// Takes what is said of the file of a Unix socket.
fn take_socket_file(options: &mut Vec<(String, String)>) -> Result<SocketFile, ListenError> {
    let mut file = SocketFile::default();
    if let Some(value) = take(options, MODE)? {
        let mode = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= MODE_MAX && is_number(&value));
        file.mode = mode.ok_or_else(|| invalid(MODE, &value, "write permission bits in octal, for example 660"))?;
    }
    file.owner = take(options, OWNER)?;
    if file.owner.as_deref() == Some("") {
        return Err(invalid(OWNER, "", "write USER or USER:GROUP, names or numbers"));
    }
    Ok(file)
}

impl Listen {
    /// An address in a dialect, without options.
    pub fn new(kind: Kind, address: impl Into<String>) -> Self {
        Self {
            kind,
            address: address.into(),
            options: Vec::new(),
            proxies: None,
            is_tls: false,
            shares_port: false,
            socket_file: SocketFile::default(),
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    /// Reads `[DIALECT@]ADDR:PORT[?option=value&…]`, or `unix:PATH` in place of the address.
    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(ListenError::Scheme { instead: without_scheme(scheme, rest) });
        }
        let (kind, address) = match text.split_once('@').filter(|_| !text.starts_with(UNIX)) {
            Some((kind, address)) => (kind.parse().map_err(ListenError::Dialect)?, address),
            None => (Kind::Auto, text),
        };
        let is_unix = address.starts_with(UNIX);
        check_address(address)?;
        let options = query.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, "")));
        let mut options: Vec<_> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let proxies = take(&mut options, PROXY)?.map(|value| networks(&value)).transpose()?;
        let is_tls = take_switch(&mut options, TLS, "tls has no value")?;
        let shares_port = take_switch(&mut options, REUSEPORT, "reuseport has no value")?;
        if shares_port && is_unix {
            return Err(invalid(REUSEPORT, "", "a unix socket belongs to one server"));
        }
        let socket_file = if is_unix { take_socket_file(&mut options)? } else { SocketFile::default() };
        // What the dialect does not understand is wrong usage, not a failure to start.
        Listening::new(kind, &options, 0).map_err(ListenError::Option)?;
        Ok(Self { kind, address: address.to_owned(), options, proxies, is_tls, shares_port, socket_file })
    }
}

/// What stands for an address that browsers take.
fn without_scheme(scheme: &str, rest: &str) -> String {
    if scheme.ends_with("unix") {
        return format!("{UNIX}{rest}");
    }
    let address = rest.split('/').next().unwrap_or_default();
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| is_number(port));
    let port = if has_port { "" } else { ":7070" };
    let query = if matches!(scheme, "https" | "tls" | "wss") { "?tls" } else { "" };
    format!("{address}{port}{query}")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses without a lookup what can be neither `ADDR:PORT` nor `unix:PATH`.
fn check_address(address: &str) -> Result<(), ListenError> {
    if let Some(path) = address.strip_prefix(UNIX) {
        return if path.is_empty() { Err(ListenError::NoPath) } else { Ok(()) };
    }
    match address.rsplit_once(':').filter(|(_, port)| is_number(port)) {
        Some((_, port)) if port.parse::<u16>().is_err() => Err(ListenError::Port(port.to_owned())),
        Some(("" | "*", port)) => Err(ListenError::NoAddress { port: port.to_owned() }),
        Some(_) => Ok(()),
        None => Err(ListenError::Syntax(address.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_works_with_proxies_and_keeps_its_own_options() {
        for kind in Kind::ALL {
            let listen: Listen = format!("{kind}@127.0.0.1:0?proxy=10.0.0.0/8,::1").parse().expect("good options");
            assert_eq!((listen.proxies, listen.options), (Some("10.0.0.0/8,::1".parse().expect("networks")), vec![]));
        }
        let listen: Listen = "http@127.0.0.1:0?serve-html&proxy=::1&cors=*".parse().expect("good options");
        let options = [("serve-html", ""), ("cors", "*")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(listen.options, options);
        assert_eq!("127.0.0.1:0".parse::<Listen>().expect("an address").proxies, None);
    }

    #[test]
    fn every_dialect_can_be_encrypted_also_with_proxies() {
        for kind in Kind::ALL {
            for (query, is_tls, is_proxied) in
                [("", false, false), ("?tls", true, false), ("?tls&proxy=::1", true, true)]
            {
                let listen: Listen = format!("{kind}@127.0.0.1:0{query}").parse().expect("good options");
                assert_eq!((listen.is_tls, listen.proxies.is_some(), listen.options), (is_tls, is_proxied, vec![]));
            }
        }
        for (query, wanted) in [("tls=1", "tls=1: tls has no value"), ("tls&tls", "tls= is given twice")] {
            let error = format!("line@127.0.0.1:0?{query}").parse::<Listen>().expect_err("it is wrong");
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn an_address_can_be_shared_with_other_processes() {
        let listen: Listen = "http@127.0.0.1:0?reuseport&tls".parse().expect("good options");
        assert!(listen.shares_port && listen.is_tls && listen.options.is_empty());
        let error = "127.0.0.1:0?reuseport=1".parse::<Listen>().expect_err("it is wrong");
        assert_eq!(error.to_string(), "reuseport=1: reuseport has no value");
    }

    #[test]
    fn a_unix_socket_has_a_path_and_a_file_with_a_mode_and_an_owner() {
        let listen: Listen = "unix:/run/a@b:1".parse().expect("a path");
        assert_eq!((listen.kind, &*listen.address), (Kind::Auto, "unix:/run/a@b:1"));
        assert_eq!((listen.socket_file.mode, listen.socket_file.owner), (0o660, None));
        for kind in Kind::ALL {
            let listen: Listen =
                format!("{kind}@unix:x?mode=0600&tls&owner=www-data:4&proxy=127.0.0.1").parse().expect("good options");
            assert_eq!((listen.kind, &*listen.address, listen.options), (kind, "unix:x", vec![]));
            let file = SocketFile { mode: 0o600, owner: Some("www-data:4".to_owned()) };
            assert!(listen.socket_file == file && listen.is_tls && listen.proxies.is_some());
        }
        for (text, wanted) in [
            ("unix:", "write the path of the socket, for example unix:/run/filewharf/http.sock"),
            ("http@unix:?cors=*", "write the path of the socket, for example unix:/run/filewharf/http.sock"),
            ("unix:/x?mode=1777", "mode=1777: write permission bits in octal, for example 660"),
            ("unix:/x?mode=+66", "mode=+66: write permission bits in octal, for example 660"),
            ("unix:/x?mode=rw", "mode=rw: write permission bits in octal, for example 660"),
            ("unix:/x?mode=660&mode=600", "mode= is given twice"),
            ("unix:/x?owner=", "owner=: write USER or USER:GROUP, names or numbers"),
            ("unix:/x?reuseport", "reuseport=: a unix socket belongs to one server"),
            ("unix:///run/x", "write unix:/run/x, without a scheme"),
            ("http+unix:///run/x", "write unix:/run/x, without a scheme"),
        ] {
            assert_eq!(text.parse::<Listen>().expect_err("it is wrong").to_string(), wanted);
        }
        for text in ["line@127.0.0.1:0?mode=660", "line@unix:/x?mod=660"] {
            let error = text.parse::<Listen>().expect_err("it is wrong").to_string();
            assert!(
                error.ends_with("only tls, reuseport, proxy=NETWORK,…, of a unix socket mode=BITS, owner=USER:GROUP")
            );
        }
    }

    #[test]
    fn the_address_of_a_page_is_refused_with_the_address_to_listen_on() {
        for (text, wanted) in [
            ("https://0.0.0.0:8443", "write 0.0.0.0:8443?tls, without a scheme"),
            ("https://[::1]:8443/files/?x", "write [::1]:8443?tls, without a scheme"),
            ("tls://localhost", "write localhost:7070?tls, without a scheme"),
            ("http://127.0.0.1:80/", "write 127.0.0.1:80, without a scheme"),
            ("tcp://[::1]", "write [::1]:7070, without a scheme"),
        ] {
            assert_eq!(text.parse::<Listen>().expect_err("it is wrong").to_string(), wanted);
        }
        assert!("http@127.0.0.1:0?cors=https://a.example".parse::<Listen>().is_ok());
    }

    #[test]
    fn a_list_of_proxies_that_is_wrong_is_refused_and_quoted() {
        for (query, wanted) in [
            ("proxy", "proxy=: write addresses or networks, for example 10.0.0.0/8,::1"),
            (
                "proxy=10.0.0.1/8",
                "proxy=10.0.0.1/8: the bits of a network after its prefix must be 0, for example 10.0.0.0/8",
            ),
            ("proxy=::1&proxy=::1", "proxy= is given twice"),
            (
                "proxies=::1",
                "line knows no option \"proxies\", only tls, reuseport, proxy=NETWORK,…, of a unix socket mode=BITS, owner=USER:GROUP",
            ),
            (
                "tsl",
                "line knows no option \"tsl\", only tls, reuseport, proxy=NETWORK,…, of a unix socket mode=BITS, owner=USER:GROUP",
            ),
        ] {
            let error = format!("line@127.0.0.1:0?{query}").parse::<Listen>().expect_err("it is wrong");
            assert_eq!(error.to_string(), wanted);
        }
    }
}
