//! The real platform, held still: real sockets, a real directory, real disk workers, and clocks that
//! move only when a test moves them. The test follows the bytes of one client through the kernel, so
//! that nothing here guesses how long something takes.
//!
//! Three things are put between the reactor and the system, so that a conversation reads the same as
//! on the platform in memory: the clocks, the client's port, and ([`store`]) the names of versions.

mod store;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use filewharf::access::Access;
use filewharf::config::{Limits, StoreConfig};
use filewharf::dialect::Listening;
use filewharf::ids::{ConnId, FileId, ListenerId};
use filewharf::object::Etag;
use filewharf::os::event_queue::{Control, EventQueue};
use filewharf::os::net::{Listener, TcpConnection, listen};
use filewharf::platform::{AcceptError, Counters, Event, Platform, SendFile, Signal, Store as _, Stream};
use filewharf::reactor::{Reactor, Setup};
use filewharf::server::platform::OsPlatform;
use filewharf::store::DiskStore;
use tempfile::TempDir;

use crate::golden::world::World;
use filewharf::upload::UploadId;
use support::client::{PATIENCE, staged};
use support::rig::STARTED_S;

/// The port the client is said to have.
const PEER_PORT: u16 = 50_851;
/// A socket that the server does not read may stay so, once nothing came of it for this long, twice: on a
/// busy machine the kernel takes milliseconds to carry bytes from one socket to the other.
const UNREAD: Duration = Duration::from_millis(10);

/// What the server's end of the connection has seen and done.
#[derive(Default)]
struct Seen {
    accepted: Cell<bool>,
    received: Cell<usize>,
    end_received: Cell<bool>,
    sent: Cell<usize>,
    packets: RefCell<Vec<Vec<u8>>>,
    closed: Cell<bool>,
    dropped: Cell<bool>,
}

/// The server's end, counted.
pub struct SeenStream {
    inner: TcpConnection,
    seen: Rc<Seen>,
}

impl Stream for SeenStream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.recv(buf)?;
        self.seen.received.set(self.seen.received.get() + n);
        self.seen.end_received.set(n == 0 && !buf.is_empty());
        Ok(n)
    }

    fn receive_buffer_min(&self) -> usize {
        self.inner.receive_buffer_min()
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        let n = self.inner.send(bufs, more)?;
        self.seen.sent.set(self.seen.sent.get() + n);
        self.seen.packets.borrow_mut().push(bufs.iter().flat_map(|buf| buf.iter().copied()).take(n).collect());
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.seen.closed.set(true);
        self.inner.shutdown_write()
    }

    /// The kernel of the client acknowledges when it likes, which no conversation is about.
    fn unacknowledged(&self) -> io::Result<usize> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.inner.unacknowledged()? == 0 {
                return Ok(0);
            }
            std::thread::yield_now();
        }
        self.inner.unacknowledged()
    }

    fn reset_on_drop(&mut self) {
        self.inner.reset_on_drop();
    }
}

impl Drop for SeenStream {
    fn drop(&mut self) {
        self.seen.dropped.set(true);
    }
}

/// The real platform after clocks that stand still.
pub struct StillPlatform {
    /// Asked for its store by methods that change nothing.
    os: RefCell<OsPlatform>,
    now: Instant,
    seen: Rc<Seen>,
    /// The client has connected.
    connected: bool,
    /// What the client has sent, and whether it has closed its half.
    sent: usize,
    finished: bool,
    /// The real tag of every version, in the order in which they were stored.
    versions: Vec<Etag>,
    /// The real name of every upload that the store has named, in order; and those named by others.
    uploads: Vec<UploadId>,
    named_uploads: Vec<UploadId>,
    /// Nothing is left to do.
    slept: bool,
}

impl StillPlatform {
    /// True while something is on its way that will lead to an event.
    fn awaits(&mut self) -> bool {
        let connecting = self.connected && !self.seen.accepted.get();
        connecting || self.os.get_mut().store().queued().in_flight > 0
    }

