//! One run: a world from a seed, the real server in it, and what must hold at every turn, after
//! every crash, and at the end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use filewharf::access::Access;
use filewharf::platform::Signal;
use filewharf::reactor::{Reactor, Setup};
use filewharf::server::Ceiling;
use filewharf::server::platform::OsPlatform;
use filewharf::session::Session;

use crate::clients::{self, Peer};
use crate::faults::{Faults, Shape};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::world::{Call, Crash, Item, World};
use support::memory::platform::MemPlatform;

/// With faults off, every goal is reached within this much virtual time.
const CALM_US: u64 = 3_000_000_000;
/// And this many turns, lest a server that never sleeps continues for ever.
const CALM_TURNS: u64 = 2_000_000;

/// What a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub hash: u64,
    pub turns: u64,
    pub virtual_us: u64,
    pub crashes: u64,
    pub reads: u64,
    pub acks: u64,
}

struct Run {
    world: Rc<RefCell<World>>,
    reactor: Option<Reactor<MemPlatform<World>>>,
    turns: u64,
    calm_turn: u64,
    calm_us: u64,
    crashes: u64,
}

/// Runs one seed to its end.
pub fn run(seed: u64, verbose: bool) -> Result<Report, String> {
    let mut run = Run::new(seed, verbose);
    // A panic of the server is a finding like any other; the world is judged no further then.
    match catch_unwind(AssertUnwindSafe(|| run.play())) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Err(format!("panic in turn {}: {}", run.turns, words.unwrap_or_default()))
        }
    }
}

