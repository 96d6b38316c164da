//! Deadlines of connections: one entry each, the earliest that is known.
//!
//! Moving a deadline back is free: the entry stays, fires early, and is armed again then. So a busy
//! connection costs one change per timeout, not one per byte. What a deadline means is decided by `timed_out` in
//! `session/states`, and for permits under contention by `reactor/contention.rs`. Never reads a clock.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::ids::ConnId;

/// The time of an entry, in nanoseconds since the timers began, plus one: half of an `Instant`, as each idle
/// connection has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline(NonZeroU64);

#[derive(Debug)]
pub(super) struct Timers {
    /// No deadline is before it.
    origin: Instant,
    entries: BTreeSet<(Deadline, ConnId)>,
}

impl Timers {
    /// Bytes of an entry in a node of the tree that is half full, as nodes are where later deadlines follow.
    pub(super) const ENTRY_BYTES: usize = 2 * size_of::<(Deadline, ConnId)>();

    pub(super) const fn new(origin: Instant) -> Self {
        Self { origin, entries: BTreeSet::new() }
    }

    fn deadline(&self, at: Instant) -> Deadline {
        // The last deadline is 584 years after the first.
        let since = at.saturating_duration_since(self.origin);
        let ns = since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into());
        Deadline(NonZeroU64::MIN.saturating_add(ns))
    }

    /// Arms `id` if it is not armed for an earlier time; the connection keeps its entry in `armed`.
    pub(super) fn arm(&mut self, id: ConnId, armed: &mut Option<Deadline>, at: Instant) {
        let at = self.deadline(at);
        if armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.disarm(id, armed);
        self.entries.insert((at, id));
        *armed = Some(at);
    }

    pub(super) fn disarm(&mut self, id: ConnId, armed: &mut Option<Deadline>) {
        if let Some(at) = armed.take() {
            self.entries.remove(&(at, id));
        }
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Deadline, ConnId)> {
        let now = self.deadline(now);
        let first = self.entries.first().filter(|(at, _)| *at <= now)?;
        let first = *first;
        self.entries.remove(&first);
        Some(first)
    }

    /// The earliest deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| self.origin + Duration::from_nanos(at.0.get() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: many-deadlines
    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_connection_has_one_entry_and_it_is_the_earliest() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (mut timers, mut armed, id) = (Timers::new(now), None, ConnId::new(1, 1));
        timers.arm(id, &mut armed, now + 300 * second);
        for _ in 0..1000 {
            timers.arm(id, &mut armed, now + second);
            timers.arm(id, &mut armed, now + 300 * second);
        }
        assert_eq!((timers.entries.len(), timers.next()), (1, Some(now + second)));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.pop_due(now + second).map(|(_, due)| due), Some(id));
        timers.disarm(id, &mut armed);
        assert_eq!(timers.next(), None);
    }
}
