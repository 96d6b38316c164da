//! A platform in memory: sockets are byte queues, the store is a map, time stands still. The real
//! reactor runs on it, so what is tested is the server itself, less the kernel.
//!
//! An edge is reported only when bytes or room appear, as an edge-triggered poll would.

mod store;
mod stream;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use filewharf::config::{Access, Limits};
use filewharf::dialect::{Kind, Listening};
use filewharf::ids::{ConnId, FileId, ListenerId};
use filewharf::platform::{AcceptError, Counters, Event, Health, Platform, Readable, SendFile, Stream as _};
use filewharf::reactor::{Ended, Reactor, Setup};

pub use store::Damage;
use store::{ByOthers, MemStore};
use stream::{MemStream, Wire};

/// When the server starts, by the clock on the wall.
pub const STARTED_S: u64 = 1_700_000_000;

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

pub struct MemPlatform {
    now: Instant,
    store: MemStore,
    /// Those who come, and the last part of their addresses.
    backlog: VecDeque<(MemStream, u8)>,
    /// That of the next.
    host: u8,
    events: Vec<Event>,
    registered: BTreeMap<usize, ConnId>,
    /// Operations have ended, and nobody is told yet.
    holds_completions: bool,
    /// There are no descriptors for those who come.
    exhausted: bool,
    /// How often somebody was to be told that there are none.
    shed: u32,
    /// No event can tell of those who come.
    unwatchable: bool,
    /// The loop wanted to sleep: nothing is left to do.
    slept: bool,
    /// For so long, if no event comes.
    sleep: Option<Duration>,
}

impl Platform for MemPlatform {
    type Stream = MemStream;
    type Store = MemStore;

    fn wall_clock_s(&self) -> u64 {
        1_700_000_000
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.append(&mut self.events);
        if !self.store.done.is_empty() && !self.holds_completions {
            events.push(Event::Completions);
        }
        self.slept = events.is_empty() && timeout != Some(Duration::ZERO);
        self.sleep = timeout;
        Ok(())
    }

    fn accept(&mut self, _: ListenerId) -> Result<(MemStream, SocketAddr), AcceptError> {
        if self.exhausted && !self.backlog.is_empty() {
            return Err(AcceptError::Exhausted(io::Error::other("too many open files")));
        }
        let (stream, host) = self.backlog.pop_front().ok_or(AcceptError::Empty)?;
        Ok((stream, SocketAddr::from(([127, 0, 0, host], 50_851))))
    }

    fn shed(&mut self, _: ListenerId) -> bool {
        self.shed += 1;
        false
    }

    fn register(&mut self, stream: &mut MemStream, id: ConnId) -> io::Result<()> {
        if self.unwatchable {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.registered.insert(Rc::as_ptr(&stream.wire) as usize, id);
        Ok(())
    }

    fn close_listeners(&mut self) {}

    fn send_file(
        &mut self,
        stream: &mut MemStream,
        file: FileId,
        offset: u64,
        len: usize,
        _more: bool,
    ) -> io::Result<SendFile> {
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
        Self::speaking(Listening::new(Kind::Line, &[], 0).expect("no options"), mode, limits, access)
    }

    pub fn speaking(listening: Listening, mode: Mode, limits: Limits, access: Access) -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        let now = Instant::now();
        let store = MemStore::new(mode);
        let platform = MemPlatform {
            now,
            store,
            backlog: VecDeque::new(),
            host: 1,
            events: Vec::new(),
            registered: BTreeMap::new(),
            holds_completions: false,
            exhausted: false,
            shed: 0,
            unwatchable: false,
            slept: false,
            sleep: None,
        };
        let setup = Setup { limits, access, listeners: vec![listening] };
        Self { reactor: Reactor::new(platform, setup) }
    }

    pub fn connect(&mut self) -> Peer {
        let peer = self.come(b"");
        self.settle();
        peer
    }

    /// A client with another address connects: 127.0.0.`host`.
    pub fn connect_from(&mut self, host: u8) -> Peer {
        let before = std::mem::replace(&mut self.reactor.platform().host, host);
        let peer = self.connect();
        self.reactor.platform().host = before;
        peer
    }

