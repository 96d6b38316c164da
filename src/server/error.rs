//! Why a server cannot start or continue.
#![warn(missing_docs)]

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::listen::ListenError;
use crate::dialect::{Kind, OptionError};
use crate::os::net::Address;

pub(super) const LOOP_FAILED: &str = "the event loop failed";
pub(super) const NO_THREAD: &str = "cannot start a thread";

/// Why a server cannot start or continue.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// A limit is out of its range.
    Limit(LimitError),
    /// There are more addresses to listen on than this.
    TooManyAddresses(usize),
    /// A text does not say where to listen.
    Address(ListenError),
    /// A dialect does not take an option of an address.
    Option(OptionError),
    /// An address cannot be listened on.
    Listen {
        /// As it was given.
        address: String,
        /// What it was to speak.
        kind: Kind,
        /// What the system says.
        source: io::Error,
    },
    /// The control socket of a hand-over cannot be listened on.
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing can be taken over from the server with this control socket.
    TakeOver {
        /// The control socket.
        path: PathBuf,
        /// What it says, or the system.
        reason: String,
    },
    /// systemd has opened a listener at an address that is not listened on.
    Activated(Address),
    /// The access file is wrong, with its name and the line; or there is a secret besides.
    Access(String),
    /// The certificate and the key of TLS cannot be used, and why.
    Tls(String),
    /// The user cannot be changed, or a sandbox that is required cannot be had, and why.
    Sandbox(String),
    /// The directory cannot be served, and why.
    Root(String),
    /// A call failed that has nothing to do with what was asked for.
    System {
        /// What cannot be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn tls(error: impl fmt::Display) -> Self {
        Self::Tls(error.to_string())
    }

    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::TooManyAddresses(max) => write!(f, "more than {max} addresses to listen on"),
            Self::Address(error) => error.fmt(f),
            Self::Option(error) => error.fmt(f),
            Self::Listen { address, kind, source } => write!(f, "cannot listen on {address} ({kind}): {source}"),
            Self::Control { path, source } => {
                write!(f, "cannot listen on the control socket {}: {source}", path.display())
            }
            Self::TakeOver { path, reason } => {
                write!(f, "cannot take over from the server at {}: {reason}", path.display())
            }
            Self::Activated(address) => {
                write!(
                    f,
                    "systemd has opened a listener at {address}, which clients would find silent: add --listen {address}"
                )
            }
            Self::Access(reason) | Self::Root(reason) | Self::Sandbox(reason) | Self::Tls(reason) => {
                f.write_str(reason)
            }
            Self::System { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl Error for ServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Limit(error) => Some(error),
            Self::Address(error) => Some(error),
            Self::Option(error) => Some(error),
            Self::Control { source, .. } | Self::Listen { source, .. } | Self::System { source, .. } => Some(source),
            Self::TooManyAddresses(_)
            | Self::Activated(_)
            | Self::TakeOver { .. }
            | Self::Access(_)
            | Self::Root(_)
            | Self::Sandbox(_)
            | Self::Tls(_) => None,
        }
    }
}

/// A limit that no server can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitError {
    /// The number is too small.
    TooSmall {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// As it was given.
        value: usize,
        /// What it must be at least.
        min: usize,
    },
    /// The number is too large.
    TooLarge {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// As it was given.
        value: usize,
        /// What it may be at most.
        max: usize,
    },
    /// A time is zero, with which the loop would never sleep.
    Zero {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
    },
    /// All limits together permit more bytes of memory than can be counted.
    Memory,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { limit, value, min } => write!(f, "{limit} is {value} but must be at least {min}"),
            Self::TooLarge { limit, value, max } => write!(f, "{limit} is {value} but must be at most {max}"),
            Self::Zero { limit } => write!(f, "{limit} must not be zero"),
            Self::Memory => f.write_str("the limits permit more memory than can be counted"),
        }
    }
}

impl Error for LimitError {}
