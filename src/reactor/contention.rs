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
        Some((since + self.env.limits.live.contention_wait).max(self.contention_check_after))
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
        self.contention_check_after = now + self.env.limits.live.contention_interval;
        if self.wake_holders_of_slots() {
            return; // the next check sees what that was good for
        }
        let mut slowest = None;
        for (id, connection) in self.connections.iter() {
            // A queued connection may have bytes in the kernel that were not read yet.
            if connection.is_queued || !connection.session.slot().is_held() {
                continue;
            }
            let in_kernel = connection.file_bytes_in_kernel();
            let (min, due) = self.least_rate(&connection.session);
            let Some(rate) = connection.session.slot_rate(in_kernel, due, now, &self.env.limits) else { continue };
            if rate < slowest.map_or(min, |(least, _)| min.min(least)) {
                slowest = Some((rate, id));
            }
        }
        if let Some((_, id)) = slowest
            && let Some(mut driver) = self.driver(id)
        {
            driver.tell(Session::end_slow_transfer); // being queued by that, it gives the slot back
        }
    }
    /// Bytes per second that a transfer must move, and the most that the limits of its client owe it when it waits for
    /// them. A client whose rate is less than all transfers must move may have two of them at a time, not more: the
    /// others would hold slots only to wait for each other.
    fn least_rate(&self, session: &Session) -> (u64, u64) {
        let limit = session.transfers().and_then(|(group, flow)| self.env.groups.slowest(group, flow));
        let min = self.env.limits.live.contention_bytes_per_s_min;
        limit.map_or((min, 0), |(rate, due)| (min.min(rate / 2), due))
    }

    /// Drives uploads that hold slots and wait for the limits of their clients: they go on without slots then, if they
    /// can. True if there are any.
    fn wake_holders_of_slots(&mut self) -> bool {
        let Self { connections, env, scheduler, .. } = self;
        let mut left = env.admission.waiting();
        if env.pacing.is_empty() || !env.admission.wants_slot_of_upload() {
            return false;
        }
        for (id, connection) in connections.iter_mut() {
            let may_go_on =
                !connection.is_queued && connection.session.may_go_on_without_slot(env.disk.pace, &env.limits);
            if left > 0 && may_go_on && env.pacing.waits(id) {
                scheduler.enqueue(id, connection);
                left -= 1;
            }
        }
        left < env.admission.waiting()
    }
}
