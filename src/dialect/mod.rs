//! What the bytes of a peer mean: one small machine per dialect, driven by the session.
//!
//! A protocol has inputs (bytes, end of stream, silence, an answer of the store, "your body has
//! left") and outputs (bytes to say, and one [`Action`]). Everything about a conversation is decided
//! here; the session only obeys. A protocol never sees a socket, a file or a clock.

pub mod auto;
pub mod http;
pub mod length_prefix;
pub mod line;
pub mod menu;
pub mod name_choice;
pub mod name_size;
pub mod pickle;
#[cfg(test)]
mod testing;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::config::{Access, Limits};
use crate::counters::Counters;
use crate::error::{CloseReason, Failure};
use crate::object::Key;
pub use crate::wire::body::{BodyPart, Then};
use crate::wire::http::opening::{NOT_HTTP, Opening, opening};

/// What the session is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait for more bytes than were shown.
    More,
    /// Give this to the store; its answer comes to [`Protocol::answered`].
    Run(Command),
    /// The upload may begin: what follows is decoded by [`Protocol::body`].
    Receive,
    /// Send this part of the open file behind what was said; then [`Protocol::sent`] is asked.
    Send {
        /// Which bytes of the file.
        range: Range<u64>,
        /// Compute the SHA-256 of what leaves.
        hash: bool,
    },
    /// This exchange is over: decode the next request.
    Next,
    /// The reply goes on: once what was said has left, wait for a slot and give this to the store. Its
    /// answer comes to [`Protocol::answered`].
    Continue(Command),
    /// Store a small file whose content is already known; the answer is `Stored` or a failure.
    Store(Put, Vec<u8>),
    /// Wait until the peer's system has acknowledged every byte said, and so long besides; then
    /// [`Protocol::paused`] is asked. For peers that take one packet for one message.
    Pause(Duration),
    /// This exchange failed before its body was read: throw the body away, then as `Next`. A body
    /// too long to throw away ends the connection instead.
    Discard,
    /// Say what is to be said, close our half, let the peer read it.
    Close(CloseReason),
    /// Close so that a peer that is still sending notices.
    Reset(CloseReason),
    /// The first line showed what the peer speaks: from here on another machine decodes.
    Speak(Kind),
}

/// What to do with a body that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// Another name than was announced, where it is only known now.
    pub key: Option<Key>,
    /// Bytes that belong before the content that was received. Only of an upload whose length was
    /// not known.
    pub prepend: Vec<u8>,
}

/// Is the server taking new requests?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Yes.
    Serving,
    /// No: they are told so.
    Draining,
}

/// What a protocol is lent for one call.
pub struct Context<'a> {
    /// What is to be said; whole messages only.
    pub out: &'a mut Vec<u8>,
    /// Every bound.
    pub limits: &'a Limits,
    /// Who may do what.
    pub access: &'a Access,
    /// Is the server taking new requests?
    pub phase: Phase,
    /// The clock on the wall, in seconds since 1970.
    pub wall_clock_s: u64,
    /// Facts for the operator, current in the middle of a turn.
    pub counters: &'a Counters,
    /// Set when the request was refused, for the log.
    pub refused: Option<Failure>,
    /// Set when a wrong secret was shown.
    pub wrong_secret: bool,
    /// Lines for the log about this peer.
    pub notes: &'a mut Vec<String>,
}

/// One dialect's side of one connection.
pub trait Protocol {
    /// The connection is open; nothing has come yet.
    fn opened(&mut self, _talk: &mut Context<'_>) -> Action {
        Action::More
    }

    /// Decodes a head from `input`, the oldest bytes not yet used. Returns how many were used;
    /// with [`Action::More`] the same bytes are shown again with more behind them.
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action);

    /// What decoding has cost since this was last asked, in bytes of an upload that take as long. Only of
    /// dialects where [`Kind::decodes_slowly`].
    fn take_work(&mut self) -> usize {
        0
    }

    /// The peer's stream ended while a head was awaited; `held` was never decoded.
    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action;

    /// The most bytes of one message that must be seen at once. Above `Limits::head_len_max` it
    /// costs a slot.
    fn message_len_max(&self, limits: &Limits) -> usize {
        limits.head_len_max
    }

    /// How long a silence of the peer means something now, while a head is awaited or a body
    /// received. Asked anew after every input.
    fn quiet_after(&self) -> Option<Duration> {
        None
    }

    /// That silence came while a head was awaited; as [`Protocol::decode`].
    fn quiet(&mut self, _held: &[u8], _talk: &mut Context<'_>) -> (usize, Action) {
        (0, Action::More)
    }

    /// That silence came in the middle of a body: is it complete? With [`Then::Look`] the bytes
    /// that are held are shown again.
    fn body_quiet(&mut self) -> Then {
        Then::Wait
    }

    /// The time of an [`Action::Pause`] is over.
    fn paused(&mut self, _talk: &mut Context<'_>) -> Action {
        Action::Next
    }

    /// The store answered the command that was run.
    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action;

    /// Finds the next piece of content in `raw`, at most `payload_max` bytes of it.
    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure>;

    /// At least so many bytes from here on belong to the body; reading further ahead would only
    /// have to be held.
    fn body_left(&self) -> u64;

    /// The peer's stream ended inside the body: is that its end?
    fn body_ended(&mut self) -> Result<(), Failure> {
        Err(Failure::Malformed("the connection ended before the body did"))
    }

    /// Every byte of the body is in the staging file: may it become visible? `digest` is there if
    /// the command asked to hash.
    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure>;

    /// Did the peer say that nothing follows the request that is answered?
    fn was_last_request(&self) -> bool {
        false
    }

    /// The range asked for has left.
    fn sent(&mut self, digest: Option<[u8; 32]>, context: &mut Context<'_>) -> Action;
}

