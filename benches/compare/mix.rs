//! Small downloads while 64 large uploads keep the server busy: how long the small one waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::extent::Extent;
use crate::works::{MIB, SMALL, remove_uploads, upload, wire};
use support::driver::{Loss, Outcome, Step};
use support::peers::Peer;
use support::table::{Column, Rank, Unit};
use support::{Content, Driver, Task};

/// The name of this work.
pub const NAME: &str = "get 4 KiB under 64 large uploads";

pub const COLUMNS: [Column; 5] = columns("uploaded a second");

/// What the small ones waited and how many they were, and the bytes of the bulk transfers meanwhile.
pub const fn columns(bulk: &'static str) -> [Column; 5] {
    [
        Column { name: "p50", unit: Unit::Seconds, rank: Rank::LeastIsBest },
        Column { name: "p99", unit: Unit::Seconds, rank: Rank::LeastIsBest },
        Column { name: "p99.9", unit: Unit::Seconds, rank: Rank::LeastIsBest },
        Column { name: "small ones", unit: Unit::Plain, rank: Rank::Unranked },
        Column { name: bulk, unit: Unit::Bytes, rank: Rank::Unranked },
    ]
}

const UPLOADS: usize = 64;
const UPLOAD_LEN: u64 = 8 * MIB;
const READERS: usize = 8;
const TIME: Duration = Duration::from_secs(2);

/// One round of one server.
pub fn round(peer: &Peer, extent: Extent) -> Vec<f64> {
    let ended = AtomicBool::new(false);
    let mut readers = Driver::connect(peer.address, READERS, wire(peer), Loss::Panics);
    let (small, large) = thread::scope(|scope| {
        let large = scope.spawn(|| uploads(peer, &ended));
        // Uploads first come up to their speed.
        thread::sleep(Duration::from_millis(200));
        let small = small(&mut readers, extent.part(TIME));
        ended.store(true, Ordering::Relaxed);
        (small, large.join().expect("the uploads do not panic"))
    });
    remove_uploads(peer, UPLOADS);
    let mut row = percentiles(&small);
    row.extend([small.done as f64, large.bytes as f64 / large.elapsed.as_secs_f64()]);
    row
}

fn uploads(peer: &Peer, ended: &AtomicBool) -> Outcome {
    // They share a core with the one that measures, which must not wait for them. Where this is
    // not permitted, all servers suffer alike.
    let _ = rustix::process::nice(30);
    let mut clients = Driver::connect(peer.address, UPLOADS, wire(peer), Loss::Panics);
    clients.run(|step| match step {
        Step::Next(at) if !ended.load(Ordering::Relaxed) => {
            Some(Task::Put { path: upload(peer, at), content: Content::new(3, UPLOAD_LEN) })
        }
        _ => None,
    })
}

/// Every connection asks for the small file again and again, for a fixed time.
pub fn small(readers: &mut Driver, time: Duration) -> Outcome {
    let began = Instant::now();
    readers.run(|step| match step {
        Step::Next(_) if began.elapsed() < time => Some(SMALL.fetch()),
        _ => None,
    })
}

/// The median, p99 and p99.9 of what requests took.
pub fn percentiles(outcome: &Outcome) -> Vec<f64> {
    [500, 990, 999].map(|permille| outcome.times.permille(permille).as_secs_f64()).to_vec()
}
