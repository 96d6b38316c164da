//! What is bounded stays within its bound, in virtual time: the slice of a turn, what all of them move
//! together, memory that the disk has not taken, the memory of idle connections; and what follows when
//! descriptors run out.

use std::collections::VecDeque;
use std::time::Duration;

use filewharf::Server;
use filewharf::access::Access;
use filewharf::buffer::Outbox;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::error::CloseReason;
use filewharf::ids::FileId;
use filewharf::os::net::TcpConnection;
use filewharf::platform::Op;
use filewharf::reactor::Reactor;
use filewharf::server::Ceiling;
use filewharf::server::platform::OsPlatform;
use filewharf::session::Session;

use support::rig::{Mode, Peer, Rig};

const MOST: usize = 1000;
const A_FEW_MORE: usize = 100;

fn limits() -> Limits {
    Limits::default().with(|l| {
        l.chunk_bytes = 16;
        l.chunks_per_slot = 4;
        l.turn_bytes_max = MOST;
        l.turn_bytes_min = A_FEW_MORE;
        l.turn_calls = 8;
    })
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
        let mut rig = rig(limits().with(|l| l.turn_bytes_max = most));
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
    let mut rig = rig(limits().with(|l| l.chunk_bytes = 100_000));
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
        l.turn_bytes = MOST;
        l.chunk_bytes = 100_000;
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
    let mut rig = rig(limits().with(|l| l.turn_bytes = 3 * MOST));
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
fn small_requests_wait_for_fewer_bytes_of_uploads_while_they_are_about() {
    let mut rig = rig(limits().with(|l| {
        l.turn_bytes = 4 * MOST;
        l.turn_bytes_shared = MOST;
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
        l.turn_bytes = MOST;
        l.turn_bytes_max = 20 * MOST;
    }));
    let bulk: Vec<Peer> = (0..10).map(|_| rig.connect()).collect();
    let head = b"PUT 1000000 /x\n";
    bulk.iter().for_each(|peer| rig.arrive(peer, &[&head[..], &[b'a'; 30 * MOST]].concat()));
    rig.turn();
    let with_heads = 10 * limits().head_len_max;
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
        l.turn_bytes = 4 * MOST;
        l.turn_bytes_shared = MOST;
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
        l.turn_bytes = MOST;
        l.turn_bytes_max = 4 * MOST;
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
    let mut rig = rig(limits().with(|l| l.turn_bytes = MOST));
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
    let mut rig = rig(limits().with(|l| l.turn_bytes = 3 * MOST));
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
        limits().with(|l| l.turn_bytes = AT_ONCE * MOST),
        Access::default(),
    );
    rig.place("x", &[b'z'; 50 * MOST]);
    let crowd: Vec<Peer> = (0..300).map(|_| rig.connect()).collect();
    crowd.iter().for_each(|peer| rig.arrive(peer, b"GET /x\n"));
    let was_sent_something = |peer: &&Peer| peer.heard().contains(&b'z');
    // The first of them have two parts before the others have one: the first at once, beside the requests.
    for _ in 0..crowd.len() / AT_ONCE + 1 {
        // Those that read at once have their next part behind all others.
        let readers: Vec<&Peer> = crowd.iter().filter(was_sent_something).collect();
        rig.read_in_turn(&readers);
    }
    assert_eq!(crowd.iter().filter(was_sent_something).count(), crowd.len());
}

