//! What the bytes of a peer mean: one protocol per dialect, driven by the session.
//!
//! To add a dialect, write a module with a `Listener` that is a [`Dialect`] (its name, options and traits, and the
//! protocol of its connections) and name the module here, twice.

pub mod asked;
pub mod auto;
pub mod http;
#[cfg(feature = "legacy")]
mod legacy;
#[cfg(feature = "legacy")]
pub mod length_prefix;
pub mod line;
#[cfg(feature = "legacy")]
pub mod menu;
#[cfg(feature = "legacy")]
pub mod name_choice;
#[cfg(feature = "legacy")]
pub mod name_size;
#[cfg(feature = "legacy")]
pub mod pickle;
mod protocol;
mod spec;
mod table;
#[cfg(test)]
mod testing;

use std::borrow::{Borrow, BorrowMut};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use crate::config::Limits;
use crate::counters::Counters;
pub use protocol::{Action, BodyPart, Context, Deferred, Finish, GuessLimit, Phase, Protocol, Then, TrustedProxy};
pub use spec::{Dialect, OptionError, Options, Secret, Traits};

table::dialects! {
    /// Decided by the first line.
    Auto(auto) in auto::Auto,
    /// The project's own protocol.
    Line(line) in line::Line,
    /// HTTP/1.1.
    Http(http) in http::Http,
    /// `name size`, then bytes until the end.
    #[cfg(feature = "legacy")]
    NameSize(name_size) in Box<name_size::NameSize>,
    /// Messages after a 64-byte length.
    #[cfg(feature = "legacy")]
    LengthPrefix(length_prefix) in Box<length_prefix::LengthPrefix>,
    /// A menu of send and receive.
    #[cfg(feature = "legacy")]
    Menu(menu) in Box<menu::Menu>,
    /// Pickled dictionaries.
    #[cfg(feature = "legacy")]
    Pickle(pickle) in Box<pickle::Pickle>,
    /// A count, then `name:PUT` or `name:GET`.
    #[cfg(feature = "legacy")]
    NameChoice(name_choice) in Box<name_choice::NameChoice>,
}

const _: () = assert!(Kind::ALL.len() <= Counters::DIALECTS_MAX);

impl Listening {
    /// The protocol for a connection above the limit that must send something before it can be refused: which
    /// dialect it speaks is not known, or its request would meet a closed connection and the answer be lost.
    pub fn turn_away(&self, limits: &Limits) -> Option<AnyProtocol> {
        let (http, is_http) = (self.http()?, matches!(self, Self::Http(_)));
        let wait_ms = u32::try_from(limits.live.turned_away_timeout.as_millis()).unwrap_or(u32::MAX);
        Some(AnyProtocol::Auto(auto::Auto::turning_away(Arc::clone(http), is_http, wait_ms)))
    }

    /// What speaks HTTP there.
    fn http(&self) -> Option<&Arc<http::Listener>> {
        match self {
            Self::Auto(listener) => Some(&listener.http),
            Self::Http(listener) => Some(listener),
            _ => None,
        }
    }

    /// True if this peer is a proxy that may say which clients its requests are from.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.http().is_some_and(|http| http.policy().trusts(peer))
    }

    /// True if such a proxy may also say which user is logged in there.
    pub fn trusts_users(&self) -> bool {
        self.http().is_some_and(|http| http.policy().trusts_users)
    }

    /// True if nothing but the state of the server is shown there.
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::Http(listener) if listener.policy().is_admin)
    }
}

impl AnyProtocol {
    /// True for the one of [`Listening::turn_away`], which becomes no other.
    pub const fn is_turned_away(&self) -> bool {
        matches!(self, Self::Auto(auto) if auto.is_turned_away())
    }

    /// Obeys [`Action::Speak`]: the first line has shown what the peer speaks.
    pub fn speak(&mut self) {
        if let Self::Auto(auto) = self {
            *self = match auto.found_http() {
                Some(listener) => Self::Http(http::Http::new(listener)),
                None => Self::Line(auto.found_line()),
            };
        }
    }

    /// The most bytes of one message that must be seen at once. Above `Limits::head_len_max` it costs a slot.
    pub const fn message_len_max(&self, limits: &Limits) -> usize {
        match self {
            Self::Http(http) => limits.fixed.head_len_max + http.form_len_max(),
            _ if self.kind().traits().holds_messages => limits.fixed.message_bytes_max,
            _ => limits.fixed.head_len_max,
        }
    }
}

impl Kind {
    /// The dialects of older systems, each with the address its unmodified clients dial.
    pub fn legacy() -> impl Iterator<Item = (Self, &'static str)> {
        Self::ALL.into_iter().filter_map(|kind| Some((kind, kind.traits().legacy_address?)))
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        self.traits().name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of no dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDialect(String);

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown dialect {:?}: this server speaks {}", self.0, Kind::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownDialect {}

impl FromStr for Kind {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownDialect(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_named() {
        for kind in Kind::ALL {
            let told = Listening::new(kind, &[("nonsense".to_owned(), String::new())], 0).map(|_| ());
            assert!(told.is_err_and(|error| error.to_string().contains("nonsense")), "{kind}");
        }
    }

    #[test]
    fn no_two_dialects_have_the_same_name_or_legacy_address() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.name().parse(), Ok(kind));
            for other in &Kind::ALL[..at] {
                let (one, other) = (kind.traits().legacy_address, other.traits().legacy_address);
                assert!(one.is_none() || one != other, "{kind}");
            }
        }
    }
}
