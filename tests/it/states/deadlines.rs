//! Each wait for the peer has its deadline, in whatever state.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

use super::{STEP, assert_clean, limits, modes, plain_rig, rig, said, seconds, short_limits};

/// What has been sent is answered so after `seconds`, and not a second before.
#[track_caller]
fn ends_after(mode: Mode, sends: &str, seconds: u64, reply: &str) {
    let mut rig = rig(mode);
    let peer = rig.connect();
    rig.send(&peer, sends.as_bytes());
    rig.pass(Duration::from_secs(seconds - 1));
    assert!(!peer.is_closed(), "{sends:?} ({mode:?}): too early");
    rig.pass(Duration::from_secs(1));
    assert!(peer.is_closed() && said(&peer).starts_with(reply), "{sends:?} ({mode:?}): {}", said(&peer));
    if !peer.is_reset() && reply.contains("ERR") {
        // What it is still sending must not turn our last words into a reset.
        rig.pass(limits().live.linger_timeout / 2);
        assert!(!peer.is_gone(), "{sends:?} ({mode:?}): has no time to read");
    }
    rig.pass(limits().live.linger_timeout);
    assert!(peer.is_gone(), "{sends:?} ({mode:?}): stays");
    assert_clean(&mut rig);
}

// covers: vanishes-in-upload never-reads-last-reply
#[test]
fn every_wait_for_the_peer_has_its_deadline() {
    for mode in modes() {
        ends_after(mode, "", 300, "");
        ends_after(mode, "PING\n", 300, "OK 0\n");
        ends_after(mode, "GET /x", 30, "ERR 408 ");
        ends_after(mode, "PING\nP", 30, "OK 0\nERR 408 ");
        // Nothing at all comes: at the end of the first window the rate is too low.
        ends_after(mode, "PUT 10 /x\n12345", 20, "ERR 408 ");
        ends_after(mode, "PUT 1000 /x\n12345", 20, "ERR 408 ");
        ends_after(mode, "PUT * /x\n5\n12", 20, "ERR 408 ");
        ends_after(mode, "PUT 1000 /../x\n12345", 60, "ERR 400 ");
    }
}

// covers: endless-head slow-bodies
#[test]
fn a_trickle_pushes_no_deadline_back() {
    for mode in modes() {
        for (begin, windows, reply) in
            [("PUT 1000 /x\n", 20, "ERR 408 "), ("PUT 9 /x\n", 20, "ERR 408 "), ("", 30, "ERR 408 ")]
        {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, begin.as_bytes());
            for second in 0..windows {
                assert!(!peer.is_closed(), "{begin:?} after {second} s: {}", said(&peer));
                // Few enough not to complete a body of nine.
                rig.send(&peer, if second % 4 == 0 { b"a" } else { b"" });
                rig.pass(Duration::from_secs(1));
            }
            assert!(said(&peer).starts_with(reply), "{begin:?}: {}", said(&peer));
            rig.pass(limits().live.linger_timeout);
            assert!(peer.is_gone());
            assert_clean(&mut rig);
        }
    }
}

#[test]
fn a_client_that_is_fast_enough_may_take_as_long_as_it_takes() {
    for mode in modes() {
        let mut rig = rig(mode);
        let peer = rig.connect();
        rig.send(&peer, b"PUT 3000 /x\n");
        for _ in 0..300 {
            rig.send(&peer, &[b'a'; 10]);
            rig.pass(Duration::from_millis(900));
        }
        assert!(said(&peer).starts_with("OK 0 "), "{}", said(&peer));
        assert_eq!(rig.file("x").map(|bytes| bytes.len()), Some(3000));
        assert_clean(&mut rig);
    }
}

// covers: never-reads-last-reply
#[test]
fn a_peer_that_does_not_read_its_replies_is_reset() {
    let mut rig = rig(Mode { window: 4, ..Mode::PLAIN });
    let peer = rig.connect();
    rig.send_unread(&peer, b"PING\nPING\nPING\n");
    rig.pass(Duration::from_secs(59));
    assert!(!peer.is_closed());
    rig.pass(Duration::from_secs(1));
    assert!(peer.is_gone() && peer.is_reset());
    assert_clean(&mut rig);
}

// covers: stream-ends-in-upload
#[test]
fn an_end_at_every_byte_of_a_conversation_leaves_nothing() {
    let conversations = [
        "PUT 5 /x\nabcdeGET /x\nLIST /\nQUIT\n",
        "PUT 40 /x\n0123456789012345678901234567890123456789GET range=1-30 /x\n",
        "PUT * trailer=sha256 /x\n3\nabc0\nsha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        "PUT 3 /../x\nabcDELETE /x\n",
    ];
    for mode in modes() {
        for conversation in conversations {
            let whole = conversation.find("PUT").map_or(0, |_| stored_from(conversation));
            for cut in 0..=conversation.len() {
                let mut rig = rig(mode);
                let peer = rig.connect();
                rig.send(&peer, &conversation.as_bytes()[..cut]);
                rig.finish(&peer);
                assert!(peer.is_gone(), "{conversation:?} ended at {cut} ({mode:?}): stays");
                let stored = rig.file("x").is_some();
                assert_eq!(stored, cut >= whole, "{conversation:?} ended at {cut} ({mode:?})");
                assert_clean(&mut rig);
            }
        }
    }
}

/// After how many bytes the upload at the front of a conversation is complete.
fn stored_from(conversation: &str) -> usize {
    let body = conversation.find('\n').map_or(0, |at| at + 1);
    match &conversation[4..6] {
        "5 " => body + 5,
        "40" => body + 40,
        "* " => conversation.len(),
        _ => usize::MAX,
    }
}

#[test]
fn a_client_that_reads_no_reply_is_reset_and_not_taken_for_silent() {
    let limits = short_limits().with(|l| l.live.idle_timeout = seconds(30));
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode { window: 3, ..Mode::PLAIN }, limits, Access::default());
    let peer = rig.connect();
    rig.pass(seconds(60) - STEP);
    assert!(!peer.is_gone());
    rig.pass(STEP);
    assert!(peer.is_reset() && peer.heard().len() == 3);
}

#[test]
fn an_interrupted_call_is_made_again() {
    let mut rig = plain_rig();
    rig.place("x", b"hello");
    let peer = rig.connect();
    for interruptions in 1..4 {
        peer.interrupts(interruptions);
        let before = peer.heard().len();
        rig.send(&peer, b"GET /x\n");
        assert!(peer.heard()[before..].ends_with(b"\nhello") && !peer.is_closed());
    }
}

/// A process that was stopped for a while, or a machine that was, closed all connections with a
/// deadline that had passed meanwhile, though their bytes had arrived.
#[test]
fn deadlines_that_passed_while_the_loop_did_not_run_wait_for_what_came_meanwhile() {
    let limits = Limits::default().with(|l| l.live.head_timeout = Duration::from_secs(5));
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    let (prompt, silent) = (rig.connect(), rig.connect());
    rig.send(&prompt, b"PI");
    rig.send(&silent, b"PI");
    rig.skip(Duration::from_secs(60));
    rig.send(&prompt, b"NG\n");
    assert_eq!(prompt.heard(), b"OK 0\n");
    assert!(silent.heard().starts_with(b"ERR 408 "));
}