#[test]
fn a_large_file_asked_for_when_the_turn_is_spent_begins_with_a_large_part_of_a_later_one() {
    const PART: usize = 20_000;
    let mut rig = rig(limits().with(|l| {
        l.turn_bytes = PART;
        l.turn_bytes_max = PART;
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
                l.turn_bytes = MOST;
                l.turn_bytes_max = MOST;
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

#[test]
fn an_upload_is_as_large_as_the_limit_and_no_larger() {
    for (len, taken) in [(MOST, true), (MOST + 1, false)] {
        for (kind, head) in [
            (Kind::Line, format!("PUT {len} /x\n")),
            (Kind::Http, format!("PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n")),
        ] {
            let listening = Listening::new(kind, &[], 0).expect("no options");
            let limits = limits().with(|l| l.request_bytes_max = MOST as u64);
            let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
            let peer = rig.connect();
            rig.send(&peer, &[head.as_bytes(), &vec![b'a'; len]].concat());
            assert_eq!(rig.file("x").is_some(), taken, "{len} bytes: {}", peer.heard().escape_ascii());
        }
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
fn an_idle_connection_holds_nothing() {
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
    let parts = size_of::<Session>() + size_of::<TcpConnection>();
    assert!((parts..2 * parts).contains(&entry), "{entry} for {parts}");
    // Each idle connection keeps as much.
    assert!(entry <= 232, "{entry}");
    let mut ops = VecDeque::new();
    ops.push_back(Op::Close { file: FileId(1) });
    let work = Session::work_bytes();
    let room = size_of::<Outbox>() + ops.capacity() * size_of::<Op>();
    assert!((room..room + 640).contains(&work), "{work} for {room}");
    let (less, more) = (Limits::default(), Limits::default().with(|l| l.connections_max = 20_000));
    let each = (Ceiling::of(&more, false).total() - Ceiling::of(&less, false).total()) / 10_000;
    assert!(each >= entry + work + less.head_len_max + 2 * less.reply_bytes_max, "{each}");
}

#[test]
fn the_memory_that_is_promised_counts_what_is_spoken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [line, http, pickle] = [Kind::Line, Kind::Http, Kind::Pickle].map(|kind| {
        let server = Server::builder().root(dir.path()).listen_as(kind, "127.0.0.1:0").build();
        server.expect("a server").ceiling()
    });
    assert!(http.shared > line.shared + 1024, "what is kept of files that are asked for often");
    assert_eq!(http.slot, line.slot);
    let tls = Server::builder().root(dir.path()).tls_self_signed(dir.path());
    let tls = tls.listen_at("line@127.0.0.1:0?tls".parse().expect("an address")).build();
    let tls = tls.expect("a server").ceiling();
    assert!(tls.connection > line.connection + 64 * 1024 && tls.shared > line.shared, "records");
    assert!(pickle.slot >= 2 * Limits::default().message_bytes_max && pickle.slot > line.slot, "whole messages");
}

#[test]
fn without_descriptors_new_connections_wait_and_the_log_says_so() {
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

/// It is on the account of its slot, which could not be given to another meanwhile.
#[test]
fn a_long_message_is_stored_before_requests_that_wait_for_a_slot() {
    let limits = limits().with(|l| {
        l.slots = 1;
        l.message_bytes_max = 100_000;
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
        l.chunks_per_slot = 2;
        l.slots = 128;
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

#[test]
fn one_address_has_its_part_of_the_connections() {
    let limits = limits().with(|l| l.connections_max = 6);
    let mut rig = rig(limits);
    let peers: Vec<Peer> = (0..5).map(|_| rig.connect()).collect();
    let served = |rig: &mut Rig, peer: &Peer| {
        rig.send(peer, b"PING\n");
        peer.heard() == b"OK 0\n"
    };
    assert!(peers[..3].iter().all(|peer| served(&mut rig, peer)));
    assert!(peers[3..].iter().all(|peer| peer.heard().starts_with(b"ERR 429 ") && peer.is_gone()));
    rig.finish(&peers[0]);
    let next = rig.connect();
    assert!(served(&mut rig, &next), "there is room again");
}

#[test]
fn one_address_has_its_part_of_the_slots_and_the_others_stay_free() {
    let limits = limits().with(|l| l.slots = 4);
    let mut rig = rig(limits);
    let peers: Vec<Peer> = (0..4).map(|_| uploads(&mut rig)).collect();
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (2, 2));
    rig.cut(&peers[0]);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (2, 1));
    rig.cut(&peers[3]);
    rig.cut(&peers[1]);
    rig.cut(&peers[2]);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (0, 0));
}

/// Uploads of two addresses that hold all slots, and more of them that wait.
fn slots_of_two_addresses(rig: &mut Rig, each: usize) -> Vec<Peer> {
    let hosts = [2, 3].into_iter().cycle();
    let peers = hosts.take(2 * each).map(|host| rig.connect_from(host));
    let peers: Vec<Peer> = peers.collect();
    for (n, peer) in peers.iter().enumerate() {
        rig.send(peer, format!("PUT 1000000 /slow{n}\n").as_bytes());
    }
    assert_eq!(rig.counters().slots_used, 8);
    peers
}

/// Every second each of them sends so many bytes, until `done`.
fn send_each_second(rig: &mut Rig, peers: &[Peer], bytes: usize, mut done: impl FnMut(&mut Rig) -> bool) -> u32 {
    for seconds in 0..100 {
        if done(rig) {
            return seconds;
        }
        for peer in peers.iter().filter(|peer| !peer.is_closed() && !peer.is_gone()) {
            rig.send(peer, &vec![b'a'; bytes]);
        }
        // In steps, as a loop looks at each of its deadlines.
        (0..10).for_each(|_| rig.pass(Duration::from_millis(100)));
    }
    panic!("not after 100 s")
}

#[test]
fn where_requests_wait_for_a_slot_the_slowest_transfer_ends_first() {
    let mut rig = rig(limits().with(|l| {
        l.slots = 8;
        l.uploads_without_slot_max = 0;
    }));
    // As many again wait before the others: they must not get each slot that one of their own gives back.
    let slow = slots_of_two_addresses(&mut rig, 16);
    send_each_second(&mut rig, &slow[1..], 100, |rig| rig.counters().uptime_ms >= 2000);
    let other = rig.connect_from(4);
    rig.send(&other, b"PUT 5 /other\nhello");
    let seconds = send_each_second(&mut rig, &slow[1..], 100, |rig| rig.file("other").is_some());
    assert!((5..12).contains(&seconds), "{seconds} s");
    assert!(slow[0].heard().starts_with(b"ERR 408 "), "sent nothing at all: {}", slow[0].heard().escape_ascii());
    assert_eq!(rig.counters().closed[CloseReason::TooSlow as usize], 0, "it may still read");
}

#[test]
fn where_requests_wait_for_a_slot_a_long_reply_that_is_not_read_ends() {
    let mode = Mode { window: 100, ..Mode::PLAIN };
    let limits = limits().with(|l| {
        l.slots = 8;
        l.chunk_bytes = 4096;
        l.reply_bytes_max = 64;
    });
    let mut rig = Rig::new(mode, limits, Access::default());
    for n in 0..200 {
        rig.place(&format!("file-{n}"), b"");
    }
    let readers: Vec<Peer> = [2, 3].into_iter().cycle().take(8).map(|host| rig.connect_from(host)).collect();
    readers.iter().for_each(|peer| rig.send_unread(peer, b"LIST /\n"));
    assert_eq!(rig.counters().slots_used, 8);
    let other = rig.connect_from(4);
    rig.send_unread(&other, b"PUT 5 /other\nhello");
    let mut seconds = 0;
    while rig.file("other").is_none() {
        rig.pass(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 12, "{seconds} s");
    }
    assert_eq!(rig.counters().closed[CloseReason::TooSlow as usize], 1, "one for one that waited");
}

#[test]
fn transfers_that_move_enough_are_not_ended_though_requests_wait_for_a_slot() {
    let mut rig = rig(limits().with(|l| {
        l.slots = 8;
        l.uploads_without_slot_max = 0;
        l.slot_timeout = Duration::from_secs(60);
    }));
    let quick = slots_of_two_addresses(&mut rig, 4);
    let other = rig.connect_from(4);
    rig.send(&other, b"PUT 5 /other\nhello");
    let began = rig.counters().uptime_ms;
    send_each_second(&mut rig, &quick, 5000, |rig| rig.counters().uptime_ms > began + 50_000);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (8, 1));
    assert!(quick.iter().all(|peer| peer.heard().is_empty()));
}

#[test]
fn slow_transfers_are_not_ended_while_no_request_waits_for_a_slot() {
    let mut rig = rig(limits().with(|l| l.slots = 8));
    let slow = slots_of_two_addresses(&mut rig, 4);
    send_each_second(&mut rig, &slow, 100, |rig| rig.counters().uptime_ms > 50_000);
    assert_eq!(rig.counters().slots_used, 8);
    assert!(slow.iter().all(|peer| peer.heard().is_empty()));
}

fn with_a_secret(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, limits(), Access::new(Some(b"s3cret".to_vec()), false))
}

#[test]
fn guesses_of_the_secret_on_one_connection_are_slowed_down_and_end_it() {
    let mut rig = with_a_secret(Kind::Http);
    let [guesser, knows] = [0; 2].map(|_| rig.connect());
    let guess = b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n";
    rig.send(&guesser, &guess.repeat(100));
    let Limits { wrong_secrets_free, wrong_secrets_max, wrong_secret_delay, .. } = limits();
    let refused = || guesser.heard().windows(12).filter(|words| words == b"HTTP/1.1 401").count();
    assert_eq!(refused(), usize::from(wrong_secrets_free) + 1);
    let mut delays = 0;
    while !guesser.is_closed() {
        let before = refused();
        rig.pass(wrong_secret_delay);
        assert!(refused() <= before + 1 && delays < 100, "{before}, {}", refused());
        delays += 1;
    }
    assert_eq!(refused(), usize::from(wrong_secrets_max));
    rig.send(&knows, b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n");
    assert!(knows.heard().starts_with(b"HTTP/1.1 404 "), "at once, from the same address");
}

#[test]
fn an_address_that_guesses_the_secret_has_its_new_connections_read_one_after_the_other() {
    for kind in [Kind::Line, Kind::Auto, Kind::LengthPrefix] {
        let framed = |text: &str| match kind {
            Kind::LengthPrefix => format!("{:<64}{text}", text.len()),
            _ => format!("{text}\n"),
        };
        let [wrong, right, ping, ok] = ["AUTH wrong", "AUTH s3cret", "PING", "OK 0"].map(framed);
        let mut rig = with_a_secret(kind);
        let knows = rig.connect();
        rig.send(&knows, right.as_bytes());
        let guess = |rig: &mut Rig| {
            let peer = rig.connect();
            rig.send(&peer, wrong.as_bytes());
            peer
        };
        for _ in 0..limits().wrong_secrets_max {
            assert!(guess(&mut rig).heard().windows(8).any(|words| words == b"ERR 401 "));
        }
        let guessers = [0; 3].map(|_| guess(&mut rig));
        let answered = |peers: &[Peer]| peers.iter().filter(|peer| !peer.heard().is_empty()).count();
        let late = rig.connect();
        rig.send(&late, right.as_bytes());
        for n in 1..=3 {
            assert_eq!(answered(&guessers), n);
            assert!(late.heard().is_empty());
            rig.send(&knows, ping.as_bytes());
            rig.pass(limits().wrong_secret_delay);
        }
        assert_eq!(knows.heard(), ok.as_bytes().repeat(4), "who has shown the secret does not wait");
        assert_eq!(late.heard(), ok.as_bytes());
        let crowd: Vec<Peer> = (0..100).map(|_| guess(&mut rig)).collect();
        let refused = |peer: &&Peer| peer.heard().windows(8).any(|words| words == b"ERR 429 ");
        assert!(crowd.iter().filter(refused).count() > 70, "neither read late nor told whether the secret is right");
    }
}

/// 64 bytes, more than a chunk, of an upload that is under way.
fn content_of(n: usize) -> Vec<u8> {
    (0..64).map(|at| b'a' + ((n * 7 + at) % 26) as u8).collect()
}

/// Four uploads of two addresses that hold all slots, each with the first byte of its content.
fn uploads_in_all_slots(rig: &mut Rig) -> Vec<Peer> {
    let peers: Vec<Peer> = [2, 3, 2, 3].into_iter().map(|host| rig.connect_from(host)).collect();
    for (n, peer) in peers.iter().enumerate() {
        rig.send(peer, &[format!("PUT 64 /upload{n}\n").as_bytes(), &content_of(n)[..1]].concat());
    }
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 0));
    peers
}

/// Sends what is left of an upload of which `from` bytes were sent, and checks the file.
fn end_upload(rig: &mut Rig, peer: &Peer, n: usize, from: usize) {
    rig.send(peer, &content_of(n)[from..]);
    assert!(peer.heard().starts_with(b"OK "), "{n}: {}", peer.heard().escape_ascii());
    assert_eq!(rig.file(&format!("upload{n}")), Some(content_of(n)));
}

fn assert_no_slot_is_taken(rig: &mut Rig) {
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting, rig.open_files()), (0, 0, 0));
}

fn four_slots() -> Limits {
    limits().with(|l| l.slots = 4)
}

#[test]
fn where_requests_wait_for_a_slot_an_upload_that_needs_none_goes_on_without() {
    for deferred in [false, true] {
        let mut rig = Rig::new(Mode { deferred, ..Mode::PLAIN }, four_slots(), Access::default());
        let uploads = uploads_in_all_slots(&mut rig);
        let other = rig.connect_from(4);
        rig.send(&other, b"PUT 5 /other\nhello");
        assert_eq!(rig.counters().slots_waiting, 1);
        rig.send(&uploads[0], &content_of(0)[1..2]);
        assert!(other.heard().starts_with(b"OK "), "no time has passed");
        assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (3, 0));
        // The address of that upload still has its share.
        let third = rig.connect_from(2);
        rig.send(&third, b"PUT 5 /third\nhello");
        assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (3, 1));
        rig.send(&uploads[1], &content_of(1)[1..2]);
        assert_eq!(rig.counters().slots_used, 3, "a request that is held back takes no slot of an upload");
        end_upload(&mut rig, &uploads[0], 0, 2);
        assert!(third.heard().starts_with(b"OK "));
        end_upload(&mut rig, &uploads[1], 1, 2);
        end_upload(&mut rig, &uploads[2], 2, 1);
        end_upload(&mut rig, &uploads[3], 3, 1);
        assert_no_slot_is_taken(&mut rig);
    }
}

