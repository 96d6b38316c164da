//! A queue in which clients take turns, and within one, first come first served: a client with many uploads on a disk
//! that lags, or with many handshakes, gets no more of what serves the queue than one with a single one.

use std::collections::VecDeque;

/// Turns of their own that there are for clients; where there are more clients, some share theirs. The places are kept.
const PLACES_MAX: usize = 1024;

/// Jobs by client.
#[derive(Debug)]
pub(crate) struct FairQueue<J> {
    /// By the number of a client.
    waiting: Vec<VecDeque<J>>,
    /// Places of those with something waiting, the next one first.
    order: VecDeque<usize>,
    len: usize,
}

impl<J> FairQueue<J> {
    pub(crate) const fn new() -> Self {
        Self { waiting: Vec::new(), order: VecDeque::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// `client`: any number that it has.
    pub(crate) fn push(&mut self, client: usize, job: J) {
        let place = client % PLACES_MAX;
        if self.waiting.len() <= place {
            self.waiting.resize_with(place + 1, VecDeque::new);
        }
        let jobs = &mut self.waiting[place];
        if jobs.is_empty() {
            self.order.push_back(place);
        }
        jobs.push_back(job);
        self.len += 1;
    }

    /// The next job, if it is `wanted`. It is the turn of the next client then.
    pub(crate) fn pop_if(&mut self, wanted: impl FnOnce(&J) -> bool) -> Option<J> {
        let place = *self.order.front()?;
        let jobs = &mut self.waiting[place];
        jobs.front().filter(|job| wanted(job))?;
        let job = jobs.pop_front();
        self.order.pop_front();
        if jobs.is_empty() {
            // A crowd leaves no memory behind.
            *jobs = VecDeque::new();
        } else {
            self.order.push_back(place);
        }
        self.len -= 1;
        job
    }

    pub(crate) fn pop(&mut self) -> Option<J> {
        self.pop_if(|_| true)
    }

    /// Removes all jobs that are not `wanted` any more.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&J) -> bool) {
        let Self { waiting, order, len } = self;
        order.retain(|place| {
            let jobs = &mut waiting[*place];
            *len -= jobs.len();
            jobs.retain(&mut wanted);
            jobs.shrink_to_fit();
            *len += jobs.len();
            !jobs.is_empty()
        });
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
        assert_eq!((queue.len(), queue.order.len()), (0, 0));
        assert!(queue.waiting.iter().all(|jobs| jobs.capacity() == 0), "a crowd leaves no jobs behind");
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
        assert_eq!((queue.len(), queue.order.len()), (0, 0));
    }
}
