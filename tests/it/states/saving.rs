//! Saving: long messages that are gathered before they are decoded.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Damage, Mode, Peer, Rig};

use super::{assert_clean, limits, modes, said};

/// A message of the pickle dialect that is longer than any head: it is gathered, and the one slot
/// is kept meanwhile.
fn long_message(content_len: usize) -> Vec<u8> {
    format!("(dp0\nVput\nVx\nsVdata\nV{}\ns.", "a".repeat(content_len)).into_bytes()
}

fn gathering(mode: Mode) -> (Rig, Peer) {
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let limits = limits().with(|l| {
        l.fixed.head_len_max = 64;
        l.fixed.message_bytes_max = 4096;
    });
    let mut rig = Rig::speaking(listening, mode, limits, Access::default());
    let peer = rig.connect();
    (rig, peer)
}

#[test]
fn a_long_message_is_whole_whatever_pieces_it_comes_in() {
    for mode in modes() {
        for piece_len in [1, 7, 63, 64, 65, 100, 1000] {
            let (mut rig, peer) = gathering(mode);
            for piece in long_message(1000).chunks(piece_len) {
                rig.send(&peer, piece);
            }
            assert_eq!(rig.file("x"), Some(vec![b'a'; 1000]), "in pieces of {piece_len} ({mode:?})");
            // What comes after it is another message.
            rig.send(&peer, &long_message(10));
            assert_eq!(rig.file("x"), Some(vec![b'a'; 10]), "in pieces of {piece_len} ({mode:?})");
            rig.finish(&peer);
            assert_clean(&mut rig);
        }
    }
}

#[test]
fn a_long_message_may_take_its_time_and_keeps_no_slot_for_ever() {
    for mode in modes() {
        let (mut rig, peer) = gathering(mode);
        rig.send(&peer, &long_message(1000)[..100]);
        assert_eq!(rig.counters().slots_used, 1);
        rig.pass(Duration::from_secs(59));
        assert!(!is_too_slow(&peer), "too early ({mode:?})");
        rig.pass(Duration::from_secs(1));
        assert!(is_too_slow(&peer), "it stopped half-way ({mode:?})");
        rig.pass(Duration::from_secs(1));
        rig.pass(limits().live.linger_timeout);
        assert!(peer.is_gone());
        assert_clean(&mut rig);

        let (mut rig, peer) = gathering(mode);
        rig.send(&peer, &long_message(1000)[..100]);
        // Five times as long as a silence may be, whatever trickles in.
        for second in 1..=300 {
            assert!(!is_too_slow(&peer), "after {second} s ({mode:?})");
            rig.pass(Duration::from_secs(1));
            if second % 30 == 0 {
                rig.send(&peer, b"a");
            }
        }
        assert!(is_too_slow(&peer), "it keeps its slot ({mode:?})");
    }
}

fn is_too_slow(peer: &Peer) -> bool {
    said(peer).contains("too slow")
}

/// The rest of a message must not be taken for the next one where its file was refused half-way.
#[test]
fn what_is_left_of_a_message_is_thrown_away_with_its_file() {
    let listening = Listening::new(Kind::LengthPrefix, &[], 0).expect("no options");
    let limits = Limits::default().with(|l| l.fixed.chunk_bytes = 16);
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, format!("{:<64}PUT 40 /x{:<64}0123456789", 9, 40).as_bytes());
    rig.damage(Damage::Full);
    rig.send(&peer, b"0123456789");
    rig.send(&peer, format!("01234567890123456789{:<64}PING", 4).as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(heard.contains("ERR 507 ") && heard.ends_with("OK 0") && !peer.is_closed(), "{heard}");
}
