//! What a dialect declares of itself, in its own file: its name, its options and its traits.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::dialect::protocol::Protocol;

/// The options of a listener's address, in their order.
pub type Options = [(String, String)];

/// One dialect. The value is what the connections of one listener share: its options, and what it remembers.
pub trait Dialect: Default + fmt::Debug {
    /// One connection's side of the conversation.
    type Protocol: Protocol;

    const TRAITS: Traits;

    /// Reads the options of the address; all of them are named in [`Traits::options`]. `started_s` is the wall-clock
    /// time of the start, for names that must not repeat after a restart.
    fn listen(_options: &Options, _started_s: u64) -> Result<Self, OptionError> {
        Ok(Self::default())
    }

    /// The protocol for a connection from `peer`.
    fn accept(self: Arc<Self>, peer: SocketAddr) -> Self::Protocol;

    /// Answers only requests for this machine, of that name, and for hosts that an option allows.
    fn restrict_hosts(&mut self, _machine: &str) {}

    /// Takes no passwords: others could read them on their way.
    fn refuse_passwords(&mut self) {}
}

/// What is known of a dialect before anything is said in it.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// As on the command line and in the metrics.
    pub name: &'static str,
    /// Where unmodified clients of the older system connect to; `--legacy` listens there.
    pub legacy_address: Option<&'static str>,
    /// Each as the user writes it: `name=VALUE`, or `name` where it takes none.
    pub options: &'static [&'static str],
    /// Sent to a connection above the limit; empty where nothing can be said before a request.
    pub turned_away: &'static [u8],
    /// The server sends nothing before it has received something, however long that takes.
    pub client_speaks_first: bool,
    /// A client shuts down its sending side after its last request, often before the answer.
    pub half_closes_after_request: bool,
    /// A client that has sent its file takes a plain end of the connection for success.
    pub end_means_success: bool,
    /// A message may cost much more than its bytes: requests are bulk work.
    pub decodes_slowly: bool,
    /// A message may be longer than a head and must be seen whole: up to `Limits::message_bytes_max` in a slot.
    pub holds_messages: bool,
    pub secret: Secret,
    /// Memory that one listener keeps for all its connections at most, in bytes.
    pub kept_bytes_max: usize,
}

/// Whether clients show the secret of `--token-file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// They cannot: all of them are served.
    Unknown,
    /// Some requests need it.
    Accepted,
    /// All requests need it.
    Required,
}

impl Traits {
    /// A dialect of that name with no special trait.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            legacy_address: None,
            options: &[],
            turned_away: b"",
            client_speaks_first: false,
            half_closes_after_request: false,
            end_means_success: false,
            decodes_slowly: false,
            holds_messages: false,
            secret: Secret::Unknown,
            kept_bytes_max: 0,
        }
    }

    /// True where an address may have this option.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.split('=').next() == Some(name))
    }

    /// Refuses options that the dialect does not have.
    pub(super) fn check(&self, options: &Options) -> Result<(), OptionError> {
        match options.iter().find(|(name, _)| !self.has_option(name)) {
            None => Ok(()),
            Some((name, _)) => {
                Err(OptionError::Unknown { dialect: self.name, option: name.clone(), known: self.options })
            }
        }
    }
}

/// What the address of every dialect may have besides; the server reads it.
const OF_EVERY_ADDRESS: &[&str] =
    &["tls", "reuseport", "proxy=NETWORK,…", "of a unix socket mode=BITS", "owner=USER:GROUP"];

/// Why a listener cannot be as its address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    Unknown {
        dialect: &'static str,
        option: String,
        known: &'static [&'static str],
    },
    Repeated(&'static str),
    /// The option as it was written, and what is wrong with it.
    Invalid {
        option: String,
        reason: &'static str,
    },
}

impl OptionError {
    pub(super) fn invalid(name: &str, value: &str, reason: &'static str) -> Self {
        Self::Invalid { option: format!("{name}={value}"), reason }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { dialect, option, known } => {
                let known = [known, OF_EVERY_ADDRESS].concat();
                write!(f, "{dialect} knows no option {option:?}, only {}", known.join(", "))
            }
            Self::Repeated(name) => write!(f, "{name}= is given twice"),
            Self::Invalid { option, reason } => write!(f, "{option}: {reason}"),
        }
    }
}

impl std::error::Error for OptionError {}
