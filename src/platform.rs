//! The ports: the clock, the network and the store as traits and plain data.
//!
//! `os` and `store` implement them with system calls, the simulator with a virtual clock. Nothing here does
//! anything, and nothing below `server` knows which of the two it runs on.
//!
//! Long, because every operation and its completion is documented where it is declared.

mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::Chunk;
use crate::command::{Answer, Copying, Put, Whole};
use crate::dav_locks::{DavLock, LockToken, Shown};
use crate::error::StoreError;
use crate::ids::{ClientAddress, ConnId, FileId, GroupId, ListenerId, OpId};
use crate::object::{Details, Key, Listing, Meta, Precondition, Stored};
use crate::order::Order;
use crate::upload::{DigestState, Inquiry, PartEnd, UploadId, UploadRef, UploadState};

pub use crate::access::password::{Finding, PasswordCheck, Verdict, WorkMemory};
pub use crate::access::{ClientCertificate, Permit, Rules};
pub use crate::counters::{Counters, Health, Queued};
pub use stream::{Handshake, KeyUse, Readable, Stream};

/// One operation of the store. It owns its bytes, so it may outlive its connection.
#[derive(Debug)]
pub enum Op {
    /// Removes a staging file, or a copy that is not complete. Consumes `file`, whatever happens.
    Abort { file: FileId },
    /// Makes what was written to an upload durable up to `offset`, and records that together with the state of its
    /// digest there. Every byte before `offset` has been written; more may be written meanwhile.
    Checkpoint { file: FileId, offset: u64, digest: Option<DigestState> },
    /// Opens what is to be copied, and makes the file or the directory that its copy will be: [`Outcome::Created`].
    BeginCopy(Box<Copying>),
    /// Closes a file that was opened for reading. Consumes `file`.
    Close { file: FileId },
    /// Makes a complete staging file, or a complete upload, visible under `key`, as durably as the store is configured.
    /// Consumes `file`, whatever happens.
    Commit {
        file: FileId,
        /// The final name; it may differ from the one given to `Create`.
        key: Key,
        /// The length all writes together must have given.
        len: u64,
        /// Inserted before everything that was written: some dialects learn only at the end where the
        /// content began. At most a few bytes.
        prepend: Box<[u8]>,
        /// Modification time to set, in seconds since 1970.
        mtime: Option<i64>,
        /// Checked when the file is renamed.
        precondition: Precondition,
        /// The SHA-256 of all of it, where that is known: it is kept with the file.
        digest: Option<Box<[u8; 32]>>,
    },
    /// Copies the next 8 MiB at most, or a few names. `file` is that of a `BeginCopy`.
    Copy { file: FileId },
    /// Makes a staging file for an upload, and refuses what can be known now: a directory in the way,
    /// a precondition that does not hold, no space. Space is reserved as the bytes are written.
    /// Where the file that the client announced has the name already, that is [`Outcome::Committed`].
    Create(Put),
    /// Ends the attachment of a connection to an upload. No write is under way. Consumes `file`, whatever happens.
    EndPart { file: FileId, end: PartEnd },
    /// How far an upload is, as was last recorded. With [`Inquiry::Aside`] also while a connection is attached to it.
    FindUpload { id: UploadId, inquiry: Inquiry, permit: Permit },
    /// Writes this part of a staging file to the disk: bounds the dirty memory of a long upload, and promises nothing.
    Flush { file: FileId, offset: u64, len: u64 },
    /// Copies the next bytes after `offset` into an upload that is concatenated from others: a few MiB at most.
    /// `digest` is the state of its digest there, where one is wanted.
    Join { file: FileId, offset: u64, digest: Option<DigestState> },
    /// One page of a directory.
    List {
        key: Key,
        /// With what is in the directories under it, in byte order component by component: a name is the path from it.
        recursive: bool,
        /// Starts after this name.
        after: Option<Box<str>>,
        /// At most this many names.
        limit: usize,
        /// Stops early when the names of the page together reach this many bytes; the page always has one name.
        bytes_max: usize,
        details: Details,
        /// Names that are left out as if they were not there.
        hides: Option<Hides>,
        /// Not with `recursive`. But for the order by bytes, `after` is a cursor.
        order: Order,
    },
    /// Opens a file for reading. The open file pins one version.
    Open { key: Key },
    /// Opens an upload to continue with it, or makes one. No other connection is attached to it.
    OpenUpload {
        upload: UploadRef,
        /// Its length, where it is known only now.
        len: Option<u64>,
        /// The client that a new upload is counted against.
        client: ClientAddress,
        /// For the upload that is there, or for each of those that a new one is concatenated from.
        permit: Permit,
    },
    /// Gives a complete copy its name: [`Outcome::Answered`]. Consumes `file`, whatever happens.
    PlaceCopy { file: FileId, copying: Box<Copying> },
    /// Reads up to `len` bytes into `chunk`, which comes back with the completion.
    Read { file: FileId, offset: u64, len: usize, chunk: Chunk },
    /// Removes an upload that no connection is attached to.
    RemoveUpload { id: UploadId, permit: Permit },
    /// Does what the command says, all of it.
    Run(Whole),
    /// A whole small upload in one operation: create, write, commit. `chunk` is the body and comes back with
    /// the completion.
    Store { put: Box<Put>, chunk: Chunk },
    /// Checks a password, off the loop.
    VerifyPassword(Box<PasswordCheck>),
    /// Brings this part of a file into the page cache, so that it can be read without blocking.
    Warm { file: FileId, offset: u64, len: usize },
    /// Writes the bytes of `chunk`, which comes back with the completion.
    Write { file: FileId, offset: u64, chunk: Chunk },
}

