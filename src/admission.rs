//! Transfer slots, which bound the memory of transfers, and the bounded wait queue in front of them.
//!
//! Client groups get slots in turn, and the requests of one group in the order in which they came. A group that has its
//! share gets the next one when it gives one back. A request that is cancelled leaves the queue at once, so that
//! requests that are gone take no places in it.

use std::collections::BTreeMap;

use crate::config::Limits;
use crate::counters::Counters;
use crate::fair_queue::{FairQueue, Ticket};
use crate::ids::{ConnId, GroupId};

/// The slots and the wait queue. Every change is counted where it is made.
#[derive(Debug)]
pub struct Admission {
    slots: usize,
    free: usize,
    /// Uploads that gave their slot back and are still under way. Each counts in the share of its group.
    without_slot: usize,
    without_slot_max: usize,
    queue: FairQueue<Waiter>,
    /// Only of groups that have something.
    shares: BTreeMap<GroupId, Share>,
    slots_per_group: usize,
    waiting_per_group: usize,
    queue_max: usize,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    id: ConnId,
    group: GroupId,
    /// True for an upload without a slot that needs one again: it counts in the share of its group already, so it never
    /// has to wait for that.
    has_share: bool,
}

/// What a group has.
#[derive(Debug, Default)]
struct Share {
    /// Slots, and uploads without one.
    taken: usize,
    waiting: usize,
}

impl Waiter {
    fn may_have_slot(&self, shares: &BTreeMap<GroupId, Share>, slots_per_group: usize) -> bool {
        self.has_share || taken(shares, self.group) < slots_per_group
    }
}

fn taken(shares: &BTreeMap<GroupId, Share>, group: GroupId) -> usize {
    shares.get(&group).map_or(0, |share| share.taken)
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// A slot was free and is now taken.
    Granted,
    /// It waits.
    Queued(Ticket),
    QueueFull,
}

impl Admission {
    pub fn new(limits: &Limits, counters: &mut Counters) -> Self {
        let (slots, queue_max) = (limits.slots, limits.slot_queue_max);
        let admission = Self {
            slots,
            free: slots,
            without_slot: 0,
            without_slot_max: limits.uploads_without_slot_max,
            queue: FairQueue::new(),
            shares: BTreeMap::new(),
            slots_per_group: limits.address_share(slots),
            waiting_per_group: limits.address_share(queue_max),
            queue_max,
        };
        admission.count(counters);
        admission
    }

    /// Takes a slot for a transfer of a client group, if it can have one at once.
    pub fn try_take(&mut self, group: GroupId, counters: &mut Counters) -> bool {
        let is_free = self.free > 0 && taken(&self.shares, group) < self.slots_per_group && self.next().is_none();
        if is_free {
            self.free -= 1;
            self.shares.entry(group).or_default().taken += 1;
            self.count(counters);
        }
        is_free
    }

    pub fn request(&mut self, id: ConnId, group: GroupId, counters: &mut Counters) -> Admitted {
        if self.try_take(group, counters) {
            return Admitted::Granted;
        }
        let waiting = self.shares.get(&group).map_or(0, |share| share.waiting);
        if self.waiting() >= self.queue_max || waiting >= self.waiting_per_group {
            return Admitted::QueueFull;
        }
        Admitted::Queued(self.enqueue(Waiter { id, group, has_share: false }, counters))
    }

    /// True if an upload may give its slot to a waiting request and go on without one.
    pub fn wants_slot_of_upload(&self) -> bool {
        self.free == 0 && self.without_slot < self.without_slot_max && self.next().is_some()
    }

    /// An upload gives its slot back and goes on. It still counts in the share of its group.
    pub fn release_slot_of_upload(&mut self, counters: &mut Counters) {
        self.free += 1;
        self.without_slot += 1;
        self.count(counters);
    }

    /// An upload without a slot needs one again. It is never refused: it is under way, and their number is bounded.
    pub fn request_again(&mut self, id: ConnId, group: GroupId, counters: &mut Counters) -> Admitted {
        if self.free > 0 && self.next().is_none() {
            self.free -= 1;
            self.count(counters);
            return Admitted::Granted;
        }
        Admitted::Queued(self.enqueue(Waiter { id, group, has_share: true }, counters))
    }

    /// An upload without a slot has been granted one: it is as any other that holds a slot.
    pub const fn slot_is_back(&mut self) {
        self.without_slot -= 1;
    }

    /// An upload without a slot has ended.
    pub fn upload_without_slot_ended(&mut self, group: GroupId, counters: &mut Counters) {
        self.without_slot -= 1;
        self.change_share(group, |share| share.taken -= 1);
        self.count(counters);
    }

    fn enqueue(&mut self, waiter: Waiter, counters: &mut Counters) -> Ticket {
        let (group, has_share) = (waiter.group, waiter.has_share);
        self.change_share(group, |share| share.waiting += 1);
        let ticket = match has_share {
            true => self.queue.push_urgent(group.index(), waiter),
            false => self.queue.push(group.index(), waiter),
        };
        self.count(counters);
        ticket
    }

