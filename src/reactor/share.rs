//! Who is driven in a turn, and how much each may move: the fair part of the loop.
//!
//! A bulk transfer is given a large part at a time, because small parts cost calls, so only as many
//! of them have their turn as `Limits::turn_bytes` holds; the others go first in the next. Small
//! requests never wait for that: between two turns their events are taken in, and all of them are
//! driven. Moves nothing itself.

use crate::ids::ConnId;
use crate::platform::Platform;
use crate::reactor::{Reactor, lookup};
use crate::session::Outgoing;
use crate::session::state::Name;

/// Requests received before the first of them is answered. More would hold more memory at once, and
/// leave the caches of the processor before they are looked at.
const RECEIVED_TOGETHER: usize = 128;

/// Answers of the store that wait for each other, so that they leave one after the other: what a file
/// system needs stays in the caches of the processor, and so does what a socket needs; and a peer on
/// this machine is woken once. The first of them waits for about two milliseconds, where all are uploads.
const ANSWERED_TOGETHER: usize = 32;

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
                    Some(bytes) => {
                        // A large part takes longer than all of them.
                        if self.answered.len() >= ANSWERED_TOGETHER || (!self.answered.is_empty() && self.is_bulk(id)) {
                            self.send_answers();
                        }
                        self.drive(id, bytes);
                    }
                    None => work.push_back(id),
                }
            }
            self.send_answers();
            queued -= together;
        }
        // Who had to wait goes before those who had their part.
        work.append(&mut self.runnable);
        self.driven = std::mem::replace(&mut self.runnable, work);
    }

    /// A request has just been served whose answer is all that wants to leave: it leaves together with
    /// others of this turn. Who has sent more requests already goes on at once.
    pub(super) fn answers_together(&mut self, id: ConnId) -> bool {
        let together = lookup(&mut self.connections, id).is_some_and(|connection| {
            let session = &connection.session;
            let waits = session.state() == Name::AwaitHeader && session.held_len() == 0;
            waits && session.outgoing() == Outgoing::Outbox
        });
        if together {
            self.answered.push(id);
        }
        together
    }

    fn send_answers(&mut self) {
        let mut answered = std::mem::take(&mut self.answered);
        for id in answered.drain(..) {
            self.drive(id, self.limits.turn_bytes_min);
        }
        // Who asked again, and was served again, has had its part of this turn.
        for id in std::mem::replace(&mut self.answered, answered) {
            self.enqueue(id);
        }
    }

    /// What a connection may move now; `None` if it is better given a large part in the next turn.
    fn part_of(&mut self, id: ConnId) -> Option<usize> {
        if self.turn_left > 0 {
            return Some(self.limits.turn_bytes_max);
        }
        (!self.is_bulk(id)).then_some(self.limits.turn_bytes_min)
    }

    fn is_bulk(&mut self, id: ConnId) -> bool {
        let limits = &self.limits;
        lookup(&mut self.connections, id).is_some_and(|connection| connection.session.is_bulk(limits))
    }
}
