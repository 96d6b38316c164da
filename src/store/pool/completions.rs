//! Finished operations on their way from the workers to the loop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::store::mutex::lock;
use crate::store::pool::jobs::Finished;

/// Called when the queue of finished operations was empty and is not any more.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The queue of finished operations.
pub(crate) struct Completions {
    queue: Mutex<VecDeque<Finished>>,
    wake: Wake,
}

impl Completions {
    pub(crate) fn new(wake: Wake) -> Self {
        Self { queue: Mutex::default(), wake }
    }

    /// Adds one, and wakes the loop unless that was done already.
    pub(crate) fn push(&self, finished: Finished) {
        let was_empty = {
            let mut queue = lock(&self.queue);
            queue.push_back(finished);
            queue.len() == 1
        };
        if was_empty {
            (self.wake)();
        }
    }

    /// Wakes the loop for something else than an operation.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    /// Moves all that is there to `ready`, which must be empty.
    pub(crate) fn take(&self, ready: &mut VecDeque<Finished>) {
        debug_assert!(ready.is_empty(), "operations would overtake each other");
        std::mem::swap(&mut *lock(&self.queue), ready);
    }
}
