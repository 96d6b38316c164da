//! Slots that slow transfers hold while requests wait for one: the slowest is ended first.

use std::time::Instant;

use crate::platform::Platform;
use crate::reactor::parts::Reactor;
use crate::session::Session;

impl<P: Platform> Reactor<P> {
    /// When the holders of slots are checked next: only once the head of the wait queue has waited for a while.
    pub(super) fn contention_deadline(&self) -> Option<Instant> {
        let first = self.connections.get(self.env.admission.first()?)?;
        let since = first.session.waits_for_slot_since()?;
        Some((since + self.env.limits.contention_wait).max(self.contention_check_after))
    }

    /// Ends the slowest transfer that holds a slot, at most one per check, if it moves less than it must while
    /// requests wait. Its slot goes to the head of the wait queue.
    ///
    /// A check walks the whole slab. It is made while requests wait only, once per `contention_interval`: 10
    /// times a second.
    pub(super) fn end_slowest(&mut self) {
        let now = self.env.clock.now;
        if self.env.clock.is_catching_up() || self.contention_deadline().is_none_or(|at| at > now) {
            return;
        }
        self.contention_check_after = now + self.env.limits.contention_interval;
        let mut slowest = None;
        for (id, connection) in self.connections.iter() {
            // A queued connection may have bytes in the kernel that were not read yet.
            if connection.is_queued || !connection.session.holds_slot() {
                continue;
            }
            let in_kernel = connection.file_bytes_in_kernel();
            let Some(rate) = connection.session.slot_rate(in_kernel, now, &self.env.limits) else { continue };
            if rate < slowest.map_or(self.env.limits.contention_bytes_per_s_min, |(least, _)| least) {
                slowest = Some((rate, id));
            }
        }
        if let Some((_, id)) = slowest
            && let Some(mut driver) = self.driver(id)
        {
            driver.tell(Session::end_slow_transfer); // being queued by that, it gives the slot back
        }
    }
}
