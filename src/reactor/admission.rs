//! Transfer slots, which bound the memory of transfers, and the bounded wait queue in front of them.
//!
//! First come, first served. A request that is cancelled leaves the queue at once, so that requests that are
//! gone take no places in it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

use crate::config::Limits;
use crate::counters::Counters;
use crate::ids::{ClientAddress, ConnId};
use crate::session::SlotPool;

/// Identifies a waiting request; earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

/// The slots and the wait queue. Every change is counted where it is made.
///
/// An address has at most its share of the slots and of the queue together. Its further requests are held back
/// until it gives back one of those, so the head of the queue never has to wait for its own address.
#[derive(Debug)]
pub(super) struct Admission {
    slots: usize,
    free: usize,
    /// Uploads that gave their slot back and are still under way. Each counts in the share of its address.
    without_slot: usize,
    without_slot_max: usize,
    /// The wait queue.
    queue: BTreeMap<Ticket, Queued>,
    /// For requests that were held back: their ticket, and their later one in the queue.
    requeued: BTreeMap<Ticket, Ticket>,
    held_back: BTreeMap<(ClientAddress, Ticket), ConnId>,
    shares: HashMap<ClientAddress, Share>,
    slots_per_address: usize,
    held_back_per_address: usize,
    queue_max: usize,
    next: Ticket,
}

/// A request in the wait queue.
#[derive(Clone, Copy, Debug)]
struct Queued {
    id: ConnId,
    /// The ticket that its connection knows.
    ticket: Ticket,
    /// True for an upload without a slot, which counts in the share of its address already.
    is_upload_without_slot: bool,
}

/// What one address has.
#[derive(Debug, Default)]
struct Share {
    /// Slots, places in the queue and uploads without a slot.
    taken: usize,
    held_back: usize,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// A slot was free and is now taken.
    Granted,
    /// It waits in the queue, or is held back.
    Queued(Ticket),
    QueueFull,
}

impl SlotPool for Admission {
    fn try_take(&mut self, address: ClientAddress, counters: &mut Counters) -> bool {
        let is_free = self.free > 0 && self.queue.is_empty() && !self.has_its_share(address);
        if is_free {
            self.free -= 1;
            self.take_share(address);
            self.count(counters);
        }
        is_free
    }

    fn has_waiting(&self) -> bool {
        self.waiting() > 0
    }
}

impl Admission {
    pub(super) fn new(limits: &Limits, counters: &mut Counters) -> Self {
        let (slots, queue_max) = (limits.slots, limits.slot_queue_max);
        let admission = Self {
            slots,
            free: slots,
            without_slot: 0,
            without_slot_max: limits.uploads_without_slot_max,
            queue: BTreeMap::new(),
            requeued: BTreeMap::new(),
            held_back: BTreeMap::new(),
            shares: HashMap::new(),
            slots_per_address: limits.address_share(slots),
            held_back_per_address: limits.address_share(queue_max),
            queue_max,
            next: Ticket(NonZeroU64::MIN),
        };
        admission.count(counters);
        admission
    }

    pub(super) fn request(&mut self, id: ConnId, address: ClientAddress, counters: &mut Counters) -> Admitted {
        let is_full = self.waiting() >= self.queue_max;
        let (taken, held_back) = self.shares.get(&address).map_or((0, 0), |share| (share.taken, share.held_back));
        let admitted = if taken >= self.slots_per_address {
            if is_full || held_back >= self.held_back_per_address {
                return Admitted::QueueFull;
            }
            let ticket = self.ticket();
            self.held_back.insert((address, ticket), id);
            self.shares.entry(address).or_default().held_back += 1;
            Admitted::Queued(ticket)
        } else if self.free > 0 && self.queue.is_empty() {
            self.free -= 1;
            self.take_share(address);
            Admitted::Granted
        } else if is_full {
            return Admitted::QueueFull;
        } else {
            self.take_share(address);
            Admitted::Queued(self.enqueue(id, false))
        };
        self.count(counters);
        admitted
    }

    /// True if an upload may give its slot to a waiting request and go on without one.
    pub(super) fn wants_slot_of_upload(&self) -> bool {
        self.free == 0 && !self.queue.is_empty() && self.without_slot < self.without_slot_max
    }

    /// An upload gives its slot back and goes on. It still counts in the share of its address.
    pub(super) fn release_slot_of_upload(&mut self, counters: &mut Counters) {
        self.free += 1;
        self.without_slot += 1;
        self.count(counters);
    }

    /// An upload without a slot needs one again. It is never refused: it is under way, and their number is bounded.
    pub(super) fn request_again(&mut self, id: ConnId, counters: &mut Counters) -> Admitted {
        let admitted = if self.free > 0 && self.queue.is_empty() {
            self.free -= 1;
            Admitted::Granted
        } else {
            Admitted::Queued(self.enqueue(id, true))
        };
        self.count(counters);
        admitted
    }

    /// An upload without a slot has been granted one: it is as any other that holds a slot.
    pub(super) const fn slot_is_back(&mut self) {
        self.without_slot -= 1;
    }

