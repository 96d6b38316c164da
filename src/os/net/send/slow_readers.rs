//! Slow readers: many downloads to clients that take long to read. Whether their sockets take bytes again is looked
//! at every few milliseconds for all of them together, through an epoll of their own: each wake-up of the loop for
//! one of them costs an eighth of what it is woken for. Everything else is reported at once, as for any connection.
//!
//! Never decides what is sent.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use super::socket::{SendMode, SlowReader, Socket, UNREGISTERED};
use crate::ids::ConnId;
use crate::platform::Event;

/// How often they are looked at. More often, there are more wake-ups; less often, a reader must be slower still to
/// be no worse off.
const TICK: Duration = Duration::from_millis(8);
/// A reader that takes at least this long for what the socket holds is slow: half of that is left when the socket
/// takes bytes again, which lasts for longer than a tick.
const SLOW_MS: u32 = 64;
/// A slow reader that takes less is slow no more. Several ticks below `SLOW_MS`: else a reader would be taken for
/// slow because it had to wait for a tick.
const FAST_MS: u32 = 32;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct SlowReaders {
    poll: Poll,
    events: Events,
    members: Arc<SlowReader>,
    began: Instant,
    now: Instant,
    next_look: Instant,
}

impl SlowReaders {
    pub fn new(now: Instant) -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(EVENTS_MAX));
        Ok(Self { poll, events, members: Arc::new(SlowReader), began: now, now, next_look: now })
    }

    /// When [`look`](Self::look) is to be called next; `None` while there are none.
    pub fn deadline(&self) -> Option<Instant> {
        (Arc::strong_count(&self.members) > 1).then_some(self.next_look)
    }

    /// Reports the sockets that take bytes again, if it is time.
    pub fn look(&mut self, now: Instant, events: &mut Vec<Event>) -> io::Result<()> {
        self.now = now;
        if self.deadline().is_none_or(|at| now < at) {
            return Ok(());
        }
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let writable = self.events.iter().map(|event| ConnId::from_token(event.token().0));
        let before = events.len();
        events.extend(writable.map(Event::writable));
        if events.len() - before < EVENTS_MAX {
            self.next_look = now + TICK;
        }
        Ok(())
    }

    /// Registers a connection with `main`. Where many send large files (`crowded`), a connection that has filled
    /// its socket already begins as a slow reader.
    pub fn register(&self, socket: &mut Socket, id: ConnId, crowded: bool, main: &Registry) -> io::Result<()> {
        socket.id = id;
        let is_untested = matches!(socket.mode, SendMode::Untested);
        if crowded && socket.filled_at_ms != 0 && is_untested && self.add(socket, id) {
            main.register(&mut socket.stream, token(id), all_but_writable())?;
            socket.mode = SendMode::Slow(Arc::clone(&self.members));
            return Ok(());
        }
        main.register(&mut socket.stream, token(id), interest())
    }

    /// A socket has just been filled from a file of which more is to follow. In a crowd a reader that is slow, or
    /// not known yet, is watched here from now on; one that turns out not to be slow is watched by `main` again.
    pub fn socket_filled(&self, socket: &mut Socket, crowded: bool, main: &Registry) {
        socket.blocked();
        // Wraps after 49 days; a reader that is taken for slow by mistake leaves soon.
        #[allow(clippy::cast_possible_truncation, reason = "only differences count")]
        let now = (self.now.saturating_duration_since(self.began).as_millis() as u32).max(1);
        let before = std::mem::replace(&mut socket.filled_at_ms, now);
        let took = now.wrapping_sub(before);
        match socket.mode {
            SendMode::Untested if crowded => self.enter(socket, main),
            SendMode::Normal if crowded && before != 0 && took >= SLOW_MS => self.enter(socket, main),
            SendMode::Slow(_) if before != 0 && took < FAST_MS => self.leave(socket, main),
            _ => {}
        }
    }

    /// The file is sent. The connection stays registered here: to leave costs two calls and a wake-up, and most
    /// clients are gone then.
    pub fn file_sent(&self, socket: &mut Socket) {
        socket.filled_at_ms = 0;
        if let SendMode::Slow(_) = socket.mode {
            socket.mode = SendMode::SlowIdle(Arc::downgrade(&self.members));
        }
    }

    /// On an error nothing changes. A connection that is not registered yet enters when it is.
    fn enter(&self, socket: &mut Socket, main: &Registry) {
        let id = socket.id;
        if id == UNREGISTERED || !self.add(socket, id) {
            return;
        }
        match main.reregister(&mut socket.stream, token(id), all_but_writable()) {
            Ok(()) => socket.mode = SendMode::Slow(Arc::clone(&self.members)),
            Err(_) => self.remove(socket),
        }
    }

    /// On an error nothing changes.
    fn leave(&self, socket: &mut Socket, main: &Registry) {
        let id = socket.id;
        if main.reregister(&mut socket.stream, token(id), interest()).is_ok() {
            self.remove(socket);
            socket.mode = SendMode::Normal;
        }
    }

    fn add(&self, socket: &Socket, id: ConnId) -> bool {
        let fd = socket.fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), token(id), Interest::WRITABLE).is_ok()
    }

    fn remove(&self, socket: &Socket) {
        // If it fails, that the socket takes bytes is reported twice.
        let _ = self.poll.registry().deregister(&mut SourceFd(&socket.fd().as_raw_fd()));
    }
}

