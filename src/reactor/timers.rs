//! Deadlines of connections: one entry each, the earliest that is known.
//!
//! Moving a deadline back is free: the entry stays, fires early, and is armed anew then. So a busy
//! connection costs one change per timeout, not one per byte. Never reads a clock.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::ids::ConnId;

#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Instant, ConnId)>,
}

impl Timers {
    /// Arms `id` if it is not armed for an earlier time; the connection keeps its entry in `armed`.
    pub(super) fn arm(&mut self, id: ConnId, armed: &mut Option<Instant>, at: Instant) {
        if armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.disarm(id, armed);
        self.entries.insert((at, id));
        *armed = Some(at);
    }

    pub(super) fn disarm(&mut self, id: ConnId, armed: &mut Option<Instant>) {
        if let Some(at) = armed.take() {
            self.entries.remove(&(at, id));
        }
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnId)> {
        let first = self.entries.first().filter(|(at, _)| *at <= now)?;
        let first = *first;
        self.entries.remove(&first);
        Some(first)
    }

    /// The earliest deadline of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // covers: R16
    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_connection_has_one_entry_and_it_is_the_earliest() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (mut timers, mut armed, id) = (Timers::default(), None, ConnId::new(1, 1));
        timers.arm(id, &mut armed, now + 300 * second);
        for _ in 0..1000 {
            timers.arm(id, &mut armed, now + second);
            timers.arm(id, &mut armed, now + 300 * second);
        }
        assert_eq!((timers.entries.len(), timers.next()), (1, Some(now + second)));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.pop_due(now + second), Some((now + second, id)));
        timers.disarm(id, &mut armed);
        assert_eq!(timers.next(), None);
    }
}
