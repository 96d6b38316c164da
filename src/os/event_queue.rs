//! One `mio::Poll` for listeners, connections, signals, and the waker through which disk workers and handles end its
//! wait.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
#[cfg(feature = "access-log")]
use signal_hook::consts::SIGUSR1;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU};
use signal_hook_mio::v1_0::Signals;

#[cfg(feature = "config")]
use crate::config::Live;
use crate::counters::Counters;
use crate::ids::{ConnId, ListenerId};
use crate::os::net::Listener;
use crate::os::{process, stderr, sys};
use crate::platform::{Event, Readable, Rules, Signal};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;
/// Tokens that no connection has: its slot is never `u32::MAX`.
const SPECIAL: usize = 0xFFFF_FFFF;
const WAKER: Token = Token(SPECIAL);
const SIGNALS: Token = Token(1 << 32 | SPECIAL);
const FIRST_LISTENER: usize = 2;

/// What other threads share with the loop.
#[derive(Debug)]
pub struct Control {
    waker: Waker,
    requested: AtomicU8,
    /// Rules that the loop has not taken yet.
    rules: Mutex<Option<Arc<Rules>>>,
    /// The same of limits.
    #[cfg(feature = "config")]
    limits: Mutex<Option<Live>>,
    counters: Mutex<Counters>,
    /// Whom to inform once the loop accepts nothing more.
    handed_over: Mutex<Option<SyncSender<()>>>,
}

const DRAIN: u8 = 1;
const STOP: u8 = 2;
const RELOADED: u8 = 4;
const HAND_OVER: u8 = 8;
const TAKE_BACK: u8 = 16;

impl Control {
    /// Asks the loop to drain or to stop.
    pub fn request(&self, signal: Signal) {
        let bit = match signal {
            Signal::Drain => DRAIN,
            Signal::Stop => STOP,
            Signal::HandOver => HAND_OVER,
            Signal::TakeBack => TAKE_BACK,
        };
        self.requested.fetch_or(bit, Ordering::AcqRel);
        self.wake();
    }

    /// Asks the loop to accept nothing more. Sends once it does not.
    pub fn hand_over(&self, done: SyncSender<()>) {
        *self.handed_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        self.request(Signal::HandOver);
    }

    /// The loop accepts nothing more.
    pub fn has_handed_over(&self) {
        let done = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The one that asked may have given up.
        let _ = done.map(|done| done.try_send(()));
    }

    /// Hands new rules to the loop, instead of those it has not taken yet.
    pub fn replace_rules(&self, rules: Arc<Rules>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
        self.requested.fetch_or(RELOADED, Ordering::AcqRel);
        self.wake();
    }

    /// The same with limits.
    #[cfg(feature = "config")]
    pub fn replace_limits(&self, limits: Live) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Some(limits);
        self.requested.fetch_or(RELOADED, Ordering::AcqRel);
        self.wake();
    }

    /// Those, once. Locked only now and then, and never for longer than it takes to store a pointer.
    pub fn take_rules(&self) -> Option<Arc<Rules>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same of limits.
    #[cfg(feature = "config")]
    pub fn take_limits(&self) -> Option<Live> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the loop's wait for events.
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the loop: {error}");
        }
    }

    /// As of the end of the last turn.
    pub fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if a reader holds the lock: the loop never waits for it.
    pub fn publish(&self, counters: &Counters) -> bool {
        match self.counters.try_lock() {
            Ok(mut shared) => *shared = *counters,
            // A reader that panicked has changed nothing.
            Err(TryLockError::Poisoned(shared)) => *shared.into_inner() = *counters,
            Err(TryLockError::WouldBlock) => return false,
        }
        true
    }

    fn report(&self, events: &mut Vec<Event>) {
        events.push(Event::Completions);
        let requested = self.requested.swap(0, Ordering::AcqRel);
        if requested & RELOADED != 0 {
            events.push(Event::Reloaded);
        }
        let signals = [
            (TAKE_BACK, Signal::TakeBack),
            (HAND_OVER, Signal::HandOver),
            (DRAIN, Signal::Drain),
            (STOP, Signal::Stop),
        ];
        let signals = signals.into_iter().filter(|(bit, _)| requested & bit != 0);
        events.extend(signals.map(|(_, signal)| Event::Signal(signal)));
    }
}

/// Made before the store: its workers wake it.
pub struct EventQueue {
    poll: Poll,
    raw: Events,
    signals: Option<Signals>,
    has_received_signal: bool,
    /// Standard error was a terminal at the start, and SIGHUP was not ignored: that of its end drains the server.
    ends_with_terminal: bool,
    /// What any other SIGHUP asks.
    reload: Option<SyncSender<()>>,
    control: Arc<Control>,
}

