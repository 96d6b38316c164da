//! A server in memory with a clock that stands still, driven step by step: the test says when bytes arrive, when the
//! loop turns and when operations end.
//!
//! An edge is reported only when bytes or free space appear, as an edge-triggered poll would.

mod peer;
mod still;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filewharf::access::{Access, ClientCertificate, Rules};
use filewharf::command::Whole;
use filewharf::config::{Limits, Live, LogFormat};
use filewharf::dialect::{Kind, Listening};
use filewharf::ids::{GroupId, ListenerId, OpId};
use filewharf::platform::{Completion, Counters, Event, Health, Op, Readable, Signal, Source};
use filewharf::reactor::{Ended, ListenerSetup, Reactor, Setup};

use still::Still;

pub use crate::memory::STARTED_S;
pub use crate::memory::disk::Damage;
use crate::memory::disk::{Child, Disk, Ino};
use crate::memory::faults::{Faults, Shape};
use crate::memory::net::{Link, LinkId, Net};
use crate::memory::platform::MemPlatform;
use crate::memory::rng::Rng;
use crate::memory::trace::Trace;
use crate::memory::{Parts, World};

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

/// A server on the platform in memory, and its clients.
pub struct Rig {
    reactor: Reactor<MemPlatform<Still>>,
    world: Rc<RefCell<Still>>,
}

/// One client of a [`Rig`].
pub struct Peer {
    link: LinkId,
    world: Rc<RefCell<Still>>,
}

impl Rig {
    pub fn new(mode: Mode, limits: Limits, access: Access) -> Self {
        Self::speaking(Listening::new(Kind::Line, &[], 0).expect("no options"), mode, limits, access)
    }

    pub fn speaking(listening: Listening, mode: Mode, limits: Limits, access: Access) -> Self {
        let world = Rc::new(RefCell::new(Still::new(mode)));
        let setup = Setup { limits, access, listeners: vec![listening.into()] };
        let mut reactor = Reactor::new(MemPlatform::new(&world), setup);
        reactor.offer_locks([0; 16]);
        Self { reactor, world }
    }

    /// Connections come only from these proxies.
    pub fn with_proxies(proxies: &str, listening: Listening, limits: Limits, access: Access) -> Self {
        let world = Rc::new(RefCell::new(Still::new(Mode::PLAIN)));
        let proxies = Some(proxies.parse().expect("networks"));
        let setup = Setup { limits, access, listeners: vec![ListenerSetup { listening, proxies, is_tls: false }] };
        let mut reactor = Reactor::new(MemPlatform::new(&world), setup);
        reactor.offer_locks([0; 16]);
        Self { reactor, world }
    }

    /// Requests are logged so from now on.
    pub fn logs_as(&mut self, format: LogFormat) {
        self.reactor.set_log_format(format);
    }

    /// As an operator is shown them.
    pub fn connection_list(&self) -> String {
        self.reactor.connection_list()
    }

