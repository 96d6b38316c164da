//! Who may hold memory: a fixed number of transfer slots, and a bounded queue in front of them.
//!
//! First come, first served. Who goes or gives up leaves the queue at once: a crowd that is gone
//! takes no place from those who are there.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use crate::config::Limits;
use crate::counters::Counters;
use crate::ids::ConnId;
use crate::reactor::addresses::Address;

/// A place in the queue; earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

/// The slots and the queue. Every change is counted where it is made.
///
/// An address has at most its part of slots and places in line together: what it asks beyond waits apart, until
/// it gives back one of those. So the first in line never has to wait for its own address.
#[derive(Debug)]
pub(super) struct Admission {
    slots: usize,
    free: usize,
    /// Each with the ticket that its connection knows.
    waiting: BTreeMap<Ticket, (ConnId, Ticket)>,
    /// Requests that waited apart, and got a later place in line than their ticket says.
    moved: BTreeMap<Ticket, Ticket>,
    apart: BTreeMap<(Address, Ticket), ConnId>,
    shares: HashMap<Address, Share>,
    slots_per_address: usize,
    apart_per_address: usize,
    queue_max: usize,
    next: Ticket,
}

/// What one address has.
#[derive(Debug, Default)]
struct Share {
    /// Slots and places in line.
    taken: usize,
    apart: usize,
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
        let admission = Self {
            slots,
            free: slots,
            waiting: BTreeMap::new(),
            moved: BTreeMap::new(),
            apart: BTreeMap::new(),
            shares: HashMap::new(),
            slots_per_address: Address::part(limits, slots),
            apart_per_address: Address::part(limits, queue_max),
            queue_max,
            next: Ticket(NonZeroU64::MIN),
        };
        admission.tell(counters);
        admission
    }

    /// Asks for a slot.
    pub(super) fn request(&mut self, id: ConnId, address: Option<Address>, counters: &mut Counters) -> Place {
        let is_full = self.queued() >= self.queue_max;
        let (taken, apart) =
            address.and_then(|address| self.shares.get(&address)).map_or((0, 0), |share| (share.taken, share.apart));
        let place = if taken >= self.slots_per_address {
            match address {
                Some(address) if !is_full && apart < self.apart_per_address => {
                    let ticket = self.ticket();
                    self.apart.insert((address, ticket), id);
                    self.shares.entry(address).or_default().apart += 1;
                    Place::InLine(ticket)
                }
                _ => Place::Full,
            }
        } else if self.free > 0 && self.waiting.is_empty() {
            self.free -= 1;
            self.take(address);
            Place::Granted
        } else if is_full {
            Place::Full
        } else {
            let ticket = self.ticket();
            self.waiting.insert(ticket, (id, ticket));
            self.take(address);
            Place::InLine(ticket)
        };
        self.tell(counters);
        place
    }

    fn take(&mut self, address: Option<Address>) {
        if let Some(address) = address {
            self.shares.entry(address).or_default().taken += 1;
        }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = self.next;
        self.next = Ticket(ticket.0.saturating_add(1));
        ticket
    }

    /// A slot is given back.
    pub(super) fn give_back(&mut self, address: Option<Address>, counters: &mut Counters) {
        self.free += 1;
        self.release(address);
        self.tell(counters);
    }

    /// An address has a slot or a place in line less: the first of its requests that wait apart takes it. It goes
    /// behind all others in line: an address with many that wait apart does not come before the others again and again.
    fn release(&mut self, address: Option<Address>) {
        let next = self.ticket();
        let Some((address, share)) = address.and_then(|address| Some((address, self.shares.get_mut(&address)?))) else {
            return;
        };
        let first = self.apart.range((address, Ticket(NonZeroU64::MIN))..).next().map(|(place, id)| (*place, *id));
        if let Some((place, id)) = first.filter(|((of, _), _)| *of == address) {
            self.apart.remove(&place);
            self.waiting.insert(next, (id, place.1));
            self.moved.insert(place.1, next);
            share.apart -= 1;
            return;
        }
        share.taken -= 1;
        if share.taken == 0 {
            self.shares.remove(&address);
        }
    }

    /// The first in line gets a slot, if there is one.
    pub(super) fn admit(&mut self, counters: &mut Counters) -> Option<ConnId> {
        if self.free == 0 {
            return None;
        }
        let (_, (id, ticket)) = self.waiting.pop_first()?;
        self.moved.remove(&ticket);
        self.free -= 1;
        self.tell(counters);
        Some(id)
    }

    /// The first of those that a free slot would be given to.
    pub(super) fn first(&self) -> Option<ConnId> {
        self.waiting.first_key_value().map(|(_, (id, _))| *id)
    }

    /// A connection in line does not want a slot any more.
    pub(super) fn leave(&mut self, ticket: Ticket, address: Option<Address>, counters: &mut Counters) {
        let place = self.moved.remove(&ticket).unwrap_or(ticket);
        if self.waiting.remove(&place).is_some() {
            self.release(address);
        } else if let Some(address) = address
            && self.apart.remove(&(address, ticket)).is_some()
            && let Some(share) = self.shares.get_mut(&address)
        {
            share.apart -= 1;
        }
        self.tell(counters);
    }

    fn tell(&self, counters: &mut Counters) {
        counters.slots = self.slots as u64;
        counters.slots_used = (self.slots - self.free) as u64;
        counters.slots_waiting = self.queued() as u64;
    }

    /// Slots that nobody has.
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// Those that a free slot would be given to.
    pub(super) fn in_line(&self) -> usize {
        self.waiting.len()
    }

    /// All that wait.
    pub(super) fn queued(&self) -> usize {
        self.waiting.len() + self.apart.len()
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
        assert_eq!(admission.request(id(1), None, counters), Place::Granted);
        assert!(ticket(admission.request(id(2), None, counters)) < ticket(admission.request(id(3), None, counters)));
        assert_eq!(admission.request(id(4), None, counters), Place::Full);
        assert_eq!(admission.admit(counters), None);
        admission.give_back(None, counters);
        assert_eq!(admission.request(id(5), None, counters), Place::Full, "nobody overtakes");
        assert_eq!(admission.admit(counters), Some(id(2)));
        assert_eq!(admission.admit(counters), None);
        assert_eq!((counters.slots, counters.slots_used, counters.slots_waiting), (1, 1, 1));
    }

    #[test]
    fn who_leaves_the_line_makes_room_in_it() {
        let counters = &mut Counters::default();
        let mut admission = one_slot_and_two_places(counters);
        admission.request(id(1), None, counters);
        let gone = ticket(admission.request(id(2), None, counters));
        admission.request(id(3), None, counters);
        admission.leave(gone, None, counters);
        assert_eq!(counters.slots_waiting, 1);
        assert!(matches!(admission.request(id(4), None, counters), Place::InLine(_)));
        admission.give_back(None, counters);
        assert_eq!(admission.admit(counters), Some(id(3)));
    }

    #[test]
    fn an_address_has_its_part_of_the_slots_and_those_of_others_do_not_wait_for_it() {
        let counters = &mut Counters::default();
        let limits = Limits { slots: 4, slot_queue_max: 8, ..Limits::default() };
        let mut admission = Admission::new(&limits, counters);
        let [one, other] = [1, 2].map(|n| Address::of(([192, 0, 2, n], 1).into(), &limits));
        assert_eq!([1, 2].map(|n| admission.request(id(n), one, counters)), [Place::Granted; 2]);
        let apart: Vec<Ticket> = (3..7).map(|n| ticket(admission.request(id(n), one, counters))).collect();
        assert_eq!(admission.request(id(7), one, counters), Place::Full, "half of the queue");
        assert_eq!((admission.free(), admission.in_line(), counters.slots_waiting), (2, 0, 4));
        assert_eq!(admission.request(id(8), other, counters), Place::Granted);
        admission.leave(apart[0], one, counters);
        admission.give_back(one, counters);
        assert_eq!(admission.admit(counters), Some(id(4)), "the first that still waits");
        assert_eq!(admission.admit(counters), None);
        for address in [one, one, other] {
            admission.give_back(address, counters);
        }
        assert_eq!([5, 6].map(|_| admission.admit(counters)), [Some(id(5)), Some(id(6))]);
        for _ in 0..2 {
            admission.give_back(one, counters);
        }
        assert!(admission.shares.is_empty() && admission.queued() == 0 && admission.free() == 4);
    }
}
