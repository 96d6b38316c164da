//! Clients that come, ask one thing and go, and those who come and wait.

use std::time::Duration;

use filewharf::config::{Access, Limits};
use filewharf::dialect::{Kind, Listening};
use filewharf::ids::ListenerId;

use crate::rig::{Mode, Peer, Rig};

const ASKS: &[u8] = b"PING\n";
const CROWD: u32 = 16;
const WINDOW: Duration = Duration::from_millis(100);
const DEFER: Duration = Duration::from_secs(7);

fn limits() -> Limits {
    Limits { accept_defer: DEFER, accept_defer_crowd_min: CROWD, accept_defer_window: WINDOW, ..Limits::default() }
}

fn speaking(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, limits(), Access::default())
}

/// Comes, asks, is answered, and goes.
fn visit(rig: &mut Rig) {
    let peer = rig.come(ASKS);
    rig.turn();
    rig.leave(&peer);
    rig.turn();
    assert!(peer.is_gone() && peer.heard() == b"OK 0\n");
}

/// A server to which so many came, and went, that the kernel keeps the silent.
fn deferring(kind: Kind) -> Rig {
    let mut rig = speaking(kind);
    (0..CROWD).for_each(|_| visit(&mut rig));
    rig.turn();
    assert_eq!(rig.deferred(), [(ListenerId(0), DEFER)]);
    rig
}

#[test]
fn who_leaves_right_after_the_answer_was_never_watched() {
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
fn who_announces_the_end_in_another_way_and_has_not_is_watched_at_once() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.turn();
    assert!(peer.heard().starts_with(b"HTTP/1.1 ") && rig.watches(&peer));
}

#[test]
fn who_stays_after_the_answer_is_looked_at_once_more_and_then_watched() {
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
fn who_asks_again_before_it_is_watched_is_answered_and_watched() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.come(ASKS);
    rig.turn();
    rig.arrive(&peer, ASKS);
    rig.turn();
    assert_eq!(peer.heard(), b"OK 0\nOK 0\n");
    assert!(rig.watches(&peer));
}

#[test]
fn who_says_nothing_or_half_a_request_is_watched_at_once() {
    for says in [&b""[..], b"PI"] {
        let mut rig = speaking(Kind::Auto);
        let peer = rig.come(says);
        rig.turn();
        assert!(rig.watches(&peer), "{says:?}");
    }
}

#[test]
fn while_many_come_and_go_the_kernel_keeps_the_silent_and_hands_them_over_again_when_nobody_comes() {
    let mut rig = speaking(Kind::Auto);
    (1..CROWD).for_each(|_| visit(&mut rig));
    rig.turn();
    assert_eq!(rig.deferred(), []);
    visit(&mut rig);
    rig.turn();
    assert_eq!(rig.deferred(), [(ListenerId(0), DEFER)]);
    rig.turn();
    assert_eq!(rig.sleep(), Some(WINDOW));
    rig.pass(WINDOW);
    assert_eq!(rig.deferred(), [(ListenerId(0), Duration::ZERO)]);
    assert_eq!(rig.sleep(), None, "an idle server sleeps");
}

#[test]
fn while_as_many_come_and_go_as_before_the_kernel_keeps_the_silent() {
    let mut rig = deferring(Kind::Line);
    for _ in 0..3 {
        (0..CROWD).for_each(|_| visit(&mut rig));
        rig.pass(WINDOW);
        assert_eq!(rig.deferred(), []);
    }
    // Some of those who come say nothing: the kernel has waited for them long enough.
    let silent: Vec<Peer> = (0..CROWD).map(|_| rig.connect()).collect();
    (0..CROWD).for_each(|_| visit(&mut rig));
    rig.pass(WINDOW);
    assert_eq!(rig.deferred(), [(ListenerId(0), Duration::ZERO)]);
    assert!(silent.iter().all(|peer| !peer.is_gone()));
}

#[test]
fn a_crowd_that_comes_and_stays_is_handed_over_whether_it_asks_or_not() {
    for says in [&b""[..], ASKS] {
        let mut rig = speaking(Kind::Line);
        let crowd: Vec<Peer> = (0..10 * CROWD).map(|_| rig.come(says)).collect();
        rig.pass(WINDOW / 2);
        assert_eq!(rig.deferred(), []);
        drop(crowd);
    }
}

#[test]
fn where_the_server_may_have_to_speak_first_nobody_is_kept_by_the_kernel() {
    let mut rig = speaking(Kind::LengthPrefix);
    for _ in 0..2 * CROWD {
        let peer = rig.connect();
        rig.finish(&peer);
    }
    rig.turn();
    assert_eq!(rig.deferred(), []);
}

#[test]
fn a_server_that_drains_has_everybody_handed_over() {
    let mut rig = deferring(Kind::Auto);
    rig.drain();
    assert_eq!(rig.deferred(), [(ListenerId(0), Duration::ZERO)]);
}