/// The first upload has given its slot back, a fifth one has taken that, and the disk lags.
fn upload_without_slot(deferred: bool) -> (Rig, Vec<Peer>) {
    let limits = four_slots().with(|l| l.slot_timeout = Duration::from_secs(4));
    let mut rig = Rig::new(Mode { deferred, ..Mode::PLAIN }, limits, Access::default());
    let mut uploads = uploads_in_all_slots(&mut rig);
    let fifth = rig.connect_from(4);
    rig.send(&fifth, b"PUT 64 /upload4\n");
    rig.send(&uploads[0], &content_of(0)[1..2]);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 0));
    uploads.push(fifth);
    rig.lags(true);
    rig.send(&uploads[0], &content_of(0)[2..40]);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 1));
    (rig, uploads)
}

#[test]
fn where_requests_wait_an_upload_without_a_slot_waits_for_one_when_the_disk_lags() {
    for deferred in [false, true] {
        let (mut rig, uploads) = upload_without_slot(deferred);
        end_upload(&mut rig, &uploads[1], 1, 1);
        assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 0));
        end_upload(&mut rig, &uploads[0], 0, 40);
        end_upload(&mut rig, &uploads[4], 4, 0);
        end_upload(&mut rig, &uploads[2], 2, 1);
        end_upload(&mut rig, &uploads[3], 3, 1);
        assert_no_slot_is_taken(&mut rig);
    }
}

