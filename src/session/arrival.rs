//! The words of a connection before its first request.

use crate::dialect::AnyProtocol;
use crate::error::CloseReason;
use crate::ids::ListenerId;

/// What is known of the peer when its requests begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// A proxy that has not named the client yet.
    Unidentified,
    Client,
    /// It is on this machine and has no address, so it counts for none.
    LocalClient,
    /// It asks how the server is, and counts neither for an address nor among the connections of clients.
    Operator,
    /// Its address has guessed too often, and too many of its connections wait already.
    LimitedClient,
    /// It may say which clients its requests are from.
    TrustedProxy,
}

/// What a connection waits for before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The header in which a proxy names the client.
    Header,
    /// That has come: this listener is to admit the client.
    Admission(ListenerId),
    /// The next messages of the handshake.
    Handshake,
    /// The use of the private key.
    Key,
}

/// What becomes of a connection before its first request.
#[derive(Debug)]
pub enum ArrivalEvent {
    /// The client may be served, or is to be turned away in this dialect.
    Admitted(AnyProtocol, PeerRole),
    /// It is turned away without a word of its dialect.
    TurnedAway,
    /// The stream is to be encrypted.
    Encrypts,
    NeedsKey,
    KeyUsed,
    /// The handshake failed. Without a cause, the peer has only looked whether the port is open. `is_answered`
    /// if the peer was sent an answer.
    Failed {
        reason: CloseReason,
        cause: String,
        is_answered: bool,
    },
    /// It has no request, and no listener to admit it.
    ListenersClosed,
}
