//! Transfer slots, which bound the memory of transfers, and the bounded wait queue in front of them.
//!
//! Client groups get slots in turn, and the requests of one group in the order in which they came. A group that has its
//! share gets the next one when it gives one back. A request that is cancelled leaves the queue at once, so that
//! requests that are gone take no places in it.

mod slot;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::config::Fixed;
use crate::counters::Counters;
use crate::fair_queue::FairQueue;
use crate::groups::Groups;
use crate::ids::{ConnId, GroupId};
pub use slot::Slot;

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
    chunks_per_slot: usize,
    waiting_per_group: usize,
    queue_max: usize,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    id: ConnId,
    since: Instant,
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

impl Admission {
    pub fn new(limits: &Fixed, counters: &mut Counters) -> Self {
        let (slots, queue_max) = (limits.slots, limits.slot_queue_max);
        let admission = Self {
            slots,
            free: slots,
            without_slot: 0,
            without_slot_max: limits.uploads_without_slot_max,
            queue: FairQueue::new(),
            shares: BTreeMap::new(),
            chunks_per_slot: limits.chunks_per_slot,
            slots_per_group: limits.address_share(slots),
            waiting_per_group: limits.address_share(queue_max),
            queue_max,
        };
        admission.count(counters);
        admission
    }

    /// Takes a slot for a transfer of a client group, if it can have one at once.
    pub fn try_take(&mut self, client: GroupId, groups: &mut Groups, counters: &mut Counters) -> Slot {
        if self.free == 0 || taken(&self.shares, client) >= self.slots_per_group || self.next().is_some() {
            return Slot::None;
        }
        groups.hold(client);
        self.free -= 1;
        self.shares.entry(client).or_default().taken += 1;
        self.count(counters);
        Slot::Held { client, credits: self.chunks_per_slot }
    }

    /// Asks for a slot for a request of a client group, which waits since then, or for an upload that gave its slot back. It is held then, or
    /// waits; none where the wait queue is full. An upload under way is never refused, and their number is bounded.
    #[must_use]
    pub fn request(
        &mut self,
        slot: Slot,
        (id, since): (ConnId, Instant),
        client: GroupId,
        groups: &mut Groups,
        counters: &mut Counters,
    ) -> Slot {
        if let Slot::ShareOnly { client } = slot {
            if self.free == 0 || self.next().is_some() {
                return self.enqueue(Waiter { id, since, group: client, has_share: true }, counters);
            }
            self.free -= 1;
            self.without_slot -= 1;
            self.count(counters);
            return Slot::Held { client, credits: self.chunks_per_slot };
        }
        debug_assert!(slot.is_none(), "it has a slot, or waits for one: {slot:?}");
        let taken = self.try_take(client, groups, counters);
        let waiting = self.shares.get(&client).map_or(0, |share| share.waiting);
        if taken.is_held() || self.waiting() >= self.queue_max || waiting >= self.waiting_per_group {
            return taken;
        }
        groups.hold(client);
        self.enqueue(Waiter { id, since, group: client, has_share: false }, counters)
    }

    fn enqueue(&mut self, waiter: Waiter, counters: &mut Counters) -> Slot {
        let Waiter { group: client, has_share, .. } = waiter;
        self.change_share(client, |share| share.waiting += 1);
        let ticket = match has_share {
            true => self.queue.push_urgent(client.index(), waiter),
            false => self.queue.push(client.index(), waiter),
        };
        self.count(counters);
        Slot::Waiting { client, ticket, has_share }
    }

    /// True if an upload may give its slot to a waiting request and continue without one.
    pub fn wants_slot_of_upload(&self) -> bool {
        self.free == 0 && self.without_slot < self.without_slot_max && self.next().is_some()
    }

    /// An upload gives its slot back and continues. It still counts in the share of its group.
    #[must_use]
    pub fn keep_share(&mut self, slot: Slot, counters: &mut Counters) -> Slot {
        let Slot::Held { client, .. } = slot else { return slot };
        self.free += 1;
        self.without_slot += 1;
        self.count(counters);
        Slot::ShareOnly { client }
    }

