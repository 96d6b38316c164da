//! ReceivingBody, FinishingWrites and Discarding: bodies, the disk that they wait for, and bodies that are refused.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

use super::{name_size, plain_rig, said, seconds, short_limits};

#[test]
fn a_refused_body_is_thrown_away_up_to_its_limit() {
    for (len, continues) in [(100, true), (101, false)] {
        let mut rig = plain_rig();
        let peer = rig.connect();
        rig.send(&peer, format!("PUT {len} /../x\n{}PING\n", "a".repeat(len)).as_bytes());
        assert!(said(&peer).starts_with("ERR 400 "));
        assert_eq!((said(&peer).ends_with("\nOK 0\n"), peer.is_closed()), (continues, !continues), "{len} bytes");
    }
}

/// What comes while our own disk is at work may have come late because of that.
#[test]
fn no_silence_ends_a_content_while_the_disk_is_at_work() {
    let listening = Listening::new(Kind::Menu, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode { deferred: true, ..Mode::PLAIN }, short_limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"sendtext");
    rig.send(&peer, b"a.txt");
    rig.pass(seconds(1));
    rig.hold_completions(true);
    // The store asks for a write-back every five bytes, and this one does not end.
    rig.send(&peer, b"hello");
    rig.pass(seconds(2));
    rig.send(&peer, b" you");
    rig.hold_completions(false);
    rig.pass(seconds(2));
    assert_eq!(rig.file("a.txt"), Some(b"hello you".to_vec()), "{}", said(&peer));
}

/// In some dialects a silence ends the content: but not while we do not listen.
#[test]
fn a_silence_while_our_own_disk_is_at_work_ends_no_upload() {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
    let limits = Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
        l.live.rate_bytes_per_s_min = 0;
    });
    let mut rig =
        Rig::speaking(listening, Mode { deferred: true, lags: true, ..Mode::PLAIN }, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, &[b"a 50000".as_slice(), &[b'x'; 20_000]].concat());
    rig.hold_completions(true);
    rig.send(&peer, &[b'x'; 100]);
    rig.pass(Duration::from_secs(50));
    rig.hold_completions(false);
    rig.send(&peer, &[b'x'; 29_900]);
    rig.pass(Duration::from_secs(5));
    rig.finish(&peer);
    assert_eq!(rig.names(), ["a"]);
    assert_eq!(rig.file("a").map(|bytes| bytes.len()), Some(50_000));
}

/// An upload must bring this many bytes a second, in each 8 of them.
fn limits_of_rate(bytes_per_s: u64) -> Limits {
    Limits::default().with(|l| {
        l.fixed.rate_window = seconds(8);
        l.live.rate_bytes_per_s_min = bytes_per_s;
    })
}

/// While the disk was at work, bytes that came counted and the time did not: nothing ended an upload of one byte now
/// and then, as long as others kept the disk busy.
// covers: slow-bodies
#[test]
fn an_upload_that_the_disk_keeps_waiting_is_slow_only_if_its_client_is() {
    let mode = Mode { deferred: true, lags: true, held: false, window: 4000 };
    // For each 10 s of waiting and one without: what comes meanwhile, and what must come in a second.
    for (sent, min, ends) in [(50, 10, true), (500, 10, false), (4000, 1000, false), (5000, 1000, false)] {
        let limits = limits_of_rate(min).with(|l| {
            l.fixed.chunk_bytes = 1024;
            l.fixed.chunks_per_slot = 4;
        });
        let mut rig = Rig::new(mode, limits, Access::default());
        let peer = rig.connect();
        rig.send(&peer, b"PUT 100000 /a\n");
        for _ in 0..12 {
            rig.hold_completions(true);
            // Each takes a chunk: then the disk keeps it waiting.
            for _ in 0..4 {
                rig.send_in_turn(&peer, b"x");
            }
            rig.send_in_turn(&peer, &vec![b'x'; sent]);
            rig.pass(seconds(10));
            rig.hold_completions(false);
            rig.pass(seconds(1));
        }
        assert_eq!(peer.heard().starts_with(b"ERR 408 "), ends, "{sent} bytes: {}", said(&peer));
    }
}

