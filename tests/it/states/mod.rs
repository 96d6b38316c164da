//! The states of a session, in virtual time: their table, every deadline one step before it and at it, a drain in every
//! state, a hand-over, an end of the stream at every byte. One file for each state, and for what concerns several.

mod await_header;
mod await_slot;
mod committing;
mod copying;
mod deadlines;
mod drain;
mod hand_over;
mod order_of_changes;
mod pausing;
mod receiving_body;
mod registration;
mod saving;
mod sending_body;
mod sleep;
mod table;
mod turned_away;

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

fn limits() -> Limits {
    let second = Duration::from_secs;
    Limits::default().with(|l| {
        l.fixed.slots = 1;
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
        l.live.head_timeout = second(30);
        l.live.idle_timeout = second(300);
        l.live.stall_timeout = second(60);
        l.live.slot_timeout = second(40);
        l.live.linger_timeout = second(2);
        l.fixed.rate_window = second(20);
        l.live.rate_bytes_per_s_min = 10;
        l.live.drain_timeout = second(100);
    })
}

/// A mode in which nothing ends at once: every state is really waited in.
const SLOW: Mode = Mode { deferred: true, held: true, lags: true, window: usize::MAX };

fn modes() -> [Mode; 3] {
    [Mode::PLAIN, SLOW, Mode { deferred: true, ..Mode::PLAIN }]
}

fn rig(mode: Mode) -> Rig {
    Rig::new(mode, limits(), Access::default())
}

pub fn said(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

/// Nothing is left of any connection.
#[track_caller]
fn assert_clean(rig: &mut Rig) {
    let counters = rig.counters();
    assert_eq!((counters.slots_used, counters.slots_waiting), (0, 0), "a slot leaks");
    assert_eq!(rig.open_files(), 0, "a file stays open");
}

pub const STEP: Duration = Duration::from_millis(1);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn short_limits() -> Limits {
    Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.live.head_timeout = seconds(5);
        l.live.idle_timeout = seconds(300);
        l.live.stall_timeout = seconds(60);
        l.live.linger_timeout = seconds(2);
        l.live.drain_timeout = seconds(100);
        l.live.discard_bytes_max = 100;
    })
}

fn plain_rig() -> Rig {
    Rig::new(Mode::PLAIN, short_limits(), Access::default())
}

pub fn speaking(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, short_limits(), Access::default())
}

/// A server of `name-size`.
fn name_size(mode: Mode, limits: Limits) -> Rig {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
    Rig::speaking(listening, mode, limits, Access::default())
}
