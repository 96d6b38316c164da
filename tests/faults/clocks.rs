//! Clocks that jump, and a process that is stopped for a while.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::outside::text;
use crate::server::{Served, dir};
use crate::wire::{Expects, Framing, Reply, Talker, Wire};
use support::client::{assert_same, content, staged, wait_until};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The wall clock is only shown, no deadline depends on it.
// covers: clock-back-across-crash clocks-jump
#[test]
#[ignore = "needs libfaketime and a release build"]
fn a_wall_clock_that_jumps_by_decades_changes_only_the_times_in_replies() {
    let (root, offsets) = (dir(), tempfile::NamedTempFile::new().expect("a file"));
    let set = |offset: &str| fs::write(offsets.path(), format!("{offset}\n")).expect("a file");
    set("+0");
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", text(offsets.path()));
    let preload = format!("LD_PRELOAD={FAKETIME}");
    let before = ["env", &preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    // Longer than the syncs between the jumps can take, shorter than any jump.
    // The faked clock reads a file each time, which the sandbox would forbid.
    let options = ["--sandbox", "off", "--stall-timeout", "1200", "--idle-timeout", "1200", "--rate-window", "1200"];
    let mut server = Served::run_by(&before, root.path(), &options);
    let (mut idle, mut halfway) = (server.client(), server.client());
    let mut http = Talker::new(Wire::Http, server.address());
    idle.expect("PING", "OK 0");
    halfway.send("PUT 1000 /halfway\n");
    halfway.send(content(1, 500));
    for (offset, year) in [("+10y", "203"), ("-10y", "201"), ("+60y", "208"), ("-54y", "197"), ("+0", "202")] {
        set(offset);
        server.assert_serves();
        http.put("/dated", offset.as_bytes());
        assert_eq!(http.fetch("/dated"), offset.as_bytes(), "on the connection from before the jump");
        idle.expect("PING", "OK 0");
        wait_until("the log tells the new time", || {
            server.log().lines().last().is_some_and(|line| line.starts_with(year))
        });
    }
    halfway.send(content(1, 1000).split_off(500));
    assert!(halfway.line().starts_with("OK 0 "), "no deadline has jumped");
    // What a server that died in the future left is swept in the past: by its lock, not by its time.
    set("+10y");
    let mut dying = server.client();
    dying.send("PUT 1000000 /dies\n");
    dying.send(content(1, 500_000));
    wait_until("a staging file", || staged(root.path()).len() == 1);
    server.kill();
    set("-10y");
    let server = Served::run_by(&before, root.path(), &options);
    server.wait_until_swept();
    assert_same(&server.client().get("/halfway"), &content(1, 1000), "across the jump");
    server.assert_serves();
    assert_eq!(server.end(), Some(0));
}

/// A machine that has run for a hundred years.
// covers: clocks-jump
#[test]
#[ignore = "needs root, a kernel with time namespaces and a release build"]
fn a_monotonic_clock_that_begins_late_is_as_good() {
    let root = dir();
    let before = ["unshare", "-T", "--monotonic", "3155760000", "--boottime", "3155760000"];
    let server = Served::run_by(&before, root.path(), &["--head-timeout", "0.3"]);
    let theirs = fs::read_link(format!("/proc/{}/ns/time", server.pid())).expect("a namespace");
    assert_ne!(theirs, fs::read_link("/proc/self/ns/time").expect("a namespace"), "it has another clock");
    server.assert_serves();
    let mut slow = server.client();
    slow.send("GET /almo");
    assert!(slow.line().starts_with("ERR 408 "));
    drop(slow);
    assert_eq!(server.end(), Some(0));
}

/// A client that has sent all it should while the server was stopped is not refused as too slow.
// covers: interrupted
#[test]
#[ignore = "needs a release build"]
fn deadlines_that_passed_while_the_server_was_stopped_end_no_client_that_did_its_part() {
    let root = dir();
    // Until it is stopped, all of them must meet these on a machine that may rest for seconds.
    let options = ["--stall-timeout", "8", "--idle-timeout", "8", "--head-timeout", "8", "--rate-window", "30"];
    let server = Served::start(root.path(), &options);
    let mut halfway: Vec<_> = (0..20)
        .map(|n| {
            let wire = Wire::BOTH[n as usize % 2];
            let mut client = Talker::new(wire, server.address());
            let upload = wire.upload(&format!("/file{n}"), &content(n, 200_000), Framing::Length);
            let (before, after) = upload.split_at(upload.len() - 100_000);
            client.send(before);
            (client, after.to_vec())
        })
        .collect();
    let (mut begun, mut idle) = (server.client(), server.client());
    idle.expect("PING", "OK 0");
    begun.send("PI");
    wait_until("all have begun", || staged(root.path()).len() == 20);
    server.signal(Signal::STOP);
    for (client, after) in &mut halfway {
        client.send(after);
    }
    begun.send("NG\n");
    idle.send("PING\n");
    // The fault itself: it lasts longer than any of the deadlines.
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    server.signal(Signal::CONT);
    for (client, _) in &mut halfway {
        let reply = client.hear(Expects::Body);
        assert!(matches!(reply, Reply::Served(_)), "{}", reply.words());
    }
    assert_eq!((begun.line(), idle.line()), ("OK 0".to_owned(), "OK 0".to_owned()));
    assert_eq!(server.end(), Some(0));
}