/// Every dialect, the one place that lists them. What serves thousands of connections is inline;
/// the others are larger than everything else a connection needs.
#[derive(Debug)]
pub enum Dialect {
    /// Not known before the first line.
    Auto(auto::Auto),
    /// HTTP/1.1.
    Http(http::Http),
    /// Messages behind a 64-byte length.
    LengthPrefix(Box<length_prefix::LengthPrefix>),
    /// The project's own protocol.
    Line(line::Line),
    /// A menu of send and receive.
    Menu(Box<menu::Menu>),
    /// A count, then `name:PUT` or `name:GET`.
    NameChoice(Box<name_choice::NameChoice>),
    /// `name size`, then bytes until the end.
    NameSize(Box<name_size::NameSize>),
    /// Pickled dictionaries.
    Pickle(Box<pickle::Pickle>),
}

impl Dialect {
    /// True for the one of [`Listening::turn_away`], which becomes no other.
    pub const fn is_turned_away(&self) -> bool {
        matches!(self, Self::Auto(auto) if auto.turned_away.is_some())
    }

    /// Its interface.
    pub fn protocol(&mut self) -> &mut dyn Protocol {
        match self {
            Self::Auto(protocol) => protocol,
            Self::Http(protocol) => protocol,
            Self::LengthPrefix(protocol) => &mut **protocol,
            Self::Line(protocol) => protocol,
            Self::Menu(protocol) => &mut **protocol,
            Self::NameChoice(protocol) => &mut **protocol,
            Self::NameSize(protocol) => &mut **protocol,
            Self::Pickle(protocol) => &mut **protocol,
        }
    }

    /// Its interface, to ask only.
    pub fn protocol_ref(&self) -> &dyn Protocol {
        match self {
            Self::Auto(protocol) => protocol,
            Self::Http(protocol) => protocol,
            Self::LengthPrefix(protocol) => &**protocol,
            Self::Line(protocol) => protocol,
            Self::Menu(protocol) => &**protocol,
            Self::NameChoice(protocol) => &**protocol,
            Self::NameSize(protocol) => &**protocol,
            Self::Pickle(protocol) => &**protocol,
        }
    }

    /// Obeys [`Action::Speak`]: what was not known before the first line is known now.
    pub fn speak(&mut self, kind: Kind) {
        if let Self::Auto(auto) = self {
            *self = match kind {
                Kind::Http => Self::Http(http::Http::new(Arc::clone(&auto.http))),
                _ => Self::Line(line::Line::default()),
            };
        }
    }

    /// What is spoken.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Auto(_) => Kind::Auto,
            Self::Http(_) => Kind::Http,
            Self::LengthPrefix(_) => Kind::LengthPrefix,
            Self::Line(_) => Kind::Line,
            Self::Menu(_) => Kind::Menu,
            Self::NameChoice(_) => Kind::NameChoice,
            Self::NameSize(_) => Kind::NameSize,
            Self::Pickle(_) => Kind::Pickle,
        }
    }
}

/// What one listener speaks: the dialect, its options, and what its connections share.
#[derive(Clone, Debug)]
pub enum Listening {
    /// Decided by the first line.
    Auto(Arc<http::Listener>),
    /// HTTP/1.1.
    Http(Arc<http::Listener>),
    /// Messages behind a 64-byte length.
    LengthPrefix(Arc<length_prefix::Listener>),
    /// The project's own protocol.
    Line,
    /// A menu of send and receive.
    Menu(Arc<menu::Listener>),
    /// A count, then `name:PUT` or `name:GET`.
    NameChoice(Arc<name_choice::Listener>),
    /// `name size`, then bytes until the end.
    NameSize(Arc<name_size::Listener>),
    /// Pickled dictionaries.
    Pickle(Arc<pickle::Listener>),
}

