//! The bytes and calls of one turn of the loop, and how transfers share them.

use super::{A_FEW_MORE, MOST, hears_by_turn, limits, rig, uploads};
use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use std::time::Duration;
use support::rig::{Mode, Peer, Rig};

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
        let mut rig = rig(limits().with(|l| l.fixed.turn_bytes_max = most));
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
    let mut rig = rig(limits().with(|l| l.fixed.chunk_bytes = 100_000));
    for n in 0..200 {
        rig.place(&format!("file-{n}"), b"");
    }
    let peer = rig.connect();
    let pieces = hears_by_turn(&mut rig, &peer, b"LIST /\n");
    assert!(pieces.iter().all(|n| *n <= MOST) && pieces.len() > 3, "{pieces:?}");
    assert_eq!(peer.heard().windows(5).filter(|words| words == b"file-").count(), 200);
}

#[test]
fn long_replies_share_a_turn_and_each_moves_a_few_bytes() {
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = MOST;
        l.fixed.chunk_bytes = 100_000;
    }));
    for n in 0..200 {
        rig.place(&format!("file-{n}"), b"");
    }
    let peers: Vec<Peer> = (0..5).map(|_| rig.connect()).collect();
    for peer in &peers {
        rig.arrive(peer, b"LIST /\n");
    }
    rig.turn();
    for turn in 0..5 {
        let before: Vec<usize> = peers.iter().map(|peer| peer.heard().len()).collect();
        rig.turn();
        let moved: Vec<usize> = peers.iter().zip(before).map(|(peer, before)| peer.heard().len() - before).collect();
        assert!(moved.iter().all(|n| *n >= A_FEW_MORE), "turn {turn}: {moved:?}");
        assert!(moved.iter().sum::<usize>() <= MOST + peers.len() * A_FEW_MORE, "turn {turn}: {moved:?}");
    }
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
    let mut rig = rig(limits().with(|l| l.fixed.turn_bytes = 3 * MOST));
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
        assert_eq!(rig.counters().bytes_in as usize, turns * 3 * MOST, "others continue at once");
    }
}

#[test]
fn small_requests_wait_for_fewer_bytes_of_uploads_while_they_are_about() {
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = 4 * MOST;
        l.fixed.turn_bytes_shared = MOST;
    }));
    rig.place("small", b"z");
    let bulk: Vec<Peer> = (0..10).map(|_| uploads(&mut rig)).collect();
    let small = rig.connect();
    bulk.iter().for_each(|peer| rig.arrive(peer, &[b'a'; 20 * MOST]));
    let received = |rig: &mut Rig, request: &[u8]| {
        let before = (rig.counters().bytes_in, small.heard().len());
        rig.arrive(&small, request);
        rig.turn();
        assert_eq!(small.heard().len() == before.1, request.is_empty(), "answered at once");
        (rig.counters().bytes_in - before.0) as usize
    };
    assert_eq!(received(&mut rig, b""), 4 * MOST);
    for _ in 0..3 {
        assert_eq!(received(&mut rig, b"GET /small\n"), MOST);
        assert_eq!(received(&mut rig, b""), MOST, "who asked will ask again");
    }
    rig.skip(Duration::from_millis(10));
    assert_eq!(received(&mut rig, b""), 4 * MOST, "nobody asked for a while");
}

#[test]
fn an_upload_that_begins_has_no_large_part_of_a_turn_before_all_others() {
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = MOST;
        l.fixed.turn_bytes_max = 20 * MOST;
    }));
    let bulk: Vec<Peer> = (0..10).map(|_| rig.connect()).collect();
    let head = b"PUT 1000000 /x\n";
    bulk.iter().for_each(|peer| rig.arrive(peer, &[&head[..], &[b'a'; 30 * MOST]].concat()));
    rig.turn();
    let with_heads = 10 * limits().fixed.head_len_max;
    assert!(rig.counters().bytes_in as usize <= with_heads, "{}", rig.counters().bytes_in);
    for _ in 0..3 {
        let before = rig.counters().bytes_in as usize;
        rig.turn();
        assert_eq!(rig.counters().bytes_in as usize - before, MOST);
    }
}

#[test]
fn downloads_move_as_much_beside_small_requests_as_without() {
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = 4 * MOST;
        l.fixed.turn_bytes_shared = MOST;
    }));
    rig.place("small", b"z");
    rig.place("large", &[b'a'; 50 * MOST]);
    let small = rig.connect();
    let peers: Vec<Peer> = (0..10).map(|_| rig.connect()).collect();
    peers.iter().for_each(|peer| rig.arrive(peer, b"GET /large\n"));
    rig.turn();
    for _ in 0..3 {
        rig.arrive(&small, b"GET /small\n");
        let before = rig.counters().bytes_out as usize;
        rig.turn();
        assert!(rig.counters().bytes_out as usize - before > 4 * MOST);
    }
}

