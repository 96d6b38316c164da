//! The real world: one `mio::Poll` over listeners, connections, signals and the bell that disk
//! workers and handles ring.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::config::Limits;
use crate::counters::Counters;
use crate::ids::{ConnId, FileId, ListenerId};
use crate::os::net::{self, TcpConnection, WideLane};
use crate::os::process;
use crate::os::slow::SlowLane;
use crate::os::sys;
use crate::platform::{AcceptError, Event, Platform, Readable, SendFile, Signal, Stream as _};
use crate::store::DiskStore;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;
/// Tokens that no connection has: its slot is never `u32::MAX`.
const SPECIAL: usize = 0xFFFF_FFFF;
const BELL: Token = Token(SPECIAL);
const SIGNALS: Token = Token(1 << 32 | SPECIAL);
const FIRST_LISTENER: usize = 2;

/// What other threads share with the loop.
#[derive(Debug)]
pub struct Shared {
    waker: Waker,
    wish: AtomicU8,
    counters: Mutex<Counters>,
}

const WISH_DRAIN: u8 = 1;
const WISH_STOP: u8 = 2;

impl Shared {
    /// Asks the loop to drain or to stop.
    pub fn ask(&self, signal: Signal) {
        let wish = match signal {
            Signal::Drain => WISH_DRAIN,
            Signal::Stop => WISH_STOP,
        };
        self.wish.fetch_or(wish, Ordering::AcqRel);
        self.ring();
    }

    /// Wakes the loop.
    pub fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the loop: {error}");
        }
    }

    /// The facts as of the end of the last turn.
    pub fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Do SIGTERM, SIGINT and SIGHUP drain this server?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// Yes: it is the main job of the process.
    Yes,
    /// No: the program around it decides.
    No,
}

/// The poll and the bell, before there is a store that could ring it.
#[derive(Debug)]
pub struct Bell {
    poll: Poll,
    shared: Arc<Shared>,
}

impl Bell {
    /// A poll with nothing but a bell.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), BELL)?;
        let shared = Shared { waker, wish: AtomicU8::new(0), counters: Mutex::default() };
        Ok(Self { poll, shared: Arc::new(shared) })
    }

    /// What other threads share with the loop.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// The real platform.
pub struct OsPlatform {
    poll: Poll,
    raw_events: Events,
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    signals: Option<Signals>,
    /// A signal has asked the server to drain.
    signal_received: bool,
    /// Given up for a moment to accept and drop a connection when descriptors are short.
    reserve: Option<File>,
    store: DiskStore,
    wide: Arc<WideLane>,
    slow: SlowLane,
    crowd: Crowd,
    given_back: Option<Instant>,
    facts: Facts,
}

/// How soon facts are published again that a reader kept from being published.
const PUBLISH_AGAIN: Duration = Duration::from_millis(1);

/// Are the counters that other threads see those of the last turn?
#[derive(Clone, Copy, Debug)]
enum Facts {
    Published,
    Old,
}

/// Slots in use at once that leave enough memory behind to be worth giving back.
const CROWD_SLOTS: u64 = 32;
/// Memory is given back at most so often: looking for it takes the allocator a while.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);

/// Many transfers at once leave free memory in the allocator, which an idle server need not keep.
#[derive(Clone, Copy, Debug)]
enum Crowd {
    /// There was none since the memory was given back.
    None,
    /// There is one, or its memory waits to be given back.
    Seen,
}

impl OsPlatform {
    /// Puts the parts together and registers them.
    pub fn new(
        bell: Bell,
        mut listeners: Vec<TcpListener>,
        signalled: Signalled,
        store: DiskStore,
        limits: &Limits,
    ) -> io::Result<Self> {
        let Bell { poll, shared } = bell;
        for (place, listener) in listeners.iter_mut().enumerate() {
            let token = Token((FIRST_LISTENER + place) << 32 | SPECIAL);
            poll.registry().register(listener, token, Interest::READABLE)?;
        }
        let signals = match signalled {
            Signalled::No => None,
            Signalled::Yes => {
                let mut signals = Signals::new([SIGTERM, SIGINT])?;
                if !process::ignores_hangup() {
                    signals.add_signal(SIGHUP)?;
                }
                poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
                Some(signals)
            }
        };
        let raw_events = Events::with_capacity(EVENTS_MAX);
        let wide = WideLane::new(limits);
        let slow = SlowLane::new(process::clock())?;
        Ok(Self {
            poll,
            raw_events,
            shared,
            listeners,
            signals,
            signal_received: false,
            reserve: spare_descriptor(),
            store,
            wide,
            slow,
            crowd: Crowd::None,
            facts: Facts::Published,
            given_back: None,
        })
    }

    /// After a crowd of transfers, when none is left.
    fn give_memory_back(&mut self, slots_used: u64) {
        match self.crowd {
            Crowd::None if slots_used >= CROWD_SLOTS => self.crowd = Crowd::Seen,
            Crowd::Seen if slots_used == 0 => {
                let now = self.now();
                if self.given_back.is_none_or(|then| now.saturating_duration_since(then) >= GIVE_BACK_EVERY) {
                    sys::give_memory_back();
                    self.given_back = Some(now);
                    self.crowd = Crowd::None;
                }
            }
            Crowd::None | Crowd::Seen => {}
        }
    }

