//! The queue of handshakes that wait for the thread that uses the private key. Clients take turns in it.

use std::hash::{BuildHasher as _, RandomState};

use crate::fair_queue::FairQueue;
use crate::ids::{ClientAddress, ConnId};

#[derive(Debug)]
pub(super) struct KeyQueue {
    /// Some may have ended meanwhile.
    waiting: FairQueue<ConnId>,
    /// Keyed, so that no client can choose with which others it shares its number.
    numbers: RandomState,
}

impl KeyQueue {
    pub(super) fn new() -> Self {
        Self { waiting: FairQueue::new(), numbers: RandomState::new() }
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