    /// No slot is wanted any more, while one is waited for.
    #[must_use]
    pub fn stop_waiting(&mut self, slot: Slot, groups: &mut Groups, counters: &mut Counters) -> Slot {
        let Slot::Waiting { client, ticket, has_share } = slot else { return slot };
        if self.queue.remove(client.index(), ticket).is_some() {
            self.change_share(client, |share| share.waiting -= 1);
        }
        self.count(counters);
        if has_share {
            return Slot::ShareOnly { client };
        }
        groups.leave(client);
        Slot::None
    }

    /// Ends a right, whatever it is.
    pub fn give_back(&mut self, slot: Slot, groups: &mut Groups, counters: &mut Counters) {
        match self.stop_waiting(slot, groups, counters) {
            Slot::None | Slot::Waiting { .. } => return,
            Slot::Held { client, .. } => {
                self.free += 1;
                self.end_share(client, groups);
            }
            Slot::ShareOnly { client } => {
                self.without_slot -= 1;
                self.end_share(client, groups);
            }
        }
        self.count(counters);
    }

    fn end_share(&mut self, client: GroupId, groups: &mut Groups) {
        self.change_share(client, |share| share.taken -= 1);
        groups.leave(client);
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
        if self.waiting() == 0 {
            return None; // several times in each turn
        }
        self.queue.next(|waiter| waiter.may_have_slot(&self.shares, self.slots_per_group))
    }

