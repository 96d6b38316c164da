//! What is bounded stays within its bound, in virtual time: the slice of a turn, what all of them move
//! together, memory that the disk has not taken, the memory of who is idle; and what follows when
//! descriptors run out.

use std::collections::VecDeque;
use std::time::Duration;

use filewharf::buffer::Outbox;
use filewharf::config::{Access, Limits};
use filewharf::ids::FileId;
use filewharf::os::poll::OsPlatform;
use filewharf::platform::Op;
use filewharf::reactor::Reactor;
use filewharf::server::Ceiling;
use filewharf::session::Session;

use crate::rig::{Mode, Peer, Rig};

const MOST: usize = 1000;
const A_FEW_MORE: usize = 100;

fn limits() -> Limits {
    Limits {
        chunk_bytes: 16,
        chunks_per_slot: 4,
        turn_bytes_max: MOST,
        turn_bytes_min: A_FEW_MORE,
        turn_calls: 8,
        ..Limits::default()
    }
}

fn rig(limits: Limits) -> Rig {
    Rig::new(Mode::PLAIN, limits, Access::default())
}

fn uploads(rig: &mut Rig) -> Peer {
    let peer = rig.connect();
    rig.send(&peer, b"PUT 1000000 /x\n");
    peer
}

/// What one client hears turn by turn, until nothing more comes.
fn hears_by_turn(rig: &mut Rig, peer: &Peer, request: &[u8]) -> Vec<usize> {
    let mut pieces = Vec::new();
    rig.arrive(peer, request);
    loop {
        let before = peer.heard().len();
        rig.turn();
        match peer.heard().len() - before {
            0 => return pieces,
            n => pieces.push(n),
        }
    }
}

#[test]
fn one_upload_moves_no_more_in_a_turn_than_its_slice() {
    let mut rig = rig(limits());
    let peer = uploads(&mut rig);
    rig.arrive(&peer, &[b'a'; 10 * MOST]);
    for turns in 1..=10 {
        rig.turn();
        assert_eq!(rig.counters().bytes_in as usize, turns * MOST);
    }
    assert_eq!(rig.counters().yields, 10, "each time it was not done");
}

#[test]
fn one_download_moves_no_more_in_a_turn_than_its_slice_and_a_few_more() {
    for (len, most) in [(10_000, MOST), (100_000, 20_000)] {
        let mut rig = rig(Limits { turn_bytes_max: most, ..limits() });
        rig.place("x", &vec![b'a'; len]);
        let peer = rig.connect();
        let pieces = hears_by_turn(&mut rig, &peer, b"GET /x\n");
        assert!(pieces.iter().all(|n| *n <= most + A_FEW_MORE), "{pieces:?}");
        assert!(pieces.len() >= len / (most + A_FEW_MORE), "{pieces:?}");
        let head = peer.heard().len() - len;
        assert!(peer.heard()[..head].starts_with(b"OK ") && peer.heard()[head..].iter().all(|byte| *byte == b'a'));
        assert!(!peer.is_held_back());
    }
}

#[test]
fn a_long_reply_moves_no_more_in_a_turn_than_its_slice() {
    let mut rig = rig(Limits { chunk_bytes: 100_000, ..limits() });
    for n in 0..200 {
        rig.place(&format!("file-{n}"), b"");
    }
    let peer = rig.connect();
    let pieces = hears_by_turn(&mut rig, &peer, b"LIST /\n");
    assert!(pieces.iter().all(|n| *n <= MOST) && pieces.len() > 3, "{pieces:?}");
    assert_eq!(peer.heard().windows(5).filter(|words| words == b"file-").count(), 200);
}

#[test]
fn one_client_asks_no_more_in_a_turn_than_its_calls() {
    let mut rig = rig(limits());
    let peer = rig.connect();
    let replies = |peer: &Peer| peer.heard().iter().filter(|byte| **byte == b'\n').count();
    rig.send_in_turn(&peer, &b"GET /none\n".repeat(40));
    assert!((1..=8).contains(&replies(&peer)), "{}", replies(&peer));
    rig.send(&peer, b"");
    assert_eq!(replies(&peer), 40);
    assert!(rig.counters().yields >= 4);
}

#[test]
fn bulk_transfers_share_a_turn_and_small_requests_have_theirs() {
    let mut rig = rig(Limits { turn_bytes: 3 * MOST, ..limits() });
    let bulk: Vec<Peer> = (0..10).map(|_| uploads(&mut rig)).collect();
    let small = rig.connect();
    for peer in &bulk {
        rig.arrive(peer, &[b'a'; 2 * MOST]);
    }
    rig.arrive(&small, b"PING\n");
    rig.turn();
    assert_eq!(rig.counters().bytes_in as usize, 3 * MOST);
    assert_eq!(small.heard(), b"OK 0\n");
    for turns in 2..=6 {
        rig.turn();
        assert_eq!(rig.counters().bytes_in as usize, turns * 3 * MOST, "others go on at once");
    }
}

