//! One address to listen on, as it is written on the command line.
#![warn(missing_docs)]

use std::fmt;
use std::str::FromStr;

use crate::config::{NetworkError, Networks};
use crate::dialect::{Kind, Listening, OptionError, UnknownDialect};

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What it speaks.
    pub kind: Kind,
    /// `ADDR:PORT`; port 0 asks the kernel.
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
        }
    }
}

impl std::error::Error for ListenError {}

/// The options that every dialect has.
const PROXY: &str = "proxy";
const TLS: &str = "tls";
const REUSEPORT: &str = "reuseport";

/// Takes an option without a value. True if it is there.
fn take_switch(
    options: &mut Vec<(String, String)>,
    name: &'static str,
    reason: &'static str,
) -> Result<bool, ListenError> {
    let taken: Vec<_> = options.extract_if(.., |(there, _)| there == name).collect();
    match &*taken {
        [] => Ok(false),
        [(_, value)] if value.is_empty() => Ok(true),
        [(_, value)] => Err(ListenError::Option(OptionError::Invalid { option: format!("{name}={value}"), reason })),
        _ => Err(ListenError::Option(OptionError::Repeated(name))),
    }
}

fn networks(value: &str) -> Result<Networks, ListenError> {
    value.parse().map_err(|error: NetworkError| {
        ListenError::Option(OptionError::Invalid { option: format!("{PROXY}={value}"), reason: error.reason() })
    })
}

impl Listen {
    /// An address in a dialect, without options.
    pub fn new(kind: Kind, address: impl Into<String>) -> Self {
        Self { kind, address: address.into(), options: Vec::new(), proxies: None, is_tls: false, shares_port: false }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    /// Reads `[DIALECT@]ADDR:PORT[?option=value&…]`.
    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(ListenError::Scheme { instead: without_scheme(scheme, rest) });
        }
        let (kind, address) = match text.split_once('@') {
            Some((kind, address)) => (kind.parse().map_err(ListenError::Dialect)?, address),
            None => (Kind::Auto, text),
        };
        check_address(address)?;
        let options = query.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, "")));
        let mut options: Vec<_> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut proxies = options.extract_if(.., |(name, _)| name == PROXY).map(|(_, value)| networks(&value));
        let first = proxies.next().transpose()?;
        if proxies.next().is_some() {
            return Err(ListenError::Option(OptionError::Repeated(PROXY)));
        }
        drop(proxies);
        let is_tls = take_switch(&mut options, TLS, "tls has no value")?;
        let shares_port = take_switch(&mut options, REUSEPORT, "reuseport has no value")?;
        // What the dialect does not understand is wrong usage, not a failure to start.
        Listening::new(kind, &options, 0).map_err(ListenError::Option)?;
        Ok(Self { kind, address: address.to_owned(), options, proxies: first, is_tls, shares_port })
    }
}

/// What stands for an address that browsers take.
fn without_scheme(scheme: &str, rest: &str) -> String {
    let address = rest.split('/').next().unwrap_or_default();
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| is_number(port));
    let port = if has_port { "" } else { ":7070" };
    let query = if matches!(scheme, "https" | "tls" | "wss") { "?tls" } else { "" };
    format!("{address}{port}{query}")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses without a lookup what cannot be `ADDR:PORT`.
fn check_address(address: &str) -> Result<(), ListenError> {
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
            ("proxies=::1", "line knows no option \"proxies\", only tls, reuseport, proxy=NETWORK,…"),
            ("tsl", "line knows no option \"tsl\", only tls, reuseport, proxy=NETWORK,…"),
        ] {
            let error = format!("line@127.0.0.1:0?{query}").parse::<Listen>().expect_err("it is wrong");
            assert_eq!(error.to_string(), wanted);
        }
    }
}