    /// An upload without a slot has ended.
    pub(super) fn upload_without_slot_ended(&mut self, address: ClientAddress, counters: &mut Counters) {
        self.without_slot -= 1;
        self.release_share(address);
        self.count(counters);
    }

    fn enqueue(&mut self, id: ConnId, is_upload_without_slot: bool) -> Ticket {
        let ticket = self.ticket();
        self.queue.insert(ticket, Queued { id, ticket, is_upload_without_slot });
        ticket
    }

    fn has_its_share(&self, address: ClientAddress) -> bool {
        self.shares.get(&address).is_some_and(|share| share.taken >= self.slots_per_address)
    }

    fn take_share(&mut self, address: ClientAddress) {
        self.shares.entry(address).or_default().taken += 1;
    }

    fn ticket(&mut self) -> Ticket {
        let next = Ticket(self.next.0.saturating_add(1));
        std::mem::replace(&mut self.next, next)
    }

    /// A slot is given back.
    pub(super) fn release(&mut self, address: ClientAddress, counters: &mut Counters) {
        self.free += 1;
        self.release_share(address);
        self.count(counters);
    }

    /// An address has one slot or place in the queue less, and the first of its requests that are held back takes
    /// that. It goes to the end of the queue: otherwise an address with many of them would overtake the others
    /// again and again.
    fn release_share(&mut self, address: ClientAddress) {
        let end = self.ticket();
        let Some(share) = self.shares.get_mut(&address) else { return };
        let first = self.held_back.range((address, Ticket(NonZeroU64::MIN))..).next().map(|(key, id)| (*key, *id));
        if let Some(((_, ticket), id)) = first.filter(|((of, _), _)| *of == address) {
            self.held_back.remove(&(address, ticket));
            self.queue.insert(end, Queued { id, ticket, is_upload_without_slot: false });
            self.requeued.insert(ticket, end);
            share.held_back -= 1;
            return;
        }
        share.taken -= 1;
        if share.taken == 0 {
            self.shares.remove(&address);
        }
    }

    /// Gives a slot, if one is free, to the head of the queue.
    pub(super) fn grant_next(&mut self, counters: &mut Counters) -> Option<ConnId> {
        if self.free == 0 {
            return None;
        }
        let (_, Queued { id, ticket, .. }) = self.queue.pop_first()?;
        self.requeued.remove(&ticket);
        self.free -= 1;
        self.count(counters);
        Some(id)
    }

    /// The head of the queue.
    pub(super) fn first(&self) -> Option<ConnId> {
        self.queue.first_key_value().map(|(_, queued)| queued.id)
    }

    /// A waiting connection does not want a slot any more.
    pub(super) fn cancel(&mut self, ticket: Ticket, address: ClientAddress, counters: &mut Counters) {
        let place = self.requeued.remove(&ticket).unwrap_or(ticket);
        if let Some(queued) = self.queue.remove(&place) {
            if !queued.is_upload_without_slot {
                self.release_share(address);
            }
        } else if self.held_back.remove(&(address, ticket)).is_some()
            && let Some(share) = self.shares.get_mut(&address)
        {
            share.held_back -= 1;
        }
        self.count(counters);
    }

    fn count(&self, counters: &mut Counters) {
        counters.slots = self.slots as u64;
        counters.slots_used = (self.slots - self.free) as u64;
        counters.slots_waiting = self.waiting() as u64;
    }

    pub(super) const fn free(&self) -> usize {
        self.free
    }

    pub(super) const fn without_slot(&self) -> usize {
        self.without_slot
    }

    /// What all addresses have together, for the invariant checks.
    pub(super) fn taken(&self) -> usize {
        self.shares.values().map(|share| share.taken).sum()
    }

    /// What [`Self::taken`] must be: slots in use, requests in the queue, and uploads without a slot, each once.
    pub(super) fn accounted_for(&self) -> usize {
        let queued = self.queue.values().filter(|queued| !queued.is_upload_without_slot).count();
        self.slots - self.free + queued + self.without_slot
    }

    /// True if [`Self::grant_next`] would give a slot.
    pub(super) fn may_grant(&self) -> bool {
        self.free > 0 && !self.queue.is_empty()
    }

    /// Requests in the queue and those held back.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.held_back.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any address will do where addresses have no share.
    const ONE: ClientAddress = ClientAddress::OTHERS;

