//! What systemd is told of the server (sd_notify(3)), and the listeners that it has opened for it (sd_listen_fds(3)).
//! Without systemd all of it is nothing. Never waits for systemd.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;

use crate::counters::Counters;
use crate::os::event_queue::Control;
use crate::os::net::Address;

/// Time between two looks at the loop: how late systemd learns that the server ends.
const LOOK: Duration = Duration::from_secs(1);
/// Parts of the time after which systemd takes a server for dead: each is long enough for a turn.
const LOOKS_PER_WATCHDOG: u32 = 4;

/// The socket of systemd.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// `None` if the process was not started by systemd, or not with `Type=notify`. To be called before the sandbox: it
    /// forbids new sockets.
    pub(super) fn open() -> io::Result<Option<Arc<Self>>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let bytes = path.as_encoded_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => UnixAddr::from_abstract_name(name)?,
            None => UnixAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Some(Arc::new(Self { socket, watchdog: watchdog() })))
    }

    /// Lost if systemd takes nothing: it is told again, or restarts what it takes for dead.
    fn tell(&self, what: &str) {
        if let Err(error) = self.socket.send(what.as_bytes()) {
            log::debug!("systemd is not told {what:?}: {error}");
        }
    }

    /// This process serves from now on, and not the one that systemd has started.
    pub(super) fn is_main(&self) {
        self.tell(&format!("MAINPID={}", std::process::id()));
    }

    /// The server accepts connections, or has read its files again.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Files are read again from now on.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
    }

    /// Says how things stand for as long as the process runs, on a thread of its own. The watchdog is fed only if the
    /// loop has done a turn since it was woken the last time.
    pub(super) fn start(self: Arc<Self>, control: Arc<Control>) -> io::Result<()> {
        let every = self.watchdog.map_or(LOOK, |time| LOOK.min(time / LOOKS_PER_WATCHDOG));
        thread::Builder::new().name("systemd".to_owned()).spawn(move || self.look(every, &control)).map(drop)
    }

    #[allow(clippy::disallowed_methods, reason = "a thread of its own sleeps")]
    fn look(&self, every: Duration, control: &Control) {
        let (mut turns, mut told) = (0, String::new());
        loop {
            thread::sleep(every);
            let counters = control.counters();
            let status = status(&counters);
            if status != told {
                self.tell(&status);
                told = status;
            }
            if self.watchdog.is_some() {
                if counters.turns != turns {
                    self.tell("WATCHDOG=1");
                }
                turns = counters.turns;
                control.wake();
            }
        }
    }
}

fn status(counters: &Counters) -> String {
    let Counters { open, slots_used, health, .. } = counters;
    let stopping = if counters.is_ending { "STOPPING=1\n" } else { "" };
    format!("{stopping}STATUS={open} connections, {slots_used} transfers, the store is {}", health.word())
}

/// The time after which systemd takes the process for dead, if it is this one.
fn watchdog() -> Option<Duration> {
    let is_other = std::env::var("WATCHDOG_PID").is_ok_and(|pid| pid != std::process::id().to_string());
    let time = std::env::var("WATCHDOG_USEC").ok()?.parse().ok().map(Duration::from_micros)?;
    (!is_other && !time.is_zero()).then_some(time)
}

/// The listeners that systemd has opened.
#[derive(Debug, Default)]
pub(super) struct Opened(Vec<(Address, OwnedFd)>);

impl Opened {
    /// Takes what the process was started with, if this server is what it was started for.
    pub(super) fn take(is_main: bool) -> io::Result<Self> {
        if !is_main {
            return Ok(Self::default());
        }
        let mut all = ListenFd::from_env();
        let opened = (0..all.len()).filter_map(|place| take(&mut all, place).transpose());
        opened.collect::<io::Result<_>>().map(Self)
    }

    /// The one at this address.
    pub(super) fn at(&mut self, address: &Address) -> Option<OwnedFd> {
        let place = self.0.iter().position(|(there, _)| there == address)?;
        Some(self.0.swap_remove(place).1)
    }

    /// The address of one that was not asked for: clients would wait there for ever.
    pub(super) fn unused(&self) -> Option<Address> {
        self.0.first().map(|(address, _)| address.clone())
    }
}

/// The listener at this place, once.
fn take(all: &mut ListenFd, place: usize) -> io::Result<Option<(Address, OwnedFd)>> {
    if let Ok(listener) = all.take_unix_listener(place) {
        let with_path = |listener: UnixListener| {
            let address = listener.local_addr()?;
            let path = address.as_pathname().ok_or_else(|| io::Error::other("a unix socket has no path"))?;
            Ok((Address::Unix(path.to_owned()), listener.into()))
        };
        return listener.map(with_path).transpose();
    }
    let listener = all.take_tcp_listener(place)?;
    listener.map(|listener| Ok((Address::Ip(listener.local_addr()?), listener.into()))).transpose()
}