    /// A client comes that has sent bytes already; the server has not seen it yet.
    pub fn come(&mut self, bytes: &[u8]) -> Peer {
        let wire = Rc::<RefCell<Wire>>::default();
        wire.borrow_mut().to_server.extend(bytes);
        let platform = self.reactor.platform();
        let window = platform.store.mode.window;
        platform.backlog.push_back((MemStream { wire: Rc::clone(&wire), window }, platform.host));
        platform.events.push(Event::Acceptable(ListenerId(0)));
        Peer { wire }
    }

    /// The client closes its half, and no event says so.
    pub fn leave(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().client_done = true;
    }

    /// Were events about this connection asked for?
    pub fn watches(&mut self, peer: &Peer) -> bool {
        self.reactor.platform().registered.contains_key(&(Rc::as_ptr(&peer.wire) as usize))
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

    /// The connection fails.
    pub fn cut(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().broken = true;
        self.announce(peer);
    }

    /// Something becomes of the files that are served.
    pub fn damage(&mut self, damage: Damage) {
        self.reactor.platform().store.damage = damage;
    }

    /// From the next turn on the store is as well as that.
    pub fn ails(&mut self, health: Health) {
        self.reactor.platform().store.health = health;
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
        self.arrive(peer, bytes);
        self.turn();
    }

    /// The client sends bytes, which are seen in the next turn.
    pub fn arrive(&mut self, peer: &Peer, bytes: &[u8]) {
        peer.wire.borrow_mut().to_server.extend(bytes);
        let platform = self.reactor.platform();
        if let Some(id) = platform.registered.get(&(Rc::as_ptr(&peer.wire) as usize)) {
            let readable = if peer.wire.borrow().client_done { Readable::BytesThenEnd } else { Readable::Bytes };
            platform.events.push(Event::Stream { id: *id, readable, writable: false });
        }
    }

    /// The server has one turn.
    pub fn turn(&mut self) {
        self.reactor.turn().expect("the platform in memory never fails");
    }

    /// The client has sent bytes, which the server finds in its next turn. Before it receives the last of
    /// them, somebody else replaces a file.
    pub fn send_later(&mut self, peer: &Peer, bytes: &[u8], meanwhile: Option<(&str, &[u8])>) {
        let platform = self.reactor.platform();
        let mut wire = peer.wire.borrow_mut();
        wire.to_server.extend(bytes);
        wire.meanwhile = meanwhile
            .map(|(name, bytes)| (ByOthers::clone(&platform.store.by_others), name.to_owned(), bytes.to_vec()));
        let id = platform.registered[&(Rc::as_ptr(&peer.wire) as usize)];
        platform.events.push(Event::Stream { id, readable: Readable::Bytes, writable: false });
    }

    /// The client closes its half; the server has one turn.
    pub fn finish_in_turn(&mut self, peer: &Peer) {
        peer.wire.borrow_mut().client_done = true;
        self.send_in_turn(peer, b"");
    }

    /// Operations that end from here on are not reported, or all of them are.
    pub fn hold_completions(&mut self, holds: bool) {
        self.reactor.platform().holds_completions = holds;
        if !holds {
            self.settle();
        }
    }

    /// Of operations that end together, the last is reported first.
    pub fn reverse_completions(&mut self) {
        self.reactor.platform().store.reversed = true;
    }

    /// What has ended is reported, and the server has one turn; what ends in it is not reported.
    pub fn complete_in_turn(&mut self) {
        self.reactor.platform().holds_completions = false;
        self.turn();
        self.reactor.platform().holds_completions = true;
    }

    /// Descriptors run out for those who come, or are there again.
    pub fn exhaust(&mut self, exhausted: bool) {
        self.reactor.platform().exhausted = exhausted;
    }

    /// From here on the kernel can tell of nobody who comes.
    pub fn watches_nobody(&mut self) {
        self.reactor.platform().unwatchable = true;
    }

    /// How often somebody was to be told that there are no descriptors.
    pub fn shed(&mut self) -> u32 {
        self.reactor.platform().shed
    }

    /// Bytes of heap that all conversations together hold.
    pub fn content_bytes(&self, limits: &Limits) -> usize {
        self.reactor.sessions().map(|session| session.content_bytes(limits)).sum()
    }

    /// From the next turn on the disk does not keep up, or does.
    pub fn lags(&mut self, lags: bool) {
        self.reactor.platform().store.mode.lags = lags;
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
            platform.events.push(Event::Stream { id, readable: Readable::Nothing, writable: true });
            self.settle();
        }
    }

