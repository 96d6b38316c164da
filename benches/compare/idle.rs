//! What a crowd of keep-alive connections costs a server that has answered each of them once and
//! now waits. Only the memory of its processes is seen; the kernel's own is about the same for all.

use crate::extent::Extent;
use crate::works::{SMALL, wire};
use support::driver::Loss;
use support::peers::Peer;
use support::table::{Column, Rank, Unit};
use support::{Driver, driver};

/// The name of this work.
pub const NAME: &str = "9,000 idle connections, each";

pub const COLUMNS: [Column; 1] = [Column { name: "memory", unit: Unit::Bytes, rank: Rank::LeastIsBest }];

pub const CROWD: usize = 9_000;
/// Before the crowd comes, and until it goes, so that what is only paid once is not counted: a crowd
/// fills all the queues of a turn.
const FIRST: usize = 512;

/// The first round of a process has to be the one that counts: memory that was got is kept.
pub fn round(peer: &Peer, extent: Extent) -> Vec<f64> {
    let connections = extent.count(CROWD);
    let first = asked(peer, FIRST);
    let before = peer.memory("VmRSS:");
    let crowd = asked(peer, connections);
    let after = peer.memory("VmRSS:");
    drop((first, crowd));
    vec![after.saturating_sub(before) as f64 / connections as f64]
}

/// That many connections, each answered once and kept.
fn asked(peer: &Peer, connections: usize) -> Driver {
    let mut clients = Driver::connect(peer.address, connections, wire(peer), Loss::Panics);
    let outcome = clients.run(driver::each(1, |_, _| SMALL.fetch()));
    assert_eq!(outcome.done, connections as u64);
    clients
}