    /// What a group has is kept only while that is something.
    fn change_share(&mut self, group: GroupId, change: impl FnOnce(&mut Share)) {
        let share = self.shares.entry(group).or_default();
        change(share);
        if let Share { taken: 0, waiting: 0 } = share {
            self.shares.remove(&group);
        }
    }

    /// The request that gets the next slot. Few groups are passed over: each has its share of the slots.
    fn next(&self) -> Option<&Waiter> {
        self.queue.next(|waiter| waiter.may_have_slot(&self.shares, self.slots_per_group))
    }

    /// A slot is given back.
    pub fn release(&mut self, group: GroupId, counters: &mut Counters) {
        self.free += 1;
        self.change_share(group, |share| share.taken -= 1);
        self.count(counters);
    }

    /// Gives a slot, if one is free, to the first request of the group whose turn it is. A group that has its share
    /// misses its turn.
    pub fn grant_next(&mut self, counters: &mut Counters) -> Option<ConnId> {
        if !self.may_grant() {
            return None;
        }
        let Self { queue, shares, slots_per_group, .. } = self;
        let waiter = loop {
            match queue.pop_if(|waiter| waiter.may_have_slot(shares, *slots_per_group)) {
                Some(waiter) => break waiter,
                None => queue.pass(),
            }
        };
        self.change_share(waiter.group, |share| {
            share.waiting -= 1;
            share.taken += usize::from(!waiter.has_share);
        });
        self.free -= 1;
        self.count(counters);
        Some(waiter.id)
    }

    /// The request that gets the next slot.
    pub fn first(&self) -> Option<ConnId> {
        self.next().map(|waiter| waiter.id)
    }

    /// A waiting connection does not want a slot any more.
    pub fn cancel(&mut self, ticket: Ticket, group: GroupId, counters: &mut Counters) {
        if self.queue.remove(group.index(), ticket).is_some() {
            self.change_share(group, |share| share.waiting -= 1);
        }
        self.count(counters);
    }

    fn count(&self, counters: &mut Counters) {
        counters.slots = self.slots as u64;
        counters.slots_used = (self.slots - self.free) as u64;
        counters.slots_waiting = self.waiting() as u64;
    }

    pub const fn free(&self) -> usize {
        self.free
    }

    pub const fn without_slot(&self) -> usize {
        self.without_slot
    }

