//! A hand-over: another process accepts, and this one serves what it has accepted.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::dialect::{Kind, Listening};
use filewharf::platform::Signal;

use support::rig::{Mode, Rig};

use super::{STEP, assert_clean, limits, modes, rig, said, short_limits};

#[test]
fn what_was_accepted_is_served_in_full_and_then_the_server_ends() {
    // What has been sent when the hand-over begins, what comes after it, what is heard, what is stored.
    let cases: [(&str, &str, &str, bool); 6] = [
        ("PING\n", "PING\n", "OK 0\nOK 0\n", false),
        ("", "PING\n", "OK 0\n", false),
        ("PUT 5 /x\n12", "345", "OK 0 etag=00000000000000000000000000000001 stored=durable\n", true),
        ("PUT * /x\n3\n12", "30\n", "OK 0 etag=00000000000000000000000000000001 stored=durable\n", true),
        ("GET /no", "ne\n", "ERR 404 no such file or folder: /none\n", false),
        // What has come already is served on the same connection.
        ("PUT 5 /x\n12", "345PING\n", "OK 0 etag=00000000000000000000000000000001 stored=durable\nOK 0\n", true),
    ];
    for mode in modes() {
        for (before, after, heard, is_stored) in cases {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, before.as_bytes());
            rig.signal(Signal::HandOver);
            assert!(!rig.has_ended() && !peer.is_closed(), "{before:?} ({mode:?})");
            rig.send(&peer, after.as_bytes());
            rig.pass(limits().live.linger_timeout);
            rig.pass(limits().live.linger_timeout);
            assert_eq!(said(&peer), heard, "{before:?} ({mode:?})");
            assert!(peer.is_closed(), "{before:?} ({mode:?}): stays");
            assert_eq!(rig.file("x").is_some(), is_stored, "{before:?} ({mode:?})");
            assert_clean(&mut rig);
            assert!(rig.has_ended(), "{before:?} ({mode:?}): the server continues");
        }
    }
}

#[test]
fn uploads_that_are_stored_together_are_all_answered_before_the_connection_ends() {
    for mode in modes() {
        let mut rig = rig(mode);
        let peer = rig.connect();
        rig.send(&peer, b"PUT 3 /x\nab");
        rig.signal(Signal::HandOver);
        rig.send(&peer, b"cPUT 3 /y\nabcPUT 3 /z\nabc");
        rig.pass(limits().live.linger_timeout);
        rig.pass(limits().live.linger_timeout);
        let said = said(&peer);
        let stored = ["x", "y", "z"].map(|name| rig.file(name).is_some());
        assert_eq!(said.matches("stored=durable\n").count(), stored.iter().filter(|stored| **stored).count(), "{said}");
        assert!(stored[0] && said.starts_with("OK 0 ") && said.ends_with('\n'), "{mode:?}: {said}");
        assert!(peer.is_closed(), "{mode:?}: stays");
        assert_clean(&mut rig);
        assert!(rig.has_ended(), "{mode:?}: the server continues");
    }
}

#[test]
fn http_clients_learn_from_the_next_response_that_the_connection_ends() {
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default());
    let peer = rig.connect();
    let request = b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n";
    rig.send(&peer, request);
    assert!(!said(&peer).contains("Connection: close"), "{}", said(&peer));
    rig.signal(Signal::HandOver);
    rig.send(&peer, request);
    assert!(said(&peer).contains("\r\nConnection: close\r\n"), "{}", said(&peer));
    rig.finish(&peer);
    rig.pass(STEP);
    assert!(rig.has_ended());
}

#[test]
fn silent_connections_have_their_time_and_nothing_new_is_accepted() {
    let mut rig = rig(Mode::PLAIN);
    let silent = rig.connect();
    rig.signal(Signal::HandOver);
    let late = rig.connect();
    rig.send(&late, b"PING\n");
    rig.pass(limits().live.idle_timeout - STEP);
    assert!(!silent.is_closed() && !rig.has_ended());
    assert_eq!((said(&late), rig.counters().open), (String::new(), 1), "it is the other process's");
    rig.pass(STEP);
    assert!(silent.is_closed() && rig.has_ended());
}

#[test]
fn a_client_that_has_begun_its_next_request_before_it_saw_the_end_is_not_reset() {
    let mut rig = rig(Mode::PLAIN);
    let peer = rig.connect();
    rig.signal(Signal::HandOver);
    rig.send(&peer, b"PING\n");
    assert!(peer.is_closed() && !peer.is_gone());
    for part in ["PUT 3 /x\n", "1", "2", "3"] {
        rig.send(&peer, part.as_bytes());
        rig.pass(limits().live.stall_timeout - STEP);
        assert!(!peer.is_gone() && !rig.has_ended(), "{part:?}");
    }
    rig.finish(&peer);
    assert_eq!((said(&peer), rig.file("x")), ("OK 0\n".to_owned(), None), "it asks the other process again");
    assert!(rig.has_ended());
}

#[test]
fn a_transfer_that_never_ends_is_cut_off_in_the_end() {
    let mut rig =
        Rig::new(Mode::PLAIN, limits().with(|l| l.live.handover_timeout = Duration::from_secs(20)), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 1000 /x\n12");
    rig.signal(Signal::HandOver);
    rig.pass(Duration::from_secs(20) - STEP);
    assert!(!peer.is_closed());
    rig.pass(STEP);
    assert!(peer.is_gone() && rig.has_ended() && rig.file("x").is_none());
    assert_clean(&mut rig);
}

#[test]
fn where_the_other_process_ends_those_that_wait_are_accepted_here() {
    let mut rig = rig(Mode::PLAIN);
    let open = rig.connect();
    rig.signal(Signal::HandOver);
    let waiting = rig.connect();
    rig.send(&waiting, b"PING\n");
    assert_eq!(said(&waiting), "");
    rig.signal(Signal::TakeBack);
    assert_eq!(said(&waiting), "OK 0\n");
    rig.send(&open, b"PING\n");
    rig.send(&open, b"PING\n");
    assert_eq!(said(&open), "OK 0\nOK 0\n", "it stays open again");
    assert!(!rig.has_ended());
}

#[test]
fn a_drain_during_a_hand_over_has_the_time_of_a_drain() {
    let mut rig = rig(Mode::PLAIN);
    let (busy, idle) = (rig.connect(), rig.connect());
    rig.send(&busy, b"PUT 1000 /x\n12");
    rig.signal(Signal::HandOver);
    rig.drain();
    rig.send(&idle, b"PING\n");
    assert!(said(&idle).starts_with("ERR 503 "), "{}", said(&idle));
    rig.pass(limits().live.drain_timeout);
    assert!(busy.is_gone() && rig.has_ended());
}