/// The options of a listener's address, in their order.
pub type Options = [(String, String)];

impl Listening {
    /// A listener of this kind with the options of its address. `started` is the wall-clock time
    /// in seconds, for names that must not repeat after a restart.
    pub fn new(kind: Kind, options: &Options, started: u64) -> Result<Self, String> {
        Ok(match kind {
            Kind::Auto => Self::Auto(Arc::new(http::Listener::new(kind, options)?)),
            Kind::Http => Self::Http(Arc::new(http::Listener::new(kind, options)?)),
            Kind::Line => {
                no_options(kind, options)?;
                Self::Line
            }
            Kind::LengthPrefix => Self::LengthPrefix(Arc::new(length_prefix::Listener::new(options, started)?)),
            Kind::Menu => Self::Menu(Arc::new(menu::Listener::new(options)?)),
            Kind::NameChoice => Self::NameChoice(Arc::new(name_choice::Listener::new(options)?)),
            Kind::NameSize => Self::NameSize(Arc::new(name_size::Listener::new(options)?)),
            Kind::Pickle => Self::Pickle(Arc::new(pickle::Listener::new(options, started)?)),
        })
    }

    /// Answers only requests for this machine, of that name, and for hosts that an option allows; see
    /// [`http::Listener`]. To be called before the first connection.
    pub fn restrict_hosts(&mut self, machine: &str) {
        if let Self::Auto(listener) | Self::Http(listener) = self
            && let Some(listener) = Arc::get_mut(listener)
        {
            listener.restrict_hosts(machine);
        }
    }

    /// The protocol for a connection from `peer`.
    pub fn accept(&self, peer: SocketAddr) -> Dialect {
        match self {
            Self::Auto(listener) => Dialect::Auto(auto::Auto { http: Arc::clone(listener), turned_away: None }),
            Self::Http(listener) => Dialect::Http(http::Http::new(Arc::clone(listener))),
            Self::Line => Dialect::Line(line::Line::default()),
            Self::LengthPrefix(listener) => {
                Dialect::LengthPrefix(Box::new(length_prefix::LengthPrefix::new(Arc::clone(listener), peer)))
            }
            Self::Menu(listener) => Dialect::Menu(Box::new(menu::Menu::new(Arc::clone(listener), peer))),
            Self::NameChoice(listener) => {
                Dialect::NameChoice(Box::new(name_choice::NameChoice::new(Arc::clone(listener), peer)))
            }
            Self::NameSize(listener) => {
                Dialect::NameSize(Box::new(name_size::NameSize::new(Arc::clone(listener), peer)))
            }
            Self::Pickle(listener) => Dialect::Pickle(Box::new(pickle::Pickle::new(Arc::clone(listener), peer))),
        }
    }

    /// The protocol for a connection for which there is no room, where it must be heard first: what it speaks
    /// is not known, or its request would otherwise meet a closed connection, and the answer be lost.
    pub fn turn_away(&self, limits: &Limits) -> Option<Dialect> {
        let (Self::Auto(listener) | Self::Http(listener)) = self else { return None };
        let wait_ms = u32::try_from(limits.turned_away_timeout.as_millis()).unwrap_or(u32::MAX);
        let turned_away = Some(auto::TurnedAway { kind: self.kind(), wait_ms });
        Some(Dialect::Auto(auto::Auto { http: Arc::clone(listener), turned_away }))
    }

    /// What any other connection is told that comes when no more are taken; empty where the dialect has
    /// no way to say it before it has been asked.
    pub const fn turned_away(&self) -> &'static [u8] {
        match self {
            Self::Line => line::TURNED_AWAY,
            Self::LengthPrefix(_) => length_prefix::TURNED_AWAY,
            Self::Auto(_)
            | Self::Http(_)
            | Self::Menu(_)
            | Self::NameChoice(_)
            | Self::NameSize(_)
            | Self::Pickle(_) => b"",
        }
    }

    /// Memory that it keeps for all its connections at most, in bytes.
    pub const fn kept_bytes_max(&self) -> usize {
        match self {
            Self::Auto(_) | Self::Http(_) => http::KEPT_BYTES_MAX,
            Self::LengthPrefix(_)
            | Self::Line
            | Self::Menu(_)
            | Self::NameChoice(_)
            | Self::NameSize(_)
            | Self::Pickle(_) => 0,
        }
    }

    /// What is spoken at it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Auto(_) => Kind::Auto,
            Self::Http(_) => Kind::Http,
            Self::LengthPrefix(_) => Kind::LengthPrefix,
            Self::Line => Kind::Line,
            Self::Menu(_) => Kind::Menu,
            Self::NameChoice(_) => Kind::NameChoice,
            Self::NameSize(_) => Kind::NameSize,
            Self::Pickle(_) => Kind::Pickle,
        }
    }

    /// May a connection hold a message longer than a head? Then a slot must have room for it.
    pub const fn gathers(&self) -> bool {
        match self {
            Self::Pickle(_) => true,
            Self::Auto(_)
            | Self::Http(_)
            | Self::LengthPrefix(_)
            | Self::Line
            | Self::Menu(_)
            | Self::NameChoice(_)
            | Self::NameSize(_) => false,
        }
    }
}