    /// The client reads so many bytes, which makes room for as many.
    pub fn read(&mut self, peer: &Peer, bytes: usize) {
        let mut wire = peer.wire.borrow_mut();
        wire.unread = wire.unread.saturating_sub(bytes);
        drop(wire);
        let platform = self.reactor.platform();
        let id = platform.registered[&(Rc::as_ptr(&peer.wire) as usize)];
        platform.events.push(Event::Stream { id, readable: Readable::Nothing, writable: true });
        self.settle();
    }

    /// These clients read all there is; the server sees it in one turn.
    pub fn read_in_turn(&mut self, peers: &[&Peer]) {
        let platform = self.reactor.platform();
        for peer in peers {
            peer.wire.borrow_mut().unread = 0;
            let id = platform.registered[&(Rc::as_ptr(&peer.wire) as usize)];
            platform.events.push(Event::Stream { id, readable: Readable::Nothing, writable: true });
        }
        self.turn();
    }

    fn announce(&mut self, peer: &Peer) {
        let platform = self.reactor.platform();
        if let Some(id) = platform.registered.get(&(Rc::as_ptr(&peer.wire) as usize)) {
            let readable = if peer.wire.borrow().client_done { Readable::BytesThenEnd } else { Readable::Bytes };
            platform.events.push(Event::Stream { id: *id, readable, writable: false });
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

    /// Lets time pass without a turn: what comes next and the deadlines are seen together.
    pub fn skip(&mut self, time: Duration) {
        self.reactor.platform().now += time;
    }

    pub fn drain(&mut self) {
        self.reactor.platform().events.push(Event::Signal(filewharf::platform::Signal::Drain));
        self.settle();
    }

    /// The server is told to end at once, and has one turn.
    pub fn stop_in_turn(&mut self) {
        self.reactor.platform().events.push(Event::Signal(filewharf::platform::Signal::Stop));
        self.reactor.turn().expect("the platform in memory never fails");
    }

    /// Turns until everything is over; says how it ended.
    pub fn end(&mut self) -> Ended {
        self.reactor.run().expect("the platform in memory never fails")
    }

    /// How long the loop sleeps if nothing happens.
    pub fn sleep(&mut self) -> Option<Duration> {
        self.reactor.platform().sleep
    }

    /// Has the server ended after a drain?
    pub fn has_ended(&self) -> bool {
        self.reactor.has_ended()
    }

    pub fn counters(&self) -> Counters {
        *self.reactor.counters()
    }

    /// Puts a file there before the conversation begins.
    pub fn place(&mut self, key: &str, bytes: &[u8]) {
        self.reactor.platform().store.place(key, bytes, None);
    }

    /// The same, for one that was changed last at that time.
    pub fn place_of(&mut self, key: &str, bytes: &[u8], mtime: i64) {
        self.reactor.platform().store.place(key, bytes, Some(mtime));
    }

    /// The names of all stored files.
    pub fn names(&mut self) -> Vec<String> {
        self.reactor.platform().store.names()
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

    /// The same, send by send.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        self.wire.borrow().packets.clone()
    }

    /// So much of what was sent has not been acknowledged.
    pub fn acknowledges_all_but(&self, bytes: usize) {
        self.wire.borrow_mut().unacknowledged = bytes;
    }

    /// So many of the server's next calls are interrupted by a signal.
    pub fn interrupts(&self, calls: u32) {
        self.wire.borrow_mut().interruptions = calls;
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

    /// The kernel keeps back what was sent last, because more was said to follow.
    pub fn is_held_back(&self) -> bool {
        self.wire.borrow().held_back
    }

    /// The client sees a reset.
    pub fn is_reset(&self) -> bool {
        self.wire.borrow().reset
    }
}