    fn one_slot_and_two_places(counters: &mut Counters) -> Admission {
        Admission::new(&Limits { slots: 1, slot_queue_max: 2, per_address_percent: 100, ..Limits::default() }, counters)
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn ticket(admitted: Admitted) -> Ticket {
        let Admitted::Queued(ticket) = admitted else { panic!("{admitted:?}") };
        ticket
    }

    #[test]
    fn slots_are_granted_in_order_of_arrival_and_the_queue_is_bounded() {
        let counters = &mut Counters::default();
        let mut admission = one_slot_and_two_places(counters);
        assert_eq!(admission.request(id(1), ONE, counters), Admitted::Granted);
        assert!(ticket(admission.request(id(2), ONE, counters)) < ticket(admission.request(id(3), ONE, counters)));
        assert_eq!(admission.request(id(4), ONE, counters), Admitted::QueueFull);
        assert_eq!(admission.grant_next(counters), None);
        admission.release(ONE, counters);
        assert_eq!(admission.request(id(5), ONE, counters), Admitted::QueueFull, "no request overtakes");
        assert_eq!(admission.grant_next(counters), Some(id(2)));
        assert_eq!(admission.grant_next(counters), None);
        assert_eq!((counters.slots, counters.slots_used, counters.slots_waiting), (1, 1, 1));
    }

    #[test]
    fn a_cancelled_request_makes_room_in_the_queue() {
        let counters = &mut Counters::default();
        let mut admission = one_slot_and_two_places(counters);
        admission.request(id(1), ONE, counters);
        let gone = ticket(admission.request(id(2), ONE, counters));
        admission.request(id(3), ONE, counters);
        admission.cancel(gone, ONE, counters);
        assert_eq!(counters.slots_waiting, 1);
        assert!(matches!(admission.request(id(4), ONE, counters), Admitted::Queued(_)));
        admission.release(ONE, counters);
        assert_eq!(admission.grant_next(counters), Some(id(3)));
    }

    #[test]
    fn an_address_has_its_share_of_the_slots_and_requests_of_others_do_not_wait_for_it() {
        let counters = &mut Counters::default();
        let limits = Limits { slots: 4, slot_queue_max: 8, ..Limits::default() };
        let mut admission = Admission::new(&limits, counters);
        let [one, other] = [1, 2].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()));
        assert_eq!([1, 2].map(|n| admission.request(id(n), one, counters)), [Admitted::Granted; 2]);
        let held_back: Vec<Ticket> = (3..7).map(|n| ticket(admission.request(id(n), one, counters))).collect();
        assert_eq!(admission.request(id(7), one, counters), Admitted::QueueFull, "half of the queue");
        assert_eq!((admission.free(), admission.queue.len(), counters.slots_waiting), (2, 0, 4));
        assert_eq!(admission.request(id(8), other, counters), Admitted::Granted);
        admission.cancel(held_back[0], one, counters);
        admission.release(one, counters);
        assert_eq!(admission.grant_next(counters), Some(id(4)), "the first that still waits");
        assert_eq!(admission.grant_next(counters), None);
        for address in [one, one, other] {
            admission.release(address, counters);
        }
        assert_eq!([5, 6].map(|_| admission.grant_next(counters)), [Some(id(5)), Some(id(6))]);
        for _ in 0..2 {
            admission.release(one, counters);
        }
        assert!(admission.shares.is_empty() && admission.waiting() == 0 && admission.free() == 4);
    }

    #[test]
    fn an_upload_without_a_slot_counts_in_the_share_of_its_address_once() {
        let counters = &mut Counters::default();
        let limits = Limits { slots: 2, uploads_without_slot_max: 1, ..Limits::default() };
        let mut admission = Admission::new(&limits, counters);
        let [one, two, three] = [1, 2, 3].map(|n| ClientAddress::of(([192, 0, 2, n], 1).into()));
        assert_eq!(admission.request(id(1), one, counters), Admitted::Granted);
        assert_eq!(admission.request(id(2), two, counters), Admitted::Granted);
        assert!(!admission.wants_slot_of_upload(), "no request waits");
        ticket(admission.request(id(3), three, counters));
        assert!(admission.wants_slot_of_upload());
        admission.release_slot_of_upload(counters);
        assert_eq!(admission.grant_next(counters), Some(id(3)));
        ticket(admission.request(id(4), one, counters));
        assert_eq!(admission.queue.len(), 0, "one address has one upload, with or without a slot");
        let ticket_of_5 = ticket(admission.request(id(5), ClientAddress::of(([192, 0, 2, 5], 1).into()), counters));
        assert!(!admission.wants_slot_of_upload(), "one upload at most goes on without a slot");
        // It needs a slot again, and gives up.
        let again = ticket(admission.request_again(id(1), counters));
        assert_eq!((admission.taken(), admission.accounted_for()), (4, 4));
        admission.cancel(again, one, counters);
        assert_eq!((admission.without_slot(), admission.taken(), admission.accounted_for()), (1, 4, 4));
        // It needs a slot again, and is granted one.
        admission.cancel(ticket_of_5, ClientAddress::of(([192, 0, 2, 5], 1).into()), counters);
        ticket(admission.request_again(id(1), counters));
        admission.release(three, counters);
        assert_eq!(admission.grant_next(counters), Some(id(1)));
        admission.slot_is_back();
        assert_eq!((admission.without_slot(), admission.taken(), admission.accounted_for()), (0, 2, 2));
        // It gives the slot back once more, and ends: a request of its address that was held back is next.
        admission.release_slot_of_upload(counters);
        admission.upload_without_slot_ended(one, counters);
        assert_eq!(admission.grant_next(counters), Some(id(4)));
        for address in [one, two] {
            admission.release(address, counters);
        }
        assert!(admission.shares.is_empty() && admission.waiting() == 0 && admission.free() == 2);
    }
}
