//! One address to listen on, as it is written on the command line.
#![warn(missing_docs)]

use std::fmt;
use std::str::FromStr;

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
            Self::Syntax(text) => {
                let port = if is_number(text) { text } else { "7070" };
                write!(f, "{text:?} is not ADDR:PORT, for example 127.0.0.1:{port}")
            }
        }
    }
}

impl std::error::Error for ListenError {}

impl FromStr for Listen {
    type Err = ListenError;

    /// Reads `[DIALECT@]ADDR:PORT[?option=value&…]`.
    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (kind, address) = match text.split_once('@') {
            Some((kind, address)) => (kind.parse().map_err(ListenError::Dialect)?, address),
            None => (Kind::Auto, text),
        };
        check_address(address)?;
        let options = query.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, "")));
        let options: Vec<_> = options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // What the dialect does not understand is wrong usage, not a failure to start.
        Listening::new(kind, &options, 0).map_err(ListenError::Option)?;
        Ok(Self { kind, address: address.to_owned(), options })
    }
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
