//! AwaitSlot: requests that wait for a transfer slot, and those that need none.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

use super::{assert_clean, limits, modes, name_size, rig, said, short_limits};

#[test]
fn a_request_that_waits_for_a_slot_is_answered_busy_at_its_deadline_or_served_before() {
    for mode in modes() {
        for leaves in [false, true] {
            let mut rig = Rig::new(mode, limits().with(|l| l.live.rate_bytes_per_s_min = 0), Access::default());
            let holder = rig.connect();
            rig.send(&holder, b"PUT 100 /held\n12345");
            let peer = rig.connect();
            rig.send(&peer, b"PUT 3 /x\nabcPING\n");
            assert_eq!(rig.counters().slots_waiting, 1);
            rig.pass(Duration::from_secs(39));
            assert_eq!(said(&peer), "");
            if leaves {
                rig.finish(&holder);
                assert!(said(&peer).starts_with("OK 0 etag=") && said(&peer).ends_with("OK 0\n"), "{}", said(&peer));
            } else {
                rig.pass(Duration::from_secs(1));
                assert!(said(&peer).starts_with("ERR 429 retry=1 "), "{}", said(&peer));
                assert!(said(&peer).ends_with("\nOK 0\n"), "the conversation continues: {}", said(&peer));
                rig.finish(&holder);
            }
            rig.pass(limits().live.linger_timeout);
            assert_clean(&mut rig);
        }
    }
}

#[test]
fn a_download_that_needs_no_memory_waits_for_no_slot() {
    let mut rig = rig(Mode::PLAIN);
    rig.place("x", b"hello");
    let holder = rig.connect();
    rig.send(&holder, b"PUT 100 /held\n12345");
    assert_eq!(rig.counters().slots_used, 1);
    let peer = rig.connect();
    rig.send(&peer, b"GET /x\n");
    assert!(said(&peer).ends_with("\nhello"), "{}", said(&peer));
}

#[test]
fn a_pause_before_a_file_in_memory_keeps_no_slot() {
    let listening = Listening::new(Kind::Menu, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, short_limits().with(|l| l.fixed.slots = 1), Access::default());
    rig.place("b.jpg", b"content");
    let [first, second] = [0; 2].map(|_| rig.connect());
    for peer in [&first, &second] {
        peer.acknowledges_all_but(1);
        rig.send(peer, b"receiveimage");
        assert_eq!(said(peer), "b.jpg");
    }
}

/// What came after the end of a conversation was held on the account of a slot that was never given
/// back any more.
#[test]
fn bytes_after_the_end_of_a_conversation_keep_no_slot() {
    let mut rig = name_size(Mode::PLAIN, Limits::default());
    for _ in 0..3 {
        let peer = rig.connect();
        rig.send(&peer, b"a 5hello");
        // The silence that ends the file is noticed in the turn in which more bytes come.
        rig.skip(Duration::from_millis(1100));
        rig.send_in_turn(&peer, &[b'x'; 9000]);
        rig.pass(Duration::from_secs(100));
        assert!(peer.is_gone());
    }
    assert_eq!((rig.counters().slots_used, rig.counters().open), (0, 0));
}
