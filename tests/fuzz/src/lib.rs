//! A conversation with the real reactor on the platform in memory, made of arbitrary bytes that
//! arrive in arbitrary pieces. Debug assertions are on: a broken invariant is a crash.

use std::time::Duration;

use filewharf::config::{Access, Limits};
use filewharf::dialect::{Kind, Listening};

#[allow(dead_code, reason = "shared with the integration tests")]
#[path = "../../it/rig/mod.rs"]
mod rig;

use rig::{Mode, Rig};

/// The first byte chooses how the world behaves; after it come pieces, each behind its length.
/// A length of 255 lets time pass, 254 closes the client's half.
pub fn converse(kind: Kind, options: &[(String, String)], data: &[u8]) {
    let Some((&world, mut rest)) = data.split_first() else { return };
    let window = if world & 8 != 0 { 3 } else { usize::MAX };
    let mode = Mode { deferred: world & 1 != 0, held: world & 2 != 0, lags: world & 4 != 0, window };
    let limits = Limits {
        chunk_bytes: 16,
        chunks_per_slot: 8,
        request_bytes_max: 10_000,
        discard_bytes_max: 1000,
        message_bytes_max: 16 * 1024,
        ..Limits::default()
    };
    let listening = Listening::new(kind, options, 1).expect("good options");
    let mut rig = Rig::speaking(listening, mode, limits, Access::default());
    rig.place("a", b"content of a");
    rig.place("f/b.txt", b"content of b");
    let peer = rig.connect();
    while let Some((&len, tail)) = rest.split_first() {
        rest = tail;
        match len {
            255 => rig.pass(Duration::from_millis(120)),
            254 => rig.finish(&peer),
            len => {
                let (piece, tail) = rest.split_at(rest.len().min(usize::from(len)));
                rest = tail;
                rig.send(&peer, piece);
            }
        }
        if peer.is_gone() {
            break;
        }
    }
    rig.finish(&peer);
    for _ in 0..4 {
        rig.pass(Duration::from_secs(400));
    }
    assert!(peer.is_gone(), "a connection stays after its client has gone");
    assert_eq!(rig.open_files(), 0, "a file stays open");
    assert_eq!(rig.counters().slots_used, 0, "a slot leaks");
}
