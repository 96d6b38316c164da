//! What the bytes of a peer mean: one small machine per dialect, driven by the session.
//!
//! A machine has inputs (bytes, end of stream, silence, an answer of the store, "your body has
//! left") and outputs (bytes to say, and one [`Act`]). Everything about a conversation is decided
//! here; the session only obeys. A machine never sees a socket, a file or a clock.

pub mod line;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::config::{Access, Limits};
use crate::error::{CloseReason, Failure};
use crate::object::Key;

/// What the session is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Wait for more bytes than were shown.
    More,
    /// Give this to the store; its answer comes to [`Machine::answered`].
    Run(Command),
    /// The upload may begin: what follows is decoded by [`Machine::body`].
    Receive,
    /// Send this part of the open file behind what was said; then [`Machine::sent`] is asked.
    Send {
        /// Which bytes of the file.
        range: Range<u64>,
        /// Compute the SHA-256 of what leaves.
        hash: bool,
    },
    /// This exchange is over: decode the next request.
    Next,
    /// Store a small file whose content is already known; the answer is `Stored` or a failure.
    Store(Put, Vec<u8>),
    /// Wait until the peer's system has acknowledged every byte said, and so long besides; then
    /// [`Machine::paused`] is asked. For peers that take one packet for one message.
    Pause(Duration),
    /// This exchange failed before its body was read: throw the body away, then as `Next`. A body
    /// too long to throw away ends the connection instead.
    Discard,
    /// Say what is to be said, close our half, let the peer read it.
    Close(CloseReason),
    /// Close so that a peer that is still sending notices.
    Reset(CloseReason),
}

/// A step through the bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPart {
    /// So many bytes are framing, to be dropped.
    pub skip: usize,
    /// So many bytes behind them are content.
    pub payload: usize,
    /// Is there more behind those?
    pub then: Then,
}

/// What comes behind a [`BodyPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of the body: look again at the bytes that are left.
    Look,
    /// More of the body, for which more bytes are needed than were shown.
    Wait,
    /// The body is complete; what follows is the next request.
    End,
}

/// What to do with a body that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// Another name than was announced, where it is only known now.
    pub key: Option<Key>,
    /// Bytes that belong before the content that was received.
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

/// What a machine is lent for one call.
pub struct Talk<'a> {
    /// What is to be said; whole messages only.
    pub out: &'a mut Vec<u8>,
    /// Every bound.
    pub limits: &'a Limits,
    /// Who may do what.
    pub access: &'a Access,
    /// Is the server taking new requests?
    pub phase: Phase,
    /// Set when the request was refused, for the log.
    pub refused: Option<Failure>,
    /// Lines for the log about this peer.
    pub notes: &'a mut Vec<String>,
}

/// One dialect's side of one connection.
pub trait Machine {
    /// The connection is open; nothing has come yet.
    fn opened(&mut self, _talk: &mut Talk<'_>) -> Act {
        Act::More
    }

    /// Decodes a head from `input`, the oldest bytes not yet used. Returns how many were used;
    /// with [`Act::More`] the same bytes are shown again with more behind them.
    fn decode(&mut self, input: &[u8], talk: &mut Talk<'_>) -> (usize, Act);

    /// The peer's stream ended while a head was awaited; `held` was never decoded.
    fn ended(&mut self, held: &[u8], talk: &mut Talk<'_>) -> Act;

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

    /// That silence came while a head was awaited; as [`Machine::decode`].
    fn quiet(&mut self, _held: &[u8], _talk: &mut Talk<'_>) -> (usize, Act) {
        (0, Act::More)
    }

    /// That silence came in the middle of a body: is it complete?
    fn body_quiet(&mut self) -> Then {
        Then::Wait
    }

    /// The time of an [`Act::Pause`] is over.
    fn paused(&mut self, _talk: &mut Talk<'_>) -> Act {
        Act::Next
    }

    /// The store answered the command that was run.
    fn answered(&mut self, answer: Result<Answer, Failure>, talk: &mut Talk<'_>) -> Act;

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

    /// The range asked for has left.
    fn sent(&mut self, digest: Option<[u8; 32]>, talk: &mut Talk<'_>) -> Act;
}

/// Every dialect, its state inline; the one place that lists them.
#[derive(Debug)]
pub enum Dialect {
    /// The project's own protocol.
    Line(line::Line),
}

impl Dialect {
    /// Its interface.
    pub fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Self::Line(machine) => machine,
        }
    }

    /// Its interface, to ask only.
    pub fn machine_ref(&self) -> &dyn Machine {
        match self {
            Self::Line(machine) => machine,
        }
    }
}

/// What one listener speaks: the dialect, its options, and what its connections share.
#[derive(Clone, Debug)]
pub enum Listening {
    /// Decided by the first line.
    Auto,
    /// The project's own protocol.
    Line,
}

impl Listening {
    /// A listener of this kind with the options of its address. `started` is the wall-clock time
    /// in seconds, for names that must not repeat after a restart.
    pub fn new(kind: Kind, options: &[(String, String)], started: u64) -> Result<Self, String> {
        let _ = started;
        let listening = match kind {
            Kind::Auto => Self::Auto,
            Kind::Line => Self::Line,
        };
        match options.first() {
            None => Ok(listening),
            Some((name, _)) => Err(format!("{kind} knows no option {name:?}")),
        }
    }

    /// The machine for a connection from `peer`.
    pub fn accept(&self, peer: SocketAddr) -> Dialect {
        let _ = peer;
        match self {
            Self::Auto | Self::Line => Dialect::Line(line::Line::default()),
        }
    }

    /// What a connection is told that comes when no more are taken; empty where the dialect has
    /// no way to say it before it has been asked.
    pub const fn turned_away(&self) -> &'static [u8] {
        match self {
            Self::Auto | Self::Line => line::TURNED_AWAY,
        }
    }

    /// May a connection hold a message longer than a head? Then a slot must have room for it.
    pub const fn gathers(&self) -> bool {
        match self {
            Self::Auto | Self::Line => false,
        }
    }
}

/// The name of what a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Decided by the first line.
    #[default]
    Auto,
    /// The project's own protocol.
    Line,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Line];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Line => "line",
        }
    }
}

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
