//! Slots that slow transfers hold while requests wait for one: the slowest is ended first.

use std::time::Instant;

use crate::platform::Platform;
use crate::reactor::env::Env;
use crate::reactor::parts::Reactor;
use crate::session::{DiskPace, Event};

impl<P: Platform> Reactor<P> {
    /// When the holders of slots are checked next: only once the head of the wait queue has waited for a while.
    pub(super) fn contention_deadline(&self) -> Option<Instant> {
        let since = self.env.admission.waits_since()?;
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
            if connection.is_queued {
                continue;
            }
            let (in_kernel, Env { groups, limits, .. }) = (connection.file_bytes_in_kernel(), &self.env);
            let Some((rate, min)) = connection.session.slot_rate(in_kernel, groups, now, limits) else { continue };
            if rate < slowest.map_or(min, |(least, _)| min.min(least)) {
                slowest = Some((rate, id));
            }
        }
        if let Some((_, id)) = slowest
            && let Some(mut driver) = self.driver(id)
        {
            driver.tell(Event::TooSlow); // being queued by that, it gives the slot back
        }
    }

    /// Drives uploads that hold slots and wait for the limits of their clients: they continue without slots then, if
    /// they can. True if there are any.
    fn wake_holders_of_slots(&mut self) -> bool {
        let Self { connections, env, scheduler, .. } = self;
        let mut left = env.admission.waiting();
        if env.disk.pace == DiskPace::Lags || env.pacing.is_empty() || !env.admission.wants_slot_of_upload() {
            return false;
        }
        for (id, connection) in connections.iter_mut() {
            if left > 0
                && !connection.is_queued
                && env.pacing.waits(id)
                && connection.session.holdings(&env.limits).is_slot_spare
            {
                scheduler.enqueue(id, connection);
                left -= 1;
            }
        }
        left < env.admission.waiting()
    }
}
