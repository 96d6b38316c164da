//! Thousands of reloads of flags, rules and certificates while clients are served: no connection is lost, and memory and
//! descriptors stay what they are.
//!
//! `cargo test --release --test it -- --ignored --nocapture reloads`
#![allow(clippy::print_stdout, reason = "the figures of a slow check are for people")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use support::client::Client;
use support::driver::Loss;
use support::tls::{Authority, config, connect};
use support::{Content, Driver, Task, Wire, driver, process};

use crate::program::logging;

const RELOADS: usize = 3000;
/// Caches and allocators are warm after that.
const WARM: usize = 1000;
const IDLE: usize = 200;
const BUSY: usize = 32;
const LEN: u64 = 20_000;
/// What the figure may differ by: hot files and the buckets of clients come and go. 256 bytes for each reload.
const GROWTH_KIB_MAX: u64 = 512;

/// What the server reads again.
struct Files {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn replace(&self, name: &str, text: &str) {
        let next = self.path("next");
        fs::write(&next, text).expect("a file");
        fs::set_permissions(&next, Permissions::from_mode(0o600)).expect("a mode");
        fs::rename(next, self.path(name)).expect("the name is replaced");
    }

    fn write(&self, nth: usize) {
        let rate = if nth.is_multiple_of(2) { "0" } else { "1G" };
        let (certificate, key, access) = (self.path("cert.pem"), self.path("key.pem"), self.path("access"));
        let flags = format!(
            "tls-cert {certificate}\ntls-key {key}\naccess {access}\ndurability written\nper-address 100\n\
             max-size {}G\nclient-upload-rate {rate}\nidle-timeout {}\n",
            1 + nth % 7,
            600 + nth
        );
        self.replace("conf", &flags);
        self.replace("access", &format!("allow @ rlcwd /\nallow @ r /{nth}\n"));
        if nth.is_multiple_of(10) {
            self.authority.signs("localhost").write(self.dir.path());
        }
    }
}

/// How often this was done until the end.
fn repeat(ends: &AtomicBool, mut step: impl FnMut() -> u64) -> u64 {
    let mut done = 0;
    while !ends.load(Ordering::Relaxed) {
        done += step();
    }
    done
}

fn transfers(address: SocketAddr, ends: &AtomicBool) -> u64 {
    let mut driver = Driver::connect(address, BUSY, Wire::Line, Loss::Panics);
    repeat(ends, || {
        let task = |at: usize, nth: usize| {
            let (path, content) = (format!("/f{at}"), Content::new(at as u64, LEN));
            if nth == 0 { Task::Put { path, content } } else { Task::Get { path, content } }
        };
        driver.run(driver::each(4, task)).done
    })
}

fn connections(address: SocketAddr, ends: &AtomicBool) -> u64 {
    repeat(ends, || {
        Client::connect(address).expect("PING", "OK 0");
        1
    })
}

fn encrypted(address: SocketAddr, ends: &AtomicBool) -> u64 {
    let trusted = config();
    repeat(ends, || {
        let mut stream = connect(address, &trusted);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).expect("a whole reply");
        assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", reply.escape_ascii());
        1
    })
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

#[test]
#[ignore = "needs a minute; prints figures"]
fn thousands_of_reloads_lose_no_connection_and_take_neither_memory_nor_descriptors() {
    let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let files = Files { dir, authority: Authority::new("authority") };
    files.write(0);
    let (file, root) = (files.path("conf"), files.dir.path().join("served"));
    let listens = ["--config", &file, "--listen", "127.0.0.1:0", "--listen", "http@127.0.0.1:0?tls"];
    let (program, log) = logging(&root, &listens, Stdio::piped());
    let mut log = BufReader::new(log.expect("a pipe")).lines().map_while(Result::ok);
    let [plain, tls] = program.addresses[..] else { panic!("{}", program.said) };
    let pid = program.pid();
    let mut idle: Vec<_> = (0..IDLE).map(|_| program.client()).collect();
    let (ends, mut figures) = (AtomicBool::new(false), Vec::new());
    let done = thread::scope(|scope| {
        let threads = [
            scope.spawn(|| transfers(plain, &ends)),
            scope.spawn(|| connections(plain, &ends)),
            scope.spawn(|| encrypted(tls, &ends)),
        ];
        for nth in 1..=RELOADS {
            files.write(nth);
            program.signal(Signal::HUP);
            let line = log.find(|line| line.contains("its key again") || line.contains("stays in effect"));
            assert!(line.as_ref().is_some_and(|line| line.contains("again")), "{line:?}");
            if nth.is_multiple_of(WARM) {
                figures.push((process::status(pid, "RssAnon:"), descriptors(pid)));
                println!("reloads: {nth}: RssAnon in KiB, descriptors: {:?}", figures.last());
            }
        }
        ends.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().expect("no client was cut off"))
    });
    for client in &mut idle {
        client.expect("PING", "OK 0");
    }
    println!("reloads: {RELOADS}; transfers, new connections, those with TLS: {done:?}; idle: {IDLE}");
    let (first, last) = (figures[0], figures[figures.len() - 1]);
    assert!(last.0 <= first.0 + GROWTH_KIB_MAX, "{figures:?}");
    // Each of the busy may have a file open, or none.
    assert!(last.1.abs_diff(first.1) <= BUSY, "{figures:?}");
    drop((idle, log));
    program.end();
}
