//! What is bounded stays within its bound, in virtual time: the bytes and calls of a turn, memory, transfer slots, connections.

mod connections;
mod live;
mod memory;
mod slots;
mod turn;

use filewharf::access::Access;
use filewharf::config::Limits;
use support::rig::{Mode, Peer, Rig};

const MOST: usize = 1000;

const A_FEW_MORE: usize = 100;

fn limits() -> Limits {
    Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
        l.fixed.turn_bytes_max = MOST;
        l.fixed.turn_bytes_min = A_FEW_MORE;
        l.fixed.turn_calls = 8;
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
