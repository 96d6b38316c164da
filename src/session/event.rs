//! The events of a session: one for each thing that can happen to a connection.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::StoreError;
use crate::ids::FileId;
use crate::platform::Completion;
use crate::session::arrival::{ArrivalEvent, PeerRole};

/// Something happened to a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something before the first request.
    Arrival(ArrivalEvent),
    /// What comes next is the client's: a dialect that speaks first does so.
    Opened,
    /// It is known what the peer is.
    Role(PeerRole),
    /// The address of the peer shows wrong secrets: its connection is not read for a while.
    MustWait(Duration),
    /// Bytes were received.
    Arrived {
        len: usize,
        /// There are no more of them, and fewer than would have kept the peer from sending: it had no more to send.
        is_all: bool,
    },
    /// The peer's stream ended.
    Ended,
    /// The encryption has not ended with the stream: that is an end only where nothing was under way.
    CutShort(&'a str),
    /// The socket failed: the peer cannot be sent an error.
    Lost(&'a str),
    /// Nothing more can be done for the peer, though it may have sent all it wanted.
    GivenUp(&'a str),
    /// Another request continues the upload that this connection is attached to.
    Superseded,
    /// Content was written from the loop itself.
    Stored(usize),
    /// Content cannot be written now: it is copied into chunks on its way to the disk workers.
    HandOver { file: FileId, offset: u64, content: &'a [u8] },
    /// Content could not be written.
    StoreFailed(&'a StoreError),
    /// The first bytes of the outbox were sent.
    Sent(usize),
    /// Bytes of the file were sent; the second are those, if they passed through this process.
    SentFile(usize, Option<&'a [u8]>),
    /// The next bytes of the file are not in the page cache.
    FoundCold,
    /// The file cannot be read to its end any more.
    SourceFailed(Cow<'static, str>),
    /// The connection was closed without lingering.
    Closed,
    /// Our half was closed.
    ShutDown,
    /// This many bytes that were sent have not been acknowledged yet.
    Unacknowledged(usize),
    /// An operation ended. Its chunk is given back whatever the state is.
    Completed(Completion),
    /// What is known of all connections.
    Connections(Box<str>),
    /// A deadline passed. Also harmless when it did not. `in_kernel` bytes of what was sent are not acknowledged yet.
    TimedOut { in_kernel: usize },
    /// It is about to ask for a slot: what it still has of the last one is given back.
    AsksForSlot,
    /// The head of the wait queue is given a slot.
    SlotGranted,
    /// It is the slowest transfer, and requests wait for its slot.
    TooSlow,
    /// It waits for the limits of its client.
    Paced,
    /// It waits for them no more.
    Unpaced,
    /// What it moves counts for the rate that the rules permit now.
    RulesChanged,
    /// The server has drained: an idle connection is closed. Until then requests were refused as the server ends.
    Drained,
    /// The server stops.
    Stopped,
}
