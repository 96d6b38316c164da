//! The states of a session and which may follow which. The table here is the law:
//! `Session::set_state` checks it, and a test compares it with the picture in the crate's docs.

use crate::buffer::Chunk;
use crate::command::{Command, Put};
use crate::error::CloseReason;
use crate::ids::FileId;
use crate::object::Meta;
use crate::platform::Source;
use crate::transfer::{Flush, Hasher, Pace, Upload};
use std::time::{Duration, Instant};

/// What a session does, or waits for. Each state owns exactly the data that it needs.
#[derive(Debug)]
pub enum State {
    /// Reading a request head; between requests this is the keep-alive state. What is left of the
    /// last reply leaves meanwhile.
    AwaitHeader {
        /// Since when a head is incomplete; `None` while not a byte of it has come.
        since: Option<Instant>,
    },
    /// Waiting for a transfer slot. Nothing is read.
    AwaitSlot(Box<Wanted>),
    /// Waiting for the store to open or create. Nothing is read.
    Opening(Opening),
    /// Waiting for the store to do the whole command. Nothing is read.
    Executing,
    /// Socket to store.
    ReceivingBody(Box<Receiving>),
    /// The body is complete; waiting for the last writes.
    Settling(Box<Receiving>),
    /// Every byte is in the staging file; waiting for sync and rename. Nothing is read.
    Committing,
    /// Store to socket.
    SendingBody(Box<Sending>),
    /// A part of a reply leaves; then a slot is awaited for the next one. Nothing is read.
    SendingPart(Box<Command>),
    /// Waiting until the peer's system has all we said, and a while longer. Nothing is read.
    Pausing(Box<Pausing>),
    /// The body of a refused upload is thrown away, up to a bound.
    Discarding {
        /// Bytes that may still be thrown away.
        left: u64,
    },
    /// Only the outbox is left; then our half is closed.
    SendingReply(CloseReason),
    /// Our half is closed; discarding input so that the peer can read our last bytes.
    Lingering {
        /// Bytes that may still be discarded.
        left: u64,
        /// Why we closed.
        reason: CloseReason,
    },
    /// Over. The slot is freed when no operation is in flight.
    Done {
        /// Why.
        reason: CloseReason,
        /// How the peer is to see it.
        parting: Parting,
    },
    /// Taken out, to be replaced by value before the call returns; remembers which state it was.
    Moving(Name),
}

/// How the end of a connection looks to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// As the end of the stream.
    Plain,
    /// As a reset: what was sent is not whole, and must not look so.
    Reset,
}

/// What a slot is wanted for.
#[derive(Debug)]
pub enum Wanted {
    /// A command that has not begun.
    Command(Command),
    /// A message longer than a head is to be gathered.
    Gather,
    /// A small file whose content is known.
    Store(Put, Vec<u8>),
    /// A download that cannot be sent straight from the page cache; its reply has not begun.
    Download {
        /// The open file.
        file: FileId,
        /// Its version.
        meta: Meta,
    },
    /// A download whose file could not be kept warm; it is under way.
    Resume(Sending),
}

impl Wanted {
    /// Bytes of heap behind the content that waits with it.
    pub(super) const fn content_bytes(&self) -> usize {
        match self {
            Self::Store(_, content) => content.capacity(),
            Self::Command(_) | Self::Gather | Self::Download { .. } | Self::Resume(_) => 0,
        }
    }
}

/// What is being opened.
#[derive(Debug)]
pub enum Opening {
    /// A staging file.
    Create(Box<Put>),
    /// A file for reading.
    Open,
}

/// A pause between two things that are said.
#[derive(Debug)]
pub struct Pausing {
    /// The file that is open meanwhile, and how its bytes come.
    pub open: Option<(FileId, Supply)>,
    /// How long to wait once everything has been acknowledged.
    pub delay: Duration,
    /// How far the pause is.
    pub stage: PauseStage,
}

/// How far a pause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseStage {
    /// Bytes are still in the outbox, or on their way; look at this time.
    Unacknowledged(Instant),
    /// Until then.
    Until(Instant),
}

/// An upload under way.
#[derive(Debug)]
pub struct Receiving {
    /// As announced.
    pub put: Put,
    /// Where the bytes go.
    pub target: Target,
    /// How far it is.
    pub upload: Upload,
    /// The digest so far.
    pub hasher: Hasher,
    /// The early write-back so far.
    pub flush: Flush,
    /// Is the peer fast enough?
    pub pace: Pace,
}

/// Where the bytes of an upload go.
#[derive(Debug)]
pub enum Target {
    /// Into a staging file as they come.
    File(FileId),
    /// Small enough to be collected and stored in one operation.
    Whole(Chunk),
}

