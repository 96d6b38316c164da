//! Who is driven in a turn, and how much each may move: the fair part of the loop.
//!
//! A bulk transfer is given a large part at a time, because small parts cost calls, so only as many
//! of them have their turn as `Limits::turn_bytes` holds; the others go first in the next. Small
//! requests never wait for that: between two turns their events are taken in, and all of them are
//! driven before any bulk transfer is. Beside them, uploads make turns that are shorter. Moves nothing
//! itself.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::ids::ConnId;
use crate::platform::Platform;
use crate::reactor::drive::Slice;
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

/// Who was answered is taken to ask again within this time: longer than a turn or a local network takes.
const COMPANY_FOR: Duration = Duration::from_millis(10);

/// Do bulk transfers have small requests beside them?
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Company {
    /// Requests that had been answered when this was looked at.
    answered: u64,
    until: Option<Instant>,
}

impl Company {
    /// So many requests have been answered by now.
    fn look(&mut self, answered: u64, now: Instant) {
        if self.answered != answered {
            *self = Self { answered, until: Some(now + COMPANY_FOR) };
        }
    }

    fn is_there(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

impl<P: Platform> Reactor<P> {
    /// Drives who is queued, each with its part of the turn: small requests first, all of them.
    pub(super) fn drive_queued(&mut self) {
        // Stolen, so that this turn is finite: who is queued from here on is driven in the next.
        let mut work = std::mem::replace(&mut self.runnable, std::mem::take(&mut self.driven));
        self.turn_left = self.limits.turn_bytes;
        while !work.is_empty() {
            let together = work.len().min(RECEIVED_TOGETHER);
            for id in work.iter().take(together) {
                self.receive_request(*id);
            }
            for id in work.drain(..together) {
                if self.is_bulk(id) {
                    self.bulk.push_back(id);
                    continue;
                }
                if self.answered.len() >= ANSWERED_TOGETHER {
                    self.send_answers();
                }
                let limits = &self.limits;
                let bytes = if self.turn_left > 0 { limits.turn_bytes_max } else { limits.turn_bytes_min };
                self.drive(id, bytes, Slice::Small);
            }
            self.send_answers();
        }
        self.driven = work;
        self.company.look(self.counters.requests_but_uploads(), self.now);
        self.drive_bulk();
    }

    /// Bulk transfers, in the order in which they came, until the turn is spent. Small requests have
    /// had theirs apart, or bulk transfers would starve beside many of them.
    fn drive_bulk(&mut self) {
        self.turn_left = self.limits.turn_bytes;
        let (received, received_max) = (self.counters.bytes_in, self.bytes_of_uploads());
        for _ in 0..self.bulk.len() {
            if self.turn_left == 0 || self.counters.bytes_in - received >= received_max as u64 {
                break;
            }
            let Some(id) = self.bulk.pop_front() else { break };
            let bytes = self.part_of(id, received_max);
            self.drive(id, bytes, Slice::Bulk);
            // The next part takes longer than all of them.
            self.send_answers();
        }
    }

    /// What uploads together may move in this turn. With 64 of them, a quarter of the bytes makes a turn a
    /// third as long, but in memory each byte costs 5 % more, for smaller parts of each as much as for fewer of
    /// them. Nobody pays for that without company.
    fn bytes_of_uploads(&self) -> usize {
        let Limits { turn_bytes, turn_bytes_shared, .. } = self.limits;
        if self.company.is_there(self.now) { turn_bytes.min(turn_bytes_shared) } else { turn_bytes }
    }

    /// What one bulk transfer may move at a time. What is received is copied twice, and takes ten times
    /// as long as what is sent straight from a file.
    fn part_of(&mut self, id: ConnId, received_max: usize) -> usize {
        let most = self.limits.turn_bytes_max;
        match lookup(&mut self.connections, id).map(|connection| connection.session.state()) {
            Some(Name::SendingBody) => most,
            _ => most.min(received_max),
        }
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
            self.drive(id, self.limits.turn_bytes_min, Slice::Small);
        }
        // Who asked again, and was served again, has had its part of this turn.
        for id in std::mem::replace(&mut self.answered, answered) {
            self.enqueue(id);
        }
    }

    fn is_bulk(&mut self, id: ConnId) -> bool {
        let limits = &self.limits;
        lookup(&mut self.connections, id).is_some_and(|connection| connection.session.is_bulk(limits))
    }
}
