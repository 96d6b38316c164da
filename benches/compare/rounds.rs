//! The rounds of one work: every server in turn, none for longer than it may take.
//!
//! Each round has an order of its own: what one server leaves (memory that the host of a virtual
//! machine takes back, for one), another may pay for, and in one order for all rounds that can always be the
//! same one. An upload of a GiB was seen to cost three times as much in every round, for its place alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::extent::Extent;
use crate::works::Work;
use support::content::Random;
use support::peers::Peer;
use support::table::{Measured, Row};

/// The longest round. What ends, ends long before that: the rest hangs, or would take up the time of all.
const ROUND_MAX: Duration = Duration::from_secs(20);
/// The longest wait for a server to end its work after a round.
const REST_MAX: Duration = Duration::from_secs(20);

/// Does a work for this many rounds; `None` if it was interrupted. `title` is its name in the tables.
pub fn measure(
    work: &Work,
    title: String,
    rounds: usize,
    extent: Extent,
    peers: &[Peer],
    interrupted: &AtomicBool,
) -> Option<Measured> {
    let counted = work.counted(rounds, extent);
    let peers: Vec<&Peer> = peers.iter().filter(|peer| work.suits(peer)).collect();
    let mut rows: Vec<Row> = peers
        .iter()
        .map(|peer| Row { peer: peer.name, role: peer.role, baseline: peer.baseline, rounds: Ok(Vec::new()) })
        .collect();
    for round in 0..=*counted.end() {
        for at in order(round, peers.len()) {
            let (peer, row) = (peers[at], &mut rows[at]);
            if interrupted.load(Ordering::Relaxed) {
                return None;
            }
            let Ok(figures) = &mut row.rounds else { continue };
            match in_time(peer, || work.round(peer, extent)).and_then(|of_round| at_rest(peer, of_round)) {
                Ok(of_round) if counted.contains(&round) => figures.push(of_round),
                Ok(_) => {}
                Err(why) => {
                    // It is not measured again, and must not take the core from those that are.
                    peer.kill();
                    row.rounds = Err(why);
                }
            }
        }
    }
    Some(Measured { work: title, settings: work.settings(), columns: work.columns, rows })
}

/// In which order a round meets this many servers: the same for ever.
fn order(round: usize, servers: usize) -> Vec<usize> {
    let mut random = Random::new(round as u64 + 1);
    let mut order: Vec<usize> = (0..servers).collect();
    for last in (1..servers).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    order
}

/// The figures of a round, once the server has come to rest: work that it still did for closed connections would
/// be counted against the next server.
fn at_rest(peer: &Peer, of_round: Vec<f64>) -> Result<Vec<f64>, String> {
    if peer.comes_to_rest(REST_MAX) {
        Ok(of_round)
    } else {
        Err(format!("was still busy {} s after its round", REST_MAX.as_secs()))
    }
}

/// One round. A server that takes too long is killed, so that whatever waits for it ends as well; `Err`
/// says so, or that it failed.
fn in_time(peer: &Peer, round: impl FnOnce() -> Vec<f64>) -> Result<Vec<f64>, String> {
    let late = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        let (ended, end) = mpsc::channel::<()>();
        let late = &late;
        scope.spawn(move || {
            if end.recv_timeout(ROUND_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                late.store(true, Ordering::Relaxed);
                peer.kill();
            }
        });
        let done = catch_unwind(AssertUnwindSafe(round));
        drop(ended);
        done
    });
    if late.load(Ordering::Relaxed) {
        return Err(format!("did not end in {} s", ROUND_MAX.as_secs()));
    }
    done.map_err(|_| "failed, see above".to_owned())
}
