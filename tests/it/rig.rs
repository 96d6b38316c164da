//! A platform in memory: sockets are byte queues, the store is a map, time stands still. The real
//! reactor runs on it, so what is tested is the server itself, less the kernel.
//!
//! An edge is reported only when bytes or room appear, as an edge-triggered poll would.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use filewharf::buffer::Chunk;
use filewharf::config::{Access, Limits};
use filewharf::dialect::Kind;
use filewharf::error::{Failure, StoreError};
use filewharf::ids::{ConnId, FileId, ListenerId};
use filewharf::object::{Durability, Entry, Etag, Key, Listing, Meta, Node, Precondition};
use filewharf::platform::{
    AcceptError, Completion, Counters, Event, Health, Op, Outcome, Platform, ReadNow, SendFile, Source, Store, Stream,
};
use filewharf::reactor::{Reactor, Setup};

/// How the world behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Operations end in a later turn instead of at once.
    pub deferred: bool,
    /// Files can only be read into chunks.
    pub held: bool,
    /// The disk never keeps up.
    pub lags: bool,
    /// Bytes that a socket takes before it must be emptied.
    pub window: usize,
}

impl Mode {
    pub const PLAIN: Self = Self { deferred: false, held: false, lags: false, window: usize::MAX };

    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(|n| Self {
            deferred: n & 1 != 0,
            held: n & 2 != 0,
            lags: n & 4 != 0,
            window: if n & 8 != 0 { 3 } else { usize::MAX },
        })
    }
}

/// One connection, as both ends see it.
#[derive(Debug, Default)]
struct Wire {
    to_server: VecDeque<u8>,
    client_done: bool,
    to_client: Vec<u8>,
    unread: usize,
    server_done: bool,
    dropped: bool,
    reset: bool,
}

pub struct MemStream {
    wire: Rc<RefCell<Wire>>,
    window: usize,
}

impl Stream for MemStream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        if wire.to_server.is_empty() {
            return if wire.client_done { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(wire.to_server.len());
        for (place, byte) in buf.iter_mut().zip(wire.to_server.drain(..n)) {
            *place = byte;
        }
        Ok(n)
    }

    fn send(&mut self, bufs: &[&[u8]], _more: bool) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.server_done, "sent after the half was closed");
        let room = self.window.saturating_sub(wire.unread);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(room).collect();
        assert!(!bytes.is_empty(), "an empty send");
        wire.unread += bytes.len();
        wire.to_client.extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wire.borrow_mut().server_done = true;
        Ok(())
    }

    fn reset_on_drop(&mut self) {
        self.wire.borrow_mut().reset = true;
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().dropped = true;
    }
}

#[derive(Clone, Debug)]
struct StoredFile {
    bytes: Rc<Vec<u8>>,
    meta: Meta,
}

enum Open {
    Staged(Vec<u8>),
    Served(StoredFile),
}

pub struct MemStore {
    mode: Mode,
    files: BTreeMap<String, StoredFile>,
    folders: BTreeSet<String>,
    open: BTreeMap<FileId, Open>,
    next: u64,
    versions: u8,
    done: VecDeque<Completion>,
}

fn refused(failure: Failure) -> StoreError {
    StoreError::refused(failure, "memory")
}

impl MemStore {
    fn is_folder(&self, key: &Key) -> bool {
        let inside = format!("{key}/")[1..].to_owned();
        key.is_root() || self.folders.contains(key.as_str()) || self.files.keys().any(|name| name.starts_with(&inside))
    }

    fn check(&self, key: &Key, precondition: Precondition) -> Result<(), StoreError> {
        let holds = match precondition {
            Precondition::None => true,
            Precondition::Absent => !self.files.contains_key(key.as_str()),
            Precondition::Matches(etag) => self.files.get(key.as_str()).is_some_and(|file| file.meta.etag == etag),
        };
        if holds { Ok(()) } else { Err(refused(Failure::PreconditionFailed)) }
    }

    fn publish(&mut self, key: &Key, bytes: Vec<u8>, mtime: Option<i64>) -> Meta {
        self.versions += 1;
        let mut tag = [0; 16];
        tag[15] = self.versions;
        let meta = Meta { len: bytes.len() as u64, mtime: mtime.unwrap_or(1_700_000_000), etag: Etag(tag) };
        self.files.insert(key.as_str().to_owned(), StoredFile { bytes: Rc::new(bytes), meta });
        meta
    }

    fn file_id(&mut self, open: Open) -> FileId {
        self.next += 1;
        self.open.insert(FileId(self.next), open);
        FileId(self.next)
    }