impl Run {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED);
        let (faults, shape) = (Faults::draw(&mut rng), Shape::draw(&mut rng));
        let trace = Trace::new(verbose);
        trace.say(0, format_args!("{shape:?}\n{faults:?}"));
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
        let base = Instant::now();
        let listeners = clients::listeners().len();
        let mut world = World::new(base, rng, faults, shape, listeners, trace);
        for number in 0..world.shape.clients as usize {
            let kind = if world.rng.chance(400) { 0 } else { world.rng.below(listeners as u64) as usize };
            let hostile = world.rng.chance(world.faults.peer_hostile);
            world.peers.push(Some(Peer::new(number, kind, hostile)));
            let mut peer = world.peers[number].take().expect("just made");
            let delay = world.rng.range(1..=1_000_000);
            peer.wake(&mut world, delay);
            world.peers[number] = Some(peer);
        }
        let calm_at = world.shape.calm_at_us;
        for _ in 0..world.shape.crashes {
            let crash = if world.rng.chance(600) { Crash::Power } else { Crash::Process };
            // Early ones are worth more: the calm may be called before its time.
            let most = *world.rng.pick(&[2_000_000, calm_at / 4 + 1, calm_at]);
            let at = world.rng.range(0..=most);
            world.at(at, Item::Crash(crash));
        }
        for _ in 0..world.shape.signals {
            let signal = *world.rng.pick(&[Signal::Drain, Signal::Drain, Signal::Stop, Signal::HandOver]);
            let at = world.rng.range(0..=calm_at);
            world.at(at, Item::Signal(signal));
            if signal == Signal::HandOver && world.rng.chance(500) {
                let later = world.rng.range(at..=calm_at);
                world.at(later, Item::Signal(Signal::TakeBack));
            }
        }
        world.at(calm_at, Item::Calm);
        Self { world: Rc::new(RefCell::new(world)), reactor: None, turns: 0, calm_turn: 0, calm_us: 0, crashes: 0 }
    }

    fn start_server(&mut self) {
        let (limits, secret) = {
            let mut world = self.world.borrow_mut();
            world.net.listen();
            world.disk.recover();
            let now_us = world.now_us;
            world.trace.note(now_us, "start", &[]);
            (world.shape.limits.clone(), u128::from(world.rng.next()))
        };
        let setup = Setup {
            limits,
            access: Access::new(None, false),
            listeners: clients::listeners().into_iter().map(Into::into).collect(),
        };
        let mut reactor = Reactor::new(MemPlatform::new(&self.world), setup);
        reactor.offer_locks(secret.to_be_bytes());
        self.reactor = Some(reactor);
    }

    fn reactor(&mut self) -> &mut Reactor<MemPlatform<World>> {
        self.reactor.as_mut().expect("a server runs")
    }

    fn play(&mut self) -> Result<Report, String> {
        self.start_server();
        loop {
            self.turn()?;
            if self.reactor().has_ended() {
                self.world.borrow_mut().trace.say(0, format_args!("the server has ended"));
                self.check_ended()?;
                self.die(Crash::Process)?;
                self.start_server();
            }
            self.answer_calls()?;
            let world = self.world.borrow();
            if world.calm && world.peers.iter().flatten().all(Peer::is_done) {
                break;
            }
            if world.calm && (world.now_us > self.calm_us + CALM_US || self.turns > self.calm_turn + CALM_TURNS) {
                let left = world.peers.iter().flatten().filter(|peer| !peer.is_done()).map(Peer::describe);
                let left: Vec<String> = left.collect();
                return Err(format!("with faults off, goals are not reached: {}", left.join("; ")));
            }
        }
        self.wind_down()
    }

    fn turn(&mut self) -> Result<(), String> {
        self.turns += 1;
        self.reactor().turn().expect("the simulated poll never fails");
        self.reactor().check_invariants();
        self.check_memory()?;
        let mut world = self.world.borrow_mut();
        if let Some(what) = world.model.violations.first() {
            return Err(what.clone());
        }
        let left = world.net.accepted() > 0 || world.peers.iter().flatten().any(|peer| !peer.is_done());
        if std::mem::take(&mut world.stuck) && left {
            return Err("the server sleeps, and nothing will ever wake it".to_owned());
        }
        if !world.calm && self.turns == world.shape.calm_at_turn {
            world.calls.push(Call::Calm);
        }
        Ok(())
    }

    /// What conversations hold is never more than was promised at the start, neither one of them nor
    /// all together.
    // covers: memory-limit
    fn check_memory(&mut self) -> Result<(), String> {
        let limits = self.world.borrow().shape.limits.clone();
        let ceiling = Ceiling::of(&limits.fixed, true);
        let fixed = Reactor::<OsPlatform>::entry_bytes() + Session::WORK_BYTES;
        let mut total = ceiling.shared;
        for session in self.reactor().sessions() {
            let content = session.holdings(&limits).bytes;
            let most =
                ceiling.connection - fixed + if session.holdings(&limits).slot.is_held() { ceiling.slot } else { 0 };
            if content > most {
                return Err(format!("{:?} holds {content} bytes, promised are {most}", session.state()));
            }
            total += content + fixed;
        }
        if total > ceiling.total() {
            return Err(format!("{total} bytes in use, promised are {}", ceiling.total()));
        }
        Ok(())
    }

    fn answer_calls(&mut self) -> Result<(), String> {
        let calls = std::mem::take(&mut self.world.borrow_mut().calls);
        for call in calls {
            match call {
                Call::Crash(crash) => {
                    self.crashes += 1;
                    self.die(crash)?;
                    self.start_server();
                }
                Call::Calm if self.world.borrow().calm => {}
                Call::Calm => self.calm_down()?,
            }
        }
        Ok(())
    }

    /// From here on nothing goes wrong. A store that can do no more, or a server that is ending,
    /// is replaced, as its operator would.
    fn calm_down(&mut self) -> Result<(), String> {
        (self.calm_turn, self.calm_us) = (self.turns, self.world.borrow().now_us);
        let unfit = {
            let mut world = self.world.borrow_mut();
            world.calm_down();
            world.disk.degraded || world.signalled || !world.signals.is_empty()
        };
        if unfit {
            self.die(Crash::Process)?;
            self.start_server();
        }
        self.with_peers(|peer, world| {
            let delay = world.rng.range(1..=1_000_000);
            peer.calm_down(world);
            peer.wake(world, delay);
        });
        Ok(())
    }

    fn with_peers(&mut self, mut tell: impl FnMut(&mut Peer, &mut World)) {
        let mut world = self.world.borrow_mut();
        for number in 0..world.peers.len() {
            if let Some(mut peer) = world.peers[number].take() {
                tell(&mut peer, &mut world);
                world.peers[number] = Some(peer);
            }
        }
    }

    /// The server dies; the world finds out what it has left.
    fn die(&mut self, crash: Crash) -> Result<(), String> {
        self.with_peers(Peer::read_all);
        self.reactor = None;
        self.with_peers(Peer::server_died);
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let now_us = world.now_us;
        world.trace.note(now_us, "crash", &[u64::from(crash == Crash::Power)]);
        world.net.close_listeners(&mut world.rng);
        world.net.touched.clear();
        world.forget_server();
        if crash == Crash::Power {
            let durable = world.is_durable();
            world.disk.cut(durable, &mut world.rng);
        }
        let (promised, found) = (world.is_durable(), world.disk.contents());
        match crash {
            Crash::Process => world.model.killed(&found),
            Crash::Power => world.model.crashed(&found, promised),
        }
        world.model.violations.first().map_or(Ok(()), |what| Err(what.clone()))
    }

    /// A server that has ended in order has let everything go.
    fn check_ended(&mut self) -> Result<(), String> {
        let world = self.world.borrow();
        let (open, staged) = (world.disk.open_files(), world.disk.staging_files());
        if world.net.accepted() > 0 {
            return Err(format!("the server has ended with {} connections", world.net.accepted()));
        }
        if open > 0 || staged > 0 || !world.disk.is_idle() {
            return Err(format!("the server has ended with {open} files open and {staged} in staging"));
        }
        Ok(())
    }

    /// All goals are reached: now everything must become empty, and a power cut changes nothing.
    fn wind_down(&mut self) -> Result<Report, String> {
        let end = self.turns + CALM_TURNS;
        while self.world.borrow().net.accepted() > 0 || !self.world.borrow().disk.is_idle() {
            self.turn()?;
            if self.turns > end {
                return Err("connections stay when their clients have gone".to_owned());
            }
        }
        let counters = *self.reactor().counters();
        if counters.slots_used > 0 {
            return Err(format!("{} slots are in use, and nobody is there", counters.slots_used));
        }
        self.world.borrow_mut().signals.push(Signal::Drain);
        while !self.reactor().has_ended() {
            self.turn()?;
            if self.turns > end {
                return Err("a drain without clients does not end".to_owned());
            }
        }
        self.check_ended()?;
        self.die(Crash::Power)?;
        let world = self.world.borrow();
        Ok(Report {
            hash: world.trace.hash(),
            turns: self.turns,
            virtual_us: world.now_us,
            crashes: self.crashes,
            reads: world.model.reads,
            acks: world.model.acks,
        })
    }
}