    /// True if the client has sent what the server has not read, and perhaps never will.
    fn leaves_unread(&self) -> bool {
        let read = self.seen.received.get() == self.sent && (!self.finished || self.seen.end_received.get());
        !(read || self.seen.dropped.get())
    }
}

impl Platform for StillPlatform {
    type Stream = SeenStream;
    type Store = Self;

    fn now(&self) -> Instant {
        self.now
    }

    fn wall_clock_ms(&self) -> u64 {
        STARTED_S * 1000
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.os.get_mut().wait(Some(Duration::ZERO), events)?;
        if !events.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        let mut unread = 0;
        while events.is_empty() && (self.awaits() || self.leaves_unread() && unread < 2) {
            self.os.get_mut().wait(Some(UNREAD), events)?;
            unread += u32::from(!self.awaits());
        }
        self.slept = events.is_empty();
        Ok(())
    }

    fn accept(&mut self, listener: ListenerId) -> Result<(SeenStream, SocketAddr), AcceptError> {
        let (inner, mut peer) = self.os.get_mut().accept(listener)?;
        peer.set_port(PEER_PORT);
        self.seen.accepted.set(true);
        Ok((SeenStream { inner, seen: Rc::clone(&self.seen) }, peer))
    }

    fn shed(&mut self, listener: ListenerId) -> bool {
        self.os.get_mut().shed(listener)
    }

    fn register(&mut self, stream: &mut SeenStream, id: ConnId) -> io::Result<()> {
        self.os.get_mut().register(&mut stream.inner, id)
    }

    fn close_listeners(&mut self) {
        self.os.get_mut().close_listeners();
    }

    fn send_file(
        &mut self,
        stream: &mut SeenStream,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile> {
        let sent = self.os.get_mut().send_file(&mut stream.inner, file, offset, len, more)?;
        if let SendFile::Sent(n) | SendFile::SentUntilFull(n) = sent {
            self.seen.sent.set(self.seen.sent.get() + n);
        }
        Ok(sent)
    }

    fn store(&mut self) -> &mut Self {
        self
    }

    fn publish(&mut self, counters: &Counters) {
        self.os.get_mut().publish(counters);
    }
}

/// Which system calls the server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    Best,
    /// Only those that every unix has.
    Portable,
}

/// How the connection ended, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Reset,
}

/// A server on the real platform, and its one client.
pub struct Real {
    reactor: Reactor<StillPlatform>,
    control: Arc<Control>,
    address: SocketAddr,
    client: Option<TcpStream>,
    /// Connections of before; they stay as they are.
    older: Vec<TcpStream>,
    seen: Rc<Seen>,
    heard: Vec<u8>,
    end: End,
    dir: TempDir,
}

