//! A raw line-protocol client, and a server that runs in a thread for one test.
//!
//! Everything here gives up after [`PATIENCE`], so that a bug ends a test instead of hanging it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use filewharf::Server;
use filewharf::config::Limits;
use filewharf::error::CloseReason;
use filewharf::platform::Counters;
use filewharf::server::{Builder, Handle};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::tls;

/// How long a test waits for anything before it fails. Never reached by a server that works, also where
/// a sync takes seconds: a file in a new directory of fifty levels waits for fifty of them.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until `done` returns true.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "this never came: {what}");
        // Never unparked: this lets the others run, and wakes up often enough.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Bytes that differ from place to place and from seed to seed, the same for ever (xorshift64*).
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The next number of a generator of our own.
pub fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// The digest as it is written on the wire.
pub fn sha256(bytes: &[u8]) -> String {
    filewharf::wire::line::hex(&Sha256::digest(bytes))
}

/// Are these the same? Unlike `assert_eq!`, does not print megabytes.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8], what: &str) {
    if got != wanted {
        let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
        panic!("{what}: got {} bytes, wanted {}, first difference at {differs:?}", got.len(), wanted.len());
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        // A Unix socket has no such option.
        let _ = stream.set_nodelay(true);
        let reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        Self { stream, reader }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Sends, whatever becomes of it: a server that refuses may close first.
    pub fn send_in_vain(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Closes our half.
    pub fn finish(&self) {
        // The server may have gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// One line of a reply, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a reply in time");
        assert!(line.ends_with('\n'), "the stream ended in a line: {line:?}");
        line.pop();
        line
    }

    #[track_caller]
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).expect("a body in time");
        bytes
    }

    /// Everything until the connection ends, however it ends; the error if it was not a plain end.
    pub fn rest(&mut self) -> (Vec<u8>, Option<std::io::Error>) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) => return (bytes, None),
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the server never closed");
                    return (bytes, Some(error));
                }
            }
        }
    }

    /// What is left until the end, as text; a reset counts as an end.
    pub fn last_words(&mut self) -> String {
        String::from_utf8_lossy(&self.rest().0).into_owned()
    }

    #[track_caller]
    pub fn expect_eof(&mut self) {
        let (bytes, error) = self.rest();
        assert!(bytes.is_empty() && error.is_none(), "{:?} {error:?}", bytes.escape_ascii().to_string());
    }

    /// One request line, one reply line.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n"));
        self.line()
    }

    /// Sends a request; its reply must begin so.
    #[track_caller]
    pub fn expect(&mut self, request: &str, reply: &str) -> String {
        let line = self.ask(request);
        assert!(line.starts_with(reply), "{request:?}: {line:?} and not {reply:?}");
        line
    }

    /// Stores a file and returns its etag.
    #[track_caller]
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> String {
        let line = self.try_put(path, bytes);
        assert!(line.starts_with("OK 0 etag="), "PUT {path}: {line}");
        value(&line, "etag").expect("an etag")
    }

    /// Sends a whole PUT, body and all, and returns the reply whatever it is. In one piece: where a
    /// deadline is short, this client must not be the slow one because its machine is.
    #[track_caller]
    pub fn try_put(&mut self, path: &str, bytes: &[u8]) -> String {
        self.send([format!("PUT {} {path}\n", bytes.len()).as_bytes(), bytes].concat());
        self.line()
    }

    /// Asks for something with a body; the reply line and the body.
    #[track_caller]
    pub fn fetch(&mut self, request: &str) -> (String, Vec<u8>) {
        let line = self.expect(request, "OK ");
        let size = line.split(' ').nth(1).and_then(|size| size.parse().ok()).expect("a size");
        let body = self.bytes(size);
        (line, body)
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Vec<u8> {
        self.fetch(&format!("GET {path}")).1
    }

    /// Ends with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket takes an option");
    }
}

/// The value of a key of a reply line.
pub fn value(line: &str, key: &str) -> Option<String> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
}

/// Whether this server may end with requests cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CutOffs {
    Forbidden,
    Allowed,
}

/// The defaults, but for the time that syncs of other tests may take: a drain waits for them as long
/// as a test does, and so does a request that waits for a slot.
pub fn limits() -> Limits {
    Limits::default().with(|l| {
        l.live.drain_timeout = PATIENCE;
        l.live.slot_timeout = PATIENCE;
    })
}

/// A server in a thread, on a directory of its own. Drains when dropped, and must then have ended
/// well: nothing cut off, nothing left in staging, no internal error.
pub struct Running {
    root: PathBuf,
    handle: Handle,
    ended: Mutex<Option<Receiver<Result<usize, String>>>>,
    cut_offs: CutOffs,
    dir: Option<TempDir>,
}

