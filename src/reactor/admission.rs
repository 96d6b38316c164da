//! Transfer slots, which bound the memory of transfers, and the bounded wait queue in front of them.
//!
//! Client groups get slots in turn, and the requests of one group in the order in which they came. A group that has its
//! share gets the next one when it gives one back. A request that is cancelled leaves the queue at once, so that
//! requests that are gone take no places in it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

use crate::config::Limits;
use crate::counters::Counters;
use crate::groups::Groups;
use crate::ids::{ConnId, GroupId};
use crate::session::SlotPool;

/// Identifies a waiting request; earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

/// The place of a request in the queue of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// An upload without a slot that needs one again: it counts in the share of its group already, so it never has to
    /// wait for that.
    UnderWay(Ticket),
    Request(Ticket),
}

impl Place {
    const FIRST: Self = Self::UnderWay(Ticket(NonZeroU64::MIN));
    const LAST: Self = Self::Request(Ticket(NonZeroU64::MAX));
}

/// The slots and the wait queue. Every change is counted where it is made.
#[derive(Debug)]
pub(super) struct Admission {
    slots: usize,
    free: usize,
    /// Uploads that gave their slot back and are still under way. Each counts in the share of its group.
    without_slot: usize,
    without_slot_max: usize,
    /// The requests that wait.
    queue: BTreeMap<(GroupId, Place), ConnId>,
    /// The groups with a request that may have the next free slot. The first one gets it.
    groups: VecDeque<GroupId>,
    slots_per_group: usize,
    waiting_per_group: usize,
    queue_max: usize,
    next: Ticket,
}

/// The answer to a request for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// A slot was free and is now taken.
    Granted,
    /// It waits.
    Queued(Ticket),
    QueueFull,
}

impl SlotPool for Admission {
    fn try_take(&mut self, group: GroupId, groups: &mut Groups, counters: &mut Counters) -> bool {
        let share = groups.share(group);
        let is_free = self.free > 0 && self.groups.is_empty() && share.taken < self.slots_per_group;
        if is_free {
            self.free -= 1;
            share.taken += 1;
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
            groups: VecDeque::new(),
            slots_per_group: limits.address_share(slots),
            waiting_per_group: limits.address_share(queue_max),
            queue_max,
            next: Ticket(NonZeroU64::MIN),
        };
        admission.count(counters);
        admission
    }

    pub(super) fn request(
        &mut self,
        id: ConnId,
        group: GroupId,
        groups: &mut Groups,
        counters: &mut Counters,
    ) -> Admitted {
        if self.try_take(group, groups, counters) {
            return Admitted::Granted;
        }
        if self.waiting() >= self.queue_max || groups.share(group).waiting >= self.waiting_per_group {
            return Admitted::QueueFull;
        }
        let ticket = self.ticket();
        self.enqueue((group, Place::Request(ticket)), id, groups, counters);
        Admitted::Queued(ticket)
    }

    /// True if an upload may give its slot to a waiting request and go on without one.
    pub(super) fn wants_slot_of_upload(&self) -> bool {
        self.free == 0 && !self.groups.is_empty() && self.without_slot < self.without_slot_max
    }

    /// An upload gives its slot back and goes on. It still counts in the share of its group.
    pub(super) fn release_slot_of_upload(&mut self, counters: &mut Counters) {
        self.free += 1;
        self.without_slot += 1;
        self.count(counters);
    }

    /// An upload without a slot needs one again. It is never refused: it is under way, and their number is bounded.
    pub(super) fn request_again(
        &mut self,
        id: ConnId,
        group: GroupId,
        groups: &mut Groups,
        counters: &mut Counters,
    ) -> Admitted {
        if self.free > 0 && self.groups.is_empty() {
            self.free -= 1;
            self.count(counters);
            return Admitted::Granted;
        }
        let ticket = self.ticket();
        self.enqueue((group, Place::UnderWay(ticket)), id, groups, counters);
        Admitted::Queued(ticket)
    }

    /// An upload without a slot has been granted one: it is as any other that holds a slot.
    pub(super) const fn slot_is_back(&mut self) {
        self.without_slot -= 1;
    }

    /// An upload without a slot has ended.
    pub(super) fn upload_without_slot_ended(&mut self, group: GroupId, groups: &mut Groups, counters: &mut Counters) {
        self.without_slot -= 1;
        self.release_share(group, groups);
        self.count(counters);
    }

    fn enqueue(&mut self, place: (GroupId, Place), id: ConnId, groups: &mut Groups, counters: &mut Counters) {
        self.queue.insert(place, id);
        groups.share(place.0).waiting += 1;
        self.list(place.0, groups);
        self.count(counters);
    }

    fn ticket(&mut self) -> Ticket {
        let next = Ticket(self.next.0.saturating_add(1));
        std::mem::replace(&mut self.next, next)
    }

    /// The request of a group that gets a slot before its others.
    fn first_of(&self, group: GroupId) -> Option<(Place, ConnId)> {
        let mut queue = self.queue.range((group, Place::FIRST)..=(group, Place::LAST));
        queue.next().map(|((_, place), id)| (*place, *id))
    }

