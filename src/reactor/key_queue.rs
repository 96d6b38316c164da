//! The queue of handshakes that wait for the use of the private key. Clients take turns in it. Where the loop has to use the
//! key itself, it does so for one of them in a turn, and while something is transferred for all of them together no more
//! than an eighth of the time, which is what a flood of handshakes costs transfers. Never reads a clock.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::fair_queue::FairQueue;
use crate::ids::{ClientAddress, ConnId};

/// Transfers continue for this many times the duration of a use of the private key, before the next one.
const TRANSFER_SHARE: u32 = 7;

#[derive(Debug)]
pub(super) struct KeyQueue {
    /// Some may have ended meanwhile.
    waiting: FairQueue<ConnId>,
    /// Keyed, so that no client can choose with which others it shares its number.
    numbers: RandomState,
    /// The loop does not use the key before, unless nothing was transferred in a turn.
    not_before: Option<Instant>,
    /// Bytes that all connections had transferred when a turn last asked.
    transferred: u64,
}

impl KeyQueue {
    pub(super) fn new() -> Self {
        Self { waiting: FairQueue::new(), numbers: RandomState::new(), not_before: None, transferred: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.len() == 0
    }

    /// Asked once in a turn in which one waits: true if the loop may use the key for one handshake now. `transferred`:
    /// bytes that all connections have transferred since the start.
    pub(super) fn may_use_key(&mut self, now: Instant, transferred: u64) -> bool {
        let is_transferring = std::mem::replace(&mut self.transferred, transferred) != transferred;
        !is_transferring || self.not_before.is_none_or(|at| at <= now)
    }

    /// The loop has used the key, for `took` until `now`.
    pub(super) fn used_key(&mut self, took: Duration, now: Instant) {
        self.not_before = Some(now + TRANSFER_SHARE * took);
    }

    /// Appends a handshake of a client. Where `most` wait, those that have ended are removed first.
    pub(super) fn join(
        &mut self,
        id: ConnId,
        client: ClientAddress,
        most: usize,
        mut is_open: impl FnMut(ConnId) -> bool,
    ) {
        if self.waiting.len() >= most {
            self.waiting.retain(|id| is_open(*id));
        }
        // The number of a group is only valid while it is referred to.
        let number = usize::try_from(self.numbers.hash_one(client)).unwrap_or(usize::MAX);
        self.waiting.push(number, id);
    }

    /// The next one, if it is `wanted`.
    pub(super) fn pop_if(&mut self, wanted: impl FnOnce(ConnId) -> bool) -> Option<ConnId> {
        self.waiting.pop_if(|id| wanted(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnId = ConnId::new(1, 1);

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn while_something_is_transferred_the_loop_uses_the_key_for_an_eighth_of_the_time() {
        let (mut queue, mut now, mut used) = (KeyQueue::new(), Instant::now(), 0);
        for turn in 1..=1000 {
            now += Duration::from_micros(100);
            if queue.may_use_key(now, turn) {
                now += Duration::from_micros(200);
                queue.used_key(Duration::from_micros(200), now);
                used += 1;
            }
        }
        assert_eq!(used, 72, "200 of every 1600 microseconds");
        for _ in 0..3 {
            assert!(queue.may_use_key(now, 1000), "nothing is transferred");
            queue.used_key(Duration::from_micros(200), now);
        }
        assert!(!queue.may_use_key(now, 1001));
    }

    #[test]
    fn those_that_wait_are_no_more_than_may_be_open() {
        let mut queue = KeyQueue::new();
        for n in 0..1000 {
            queue.join(ID, ClientAddress::from_bits(n % 3), 8, |_| false);
            assert!(queue.waiting.len() <= 8);
        }
        assert_eq!(queue.pop_if(|_| false), None);
        assert_eq!(queue.pop_if(|id| id == ID), Some(ID));
    }
}
