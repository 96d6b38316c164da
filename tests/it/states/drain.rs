//! A drain and a stop, in every state.

use std::time::Duration;

use filewharf::access::Access;

use support::rig::{Mode, Rig};

use super::{STEP, assert_clean, limits, modes, plain_rig, rig, said, seconds, short_limits};

// covers: drain
#[test]
fn a_drain_in_any_state_lets_it_finish_and_ends() {
    // What has been sent when the drain begins, what comes after it, what is heard, what is stored.
    let cases: [(&str, &str, &str, bool); 9] = [
        ("", "", "", false),
        ("", "PING\n", "", false),
        ("PING\n", "", "OK 0\n", false),
        ("GET /no", "ne\n", "ERR 503 retry=5 ", false),
        ("PUT 5 /x\n12", "345", "OK 0 etag=", true),
        ("PUT 40 /x\n12", "34567890123456789012345678901234567890", "OK 0 etag=", true),
        ("PUT * /x\n3\n12", "30\n", "OK 0 etag=", true),
        (
            "PUT 5 /x\n12",
            "345PUT 3 /y\nabc",
            "OK 0 etag=00000000000000000000000000000001 stored=durable\nERR 503 ",
            true,
        ),
        ("PUT 3 /../x\n12", "3", "ERR 400 ", false),
    ];
    for mode in modes() {
        for (before, after, heard, stored) in cases {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, before.as_bytes());
            rig.drain();
            rig.send(&peer, after.as_bytes());
            rig.pass(limits().live.linger_timeout);
            rig.pass(limits().live.linger_timeout);
            let said = said(&peer);
            assert!(said.starts_with(heard), "{before:?} ({mode:?}): {said:?}");
            assert!(peer.is_gone(), "{before:?} ({mode:?}): stays");
            assert_eq!(rig.file("x").is_some(), stored, "{before:?} ({mode:?})");
            assert!(rig.file("y").is_none());
            assert_clean(&mut rig);
            assert!(rig.has_ended(), "{before:?} ({mode:?}): the server continues");
        }
    }
}

#[test]
fn a_server_that_drains_listens_for_the_whole_grace() {
    let mut rig =
        Rig::new(Mode::PLAIN, limits().with(|l| l.live.drain_grace = Duration::from_secs(5)), Access::default());
    rig.drain();
    rig.pass(Duration::from_secs(4));
    assert!(!rig.has_ended());
    let late = rig.connect();
    rig.send(&late, b"GET /x\n");
    assert!(said(&late).starts_with("ERR 503 retry=5 "), "{}", said(&late));
    rig.finish(&late);
    assert!(!rig.has_ended(), "others may come");
    rig.pass(Duration::from_secs(1));
    assert!(rig.has_ended());
}

#[test]
fn a_server_that_drains_takes_no_new_client_while_transfers_end() {
    let mut rig = rig(Mode::PLAIN);
    let (busy, idle) = (rig.connect(), rig.connect());
    rig.send(&busy, b"PUT 5 /x\nhel");
    rig.drain();
    let late = rig.connect();
    rig.send(&late, b"GET /x\n");
    assert_eq!((said(&late), rig.counters().open), (String::new(), 2));
    assert!(!idle.is_closed(), "it would be told why");
    rig.send(&busy, b"lo");
    assert!(said(&busy).starts_with("OK 0 "));
    rig.pass(limits().live.linger_timeout);
    rig.pass(limits().live.linger_timeout);
    assert!(idle.is_gone() && rig.has_ended());
}

#[test]
fn a_drain_does_not_wait_for_clients_that_only_read_the_last_reply() {
    let mut rig = rig(Mode::PLAIN);
    let (idle, lingers) = (rig.connect(), rig.connect());
    rig.pass(limits().live.linger_timeout);
    rig.send(&lingers, b"nonsense\n");
    assert!(lingers.is_closed() && !lingers.is_gone());
    rig.drain();
    assert!(idle.is_gone() && !lingers.is_gone());
}

#[test]
fn a_drained_connection_is_closed_at_once_only_if_it_has_been_silent_for_long() {
    for (silence, lingers) in [(seconds(2) - STEP, true), (seconds(2), false)] {
        let mut rig = plain_rig();
        let peer = rig.connect();
        rig.send(&peer, b"PING\n");
        rig.pass(silence);
        rig.drain();
        assert!(peer.is_closed());
        assert_eq!(peer.is_gone(), !lingers, "after {silence:?}");
    }
}

#[test]
fn a_stop_counts_what_it_cut_off() {
    let mut rig = plain_rig();
    rig.place("x", &[b'a'; 100]);
    let [_idle, busy, half, lingers, discards] = [0; 5].map(|_| rig.connect());
    rig.send(&busy, b"PUT 100 /y\nabc");
    rig.send(&half, b"GET /");
    rig.send(&lingers, b"nonsense\n");
    rig.send(&discards, b"PUT 100 /../x\nabc");
    rig.stop_in_turn();
    assert!(busy.is_reset());
    assert_eq!(rig.end().cut_off, 1, "an upload, and nothing that was over or had not begun");
}

#[test]
fn a_drain_waits_for_no_transfer_longer_than_its_time() {
    let limits = short_limits().with(|l| {
        l.live.drain_grace = seconds(7);
        l.live.rate_bytes_per_s_min = 0;
    });
    let mut rig = Rig::new(Mode::PLAIN, limits.with(|l| l.live.stall_timeout = seconds(1000)), Access::default());
    let busy = rig.connect();
    rig.send(&busy, b"PUT 1000 /x\nabc");
    rig.drain();
    rig.pass(seconds(107) - STEP);
    assert!(!busy.is_gone());
    rig.pass(STEP);
    assert!(busy.is_gone() && busy.is_reset());
}

#[test]
fn a_drain_waits_for_a_client_that_has_not_read_its_reply() {
    let mut rig = Rig::new(Mode { window: 3, ..Mode::PLAIN }, short_limits(), Access::default());
    let peer = rig.connect();
    rig.send_unread(&peer, b"PING\n");
    rig.pass(seconds(2));
    rig.drain();
    assert!(!peer.is_closed());
    rig.read(&peer, 3);
    assert!(said(&peer) == "OK 0\n" && peer.is_closed());
}