    /// True if [`Self::grant_next`] would give a slot.
    pub fn may_grant(&self) -> bool {
        self.free > 0 && self.next().is_some()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Panics where the groups have others than all have together.
    pub fn check(&self) {
        let sum = |of: fn(&Share) -> usize| self.shares.values().map(of).sum::<usize>();
        let used = self.slots - self.free + self.without_slot;
        assert_eq!((sum(|share| share.taken), sum(|share| share.waiting)), (used, self.waiting()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::groups::{Groups, Who};
    use crate::ids::ClientAddress;

    struct Bench {
        admission: Admission,
        counters: Counters,
        clients: Vec<GroupId>,
    }

    impl Bench {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        fn new(limits: &Limits) -> Self {
            let mut counters = Counters::default();
            let (mut groups, now) = (Groups::new(limits, Instant::now()), Instant::now());
            let client = |n: u8| groups.join(Who::Address(ClientAddress::of(([192, 0, 2, n], 1).into())), now);
            let clients = (0..8).map(client).collect();
            Self { admission: Admission::new(limits, &mut counters), counters, clients }
        }

        fn request(&mut self, n: u32, client: usize) -> Admitted {
            self.admission.request(id(n), self.clients[client], &mut self.counters)
        }

        fn waits(&mut self, n: u32, client: usize) -> Ticket {
            ticket(self.request(n, client))
        }

        fn again(&mut self, n: u32, client: usize) -> Ticket {
            ticket(self.admission.request_again(id(n), self.clients[client], &mut self.counters))
        }

        fn grant(&mut self) -> Option<u32> {
            let granted = self.admission.grant_next(&mut self.counters);
            granted.map(|id| u32::try_from(id.slot()).expect("few"))
        }

        fn release(&mut self, client: usize) {
            self.admission.release(self.clients[client], &mut self.counters);
        }

        fn cancel(&mut self, ticket: Ticket, client: usize) {
            self.admission.cancel(ticket, self.clients[client], &mut self.counters);
        }

        fn taken(&self) -> usize {
            self.admission.check();
            self.admission.shares.values().map(|share| share.taken).sum()
        }

        fn assert_empty(&self) {
            assert_eq!(self.taken(), 0);
            assert!(self.admission.waiting() == 0 && self.admission.free() == self.admission.slots);
        }
    }

    fn one_slot_and_two_places() -> Bench {
        Bench::new(&Limits { slots: 1, slot_queue_max: 2, per_address_percent: 100, ..Limits::default() })
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
        let mut bench = one_slot_and_two_places();
        assert_eq!(bench.request(1, 0), Admitted::Granted);
        assert!(bench.waits(2, 0) < bench.waits(3, 0));
        assert_eq!(bench.request(4, 0), Admitted::QueueFull);
        assert_eq!(bench.grant(), None);
        bench.release(0);
        assert_eq!(bench.request(5, 0), Admitted::QueueFull, "no request overtakes");
        assert_eq!((bench.grant(), bench.grant()), (Some(2), None));
        let Counters { slots, slots_used, slots_waiting, .. } = bench.counters;
        assert_eq!((slots, slots_used, slots_waiting), (1, 1, 1));
    }

    #[test]
    fn a_cancelled_request_makes_room_in_the_queue() {
        let mut bench = one_slot_and_two_places();
        bench.request(1, 0);
        let gone = bench.waits(2, 0);
        bench.waits(3, 0);
        bench.cancel(gone, 0);
        assert_eq!(bench.counters.slots_waiting, 1);
        bench.waits(4, 0);
        bench.release(0);
        assert_eq!(bench.grant(), Some(3));
    }

    #[test]
    fn clients_that_wait_get_slots_in_turn_however_many_requests_each_has() {
        let mut bench = Bench::new(&Limits { slots: 1, ..Limits::default() });
        assert_eq!(bench.request(1, 0), Admitted::Granted);
        for n in 10..100 {
            bench.waits(n, 1);
        }
        for (n, client) in [(2, 2), (3, 2), (4, 3)] {
            bench.waits(n, client);
        }
        let order = [0, 1, 2, 3, 1, 2].map(|holder| {
            bench.release(holder);
            bench.grant().expect("one waits")
        });
        assert_eq!(order, [10, 2, 4, 11, 3, 12]);
    }

    #[test]
    fn a_client_has_its_share_of_the_slots_and_requests_of_others_do_not_wait_for_it() {
        let mut bench = Bench::new(&Limits { slots: 4, slot_queue_max: 8, ..Limits::default() });
        assert_eq!([1, 2].map(|n| bench.request(n, 0)), [Admitted::Granted; 2]);
        let held_back: Vec<Ticket> = (3..7).map(|n| bench.waits(n, 0)).collect();
        assert_eq!(bench.request(7, 0), Admitted::QueueFull, "half of the queue");
        assert_eq!((bench.admission.free(), bench.admission.may_grant(), bench.counters.slots_waiting), (2, false, 4));
        assert_eq!(bench.request(8, 1), Admitted::Granted);
        bench.cancel(held_back[0], 0);
        bench.release(0);
        assert_eq!((bench.grant(), bench.grant()), (Some(4), None), "the first that still waits");
        for client in [0, 0, 1] {
            bench.release(client);
        }
        assert_eq!([5, 6].map(|_| bench.grant()), [Some(5), Some(6)]);
        for _ in 0..2 {
            bench.release(0);
        }
        bench.assert_empty();
    }

    #[test]
    fn an_upload_without_a_slot_counts_in_the_share_of_its_client_once() {
        let mut bench = Bench::new(&Limits { slots: 2, uploads_without_slot_max: 1, ..Limits::default() });
        assert_eq!([bench.request(1, 0), bench.request(2, 1)], [Admitted::Granted; 2]);
        assert!(!bench.admission.wants_slot_of_upload(), "no request waits");
        bench.waits(3, 2);
        assert!(bench.admission.wants_slot_of_upload());
        bench.admission.release_slot_of_upload(&mut bench.counters);
        assert_eq!(bench.grant(), Some(3));
        bench.waits(4, 0);
        assert_eq!(bench.admission.first(), None, "one client has one upload, with or without a slot");
        let ticket_of_5 = bench.waits(5, 4);
        assert!(!bench.admission.wants_slot_of_upload(), "one upload at most goes on without a slot");
        // It needs a slot again, and gives up.
        let again = bench.again(1, 0);
        assert_eq!(bench.taken(), 3);
        bench.cancel(again, 0);
        assert_eq!((bench.admission.without_slot(), bench.taken()), (1, 3));
        // It needs a slot again, and is granted one, before the request of its client that came earlier.
        bench.cancel(ticket_of_5, 4);
        bench.again(1, 0);
        bench.release(2);
        assert_eq!(bench.grant(), Some(1));
        bench.admission.slot_is_back();
        assert_eq!(bench.taken(), 2);
        // It gives the slot back once more, and ends: a request of its client that was held back is next.
        bench.admission.release_slot_of_upload(&mut bench.counters);
        bench.admission.upload_without_slot_ended(bench.clients[0], &mut bench.counters);
        assert_eq!(bench.grant(), Some(4));
        for client in [0, 1] {
            bench.release(client);
        }
        bench.assert_empty();
    }
}
