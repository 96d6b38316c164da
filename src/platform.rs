//! The ports: everything outside the process that can surprise us, as traits and plain data.
//!
//! `os` implements them with system calls, a simulator with a virtual clock. Nothing here does
//! anything, and nothing above this file knows which of the two it runs on.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::buffer::Chunk;
use crate::command::Put;
use crate::error::StoreError;
use crate::ids::{ConnId, FileId, ListenerId};
use crate::object::{ExpectedKind, Key, Listing, Meta, Node, Precondition, Stored};

pub use crate::counters::{Counters, Health, Queued};

/// One operation of the store. It owns its bytes, so it is safe to outlive its connection.
#[derive(Debug)]
pub enum Op {
    /// Remove a staging file; nothing of it was ever visible. Consumes `file`, whatever happens.
    Abort {
        /// The staging file.
        file: FileId,
    },
    /// Close a file that was opened for reading. Consumes `file`.
    Close {
        /// The open file.
        file: FileId,
    },
    /// Make a complete staging file visible under `key`, as durably as the store is set to.
    /// Consumes `file`, whatever happens.
    Commit {
        /// The staging file.
        file: FileId,
        /// The final name; it may differ from the one given to `Create`.
        key: Key,
        /// The length every write together must have given.
        len: u64,
        /// Bytes that belong before everything that was written: some dialects learn only at the
        /// end where the content began. At most a few.
        prepend: Box<[u8]>,
        /// Modification time to set, seconds since 1970.
        mtime: Option<i64>,
        /// Checked at the moment of the rename.
        precondition: Precondition,
    },
    /// Make a staging file for an upload: refuse now what can be known now (a directory in the way,
    /// a precondition that does not hold, no space). Space is reserved as the bytes are written.
    Create(Put),
    /// Remove a file or an empty directory.
    Delete {
        /// What to remove.
        key: Key,
        /// A file is in conflict with a directory that is meant.
        expected_kind: ExpectedKind,
        /// What must hold.
        precondition: Precondition,
    },
    /// Start writing what has been written so far to the disk, and wait for it: bounds the dirty
    /// memory of a long upload. Promises nothing about durability.
    Flush {
        /// The staging file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// One page of a directory.
    List {
        /// Which directory.
        key: Key,
        /// Start behind this name.
        after: Option<Box<str>>,
        /// At most this many names.
        limit: usize,
        /// Stop early when the names of the page together reach this many bytes (one name is
        /// always given).
        bytes_max: usize,
    },
    /// Make a directory and its parents.
    MakeDir {
        /// Which directory.
        key: Key,
    },
    /// Open a file for reading. The open file pins one version.
    Open {
        /// Which file.
        key: Key,
    },
    /// Fill `chunk` with up to `len` bytes at `offset`.
    Read {
        /// The open file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// At most this many, at most what the chunk takes.
        len: usize,
        /// Where to; comes back with the completion.
        chunk: Chunk,
    },
    /// Move a file or directory.
    Rename {
        /// From here.
        from: Key,
        /// To here.
        to: Key,
        /// What must hold at `to`.
        precondition: Precondition,
    },
    /// What stands at a name?
    Stat {
        /// Which name.
        key: Key,
    },
    /// A whole small upload in one operation: create, write, commit.
    Store {
        /// What was announced; `len` is the length of `chunk`.
        put: Put,
        /// The body; comes back with the completion.
        chunk: Chunk,
    },
    /// Bring this part of a file into the page cache, so that it can be read without waiting.
    Warm {
        /// The open file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// Write the bytes of `chunk` at `offset`.
    Write {
        /// The staging file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// What to write; comes back with the completion.
        chunk: Chunk,
    },
}

/// How an operation went.
#[derive(Debug)]
pub enum Outcome {
    /// The staging file is gone.
    Aborted,
    /// The file is closed.
    Closed,
    /// Visible and as durable as promised.
    Committed(Stored),
    /// The staging file is ready for writes.
    Created(FileId),
    /// Gone, durably if so set.
    Deleted,
    /// On its way to the disk.
    Flushed,
    /// The page.
    Listed(Listing),
    /// The directory is there.
    Made,
    /// Open for reading.
    Opened {
        /// Until `Close`.
        file: FileId,
        /// Of this version.
        meta: Meta,
        /// How its bytes can be had.
        source: Source,
    },
    /// The chunk holds what was read; an empty chunk means the file ends before `offset`.
    Read,
    /// Moved.
    Renamed,
    /// What stands there.
    Found(Node),
    /// The range was in the page cache a moment ago.
    Warmed,
    /// Every byte of the chunk is in the file.
    Written,
}

/// How the bytes of an open file can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the loop itself: [`Store::read_now`] and [`Platform::send_file`] never wait for a disk.
    Direct,
    /// Only through [`Op::Read`] into chunks.
    Held,
}

/// The end of one submitted operation.
#[derive(Debug)]
pub struct Completion {
    /// Who asked.
    pub conn: ConnId,
    /// How it went.
    pub result: Result<Outcome, StoreError>,
    /// The chunk of the operation, where it had one.
    pub chunk: Option<Chunk>,
}

/// What [`Store::read_now`] could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadNow {
    /// This many bytes were read; 0 means the file ends before `offset`.
    Bytes(usize),
    /// It would have to wait for the disk: `Warm` it first.
    Cold,
}

/// What [`Platform::send_file`] could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFile {
    /// This many bytes left; never 0.
    Sent(usize),
    /// This many bytes left, never 0, and the socket has no room for more: as `WouldBlock` after
    /// them, without another call to find that out. Should that turn out to be wrong, because the file
    /// was cut, an event tells of room with the next wait.
    SentUntilFull(usize),
    /// It would have to wait for the disk: `Warm` it first.
    Cold,
    /// The file ends before `offset`.
    Truncated,
}

