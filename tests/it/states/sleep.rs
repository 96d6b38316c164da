//! How long the loop sleeps, and what it does first when it overslept.

use filewharf::access::Access;

use support::rig::{Mode, Rig};

use super::{STEP, plain_rig, said, seconds, short_limits};

#[test]
fn the_loop_sleeps_until_the_next_deadline() {
    let mut rig = Rig::new(Mode::PLAIN, short_limits().with(|l| l.live.drain_grace = seconds(7)), Access::default());
    rig.turn();
    assert_eq!(rig.sleep(), None);
    let idle = rig.connect();
    assert_eq!(rig.sleep(), Some(seconds(300)));
    rig.pass(seconds(100));
    assert_eq!(rig.sleep(), Some(seconds(200)));
    rig.exhaust(true);
    let _waits = rig.connect();
    assert_eq!(rig.sleep(), Some(short_limits().live.accept_retry));
    rig.exhaust(false);
    rig.pass(short_limits().live.accept_retry);
    assert_eq!(rig.sleep(), Some(seconds(200) - short_limits().live.accept_retry));
    let busy = rig.connect();
    rig.send(&busy, b"PUT 1000 /x\nabc");
    assert_eq!(rig.sleep(), Some(short_limits().fixed.rate_window));
    rig.drain();
    assert_eq!(rig.sleep(), Some(seconds(7)), "the end of the grace");
    rig.pass(seconds(7));
    assert_eq!(rig.sleep(), Some(short_limits().fixed.rate_window - seconds(7)));
    assert!(!idle.is_closed());
}

#[test]
fn the_loop_that_overslept_by_more_than_a_second_looks_at_what_came_first() {
    for (late, heard) in [(seconds(1), "ERR 408 "), (seconds(1) + STEP, "OK 0\n")] {
        let mut rig = plain_rig();
        let peer = rig.connect();
        rig.send(&peer, b"PI");
        rig.skip(seconds(5) + late);
        rig.send_in_turn(&peer, b"NG\n");
        rig.send(&peer, b"");
        assert!(said(&peer).starts_with(heard), "{late:?} late: {}", said(&peer));
    }
}

#[test]
fn a_loop_that_overslept_catches_up_within_sixteen_turns() {
    let mut rig = plain_rig();
    let (busy, silent) = (rig.connect(), rig.connect());
    rig.send(&silent, b"PI");
    rig.skip(seconds(60));
    for turn in 1..=16 {
        rig.send_in_turn(&busy, b"PING\n");
        assert!(!silent.is_closed(), "turn {turn}");
    }
    rig.send_in_turn(&busy, b"PING\n");
    assert!(silent.is_closed() && said(&silent).starts_with("ERR 408 "));
}
