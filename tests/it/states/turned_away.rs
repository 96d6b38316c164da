//! Connections that are turned away before they have a session, or cannot be registered.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

/// A client that gets no answer takes a plain end for success. Found by the simulator.
// covers: too-many-connections
#[test]
fn a_connection_that_is_turned_away_without_a_reply_sees_a_reset() {
    let limits = Limits::default().with(|l| l.fixed.connections_max = 1);
    for kind in [Kind::Menu, Kind::NameChoice, Kind::NameSize, Kind::Pickle] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let first = rig.connect();
        let second = rig.connect();
        assert!(second.is_gone() && second.is_reset(), "{kind}");
        assert!(!first.is_gone(), "{kind}");
        assert_eq!(rig.counters().turned_away, 1, "{kind}");
    }
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    let _first = rig.connect();
    let second = rig.connect();
    assert!(second.is_gone() && !second.is_reset() && second.heard().starts_with(b"ERR 429 "));
}

/// The answer was always one of the line protocol, which `wget` stored as the file.
#[test]
fn a_client_that_is_turned_away_is_answered_in_the_protocol_of_its_first_line() {
    let limits = Limits::default().with(|l| l.fixed.connections_max = 1);
    let http = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n";
    for (kind, says, wanted) in [
        (Kind::Auto, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", http),
        (Kind::Auto, "\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n", http),
        (Kind::Auto, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", http),
        (Kind::Auto, "GET /x\n", "ERR 429 retry=1 "),
        (Kind::Auto, "PUT 3 /x\nabc", "ERR 429 retry=1 "),
        (Kind::Http, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", http),
    ] {
        for mode in Mode::all() {
            let listening = Listening::new(kind, &[], 0).expect("no options");
            let mut rig = Rig::speaking(listening, mode, limits.clone(), Access::default());
            let _first = rig.connect();
            let late = rig.connect();
            for byte in says.bytes() {
                rig.send(&late, &[byte]);
            }
            let heard = String::from_utf8_lossy(&late.heard()).into_owned();
            assert!(heard.starts_with(wanted) && late.is_closed() && !late.is_reset(), "{says:?}: {heard}");
            rig.finish(&late);
            assert!(late.is_gone() && rig.file("x").is_none());
            assert_eq!((rig.counters().turned_away, rig.counters().open), (1, 1));
        }
    }
}

#[test]
fn a_client_that_is_turned_away_and_sends_no_line_is_closed_soon() {
    let limits = Limits::default().with(|l| l.fixed.connections_max = 1);
    let most = limits.live.turned_away_timeout;
    for (says, wanted) in [("", ""), ("GET /", "HTTP/1.1 429 "), ("PI", "ERR 429 ")] {
        let listening = Listening::new(Kind::Auto, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let _first = rig.connect();
        let late = rig.connect();
        rig.send(&late, says.as_bytes());
        rig.pass(most - Duration::from_millis(1));
        assert!(!late.is_closed());
        rig.pass(Duration::from_millis(1));
        assert!(late.is_closed() && late.heard().starts_with(wanted.as_bytes()), "{}", late.heard().escape_ascii());
        assert_eq!(late.heard().is_empty(), wanted.is_empty());
    }
}

#[test]
fn a_bounded_number_is_heard_when_turned_away_and_the_others_are_reset() {
    let limits = Limits::default().with(|l| {
        l.fixed.connections_max = 1;
        l.fixed.turned_away_max = 3;
    });
    let listening = Listening::new(Kind::Auto, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let first = rig.connect();
    let late: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    assert_eq!(late.iter().filter(|peer| peer.is_reset()).count(), 7);
    rig.send(&first, b"PING\n");
    assert_eq!(first.heard(), b"OK 0\n");
    late.iter().take(3).for_each(|peer| rig.finish(peer));
    assert_eq!(rig.counters().open, 1);
}

/// The same for a connection that was accepted and cannot be registered.
#[test]
fn a_connection_that_cannot_be_registered_sees_a_reset() {
    for kind in [Kind::Menu, Kind::NameChoice, Kind::NameSize, Kind::Pickle, Kind::Line] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
        rig.watches_no_connection();
        let peer = rig.connect();
        assert!(peer.is_gone() && peer.is_reset(), "{kind}");
        assert_eq!(rig.counters().open, 0, "{kind}");
    }
}
