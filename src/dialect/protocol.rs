//! The interface between a session and the protocol of its connection.
//!
//! A protocol has inputs (bytes, end of stream, silence, an answer of the store, "the body was sent") and outputs
//! (bytes to send, and one [`Action`]). Everything about a conversation is decided there; the session only obeys. A
//! protocol never sees a socket, a file or a clock.

use std::fmt::{self, Debug, Formatter};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access::Guesses;
use crate::access::password::{PasswordCheck, Verdict};
use crate::access::{Access, Caller, Rights};
use crate::command::{Answer, Command, Put};
use crate::config::Limits;
use crate::counters::Counters;
use crate::dav_locks::{DavLocks, LockToken};
use crate::dialect::asked::Asked;
use crate::error::{CloseReason, Failure};
use crate::ids::ClientAddress;
use crate::object::Key;
pub use crate::transfer::Hash;
pub use crate::wire::body::{BodyPart, Then};

/// What the session is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait for more bytes than were shown.
    More,
    /// Give this to the store; its answer comes to [`Protocol::answered`].
    Run(Command),
    /// The upload may begin: what follows is decoded by [`Protocol::body`].
    Receive,
    /// Send this part of the open file after the output, and hash it if asked to; then call [`Protocol::sent`].
    Send { range: Range<u64>, hash: Hash },
    /// The request continues after the bytes that were used: decode what follows them, as long as that may take.
    Proceed,
    /// This exchange is over: decode the next request.
    Next,
    /// The reply continues: once the output was sent, wait for a slot and give this to the store. Its answer comes to
    /// [`Protocol::answered`].
    Continue(Command),
    /// The reply continues once the output was sent: then [`Protocol::sent`] is called.
    Part,
    /// Store a small file with content already known; the answer is `Stored` or a failure.
    Store(Put, Vec<u8>),
    /// Wait until the peer's system has acknowledged all output, and this long besides; then call
    /// [`Protocol::paused`]. For peers that take one packet for one message.
    Pause(Duration),
    /// This exchange failed before its body was read: throw the body away, then as `Next`. A body too long to throw
    /// away ends the connection instead.
    Discard,
    /// Send the output, shut down our sending side, let the peer read it.
    Close(CloseReason),
    /// Close so that a peer that is still sending notices.
    Reset(CloseReason),
    /// Have this password checked; none of the bytes shown is used. They are shown again together with the verdict.
    Verify(Box<PasswordCheck>),
    /// The first line showed what the peer speaks: from here on another protocol decodes.
    Speak,
}

/// A password in plain text can be read on its way.
pub const PASSWORD_IN_PLAIN: Failure = Failure::Denied(
    "this address takes no passwords, as it is not encrypted: use TLS, or start with --allow-plain-passwords",
);

/// What to do with a body that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finish {
    /// Another name than was announced, where it is only known now.
    pub key: Option<Key>,
    /// Bytes that belong before the content that was received. Only of an upload without a known length.
    pub prepend: Vec<u8>,
}

/// Whether the server takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Those of the connections there are; new ones are another process's.
    HandingOver,
    Draining,
}

/// What a protocol is lent for one call.
pub struct Context<'a> {
    /// Output to the peer; whole messages only.
    pub out: &'a mut Vec<u8>,
    pub limits: &'a Limits,
    pub access: &'a Access,
    /// The caller of the request. A protocol that is shown credentials sets it for each request that it decodes; before, it
    /// is what the connection itself proves.
    pub caller: Caller,
    /// The locks of WebDAV, and the tokens of such that the request has shown. A protocol sets these for each request that
    /// it decodes.
    pub dav_locks: &'a DavLocks,
    pub lock_tokens: Option<Box<[LockToken]>>,
    /// The name that the present request is about, as it is used: an upload to a drop box has another than was asked for.
    pub key: Option<&'a Key>,
    /// The address of the client that sent the request: the peer, or the one that a trusted proxy names, which a
    /// protocol sets for each request that it decodes.
    pub client: IpAddr,
    /// The peer, if that is a trusted proxy.
    pub proxy: Option<TrustedProxy>,
    /// Wrong secrets, where the requests that show one are bounded and not the connection.
    pub guesses: Option<GuessLimit<'a>>,
    pub phase: Phase,
    /// In seconds since 1970.
    pub wall_clock_s: u64,
    /// Current in the middle of a turn.
    pub counters: &'a Counters,
    /// What is known of the connections of the server, as text, once that was asked for.
    pub connections: Option<Box<str>>,
    /// Set to ask for that: the bytes shown are shown again with it.
    pub wants_connections: bool,
    /// Set when the request was refused, for the log.
    pub refused: Option<Failure>,
    /// Set where a request begins that has a head, for the log.
    pub asked: Option<Arc<Asked>>,
    /// The status of the response, where that has one.
    pub status: Option<u16>,
    /// In how many seconds trying again may help, where that depends on more than the failure.
    pub retry_after_s: Option<u32>,
    /// What came of the [`Action::Verify`] before; its bytes are shown again.
    pub verdict: Option<Box<Verdict>>,
    /// Set when a wrong secret was shown.
    pub wrong_secret: bool,
    /// Lines for the log about this peer.
    pub notes: &'a mut Vec<String>,
}

