//! The slow lane: downloads of a crowd whose readers take long. That their sockets have room again is
//! looked at now and then for all of them together, as each wake-up of the loop for one of them costs
//! an eighth of what it is woken for. All else is told of at once, as of every connection.
//!
//! Never decides what is sent.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::ids::ConnId;
use crate::os::net::{Lane, NOBODY, TcpConnection, interest};
use crate::platform::Event;

/// How often the lane is looked at. More often, there are more wake-ups; less often, a reader must be slower
/// still to be no worse off.
const TICK: Duration = Duration::from_millis(8);
/// Who takes at least so long for what the socket holds is a slow reader: half of that is left when
/// there is room again, which lasts for longer than a tick.
const SLOW_MS: u32 = 64;
/// Who takes less is none any more. Further apart than ticks: else it would be taken for slow because it
/// had to wait for one.
const FAST_MS: u32 = 32;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// A place in the lane: each member holds a clone of its `Arc`.
#[derive(Debug)]
pub struct Place;

/// Those in the lane, and when they are looked at.
#[derive(Debug)]
pub struct SlowLane {
    poll: Poll,
    events: Events,
    members: Arc<Place>,
    began: Instant,
    now: Instant,
    due: Instant,
}

impl SlowLane {
    /// An empty lane.
    pub fn new(now: Instant) -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(EVENTS_MAX));
        Ok(Self { poll, events, members: Arc::new(Place), began: now, now, due: now })
    }

    /// Until when nobody need look at the lane.
    pub fn due(&self) -> Option<Instant> {
        (Arc::strong_count(&self.members) > 1).then_some(self.due)
    }

    /// Tells of those that have room again, if it is time.
    pub fn look(&mut self, now: Instant, events: &mut Vec<Event>) -> io::Result<()> {
        self.now = now;
        if self.due().is_none_or(|due| now < due) {
            return Ok(());
        }
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let told = self.events.iter().map(|event| ConnId::from_token(event.token().0));
        let before = events.len();
        events.extend(told.map(Event::writable));
        if events.len() - before < EVENTS_MAX {
            self.due = now + TICK;
        }
        Ok(())
    }

    /// From here on events tell of a connection; `main` tells of it at once. Whose first file has filled its
    /// socket in a crowd begins in the lane.
    pub fn register(&self, stream: &mut TcpConnection, id: ConnId, crowded: bool, main: &Registry) -> io::Result<()> {
        stream.id = id;
        if crowded && stream.filled_ms != 0 && matches!(stream.lane, Lane::Untried) && self.enroll(stream, id) {
            main.register(stream.source(), token(id), besides_room())?;
            stream.lane = Lane::Slow(Arc::clone(&self.members));
            return Ok(());
        }
        main.register(stream.source(), token(id), interest())
    }

    /// A socket has just been filled from a file, and more of that is to follow. In a crowd a slow reader
    /// enters the lane, and who is not known yet; who turns out not to be slow leaves it. `main` tells of
    /// connections at once.
    pub fn filled(&self, stream: &mut TcpConnection, crowded: bool, main: &Registry) {
        stream.blocked();
        // Comes round after 49 days; who is taken for slow by mistake leaves soon.
        #[allow(clippy::cast_possible_truncation, reason = "only differences count")]
        let now = (self.now.saturating_duration_since(self.began).as_millis() as u32).max(1);
        let before = std::mem::replace(&mut stream.filled_ms, now);
        let took = now.wrapping_sub(before);
        match stream.lane {
            Lane::Untried if crowded => self.enter(stream, main),
            Lane::Usual if crowded && before != 0 && took >= SLOW_MS => self.enter(stream, main),
            Lane::Slow(_) if before != 0 && took < FAST_MS => self.leave(stream, main),
            Lane::Untried | Lane::Usual | Lane::Slow(_) | Lane::Resting(_) | Lane::Wide(_) => {}
        }
    }

    /// The file is sent, and room is waited for no more. It stays with the lane: to leave it costs two calls
    /// and a wake-up, and most readers are gone then.
    pub fn ended(&self, stream: &mut TcpConnection) {
        stream.filled_ms = 0;
        if let Lane::Slow(_) = stream.lane {
            stream.lane = Lane::Resting(Arc::downgrade(&self.members));
        }
    }

    /// If it cannot be done, room is told of at once, as before. Before events tell of the connection there
    /// is nothing to change: it enters when they do.
    fn enter(&self, stream: &mut TcpConnection, main: &Registry) {
        let id = stream.id;
        if id == NOBODY || !self.enroll(stream, id) {
            return;
        }
        match main.reregister(stream.source(), token(id), besides_room()) {
            Ok(()) => stream.lane = Lane::Slow(Arc::clone(&self.members)),
            Err(_) => self.forget(stream),
        }
    }

    fn enroll(&self, stream: &TcpConnection, id: ConnId) -> bool {
        let fd = stream.fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), token(id), Interest::WRITABLE).is_ok()
    }

    /// If it cannot be done, room is told of in the lane, as before.
    fn leave(&self, stream: &mut TcpConnection, main: &Registry) {
        let id = stream.id;
        if main.reregister(stream.source(), token(id), interest()).is_ok() {
            self.forget(stream);
            stream.lane = Lane::Usual;
        }
    }

    fn forget(&self, stream: &TcpConnection) {
        // If it fails, room is told of twice.
        let _ = self.poll.registry().deregister(&mut SourceFd(&stream.fd().as_raw_fd()));
    }
}

