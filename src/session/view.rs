//! What is seen of a session from outside.

use std::net::SocketAddr;
use std::time::Instant;

use crate::admission::Slot;
use crate::dav_locks::LockToken;
use crate::dialect::Kind;
use crate::ids::GroupId;
use crate::object::Key;
use crate::session::arrival::{Arrival, PeerRole};
use crate::upload::UploadId;

/// What is known of the peer.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    pub address: SocketAddr,
    /// What it speaks, as far as that is known.
    pub speaks: Kind,
    /// False for a connection that is only sent that it is turned away.
    pub is_admitted: bool,
    pub role: PeerRole,
    /// True if it counts among the connections of its client's address.
    pub has_share: bool,
    /// What it waits for; `None` from the first request on.
    pub arrival: Option<Arrival>,
    /// The name that the caller of the request has proved; empty if none.
    pub user: &'a str,
    /// When it came to its present state.
    pub entered: Instant,
    /// Bytes that the request under way has moved, and since when it is.
    pub request: Option<(u64, Instant)>,
}

/// For which client something is done.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The client group that it takes a turn of.
    pub group: GroupId,
    /// The name that the caller has proved; empty if none.
    pub user: &'a str,
    /// The tokens of WebDAV locks that the request has shown.
    pub lock_tokens: &'a [LockToken],
}

/// What a session has at the store, or on its way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    None,
    /// Only uploads to which replies are owed.
    Owed,
    /// Operations of the present request, or what the one before it has left.
    Own,
}

/// Bytes that came and are still unread by the dialect.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub len: usize,
    /// True if the session has not decided about them.
    pub is_unseen: bool,
}

/// An upload under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct UploadView<'a> {
    /// The upload that the connection is attached to, if that can be resumed, and its name unless it is about to end;
    /// while it has [`Ops::Own`], perhaps also when this says none.
    pub attached_to: Option<(UploadId, Option<&'a Key>)>,
    /// Bytes of the body that were received so far.
    pub received: u64,
    /// The name of which the new content has come in full, while its last writes end.
    pub completes: Option<&'a Key>,
}

/// What a drain and a stop see of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// No request, or only its last reply is read.
    Idle,
    /// A drain waits for it.
    Busy,
    /// The same, and a stop would cut off a request.
    Serving,
}

/// What a session has of things that are shared out.
#[derive(Clone, Copy, Debug)]
pub struct Holdings<'a> {
    pub slot: &'a Slot,
    /// True for an upload that holds a slot and needs none while the disk keeps up.
    pub is_slot_spare: bool,
    /// References to client groups.
    pub groups: usize,
    /// Bytes of heap of what it holds between turns: unread bytes, replies, a message that waits for a slot, and its
    /// chunks wherever they are.
    pub bytes: usize,
    /// True while it has something to send.
    pub sends: bool,
}
