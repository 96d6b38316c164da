//! The loop: one thread, one slab of connections, one bounded slice of work for each per turn.
//!
//! Runs unchanged on the real platform and in a simulator. Its rules:
//! * Readiness is set by events and cleared by `WouldBlock`, or by
//!   [`SentUntilFull`](crate::platform::SendFile::Filled), which says the same; never by a short write, and by
//!   a short read only while no event has told of an end: see [`Readable`].
//! * Of all connections that wait for a request, what came is received first; then they are answered.
//!   So what the store remembers of files is held against the present once for all of them.
//! * Who is still ready when its budget is spent goes to the run queue; while that is not empty,
//!   the wait for events does not sleep. So a turn is bounded whatever one client does.
//! * Every wait names its waker: an edge, a completion, a slot, the run queue, or a deadline.
//! * A slot of the slab is freed only when the socket is closed and no operation is in flight.

mod accept;
mod addresses;
mod admission;
mod check;
mod contention;
mod drive;
mod gate;
mod guesses;
mod logging;
mod receive;
mod send;
mod share;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::buffer::ChunkPool;
use crate::config::{Access, Limits};
use crate::counters::{Counters, Health};
use crate::dialect::{Kind, Listening, Phase};
use crate::ids::{ConnId, ListenerId};
use crate::platform::{Event, Op, Platform, Readable, Signal, Store, Stream};
use crate::session::state::Name;
use crate::session::{Cx, Disk, DiskPace, Report, Session, Spare};
use accept::Door;
use addresses::Addresses;
use admission::{Admission, Ticket};
use gate::Gate;
use guesses::Guesses;
use logging::LogQuota;
use receive::Unused;
use share::Company;
use timers::Timers;

/// What the kernel said of a connection and has not taken back.
#[derive(Clone, Copy, Debug)]
struct Readiness {
    readable: Readable,
    writable: bool,
}

/// Is a connection in the run queue?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    No,
    Yes,
}

/// Do events tell of a connection?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// Not before its first slice of a turn is over: many connections are over by then, too.
    NotYet,
    /// Nor yet, and it has spoken.
    Heard,
    /// It was answered, and may have ended: it is looked at once more, in the next turn.
    Answered,
    Yes,
}

/// One entry of the slab.
struct Connection<S> {
    /// `None` once it is closed and only operations are waited for.
    stream: Option<S>,
    session: Session,
    readiness: Readiness,
    watched: Watched,
    generation: u32,
    peer: SocketAddr,
    queued: Queued,
    /// Its place among those who wait for a slot.
    in_line: Option<Ticket>,
    /// The earliest entry this connection has in the timers.
    armed: Option<Instant>,
    unused: Unused,
    log_quota: LogQuota,
}

impl<S: Stream> Connection<S> {
    /// Bytes of a file that were sent and that the peer has not acknowledged; 0 in any other state.
    fn file_bytes_in_kernel(&self) -> usize {
        let sends = self.session.state() == Name::SendingBody;
        let stream = self.stream.as_ref().filter(|_| sends);
        stream.map_or(0, |stream| stream.unacknowledged().unwrap_or(0))
    }
}

/// Longer behind its time than this, the loop was not running: its process was stopped, or waited
/// for its disk.
const OVERSLEPT: Duration = Duration::from_secs(1);
/// Turns after that in which deadlines wait, that what came meanwhile is seen first. Each brings
/// about a thousand events; there may be one for every connection.
const CATCH_UP_TURNS: u8 = 16;

/// Where the server as a whole stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    Draining { listening_until: Instant, until: Instant },
    Stopped,
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Requests that were cut off.
    pub cut_off: usize,
    /// How the store was at the end.
    pub health: Health,
}

/// What a reactor is told at its making.
#[derive(Debug)]
pub struct Setup {
    /// Every bound.
    pub limits: Limits,
    /// Who may do what.
    pub access: Access,
    /// What each listener speaks, in the order of their ids.
    pub listeners: Vec<Listening>,
}