#[test]
fn where_a_part_may_be_larger_than_a_turn_a_download_has_it_and_an_upload_has_a_turn() {
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = MOST;
        l.fixed.turn_bytes_max = 4 * MOST;
    }));
    rig.place("x", &[b'a'; 100 * MOST]);
    let (upload, download) = (uploads(&mut rig), rig.connect());
    rig.arrive(&upload, &[b'a'; 10 * MOST]);
    for turns in 1..=3 {
        rig.turn();
        assert_eq!(rig.counters().bytes_in as usize, turns * MOST);
    }
    rig.turn();
    let pieces = hears_by_turn(&mut rig, &download, b"GET /x\n");
    // Until it is the turn of the upload.
    assert!(pieces.len() > 1 && pieces.iter().all(|n| *n >= 4 * MOST), "{pieces:?}");
}

#[test]
fn a_small_request_goes_before_bulk_transfers_that_came_first() {
    let mut rig = rig(limits());
    rig.place("x", b"before");
    let bulk = rig.connect();
    rig.send(&bulk, b"PUT 200 /x\n");
    rig.send(&bulk, &[b'a'; 100]);
    let small = rig.connect();
    rig.arrive(&bulk, &[b'a'; 100]);
    rig.arrive(&small, b"GET /x\n");
    rig.turn();
    assert!(bulk.heard().starts_with(b"OK 0 etag="), "in the same turn: {}", bulk.heard().escape_ascii());
    assert!(small.heard().ends_with(b"before"), "{}", small.heard().escape_ascii());
}

#[test]
fn small_requests_take_nothing_from_the_share_of_bulk_transfers() {
    let mut rig = rig(limits().with(|l| l.fixed.turn_bytes = MOST));
    rig.place("y", &[b'y'; A_FEW_MORE]);
    let bulk = uploads(&mut rig);
    let small: Vec<Peer> = (0..30).map(|_| rig.connect()).collect();
    let (content, requests) = ([b'a'; MOST], b"GET /y\n".repeat(8));
    for turns in 1..=3 {
        rig.arrive(&bulk, &content);
        for peer in &small {
            rig.arrive(peer, &requests);
        }
        let before = (rig.counters().bytes_in, rig.counters().bytes_out);
        rig.turn();
        assert!(rig.counters().bytes_out - before.1 > MOST as u64, "more than all may move");
        assert_eq!(rig.counters().bytes_in - before.0, MOST as u64, "turn {turns}");
    }
}

#[test]
fn downloads_share_a_turn_as_uploads_do() {
    let mut rig = rig(limits().with(|l| l.fixed.turn_bytes = 3 * MOST));
    rig.place("x", &[b'a'; 50 * MOST]);
    let peers: Vec<Peer> = (0..10).map(|_| rig.connect()).collect();
    for peer in &peers {
        rig.arrive(peer, b"GET /x\n");
    }
    rig.turn();
    for _ in 0..5 {
        let before = rig.counters().bytes_out as usize;
        rig.turn();
        let moved = rig.counters().bytes_out as usize - before;
        assert!((3 * MOST..=3 * (MOST + A_FEW_MORE)).contains(&moved), "{moved}");
    }
}

#[test]
fn of_a_crowd_of_downloads_all_are_sent_something_in_as_many_turns_as_their_parts_take() {
    const AT_ONCE: usize = 3;
    let mut rig = Rig::new(
        Mode { window: 2 * MOST, ..Mode::PLAIN },
        limits().with(|l| l.fixed.turn_bytes = AT_ONCE * MOST),
        Access::default(),
    );
    rig.place("x", &[b'z'; 50 * MOST]);
    let crowd: Vec<Peer> = (0..300).map(|_| rig.connect()).collect();
    crowd.iter().for_each(|peer| rig.arrive(peer, b"GET /x\n"));
    let was_sent_something = |peer: &&Peer| peer.heard().contains(&b'z');
    // The first of them have two parts before the others have one: the first at once, beside the requests.
    for _ in 0..crowd.len() / AT_ONCE + 1 {
        // Those that read at once have their next part after all others.
        let readers: Vec<&Peer> = crowd.iter().filter(was_sent_something).collect();
        rig.read_in_turn(&readers);
    }
    assert_eq!(crowd.iter().filter(was_sent_something).count(), crowd.len());
}

