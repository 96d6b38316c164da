//! Slots that slow transfers hold while requests wait for one: the slowest ends first.

use crate::platform::Platform;
use crate::reactor::{Queued, Reactor, conn_id, cx, lookup};
use std::time::Instant;

impl<P: Platform> Reactor<P> {
    /// When the holders of slots are looked at next: only once the first request in line has waited for a while.
    pub(super) fn contention_deadline(&self) -> Option<Instant> {
        let first = self.connections.get(self.admission.first()?.slot())?;
        let since = first.session.waits_for_slot_since()?;
        Some((since + self.limits.contention_wait).max(self.contention_after))
    }

    /// Ends the slowest transfer that holds a slot, at most one each time, if it moves less than it must while
    /// requests wait. Its slot goes to the first in line.
    pub(super) fn end_slowest(&mut self) {
        if self.catching_up > 0 || self.contention_deadline().is_none_or(|at| at > self.now) {
            return;
        }
        self.contention_after = self.now + self.limits.contention_interval;
        let mut slowest = None;
        for (slot, connection) in &self.connections {
            // What is queued may have bytes here that were not looked at yet.
            if connection.queued == Queued::Yes || !connection.session.holds_slot() {
                continue;
            }
            let in_kernel = connection.file_bytes_in_kernel();
            let Some(rate) = connection.session.slot_rate(in_kernel, self.now, &self.limits) else { continue };
            if rate < slowest.map_or(self.limits.contention_bytes_per_s_min, |(least, _)| least) {
                slowest = Some((rate, conn_id(slot, connection.generation)));
            }
        }
        let Some((_, id)) = slowest else { return };
        if let Some(connection) = lookup(&mut self.connections, id) {
            connection.session.end_slow_transfer(&mut cx!(self));
            self.log_reports(id);
            self.enqueue(id); // driving gives the slot back
        }
    }
}
