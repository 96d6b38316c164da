//! A queue in which clients take turns, and within one, first come first served: a client with many uploads on a disk
//! that lags, or with many handshakes, gets no more of what serves the queue than one with a single one.
//!
//! It holds memory for what waits, and none for clients with nothing in it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

use slab::Slab;

/// Identifies an item of the queue; within a client, earlier ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(NonZeroU64);

/// Tickets of items that go before the others of their client have this bit not set.
const IN_ORDER: u64 = 1 << 63;
/// The most entries of the order that are kept while the queue is empty.
const ORDER_KEPT: usize = 64;

/// Items by client. A client is any number that it has.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// Where each item is in `kept`: so the code of the tree is the same for all queues.
    items: BTreeMap<(usize, Ticket), usize>,
    kept: Slab<T>,
    /// The clients with an item, the next one first.
    order: VecDeque<usize>,
    next: NonZeroU64,
}

impl<T> FairQueue<T> {
    pub(crate) const fn new() -> Self {
        Self { items: BTreeMap::new(), kept: Slab::new(), order: VecDeque::new(), next: NonZeroU64::MIN }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Clients with an item.
    pub(crate) fn clients(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn push(&mut self, client: usize, item: T) -> Ticket {
        self.insert(client, IN_ORDER, item)
    }

    /// Appends an item to those that go before all others of their client.
    pub(crate) fn push_urgent(&mut self, client: usize, item: T) -> Ticket {
        self.insert(client, 0, item)
    }

    fn insert(&mut self, client: usize, class: u64, item: T) -> Ticket {
        if self.order.is_empty() || self.first_of(client).is_none() {
            self.order.push_back(client);
        }
        let ticket = Ticket(self.next | class);
        self.next = self.next.saturating_add(1);
        self.items.insert((client, ticket), self.kept.insert(item));
        ticket
    }

    fn first_of(&self, client: usize) -> Option<(Ticket, &T)> {
        let (first, last) = (Ticket(NonZeroU64::MIN), Ticket(NonZeroU64::MAX));
        self.items.range((client, first)..=(client, last)).next().map(|((_, ticket), at)| (*ticket, &self.kept[*at]))
    }

    /// The next client in turn.
    pub(crate) fn turn(&self) -> Option<usize> {
        self.order.front().copied()
    }

    /// The first item of the next client for which that is `wanted`.
    pub(crate) fn next(&self, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        let mut firsts = self.order.iter().filter_map(|client| self.first_of(*client));
        firsts.find(|(_, item)| wanted(item)).map(|(_, item)| item)
    }

    /// It is the turn of the next client.
    pub(crate) fn pass(&mut self) {
        if let Some(client) = self.order.pop_front() {
            self.order.push_back(client);
        }
    }

    /// Takes the first item of the next client in turn, which keeps its turn.
    pub(crate) fn take(&mut self) -> Option<T> {
        let client = self.turn()?;
        let (ticket, _) = self.first_of(client)?;
        self.remove(client, ticket)
    }

    /// Takes the next item, if it is `wanted`. It is the turn of the next client then.
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let client = self.turn()?;
        self.first_of(client).filter(|(_, item)| wanted(item))?;
        let item = self.take();
        if self.turn() == Some(client) {
            self.pass();
        }
        item
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_if(|_| true)
    }

    /// Removes an item wherever it is.
    pub(crate) fn remove(&mut self, client: usize, ticket: Ticket) -> Option<T> {
        let item = self.kept.remove(self.items.remove(&(client, ticket))?);
        if self.items.is_empty() {
            self.kept.shrink_to_fit();
            self.order.clear();
            self.order.shrink_to(ORDER_KEPT);
        } else if self.first_of(client).is_none() {
            match self.turn() == Some(client) {
                true => drop(self.order.pop_front()),
                false => self.order.retain(|listed| *listed != client),
            }
        }
        Some(item)
    }

    /// Removes all items that are not `wanted` any more.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        self.items.retain(|_, at| {
            let stays = wanted(&self.kept[*at]);
            if !stays {
                self.kept.remove(*at);
            }
            stays
        });
        let mut order = std::mem::take(&mut self.order);
        order.retain(|client| self.first_of(*client).is_some());
        self.order = order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_what_one_asked_for_is_done_in_its_order() {
        let mut queue = FairQueue::new();
        for n in 0..5 {
            queue.push(0, n);
        }
        queue.push(1, 10);
        queue.push(7, 20);
        let taken: Vec<i32> = (0..4).filter_map(|_| queue.pop()).collect();
        assert_eq!(taken, [0, 10, 20, 1]);
        // One that comes back waits for those that have their turns, not for all that waits.
        queue.push(1, 11);
        assert_eq!(queue.len(), 4);
        assert_eq!(queue.pop_if(|n| *n > 10), None);
        let taken: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(taken, [2, 11, 3, 4]);
        assert_eq!((queue.len(), queue.clients()), (0, 0));
    }

    #[test]
    fn a_crowd_leaves_no_memory() {
        let mut queue = FairQueue::new();
        for n in 0..10_000 {
            queue.push(n, n);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 10_000);
        assert!(queue.order.capacity() <= ORDER_KEPT);
    }

    #[test]
    fn what_is_not_wanted_any_more_leaves_the_turns_of_the_others_as_they_are() {
        let mut queue = FairQueue::new();
        for n in 0..9 {
            queue.push(n % 3, n);
        }
        queue.retain(|n| n % 3 != 1 && *n != 2);
        assert_eq!(queue.len(), 5);
        let taken: Vec<usize> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(taken, [0, 5, 3, 8, 6]);
        assert_eq!((queue.len(), queue.clients()), (0, 0));
    }

    #[test]
    fn a_client_keeps_its_turn_while_it_is_served_and_what_is_urgent_goes_before_its_others() {
        let mut queue = FairQueue::new();
        let late = queue.push(0, "late");
        queue.push(1, "other");
        queue.push_urgent(0, "first");
        queue.push_urgent(0, "second");
        assert_eq!((queue.turn(), queue.take(), queue.take()), (Some(0), Some("first"), Some("second")));
        assert_eq!(queue.next(|item| *item != "late"), Some(&"other"));
        queue.pass();
        assert_eq!(queue.remove(0, late), Some("late"));
        assert_eq!((queue.remove(0, late), queue.turn(), queue.take()), (None, Some(1), Some("other")));
    }
}
