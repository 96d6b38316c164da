//! Connections that wait until the bucket of their client admits more: first come, first served for each bucket. When
//! it does, the first of them is driven; the others follow one in a turn. Never reads a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use crate::groups::Flow;
use crate::ids::{ConnId, GroupId};

/// Of a group, for one direction or for requests.
pub(super) type BucketId = (GroupId, Flow);

/// The place of a connection in the queue of a bucket.
type Seat = (BucketId, u64);

/// When a bucket wakes its first connection, and since when that has waited. Two buckets that wait for the same bytes, of
/// the whole of their client, wake at the same time: then the one that has waited for longer is first.
type Wake = (Instant, u64);

#[derive(Debug, Default)]
pub(super) struct Pacing {
    waiting: BTreeMap<Seat, ConnId>,
    seats: HashMap<ConnId, Seat>,
    /// When the first of each bucket is driven. None while it is about to be.
    wakes: BTreeMap<BucketId, Wake>,
    order: BTreeSet<(Wake, BucketId)>,
    next: u64,
    /// What came before this waits for rates of older rules.
    renewed: u64,
}

impl Pacing {
    /// Most bytes of one connection that waits, for the accounting of memory.
    pub(super) const WAIT_BYTES: usize = 2 * size_of::<(Seat, ConnId)>()
        + 3 * size_of::<(ConnId, Seat)>()
        + 2 * (size_of::<(BucketId, Wake)>() + size_of::<(Wake, BucketId)>());

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn waits(&self, id: ConnId) -> bool {
        !self.seats.is_empty() && self.seats.contains_key(&id)
    }

    fn first(&self, bucket: BucketId) -> Option<ConnId> {
        self.first_seat(bucket).map(|(_, id)| id)
    }

    fn first_seat(&self, bucket: BucketId) -> Option<(u64, ConnId)> {
        self.waiting.range((bucket, 0)..=(bucket, u64::MAX)).next().map(|(seat, id)| (seat.1, *id))
    }

    /// True if a connection may move something: the bucket admits it, and no other waits for it longer. It waits no more
    /// then.
    pub(super) fn may_go(&mut self, id: ConnId, bucket: BucketId, admits: bool, now: Instant) -> bool {
        let is_first = self.waiting.is_empty() || self.first(bucket).is_none_or(|first| first == id);
        let goes = admits && is_first;
        if goes {
            self.leave(id, now);
        }
        goes
    }

    /// A connection waits, after those that do already. The bucket admits some of them at `at`.
    pub(super) fn wait(&mut self, id: ConnId, bucket: BucketId, at: Instant, now: Instant) {
        if self.seats.get(&id).is_none_or(|seat| seat.0 != bucket) {
            self.leave(id, now);
            let seat = (bucket, self.next);
            self.next += 1;
            self.waiting.insert(seat, id);
            self.seats.insert(id, seat);
        }
        self.wake_at(bucket, at);
    }

    /// A connection waits no more. The next one is driven soon.
    pub(super) fn leave(&mut self, id: ConnId, now: Instant) {
        if self.waits(id)
            && let Some(seat) = self.seats.remove(&id)
        {
            self.waiting.remove(&seat);
            if self.first(seat.0).is_some() {
                self.wake_at(seat.0, now);
            } else if let Some(wake) = self.wakes.remove(&seat.0) {
                self.order.remove(&(wake, seat.0));
            }
        }
    }

    /// The rules have changed: the first of each bucket is driven now, and the others after it.
    pub(super) fn renew(&mut self, now: Instant) {
        self.renewed = self.next;
        let buckets: Vec<BucketId> = self.wakes.keys().copied().collect();
        for bucket in buckets {
            self.wake_at(bucket, now);
        }
    }

    /// True if a connection waits for a rate that the rules gave before they changed.
    pub(super) fn is_outdated(&self, id: ConnId) -> bool {
        self.renewed > 0 && self.seats.get(&id).is_some_and(|seat| seat.1 < self.renewed)
    }

    fn wake_at(&mut self, bucket: BucketId, at: Instant) {
        let Some((seat, _)) = self.first_seat(bucket) else { return };
        match self.wakes.get(&bucket) {
            Some((before, _)) if *before <= at => return,
            Some(before) => self.order.remove(&(*before, bucket)),
            None => false,
        };
        self.wakes.insert(bucket, (at, seat));
        self.order.insert(((at, seat), bucket));
    }

    /// When the next bucket admits something.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.order.first().map(|((at, _), _)| *at)
    }

    /// A connection with a wait that has ended: it is to be driven.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        let (wake, bucket) = *self.order.first().filter(|((at, _), _)| *at <= now)?;
        self.order.remove(&(wake, bucket));
        self.wakes.remove(&bucket);
        self.first(bucket)
    }

    /// Panics where a bucket has connections that wait, and nothing will wake the first of them.
    pub(super) fn check(&self, mut is_queued: impl FnMut(ConnId) -> bool) {
        assert_eq!(self.waiting.len(), self.seats.len());
        assert_eq!(self.wakes.len(), self.order.len());
        for (bucket, _) in self.waiting.keys() {
            let is_woken = self.wakes.contains_key(bucket) || self.first(*bucket).is_some_and(&mut is_queued);
            assert!(is_woken, "{bucket:?}: connections wait for it for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Limits;
    use crate::groups::{Groups, Who};
    use crate::ids::ClientAddress;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn connections_of_one_bucket_go_in_the_order_in_which_they_came() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut groups = Groups::new(&Limits::default(), now);
        let mut bucket =
            |n: u8| (groups.join(Who::Address(ClientAddress::of(([192, 0, 2, n], 1).into())), now), Flow::Up);
        let (one, other, mut pacing) = (bucket(1), bucket(2), Pacing::default());
        let [a, b, c] = [1, 2, 3].map(|n| ConnId::new(n, 0));
        for id in [a, b] {
            assert!(!pacing.may_go(id, one, false, now));
            pacing.wait(id, one, later, now);
        }
        assert!(!pacing.may_go(c, one, true, now), "others wait for longer");
        assert!(pacing.may_go(c, other, true, now));
        assert_eq!((pacing.pop_due(now), pacing.next_at()), (None, Some(later)));
        assert_eq!(pacing.pop_due(later), Some(a));
        assert!(pacing.may_go(a, one, true, later) && !pacing.waits(a));
        assert_eq!(pacing.pop_due(later), Some(b));
        pacing.wait(b, one, later + Duration::from_secs(1), later);
        pacing.leave(b, later);
        pacing.check(|_| false);
        assert_eq!(pacing.next_at(), None);
    }
}
