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
        self.push_all([finished]);
    }

    /// The same for several, and the loop is woken once.
    pub(crate) fn push_all(&self, finished: impl IntoIterator<Item = Finished>) {
        let is_first = {
            let mut queue = lock(&self.queue);
            let was_empty = queue.is_empty();
            queue.extend(finished);
            was_empty && !queue.is_empty()
        };
        if is_first {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::ids::{ConnId, OpId};
    use crate::platform::Outcome;
    use crate::store::pool::jobs::Reply;

    #[test]
    fn the_loop_is_woken_once_for_all_that_it_has_not_taken() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let completions = Completions::new(Arc::new(move || _ = counter.fetch_add(1, Ordering::Relaxed)));
        let finished = |number| {
            let id = OpId { conn: ConnId::new(0, 0), number };
            Finished { id, result: Ok(Reply::Plain(Outcome::Closed)), chunk: None }
        };
        completions.push_all([]);
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        completions.push_all([finished(0), finished(1)]);
        completions.push(finished(2));
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut ready = VecDeque::new();
        completions.take(&mut ready);
        assert!(ready.iter().map(|one| one.id.number).eq(0..3));
        completions.push(finished(3));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }
}