    fn rung(&self, events: &mut Vec<Event>) {
        events.push(Event::Completions);
        let wish = self.shared.wish.swap(0, Ordering::AcqRel);
        if wish & WISH_DRAIN != 0 {
            events.push(Event::Signal(Signal::Drain));
        }
        if wish & WISH_STOP != 0 {
            events.push(Event::Signal(Signal::Stop));
        }
    }
}

/// A `recv` that gives less than was asked for has emptied the socket, and what comes later is an
/// event of its own (epoll(7), question 9). But one event may tell of bytes and of an end at once, and
/// a `recv` stops short of urgent data: after those it must be asked until it has nothing more.
fn readable(event: &mio::event::Event) -> Readable {
    if event.is_read_closed() || event.is_error() || event.is_priority() {
        Readable::BytesThenEnd
    } else if event.is_readable() {
        Readable::Bytes
    } else {
        Readable::Nothing
    }
}

/// A descriptor that is only there to be given up.
#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Platform for OsPlatform {
    type Stream = TcpConnection;
    type Store = DiskStore;

    fn now(&self) -> Instant {
        process::clock()
    }

    fn wall_clock_s(&self) -> u64 {
        process::unix_time()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let publish = match self.facts {
            Facts::Published => None,
            Facts::Old => Some(PUBLISH_AGAIN),
        };
        self.store.send_again(|id| events.push(Event::writable(id)));
        let told = (!events.is_empty()).then_some(Duration::ZERO);
        let look = self.slow.due().map(|due| due.saturating_duration_since(self.now()));
        let timeout = [timeout, told, publish, look].into_iter().flatten().min();
        match self.poll.poll(&mut self.raw_events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.raw_events {
            match event.token() {
                BELL => self.rung(events),
                SIGNALS => {
                    for signal in self.signals.iter_mut().flat_map(Signals::pending) {
                        // A terminal that closes sends SIGHUP, and its shell sends it again. A second
                        // event would end the server at once.
                        if signal != SIGHUP || !self.signal_received {
                            events.push(Event::Signal(Signal::Drain));
                        }
                        self.signal_received = true;
                    }
                }
                Token(token) if token & SPECIAL == SPECIAL => {
                    let place = (token >> 32) - FIRST_LISTENER;
                    events.push(Event::Acceptable(ListenerId(u16::try_from(place).unwrap_or(u16::MAX))));
                }
                Token(token) => events.push(Event::Stream {
                    id: ConnId::from_token(token),
                    // Hang-ups and errors are hints: the next call tells what really happened.
                    readable: readable(event),
                    writable: event.is_writable() || event.is_write_closed() || event.is_error(),
                }),
            }
        }
        let now = self.now();
        self.store.refresh(now);
        self.slow.look(now, events)
    }

    fn accept(&mut self, ListenerId(place): ListenerId) -> Result<(TcpConnection, SocketAddr), AcceptError> {
        self.listeners.get(usize::from(place)).map_or(Err(AcceptError::Empty), net::accept)
    }

    fn shed(&mut self, listener: ListenerId) -> bool {
        if self.reserve.take().is_none() {
            // It could not be had back the last time; perhaps now.
            self.reserve = spare_descriptor();
            return false;
        }
        // With a reset: to a client that is told nothing a plain end means success.
        let shed = self.accept(listener).map(|(mut stream, _)| stream.reset_on_drop()).is_ok();
        self.reserve = spare_descriptor();
        shed
    }

    fn register(&mut self, stream: &mut TcpConnection, id: ConnId) -> io::Result<()> {
        self.slow.register(stream, id, WideLane::is_full(&self.wide), self.poll.registry())
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn send_file(
        &mut self,
        stream: &mut TcpConnection,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile> {
        stream.widen(&self.wide, len);
        let sent = self.store.send_file(file, offset, len, stream.fd(), stream.told_of()).inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                stream.blocked();
            }
        })?;
        let main = self.poll.registry();
        match sent {
            SendFile::SentUntilFull(_) => self.slow.filled(stream, WideLane::is_full(&self.wide), main),
            SendFile::Sent(n) if more || n < len => {}
            // Nothing follows at once: this was the end, or a disk is waited for.
            SendFile::Sent(_) | SendFile::Cold | SendFile::Truncated => {
                stream.push();
                self.slow.ended(stream);
            }
        }
        Ok(sent)
    }

    fn store(&mut self) -> &mut DiskStore {
        &mut self.store
    }

    #[cfg(feature = "serve")]
    fn log_dropped(&self) -> u64 {
        crate::os::log::dropped()
    }

    fn publish(&mut self, counters: &Counters) {
        self.give_memory_back(counters.slots_used);
        // The loop never waits for a reader: who holds the lock reads the facts of the turn before,
        // and the next turn comes soon, that they do not stay old while the server is idle.
        self.facts = match self.shared.counters.try_lock() {
            Ok(mut shared) => {
                *shared = *counters;
                Facts::Published
            }
            // A reader that panicked has read nothing by halves.
            Err(TryLockError::Poisoned(shared)) => {
                *shared.into_inner() = *counters;
                Facts::Published
            }
            Err(TryLockError::WouldBlock) => Facts::Old,
        };
    }
}
