//! What a crowd of keep-alive connections costs a server that has answered each of them once and
//! now waits. Only the memory of its processes is seen; the kernel's own is about the same for all.

use crate::support::driver::Loss;
use crate::support::peers::Peer;
use crate::support::{Driver, Task, driver, process};

/// The name of this work.
pub const NAME: &str = "9,000 idle connections";

const CROWD: usize = 9_000;
/// Before the crowd comes, so that what is only paid once is not counted.
const FIRST: usize = 64;

/// Measures every peer in turn and prints the figures.
pub fn measure(peers: &[Peer]) {
    if !process::permits(CROWD + 500, "compare") {
        return;
    }
    println!("{NAME}, each after one GET of 4 KiB:");
    for peer in peers {
        drop(asked(peer, FIRST));
        let before = memory(peer);
        let crowd = asked(peer, CROWD);
        let after = memory(peer);
        drop(crowd);
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 * 1024.0 / CROWD as f64;
        println!(
            "  {:14} {:7.0} bytes each (PSS {:.0}); {} KiB before, {} KiB with them",
            peer.name,
            each(after.0, before.0),
            each(after.1, before.1),
            before.0,
            after.0
        );
    }
}

/// That many connections, each answered once and kept.
fn asked(peer: &Peer, connections: usize) -> Driver {
    let mut clients = Driver::connect(peer.address, connections, peer.wire, Loss::Panics);
    let outcome = clients.run(driver::each(1, |_, _| Task::Drain { path: "/small".to_owned(), len: 4096 }));
    assert_eq!(outcome.done, connections as u64);
    clients
}

/// RSS and PSS, in KiB.
fn memory(peer: &Peer) -> (u64, u64) {
    (process::status(peer.pid, "VmRSS:"), process::pss(peer.pid))
}