    /// Gives a slot, if one is free, to the first request of the next group in turn, which gets an event:
    /// [`Slot::granted`]. A group that has its share misses its turn.
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
        self.without_slot -= usize::from(waiter.has_share);
        self.count(counters);
        Some(waiter.id)
    }

    /// Since when the request waits that gets the next slot.
    pub fn waits_since(&self) -> Option<Instant> {
        self.next().map(|waiter| waiter.since)
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
    use super::*;
    use crate::config::Limits;
    use crate::fair_queue::Ticket;
    use crate::groups::Who;
    use crate::ids::ClientAddress;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Admitted {
        Granted,
        Queued,
        QueueFull,
    }

    struct Bench {
        admission: Admission,
        groups: Groups,
        counters: Counters,
        clients: Vec<GroupId>,
        /// Of each connection.
        held: BTreeMap<u32, Slot>,
        start: Instant,
    }

    impl Bench {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
        fn new(limits: &Fixed) -> Self {
            let mut counters = Counters::default();
            let (mut groups, now) = (Groups::new(&Limits::default(), Instant::now()), Instant::now());
            let client = |n: u8| groups.join(Who::Address(ClientAddress::of(([192, 0, 2, n], 1).into())), now);
            let clients = (0..8).map(client).collect();
            let admission = Admission::new(limits, &mut counters);
            Self { admission, groups, counters, clients, held: BTreeMap::new(), start: now }
        }

        fn request(&mut self, n: u32, client: usize) -> Admitted {
            let Self { admission, groups, counters, clients, held, start } = self;
            let slot = held.entry(n).or_default();
            *slot = admission.request(std::mem::take(slot), (id(n), *start), clients[client], groups, counters);
            match slot {
                Slot::None => Admitted::QueueFull,
                Slot::Waiting { .. } => Admitted::Queued,
                Slot::Held { .. } => Admitted::Granted,
                Slot::ShareOnly { .. } => panic!("a request was ignored"),
            }
        }

        fn waits(&mut self, n: u32, client: usize) -> Ticket {
            assert_eq!(self.request(n, client), Admitted::Queued);
            let Slot::Waiting { ticket, .. } = self.held[&n] else { unreachable!("it is queued") };
            ticket
        }

        fn grant(&mut self) -> Option<u32> {
            let granted = self.admission.grant_next(&mut self.counters)?;
            let n = u32::try_from(granted.slot()).expect("few");
            let slot = self.held.get_mut(&n).expect("it waits");
            *slot = std::mem::take(slot).granted(1);
            Some(n)
        }

        /// A connection of this client gives its slot back.
        fn release(&mut self, client: usize) {
            let client = Some(self.clients[client]);
            let held = self.held.iter().find(|(_, slot)| slot.is_held() && slot.client() == client);
            let n = *held.expect("it has one").0;
            self.give_back(n);
        }

        fn give_back(&mut self, n: u32) {
            let slot = self.held.remove(&n).expect("it has something");
            self.admission.give_back(slot, &mut self.groups, &mut self.counters);
        }

        fn keep_share(&mut self, n: u32) {
            let slot = self.held.get_mut(&n).expect("it has one");
            *slot = self.admission.keep_share(std::mem::take(slot), &mut self.counters);
            assert!(slot.is_share_only());
        }

        fn stop_waiting(&mut self, n: u32) {
            let slot = self.held.get_mut(&n).expect("it waits");
            *slot = self.admission.stop_waiting(std::mem::take(slot), &mut self.groups, &mut self.counters);
        }

        fn taken(&self) -> usize {
            self.admission.check();
            self.admission.shares.values().map(|share| share.taken).sum()
        }

        fn assert_empty(&self) {
            assert_eq!(self.taken(), 0);
            assert_eq!(self.groups.refs(), self.clients.len());
            assert!(self.admission.waiting() == 0 && self.admission.free() == self.admission.slots);
        }
    }

    fn one_slot_and_two_places() -> Bench {
        Bench::new(&Fixed { slots: 1, slot_queue_max: 2, per_address_percent: 100, ..Fixed::default() })
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
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
        bench.waits(2, 0);
        bench.waits(3, 0);
        bench.give_back(2);
        assert_eq!(bench.counters.slots_waiting, 1);
        bench.waits(4, 0);
        bench.release(0);
        assert_eq!(bench.grant(), Some(3));
    }

    #[test]
    fn clients_that_wait_get_slots_in_turn_however_many_requests_each_has() {
        let mut bench = Bench::new(&Fixed { slots: 1, ..Fixed::default() });
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
        let mut bench = Bench::new(&Fixed { slots: 4, slot_queue_max: 8, ..Fixed::default() });
        assert_eq!([1, 2].map(|n| bench.request(n, 0)), [Admitted::Granted; 2]);
        for n in 3..7 {
            bench.waits(n, 0);
        }
        assert_eq!(bench.request(7, 0), Admitted::QueueFull, "half of the queue");
        assert_eq!((bench.admission.free(), bench.admission.may_grant(), bench.counters.slots_waiting), (2, false, 4));
        assert_eq!(bench.request(8, 1), Admitted::Granted);
        bench.give_back(3);
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
        let mut bench = Bench::new(&Fixed { slots: 2, uploads_without_slot_max: 1, ..Fixed::default() });
        assert_eq!([bench.request(1, 0), bench.request(2, 1)], [Admitted::Granted; 2]);
        assert!(!bench.admission.wants_slot_of_upload(), "no request waits");
        bench.waits(3, 2);
        assert!(bench.admission.wants_slot_of_upload());
        bench.keep_share(1);
        assert_eq!(bench.grant(), Some(3));
        bench.waits(4, 0);
        assert_eq!(bench.admission.waits_since(), None, "one client has one upload, with or without a slot");
        bench.waits(5, 4);
        assert!(!bench.admission.wants_slot_of_upload(), "one upload at most continues without a slot");
        // It needs a slot again, and gives up.
        bench.waits(1, 0);
        assert_eq!(bench.taken(), 3);
        bench.stop_waiting(1);
        assert!(bench.held[&1].is_share_only());
        assert_eq!((bench.admission.without_slot(), bench.taken()), (1, 3));
        // It needs a slot again, and is granted one, before the request of its client that came earlier.
        bench.give_back(5);
        bench.waits(1, 0);
        bench.release(2);
        assert_eq!(bench.grant(), Some(1));
        assert_eq!(bench.taken(), 2);
        // It gives the slot back once more, and ends: a request of its client that was held back is next.
        bench.keep_share(1);
        bench.give_back(1);
        assert_eq!(bench.grant(), Some(4));
        for client in [0, 1] {
            bench.release(client);
        }
        bench.assert_empty();
    }
}