/// The loop and everything it owns.
pub struct Reactor<P: Platform> {
    platform: P,
    limits: Limits,
    access: Access,
    connections: Slab<Connection<P::Stream>>,
    generation: u32,
    /// Those that were not turned away.
    admitted: usize,
    addresses: Addresses,
    guesses: Guesses,
    /// Still ready, out of budget, or told something: driven in the next turn.
    runnable: VecDeque<ConnId>,
    /// Empty: the memory of the run queue of the turn before, used again for the next.
    driven: VecDeque<ConnId>,
    /// Bulk transfers that are ready: as many as a turn holds are driven, behind all others.
    bulk: VecDeque<ConnId>,
    /// Served in this turn, and not answered yet; empty between turns.
    answered: Vec<ConnId>,
    /// Operations that the gate let go.
    released: VecDeque<(ConnId, Op)>,
    gate: Gate,
    admission: Admission,
    /// When the holders of slots may be looked at again: see `contention`.
    contention_after: Instant,
    timers: Timers,
    doors: Vec<Door>,
    company: Company,
    /// Turns in which deadlines still wait because the loop overslept.
    catching_up: u8,
    /// Set when descriptors ran out: accepting rests until then, or until a connection ends.
    accept_after: Option<Instant>,
    stage: Stage,
    cut_off: usize,
    started: Instant,
    now: Instant,
    wall_clock_s: u64,
    events: Vec<Event>,
    /// The one buffer that every connection reads through.
    scratch: Box<[u8]>,
    /// What may still be moved in this turn before bulk transfers wait for the next.
    turn_left: usize,
    pool: ChunkPool,
    spare: Spare,
    counters: Counters,
    reports: Vec<Report>,
    disk: Disk,
}

/// Looks a connection up; an old generation finds nothing.
fn lookup<S>(slab: &mut Slab<Connection<S>>, id: ConnId) -> Option<&mut Connection<S>> {
    slab.get_mut(id.slot()).filter(|connection| connection.generation == id.generation())
}

/// Everything a session is lent, borrowed field by field so that the slab stays free.
macro_rules! cx {
    ($reactor:expr) => {
        crate::session::Cx {
            now: $reactor.now,
            wall_clock_s: $reactor.wall_clock_s,
            limits: &$reactor.limits,
            access: &$reactor.access,
            phase: $reactor.stage.phase(),
            pool: &mut $reactor.pool,
            counters: &mut $reactor.counters,
            reports: &mut $reactor.reports,
            disk: $reactor.disk,
        }
    };
}
use cx;

impl Stage {
    const fn phase(self) -> Phase {
        match self {
            Self::Serving => Phase::Serving,
            Self::Draining { .. } | Self::Stopped => Phase::Draining,
        }
    }
}

impl<P: Platform> Reactor<P> {
    /// A reactor that has not turned yet.
    pub fn new(platform: P, setup: Setup) -> Self {
        let Setup { limits, access, listeners } = setup;
        let wall_clock_s = platform.wall_clock_s();
        let mut counters = Counters { started_s: wall_clock_s, dialect_names: &Kind::NAMES, ..Counters::default() };
        let admission = Admission::new(&limits, &mut counters);
        let started = platform.now();
        Self {
            started,
            now: started,
            wall_clock_s,
            platform,
            // Reserved, not used: pages that no connection has touched cost nothing.
            connections: Slab::with_capacity(limits.connections_max + limits.turned_away_max),
            generation: 0,
            admitted: 0,
            addresses: Addresses::new(&limits),
            guesses: Guesses::default(),
            runnable: VecDeque::new(),
            driven: VecDeque::new(),
            bulk: VecDeque::new(),
            answered: Vec::new(),
            released: VecDeque::new(),
            gate: Gate::default(),
            admission,
            contention_after: started,
            timers: Timers::default(),
            doors: listeners.into_iter().map(Door::new).collect(),
            company: Company::default(),
            catching_up: 0,
            accept_after: None,
            stage: Stage::Serving,
            cut_off: 0,
            events: Vec::with_capacity(1024),
            scratch: vec![0; limits.read_buffer_bytes + limits.held_bytes_max()].into_boxed_slice(),
            turn_left: limits.turn_bytes,
            pool: ChunkPool::new(limits.chunk_bytes),
            spare: Spare::default(),
            counters,
            reports: Vec::new(),
            disk: Disk { pace: DiskPace::KeepsUp, flush_window: None },
            limits,
            access,
        }
    }

