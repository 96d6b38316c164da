//! What the bytes of a peer mean: one small machine per dialect, driven by the session.
//!
//! A machine has inputs (bytes, end of stream, silence, an answer of the store, "your body has
//! left") and outputs (bytes to say, and one [`Act`]). Everything about a conversation is decided
//! here; the session only obeys. A machine never sees a socket, a file or a clock.

pub mod line;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use crate::command::{Answer, Command};
use crate::config::{Access, Limits};
use crate::error::{CloseReason, Failure};

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

    /// How long a silence means something while a head is awaited.
    fn quiet_after(&self) -> Option<Duration> {
        None
    }

    /// That silence came; as [`Machine::decode`].
    fn quiet(&mut self, _held: &[u8], _talk: &mut Talk<'_>) -> (usize, Act) {
        (0, Act::More)
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
    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<(), Failure>;

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
    /// The machine for a connection accepted by a listener of this kind.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Auto | Kind::Line => Self::Line(line::Line::default()),
        }
    }

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

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Decided by the first line.
    #[default]
    Auto,
    /// The project's own protocol.
    Line,
}

impl Kind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Line => "line",
        }
    }

    /// What a connection is told that comes when no more are taken; empty where the dialect has
    /// no way to say it before it has been asked.
    pub const fn turned_away(self) -> &'static [u8] {
        match self {
            Self::Auto | Self::Line => line::TURNED_AWAY,
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
        match text {
            "auto" => Ok(Self::Auto),
            "line" => Ok(Self::Line),
            _ => Err(format!("unknown dialect {text:?}: this server speaks auto, line")),
        }
    }
}
