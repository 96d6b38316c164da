//! Transfer slots: the share of one address, and what gives way while requests wait for one.

use super::{limits, rig, uploads};
use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::error::CloseReason;
use std::time::Duration;
use support::rig::{Mode, Peer, Rig};

#[test]
fn one_address_has_its_part_of_the_slots_and_the_others_stay_free() {
    let limits = limits().with(|l| l.fixed.slots = 4);
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

/// Every second each of them sends this many bytes, until `done`.
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
        l.fixed.slots = 8;
        l.fixed.uploads_without_slot_max = 0;
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
        l.fixed.slots = 8;
        l.fixed.chunk_bytes = 4096;
        l.fixed.reply_bytes_max = 64;
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
        l.fixed.slots = 8;
        l.fixed.uploads_without_slot_max = 0;
        l.live.slot_timeout = Duration::from_secs(60);
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
    let mut rig = rig(limits().with(|l| l.fixed.slots = 8));
    let slow = slots_of_two_addresses(&mut rig, 4);
    send_each_second(&mut rig, &slow, 100, |rig| rig.counters().uptime_ms > 50_000);
    assert_eq!(rig.counters().slots_used, 8);
    assert!(slow.iter().all(|peer| peer.heard().is_empty()));
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
    limits().with(|l| l.fixed.slots = 4)
}

#[test]
fn where_requests_wait_for_a_slot_an_upload_that_needs_none_continues_without() {
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
    let limits = four_slots().with(|l| l.live.slot_timeout = Duration::from_secs(4));
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
fn where_requests_wait_a_bounded_number_of_uploads_continues_without_a_slot() {
    let mut rig = rig(four_slots().with(|l| l.fixed.uploads_without_slot_max = 1));
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