/// For dialects that have none.
pub fn no_options(kind: Kind, options: &Options) -> Result<(), String> {
    match options.first() {
        None => Ok(()),
        Some((name, _)) => Err(format!("{kind} knows no option {name:?}")),
    }
}

/// Resets a connection that begins with an HTTP request, and waits for more while it could; `None` for any other.
/// For dialects in which nothing begins so.
fn refuse_http(input: &[u8], context: &mut Context<'_>) -> Option<Action> {
    match opening(input) {
        Opening::Request => {
            context.refused = Some(Failure::Malformed(NOT_HTTP));
            Some(Action::Reset(CloseReason::Malformed))
        }
        Opening::Unfinished => Some(Action::More),
        Opening::Other => None,
    }
}

/// The name of what a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Decided by the first line.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http,
    /// Messages behind a 64-byte length.
    LengthPrefix,
    /// The project's own protocol.
    Line,
    /// A menu of send and receive.
    Menu,
    /// A count, then `name:PUT` or `name:GET`.
    NameChoice,
    /// `name size`, then bytes until the end.
    NameSize,
    /// Pickled dictionaries.
    Pickle,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Auto,
        Self::Line,
        Self::Http,
        Self::NameSize,
        Self::LengthPrefix,
        Self::Menu,
        Self::Pickle,
        Self::NameChoice,
    ];

    /// The dialects of older systems, each with the address its unmodified clients dial.
    pub const LEGACY: [(Self, &'static str); 5] = [
        (Self::NameSize, "127.0.1.1:5010"),
        (Self::LengthPrefix, "127.0.0.1:8000"),
        (Self::Menu, "127.0.0.1:4456"),
        (Self::Pickle, "127.0.0.1:12000"),
        (Self::NameChoice, "127.0.0.1:50000"),
    ];

    /// May a connection to it speak HTTP?
    pub const fn speaks_http(self) -> bool {
        matches!(self, Self::Auto | Self::Http)
    }

    /// True where the server sends nothing before the first request. Some older dialects wait for a
    /// while, and then send a greeting.
    pub const fn client_speaks_first(self) -> bool {
        matches!(self, Self::Auto | Self::Http | Self::Line)
    }

    /// True where a client can show a secret.
    pub const fn takes_secrets(self) -> bool {
        self.client_speaks_first() || matches!(self, Self::LengthPrefix)
    }

    /// True where a client marks its last request by closing its sending half: the end of stream is often
    /// there by the time of the reply.
    pub const fn half_closes_after_request(self) -> bool {
        matches!(self, Self::Line)
    }

    /// True where a message may cost much more than its bytes: its requests are bulk work.
    pub const fn decodes_slowly(self) -> bool {
        matches!(self, Self::Pickle)
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http => "http",
            Self::LengthPrefix => "length-prefix",
            Self::Line => "line",
            Self::Menu => "menu",
            Self::NameChoice => "name-choice",
            Self::NameSize => "name-size",
            Self::Pickle => "pickle",
        }
    }
}

/// The counters have a place for every kind.
const _: () = assert!(Kind::ALL.len() == Counters::DIALECTS.len());

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("unknown dialect {text:?}: this server speaks {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_have_the_place_of_each_kind() {
        for kind in Kind::ALL {
            assert_eq!(Counters::DIALECTS[kind as usize], kind.name());
        }
    }

    #[test]
    fn an_option_that_nobody_knows_is_named() {
        for kind in Kind::ALL {
            let told = Listening::new(kind, &[("nonsense".to_owned(), String::new())], 0).map(|_| ());
            assert!(told.is_err_and(|words| words.contains("nonsense")), "{kind}");
        }
    }

    #[test]
    fn only_a_dialect_of_whole_messages_holds_more_than_a_head() {
        for kind in Kind::ALL {
            let listening = Listening::new(kind, &[], 0).expect("no options");
            let from = SocketAddr::from(([127, 0, 0, 1], 1));
            let limits = Limits::default();
            let longer = listening.accept(from).protocol_ref().message_len_max(&limits) > limits.head_len_max;
            assert_eq!(listening.gathers(), longer, "{kind}");
        }
    }
}
