//! The log has one line for every request that ended: what it was, how much moved, how long it took,
//! and why it failed. In virtual time; a test hears the lines of its own thread.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use filewharf::config::{Access, Limits};
use log::{LevelFilter, Log, Metadata, Record};

use crate::rig::{Mode, Rig};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Listener;

impl Log for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "filewharf::transfer"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// The lines since this was asked last.
fn lines() -> Vec<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("nobody else listens");
        log::set_max_level(LevelFilter::Info);
    });
    LINES.take()
}

fn limits() -> Limits {
    Limits { chunk_bytes: 16, chunks_per_slot: 4, ..Limits::default() }
}

/// Of everything that was asked, the kind, the bytes and the outcome.
#[track_caller]
fn check(rig: &mut Rig, says: &str, wanted: &[&str]) {
    let peer = rig.connect();
    let _ = lines();
    rig.send(&peer, says.as_bytes());
    rig.skip(Duration::from_millis(1500));
    rig.finish(&peer);
    let short: Vec<String> = lines().iter().map(|line| line.replace(" peer=127.0.0.1:50851", "")).collect();
    assert_eq!(short, wanted, "{says:?}");
}

#[test]
fn every_request_that_ended_has_its_line() {
    for mode in Mode::all().filter(|mode| mode.window == usize::MAX) {
        let mut rig = Rig::new(mode, limits(), Access::default());
        let _ = lines();
        check(&mut rig, "PUT 3 /x\nabc", &["put key=\"/x\" bytes=3 result=ok ms=0"]);
        let long = format!("PUT 40 /y\n{}", "a".repeat(40));
        check(&mut rig, &long, &["put key=\"/y\" bytes=40 result=ok ms=0"]);
        check(&mut rig, "PUT * /z\n3\nabc2\nde0\n", &["put key=\"/z\" bytes=5 result=ok ms=0"]);
        check(
            &mut rig,
            "GET /y\nGET /x\n",
            &["get key=\"/y\" bytes=40 result=ok ms=0", "get key=\"/x\" bytes=3 result=ok ms=0"],
        );
        check(&mut rig, "DELETE /x\n", &["delete key=\"/x\" bytes=0 result=ok ms=0"]);
        let cut = "put key=\"/y\" bytes=20 result=failed told=\"the connection ended before the body did\" cause=\"cut-short\" ms=1500";
        check(&mut rig, &long[..30], &[cut]);
        check(
            &mut rig,
            "GET /no\n",
            &["get key=\"/no\" bytes=0 result=failed told=\"no such file or folder\" cause=\"memory\" ms=0"],
        );
    }
}