    /// Puts a group behind the others that wait for a free slot, if one of its requests may have that, and removes it
    /// otherwise.
    fn list(&mut self, group: GroupId, groups: &mut Groups) {
        let share = groups.share(group);
        let may_have_one = match self.first_of(group) {
            None => false,
            Some((Place::UnderWay(_), _)) => true,
            Some((Place::Request(_), _)) => share.taken < self.slots_per_group,
        };
        if may_have_one == share.is_next {
            return;
        }
        share.is_next = may_have_one;
        if may_have_one {
            self.groups.push_back(group);
        } else {
            self.groups.retain(|listed| *listed != group);
        }
    }

    /// A slot is given back.
    pub(super) fn release(&mut self, group: GroupId, groups: &mut Groups, counters: &mut Counters) {
        self.free += 1;
        self.release_share(group, groups);
        self.count(counters);
    }

    fn release_share(&mut self, group: GroupId, groups: &mut Groups) {
        groups.share(group).taken -= 1;
        self.list(group, groups);
    }

    /// Gives a slot, if one is free, to the first request of the group whose turn it is.
    pub(super) fn grant_next(&mut self, groups: &mut Groups, counters: &mut Counters) -> Option<ConnId> {
        if self.free == 0 {
            return None;
        }
        let group = self.groups.pop_front()?;
        let (place, id) = self.first_of(group).expect("a group that is listed has a request");
        self.queue.remove(&(group, place));
        let share = groups.share(group);
        share.is_next = false;
        share.waiting -= 1;
        share.taken += usize::from(matches!(place, Place::Request(_)));
        self.free -= 1;
        self.list(group, groups);
        self.count(counters);
        Some(id)
    }

    /// The request that gets the next slot.
    pub(super) fn first(&self) -> Option<ConnId> {
        self.first_of(*self.groups.front()?).map(|(_, id)| id)
    }

    /// A waiting connection does not want a slot any more.
    pub(super) fn cancel(&mut self, ticket: Ticket, group: GroupId, groups: &mut Groups, counters: &mut Counters) {
        let mut places = [Place::Request(ticket), Place::UnderWay(ticket)].into_iter();
        if places.any(|place| self.queue.remove(&(group, place)).is_some()) {
            groups.share(group).waiting -= 1;
            self.list(group, groups);
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

    /// What all groups have together: slots in use and uploads without a slot. For the invariant checks.
    pub(super) const fn taken(&self) -> usize {
        self.slots - self.free + self.without_slot
    }

    /// True if [`Self::grant_next`] would give a slot.
    pub(super) fn may_grant(&self) -> bool {
        self.free > 0 && !self.groups.is_empty()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::groups::Who;
    use crate::ids::ClientAddress;

    struct Bench {
        admission: Admission,
        groups: Groups,
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
            Self { admission: Admission::new(limits, &mut counters), groups, counters, clients }
        }

        fn request(&mut self, n: u32, client: usize) -> Admitted {
            self.admission.request(id(n), self.clients[client], &mut self.groups, &mut self.counters)
        }

        fn waits(&mut self, n: u32, client: usize) -> Ticket {
            ticket(self.request(n, client))
        }

        fn again(&mut self, n: u32, client: usize) -> Ticket {
            ticket(self.admission.request_again(id(n), self.clients[client], &mut self.groups, &mut self.counters))
        }

        fn grant(&mut self) -> Option<u32> {
            let granted = self.admission.grant_next(&mut self.groups, &mut self.counters);
            granted.map(|id| u32::try_from(id.slot()).expect("few"))
        }

        fn release(&mut self, client: usize) {
            self.admission.release(self.clients[client], &mut self.groups, &mut self.counters);
        }

        fn cancel(&mut self, ticket: Ticket, client: usize) {
            self.admission.cancel(ticket, self.clients[client], &mut self.groups, &mut self.counters);
        }

        fn assert_empty(&self) {
            assert_eq!(self.groups.totals().1, crate::groups::Share::default());
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
        assert_eq!((bench.admission.free(), bench.admission.groups.len(), bench.counters.slots_waiting), (2, 0, 4));
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
        assert_eq!(bench.admission.groups.len(), 0, "one client has one upload, with or without a slot");
        let ticket_of_5 = bench.waits(5, 4);
        assert!(!bench.admission.wants_slot_of_upload(), "one upload at most goes on without a slot");
        // It needs a slot again, and gives up.
        let again = bench.again(1, 0);
        assert_eq!((bench.groups.totals().1.taken, bench.admission.taken()), (3, 3));
        bench.cancel(again, 0);
        assert_eq!((bench.admission.without_slot(), bench.admission.taken()), (1, 3));
        // It needs a slot again, and is granted one, before the request of its client that came earlier.
        bench.cancel(ticket_of_5, 4);
        bench.again(1, 0);
        bench.release(2);
        assert_eq!(bench.grant(), Some(1));
        bench.admission.slot_is_back();
        assert_eq!((bench.groups.totals().1.taken, bench.admission.taken()), (2, 2));
        // It gives the slot back once more, and ends: a request of its client that was held back is next.
        bench.admission.release_slot_of_upload(&mut bench.counters);
        bench.admission.upload_without_slot_ended(bench.clients[0], &mut bench.groups, &mut bench.counters);
        assert_eq!(bench.grant(), Some(4));
        for client in [0, 1] {
            bench.release(client);
        }
        bench.assert_empty();
    }
}
