//! The states of a session with the data of each, and which may follow which.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::buffer::Chunk;
use crate::command::{self, Command, Ends, Put};
use crate::counters::Counters;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure};
use crate::ids::{FileId, ListenerId};
use crate::object::Meta;
use crate::platform::Source;
use crate::session::min_rate::MinRate;
use crate::transfer::{Checkpoints, Flush, Hasher, Upload};
use crate::upload::UploadId;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident($data:ty),)*) => {
        /// What a session does, or waits for. Each state owns exactly the data that it needs.
        #[derive(Debug)]
        pub enum State {
            $($(#[$doc])* $name($data),)*
        }

        /// A state without its data, for the table, the counters and the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name {
            $($(#[$doc])* $name,)*
        }

        impl Name {
            pub const ALL: [Self; Counters::STATES.len()] = [$(Self::$name),*];
        }

        impl State {
            pub(super) const fn name(&self) -> Name {
                match self {
                    $(Self::$name(_) => Name::$name,)*
                }
            }
        }

        $(impl From<$data> for State {
            fn from(data: $data) -> Self {
                Self::$name(data)
            }
        })*
    };
}

states! {
    /// Reading the header in which a proxy names the client.
    ProxyHeader(ProxyHeader),
    /// The messages that make the connection an encrypted one. The stream reads and sends them.
    Handshake(Handshake),
    /// Reading a request head; between requests this is the keep-alive state. What is left of the last reply is
    /// sent meanwhile.
    AwaitHeader(AwaitHeader),
    /// Waiting for the worker that checks a password. The head of the request is held. Nothing is read.
    Verifying(Verifying),
    /// Waiting for a transfer slot. Nothing is read.
    AwaitSlot(Box<SlotRequest>),
    /// Waiting for the store to open or create. Nothing is read.
    Opening(Opening),
    /// Waiting for the store to do the whole command. Nothing is read.
    Executing(Executing),
    /// Waiting for the store to make a copy, a step at a time. What comes meanwhile is kept for the next request; that
    /// the peer is gone is noticed.
    Copying(Copying),
    /// Socket to store.
    ReceivingBody(Box<Receiving>),
    /// The body is complete; waiting for the last writes. Nothing is read.
    FinishingWrites(FinishingWrites),
    /// Every byte is at the store; waiting for sync and rename. After a small upload the next request is read, and another
    /// small one begins.
    Committing(Committing),
    /// A part of an upload that can be resumed is made safe. Nothing is read.
    Saving(Box<Saving>),
    /// Store to socket.
    SendingBody(Box<Sending>),
    /// A part of a long reply is sent; then the next part is made, for which a slot may be needed. Nothing is read.
    SendingPart(SendingPart),
    /// Waiting until the peer's system has acknowledged everything, and a while longer. Nothing is read.
    Pausing(Box<Pausing>),
    /// The body of a refused upload is thrown away, up to a bound.
    Discarding(Discarding),
    /// Only the outbox is left; then our half is closed.
    SendingReply(SendingReply),
    /// Our half is closed; input is discarded so that the peer can read our last bytes.
    Lingering(Lingering),
    /// Over. The connection is freed when no operation is in flight.
    Done(Done),
}

#[derive(Debug)]
pub struct ProxyHeader {
    /// Where the client is admitted once it is known.
    pub listener: ListenerId,
    /// The header is complete.
    pub is_whole: bool,
}

/// Together with the header before it, it has `Limits::head_timeout`.
#[derive(Debug, Default)]
pub struct Handshake {
    /// The next step uses the private key.
    pub awaits_key: bool,
    /// The key was used for the first message of the client, which may have ended its stream after the rest.
    pub is_answered: bool,
}

#[derive(Debug)]
pub enum AwaitHeader {
    /// Before the first byte of a head.
    Idle,
    /// Since then a head is incomplete.
    Begun(Instant),
    /// Before the first byte as well, and not read: the limits of the client admit no other request. That is neither
    /// silence nor slowness of the peer.
    HeldBack,
}

#[derive(Debug)]
pub struct Verifying;

/// What a slot is needed for.
#[derive(Debug)]
pub enum SlotRequest {
    /// A command that has not begun.
    Command(Command),
    /// A message longer than a head is to be gathered.
    Gather,
    /// A small file with known content.
    Store(Put, Vec<u8>),
    /// A download that cannot be sent straight from the page cache; its reply has not begun.
    Download { file: FileId, meta: Meta },
    /// A download of a file that could not be kept warm; it is under way.
    Resume(Box<Sending>),
    /// An upload that gave its slot back, before the disk began to lag.
    ResumeUpload(Box<Receiving>),
}

#[derive(Debug)]
pub enum Opening {
    /// An upload that can be resumed.
    Append { ends: Ends, is_verified: bool },
    /// A staging file.
    Create(Box<Put>),
    /// A file for reading.
    Open,
}

/// What becomes of the answer.
#[derive(Debug)]
pub enum Executing {
    /// It is told.
    Tell,
    /// It is sent without what the caller may not see: the answer to this listing, or question.
    Filter(Box<Command>),
}

/// A copy.
#[derive(Debug)]
pub struct Copying {
    pub stage: CopyStage,
    /// The peer has ended its stream, and may wait for the answer all the same: nothing more is read.
    pub is_all_heard: bool,
}

#[derive(Debug)]
pub enum CopyStage {
    /// It is being opened.
    Beginning(Box<command::Copying>),
    /// A step is under way.
    Stepping { file: FileId, copying: Box<command::Copying> },
    /// It gets its name.
    Placing,
}

/// An upload under way.
#[derive(Debug)]
pub struct Receiving {
    /// As announced.
    pub put: Put,
    pub target: Target,
    pub upload: Upload,
    pub hasher: Hasher,
    /// The early write-back so far.
    pub flush: Flush,
    pub min_rate: MinRate,
}

/// Where the bytes of an upload go.
#[derive(Debug)]
pub enum Target {
    /// Into a staging file as they come.
    File(FileId),
    /// Into a file that outlives the connection.
    Part(Part),
    /// Small enough to be collected and stored in one operation.
    Whole(Chunk),
}

impl Target {
    /// The file, where there is one already.
    pub(super) const fn file(&self) -> Option<FileId> {
        match self {
            Self::File(file) | Self::Part(Part { file, .. }) => Some(*file),
            Self::Whole(_) => None,
        }
    }
}

/// A part of an upload that can be resumed.
#[derive(Debug)]
pub struct Part {
    pub id: UploadId,
    pub file: FileId,
    pub ends: Ends,
    pub checkpoints: Checkpoints,
}

#[derive(Debug)]
pub struct FinishingWrites(pub Box<Receiving>);

/// What is done meanwhile.
#[derive(Debug)]
pub enum Committing {
    /// Nothing.
    Alone,
    /// Replies to small uploads are owed; the next request is read.
    Owing,
    /// This was decided about the request after those, and is done once their replies are sent. Nothing is read.
    Before(Box<Action>),
}

/// A connection lets go of an upload that can be resumed.
#[derive(Debug)]
pub enum Saving {
    /// Its last writes are under way.
    Writing { receiving: Box<Receiving>, fate: PartFate, then: AfterSaving },
    /// Waiting for `EndPart`.
    Ending(AfterSaving),
}

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartFate {
    Save,
    /// The upload stays as it was last saved.
    Drop,
    /// The upload is removed.
    Remove,
}

/// What follows when it is detached.
#[derive(Debug)]
pub enum AfterSaving {
    /// The part came in full: the dialect is informed how far the upload is.
    Answer,
    Refuse(Failure, Cow<'static, str>),
    /// The request was answered without receiving a part.
    Obey(Action, UploadId),
    End {
        reason: CloseReason,
        is_reset: bool,
    },
}

/// A download under way.
#[derive(Debug)]
pub struct Sending {
    pub file: FileId,
    /// First byte not yet sent (direct) or not yet asked of the store (held).
    pub next: u64,
    /// End of the range.
    pub end: u64,
    pub supply: Supply,
    pub hasher: Hasher,
    pub min_rate: MinRate,
}

/// How the bytes of a download come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// Straight from the page cache. This many times in a row it was found cold; reset by every byte that is sent.
    Direct { cold: u8 },
    /// The store is bringing the next part into the page cache.
    Warming { cold: u8 },
    /// Through chunks; no read is in flight.
    Held,
    /// Through chunks; one read is in flight.
    HeldReading,
}

impl Supply {
    /// True where the bytes pass through the chunks of a slot.
    pub(super) const fn needs_slot(self) -> bool {
        matches!(self, Self::Held | Self::HeldReading)
    }
}

impl From<Source> for Supply {
    fn from(source: Source) -> Self {
        match source {
            Source::Direct => Self::Direct { cold: 0 },
            Source::Held => Self::Held,
        }
    }
}

#[derive(Debug)]
pub struct SendingPart {
    /// What the next part of the reply is made from; without it, the dialect has the next part.
    pub next: Option<Box<Command>>,
}

/// A pause between two messages.
#[derive(Debug)]
pub struct Pausing {
    /// The file that is open meanwhile, and how its bytes come.
    pub open: Option<(FileId, Supply)>,
    /// How long to wait once everything has been acknowledged.
    pub delay: Duration,
    pub stage: PauseStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseStage {
    /// Bytes are not sent or not acknowledged yet; check at this time.
    Unacknowledged(Instant),
    Until(Instant),
}

#[derive(Debug)]
pub struct Discarding {
    /// Bytes that may still be thrown away.
    pub left: u64,
}

#[derive(Debug)]
pub struct SendingReply(pub CloseReason);

#[derive(Debug)]
pub struct Lingering {
    /// Bytes that may still be discarded.
    pub left: u64,
    /// The peer had begun another request before it saw the end.
    pub is_asked: bool,
    /// Why we closed.
    pub reason: CloseReason,
}

#[derive(Debug)]
pub struct Done {
    pub reason: CloseReason,
    /// True if the peer must see a reset: what was sent is not whole, and must not look so.
    pub is_reset: bool,
}

impl Name {
    #[allow(clippy::enum_glob_use, clippy::too_many_lines, reason = "all of them, once or more")]
    /// The states that may follow. Everything may end in `Done`: the peer can vanish at any time.
    pub const fn followers(self) -> &'static [Self] {
        use Name::*;
        match self {
            ProxyHeader => &[Handshake, AwaitHeader, Done],
            AwaitHeader => &[
                Verifying,
                AwaitSlot,
                Opening,
                Executing,
                Copying,
                ReceivingBody,
                Committing,
                SendingPart,
                Pausing,
                Discarding,
                SendingReply,
                Done,
            ],
            Handshake | Verifying => &[AwaitHeader, Done],
            AwaitSlot => &[
                AwaitHeader,
                Opening,
                Copying,
                Executing,
                ReceivingBody,
                Saving,
                Committing,
                SendingBody,
                SendingPart,
                Pausing,
                Discarding,
                SendingReply,
                Done,
            ],
            Opening => &[
                AwaitHeader,
                AwaitSlot,
                Executing,
                ReceivingBody,
                Saving,
                SendingBody,
                SendingPart,
                Pausing,
                Discarding,
                SendingReply,
                Done,
            ],
            Copying => &[AwaitHeader, Pausing, SendingReply, Done],
            // What is done next may be what any request begins with.
            Committing => &[
                AwaitHeader,
                Verifying,
                AwaitSlot,
                Opening,
                Executing,
                Copying,
                ReceivingBody,
                Committing,
                SendingBody,
                SendingPart,
                Pausing,
                Discarding,
                SendingReply,
                Done,
            ],
            // A dialect may ask for the next thing as soon as it has the answer to this one.
            Executing | Pausing => &[
                AwaitHeader,
                AwaitSlot,
                Opening,
                Executing,
                ReceivingBody,
                Committing,
                SendingBody,
                SendingPart,
                Pausing,
                Discarding,
                SendingReply,
                Done,
            ],
            SendingPart => &[AwaitHeader, AwaitSlot, Opening, Executing, SendingPart, Pausing, SendingReply, Done],
            ReceivingBody => {
                &[AwaitHeader, AwaitSlot, FinishingWrites, Committing, Saving, Pausing, Discarding, SendingReply, Done]
            }
            FinishingWrites => &[AwaitHeader, Saving, Committing, Pausing, SendingReply, Done],
            Saving => &[AwaitHeader, Executing, Pausing, Discarding, SendingReply, Done],
            SendingBody => &[AwaitHeader, AwaitSlot, SendingBody, SendingPart, Pausing, SendingReply, Done],
            Discarding => &[AwaitHeader, SendingReply, Done],
            SendingReply => &[Lingering, Done],
            Lingering => &[Done],
            Done => &[],
        }
    }
}