/// Where files are.
pub trait Store {
    /// Serves `op` at once if that does not wait for a disk; otherwise hands it back.
    fn try_now(&mut self, conn: ConnId, op: Op) -> Result<Completion, Op>;

    /// Queues `op`. Never blocks and never fails: one connection has a bounded number of
    /// operations in flight. Its completion rings [`Event::Completions`].
    fn submit(&mut self, conn: ConnId, op: Op);

    /// The next finished operation.
    fn next_completion(&mut self) -> Option<Completion>;

    /// The disk does not keep up: hold bytes in chunks and use [`Op::Write`] instead of
    /// [`Store::write_now`]. Changes only between turns.
    fn is_lagging(&self) -> bool;

    /// Writes all of `bytes` from the loop itself.
    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Reads from the loop itself, without waiting for a disk.
    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError>;

    /// How many bytes an upload may have written since its last [`Op::Flush`]; `None` when
    /// uploads need no flushing.
    fn flush_window(&self) -> Option<u64>;

    /// Bytes of a peer were received, or else time has passed: from here on an operation must see
    /// every change of a file that was made before, whoever made it. What the store remembers of
    /// files may be out of date.
    fn received(&mut self);

    /// The bytes of an open file from `offset` to its end, if they are in the memory of the store:
    /// then they need not be copied to be sent.
    fn in_memory(&self, _file: FileId, _offset: u64) -> Option<&[u8]> {
        None
    }

    /// Is the store fit for changes?
    fn health(&self) -> Health;

    /// What waits at it now? Asked a few times in every turn.
    fn queued(&self) -> Queued;
}

/// One TCP stream. Every method may say `WouldBlock`.
pub trait Stream {
    /// Reads what is there, up to the size of `buf`; 0 is the end of the stream. What fewer bytes
    /// than `buf` takes mean is told by [`Readable`].
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Sends from `bufs` (at most `buffer::SLICES_MAX` of them), oldest first. `more` says that further bytes follow at once, so a
    /// partly filled packet may wait for them.
    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize>;

    /// Ends our half; what was sent before still arrives.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// How many bytes that were sent has the peer's system not acknowledged? There is no event for
    /// it: ask again after a while.
    fn unacknowledged(&self) -> io::Result<usize>;

    /// When dropped, the peer sees a reset instead of an end of stream.
    fn reset_on_drop(&mut self);
}

/// What a signal or a handle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Take no new work, finish what runs. A second one means [`Signal::Stop`].
    Drain,
    /// End now.
    Stop,
}

/// What [`Stream::recv`] may find, as far as events have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readable {
    /// Nothing, until an event says so.
    Nothing,
    /// Bytes. Fewer than were asked for are all there are: an event comes with the next.
    Bytes,
    /// Bytes, and something behind them that no event will repeat: the end of the stream, an error.
    /// Only `recv` itself says that nothing is left.
    BytesThenEnd,
}

/// What [`Platform::wait`] may report. Spurious and late ones are allowed.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A listener may have connections to accept.
    Acceptable(ListenerId),
    /// The store has completions.
    Completions,
    /// Somebody wants us to end.
    Signal(Signal),
    /// A stream became ready.
    Stream {
        /// Whose.
        id: ConnId,
        /// What `recv` may find.
        readable: Readable,
        /// `send` may find room.
        writable: bool,
    },
}

impl Event {
    /// The socket of a connection takes bytes again; that is all that is known.
    pub const fn writable(id: ConnId) -> Self {
        Self::Stream { id, readable: Readable::Nothing, writable: true }
    }
}

/// Why no connection could be accepted.
#[derive(Debug)]
pub enum AcceptError {
    /// Nothing is waiting: an event will say when that changes.
    Empty,
    /// This one connection is gone already; try the next.
    Gone(io::Error),
    /// Descriptors or memory ran out; connections wait in the backlog and no event will repeat
    /// that.
    Exhausted(io::Error),
}

/// The world: clock, network, store.
pub trait Platform {
    /// Its connections.
    type Stream: Stream;
    /// Its files.
    type Store: Store;

    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The clock on the wall, in seconds since 1970: for what peers are told, never for deadlines.
    fn wall_clock_s(&self) -> u64;

    /// Waits until something happens or `timeout` passes (`None` waits for ever), and appends
    /// what happened to `events`. May return early with nothing.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// Takes one connection from a listener's backlog.
    fn accept(&mut self, listener: ListenerId) -> Result<(Self::Stream, SocketAddr), AcceptError>;

    /// Uses the one descriptor kept in reserve to accept and reset one connection, so that a
    /// peer is told quickly while descriptors are short. Returns false if nothing was waiting.
    fn shed(&mut self, listener: ListenerId) -> bool;

    /// Asks for events about `stream`, once, for both directions, edge-triggered.
    fn register(&mut self, stream: &mut Self::Stream, id: ConnId) -> io::Result<()>;

    /// Closes every listener at once.
    fn close_listeners(&mut self);

    /// Sends file content without copying it through this process. `more` is that of
    /// [`Stream::send`]. `WouldBlock` means the socket.
    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile>;

    /// Where files are.
    fn store(&mut self) -> &mut Self::Store;

    /// Lines of the log that were dropped since the start, where something may drop them.
    fn log_dropped(&self) -> u64 {
        0
    }

    /// Called at the end of a turn with the current facts.
    fn publish(&mut self, counters: &Counters);
}
