//! Scheduling: which connections run in a turn, and their byte budgets.
//!
//! A bulk transfer is given many bytes at a time, because small parts cost more calls, so only as many of
//! them run in a turn as `turn_bytes` allows; the others come first in the next turn. Small requests
//! never wait for that: their events are taken in between two turns, and all of them run before any bulk
//! transfer does. While there are small requests, turns with uploads are shorter. How bulk transfers of several clients
//! share a turn is decided in `bulk_queue`. The bytes of a turn are charged by `driver::Budget::spend`, which advances the
//! meter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Fixed;
use crate::ids::ConnId;
use crate::reactor::bulk_queue::BulkQueue;
use crate::reactor::connections::Connection;
use crate::session::state::Name;
use crate::transfer::Meter;

/// Requests received before the first of them is answered. More would hold more memory at once, and leave
/// the caches of the processor before they are decoded.
pub(super) const RECEIVE_BATCH: usize = 128;

/// Replies that are sent one directly after the other: the store's working set and then the socket's stay in
/// the caches of the processor, and a client on this machine is woken once. The first of them waits for about
/// two milliseconds if all are uploads.
pub(super) const REPLY_BATCH: usize = 32;

/// A client that was answered is expected to ask again within this time: longer than a turn or a round trip
/// in a local network.
const INTERACTIVE_FOR: Duration = Duration::from_millis(10);

/// Whether small requests were answered in the last 10 ms.
#[derive(Clone, Copy, Debug, Default)]
struct InteractiveLoad {
    /// Requests that had been answered at the last observation.
    answered: u64,
    until: Option<Instant>,
}

impl InteractiveLoad {
    fn observe(&mut self, answered: u64, now: Instant) {
        if self.answered != answered {
            *self = Self { answered, until: Some(now + INTERACTIVE_FOR) };
        }
    }

    fn is_present(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[derive(Debug)]
pub(super) struct Scheduler {
    /// Still ready, out of budget, or with a new event: these run in the next turn.
    pub run_queue: VecDeque<ConnId>,
    /// Bulk transfers that are ready.
    pub bulk: BulkQueue,
    /// What is known of all connections is for these; empty between turns.
    pub wants_connections: Vec<ConnId>,
    /// Answered in this turn, and the reply is not sent yet; empty between turns.
    pub replies: Vec<ConnId>,
    /// The reading of the meter at which the bytes of this turn are spent.
    turn_until: u64,
    interactive: InteractiveLoad,
}

impl Scheduler {
    pub(super) fn new(limits: &Fixed) -> Self {
        Self {
            run_queue: VecDeque::new(),
            bulk: BulkQueue::new(limits.turn_bytes_client),
            wants_connections: Vec::new(),
            replies: Vec::new(),
            turn_until: 0,
            interactive: InteractiveLoad::default(),
        }
    }

    pub(super) fn enqueue<S>(&mut self, id: ConnId, connection: &mut Connection<S>) {
        if !connection.is_queued {
            connection.is_queued = true;
            self.run_queue.push_back(id);
        }
    }

    /// True if the next turn has something to do without an event.
    pub(super) fn has_work(&self) -> bool {
        !self.run_queue.is_empty() || self.bulk.len() > 0
    }

    /// What a small request may move at a time.
    pub(super) fn small_budget(&self, meter: Meter, limits: &Fixed) -> usize {
        if self.is_spent(meter) { limits.turn_bytes_min } else { limits.turn_bytes_max }
    }

    /// What uploads together may receive in a turn, when this many requests have been answered since the start: with 64
    /// of them, a quarter of the bytes makes a turn a third as long, but in memory each byte costs 5 % more, for
    /// smaller parts of each as much as for fewer of them. So uploads pay that only beside small requests.
    pub(super) fn upload_bytes(&mut self, limits: &Fixed, answered: u64, now: Instant) -> usize {
        self.interactive.observe(answered, now);
        let shared = if self.interactive.is_present(now) { limits.turn_bytes_shared } else { usize::MAX };
        limits.turn_bytes.min(shared)
    }

    /// What one bulk transfer may move at a time. Uploads are copied twice and take ten times as long as what is
    /// sent straight from a file.
    pub(super) fn bulk_budget(&self, state: Name, upload_bytes: usize, limits: &Fixed) -> usize {
        let most = limits.turn_bytes_max;
        if state == Name::SendingBody { most } else { most.min(upload_bytes) }
    }

    /// A part of a turn begins, with this many bytes.
    pub(super) const fn begin(&mut self, bytes: usize, meter: Meter) {
        self.turn_until = meter.after(bytes);
    }

    /// True once no more bulk bytes are left in this turn.
    pub(super) fn is_spent(&self, meter: Meter) -> bool {
        meter.left_until(self.turn_until) == 0
    }
}
