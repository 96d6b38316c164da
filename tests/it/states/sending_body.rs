//! SendingBody: readers that are slow, files that fail, and which version is sent.

use std::time::Duration;

use filewharf::access::Access;

use support::rig::{Damage, Mode, Rig};

use super::{assert_clean, limits, plain_rig, rig, said, seconds, short_limits};

// covers: never-reads
#[test]
fn a_peer_that_does_not_read_is_reset_in_the_middle_of_a_body() {
    for (deferred, held) in [(false, false), (true, false), (true, true)] {
        let mut rig = rig(Mode { deferred, held, lags: false, window: 40 });
        let writer = rig.connect();
        rig.send(&writer, &[b"PUT 1000 /x\n", &[b'a'; 1000][..]].concat());
        let peer = rig.connect();
        rig.send_unread(&peer, b"GET /x\n");
        rig.pass(Duration::from_secs(19));
        assert!(!peer.is_closed());
        rig.pass(Duration::from_secs(1));
        assert!(peer.is_gone() && peer.is_reset(), "half a body must not look whole");
        assert_clean(&mut rig);
    }
}

// covers: read-fails
#[test]
fn a_file_that_cannot_be_sent_whole_ends_in_a_reset() {
    for damage in [Damage::Short(90), Damage::Unreadable] {
        for mode in [Mode { window: 40, ..Mode::PLAIN }, Mode { held: true, deferred: true, lags: false, window: 40 }] {
            let mut rig = rig(mode);
            rig.place("x", &[b'a'; 200]);
            let peer = rig.connect();
            rig.send_unread(&peer, b"GET /x\n");
            assert!(peer.heard().starts_with(b"OK 200 "));
            rig.damage(damage);
            rig.send(&peer, b"");
            assert!(peer.is_reset() && peer.is_gone(), "{damage:?} ({mode:?})");
            assert_clean(&mut rig);
            assert_eq!(rig.counters().failed, 1);
        }
    }
}

// covers: slow-disk
#[test]
fn no_time_at_our_own_disk_is_a_reader_too_slow() {
    let mut rig = rig(Mode { held: true, deferred: true, ..Mode::PLAIN });
    rig.place("x", &[b'a'; 200]);
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, b"GET /x\n");
    // The file is opened, then read in this many chunks.
    for _ in 0..=200_usize.div_ceil(16) {
        // One chunk at a time comes from the disk, long after the one before has left.
        rig.complete_in_turn();
        rig.pass(Duration::from_secs(100));
    }
    assert!(said(&peer).ends_with(&"a".repeat(200)) && !peer.is_closed(), "{}", said(&peer));
}

/// What waits in the kernel has left the server, and is not read.
#[test]
fn what_the_peer_has_not_acknowledged_has_not_been_read() {
    for (unread, is_reset) in [(0, false), (950, true)] {
        let mut rig = rig(Mode { window: 1000, ..Mode::PLAIN });
        rig.place("x", &[b'a'; 5000]);
        let peer = rig.connect();
        rig.send_unread(&peer, b"GET /x\n");
        peer.acknowledges_all_but(unread);
        rig.pass(Duration::from_secs(20));
        assert_eq!(peer.is_reset(), is_reset, "{unread} bytes");
    }
}

/// At whatever moment a request arrives after the last byte of a body: it is shown that version.
#[test]
fn no_client_reads_an_older_version_than_a_body_accepted_in_full() {
    for mode in Mode::all().filter(|mode| mode.window == usize::MAX) {
        for (size, turns) in [(10, 0), (40, 0), (40, 1), (40, 2), (40, 3), (60, 0), (60, 1), (60, 2), (60, 4)] {
            let mut rig = Rig::new(mode, limits().with(|l| l.fixed.slots = 4), Access::default());
            let (writer, reader) = (rig.connect(), rig.connect());
            let put = |byte: u8| [format!("PUT {size} /x\n").as_bytes(), &vec![byte; size]].concat();
            rig.send(&writer, &put(b'1'));
            rig.send_in_turn(&writer, &put(b'2'));
            for _ in 0..turns {
                rig.send_in_turn(&writer, b"");
            }
            let accepted = rig.counters().bytes_in == 2 * size as u64;
            rig.send_in_turn(&reader, b"GET /x\n");
            rig.send(&writer, b"");
            let heard = reader.heard();
            let newest = heard.ends_with(&vec![b'2'; size]);
            assert!(newest || !accepted, "{size} after {turns} ({mode:?}): {}", heard.escape_ascii());
        }
    }
}

/// The kernel took much at once and asks for no more for a while, but it passes on enough.
#[test]
fn a_client_that_reads_what_the_kernel_holds_is_not_too_slow() {
    let mode = Mode { window: 1000, ..Mode::PLAIN };
    let limits = short_limits().with(|l| {
        l.live.rate_bytes_per_s_min = 10;
        l.fixed.rate_window = seconds(20);
    });
    let mut rig = Rig::new(mode, limits, Access::default());
    rig.place("x", &[b'a'; 5000]);
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /x\n");
    for left in [800, 600, 400, 200, 0] {
        peer.acknowledges_all_but(left);
        rig.pass(seconds(20));
        assert!(!peer.is_gone(), "{left} bytes left");
    }
    rig.pass(seconds(20));
    assert!(peer.is_reset());
}

#[test]
fn a_client_that_does_not_read_is_too_slow_whatever_the_disk_does() {
    let mode = Mode { held: true, deferred: true, lags: false, window: 40 };
    let limits = short_limits().with(|l| {
        l.live.rate_bytes_per_s_min = 10;
        l.fixed.rate_window = seconds(20);
    });
    let mut rig = Rig::new(mode, limits, Access::default());
    rig.place("x", &[b'a'; 5000]);
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send_unread(&peer, b"GET /x\n");
    rig.complete_in_turn();
    assert_eq!(peer.heard().len(), 40, "a part of the head");
    rig.pass(seconds(20));
    assert!(peer.is_reset());
}

#[test]
fn the_digest_of_a_long_file_is_the_one_of_all_its_bytes() {
    let mut rig = plain_rig();
    rig.place("x", &[b'a'; 100_000]);
    let peer = rig.connect();
    rig.send(&peer, b"GET trailer=sha256 /x\n");
    let digest = "sha256=6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee\n";
    assert!(peer.heard().ends_with(digest.as_bytes()), "{}", &said(&peer)[100_000..]);
}