    fn staged(&mut self, file: FileId) -> &mut Vec<u8> {
        match self.open.get_mut(&file) {
            Some(Open::Staged(bytes)) => bytes,
            _ => panic!("{file:?} is no staging file"),
        }
    }

    fn put_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let (staged, at) = (self.staged(file), offset as usize);
        staged.resize(staged.len().max(at + bytes.len()), 0);
        staged[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn served(&self, file: FileId) -> &StoredFile {
        match &self.open[&file] {
            Open::Served(file) => file,
            Open::Staged(_) => panic!("{file:?} is a staging file"),
        }
    }

    fn node(&self, key: &Key) -> Result<Node, StoreError> {
        match self.files.get(key.as_str()) {
            Some(file) => Ok(Node::File(file.meta)),
            None if self.is_folder(key) => Ok(Node::Folder { mtime: 1_600_000_000 }),
            None => Err(refused(Failure::NotFound)),
        }
    }

    fn list(&self, key: &Key, after: Option<&str>, limit: usize, bytes_max: usize) -> Result<Listing, StoreError> {
        match self.node(key)? {
            Node::File(_) => return Err(refused(Failure::Conflict("that is a file"))),
            Node::Folder { .. } => {}
        }
        let prefix = if key.is_root() { String::new() } else { format!("{}/", key.as_str()) };
        let names: BTreeSet<&str> = (self.files.keys().chain(&self.folders))
            .filter_map(|name| name.strip_prefix(&prefix))
            .filter_map(|name| name.split('/').next())
            .filter(|name| !name.is_empty() && after.is_none_or(|after| *name > after))
            .collect();
        let mut listing = Listing { entries: Vec::new(), more: false };
        let mut bytes = 0;
        for name in names {
            bytes += name.len() + 96;
            if listing.entries.len() == limit || (bytes > bytes_max && !listing.entries.is_empty()) {
                listing.more = true;
                break;
            }
            let node = match self.files.get(&format!("{prefix}{name}")) {
                Some(file) => Node::File(file.meta),
                None => Node::Folder { mtime: 1_600_000_000 },
            };
            listing.entries.push(Entry { name: name.into(), node });
        }
        Ok(listing)
    }

    fn run(&mut self, op: Op) -> (Result<Outcome, StoreError>, Option<Chunk>) {
        let result = match op {
            Op::Abort { file } => {
                assert!(self.open.remove(&file).is_some(), "{file:?} aborted twice");
                Ok(Outcome::Aborted)
            }
            Op::Close { file } => {
                assert!(self.open.remove(&file).is_some(), "{file:?} closed twice");
                Ok(Outcome::Closed)
            }
            Op::Commit { file, key, len, mtime, precondition } => self.commit(file, &key, len, mtime, precondition),
            Op::Create(put) => match self.node(&put.key) {
                Ok(Node::Folder { .. }) => Err(refused(Failure::Conflict("that is a folder"))),
                _ => self
                    .check(&put.key, put.precondition)
                    .map(|()| Outcome::Created(self.file_id(Open::Staged(Vec::new())))),
            },
            Op::Delete { key, precondition } => {
                self.node(&key).and_then(|_| self.check(&key, precondition)).map(|()| {
                    self.files.remove(key.as_str());
                    self.folders.remove(key.as_str());
                    Outcome::Deleted
                })
            }
            Op::Flush { .. } => Ok(Outcome::Flushed),
            Op::List { key, after, limit, bytes_max } => {
                self.list(&key, after.as_deref(), limit, bytes_max).map(Outcome::Listed)
            }
            Op::MakeFolder { key } => {
                self.folders.insert(key.as_str().to_owned());
                Ok(Outcome::Made)
            }
            Op::Open { key } => match self.node(&key) {
                Ok(Node::File(meta)) => {
                    let file = self.files[key.as_str()].clone();
                    let source = if self.mode.held { Source::Held } else { Source::Direct };
                    Ok(Outcome::Opened { file: self.file_id(Open::Served(file)), meta, source })
                }
                Ok(Node::Folder { .. }) => Err(refused(Failure::Conflict("that is a folder"))),
                Err(error) => Err(error),
            },
            Op::Read { file, offset, len, mut chunk } => {
                let bytes = Rc::clone(&self.served(file).bytes);
                let from = bytes.len().min(offset as usize);
                chunk.fill(&bytes[from..bytes.len().min(from + len)]);
                return (Ok(Outcome::Read), Some(chunk));
            }
            Op::Rename { from, to, precondition } => self.check(&to, precondition).and_then(|()| {
                let file = self.files.remove(from.as_str()).ok_or(refused(Failure::NotFound))?;
                self.files.insert(to.as_str().to_owned(), file);
                Ok(Outcome::Renamed)
            }),
            Op::Stat { key } => self.node(&key).map(Outcome::Found),
            Op::Store { put, chunk } => {
                let result = match self.node(&put.key) {
                    Ok(Node::Folder { .. }) => Err(refused(Failure::Conflict("that is a folder"))),
                    _ => self.check(&put.key, put.precondition).map(|()| {
                        let meta = self.publish(&put.key, chunk.data().to_vec(), put.mtime);
                        Outcome::Committed(meta, Durability::Durable)
                    }),
                };
                return (result, Some(chunk));
            }
            Op::Warm { .. } => Ok(Outcome::Warmed),
            Op::Write { file, offset, chunk } => {
                self.put_at(file, offset, chunk.data());
                return (Ok(Outcome::Written), Some(chunk));
            }
        };
        (result, None)
    }

    fn commit(
        &mut self,
        file: FileId,
        key: &Key,
        len: u64,
        mtime: Option<i64>,
        precondition: Precondition,
    ) -> Result<Outcome, StoreError> {
        let bytes = std::mem::take(self.staged(file));
        self.open.remove(&file);
        assert_eq!(bytes.len() as u64, len, "the commit names another length than was written");
        self.check(key, precondition)?;
        Ok(Outcome::Committed(self.publish(key, bytes, mtime), Durability::Durable))
    }
}

impl Store for MemStore {
    fn try_now(&mut self, conn: ConnId, op: Op) -> Result<Completion, Op> {
        if self.mode.deferred {
            return Err(op);
        }
        let (result, chunk) = self.run(op);
        Ok(Completion { conn, result, chunk })
    }

