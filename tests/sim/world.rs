//! The world around the server: the clock, what happens when, and everything that both the
//! server's platform and the clients touch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use filewharf::command::Whole;
use filewharf::ids::{ConnId, ListenerId};
use filewharf::object::Durability;
use filewharf::platform::{Event, Op, Readable, Signal};

use crate::clients::Peer;
use crate::faults::{Faults, Shape};
use crate::model::Model;
use crate::net::Net;
use crate::rng::Rng;
use crate::trace::Trace;
use support::memory::disk::Disk;
use support::memory::{self, Parts};

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A client does something, if this is still its alarm.
    Peer(usize, u64),
    /// A step of an operation of the disk.
    Disk(u64),
    Signal(Signal),
    Crash(Crash),
    /// Nothing goes wrong from here on.
    Calm,
}

/// How a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; the system keeps what it was given.
    Process,
    /// The power goes.
    Power,
}

/// Why the runner must look, before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Crash(Crash),
    Calm,
}

/// The longest that the server sleeps at a stretch.
const WAIT_MAX_US: u64 = 1_000_000_000;

pub struct World {
    pub base: Instant,
    pub now_us: u64,
    pub rng: Rng,
    pub faults: Faults,
    pub shape: Shape,
    agenda: BTreeMap<(u64, u64), Item>,
    sequence: u64,
    pub net: Net,
    pub disk: Disk,
    pub model: Model,
    pub trace: Trace,
    pub peers: Vec<Option<Peer>>,
    pub calls: Vec<Call>,
    pub signals: Vec<Signal>,
    /// The server slept, and nothing will ever wake it.
    pub stuck: bool,
    pub calm: bool,
    /// The server has been sent the signal to end.
    pub signalled: bool,
}

impl World {
    pub fn new(base: Instant, rng: Rng, faults: Faults, shape: Shape, listeners: usize, trace: Trace) -> Self {
        Self {
            base,
            now_us: 0,
            rng,
            faults,
            agenda: BTreeMap::new(),
            sequence: 0,
            net: Net::new(listeners, shape.window, shape.backlog),
            disk: Disk::new(shape.posix),
            shape,
            model: Model::new(),
            trace,
            peers: Vec::new(),
            calls: Vec::new(),
            signals: Vec::new(),
            stuck: false,
            calm: false,
            signalled: false,
        }
    }

    /// Puts something on the agenda, this many microseconds from now.
    pub fn at(&mut self, delay_us: u64, item: Item) {
        self.sequence += 1;
        self.agenda.insert((self.now_us + delay_us, self.sequence), item);
    }

    /// Whether an acknowledged change must survive a power cut.
    pub fn is_durable(&self) -> bool {
        self.shape.durability == Durability::Durable
    }

    /// Whether clients send without a gap and the server reads in time.
    pub fn is_prompt(&self) -> bool {
        self.calm || self.shape.pace_us <= 300 && self.faults.peer_stall == 0 && self.faults.clock_jump == 0
    }

    /// How long a step of the disk takes.
    pub fn disk_delay(&mut self) -> u64 {
        if self.rng.chance(self.faults.slow_op) {
            return self.rng.range(0..=120_000_000);
        }
        let most = self.shape.disk_us;
        self.rng.range(0..=most)
    }

    /// From here on nothing goes wrong, and what the disk still owes comes soon.
    pub fn calm_down(&mut self) {
        self.trace.note(self.now_us, "calm", &[]);
        self.calm = true;
        self.faults = self.faults.calm();
        let late: Vec<_> = (self.agenda.iter())
            .filter(|(_, item)| matches!(item, Item::Disk(_)))
            .map(|(at, item)| (*at, *item))
            .collect();
        for (at, item) in late {
            self.agenda.remove(&at);
            let delay = self.disk_delay();
            self.at(delay, item);
        }
    }

    /// Forgets what was planned for a server that is gone.
    pub fn forget_server(&mut self) {
        self.agenda.retain(|_, item| !matches!(item, Item::Disk(_)));
        self.disk.forget_server();
        self.signals.clear();
        self.signalled = false;
        self.net.stale.clear();
    }

