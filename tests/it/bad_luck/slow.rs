//! Peers that are slow or silent: each meets its deadline, and the memory it held is free again.

use std::io::Write as _;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::error::CloseReason;

use support::client::{Client, PATIENCE, Running, assert_same, content, visible, wait_until};
use support::rig::{Mode, Rig};

/// A deadline that ends who never does its part. Who must be served beside it says all at once.
const SOON: Duration = Duration::from_millis(200);
/// A deadline that one who is served must meet again and again, however busy the machine is.
const LATER: Duration = Duration::from_secs(3);

#[test]
fn a_head_that_never_completes_is_told_so() {
    let server = Running::limited(|limits| limits.head_timeout = SOON);
    let mut client = server.client();
    client.send("GET /almo");
    assert!(client.line().starts_with("ERR 408 "));
    client.expect_eof();
    let mut client = server.client();
    client.expect("PING", "OK 0");
    client.send("P");
    assert!(client.line().starts_with("ERR 408 "), "also after a request");
    drop(client);
    server.wait_until_quiet();
    server.assert_serves();
}

/// The deadline is of the whole head: trickling does not push it back.
// covers: H3
#[test]
fn a_head_that_trickles_is_told_so_too() {
    let server = Running::limited(|limits| limits.head_timeout = SOON);
    let mut client = server.client();
    let mut writer = client.stream.try_clone().expect("a socket can be cloned");
    wait_until("an end of the trickle", || writer.write_all(b"a").is_err() || server.counters().open == 0);
    let said = client.last_words();
    assert!(said.is_empty() || said.starts_with("ERR 408 "), "{said}");
    drop(client);
    server.wait_until_quiet();
    server.assert_serves();
}

#[test]
fn an_idle_connection_is_let_go() {
    let server = Running::limited(|limits| limits.idle_timeout = LATER);
    let mut silent = server.client();
    let mut client = server.client();
    client.expect("PING", "OK 0");
    client.expect_eof();
    silent.expect_eof();
    wait_until("both are gone", || server.closed(CloseReason::IdleTimeout) == 2);
    server.wait_until_quiet();
    server.assert_serves();
}

#[test]
fn an_upload_that_stalls_ends_and_stores_nothing() {
    for size in [100, 1_000_000] {
        let server = Running::limited(|limits| limits.stall_timeout = SOON);
        let mut client = server.client();
        client.send(format!("PUT {size} /file\nstalls"));
        assert!(client.line().starts_with("ERR 408 "));
        drop(client);
        server.wait_until_quiet();
        assert_eq!(visible(&server.path("")), Vec::<String>::new());
        server.assert_serves();
    }
}

/// Every byte is activity, but the rate decides.
// covers: R6
#[test]
fn an_upload_that_trickles_ends_and_stores_nothing() {
    let server = Running::limited(|limits| {
        limits.rate_window = SOON;
        limits.rate_bytes_per_s_min = 1 << 30;
    });
    let mut client = server.client();
    client.send("PUT 1000000 /file\n");
    let mut writer = client.stream.try_clone().expect("a socket can be cloned");
    wait_until("an end of the trickle", || {
        // A failed write is the end as well.
        writer.write_all(b"a").is_err() || server.counters().failed == 1
    });
    let said = client.last_words();
    assert!(said.is_empty() || said.starts_with("ERR 408 "), "{said}");
    drop((client, writer));
    server.wait_until_quiet();
    assert_eq!(visible(&server.path("")), Vec::<String>::new());
    server.assert_serves();
}

// covers: N12
#[test]
fn a_reader_that_never_reads_is_let_go() {
    for (portable, trailer) in [(false, ""), (true, ""), (false, " trailer=sha256")] {
        let server = Running::with(|builder| {
            let mut limits = Limits::default().with(|l| {
                l.stall_timeout = SOON;
                l.send_buffer_bytes = 65_536;
            });
            limits.linger_timeout = SOON;
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
        // Where nobody is let go so soon, as one who reads may be slow as well.
        let other = Running::on(&server.path(""), |builder| builder.portable(portable).read_only(true));
        assert_same(&other.client().get("/file"), &bytes, "to one who reads");
    }
}

// covers: N16
#[test]
fn replies_that_nobody_reads_stop_the_requests() {
    let server = Running::limited(|limits| {
        limits.stall_timeout = SOON;
        limits.send_buffer_bytes = 1;
    });
    let client = server.client();
    let mut writer = client.stream.try_clone().expect("a socket can be cloned");
    let long = format!("GET /{}\n", "n".repeat(200)).repeat(100);
    wait_until("the server has let it go", || {
        writer.write_all(long.as_bytes()).is_err() || server.counters().open == 0
    });
    drop((client, writer));
    server.wait_until_quiet();
    server.assert_serves();
}

/// One slot, held by an upload that takes its time.
fn one_slot(slot_timeout: Duration) -> (Running, Client) {
    let server = Running::limited(|limits| {
        limits.slots = 1;
        limits.slot_timeout = slot_timeout;
    });
    let mut holder = server.client();
    holder.send("PUT 10 /held\n12345");
    wait_until("the slot is taken", || server.counters().slots_used == 1);
    (server, holder)
}

// covers: F16
#[test]
fn who_waits_too_long_for_a_slot_is_told_when_to_come_back() {
    let (server, mut holder) = one_slot(SOON);
    let mut client = server.client();
    client.send("PUT 3 /file\nabcLIST /\nPING\n");
    for _ in 0..2 {
        let line = client.line();
        assert!(line.starts_with("ERR 429 retry="), "{line}");
    }
    assert_eq!(client.line(), "OK 0");
    holder.send("67890");
    assert!(holder.line().starts_with("OK 0 "));
    assert!(client.try_put("/file", b"abc").starts_with("OK 0 "));
    drop((client, holder));
    server.wait_until_quiet();
    server.assert_serves();
}

#[test]
fn who_waits_for_a_slot_is_served_when_it_is_free() {
    // One after the other waits for the syncs of all before it.
    let (server, mut holder) = one_slot(10 * PATIENCE);
    let mut waiting: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for (n, client) in waiting.iter_mut().enumerate() {
        client.send(format!("PUT 3 /file {n}\nabc"));
    }
    wait_until("all are in line", || server.counters().slots_waiting == 10);
    // What needs no slot goes on.
    server.client().expect("STAT /", "OK 0 folder=1");
    waiting.remove(3).reset();
    drop(waiting.remove(5));
    holder.send("67890");
    assert!(holder.line().starts_with("OK 0 "));
    for client in &mut waiting {
        assert!(client.line().starts_with("OK 0 "));
    }
    drop((waiting, holder));
    server.wait_until_quiet();
    server.assert_serves();
}

#[test]
fn a_full_queue_is_told_at_once() {
    let server = Running::limited(|limits| {
        limits.slots = 1;
        limits.slot_queue_max = 1;
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
fn who_gave_up_takes_no_place_in_the_queue() {
    let server = Running::limited(|limits| {
        limits.slots = 1;
        limits.slot_queue_max = 3;
        limits.slot_timeout = Duration::from_millis(100);
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
// covers: N13
#[test]
fn a_reader_that_reads_byte_by_byte_is_let_go() {
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
            assert!(peer.is_gone() && peer.is_reset(), "{mode:?}, {request}: it goes on for ever");
            assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
        }
    }
}
