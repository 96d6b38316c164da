//! A crowd: 9,000 connections held open by one process, some of them busy, most of them idle.
//!
//! `cargo test --release --test it -- --ignored --nocapture crowd`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the figures of a slow check are for people, and wall time is one of them"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use support::client::PATIENCE;
use support::driver::Loss;
use support::server::Program;
use support::{Content, Driver, Task, Wire, driver, figures, process};

const CROWD: usize = 8_900;
const MOVERS: usize = 100;
const FILE_LEN: u64 = 10 << 20;
/// Twenty bytes of a request line: held by the server until the rest comes.
const BEGUN: &[u8] = b"GET /some/long/name/";
const REST: &[u8] = b"nobody\n";

/// The answer comes only when every connection before it has been accepted.
fn ping(server: &Program) -> TcpStream {
    let mut stream = connect(server);
    answer(&mut stream, b"PING\n");
    stream
}

fn connect(server: &Program) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn answer(stream: &mut TcpStream, ask: &[u8]) -> String {
    stream.write_all(ask).expect("the server reads");
    let mut reply = Vec::new();
    let mut buffer = [0; 256];
    while !reply.ends_with(b"\n") {
        let n = stream.read(&mut buffer).expect("an answer in time");
        assert!(n > 0, "the server closed instead of answering");
        reply.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(reply).expect("text")
}

struct Memory {
    rss: u64,
    pss: u64,
}

impl Memory {
    fn of(server: &Program) -> Self {
        Self { rss: process::status(server.pid(), "VmRSS:"), pss: process::pss(server.pid()) }
    }

    /// Bytes more than `before`, for each of the crowd.
    fn each_since(&self, before: &Self, what: &str) -> f64 {
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 * 1024.0 / CROWD as f64;
        let (rss, pss) = (each(self.rss, before.rss), each(self.pss, before.pss));
        println!(
            "crowd: {what}: RSS {} KiB, PSS {} KiB: {rss:.0} (PSS {pss:.0}) bytes per connection",
            self.rss, self.pss
        );
        rss
    }
}

// covers: memory-limit
#[test]
#[ignore = "needs 10,000 descriptors and a release build; prints figures"]
fn nine_thousand_connections_cost_less_than_a_kibibyte_each_while_others_move_files() {
    if !process::permits(9_500, "crowd") {
        return;
    }
    let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
    // Requests that have begun wait until a gigabyte has gone to the disk and back. Silent clients are accepted at once.
    let timeouts = ["--head-timeout", "3600", "--idle-timeout", "3600", "--accept-defer", "0"];
    let arguments = [&timeouts[..], &["--per-address", "100"]].concat();
    let server = Program::start(&[], env!("CARGO_BIN_EXE_filewharf"), root.path(), &arguments);
    drop((0..100).map(|_| ping(&server)).collect::<Vec<_>>());
    let start = Memory::of(&server);
    println!("crowd: start: RSS {} KiB, PSS {} KiB", start.rss, start.pss);

    let began = Instant::now();
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(&server)).collect();
    let _last = ping(&server);
    println!("crowd: {CROWD} connections in {:.1?}", began.elapsed());
    let idle = Memory::of(&server);
    let each_idle = idle.each_since(&start, "idle");

    for stream in &mut crowd {
        stream.write_all(BEGUN).expect("the server reads");
    }
    let _last = ping(&server);
    let each_begun = Memory::of(&server).each_since(&start, "20 bytes of a request line each");

    let mut movers = Driver::connect(server.address(), MOVERS, Wire::Line, Loss::Panics);
    for (what, get) in [("up", false), ("down", true)] {
        let outcome = movers.run(driver::each(1, |at, _| {
            let (path, content) = (format!("/moved/{at}"), Content::new(at as u64, FILE_LEN));
            if get { Task::Get { path, content } } else { Task::Put { path, content } }
        }));
        assert_eq!(outcome.done, MOVERS as u64);
        let rate = figures::rate(outcome.bytes, outcome.elapsed);
        println!("crowd: {MOVERS} files of 10 MiB {what}: {rate:.0} MiB/s, {}", outcome.times);
    }
    let threads = process::status(server.pid(), "Threads:");
    Memory::of(&server).each_since(&start, "after the transfers");

    let began = Instant::now();
    for stream in &mut crowd {
        assert!(answer(stream, REST).starts_with("ERR 404"));
    }
    println!("crowd: {CROWD} answers, one after the other, in {:.1?}", began.elapsed());
    Memory::of(&server).each_since(&start, "answered");
    println!("crowd: {threads} threads");
    assert!(each_idle <= 1024.0, "an idle connection costs {each_idle:.0} bytes");
    assert!(each_begun <= 1024.0, "a connection with a begun line costs {each_begun:.0} bytes");
    assert!(threads <= 12, "{threads} threads");
}