/// Each wait for a slot began the time again in which it must move something.
#[test]
fn an_upload_that_waits_for_a_slot_again_and_again_is_not_younger_for_that() {
    let limits = limits_of_rate(10).with(|l| l.fixed.slots = 1);
    let mut rig = Rig::new(Mode { deferred: true, lags: false, ..Mode::PLAIN }, limits, Access::default());
    let slow = rig.connect_from(2);
    rig.send(&slow, b"PUT 1000000 /slow\n");
    for _ in 0..6 {
        let other = rig.connect_from(3);
        rig.send(&other, b"PUT 1000000 /other\n");
        rig.send(&slow, b"x");
        assert_eq!(rig.counters().slots_waiting, 0, "the slow one continues without a slot");
        rig.pass(seconds(2));
        if !slow.heard().is_empty() {
            break;
        }
        rig.lags(true);
        rig.send(&slow, b"x");
        assert_eq!(rig.counters().slots_waiting, 1, "it must hold its bytes");
        rig.pass(seconds(1));
        rig.cut(&other);
        rig.lags(false);
        assert_eq!(rig.counters().slots_waiting, 0);
    }
    assert!(slow.heard().starts_with(b"ERR 408 "), "{}", said(&slow));
}

/// What came after a wait for the disk was left out as if it had been sent meanwhile: where each piece takes all the
/// chunks of a slot, nothing ever counted.
#[test]
fn an_upload_that_waits_for_the_disk_after_each_piece_is_as_fast_as_its_client() {
    let limits = limits_of_rate(10).with(|l| {
        l.fixed.chunk_bytes = 1024;
        l.fixed.chunks_per_slot = 1;
    });
    for (sent, ends) in [(5, true), (500, false)] {
        let mut rig = Rig::new(Mode { deferred: true, lags: true, ..Mode::PLAIN }, limits.clone(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, b"PUT 100000 /a\n");
        for _ in 0..30 {
            rig.send(&peer, &vec![b'x'; sent]);
            rig.pass(seconds(1));
        }
        assert_eq!(peer.heard().starts_with(b"ERR 408 "), ends, "{sent} bytes: {}", said(&peer));
    }
}

/// The disk lagged while an upload without a slot had an operation there: it is not read until that has ended, and was
/// ended as too slow meanwhile.
#[test]
fn an_upload_without_a_slot_is_not_slow_while_its_last_write_back_is_under_way() {
    let limits = limits_of_rate(10).with(|l| l.fixed.slots = 1);
    // One that sends nothing more is ended all the same.
    for ends in [true, false] {
        let mut rig = Rig::new(Mode { deferred: true, window: 3000, ..Mode::PLAIN }, limits.clone(), Access::default());
        let peer = rig.connect_from(2);
        rig.send(&peer, b"PUT 1000000 /a\n");
        let other = rig.connect_from(3);
        rig.send(&other, b"PUT 1000000 /other\n");
        rig.send(&peer, b"x");
        assert_eq!(rig.counters().slots_waiting, 0, "it continues without a slot");
        rig.hold_completions(true);
        // The store asks for a write-back every five bytes, and this one does not end.
        rig.send_in_turn(&peer, b"hello");
        rig.lags(true);
        if ends {
            rig.turn();
        } else {
            rig.send_in_turn(&peer, &[b'x'; 3000]);
        }
        rig.pass(seconds(100));
        assert_eq!(peer.heard().starts_with(b"ERR 408 "), ends, "{}", said(&peer));
        rig.lags(false);
        rig.hold_completions(false);
        rig.send(&peer, &[b'x'; 100]);
        rig.pass(seconds(7));
        assert_eq!(peer.heard().is_empty(), !ends, "{}", said(&peer));
        rig.pass(seconds(100));
        assert!(peer.heard().starts_with(b"ERR 408 "), "it has a deadline again: {}", said(&peer));
    }
}

/// A checkpoint was due while the disk kept the upload waiting for longer than a client may be silent.
#[test]
fn an_upload_that_waits_for_the_disk_is_not_silent_when_a_checkpoint_is_due() {
    let limits = Limits::default().with(|l| {
        l.live.stall_timeout = seconds(10);
        l.live.upload_sync_interval = seconds(30);
    });
    let mut rig = Rig::new(Mode { deferred: true, window: 3000, ..Mode::PLAIN }, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 1000000 resume=token-of-the-client /a\n");
    rig.hold_completions(true);
    // The store asks for a write-back every five bytes; this one does not end, and the next must wait for it.
    for piece in [&b"hello"[..], b"hello", &[b'x'; 3000]] {
        rig.send_in_turn(&peer, piece);
    }
    assert_eq!(rig.unreceived(&peer), 3000, "it is kept waiting");
    rig.pass(seconds(100));
    rig.hold_completions(false);
    assert_eq!((rig.unreceived(&peer), &*said(&peer)), (0, "GO 0\n"));
    rig.pass(seconds(10));
    assert!(said(&peer).contains("ERR 408 "), "{}", said(&peer));
}

/// The name under which an upload was announced stayed blocked when it was stored under another.
#[test]
fn an_upload_that_ends_under_another_name_lets_the_first_one_go() {
    let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
    let mut rig = name_size(mode, Limits::default().with(|l| l.fixed.chunks_per_slot = 64));
    let cut = rig.connect();
    let mut bytes = b"a 50000\n".to_vec();
    bytes.extend([b'x'; 20_000]);
    rig.send_hurried(&cut, [bytes.as_slice(), b"y", b"z"], true);
    assert_eq!(rig.names(), ["a.part"]);
    let next = rig.connect();
    rig.send_hurried(&next, [b"a 5hello".as_slice()], true);
    rig.pass(Duration::from_secs(5));
    assert!(next.is_gone());
    assert_eq!(rig.file("a"), Some(b"hello".to_vec()));
}

/// The end of the stream was taken for the end of the content while bytes before it were still
/// held: the disk had not kept up when they came, and did so again when the end came. Found by the
/// simulator.
#[test]
fn what_is_held_for_a_slow_disk_belongs_to_the_upload_that_its_stream_ends() {
    let content = b"0123456789 0123456789 0123456789";
    let framed = |bytes: &str| format!("{:<64}{bytes}", bytes.len());
    let put = format!("{}{:<64}", framed("PUT 32 /a.txt"), 32);
    // A text this long goes into its file as it comes.
    let text = format!("{:<64}{}", 6032, "x".repeat(6000));
    let inbox = [("inbox".to_owned(), "in".to_owned())];
    for (kind, options, name, front) in [
        (Kind::NameChoice, &[][..], "a.txt", "a.txt:PUT"),
        (Kind::Menu, &[], "a.jpg", "sendimagea.jpg"),
        (Kind::LengthPrefix, &[], "a.txt", &put),
        (Kind::LengthPrefix, &inbox, "in/0-000001-127.0.0.1-50851.txt", &text),
    ] {
        let listening = Listening::new(kind, options, 0).expect("good options");
        let limits = Limits::default().with(|l| {
            l.fixed.chunk_bytes = 16;
            l.fixed.chunks_per_slot = 2;
        });
        let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
        let mut rig = Rig::speaking(listening, mode, limits, Access::default());
        let peer = rig.connect();
        rig.send(&peer, front.as_bytes());
        rig.pass(Duration::from_millis(50));
        rig.hold_completions(true);
        // In two pieces: after the first the dialect has said that it has seen everything.
        rig.send_in_turn(&peer, &content[..3]);
        rig.send_in_turn(&peer, &content[3..]);
        rig.lags(false);
        rig.finish_in_turn(&peer);
        rig.hold_completions(false);
        assert!(!peer.is_reset(), "{kind}");
        assert!(rig.file(name).is_some_and(|file| file.ends_with(content)), "{kind}");
    }
}

/// An upload had been refused, and removing its staging file took the disk longer than a message
/// may stop half-way: the peer was refused as too slow although it was not asked for bytes, and closed. Found by the
/// simulator.
#[test]
fn a_disk_that_takes_long_to_remove_a_staging_file_ends_no_client() {
    let mode = Mode { deferred: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, Limits::default().with(|l| l.fixed.chunk_bytes = 16), Access::default());
    let peer = rig.connect();
    let wrong = "0".repeat(64);
    rig.send(&peer, format!("PUT 20 sha256={wrong} /a\n0123456789012345678").as_bytes());
    rig.hold_completions(true);
    rig.send_in_turn(&peer, b"9");
    rig.pass(Duration::from_secs(100));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"ERR 422 ") && !peer.is_closed());
    rig.send(&peer, b"PING\n");
    assert!(peer.heard().ends_with(b"\nOK 0\n"));
    assert_eq!(peer.heard().iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
}