    /// Time continues until `to`, and everything happens that is due by then.
    fn pass_until(&mut self, to: u64) {
        while let Some((&(at, sequence), &item)) = self.agenda.first_key_value() {
            if at > to {
                break;
            }
            self.agenda.remove(&(at, sequence));
            self.now_us = self.now_us.max(at);
            self.happen(item);
        }
        self.now_us = self.now_us.max(to);
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Peer(peer, alarm) => self.run_peer(peer, alarm),
            Item::Disk(job) => {
                let Self { disk, rng, faults, shape, .. } = self;
                let again = disk.run(job, rng, faults, shape);
                self.trace.note(self.now_us, "step", &[job, u64::from(again)]);
                if again {
                    let delay = self.disk_delay();
                    self.at(delay, item);
                }
            }
            Item::Signal(signal) if !self.calm => self.signals.push(signal),
            Item::Signal(_) => {}
            Item::Crash(crash) if !self.calm => self.calls.push(Call::Crash(crash)),
            Item::Crash(_) => {}
            Item::Calm => self.calls.push(Call::Calm),
        }
    }

    fn run_peer(&mut self, number: usize, alarm: u64) {
        if let Some(mut peer) = self.peers[number].take() {
            if peer.is_alarm(alarm) {
                peer.act(self);
            }
            self.peers[number] = Some(peer);
        }
        self.wake_touched();
    }

    /// Clients notice what became of their connections, after a while.
    pub fn wake_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.net.touched);
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            if let Some(mut peer) = self.peers[number].take() {
                peer.notice(self);
                self.peers[number] = Some(peer);
            }
        }
    }

    /// The server waits for something to happen, at most this long; `None` for ever.
    fn wait_us(&mut self, timeout_us: Option<u64>, events: &mut Vec<Event>) {
        self.wake_touched();
        // A wait without a limit ends without an event now and then, so that a run can be judged.
        let mut limit = self.now_us + timeout_us.map_or(WAIT_MAX_US, |timeout| timeout.min(WAIT_MAX_US));
        let cost = self.rng.below(40);
        self.pass_until(self.now_us + cost);
        self.disk.lagging = self.rng.chance(self.faults.lags);
        let jumps = self.rng.chance(self.faults.clock_jump);
        if jumps {
            // The machine was busy elsewhere; the world continued meanwhile.
            let most = *self.rng.pick(&[100_000, 5_000_000, 400_000_000]);
            let jump = self.rng.range(1..=most);
            self.pass_until(self.now_us + jump);
            limit = self.now_us;
        }
        loop {
            let all = jumps;
            self.collect(events, all);
            let now = self.now_us;
            if !events.is_empty() || !self.calls.is_empty() || limit <= now {
                break;
            }
            if self.is_pending() {
                // An edge that is late.
                let late = self.rng.range(1..=50);
                self.pass_until(now + late);
                continue;
            }
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            if next.is_none() && timeout_us.is_none() {
                self.stuck = true;
                break;
            }
            self.pass_until(next.map_or(limit, |next| next.min(limit)));
        }
        self.rng.shuffle(events);
        self.trace.note(self.now_us, "turn", &[events.len() as u64]);
    }

    fn is_pending(&self) -> bool {
        let window = self.net.window();
        !self.signals.is_empty()
            || (!self.disk.done.is_empty() && !self.disk.rung)
            || (0..self.net.listeners.len()).any(|place| self.net.is_acceptable(place))
            || self.net.links.values().any(|link| link.edge(window).is_some())
    }

    fn is_late(&mut self, all: bool) -> bool {
        !all && self.rng.chance(self.faults.late_event)
    }

    fn collect(&mut self, events: &mut Vec<Event>, all: bool) {
        self.signalled |= !self.signals.is_empty();
        events.extend(std::mem::take(&mut self.signals).into_iter().map(Event::Signal));
        if !self.disk.done.is_empty() && !self.disk.rung && !self.is_late(all) {
            self.disk.rung = true;
            events.push(Event::Completions);
        }
        for place in 0..self.net.listeners.len() {
            if self.net.is_acceptable(place) && !self.is_late(all) && self.net.acceptable(place) {
                events.push(Event::Acceptable(ListenerId(place as u16)));
            }
        }
        let window = self.net.window();
        let ready: Vec<_> =
            (self.net.links.iter()).filter_map(|(id, link)| link.edge(window).map(|edge| (*id, edge))).collect();
        for (link, (id, mut readable, mut writable)) in ready {
            if self.is_late(all) {
                continue;
            }
            if readable && writable && !all && self.rng.chance(300) {
                // The two may come apart.
                (readable, writable) = if self.rng.chance(500) { (true, false) } else { (false, true) };
            }
            let readable = self.net.links.get_mut(&link).expect("just found").report(readable, writable);
            self.trace.note(self.now_us, "edge", &[id.to_token() as u64, readable as u64, u64::from(writable)]);
            let event = Event::Stream { id, readable, writable };
            events.push(event);
            if self.rng.chance(self.faults.spurious_event) {
                events.push(event);
            }
        }
        self.add_noise(events);
    }

    /// Events that mean nothing: spurious ones, and ones of connections that are gone.
    fn add_noise(&mut self, events: &mut Vec<Event>) {
        if self.rng.chance(self.faults.spurious_event) {
            let ids: Vec<ConnId> = self.net.links.values().filter(|l| l.is_accepted()).filter_map(|l| l.id).collect();
            if !ids.is_empty() {
                let id = *self.rng.pick(&ids);
                let readable = *self.rng.pick(&[Readable::Nothing, Readable::Bytes, Readable::BytesThenEnd]);
                events.push(Event::Stream { id, readable, writable: self.rng.chance(500) });
            }
            events.push(Event::Completions);
            let place = self.rng.below(self.net.listeners.len() as u64) as u16;
            events.push(Event::Acceptable(ListenerId(place)));
        }
        while let Some(id) = self.net.stale.pop_front() {
            if self.rng.chance(self.faults.stale_event) {
                events.push(Event::Stream { id, readable: Readable::BytesThenEnd, writable: true });
            }
            if self.rng.chance(500) {
                self.net.stale.push_back(id);
                break;
            }
        }
    }
}

impl memory::World for World {
    fn parts(&mut self) -> Parts<'_> {
        let Self { net, disk, rng, faults, shape, trace, now_us, .. } = self;
        Parts { net, disk, rng, faults, shape, trace, now_us: *now_us }
    }

    fn now(&self) -> Instant {
        self.base + Duration::from_micros(self.now_us)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) {
        let timeout = timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX / 2));
        self.wait_us(timeout, events);
    }

    fn serves_now(&mut self, op: &Op) -> bool {
        match op {
            Op::Close { .. } => true,
            Op::Open { .. } | Op::Run(Whole::Stat { .. }) => self.rng.chance(500),
            Op::Commit { prepend, .. } if !prepend.is_empty() => false,
            Op::Create(_) | Op::Commit { .. } | Op::Run(_) | Op::Store { .. } => {
                !self.is_durable() && !self.disk.lagging && self.rng.chance(500)
            }
            _ => false,
        }
    }

    fn submitted(&mut self, job: u64) {
        let delay = self.disk_delay();
        self.at(delay, Item::Disk(job));
    }
}