const fn token(id: ConnId) -> Token {
    Token(id.to_token())
}

/// What is to be known at once of who is in the lane.
fn besides_room() -> Interest {
    interest().remove(Interest::WRITABLE).unwrap_or(Interest::READABLE)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::*;
    use crate::config::Limits;
    use crate::os::net;
    use crate::platform::Stream as _;

    /// A lane, a connection of which `main` tells, and its reader.
    struct Scene {
        lane: SlowLane,
        main: Poll,
        stream: TcpConnection,
        reader: TcpStream,
    }

    const ID: ConnId = ConnId::new(3, 7);

    impl Scene {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        fn new() -> Self {
            let listener = net::listen(([127, 0, 0, 1], 0).into(), &Limits::default(), None).expect("a free port");
            let reader = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
            let (stream, _) = net::accept(&listener).expect("somebody is there");
            let (lane, main) = (SlowLane::new(Instant::now()).expect("a poll"), Poll::new().expect("a poll"));
            Self { lane, main, stream, reader }
        }

        fn register(&mut self, crowded: bool) {
            self.lane.register(&mut self.stream, ID, crowded, self.main.registry()).expect("it can be watched");
        }

        /// Fills the socket, so long after the lane was made.
        fn fill(&mut self, at_ms: u64, crowded: bool) {
            self.lane.now = self.lane.began + Duration::from_millis(at_ms);
            while self.stream.send(&[&[0; 4096]], true).is_ok() {}
            self.lane.filled(&mut self.stream, crowded, self.main.registry());
        }

        fn is_in_lane(&self) -> bool {
            let is = matches!(self.stream.lane, Lane::Slow(_));
            assert_eq!(self.lane.due().is_some(), is, "only a lane with members is looked at");
            is
        }

        fn drain(&mut self) {
            self.reader.set_nonblocking(true).expect("O_NONBLOCK");
            let mut buffer = vec![0; 1 << 20];
            while self.reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
        }

        /// Does the lane tell of room at this time?
        fn told(&mut self, at_ms: u64) -> bool {
            let mut events = Vec::new();
            let at = self.lane.began + Duration::from_millis(at_ms);
            self.lane.look(at, &mut events).expect("it can be looked at");
            assert!(events.iter().all(|event| matches!(event, Event::Stream { id: ID, writable: true, .. })));
            !events.is_empty()
        }

        /// Does `main` tell of room?
        fn told_at_once(&mut self) -> bool {
            let mut events = Events::with_capacity(8);
            self.main.poll(&mut events, Some(Duration::ZERO)).expect("it can be looked at");
            events.iter().any(mio::event::Event::is_writable)
        }
    }

    #[test]
    fn in_a_crowd_room_is_told_of_once_a_tick() {
        let mut scene = Scene::new();
        scene.register(true);
        assert!(!scene.is_in_lane(), "it has sent nothing");
        scene.fill(1000, true);
        assert!(scene.is_in_lane());
        let _ = scene.told_at_once(); // what there was before it entered
        assert!(!scene.told(1000), "there is no room");
        scene.drain();
        assert!(!scene.told_at_once());
        assert!(!scene.told(1007), "it is too early");
        assert!(scene.told(1008));
    }

    #[test]
    fn without_a_crowd_room_is_told_of_at_once() {
        let mut scene = Scene::new();
        scene.register(false);
        for at_ms in [1000, 2000] {
            scene.fill(at_ms, false);
            assert!(!scene.is_in_lane());
            let _ = scene.told_at_once();
            scene.drain();
            assert!(scene.told_at_once());
        }
    }

    #[test]
    fn a_reader_that_is_not_slow_leaves_until_it_is() {
        let mut scene = Scene::new();
        scene.fill(1000, true);
        scene.register(true);
        assert!(scene.is_in_lane(), "it had filled its socket before events told of it");
        scene.fill(1000 + u64::from(FAST_MS), true);
        assert!(scene.is_in_lane());
        scene.fill(1000 + u64::from(FAST_MS) * 2 - 1, true);
        assert!(!scene.is_in_lane());
        let _ = scene.told_at_once();
        scene.drain();
        assert!(scene.told_at_once());
        scene.fill(2000, false);
        assert!(!scene.is_in_lane(), "there is no crowd");
        scene.fill(2000 + u64::from(SLOW_MS), true);
        assert!(scene.is_in_lane());
    }

    #[test]
    fn who_has_sent_its_file_or_is_gone_is_in_the_lane_no_more() {
        let mut scene = Scene::new();
        scene.register(true);
        scene.fill(1000, true);
        assert!(scene.is_in_lane());
        scene.lane.ended(&mut scene.stream);
        assert!(!scene.is_in_lane());
        scene.drain();
        while scene.stream.send(&[&[0; 4096]], true).is_ok() {}
        assert!(scene.is_in_lane(), "it waits for room again");
        scene.drain();
        assert!(scene.told(2000));
        scene.lane.ended(&mut scene.stream);
        assert!(!scene.is_in_lane());
        scene.fill(3000, true);
        assert!(scene.is_in_lane(), "the same, where a file filled it");
        drop(scene.stream);
        assert_eq!(scene.lane.due(), None);
    }
}
