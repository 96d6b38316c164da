//! Limits that change while the server runs hold for what is under way too. In virtual time.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::{Limits, Live};

use support::rig::{Mode, Peer, Rig};

const KIB: u64 = 1024;

fn rig() -> Rig {
    Rig::new(Mode::PLAIN, Limits::default(), Access::default())
}

fn change(rig: &mut Rig, change: impl FnOnce(&mut Live)) {
    let mut live = Live::default();
    change(&mut live);
    rig.set_limits(live);
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_shorter_timeout_ends_what_has_waited_for_as_long_and_a_longer_one_lets_it_wait() {
    let mut rig = rig();
    let [idle, begun] = [0; 2].map(|_| rig.connect());
    rig.send(&begun, b"GET /x");
    change(&mut rig, |live| {
        (live.idle_timeout, live.head_timeout) = (seconds(10), seconds(60));
    });
    rig.pass(seconds(9));
    assert!(!idle.is_closed(), "it was ended too early");
    rig.pass(seconds(1));
    assert!(idle.is_closed() && !begun.is_closed());
    rig.pass(seconds(49));
    assert!(!begun.is_closed(), "its deadline at the start was after 30 seconds");
    rig.pass(seconds(1));
    assert!(begun.is_closed());
}

#[test]
fn the_next_request_of_a_connection_meets_the_bounds_of_now() {
    let mut rig = rig();
    let (peer, other) = (rig.connect(), rig.connect());
    rig.send(&peer, b"PUT 3 /f\nabc");
    change(&mut rig, |live| (live.request_bytes_max, live.client_connections_max) = (2, 2));
    rig.send(&peer, b"PUT 3 /g\nabc");
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(heard.starts_with("OK 0") && heard.contains("\nERR 413"), "{heard}");
    assert!(rig.file("f").is_some() && rig.file("g").is_none());
    let refused = rig.connect();
    rig.send(&refused, b"PING\n");
    assert!(refused.heard().starts_with(b"ERR 429") && !other.is_closed(), "those that are open stay");
}

#[test]
fn a_transfer_moves_at_the_rate_of_now() {
    const LEN: usize = 4 << 20;
    let mut rig = rig();
    rig.place("f", &vec![b'x'; LEN]);
    let in_a_second = |rig: &mut Rig, peer: &Peer| {
        let before = peer.heard().len();
        for _ in 0..50 {
            rig.pass(Duration::from_millis(20));
        }
        (peer.heard().len() - before) as u64 / KIB
    };
    change(&mut rig, |live| live.client_download_bytes_per_s = 64 * KIB);
    let peer = rig.connect();
    rig.send(&peer, b"GET /f\n");
    for kib_per_s in [64, 256, 32] {
        change(&mut rig, |live| live.client_download_bytes_per_s = kib_per_s * KIB);
        let moved = in_a_second(&mut rig, &peer);
        // The bucket may have had its 16 KiB when the rate changed.
        assert!((kib_per_s * 9 / 10..=kib_per_s + 16).contains(&moved), "{moved} KiB at {kib_per_s} KiB/s");
    }
    change(&mut rig, |_| ());
    assert!(peer.heard().len() > LEN, "without a rate it ends at once");
    let last = rig.connect();
    rig.send(&last, b"GET /f\n");
    assert!(last.heard().len() > LEN);
}

#[test]
fn a_transfer_that_began_without_a_rate_is_given_one() {
    let mut rig = Rig::new(Mode { window: 64 << 10, ..Mode::PLAIN }, Limits::default(), Access::default());
    rig.place("f", &vec![b'x'; 4 << 20]);
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /f\n");
    change(&mut rig, |live| live.client_download_bytes_per_s = 64 * KIB);
    let before = peer.heard().len();
    for _ in 0..50 {
        rig.read(&peer, 1 << 20);
        rig.pass(Duration::from_millis(20));
    }
    let moved = (peer.heard().len() - before) as u64 / KIB;
    assert!((60..=64 + 64 + 20).contains(&moved), "{moved} KiB in a second, and what the window held");
}