impl EventQueue {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let control = Control {
            waker,
            requested: AtomicU8::new(0),
            rules: Mutex::default(),
            #[cfg(feature = "config")]
            limits: Mutex::default(),
            counters: Mutex::default(),
            handed_over: Mutex::default(),
        };
        let raw = Events::with_capacity(EVENTS_MAX);
        Ok(Self {
            poll,
            raw,
            signals: None,
            has_received_signal: false,
            ends_with_terminal: io::stderr().is_terminal() && !process::ignores_hangup(),
            reload: None,
            control: Arc::new(control),
        })
    }

    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Readable while there are events.
    pub fn fd(&self) -> BorrowedFd<'_> {
        sys::descriptor_of(&self.poll)
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    pub fn add_listeners(&self, listeners: &[Listener]) -> io::Result<()> {
        for (index, listener) in listeners.iter().enumerate() {
            let token = Token((FIRST_LISTENER + index) << 32 | SPECIAL);
            let mut source = SourceFd(&listener.as_fd().as_raw_fd());
            self.poll.registry().register(&mut source, token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Reports nothing of them from now on: while another process has a listener open, closing it is not enough.
    pub fn remove_listeners(&self, listeners: &[Listener]) {
        for listener in listeners {
            let removed = self.poll.registry().deregister(&mut SourceFd(&listener.as_fd().as_raw_fd()));
            if let Err(error) = removed {
                log::debug!("a listener was not watched: {error}");
            }
        }
    }

    /// SIGHUP asks this from now on; unless `always`, while the terminal is open.
    pub fn reload_on_hangup(&mut self, reload: SyncSender<()>, always: bool) {
        self.reload = Some(reload);
        self.ends_with_terminal &= !always;
    }

    /// Makes what signals are received through, which takes calls that a sandbox forbids.
    pub fn prepare_signals(&mut self) -> io::Result<()> {
        let mut signals = Signals::new::<[i32; 0], i32>([])?;
        self.poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// From now on SIGTERM, SIGINT and SIGXCPU drain the server, and SIGHUP where its terminal ends it; none of the
    /// others ends it that a program may be sent by mistake. Without what they are received through, nothing changes.
    pub fn add_signals(&self) -> io::Result<()> {
        let Some(signals) = &self.signals else { return Ok(()) };
        for signal in [SIGTERM, SIGINT, SIGXCPU] {
            signals.add_signal(signal)?;
        }
        process::survive_file_size_limit();
        process::ignore_stray_signals();
        #[cfg(feature = "access-log")]
        if crate::os::log::has_file() {
            signals.add_signal(SIGUSR1)?;
        }
        // One that was ignored from the start is still sent to read files again.
        if self.reload.is_some() || self.ends_with_terminal {
            signals.add_signal(SIGHUP)?;
        } else {
            process::ignore_hangup();
        }
        Ok(())
    }

    /// Appends what happened; nothing if the wait was interrupted.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        match self.poll.poll(&mut self.raw, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.raw {
            match event.token() {
                WAKER => self.control.report(events),
                SIGNALS => {
                    for signal in self.signals.iter_mut().flat_map(Signals::pending) {
                        let is_window_closed = self.ends_with_terminal && !stderr::is_open();
                        if let (SIGHUP, Some(reload), false) = (signal, &self.reload, is_window_closed) {
                            // Where one is asked for already, that has not begun.
                            let _ = reload.try_send(());
                            continue;
                        }
                        #[cfg(feature = "access-log")]
                        if signal == SIGUSR1 {
                            crate::os::log::reopen();
                            continue;
                        }
                        // A second event ends the server at once. A terminal that closes sends SIGHUP, and its
                        // shell sends it again; SIGXCPU comes every second (setrlimit(2)).
                        if matches!(signal, SIGTERM | SIGINT) || !self.has_received_signal {
                            events.push(Event::Signal(Signal::Drain));
                        }
                        self.has_received_signal = true;
                    }
                }
                Token(token) if token & SPECIAL == SPECIAL => {
                    let index = (token >> 32) - FIRST_LISTENER;
                    events.push(Event::Acceptable(ListenerId(u16::try_from(index).unwrap_or(u16::MAX))));
                }
                Token(token) => events.push(Event::Stream {
                    id: ConnId::from_token(token),
                    // Hang-ups and errors are hints: the next call tells what really happened.
                    readable: readable(event),
                    writable: event.is_writable() || event.is_write_closed() || event.is_error(),
                }),
            }
        }
        Ok(())
    }
}

/// A `recv` that gives less than was asked for has emptied the socket, and what comes later is an
/// event of its own (epoll(7), question 9). But one event may announce bytes and an end at once, and
/// a `recv` stops short of urgent data: after those it must be called until it has nothing more.
fn readable(event: &mio::event::Event) -> Readable {
    if event.is_read_closed() || event.is_error() || event.is_priority() {
        Readable::BytesThenEnd
    } else if event.is_readable() {
        Readable::Bytes
    } else {
        Readable::Nothing
    }
}