/// Which names of a listing are not shown to a caller. In a recursive one, a path with `/` at its end stands for all that
/// is in that directory.
#[derive(Clone)]
pub struct Hides(pub Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Hides {
    /// True if this name is not shown.
    pub fn hides(&self, name: &str) -> bool {
        self.0(name)
    }
}

impl std::fmt::Debug for Hides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hides").finish_non_exhaustive()
    }
}

/// The result of the operation of the same name.
#[derive(Debug)]
pub enum Outcome {
    Aborted,
    /// The end of a `Run`.
    Answered(Answer),
    Closed,
    /// Visible, and as durable as configured.
    Committed(Stored),
    /// A `Copy` ended: true if all is copied.
    Copied(bool),
    Created(FileId),
    Flushed,
    /// A `Join` ended: this many bytes were copied, never 0.
    Joined {
        len: u64,
        digest: Option<DigestState>,
    },
    Listed(Listing),
    Opened {
        file: FileId,
        meta: Meta,
        source: Source,
    },
    /// The chunk holds what was read; an empty chunk means the file ends before `offset`.
    Read,
    PasswordVerified(Box<Verdict>),
    /// What an `EndPart` left.
    PartEnded(Box<UploadState>),
    /// A `Checkpoint` ended: this many bytes of the upload are safe.
    Saved(u64),
    UploadFound(Box<UploadState>),
    UploadOpened {
        upload: Box<UploadState>,
        /// For writing; `None` if it is complete.
        file: Option<FileId>,
        /// Of everything before its offset, where a digest is wanted.
        digest: Option<DigestState>,
    },
    /// The name it would have had.
    UploadRemoved(Key),
    /// The range was in the page cache a moment ago.
    Warmed,
    /// Every byte of the chunk is in the file.
    Written,
}

/// How the bytes of an open file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By the loop itself: [`Store::read_now`] and [`Platform::send_file`] never block on a disk.
    Direct,
    /// Only with [`Op::Read`] into chunks.
    Held,
}

/// The end of one submitted operation.
#[derive(Debug)]
pub struct Completion {
    /// As it was submitted.
    pub id: OpId,
    pub result: Result<Outcome, StoreError>,
    /// The chunk of the operation, if it had one.
    pub chunk: Option<Chunk>,
}

/// The result of [`Store::read_now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadNow {
    /// This many bytes were read; 0 means the file ends before `offset`.
    Bytes(usize),
    /// Reading would block on the disk: `Warm` the range first.
    Cold,
}

/// The result of [`Platform::send_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFile {
    /// This many bytes were sent; never 0.
    Sent(usize),
    /// This many bytes were sent, never 0, and the send buffer is full: the next call would return `WouldBlock`.
    /// Where that turns out to be wrong, because the file was truncated or a signal came, the next wait reports
    /// the stream as writable.
    SentUntilFull(usize),
    /// Reading would block on the disk: `Warm` the range first.
    Cold,
    /// The file ends before `offset`.
    Truncated,
}

pub trait Store {
    /// Runs `op` at once if that does not block on a disk; otherwise hands it back.
    fn try_now(&mut self, id: OpId, op: Op) -> Result<Completion, Op>;

    /// Queues `op`; clients take turns, and `None` is none of them. Never blocks and never fails, as a connection has a
    /// bounded number of operations in flight. [`Event::Completions`] reports the end.
    fn submit(&mut self, id: OpId, client: Option<GroupId>, op: Op);

    /// The same where another process grants locks of WebDAV: fails if one of them is in the way.
    fn submit_unlocked(&mut self, id: OpId, client: Option<GroupId>, op: Op, shown: Shown);

    fn next_completion(&mut self) -> Option<Completion>;

    /// An upload that the connection that is attached to it is to leave: another server wants it. Asked for with the
    /// completions.
    fn next_wanted(&mut self) -> Option<UploadId>;

    /// The locks of WebDAV that earlier processes have answered; `None` where none are offered. Waits for the disk.
    fn kept_locks(&mut self, now_s: u64) -> Option<Vec<DavLock>>;

    /// Whether another process now does what one alone must do: expire uploads, grant locks of WebDAV.
    fn set_superseded(&mut self, is_superseded: bool);

    /// These locks of WebDAV are over: the next start need not know of them.
    fn forget_locks(&mut self, tokens: &[LockToken]);

    /// True while the disk does not keep up: bytes are held in chunks and written with [`Op::Write`] instead of
    /// [`Store::write_now`]. Changes only between turns.
    fn is_lagging(&self) -> bool;

