//! Shares of clients over real sockets: one connection against two hundred of another address.
//!
//! `cargo test --release --test it -- --ignored --nocapture shares`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the figures of a slow check are for people, and wall time is one of them"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Socket, Type};
use support::process;
use support::server::Program;

/// Where the disk always keeps up.
const MEMORY: &str = "/dev/shm";
const MANY: usize = 200;
/// Long enough that how long it takes to give a file its name does not show.
const FILE_LEN: usize = 32 << 20;
/// Of what is sent, small enough that what lies in the sockets does not show.
const SOCKET_BYTES: usize = 128 * 1024;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);
/// Ten times what it had if each connection had the same. That it is half, where nothing else runs, is printed here
/// and asserted in turns (`fairness`).
const SHARE_MIN: f64 = 0.05;
const ROUNDS_MAX: usize = 5;

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

struct Client {
    stream: TcpStream,
    /// What it sends again and again.
    message: Vec<u8>,
    sent: usize,
}

impl Client {
    fn connect(server: SocketAddr, host: u8, n: usize, way: Way) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        socket.bind(&from.into()).expect("all of 127.0.0.0/8 is of this machine");
        socket.set_send_buffer_size(SOCKET_BYTES).expect("a size");
        socket.connect(&server.into()).expect("the server listens");
        socket.set_nonblocking(true).expect("a mode");
        let message = match way {
            Way::Up => [format!("PUT {FILE_LEN} /{host}-{n}\n").as_bytes(), &vec![b'u'; FILE_LEN]].concat(),
            Way::Down => b"GET /file\n".to_vec(),
        };
        Self { stream: socket.into(), message, sent: 0 }
    }

    /// Sends and receives what the socket takes and has: bytes of both.
    fn step(&mut self, buffer: &mut [u8]) -> (u64, u64) {
        let (mut sent, mut received) = (0, 0);
        match self.stream.write(&self.message[self.sent..]) {
            Ok(n) => {
                self.sent = (self.sent + n) % self.message.len();
                sent += n as u64;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        match self.stream.read(buffer) {
            Ok(n) => {
                assert!(n > 0, "the server closed: {}", String::from_utf8_lossy(&buffer[..100]));
                received += n as u64;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        (sent, received)
    }
}

/// Moves bytes on all connections until `ended` is set, and counts them.
fn run(clients: &mut [Client], way: Way, moved: &AtomicU64, ended: &AtomicBool) {
    let mut buffer = vec![0; 1 << 20];
    while !ended.load(Ordering::Relaxed) {
        let interest = match way {
            Way::Up => PollFlags::OUT | PollFlags::IN,
            // Requests are as small as that there are always some at the server.
            Way::Down => PollFlags::IN,
        };
        let ready: Vec<bool> = {
            let mut polled: Vec<PollFd<'_>> =
                clients.iter().map(|client| PollFd::from_borrowed_fd(client.stream.as_fd(), interest)).collect();
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            poll(&mut polled, Some(&timeout)).expect("poll works");
            polled.iter().map(|polled| !polled.revents().is_empty()).collect()
        };
        for (client, _) in clients.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready) {
            let (sent, received) = client.step(&mut buffer);
            moved.fetch_add(if matches!(way, Way::Up) { sent } else { received }, Ordering::Relaxed);
        }
    }
}

/// The share of the client with one connection.
fn share(root: &Path, way: Way, disk: &str) -> f64 {
    let server =
        Program::start(&[], env!("CARGO_BIN_EXE_filewharf"), root, &["--per-address", "100", "--durability", "none"]);
    let connect = |host: u8, n: usize| Client::connect(server.address(), host, n, way);
    let mut many: Vec<Client> = (0..MANY).map(|n| connect(2, n)).collect();
    let mut one = [connect(3, 0)];
    for client in many.iter_mut().chain(&mut one).filter(|_| matches!(way, Way::Down)) {
        for _ in 0..100 {
            client.stream.write_all(&client.message).expect("a thousand bytes go into a socket");
        }
    }
    let (of_many, of_one, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| run(&mut many, way, &of_many, &ended));
        scope.spawn(|| run(&mut one, way, &of_one, &ended));
        thread::sleep(WARM_UP);
        let before = [&of_many, &of_one].map(|moved| moved.load(Ordering::Relaxed));
        thread::sleep(MEASURED);
        let after = [&of_many, &of_one].map(|moved| moved.load(Ordering::Relaxed));
        ended.store(true, Ordering::Relaxed);
        let [many, one] = [0, 1].map(|at| (after[at] - before[at]) as f64);
        let name = if matches!(way, Way::Up) { "uploads" } else { "downloads" };
        let rate = (many + one) / MEASURED.as_secs_f64() / f64::from(1 << 20);
        println!("shares: {name}, {disk}: 1 connection against {MANY}: {:.3} of {rate:.0} MiB/s", one / (many + one));
        one / (many + one)
    })
}

#[test]
#[ignore = "needs 8 GiB of memory in /dev/shm, seconds of all processors and a release build; prints figures"]
fn one_connection_does_not_have_the_share_of_a_connection_beside_two_hundred_of_another_address() {
    if !Path::new(MEMORY).is_dir() {
        println!("shares: skipped, there is no {MEMORY}");
        return;
    }
    let root = tempfile::tempdir_in(MEMORY).expect("a folder can be made there");
    std::fs::write(root.path().join("file"), vec![b'd'; FILE_LEN]).expect("it fits");
    for way in [Way::Down, Way::Up] {
        // Other load on the machine keeps the one connection from being ready, and does so to the many together less.
        let is_fair = (0..ROUNDS_MAX).any(|_| share(root.path(), way, MEMORY) >= SHARE_MIN);
        assert!(is_fair, "in none of {ROUNDS_MAX} rounds");
    }
}

#[test]
#[ignore = "needs 7 GiB of disk, seconds of all processors and a release build; prints figures"]
fn one_upload_to_a_disk_that_lags_does_not_have_the_share_of_an_upload_beside_two_hundred_of_another_address() {
    let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let is_fair = (0..ROUNDS_MAX).any(|_| share(root.path(), Way::Up, "disk") >= SHARE_MIN);
    assert!(is_fair, "in none of {ROUNDS_MAX} rounds");
}