const fn token(id: ConnId) -> Token {
    Token(id.to_token())
}

/// What is reported of a connection at once.
fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}

/// What `main` reports of a slow reader.
fn all_but_writable() -> Interest {
    interest().remove(Interest::WRITABLE).unwrap_or(Interest::READABLE)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::super::super::connection::TcpConnection;
    use super::super::super::listener::accept;
    use super::super::super::testing::{client_of, listener};
    use super::*;
    use crate::platform::Stream as _;

    /// A connection that is registered with `main`, and its client.
    struct Scene {
        slow: SlowReaders,
        main: Poll,
        stream: TcpConnection,
        reader: TcpStream,
    }

    const ID: ConnId = ConnId::new(3, 7);

    impl Scene {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        fn new() -> Self {
            let listener = listener();
            let reader = client_of(&listener);
            let (stream, _) = accept(&listener).expect("a connection waits");
            let (slow, main) = (SlowReaders::new(Instant::now()).expect("a poll"), Poll::new().expect("a poll"));
            Self { slow, main, stream, reader }
        }

        fn register(&mut self, crowded: bool) {
            self.slow.register(&mut self.stream.socket, ID, crowded, self.main.registry()).expect("it can be watched");
        }

        /// Fills the socket, this long after the start.
        fn fill(&mut self, at_ms: u64, crowded: bool) {
            self.slow.now = self.slow.began + Duration::from_millis(at_ms);
            while self.stream.send(&[&[0; 4096]], true).is_ok() {}
            self.slow.socket_filled(&mut self.stream.socket, crowded, self.main.registry());
        }

        fn is_slow(&self) -> bool {
            let is = matches!(self.stream.socket.mode, SendMode::Slow(_));
            assert_eq!(self.slow.deadline().is_some(), is, "nothing is looked at without members");
            is
        }

        fn drain(&mut self) {
            self.reader.set_nonblocking(true).expect("O_NONBLOCK");
            let mut buffer = vec![0; 1 << 20];
            while self.reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
        }

        /// True if it is reported at this time that the socket takes bytes.
        fn is_reported(&mut self, at_ms: u64) -> bool {
            let mut events = Vec::new();
            let at = self.slow.began + Duration::from_millis(at_ms);
            self.slow.look(at, &mut events).expect("it can be looked at");
            assert!(events.iter().all(|event| matches!(event, Event::Stream { id: ID, writable: true, .. })));
            !events.is_empty()
        }

        /// The same, by `main`.
        fn is_reported_at_once(&mut self) -> bool {
            let mut events = Events::with_capacity(8);
            self.main.poll(&mut events, Some(Duration::ZERO)).expect("it can be looked at");
            events.iter().any(mio::event::Event::is_writable)
        }
    }

    #[test]
    fn in_a_crowd_a_writable_socket_is_reported_once_a_tick() {
        let mut scene = Scene::new();
        scene.register(true);
        assert!(!scene.is_slow(), "it has sent nothing");
        scene.fill(1000, true);
        assert!(scene.is_slow());
        let _ = scene.is_reported_at_once(); // of before it entered
        assert!(!scene.is_reported(1000), "the socket is full");
        scene.drain();
        assert!(!scene.is_reported_at_once());
        assert!(!scene.is_reported(1007), "it is too early");
        assert!(scene.is_reported(1008));
    }

    #[test]
    fn without_a_crowd_a_writable_socket_is_reported_at_once() {
        let mut scene = Scene::new();
        scene.register(false);
        for at_ms in [1000, 2000] {
            scene.fill(at_ms, false);
            assert!(!scene.is_slow());
            let _ = scene.is_reported_at_once();
            scene.drain();
            assert!(scene.is_reported_at_once());
        }
    }

    #[test]
    fn a_reader_that_is_not_slow_is_watched_as_any_other_until_it_is() {
        let mut scene = Scene::new();
        scene.fill(1000, true);
        scene.register(true);
        assert!(scene.is_slow(), "it had filled its socket before it was registered");
        scene.fill(1000 + u64::from(FAST_MS), true);
        assert!(scene.is_slow());
        scene.fill(1000 + u64::from(FAST_MS) * 2 - 1, true);
        assert!(!scene.is_slow());
        let _ = scene.is_reported_at_once();
        scene.drain();
        assert!(scene.is_reported_at_once());
        scene.fill(2000, false);
        assert!(!scene.is_slow(), "there is no crowd");
        scene.fill(2000 + u64::from(SLOW_MS), true);
        assert!(scene.is_slow());
    }

    #[test]
    fn a_connection_that_has_sent_its_file_or_is_closed_is_not_watched() {
        let mut scene = Scene::new();
        scene.register(true);
        scene.fill(1000, true);
        assert!(scene.is_slow());
        scene.slow.file_sent(&mut scene.stream.socket);
        assert!(!scene.is_slow());
        scene.drain();
        while scene.stream.send(&[&[0; 4096]], true).is_ok() {}
        assert!(scene.is_slow(), "it is full again");
        scene.drain();
        assert!(scene.is_reported(2000));
        scene.slow.file_sent(&mut scene.stream.socket);
        assert!(!scene.is_slow());
        scene.fill(3000, true);
        assert!(scene.is_slow(), "the same, where a file filled it");
        drop(scene.stream);
        assert_eq!(scene.slow.deadline(), None);
    }
}