    /// Writes all of `bytes` into the page cache from the loop itself.
    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Reads from the loop itself, without blocking on a disk.
    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError>;

    /// Fails if the content of a file that is open for reading may have changed since it was opened: what was read of
    /// it is not of one version then. [`Op::Read`] checks that itself.
    fn check_version(&self, file: FileId) -> Result<(), StoreError>;

    /// How many bytes an upload may have written since its last [`Op::Flush`]; `None` when uploads need no
    /// flushing.
    fn flush_window(&self) -> Option<u64>;

    /// A connection has received bytes: operations from here on must see every change made to a file before, by
    /// whatever process, so cached metadata must be validated again.
    fn received(&mut self);

    /// The bytes of an open file from `offset` to its end, if the store has them in its own memory:
    /// then they need not be copied to be sent.
    fn in_memory(&self, _file: FileId, _offset: u64) -> Option<&[u8]> {
        None
    }

    /// Whether the store accepts changes.
    fn health(&self) -> Health;

    /// Operations that wait for a disk worker. Called a few times in every turn.
    fn queued(&self) -> Queued;
}

/// What a signal or a handle requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Refuse new requests and finish those that run. A second one means [`Signal::Stop`].
    Drain,
    /// End now.
    Stop,
    /// Accept nothing more, serve what was accepted, then end: another process has the listeners.
    HandOver,
    /// That process has ended: accept again.
    TakeBack,
}

/// What [`Platform::wait`] reports. Spurious and late events are allowed.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A listener may have connections to accept.
    Acceptable(ListenerId),
    /// The store has completions.
    Completions,
    /// The step that [`Platform::use_key`] began is done: the handshake of this stream continues.
    Handshake(ConnId),
    Signal(Signal),
    /// Files were read again: see [`Platform::take_rules`] and [`Platform::take_limits`].
    Reloaded,
    /// A stream became ready; `writable` means that its send buffer has space.
    Stream {
        id: ConnId,
        readable: Readable,
        writable: bool,
    },
}

impl Event {
    pub const fn writable(id: ConnId) -> Self {
        Self::Stream { id, readable: Readable::Nothing, writable: true }
    }
}

/// Why no connection was accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// The backlog is empty: an event reports the next connection.
    Empty,
    /// This connection was closed before it was accepted; the next may be fine.
    Gone(io::Error),
    /// Descriptors or memory ran out; connections stay in the backlog and no event repeats that.
    Exhausted(io::Error),
}

/// Everything outside the process: clock, network, store.
pub trait Platform {
    type Stream: Stream;
    type Store: Store;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970: for protocol fields and the log, never for deadlines.
    fn wall_clock_ms(&self) -> u64;

    /// Blocks until an event or until `timeout` passes (`None`: no timeout), and appends the events to `events`.
    /// May return early without any.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Takes one connection from a listener's backlog.
    fn accept(&mut self, listener: ListenerId) -> Result<(Self::Stream, SocketAddr), AcceptError>;

    /// Accepts one connection with the descriptor kept in reserve, and resets it, so that a client is refused
    /// quickly while descriptors are short. Returns false if the backlog was empty.
    fn shed(&mut self, listener: ListenerId) -> bool;

    /// Registers `stream` for events in both directions, edge-triggered. Called once per stream.
    fn register(&mut self, stream: &mut Self::Stream, id: ConnId) -> io::Result<()>;

    /// Begins the handshake of an encrypted connection. `received` has been read of it already.
    fn secure(&mut self, _stream: &mut Self::Stream, _is_http: bool, _received: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// Takes the step of this stream's handshake that uses the private key, on another thread where there is a core for
    /// that.
    fn use_key(&mut self, _stream: &mut Self::Stream, _id: ConnId) -> io::Result<KeyUse> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// True if [`Self::use_key`] takes the time of the loop.
    fn uses_key_on_loop(&self) -> bool {
        false
    }

    fn close_listeners(&mut self);

    /// No event reports a connection at a listener from now on, though they stay open.
    fn rest_listeners(&mut self) {}

    /// Events report them again; not those that came before.
    fn watch_listeners(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// After [`Signal::HandOver`]: nothing more is accepted, and the locks of WebDAV that were granted are durable.
    /// Called again and again.
    fn has_handed_over(&mut self) {}

    /// The rules of the access file that was read again, if the loop does not have them yet.
    fn take_rules(&mut self) -> Option<Arc<Rules>> {
        None
    }

    /// The limits that were read again, if the loop does not have them yet.
    fn take_limits(&mut self) -> Option<crate::config::Live> {
        None
    }

    /// Sends file content without copying it through this process (`sendfile`). `more` is that of
    /// [`Stream::send`]. `WouldBlock` means that the send buffer is full.
    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile>;

    fn store(&mut self) -> &mut Self::Store;

    /// Lines of the log that were dropped since the start, where a sink drops lines.
    fn log_dropped(&self) -> u64 {
        0
    }

    /// Gives free memory of the allocator back to the system.
    fn trim_memory(&mut self) {}

    /// Called at the end of each turn.
    fn publish(&mut self, counters: &Counters);
}