impl Real {
    pub fn speaking(listening: Listening, limits: Limits, access: Access, calls: Calls) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let limits = limits.with(|l| {
            l.fixed.io_workers = 1;
            l.fixed.sync_workers = 2;
        });
        // A client that says nothing is to be seen at once.
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(address, false, &limits.fixed, None).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let queue = EventQueue::new().expect("an event queue");
        let control = Arc::clone(queue.control());
        let waker = Arc::clone(&control);
        let config = StoreConfig { portable: calls == Calls::Portable, ..StoreConfig::default() };
        let store = DiskStore::open(dir.path(), &config, &limits.fixed, Arc::new(move || waker.wake()));
        let store = store.expect("a folder of our own");
        let os =
            OsPlatform::new(queue, vec![Listener::Tcp(listener)], store, &limits.fixed).expect("a listener is watched");
        let seen = Rc::<Seen>::default();
        let platform = StillPlatform {
            os: RefCell::new(os),
            now: Instant::now(),
            seen: Rc::clone(&seen),
            connected: false,
            sent: 0,
            finished: false,
            versions: Vec::new(),
            uploads: Vec::new(),
            named_uploads: Vec::new(),
            slept: false,
        };
        let setup = Setup { limits, access, listeners: vec![listening.into()] };
        let mut reactor = Reactor::new(platform, setup);
        reactor.offer_locks([0; 16]);
        Self {
            reactor,
            control,
            address,
            client: None,
            older: Vec::new(),
            seen,
            heard: Vec::new(),
            end: End::Open,
            dir,
        }
    }

    /// Turns until the server would sleep, and the client has heard everything.
    fn rest(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.reactor.platform_mut().slept = false;
            self.reactor.turn().expect("the system never fails here");
            if self.reactor.platform_mut().slept {
                break;
            }
            assert!(Instant::now() < until, "the server never comes to rest");
        }
        while !self.has_heard_all() {
            self.listen();
            assert!(Instant::now() < until, "what was sent never arrives: {}", self.heard.escape_ascii());
        }
        assert!(self.heard.len() == self.seen.sent.get(), "more is heard than was sent");
    }

    fn has_heard_all(&self) -> bool {
        let ends = self.seen.closed.get() || self.seen.dropped.get();
        self.client.is_none() || self.end != End::Open || (!ends && self.heard.len() >= self.seen.sent.get())
    }

    fn listen(&mut self) {
        let mut buffer = [0; 65_536];
        match self.client().read(&mut buffer) {
            Ok(0) => self.end = End::Closed,
            Ok(n) => {
                self.heard.extend_from_slice(&buffer[..n]);
                self.acknowledge();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => self.end = End::Reset,
        }
    }

    /// With what it hears the client's kernel would wait up to 40 ms for something to carry the
    /// acknowledgement, which some dialects wait for.
    fn acknowledge(&self) {
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_quickack(self.client(), true).expect("a socket takes an option");
    }

    fn client(&self) -> &TcpStream {
        self.client.as_ref().expect("it has connected")
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.path().join(key)
    }
}

impl World for Real {
    fn place(&mut self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
        fs::write(&path, bytes).expect("a file");
        let file = fs::OpenOptions::new().write(true).open(&path).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(STARTED_S)).expect("a time");
        self.reactor.platform_mut().know(&filewharf::wire::key::relative(key).expect("a good name"));
    }

    fn connect(&mut self) {
        let client = TcpStream::connect(self.address).expect("the server listens");
        client.set_nodelay(true).expect("a socket takes an option");
        client.set_nonblocking(true).expect("a socket takes an option");
        if let Some(older) = self.client.replace(client) {
            self.older.push(older);
            self.seen = Rc::default();
            (self.heard, self.end) = (Vec::new(), End::Open);
            let platform = self.reactor.platform_mut();
            platform.seen = Rc::clone(&self.seen);
            (platform.sent, platform.finished) = (0, false);
        }
        self.reactor.platform_mut().connected = true;
        self.acknowledge();
        self.rest();
    }

    fn send(&mut self, bytes: &[u8]) {
        let until = Instant::now() + PATIENCE;
        let mut rest = bytes;
        while !rest.is_empty() && Instant::now() < until {
            match self.client().write(rest) {
                Ok(n) => {
                    self.reactor.platform_mut().sent += n;
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
                // The server is gone, as the conversation says or not.
                Err(_) => break,
            }
        }
        self.rest();
    }

    fn finish(&mut self) {
        // The server may have gone already.
        let _ = self.client().shutdown(Shutdown::Write);
        self.reactor.platform_mut().finished = true;
        self.rest();
    }

    fn pass(&mut self, time: Duration) {
        self.reactor.platform_mut().now += time;
        self.reactor.turn().expect("the system never fails here");
        self.rest();
    }

    fn drain(&mut self) {
        self.control.request(Signal::Drain);
        self.rest();
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.clone()
    }

    /// Less what went straight from a file.
    fn packets(&self) -> Option<Vec<Vec<u8>>> {
        Some(self.seen.packets.borrow().clone())
    }

    fn is_closed(&self) -> bool {
        self.end != End::Open
    }

    fn is_reset(&self) -> bool {
        self.end == End::Reset
    }

    fn is_gone(&self) -> bool {
        self.seen.dropped.get()
    }

    fn left_open(&mut self) -> usize {
        staged(self.dir.path()).len()
    }

    fn counters(&self) -> Counters {
        *self.reactor.counters()
    }

    fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.path(key)).ok()
    }
}
