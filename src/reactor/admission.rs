//! Who may hold memory: a fixed number of transfer slots, and a bounded queue in front of them.
//!
//! First come, first served. Who goes or gives up leaves the queue at once: a crowd that is gone
//! takes no place from those who are there.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::config::Limits;
use crate::counters::Counters;
use crate::ids::ConnId;

/// A place in the queue; earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

/// The slots and the queue. Every change is counted where it is made.
#[derive(Debug)]
pub(super) struct Admission {
    slots: usize,
    free: usize,
    waiting: BTreeMap<Ticket, ConnId>,
    queue_max: usize,
    next: Ticket,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A slot is free and now taken.
    Granted,
    /// In the queue.
    InLine(Ticket),
    /// The queue is full.
    Full,
}

impl Admission {
    /// So many slots, so many places in the queue.
    pub(super) fn new(limits: &Limits, counters: &mut Counters) -> Self {
        let (slots, queue_max) = (limits.slots, limits.slot_queue_max);
        let admission = Self { slots, free: slots, waiting: BTreeMap::new(), queue_max, next: Ticket(NonZeroU64::MIN) };
        admission.tell(counters);
        admission
    }

    /// Asks for a slot.
    pub(super) fn request(&mut self, id: ConnId, counters: &mut Counters) -> Place {
        let place = if self.free > 0 && self.waiting.is_empty() {
            self.free -= 1;
            Place::Granted
        } else if self.waiting.len() >= self.queue_max {
            Place::Full
        } else {
            let ticket = self.next;
            self.next = Ticket(ticket.0.saturating_add(1));
            self.waiting.insert(ticket, id);
            Place::InLine(ticket)
        };
        self.tell(counters);
        place
    }

    /// A slot is given back.
    pub(super) fn give_back(&mut self, counters: &mut Counters) {
        self.free += 1;
        self.tell(counters);
    }

    /// The first in line gets a slot, if there is one.
    pub(super) fn admit(&mut self, counters: &mut Counters) -> Option<ConnId> {
        if self.free == 0 {
            return None;
        }
        let (_, id) = self.waiting.pop_first()?;
        self.free -= 1;
        self.tell(counters);
        Some(id)
    }

    /// Somebody in line does not want a slot any more.
    pub(super) fn leave(&mut self, ticket: Ticket, counters: &mut Counters) {
        self.waiting.remove(&ticket);
        self.tell(counters);
    }

    fn tell(&self, counters: &mut Counters) {
        counters.slots = self.slots as u64;
        counters.slots_used = (self.slots - self.free) as u64;
        counters.slots_waiting = self.waiting.len() as u64;
    }

    /// Slots that nobody has.
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// Those in line.
    pub(super) fn in_line(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_slot_and_two_places(counters: &mut Counters) -> Admission {
        Admission::new(&Limits { slots: 1, slot_queue_max: 2, ..Limits::default() }, counters)
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn ticket(place: Place) -> Ticket {
        let Place::InLine(ticket) = place else { panic!("{place:?}") };
        ticket
    }

    #[test]
    fn slots_go_to_those_who_came_first_and_the_queue_is_bounded() {
        let counters = &mut Counters::default();
        let mut admission = one_slot_and_two_places(counters);
        assert_eq!(admission.request(id(1), counters), Place::Granted);
        assert!(ticket(admission.request(id(2), counters)) < ticket(admission.request(id(3), counters)));
        assert_eq!(admission.request(id(4), counters), Place::Full);
        assert_eq!(admission.admit(counters), None);
        admission.give_back(counters);
        assert_eq!(admission.request(id(5), counters), Place::Full, "nobody overtakes");
        assert_eq!(admission.admit(counters), Some(id(2)));
        assert_eq!(admission.admit(counters), None);
        assert_eq!((counters.slots, counters.slots_used, counters.slots_waiting), (1, 1, 1));
    }

    #[test]
    fn who_leaves_the_line_makes_room_in_it() {
        let counters = &mut Counters::default();
        let mut admission = one_slot_and_two_places(counters);
        admission.request(id(1), counters);
        let gone = ticket(admission.request(id(2), counters));
        admission.request(id(3), counters);
        admission.leave(gone, counters);
        assert_eq!(counters.slots_waiting, 1);
        assert!(matches!(admission.request(id(4), counters), Place::InLine(_)));
        admission.give_back(counters);
        assert_eq!(admission.admit(counters), Some(id(3)));
    }
}