#[test]
fn an_upload_is_at_most_two_windows_ahead_of_the_disk() {
    let mode = Mode { deferred: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 40 /x\n");
    rig.hold_completions(true);
    for n in 1..=40 {
        rig.send_in_turn(&peer, b"a");
        // The store asks for a write-back every five bytes, and none of them ends.
        assert_eq!(rig.counters().bytes_in, n.min(10));
    }
    rig.pass(Duration::from_secs(1000));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"OK 0 "), "it was our own disk: {}", peer.heard().escape_ascii());
    assert_eq!(rig.file("x"), Some(vec![b'a'; 40]));
}

#[test]
fn an_upload_to_a_slow_disk_holds_the_chunks_of_its_slot() {
    let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 500 /x\n");
    rig.hold_completions(true);
    rig.send(&peer, &[b'a'; 500]);
    assert_eq!(rig.counters().bytes_in, 4 * 16);
    rig.pass(Duration::from_secs(1000));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"OK 0 "), "it was our own disk: {}", peer.heard().escape_ascii());
    assert_eq!(rig.file("x"), Some(vec![b'a'; 500]));
}

#[test]
fn who_is_idle_holds_nothing() {
    for mode in Mode::all() {
        let mut rig = Rig::new(mode, limits(), Access::default());
        rig.place("there", &[b'b'; 200]);
        let peers: Vec<Peer> = (0..3).map(|_| rig.connect()).collect();
        for says in ["PING\n", "PUT 3 /x\nabc", "PUT 30 /y\n012345678901234567890123456789", "GET /there\n", "LIST /\n"]
        {
            for peer in &peers {
                rig.send(peer, says.as_bytes());
            }
            assert_eq!(rig.content_bytes(&limits()), 0, "{says:?} ({mode:?})");
        }
    }
}

#[test]
fn the_memory_that_is_promised_counts_what_a_connection_is_made_of() {
    let entry = Reactor::<OsPlatform>::entry_bytes();
    assert!((size_of::<Session>()..2 * size_of::<Session>()).contains(&entry), "{entry}");
    let mut ops = VecDeque::new();
    ops.push_back(Op::Close { file: FileId(1) });
    let work = Session::work_bytes();
    let room = size_of::<Outbox>() + ops.capacity() * size_of::<Op>();
    assert!((room..room + 512).contains(&work), "{work} for {room}");
    let (less, more) = (Limits::default(), Limits { connections_max: 20_000, ..Limits::default() });
    let each = (Ceiling::of(&more, false).total() - Ceiling::of(&less, false).total()) / 10_000;
    assert!(each >= entry + work + less.head_len_max + 2 * less.reply_bytes_max, "{each}");
}

#[test]
fn without_descriptors_those_who_come_wait_and_somebody_is_told() {
    let mut rig = rig(limits());
    rig.exhaust(true);
    let waits = rig.connect();
    assert_eq!((rig.counters().accept_exhausted, rig.shed(), rig.counters().accepted), (1, 1, 0));
    let retry = limits().accept_retry;
    rig.pass(retry - Duration::from_millis(1));
    assert_eq!(rig.counters().accept_exhausted, 1, "too early");
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.counters().accept_exhausted, rig.shed()), (2, 2), "looked at again");
    rig.exhaust(false);
    rig.pass(retry - Duration::from_millis(1));
    assert_eq!(rig.counters().accepted, 0);
    rig.pass(Duration::from_millis(1));
    rig.send(&waits, b"PING\n");
    assert_eq!(waits.heard(), b"OK 0\n");
}

#[test]
fn a_connection_that_ends_makes_room_for_one_that_waits() {
    let mut rig = rig(limits());
    let first = rig.connect();
    rig.exhaust(true);
    let waits = rig.connect();
    rig.exhaust(false);
    rig.send(&first, b"PING\n");
    assert_eq!(rig.counters().accepted, 1, "nothing has changed for who waits");
    rig.finish(&first);
    rig.send(&waits, b"PING\n");
    assert_eq!(waits.heard(), b"OK 0\n");
}

#[test]
fn a_part_of_a_head_costs_what_it_holds() {
    let mut rig = rig(limits());
    let peer = rig.connect();
    rig.send(&peer, b"PI");
    assert_eq!(rig.content_bytes(&limits()), 2);
}
