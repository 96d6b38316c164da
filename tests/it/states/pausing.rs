//! Pausing: output that must have been acknowledged before the next is sent.

use std::time::Duration;

use filewharf::dialect::Kind;

use support::rig::{Peer, Rig};

use super::{STEP, said, seconds, speaking};

/// One that asks for a file and has not acknowledged all of what is said before it.
fn not_acknowledged() -> (Rig, Peer) {
    let mut rig = speaking(Kind::NameChoice);
    rig.place("c.txt", b"hello");
    let peer = rig.connect();
    peer.acknowledges_all_but(1);
    rig.send(&peer, b"1c.txt:GET");
    (rig, peer)
}

#[test]
fn a_client_that_never_acknowledges_the_output_is_reset_when_the_time_is_over() {
    let (mut rig, peer) = not_acknowledged();
    assert_eq!(said(&peer), "Done");
    rig.pass(seconds(60) - STEP);
    assert_eq!((said(&peer).as_str(), peer.is_closed()), ("Done", false));
    // It is looked at every five milliseconds.
    rig.pass(Duration::from_millis(5));
    assert!(peer.is_gone() && peer.is_reset());
    assert_eq!((rig.open_files(), rig.counters().failed), (0, 1));
}

#[test]
fn a_client_that_acknowledges_late_is_checked_again() {
    let (mut rig, peer) = not_acknowledged();
    assert_eq!(rig.sleep(), Some(Duration::from_millis(5)), "no event will say so");
    for _ in 0..3 {
        rig.pass(Duration::from_millis(5));
        assert_eq!(said(&peer), "Done");
    }
    peer.acknowledges_all_but(0);
    rig.pass(Duration::from_millis(5));
    rig.send(&peer, b"");
    assert_eq!(said(&peer), "Donehello");
}