    fn world(&self) -> RefMut<'_, Still> {
        self.world.borrow_mut()
    }

    pub fn connect(&mut self) -> Peer {
        let peer = self.come(b"");
        self.settle();
        peer
    }

    /// A client with another address connects: 127.0.0.`host`.
    pub fn connect_from(&mut self, host: u8) -> Peer {
        let before = std::mem::replace(&mut self.world().host, host);
        let peer = self.connect();
        self.world().host = before;
        peer
    }

    /// A client comes that has sent bytes already; the server has not seen it yet.
    pub fn come(&mut self, bytes: &[u8]) -> Peer {
        let mut world = self.world.borrow_mut();
        world.net.listening = true; // Also a server that drains may find a connection that was there before.
        let link = world.net.connect(0, 0).expect("the backlog has no bound");
        let peer = Peer { link, world: Rc::clone(&self.world) };
        let host = world.host;
        let at_server = world.link(&peer);
        at_server.address = SocketAddr::from(([127, 0, 0, host], 50_851));
        at_server.probe.unacknowledged = Some(0);
        at_server.arrive(bytes, false);
        world.events.push(Event::Acceptable(ListenerId(0)));
        drop(world);
        peer
    }

    /// The client closes its half, and no event says so.
    pub fn leave(&mut self, peer: &Peer) {
        self.world().link(peer).arrive(b"", true);
    }

    /// True if events of this connection were asked for.
    pub fn watches(&mut self, peer: &Peer) -> bool {
        self.world().link(peer).id.is_some()
    }

    /// The client sends bytes; the server does everything it can.
    pub fn send(&mut self, peer: &Peer, bytes: &[u8]) {
        self.send_unread(peer, bytes);
        self.read_all(peer);
    }

    /// The client closes its half.
    pub fn finish(&mut self, peer: &Peer) {
        self.leave(peer);
        self.send(peer, b"");
    }

    /// The connection fails.
    pub fn cut(&mut self, peer: &Peer) {
        self.world().link(peer).cut();
        self.send_unread(peer, b"");
    }

    /// Something becomes of the files that are served.
    pub fn damage(&mut self, damage: Damage) {
        self.world().disk.damage = damage;
    }

    /// From the next turn on the store is as well as that.
    pub fn ails(&mut self, health: Health) {
        self.world().disk.told = health;
    }

    /// The client sends piece after piece while the server works: each arrives one turn after the
    /// one before, whatever is still in flight then.
    pub fn send_hurried<'a>(&mut self, peer: &Peer, pieces: impl IntoIterator<Item = &'a [u8]>, ends: bool) {
        let mut pieces = pieces.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            if ends && pieces.peek().is_none() {
                self.leave(peer);
            }
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
        let mut world = self.world();
        let link = world.link(peer);
        link.arrive(bytes, false);
        let told = link.told();
        world.event(peer, told, false);
    }

    /// The server has one turn.
    pub fn turn(&mut self) {
        self.reactor.turn().expect("the platform in memory never fails");
    }

    /// The client has sent bytes, which the server finds in its next turn. Before it receives the last of
    /// them, another process replaces a file.
    pub fn send_later(&mut self, peer: &Peer, bytes: &[u8], meanwhile: Option<(&str, &[u8])>) {
        let mut world = self.world();
        let link = world.link(peer);
        link.arrive(bytes, false);
        link.probe.meanwhile = meanwhile.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        world.event(peer, Readable::Bytes, false);
    }

    /// The client closes its half; the server has one turn.
    pub fn finish_in_turn(&mut self, peer: &Peer) {
        self.leave(peer);
        self.send_in_turn(peer, b"");
    }

    /// Operations that end from here on are not reported, or all of them are.
    pub fn hold_completions(&mut self, holds: bool) {
        self.world().holds_completions = holds;
        if !holds {
            self.settle();
        }
    }

    /// Of operations that end together, the last is reported first.
    pub fn reverse_completions(&mut self) {
        self.world().disk.reversed = true;
    }

    /// What has ended is reported, and the server has one turn; what ends in it is not reported.
    pub fn complete_in_turn(&mut self) {
        self.world().holds_completions = false;
        self.turn();
        self.world().holds_completions = true;
    }

    /// Descriptors run out for new connections, or are there again.
    pub fn exhaust(&mut self, exhausted: bool) {
        self.world().shape.descriptors = if exhausted { 0 } else { usize::MAX };
    }

    /// From here on every sync fails.
    pub fn fails_syncs(&mut self) {
        self.world().faults.sync_error = 1000;
    }

    /// The names that are locked for a process that starts now.
    pub fn locks_kept(&mut self) -> Vec<String> {
        self.world().disk.kept_locks(0).into_iter().map(|lock| lock.key.as_str().to_owned()).collect()
    }

    /// From here on the kernel cannot report new connections.
    pub fn watches_no_connection(&mut self) {
        self.world().faults.register_fails = 1000;
    }

    /// How often the log was to say that there are no descriptors.
    pub fn shed(&mut self) -> u32 {
        self.world().shed
    }

    /// Bytes of heap that all conversations together hold.
    pub fn content_bytes(&self, limits: &Limits) -> usize {
        self.reactor.sessions().map(|session| session.holdings(limits).bytes).sum()
    }

    /// The client with the operation that was queued at the disk last.
    pub fn queued_of(&mut self) -> Option<GroupId> {
        self.world().disk.queued_of
    }

    /// From the next turn on the disk does not keep up, or does.
    pub fn lags(&mut self, lags: bool) {
        self.world().disk.lagging = lags;
    }

    /// The client sends bytes and reads nothing.
    pub fn send_unread(&mut self, peer: &Peer, bytes: &[u8]) {
        self.arrive(peer, bytes);
        self.settle();
    }

    /// A small window opens again and again as the client reads.
    fn read_all(&mut self, peer: &Peer) {
        while self.unread(peer) > 0 {
            self.read(peer, usize::MAX);
        }
    }

    fn unread(&mut self, peer: &Peer) -> usize {
        self.world().link(peer).unread()
    }

    /// The client reads this many bytes at most, and the server gets an event for it.
    fn free(&mut self, peer: &Peer, bytes: usize) {
        let mut world = self.world();
        world.net.peer_recv(peer.link, bytes);
        world.event(peer, Readable::Nothing, true);
    }

    /// The client reads this many bytes, which makes room for as many.
    pub fn read(&mut self, peer: &Peer, bytes: usize) {
        self.free(peer, bytes);
        self.settle();
    }

    /// Bytes that the client has sent and the server has not received.
    pub fn unreceived(&mut self, peer: &Peer) -> usize {
        self.world().link(peer).unreceived()
    }

    /// These clients read all there is; the server sees it in one turn.
    pub fn read_in_turn(&mut self, peers: &[&Peer]) {
        for peer in peers {
            self.free(peer, usize::MAX);
        }
        self.turn();
    }

    /// Turns until the server would sleep.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if !self.world().has_events() && self.sleep() != Some(Duration::ZERO) {
                return;
            }
            self.turn();
        }
        panic!("the server never comes to rest");
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.world().now += time;
        // A turn that begins with nothing to report may still find deadlines that have passed.
        self.turn();
        self.settle();
    }

    /// Lets time pass, also on the clock on the wall.
    pub fn pass_on_wall(&mut self, time: Duration) {
        self.world().on_wall_s += time.as_secs();
        self.pass(time);
    }

    /// Lets time pass without a turn: what comes next and the deadlines are seen together.
    pub fn skip(&mut self, time: Duration) {
        self.world().now += time;
    }

    /// The access file was read again.
    pub fn replace_rules(&mut self, rules: Rules) {
        self.world().rules = Some(Arc::new(rules));
        self.world().events.push(Event::Reloaded);
        self.settle();
    }

    /// The live limits are others from now on.
    pub fn set_limits(&mut self, live: Live) {
        self.reactor.set_limits(live);
        self.settle();
    }

    pub fn drain(&mut self) {
        self.signal(Signal::Drain);
    }

    pub fn signal(&mut self, signal: Signal) {
        self.world().events.push(Event::Signal(signal));
        self.settle();
    }

    /// The server gets the signal to end at once, and has one turn.
    pub fn stop_in_turn(&mut self) {
        self.world().events.push(Event::Signal(Signal::Stop));
        self.turn();
    }

    /// Turns until everything is over; says how it ended.
    pub fn end(&mut self) -> Ended {
        self.reactor.run().expect("the platform in memory never fails")
    }

    /// How long the loop sleeps if nothing happens.
    pub fn sleep(&self) -> Option<Duration> {
        let now = self.world().now();
        self.reactor.due().map(|at| at.saturating_duration_since(now))
    }

    /// True once the server has ended after a drain.
    pub fn has_ended(&self) -> bool {
        self.reactor.has_ended()
    }

    pub fn counters(&self) -> Counters {
        *self.reactor.counters()
    }

    /// Puts a file there before the conversation begins.
    pub fn place(&mut self, key: &str, bytes: &[u8]) {
        self.world().disk.place(key, bytes, None);
    }

    /// The same, for one that was changed last at that time.
    pub fn place_of(&mut self, key: &str, bytes: &[u8], mtime: i64) {
        self.world().disk.place(key, bytes, Some(mtime));
    }

    /// Makes an empty directory.
    pub fn place_dir(&mut self, key: &str) {
        self.world().disk.place_dir(key);
    }

    /// The names of all stored files.
    pub fn names(&mut self) -> Vec<String> {
        self.world().disk.contents().into_keys().collect()
    }

    /// The content of a stored file.
    pub fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        self.world().disk.content(key).map(<[u8]>::to_vec)
    }

    /// Files the server has open, staging files among them.
    pub fn open_files(&mut self) -> usize {
        self.world().disk.open_files()
    }
}