/// A download under way.
#[derive(Debug)]
pub struct Sending {
    /// The open file.
    pub file: FileId,
    /// First byte not yet sent (direct) or not yet asked of the store (held).
    pub next: u64,
    /// End of the range.
    pub end: u64,
    /// How the bytes come.
    pub supply: Supply,
    /// The digest so far.
    pub hasher: Hasher,
    /// Is the peer fast enough?
    pub pace: Pace,
}

/// How the bytes of a download come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// Straight from the page cache. So many times in a row it was found cold.
    Direct {
        /// Reset by every byte that leaves.
        cold: u8,
    },
    /// The store is bringing the next part into the page cache.
    Warming {
        /// As above.
        cold: u8,
    },
    /// Through chunks; no read is in flight.
    Held,
    /// Through chunks; one read is in flight.
    HeldReading,
}

impl From<Source> for Supply {
    fn from(source: Source) -> Self {
        match source {
            Source::Direct => Self::Direct { cold: 0 },
            Source::Held => Self::Held,
        }
    }
}

/// A state without its data, for the table and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named after the states above")]
pub enum Name {
    AwaitHeader,
    AwaitSlot,
    Opening,
    Executing,
    ReceivingBody,
    Settling,
    Committing,
    SendingBody,
    SendingPart,
    Pausing,
    Discarding,
    SendingReply,
    Lingering,
    Done,
}

impl Name {
    /// Every state, in the order of the docs.
    pub const ALL: [Self; 14] = [
        Self::AwaitHeader,
        Self::AwaitSlot,
        Self::Opening,
        Self::Executing,
        Self::ReceivingBody,
        Self::Settling,
        Self::Committing,
        Self::SendingBody,
        Self::SendingPart,
        Self::Pausing,
        Self::Discarding,
        Self::SendingReply,
        Self::Lingering,
        Self::Done,
    ];

    /// The states that may follow. Everything may end in `Done`: the peer can vanish at any time.
    pub const fn followers(self) -> &'static [Self] {
        match self {
            Self::AwaitHeader => &[
                Self::AwaitSlot,
                Self::Opening,
                Self::Executing,
                Self::Pausing,
                Self::Discarding,
                Self::SendingReply,
                Self::Done,
            ],
            Self::AwaitSlot => &[
                Self::AwaitHeader,
                Self::Opening,
                Self::Executing,
                Self::ReceivingBody,
                Self::Committing,
                Self::SendingBody,
                Self::Pausing,
                Self::Discarding,
                Self::SendingReply,
                Self::Done,
            ],
            Self::Opening => &[
                Self::AwaitHeader,
                Self::AwaitSlot,
                Self::ReceivingBody,
                Self::SendingBody,
                Self::Pausing,
                Self::Discarding,
                Self::SendingReply,
                Self::Done,
            ],
            // A dialect may ask for the next thing as soon as it has the answer to this one.
            Self::Executing | Self::Committing | Self::Pausing => &[
                Self::AwaitHeader,
                Self::AwaitSlot,
                Self::Opening,
                Self::Executing,
                Self::SendingBody,
                Self::SendingPart,
                Self::Pausing,
                Self::SendingReply,
                Self::Done,
            ],
            Self::SendingPart => &[Self::AwaitSlot, Self::Done],
            Self::ReceivingBody => {
                &[Self::AwaitHeader, Self::Settling, Self::Pausing, Self::Discarding, Self::SendingReply, Self::Done]
            }
            Self::Settling => &[Self::AwaitHeader, Self::Committing, Self::Pausing, Self::SendingReply, Self::Done],
            Self::SendingBody => {
                &[Self::AwaitHeader, Self::AwaitSlot, Self::SendingBody, Self::Pausing, Self::SendingReply, Self::Done]
            }
            Self::Discarding => &[Self::AwaitHeader, Self::SendingReply, Self::Done],
            Self::SendingReply => &[Self::Lingering, Self::Done],
            Self::Lingering => &[Self::Done],
            Self::Done => &[],
        }
    }
}

/// The counters have a place for every state.
const _: () = assert!(Name::ALL.len() == crate::counters::Counters::STATES.len());

impl State {
    /// Which state it is.
    pub const fn name(&self) -> Name {
        match self {
            Self::AwaitHeader { .. } => Name::AwaitHeader,
            Self::AwaitSlot(_) => Name::AwaitSlot,
            Self::Opening(_) => Name::Opening,
            Self::Executing => Name::Executing,
            Self::ReceivingBody(_) => Name::ReceivingBody,
            Self::Settling(_) => Name::Settling,
            Self::Committing => Name::Committing,
            Self::SendingBody(_) => Name::SendingBody,
            Self::SendingPart(_) => Name::SendingPart,
            Self::Pausing(_) => Name::Pausing,
            Self::Discarding { .. } => Name::Discarding,
            Self::SendingReply(_) => Name::SendingReply,
            Self::Lingering { .. } => Name::Lingering,
            Self::Done { .. } => Name::Done,
            Self::Moving(name) => *name,
        }
    }
}