/// A peer that may say which clients its requests are from.
pub struct TrustedProxy {
    pub address: IpAddr,
    /// The user that it says is logged in there, which a protocol sets for each request that it decodes; `None` if it says
    /// nothing.
    pub user: Option<Result<Caller, Failure>>,
}

/// What bounds the secrets that requests of a client may show.
pub struct GuessLimit<'a> {
    pub guesses: &'a mut Guesses,
    pub now: Instant,
}

impl Context<'_> {
    /// Fails where the client has shown too many wrong secrets of late; then a right one is refused as well. A
    /// connection that was slowed down instead has no such bound.
    pub fn check_guesses(&mut self) -> Result<(), Failure> {
        let Some(GuessLimit { guesses, now }) = &mut self.guesses else { return Ok(()) };
        let may_try = guesses.may_try(ClientAddress::of_ip(self.client), *now, self.limits);
        if may_try { Ok(()) } else { Err(Failure::Busy) }
    }

    /// Fails where new requests are refused because the server is ending.
    pub fn check_serving(&self) -> Result<(), Failure> {
        if self.phase == Phase::Draining { Err(Failure::Draining) } else { Ok(()) }
    }

    /// What the caller may do with this name.
    pub fn rights(&self, key: &Key) -> Rights {
        self.access.rights(&self.caller, self.client, key)
    }
}

/// A request of which the whole body was received, and that is answered while its protocol decodes the next one.
pub trait Deferred: Send {
    /// As [`Protocol::answered`].
    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action;
}

impl Debug for dyn Deferred {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Deferred")
    }
}

/// One dialect's side of one connection. The defaults are those of a dialect without bodies.
pub trait Protocol {
    /// The connection is open; nothing was received yet.
    fn opened(&mut self, _context: &mut Context<'_>) -> Action {
        Action::More
    }

    /// Decodes a head from `input`, the oldest bytes not yet used. Returns how many were used; with
    /// [`Action::More`] the same bytes are shown again with more after them.
    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action);

    /// What decoding has cost since the last call, in bytes of an upload that take as long. Only of dialects that
    /// [decode slowly](crate::dialect::Traits::decodes_slowly).
    fn take_work(&mut self) -> usize {
        0
    }

    /// The peer's stream ended while a head was awaited; `held` was never decoded.
    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action;

    /// How long a silence of the peer means something now, while a head is awaited or a body received. Called again
    /// after every input.
    fn quiet_after(&self) -> Option<Duration> {
        None
    }

    /// That silence came while a head was awaited; as [`Protocol::decode`].
    fn quiet(&mut self, _held: &[u8], _context: &mut Context<'_>) -> (usize, Action) {
        (0, Action::More)
    }

    /// That silence came in the middle of a body: whether that completes it. With [`Then::Look`] the bytes that are
    /// held are shown again.
    fn body_quiet(&mut self) -> Then {
        Then::Wait
    }

    /// The time of an [`Action::Pause`] is over.
    fn paused(&mut self, _context: &mut Context<'_>) -> Action {
        Action::Next
    }

    /// The store answered the command that was run.
    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action;

    /// Finds the next piece of content in `raw`, at most `payload_max` bytes of it.
    fn body(&mut self, _raw: &[u8], _payload_max: usize) -> Result<BodyPart, Failure> {
        Err(Failure::Internal)
    }

    /// At least this many bytes from here on belong to the body; reading further ahead would only have to be held.
    fn body_left(&self) -> u64 {
        0
    }

    /// The peer's stream ended inside the body: whether that is its end.
    fn body_ended(&mut self) -> Result<(), Failure> {
        Err(Failure::Malformed("the connection ended before the body did"))
    }

    /// Every byte of the body is in the staging file: whether it may become visible. `digest` is there if the
    /// command asked to hash. Also asked of a part of an upload that is not complete with it, without a digest: then
    /// whether the part is kept.
    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        Err(Failure::Internal)
    }

    /// Hands out the upload that [`Protocol::finish`] has permitted, so that the next request may be decoded before it is
    /// answered; `None` where that must wait.
    fn defer(&mut self) -> Option<Box<dyn Deferred>> {
        None
    }

    /// This many bytes of the upload that is received are safe, though its body is not complete.
    fn saved(&mut self, _offset: u64, _context: &mut Context<'_>) {}

    /// True once the peer said that nothing follows the request that is answered.
    fn was_last_request(&self) -> bool {
        false
    }

    /// The range of [`Action::Send`] was sent, or the output of [`Action::Part`]. A CRC-32 is in the first four bytes of
    /// `digest`, the most significant one first.
    fn sent(&mut self, _digest: Option<[u8; 32]>, _context: &mut Context<'_>) -> Action {
        Action::Close(CloseReason::Internal)
    }
}