    fn submit(&mut self, conn: ConnId, op: Op) {
        let (result, chunk) = self.run(op);
        self.done.push_back(Completion { conn, result, chunk });
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn is_lagging(&self) -> bool {
        self.mode.lags
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_at(file, offset, bytes);
        Ok(())
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        let bytes = &self.served(file).bytes[offset as usize..];
        let n = buf.len().min(bytes.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(ReadNow::Bytes(n))
    }

    fn flush_window(&self) -> Option<u64> {
        Some(5)
    }

    fn health(&self) -> Health {
        Health::Good
    }
}

pub struct MemPlatform {
    now: Instant,
    store: MemStore,
    backlog: VecDeque<MemStream>,
    events: Vec<Event>,
    registered: BTreeMap<usize, ConnId>,
    /// The loop wanted to sleep: nothing is left to do.
    slept: bool,
}

impl Platform for MemPlatform {
    type Stream = MemStream;
    type Store = MemStore;

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.append(&mut self.events);
        if !self.store.done.is_empty() {
            events.push(Event::Completions);
        }
        self.slept = events.is_empty() && timeout != Some(Duration::ZERO);
        Ok(())
    }

    fn accept(&mut self, _: ListenerId) -> Result<(MemStream, SocketAddr), AcceptError> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        self.backlog.pop_front().map(|stream| (stream, peer)).ok_or(AcceptError::Empty)
    }

    fn shed(&mut self, _: ListenerId) -> bool {
        false
    }

    fn register(&mut self, stream: &mut MemStream, id: ConnId) -> io::Result<()> {
        self.registered.insert(Rc::as_ptr(&stream.wire) as usize, id);
        Ok(())
    }

    fn close_listeners(&mut self) {}

    fn send_file(&mut self, stream: &mut MemStream, file: FileId, offset: u64, len: usize) -> io::Result<SendFile> {
        let bytes = Rc::clone(&self.store.served(file).bytes);
        let from = offset as usize;
        stream.send(&[&bytes[from..bytes.len().min(from + len)]], false).map(SendFile::Sent)
    }

    fn store(&mut self) -> &mut MemStore {
        &mut self.store
    }

    fn publish(&mut self, _: &Counters) {}
}

/// A server on the platform in memory, and its clients.
pub struct Rig {
    reactor: Reactor<MemPlatform>,
}

/// One client of a [`Rig`].
pub struct Peer {
    wire: Rc<RefCell<Wire>>,
}

impl Rig {
    pub fn new(mode: Mode, limits: Limits, access: Access) -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        let now = Instant::now();
        let store = MemStore {
            mode,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            open: BTreeMap::new(),
            next: 0,
            versions: 0,
            done: VecDeque::new(),
        };
        let platform = MemPlatform {
            now,
            store,
            backlog: VecDeque::new(),
            events: Vec::new(),
            registered: BTreeMap::new(),
            slept: false,
        };
        Self { reactor: Reactor::new(platform, Setup { limits, access, listeners: vec![Kind::Line] }) }
    }

