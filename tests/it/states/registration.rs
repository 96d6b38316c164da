//! Clients that send one request and close, and clients that wait.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

const ASKS: &[u8] = b"PING\n";
fn speaking(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default())
}

#[test]
fn a_client_that_closes_right_after_the_reply_is_never_registered() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(ASKS);
    rig.turn();
    assert_eq!(peer.heard(), b"OK 0\n");
    assert!(!rig.watches(&peer));
    rig.leave(&peer);
    rig.turn();
    assert!(peer.is_gone() && !peer.is_reset() && !rig.watches(&peer));
    assert_eq!(rig.counters().open, 0);
}

#[test]
fn a_client_that_announces_its_end_and_stays_is_registered_at_once() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.turn();
    assert!(peer.heard().starts_with(b"HTTP/1.1 ") && rig.watches(&peer));
}

#[test]
fn a_client_that_stays_after_the_reply_is_checked_once_more_and_then_registered() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(ASKS);
    rig.turn();
    assert!(!rig.watches(&peer));
    rig.turn();
    assert!(rig.watches(&peer));
    rig.turn();
    assert!(rig.sleep().is_some(), "nothing is left to do but to wait for its next request");
    rig.send(&peer, ASKS);
    assert_eq!(peer.heard(), b"OK 0\nOK 0\n");
}

#[test]
fn a_second_request_before_the_registration_is_answered_and_the_client_registered() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(ASKS);
    rig.turn();
    rig.arrive(&peer, ASKS);
    rig.turn();
    assert_eq!(peer.heard(), b"OK 0\nOK 0\n");
    assert!(rig.watches(&peer));
}

#[test]
fn a_client_that_sends_nothing_or_half_a_request_is_registered_at_once() {
    for says in [&b""[..], b"PI"] {
        let mut rig = speaking(Kind::Auto);
        let peer = rig.come(says);
        rig.turn();
        assert!(rig.watches(&peer), "{says:?}");
    }
}