    /// Most bytes of the table of addresses that show wrong secrets, for the accounting of memory.
    pub const fn guesses_bytes(limits: &Limits) -> usize {
        limits.wrong_secret_addresses_max * Guesses::ENTRY_BYTES
    }

    /// Bytes of one entry of the slab, for the accounting of memory.
    pub const fn entry_bytes() -> usize {
        size_of::<Connection<P::Stream>>()
    }

    /// Turns until the server has drained or was stopped.
    pub fn run(&mut self) -> io::Result<Ended> {
        while !self.has_ended() {
            self.turn()?;
        }
        Ok(Ended { cut_off: self.cut_off, health: self.counters.health })
    }

    /// Has everything ended?
    pub fn has_ended(&self) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Draining { listening_until, .. } => self.connections.is_empty() && self.now >= listening_until,
            Stage::Stopped => self.connections.is_empty(),
        }
    }

    /// One turn: wait, then give every ready connection one bounded slice of work.
    pub fn turn(&mut self) -> io::Result<()> {
        let timeout = if self.has_leftovers() {
            Some(Duration::ZERO)
        } else {
            self.next_deadline().map(|at| at.saturating_duration_since(self.now))
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        self.platform.wait(timeout, &mut events)?;
        let before = std::mem::replace(&mut self.now, self.platform.now());
        self.wall_clock_s = self.platform.wall_clock_s();
        self.counters.uptime_ms = millis(self.now.saturating_duration_since(self.started));
        self.catch_up(timeout.map(|timeout| before + timeout), events.len());
        self.look_at_disk();
        for event in events.drain(..) {
            self.dispatch(event);
        }
        self.events = events;
        self.run_released();
        self.expire_timers();
        self.end_slowest();
        self.admit();
        // Who has just come has mostly asked already, and is answered in the same turn.
        self.accept();
        self.drive_queued();
        self.advance_stage();
        self.finish_turn();
        Ok(())
    }

    /// Facts about this server so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Every conversation, for a simulator that looks behind the curtain.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.connections.iter().map(|(_, connection)| &connection.session)
    }

    /// The platform, for the same.
    pub fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Acceptable(ListenerId(place)) => {
                if let Some(door) = self.doors.get_mut(usize::from(place)) {
                    door.open();
                }
            }
            Event::Completions => {
                while let Some(done) = self.platform.store().next_completion() {
                    self.counters.queued = self.platform.store().queued();
                    let id = done.conn;
                    self.complete(done);
                    self.enqueue(id);
                }
            }
            Event::Signal(signal) => self.signalled(signal),
            Event::Stream { id, readable, writable } => {
                let Some(connection) = lookup(&mut self.connections, id) else {
                    self.counters.stale_events += 1;
                    return;
                };
                let known = &mut connection.readiness.readable;
                *known = readable.max(*known);
                connection.readiness.writable |= writable;
                self.enqueue(id);
            }
        }
    }

    /// Puts a connection into the run queue, once.
    fn enqueue(&mut self, id: ConnId) {
        if let Some(connection) = lookup(&mut self.connections, id)
            && connection.queued == Queued::No
        {
            connection.queued = Queued::Yes;
            self.runnable.push_back(id);
        }
    }

    fn look_at_disk(&mut self) {
        let store = self.platform.store();
        let pace = if store.is_lagging() { DiskPace::Lags } else { DiskPace::KeepsUp };
        self.disk = Disk { pace, flush_window: store.flush_window() };
        self.counters.health = store.health();
        self.counters.queued = store.queued();
    }

    fn has_leftovers(&self) -> bool {
        !self.runnable.is_empty() || !self.bulk.is_empty() || !self.released.is_empty() || self.may_accept()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Draining { listening_until, until } if self.now < listening_until => {
                Some(listening_until.min(until))
            }
            Stage::Draining { until, .. } => Some(until),
            Stage::Serving | Stage::Stopped => None,
        };
        [self.timers.next(), stage, self.accept_after, self.contention_deadline()].into_iter().flatten().min()
    }

    /// Peers that did their part while the loop did not run must not pay for that: what they sent
    /// is looked at before their deadlines are.
    fn catch_up(&mut self, wanted: Option<Instant>, events: usize) {
        if wanted.is_some_and(|at| self.now > at + OVERSLEPT) {
            // Not even if nothing came: a wait that was stopped ends without a look (signal(7)).
            self.catching_up = CATCH_UP_TURNS;
        } else {
            self.catching_up = if events == 0 { 0 } else { self.catching_up.saturating_sub(1) };
        }
    }

    fn expire_timers(&mut self) {
        if self.catching_up > 0 {
            return;
        }
        while let Some((at, id)) = self.timers.pop_due(self.now) {
            let Some(connection) = lookup(&mut self.connections, id) else { continue };
            if connection.armed != Some(at) {
                continue; // a later entry took its place
            }
            connection.armed = None;
            if connection.session.deadline(&self.limits).is_some_and(|deadline| deadline <= self.now) {
                let queued = connection.file_bytes_in_kernel();
                let held = connection.session.held_len();
                connection.session.timed_out(queued, &mut cx!(self));
                // A silence may complete what is held.
                connection.unused.used(held - connection.session.held_len());
                self.log_reports(id);
            }
            self.enqueue(id); // driving arms it anew
        }
    }

    fn signalled(&mut self, signal: Signal) {
        match (signal, self.stage) {
            (Signal::Drain, Stage::Serving) => {
                log::info!("draining: running transfers have {:?} to end", self.limits.drain_timeout);
                let listening_until = self.now + self.limits.drain_grace;
                self.stage = Stage::Draining { listening_until, until: listening_until + self.limits.drain_timeout };
            }
            (Signal::Drain, Stage::Draining { .. }) | (Signal::Stop, _) => self.stop(),
            (Signal::Drain, Stage::Stopped) => {}
        }
    }

    fn advance_stage(&mut self) {
        if let Stage::Draining { listening_until, until } = self.stage {
            if self.now >= listening_until && !self.doors.is_empty() {
                self.doors.clear();
                self.platform.close_listeners();
            }
            if self.now >= until {
                self.stop();
            } else if self.now >= listening_until && self.only_idle_ones_are_left() {
                self.for_each(Session::drained);
            }
        }
    }

    /// Idle connections stay until nothing else runs, so that they hear why they are refused.
    fn only_idle_ones_are_left(&self) -> bool {
        let mut idle = 0_usize;
        for (_, Connection { session, readiness, .. }) in &self.connections {
            let waits = session.state() == Name::AwaitHeader;
            if session.is_busy() || waits && readiness.readable != Readable::Nothing {
                return false;
            }
            idle += usize::from(waits);
        }
        idle > 0
    }

    fn stop(&mut self) {
        log::info!("stopping");
        self.stage = Stage::Stopped;
        self.doors.clear();
        self.platform.close_listeners();
        let mut cut_off = 0;
        self.for_each(|session, cx| cut_off += usize::from(session.stop(cx)));
        self.cut_off += cut_off;
    }

    /// Tells every session something, and has them driven.
    fn for_each(&mut self, mut tell: impl FnMut(&mut Session, &mut Cx<'_>)) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(slot, c)| conn_id(slot, c.generation)).collect();
        for id in ids {
            if let Some(connection) = lookup(&mut self.connections, id) {
                tell(&mut connection.session, &mut cx!(self));
                self.log_reports(id);
            }
            self.enqueue(id);
        }
    }

    /// Facts, log lines and the checks that a debug build makes after every turn.
    fn finish_turn(&mut self) {
        let took = self.platform.now().saturating_duration_since(self.now);
        let counters = &mut self.counters;
        counters.turns += 1;
        counters.turn_time.observe(took);
        counters.turn_longest_us = counters.turn_longest_us.max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        counters.log_dropped = self.platform.log_dropped();
        let store = self.platform.store();
        counters.health = store.health();
        counters.queued = store.queued();
        self.platform.publish(&self.counters);
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Slots of the slab fit `u32`: there are never more than `Limits::connections_max` of them.
fn conn_id(slot: usize, generation: u32) -> ConnId {
    ConnId::new(u32::try_from(slot).expect("connections_max is far below u32::MAX"), generation)
}