    pub fn connect(&mut self) -> Peer {
        let wire = Rc::<RefCell<Wire>>::default();
        let platform = self.reactor.platform();
        let window = platform.store.mode.window;
        platform.backlog.push_back(MemStream { wire: Rc::clone(&wire), window });
        platform.events.push(Event::Acceptable(ListenerId(0)));
        self.settle();
        Peer { wire }
    }

    /// The client sends bytes; the server does everything it can.
    pub fn send(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.wire.borrow_mut().to_server.extend(bytes);
        self.edge(peer);
    }

    /// The client closes its half.
    pub fn finish(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().client_done = true;
        self.edge(peer);
    }

    /// The client sends piece after piece while the server works: each arrives one turn after the
    /// one before, whatever is still in flight then.
    pub fn send_hurried<'a>(&mut self, peer: &Peer, pieces: impl IntoIterator<Item = &'a [u8]>, ends: bool) {
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            peer.wire.borrow_mut().client_done = ends && pieces.peek().is_none();
            self.send_in_turn(peer, piece);
        }
        self.settle();
        self.read_all(peer);
    }

    /// The client sends bytes; the server has one turn.
    pub fn send_in_turn(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.wire.borrow_mut().to_server.extend(bytes);
        let platform = self.reactor.platform();
        if let Some(id) = platform.registered.get(&(Rc::as_ptr(&peer.wire) as usize)) {
            platform.events.push(Event::Stream { id: *id, readable: true, writable: false });
        }
        self.reactor.turn().expect("the platform in memory never fails");
    }

    /// The client sends bytes and reads nothing.
    pub fn send_unread(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.wire.borrow_mut().to_server.extend(bytes);
        self.announce(peer);
    }

    fn edge(&mut self, peer: &Peer) {
        self.announce(peer);
        self.read_all(peer);
    }

    /// A small window opens again and again as the client reads.
    fn read_all(&mut self, peer: &Peer) {
        while std::mem::take(&mut peer.wire.borrow_mut().unread) > 0 {
            let platform = self.reactor.platform();
            let id = platform.registered[&(Rc::as_ptr(&peer.wire) as usize)];
            platform.events.push(Event::Stream { id, readable: false, writable: true });
            self.settle();
        }
    }

    fn announce(&mut self, peer: &Peer) {
        let platform = self.reactor.platform();
        if let Some(id) = platform.registered.get(&(Rc::as_ptr(&peer.wire) as usize)) {
            platform.events.push(Event::Stream { id: *id, readable: true, writable: false });
        }
        self.settle();
    }

    /// Turns until the server would sleep.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            self.reactor.turn().expect("the platform in memory never fails");
            if self.reactor.platform().slept {
                return;
            }
        }
        panic!("the server never comes to rest");
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.reactor.platform().now += time;
        // A turn that begins with nothing to report may still find deadlines that have passed.
        self.reactor.turn().expect("the platform in memory never fails");
        self.settle();
    }

    pub fn drain(&mut self) {
        self.reactor.platform().events.push(Event::Signal(filewharf::platform::Signal::Drain));
        self.settle();
    }

    /// Has the server ended after a drain?
    pub fn has_ended(&self) -> bool {
        self.reactor.has_ended()
    }

    pub fn counters(&self) -> Counters {
        *self.reactor.counters()
    }

    /// The content of a stored file.
    pub fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        self.reactor.platform().store.files.get(key).map(|file| file.bytes.to_vec())
    }

    /// Files the server has open, staging files among them.
    pub fn open_files(&mut self) -> usize {
        self.reactor.platform().store.open.len()
    }
}

impl Peer {
    /// Everything the server has said.
    pub fn heard(&self) -> Vec<u8> {
        self.wire.borrow().to_client.clone()
    }

    /// The server has closed its half, or all of it.
    pub fn is_closed(&self) -> bool {
        let wire = self.wire.borrow();
        wire.server_done || wire.dropped
    }

    /// The server has let the connection go.
    pub fn is_gone(&self) -> bool {
        self.wire.borrow().dropped
    }

    /// The client sees a reset.
    pub fn is_reset(&self) -> bool {
        self.wire.borrow().reset
    }
}