impl Running {
    /// With the defaults.
    pub fn start() -> Self {
        Self::with(|builder| builder)
    }

    /// With other limits.
    pub fn limited(limit: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = limits();
        limit(&mut limits);
        Self::with(|builder| builder.limits(limits))
    }

    pub fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let mut running = Self::on(dir.path(), change);
        running.dir = Some(dir);
        running
    }

    /// On a directory that the test keeps.
    pub fn on(root: &Path, change: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = change(Server::builder().root(root).limits(limits())).listen("127.0.0.1:0");
        let server = builder.build().expect("the server starts");
        let handle = server.handle();
        let (done, ended) = channel();
        std::thread::spawn(move || {
            let end = server.run().map(|ended| ended.cut_off).map_err(|error| error.to_string());
            // A test that failed does not listen any more.
            let _ = done.send(end);
        });
        Self { root: root.to_owned(), handle, ended: Mutex::new(Some(ended)), cut_offs: CutOffs::Forbidden, dir: None }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0].0.socket_addr().expect("over TCP")
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn counters(&self) -> Counters {
        self.handle.counters()
    }

    /// How many connections have ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.counters().closed[reason as usize]
    }

    pub fn client(&self) -> Client {
        if self.handle.encrypted()[0] {
            return Client::over(tls::tunnel(self.address(), &tls::config()));
        }
        Client::connect(self.address())
    }

    /// A place below the served directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Requests may be cut off when this server ends.
    pub fn may_cut_off(&mut self) {
        self.cut_offs = CutOffs::Allowed;
    }

    /// Waits until no connection is open and no slot taken: nothing leaks.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        wait_until("a server without connections", || self.counters().open == 0);
        // Facts are published at the end of a turn, and a reply may leave before that: two requests
        // later, everything until now is counted.
        let mut probe = self.client();
        probe.expect("PING", "OK 0");
        probe.expect("PING", "OK 0");
        drop(probe);
        wait_until("a server without connections", || self.counters().open == 0);
        let counters = self.counters();
        assert_eq!((counters.slots_used, counters.slots_waiting), (0, 0), "a slot leaks");
        assert_eq!(self.staged(), Vec::<PathBuf>::new(), "a staging file leaks");
    }

    /// Another client continues as before. It says all it has to say at once: where a deadline is short,
    /// it must not be the slow one because its machine is.
    #[track_caller]
    pub fn assert_serves(&self) {
        let mut client = self.client();
        client.send("PING\nPUT 10 /still here\nstill hereGET /still here\nDELETE /still here\n");
        client.finish();
        for (reply, body) in [("OK 0", ""), ("OK 0 etag=", ""), ("OK 10 etag=", "still here"), ("OK 0", "")] {
            let line = client.line();
            assert!(line.starts_with(reply), "{line:?} and not {reply:?}");
            assert_eq!(client.bytes(body.len()), body.as_bytes());
        }
        client.expect_eof();
    }

    /// Files of uploads under way.
    pub fn staged(&self) -> Vec<PathBuf> {
        staged(&self.root)
    }

    /// Waits for the end; how many requests were cut off.
    pub fn end(&mut self) -> usize {
        let ended = self.ended.get_mut().expect("no test panicked here").take().expect("a server ends once");
        match ended.recv_timeout(PATIENCE) {
            Ok(Ok(cut_off)) => cut_off,
            Ok(Err(error)) => panic!("the server failed: {error}"),
            Err(error) => panic!("the server panicked or never ended: {error}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return self.handle.stop();
        }
        self.handle.drain();
        if self.ended.get_mut().is_ok_and(|ended| ended.is_some()) {
            let cut_off = self.end();
            assert!(cut_off == 0 || self.cut_offs == CutOffs::Allowed, "{cut_off} requests were cut off");
        }
        let counters = self.counters();
        assert_eq!(counters.closed[CloseReason::Internal as usize], 0, "an internal error");
        // A directory that the test keeps may have other servers.
        if self.dir.is_some() {
            assert_eq!(self.staged(), Vec::<PathBuf>::new(), "something is left in staging");
        }
    }
}

/// Everything in the staging directories of a root but their locks.
pub fn staged(root: &Path) -> Vec<PathBuf> {
    let Ok(owners) = fs::read_dir(root.join(".filewharf/staging")) else { return Vec::new() };
    owners
        .filter_map(Result::ok)
        .filter_map(|owner| fs::read_dir(owner.path()).ok())
        .flat_map(|files| files.filter_map(Result::ok))
        .map(|file| file.path())
        .filter(|path| path.file_name().is_some_and(|name| name != "LOCK"))
        .collect()
}

/// What a client sees in the served directory, hidden files included.
pub fn visible(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).expect("the folder is there").filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != ".filewharf");
    names.sort();
    names
}
