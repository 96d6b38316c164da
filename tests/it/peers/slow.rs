//! Peers that are slow or silent: each meets its deadline, and the memory it held is free again.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::error::CloseReason;

use support::client::{Client, Running, assert_same, content, wait_until};
use support::rig::{Mode, Rig};

/// A deadline that a silent peer misses. A peer that must be served beside it sends all at once.
const SOON: Duration = Duration::from_millis(200);

// covers: never-reads
#[test]
fn a_reader_that_never_reads_is_closed() {
    for (portable, trailer) in [(false, ""), (true, ""), (false, " trailer=sha256")] {
        let server = Running::with(|builder| {
            let mut limits = Limits::default().with(|l| {
                l.live.stall_timeout = SOON;
                l.fixed.send_buffer_bytes = 65_536;
            });
            limits.live.linger_timeout = SOON;
            builder.portable(portable).limits(limits)
        });
        let bytes = content(1, 16 << 20);
        std::fs::write(server.path("file"), &bytes).expect("a file");
        let mut client = server.client();
        client.send(format!("GET{trailer} /file\n"));
        wait_until("the reader is gone", || server.closed(CloseReason::TooSlow) == 1);
        server.wait_until_quiet();
        let (got, error) = client.rest();
        assert!(got.len() < bytes.len() && error.is_some(), "what was sent must not look whole");
        server.assert_serves();
        // With the default deadlines, as a client that reads may be slow as well.
        let other = Running::on(&server.path(""), |builder| builder.portable(portable).read_only(true));
        assert_same(&other.client().get("/file"), &bytes, "to one who reads");
    }
}

#[test]
fn a_full_queue_is_reported_at_once() {
    let server = Running::limited(|limits| {
        limits.fixed.slots = 1;
        limits.fixed.slot_queue_max = 1;
    });
    let mut holder = server.client();
    holder.send("PUT 10 /held\n12345");
    wait_until("the slot is taken", || server.counters().slots_used == 1);
    let mut waiting = server.client();
    waiting.send("PUT 3 /waiting\nabc");
    wait_until("one is in line", || server.counters().slots_waiting == 1);
    let line = server.client().try_put("/file", b"abc");
    assert!(line.starts_with("ERR 429 retry="), "{line}");
    drop(holder);
    assert!(waiting.line().starts_with("OK 0 "), "the one that held the slot has gone");
    drop(waiting);
    server.wait_until_quiet();
    server.assert_serves();
}

#[test]
fn a_request_that_gave_up_takes_no_place_in_the_queue() {
    let server = Running::limited(|limits| {
        limits.fixed.slots = 1;
        limits.fixed.slot_queue_max = 3;
        limits.live.slot_timeout = Duration::from_millis(100);
    });
    let mut holder = server.client();
    holder.send("PUT 10 /held\n12345");
    wait_until("the slot is taken", || server.counters().slots_used == 1);
    for round in 1..=3 {
        let mut crowd: Vec<Client> = (0..3).map(|_| server.client()).collect();
        for client in &mut crowd {
            client.send("PUT 3 /crowd\nabc");
        }
        for client in &mut crowd {
            assert!(client.line().starts_with("ERR 429 retry="), "round {round}");
        }
        wait_until("their places are free", || server.counters().slots_waiting == 0);
    }
    holder.send("67890");
    assert!(holder.line().starts_with("OK 0 "));
    drop(holder);
    server.wait_until_quiet();
    server.assert_serves();
}

/// Every byte that is read is activity, but the rate decides. In virtual time.
// covers: reads-byte-by-byte
#[test]
fn a_reader_that_reads_byte_by_byte_is_closed() {
    for (deferred, held) in [(false, false), (true, false), (true, true)] {
        for request in ["GET /file\n", "GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let listening = Listening::new(Kind::Auto, &[], 0).expect("no options");
            let mode = Mode { deferred, held, lags: false, window: 40 };
            let mut rig = Rig::speaking(listening, mode, Limits::default(), Access::default());
            rig.place("file", &content(1, 1000));
            let peer = rig.connect();
            rig.send_unread(&peer, request.as_bytes());
            for _ in 0..300 {
                if !peer.is_gone() {
                    rig.read(&peer, 1);
                }
                rig.pass(Duration::from_secs(1));
            }
            assert!(peer.is_gone() && peer.is_reset(), "{mode:?}, {request}: it continues for ever");
            assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
        }
    }
}
