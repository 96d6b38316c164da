//! Hostile crowds that hold most of what the server has, from many addresses, beside one honest client: slow attacks,
//! and the worst mix of states.
//!
//! `cargo test --release --test it -- --ignored --nocapture hostile`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the figures of a slow check are for people, and wall time is one of them"
)]

mod mix;
mod slow;

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::client::{PATIENCE, content, staged, wait_until};
use support::figures::Spread;
use support::server::Program;
use support::{StopOnDrop, process};
use tempfile::TempDir;

const SMALL_LEN: usize = 4096;
/// More than both sockets of a connection hold.
const LARGE_LEN: usize = 32 << 20;
/// Addresses that a crowd comes from: one may have half of the connections.
const HOSTS: usize = 90;
/// Requests of the honest client on one connection.
const REQUESTS_PER_CONNECTION: usize = 50;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);
/// Printed against, never asserted: the machine may have other things to do.
const RATIO_GOAL: f64 = 2.0;

/// A server under attack, and what it had before.
struct Target {
    server: Program,
    dir: TempDir,
    /// What the server printed as the most memory that it can use, in bytes.
    ceiling: u64,
    /// Its open descriptors, once it had served.
    descriptors: usize,
    /// Its sockets before the first connection.
    own_sockets: usize,
    rss: u64,
    quiet: Spread,
}

