//! Who may hold memory: a fixed number of transfer slots, and a bounded queue in front of them.
//!
//! First come, first served. The queue is lazy: who has gone or given up is skipped when its turn
//! comes.

use std::collections::VecDeque;

use crate::counters::Counters;
use crate::ids::ConnId;

/// The slots and the queue.
#[derive(Debug)]
pub(super) struct Admission {
    slots: usize,
    free: usize,
    waiting: VecDeque<ConnId>,
    queue_max: usize,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A slot is free and now taken.
    Granted,
    /// In the queue.
    InLine,
    /// The queue is full.
    Full,
}

impl Admission {
    /// So many slots, so many places in the queue.
    pub(super) const fn new(slots: usize, queue_max: usize) -> Self {
        Self { slots, free: slots, waiting: VecDeque::new(), queue_max }
    }

    /// Asks for a slot.
    pub(super) fn request(&mut self, id: ConnId) -> Place {
        if self.free > 0 && self.waiting.is_empty() {
            self.free -= 1;
            return Place::Granted;
        }
        if self.waiting.len() >= self.queue_max {
            return Place::Full;
        }
        self.waiting.push_back(id);
        Place::InLine
    }

    /// A slot is given back.
    pub(super) const fn give_back(&mut self) {
        self.free += 1;
    }

    /// The next in line, if a slot is free for it. Follow with [`Admission::take`] if it still
    /// wants one.
    pub(super) fn next_in_line(&mut self) -> Option<ConnId> {
        if self.free == 0 { None } else { self.waiting.pop_front() }
    }

    /// The one that was next takes the slot.
    pub(super) const fn take(&mut self) {
        self.free -= 1;
    }

    /// Says how it stands, after every change.
    pub(super) fn tell(&self, counters: &mut Counters) {
        counters.slots = self.slots as u64;
        counters.slots_used = (self.slots - self.free) as u64;
        counters.slots_waiting = self.waiting.len() as u64;
    }

    /// Slots that nobody has.
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// Places taken in the queue, those included who have given up since.
    pub(super) fn in_line(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_to_those_who_came_first_and_the_queue_is_bounded() {
        let mut admission = Admission::new(1, 2);
        let id = |n| ConnId::new(n, 0);
        assert_eq!(admission.request(id(1)), Place::Granted);
        assert_eq!(admission.request(id(2)), Place::InLine);
        assert_eq!(admission.request(id(3)), Place::InLine);
        assert_eq!(admission.request(id(4)), Place::Full);
        assert_eq!(admission.next_in_line(), None);
        admission.give_back();
        assert_eq!(admission.request(id(5)), Place::Full, "nobody overtakes");
        assert_eq!(admission.next_in_line(), Some(id(2)));
        admission.take();
        assert_eq!(admission.next_in_line(), None);
    }
}
