//! Who is driven in a turn, and how much each may move: the fair part of the loop.
//!
//! A bulk transfer is given a large part at a time, because small parts cost calls, so only as many
//! of them have their turn as `Limits::turn_bytes` holds; the others go first in the next. Small
//! requests never wait for that: between two turns their events are taken in, and all of them are
//! driven. Moves nothing itself.

use crate::ids::ConnId;
use crate::platform::Platform;
use crate::reactor::{Reactor, lookup};

/// Requests received before the first of them is answered. More would hold more memory at once, and
/// leave the caches of the processor before they are looked at.
const RECEIVED_TOGETHER: usize = 128;

impl<P: Platform> Reactor<P> {
    /// Drives who is queued, each with its part of the turn.
    pub(super) fn drive_queued(&mut self) {
        // Stolen, so that this turn is finite: who is queued from here on is driven in the next.
        let mut work = std::mem::replace(&mut self.runnable, std::mem::take(&mut self.driven));
        self.turn_left = self.limits.turn_bytes;
        let mut queued = work.len();
        while queued > 0 {
            let together = queued.min(RECEIVED_TOGETHER);
            for id in work.iter().take(together) {
                self.receive_request(*id);
            }
            for _ in 0..together {
                let Some(id) = work.pop_front() else { break };
                match self.part_of(id) {
                    Some(bytes) => self.drive(id, bytes),
                    None => work.push_back(id),
                }
            }
            queued -= together;
        }
        // Who had to wait goes before those who had their part.
        work.append(&mut self.runnable);
        self.driven = std::mem::replace(&mut self.runnable, work);
    }

    /// What a connection may move now; `None` if it is better given a large part in the next turn.
    fn part_of(&mut self, id: ConnId) -> Option<usize> {
        if self.turn_left > 0 {
            return Some(self.limits.turn_bytes_max);
        }
        let limits = &self.limits;
        let waits = lookup(&mut self.connections, id).is_some_and(|connection| connection.session.is_bulk(limits));
        (!waits).then_some(limits.turn_bytes_min)
    }
}