#[test]
fn a_large_file_asked_for_when_the_turn_is_spent_begins_with_a_large_part_of_a_later_one() {
    const PART: usize = 20_000;
    let mut rig = rig(limits().with(|l| {
        l.fixed.turn_bytes = PART;
        l.fixed.turn_bytes_max = PART;
    }));
    rig.place("x", &[b'z'; 3 * PART]);
    let peers = [rig.connect(), rig.connect()];
    let got = |peer: &Peer| peer.heard().iter().filter(|byte| **byte == b'z').count();
    peers.iter().for_each(|peer| rig.arrive(peer, b"GET /x\n"));
    rig.turn();
    assert!(got(&peers[0]) >= PART);
    assert_eq!(got(&peers[1]), 0, "no small part goes before");
    rig.turn();
    rig.turn();
    assert!(got(&peers[1]) >= PART, "{}", got(&peers[1]));
    (0..4).for_each(|_| rig.turn());
    assert_eq!(peers.each_ref().map(got), [3 * PART; 2]);
}

#[test]
fn the_last_bytes_of_a_download_do_not_wait_for_its_part_of_a_turn() {
    // What the kernel holds until its client reads leaves this much.
    for (left, waits) in [(A_FEW_MORE, false), (A_FEW_MORE + 1, true)] {
        const WINDOW: usize = 5000;
        let mut rig = Rig::new(
            Mode { window: WINDOW, ..Mode::PLAIN },
            limits().with(|l| {
                l.fixed.turn_bytes = MOST;
                l.fixed.turn_bytes_max = MOST;
            }),
            Access::default(),
        );
        let head = "OK 5000 etag=00000000000000000000000000000001 mtime=1700000000\n".len();
        rig.place("long", &[b'a'; 100 * MOST]);
        rig.place("ends", &vec![b'b'; WINDOW + left - head]);
        let [long, ends] = [0; 2].map(|_| rig.connect());
        rig.send_unread(&long, b"GET /long\n");
        rig.send_unread(&ends, b"GET /ends\n");
        assert_eq!(ends.heard().len(), WINDOW);
        rig.read_in_turn(&[&long, &ends]);
        assert_eq!(long.heard().len(), WINDOW + MOST + A_FEW_MORE, "its part, and a few more");
        assert_eq!(ends.heard().len() == WINDOW, waits, "{left} bytes left");
    }
}

/// It is on the account of its slot, which could not be given to another meanwhile.
#[test]
fn a_long_message_is_stored_before_requests_that_wait_for_a_slot() {
    let limits = limits().with(|l| {
        l.fixed.slots = 1;
        l.fixed.message_bytes_max = 100_000;
    });
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let [long, short] = [0; 2].map(|_| rig.connect());
    let message = |text: &str| format!("(dp0\nVput\nVx\nsVdata\nV{text}\ns.");
    let text = message(&"a".repeat(50_000));
    rig.send(&long, &text.as_bytes()[..40_000]);
    rig.send(&short, message("short").as_bytes());
    assert_eq!(rig.counters().slots_waiting, 1);
    rig.send(&long, &text.as_bytes()[40_000..]);
    assert_eq!(rig.file("x"), Some(b"short".to_vec()), "stored last");
}

#[test]
fn messages_that_are_slow_to_decode_share_a_turn_as_bulk_transfers_do() {
    let limits = Limits::default().with(|l| {
        l.fixed.chunks_per_slot = 2;
        l.fixed.slots = 128;
    });
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    // 32 numbers of 560 bytes in each: about half of what one message may cost.
    let number = [&[0x8b, 0x30, 0x02, 0, 0][..], &[0x11; 560]].concat();
    let message = [&b"\x80\x02}X\x01\0\0\0a]("[..], &number.repeat(32), b"es."].concat();
    let peers: Vec<Peer> = (0..128).map(|_| rig.connect()).collect();
    peers.iter().for_each(|peer| rig.arrive(peer, &message));
    let answered =
        |peers: &[Peer]| peers.iter().filter(|peer| peer.heard().ends_with(b"server got the dataq\0.")).count();
    let (mut turns, mut before) = (0, 0);
    while answered(&peers) < peers.len() {
        rig.turn();
        turns += 1;
        let now = answered(&peers);
        assert!(now - before <= 4, "{} were decoded in one turn", now - before);
        assert!(turns < 10_000, "{now} were answered");
        before = now;
    }
}

#[test]
fn many_small_messages_are_decoded_in_one_turn() {
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    let peers: Vec<Peer> = (0..128).map(|_| rig.connect()).collect();
    peers.iter().for_each(|peer| rig.arrive(peer, b"(dp0\nVa\nI1\ns."));
    rig.turn();
    assert!(peers.iter().all(|peer| peer.heard().ends_with(b"server got the dataq\0.")));
}