impl Target {
    /// Starts a server, and measures the honest client alone.
    fn start(options: &[&str]) -> Self {
        let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("a folder");
        fs::write(root.join("small"), content(1, SMALL_LEN)).expect("a file");
        fs::write(root.join("large"), content(2, LARGE_LEN)).expect("a file");
        let log = dir.path().join("log");
        let out = File::create(&log).expect("a file").into();
        // Silent clients are accepted at once.
        let options = [&["--accept-defer", "0"], options].concat();
        let server = Program::start_logging(&[], env!("CARGO_BIN_EXE_filewharf"), &root, &options, out);
        let mut ceiling = None;
        wait_until("the ceiling is printed", || {
            let text = fs::read_to_string(&log).expect("a log");
            ceiling =
                text.split("memory: at most ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
            ceiling.is_some()
        });
        let mut target = Self {
            server,
            dir,
            ceiling: ceiling.expect("just found") << 20,
            descriptors: 0,
            own_sockets: 0,
            rss: 0,
            quiet: Spread::default(),
        };
        target.own_sockets = target.sockets();
        // The directory of uploads that can be resumed, and its clock, are opened with the first one.
        let mut first = connect(target.server.address(), Ipv4Addr::LOCALHOST, None);
        first.write_all(b"PUT 1 resume=first /first\nb").expect("the server reads");
        first.shutdown(Shutdown::Write).expect("it is connected");
        let mut reply = String::new();
        first.read_to_string(&mut reply).expect("an answer in time");
        assert!(reply.contains("\nOK 0 "), "{reply}");
        target.quiet = target.measured();
        target.descriptors = target.descriptors_at_rest();
        target.rss = process::bytes(target.server.pid(), "VmRSS:");
        target
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// What the requests of the honest client take now, each of which must be answered well.
    fn measured(&self) -> Spread {
        let mut honest = Honest::new(self.server.address());
        let until = Instant::now() + WARM_UP;
        while Instant::now() < until {
            honest.asks();
        }
        let until = Instant::now() + MEASURED;
        Spread::new(std::iter::repeat_with(|| honest.asks()).take_while(|_| Instant::now() < until).collect())
    }

    fn files(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(format!("/proc/{}/fd", self.server.pid())).expect("the server lives");
        all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
    }

    /// The descriptors that stay when the honest client has left.
    fn descriptors_at_rest(&self) -> usize {
        wait_until("the honest client has left", || self.connections() == 0);
        self.files().len()
    }

    fn connections(&self) -> usize {
        self.sockets().saturating_sub(self.own_sockets)
    }

    fn sockets(&self) -> usize {
        self.files().iter().filter(|file| file.to_string_lossy().starts_with("socket:")).count()
    }

    /// Waits until nothing is left of the crowd, then ends the server.
    fn assert_nothing_is_left(self, what: &str) {
        let began = Instant::now();
        wait_until("no descriptor is left", || self.files().len() <= self.descriptors);
        wait_until("no staging file is left", || staged(&self.root()).is_empty());
        println!("hostile: {what}: nothing left after {:.1?}", began.elapsed());
        self.server.end();
    }

    /// Prints the figures of the honest client and of memory while this many connections are held.
    fn report(&self, what: &str, under: &Spread, connections: usize) {
        let ratio = |permille| under.permille(permille).as_secs_f64() / self.quiet.permille(permille).as_secs_f64();
        let word = if ratio(990) <= RATIO_GOAL { "met" } else { "missed" };
        println!("hostile: {what}: quiet {}", self.quiet);
        println!("hostile: {what}: attacked {under}");
        println!(
            "hostile: {what}: p50 {:.2} and p99 {:.2} of quiet, the goal of {RATIO_GOAL} is {word}",
            ratio(500),
            ratio(990)
        );
        let [rss, peak] = ["VmRSS:", "VmHWM:"].map(|name| process::bytes(self.server.pid(), name));
        println!(
            "hostile: {what}: {connections} connections, {} bytes each; RSS {} KiB, peak {} KiB of {} KiB; sockets of the \
             machine {} KiB",
            rss.saturating_sub(self.rss) / connections.max(1) as u64,
            rss / 1024,
            peak / 1024,
            self.ceiling / 1024,
            process::socket_memory() / 1024
        );
        assert!(peak <= self.ceiling, "{what}: {peak} bytes of memory, more than {}", self.ceiling);
    }
}

/// A client that asks for the small file again and again.
struct Honest {
    server: SocketAddr,
    stream: TcpStream,
    asked: usize,
    wanted: Vec<u8>,
    reply: Vec<u8>,
}

impl Honest {
    fn new(server: SocketAddr) -> Self {
        let stream = connect(server, Ipv4Addr::LOCALHOST, None);
        Self { server, stream, asked: 0, wanted: content(1, SMALL_LEN), reply: Vec::new() }
    }

    /// One request, now and then on a new connection: how long it took.
    fn asks(&mut self) -> Duration {
        let began = Instant::now();
        self.asked += 1;
        if self.asked.is_multiple_of(REQUESTS_PER_CONNECTION) {
            self.stream = connect(self.server, Ipv4Addr::LOCALHOST, None);
        }
        self.stream.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
        self.reply.clear();
        let mut buffer = [0; 2 * SMALL_LEN];
        let body = loop {
            let n = self.stream.read(&mut buffer).expect("an answer in time");
            assert!(n > 0, "closed instead of answered: {}", self.reply.escape_ascii());
            self.reply.extend_from_slice(&buffer[..n]);
            let head = self.reply.windows(4).take(1024).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(body) = head.filter(|head| self.reply.len() >= head + 4 + SMALL_LEN) {
                break body + 4;
            }
        };
        let took = began.elapsed();
        assert!(self.reply.starts_with(b"HTTP/1.1 200 "), "{}", self.reply[..body].escape_ascii());
        assert!(self.reply[body..] == self.wanted, "the wrong bytes");
        took
    }
}

/// A connection from an address, its receive buffer of this size.
fn connect(server: SocketAddr, from: Ipv4Addr, receive_buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("all of 127.0.0.0/8 is of this machine");
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a size");
    }
    socket.connect(&server.into()).expect("the server listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// The address of one connection of a crowd.
fn host(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, (nth % HOSTS) as u8 + 1)
}

/// What a hostile connection does once in a while.
#[derive(Clone, Copy)]
enum Drip {
    Sends(&'static [u8]),
    Reads,
    Nothing,
}

struct Hostile {
    stream: TcpStream,
    drip: Drip,
}

impl Hostile {
    /// Begins with these bytes, of which not all may fit.
    fn begins(stream: TcpStream, bytes: &[u8], drip: Drip) -> Self {
        stream.set_nonblocking(true).expect("a mode");
        let _ = (&stream).write(bytes);
        Self { stream, drip }
    }

    /// False once the server has closed.
    fn drips(&mut self) -> bool {
        let mut buffer = [0; 16];
        let done = match self.drip {
            Drip::Sends(bytes) => self.stream.write(bytes),
            Drip::Reads => self
                .stream
                .read(&mut buffer)
                .and_then(|n| if n > 0 { Ok(n) } else { Err(ErrorKind::BrokenPipe.into()) }),
            Drip::Nothing => Ok(0),
        };
        done.is_ok() || done.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// Lets all of them drip in turn until `stop`. One that was closed is opened again until `over`; how many were.
fn drip(crowd: &mut [Hostile], open: impl Fn(usize) -> Hostile, over: &AtomicBool, stop: &AtomicBool) -> u64 {
    // The honest client, which measures, must not wait for this thread. Where it is not permitted, it may.
    let _ = rustix::process::nice(19);
    let mut opened = 0;
    while !stop.load(Ordering::Relaxed) {
        for (nth, hostile) in crowd.iter_mut().enumerate() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if !hostile.drips() && !over.load(Ordering::Relaxed) {
                *hostile = open(nth);
                opened += 1;
            }
            // Two thousand in a second.
            if nth % 2 == 1 {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    opened
}

/// Attacks a target with a crowd while the honest client is measured. `is_over` is called when that is done, and
/// the crowd drips on until it returns.
fn attack(
    target: &Target,
    what: &str,
    connections: usize,
    open: impl Fn(usize) -> Hostile + Send + Sync,
    is_over: impl FnOnce(&Target),
) {
    let began = Instant::now();
    let mut crowd: Vec<Hostile> = (0..connections).map(&open).collect();
    // Answered once all before it are accepted.
    Honest::new(target.server.address()).asks();
    println!("hostile: {what}: {} connections held after {:.1?}", target.connections(), began.elapsed());
    assert!(
        target.connections() >= connections * 9 / 10,
        "{what}: the server holds {} connections",
        target.connections()
    );
    let (over, stop, opened) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| opened.store(drip(&mut crowd, &open, &over, &stop), Ordering::Relaxed));
        let _stop = StopOnDrop(&stop);
        let under = target.measured();
        println!("hostile: {what}: {} connections held at the end", target.connections());
        target.report(what, &under, connections);
        over.store(true, Ordering::Relaxed);
        is_over(target);
    });
    println!("hostile: {what}: {} connections were opened again", opened.load(Ordering::Relaxed));
}