#[test]
fn where_requests_wait_an_upload_that_gets_no_slot_back_ends_and_leaves_nothing() {
    for is_cut in [true, false] {
        let (mut rig, uploads) = upload_without_slot(true);
        if is_cut {
            rig.cut(&uploads[0]);
        } else {
            // Sooner than a slow transfer would be ended for it.
            rig.pass(Duration::from_secs(4));
            assert!(uploads[0].heard().starts_with(b"ERR 429 "), "{}", uploads[0].heard().escape_ascii());
            assert_eq!(rig.counters().slots_waiting, 0);
        }
        uploads.iter().for_each(|peer| rig.cut(peer));
        assert_no_slot_is_taken(&mut rig);
        let next = rig.connect_from(2);
        rig.send(&next, b"PUT 5 /next\nhello");
        assert!(next.heard().starts_with(b"OK "));
    }
}

#[test]
fn where_requests_wait_only_so_many_uploads_go_on_without_a_slot() {
    let mut rig = rig(four_slots().with(|l| l.uploads_without_slot_max = 1));
    let uploads = uploads_in_all_slots(&mut rig);
    let others: Vec<Peer> = [4, 5].into_iter().map(|host| rig.connect_from(host)).collect();
    for peer in &others {
        rig.send(peer, b"PUT 64 /other\n");
    }
    for (n, peer) in uploads.iter().enumerate() {
        rig.send(peer, &content_of(n)[1..2]);
    }
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 1));
    // When that upload ends, the next may.
    end_upload(&mut rig, &uploads[0], 0, 2);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 1));
    rig.send(&uploads[1], &content_of(1)[2..3]);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (4, 0));
    rig.cut(&uploads[1]);
    end_upload(&mut rig, &uploads[2], 2, 2);
    end_upload(&mut rig, &uploads[3], 3, 2);
    others.iter().for_each(|peer| rig.cut(peer));
    assert_no_slot_is_taken(&mut rig);
}
