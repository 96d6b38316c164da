//! Disk worker threads with separate queues, so that a sync never delays a read.
//!
//! All threads are made once, at start, and joined at the end. Nothing here knows what a job
//! does, and nothing here ever drops a queued job.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::ids::GroupId;
use crate::os::process;
use crate::store::mutex::lock;
use crate::turns::Turns;

/// Which workers take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkQueue {
    Io,
    /// Lists. Done by the same workers, but never by all of them at once.
    List,
    Sync,
    /// Steps of joins. Done by the workers that sync, never by all of them at once.
    Join,
    /// Frees the blocks of files that lost their names.
    Free,
    /// Checks passwords: one at a time, each has the processor and much memory for tens of milliseconds.
    Passwords,
}

/// The queues between the loop and the workers.
#[derive(Debug)]
pub(crate) struct WorkQueues<J> {
    io: Queue<J>,
    sync: Queue<J>,
    free: Queue<J>,
    passwords: Queue<J>,
}

#[derive(Debug)]
struct Queue<J> {
    inside: Mutex<Inside<J>>,
    filled: Condvar,
    /// How many jobs are inside, for the loop, which asks often and must not wait for the lock.
    /// Changed under the lock only.
    len: AtomicUsize,
    /// The same of lists; in the queue of those that sync, of steps of joins, which have the same turns.
    lists_len: AtomicUsize,
    /// How many lists may be at work at once.
    listing_max: usize,
}

#[derive(Debug)]
struct Inside<J> {
    jobs: Turns<J>,
    lists: Turns<J>,
    /// Lists at work.
    listing: usize,
    /// What was taken last.
    last: WorkQueue,
    closed: bool,
}

impl<J> Queue<J> {
    fn new(listing_max: usize) -> Self {
        let (jobs, lists) = (Turns::new(), Turns::new());
        let inside = Mutex::new(Inside { jobs, lists, listing: 0, last: WorkQueue::Io, closed: false });
        let (len, lists_len) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inside, filled: Condvar::new(), len, lists_len, listing_max }
    }

    fn note_len(&self, inside: &Inside<J>) {
        self.len.store(inside.jobs.len(), Ordering::Relaxed);
        self.lists_len.store(inside.lists.len(), Ordering::Relaxed);
    }

    /// The next job for a worker whose last one was `done`.
    fn take(&self, done: Option<WorkQueue>) -> Option<(WorkQueue, J)> {
        let mut inside = lock(&self.inside);
        if done == Some(WorkQueue::List) {
            inside.listing -= 1;
        }
        loop {
            // While others wait, only one list is at work, and they go in turns if there is one worker.
            let others_first = inside.jobs.len() > 0 && (inside.listing > 0 || inside.last == WorkQueue::List);
            let kind = if inside.listing < self.listing_max && !others_first { WorkQueue::List } else { WorkQueue::Io };
            let mut taken = None;
            if kind == WorkQueue::List {
                taken = inside.lists.pop().map(|job| (WorkQueue::List, job));
                inside.listing += usize::from(taken.is_some());
            }
            taken = taken.or_else(|| inside.jobs.pop().map(|job| (WorkQueue::Io, job)));
            if let Some((kind, job)) = taken {
                inside.last = kind;
                self.note_len(&inside);
                return Some((kind, job));
            }
            if inside.closed {
                return None;
            }
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> WorkQueues<J> {
    pub(crate) fn new(listing_max: usize, joining_max: usize) -> Self {
        Self {
            io: Queue::new(listing_max),
            sync: Queue::new(joining_max),
            free: Queue::new(0),
            passwords: Queue::new(0),
        }
    }

    fn queue(&self, kind: WorkQueue) -> &Queue<J> {
        match kind {
            WorkQueue::Io | WorkQueue::List => &self.io,
            WorkQueue::Sync | WorkQueue::Join => &self.sync,
            WorkQueue::Free => &self.free,
            WorkQueue::Passwords => &self.passwords,
        }
    }

    /// Queues a job of the server itself. Never blocks for longer than another push or pop takes.
    pub(crate) fn push(&self, kind: WorkQueue, job: J) {
        self.push_of(kind, None, job);
    }

    /// The same for a job of a client.
    pub(crate) fn push_of(&self, kind: WorkQueue, client: Option<GroupId>, job: J) {
        let queue = self.queue(kind);
        let mut inside = lock(&queue.inside);
        let jobs = match kind {
            WorkQueue::List | WorkQueue::Join => &mut inside.lists,
            _ => &mut inside.jobs,
        };
        // The server itself has its turns like a client.
        jobs.push(client.map_or(0, |group| group.index() + 1), job);
        queue.note_len(&inside);
        drop(inside);
        queue.filled.notify_one();
    }

    /// How many jobs no worker has taken yet. Never waits.
    pub(crate) fn len(&self, kind: WorkQueue) -> usize {
        let queue = self.queue(kind);
        let is_list = matches!(kind, WorkQueue::List | WorkQueue::Join);
        if is_list { &queue.lists_len } else { &queue.len }.load(Ordering::Relaxed)
    }

    /// Takes more jobs for a worker that has one already: those next in turn that are `wanted`, and no more than `share` says of how many wait, so that other workers get theirs.
    pub(crate) fn take_more(
        &self,
        kind: WorkQueue,
        share: impl Fn(usize) -> usize,
        wanted: impl Fn(&J) -> bool,
    ) -> Vec<J> {
        let queue = self.queue(kind);
        let mut inside = lock(&queue.inside);
        let most = share(inside.jobs.len());
        let mut more = Vec::new();
        while more.len() < most
            && let Some(job) = inside.jobs.pop_if(&wanted)
        {
            more.push(job);
        }
        queue.note_len(&inside);
        more
    }

    /// Workers end when their queue is empty.
    pub(crate) fn close(&self) {
        for queue in [&self.io, &self.sync, &self.free, &self.passwords] {
            lock(&queue.inside).closed = true;
            queue.filled.notify_all();
        }
    }

    /// True once the workers are to end: long background work asks between its steps.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.sync.inside).closed
    }
}

/// Makes `count` named threads that serve one queue. `worker` builds what each thread runs, once
/// per thread, so that a thread can own its scratch memory. Those made before a failure are in
/// `threads` too, and end when the queues are closed.
pub(crate) fn spawn<J, L, W>(
    queues: &Arc<L>,
    kind: WorkQueue,
    count: usize,
    threads: &mut Vec<JoinHandle<()>>,
    worker: impl Fn() -> W,
) -> io::Result<()>
where
    J: Send + 'static,
    L: AsRef<WorkQueues<J>> + Send + Sync + 'static,
    W: FnMut(&L, J) + Send + 'static,
{
    let word = match kind {
        WorkQueue::Io | WorkQueue::List => "io",
        WorkQueue::Sync | WorkQueue::Join => "sync",
        WorkQueue::Free => "free",
        WorkQueue::Passwords => "passwords",
    };
    for n in 0..count {
        let (queues, mut run) = (Arc::clone(queues), worker());
        let thread = Builder::new().name(format!("disk-{word}-{n}")).spawn(move || {
            process::lower_priority();
            let mut done = None;
            while let Some((taken, job)) = (*queues).as_ref().queue(kind).take(done) {
                run(&queues, job);
                done = Some(taken);
            }
        });
        threads.push(thread?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_queue_follows_every_push_and_take() {
        let queues = WorkQueues::new(1, 1);
        let lens = |queues: &WorkQueues<u8>| (queues.len(WorkQueue::Io), queues.len(WorkQueue::Sync));
        for job in 0..5 {
            queues.push(WorkQueue::Sync, job);
        }
        queues.push(WorkQueue::Io, 9);
        assert_eq!(lens(&queues), (1, 5));
        assert_eq!(queues.queue(WorkQueue::Sync).take(None), Some((WorkQueue::Io, 0)));
        assert_eq!(lens(&queues), (1, 4));
        assert_eq!(queues.take_more(WorkQueue::Sync, |waiting| waiting / 2, |_| true), [1, 2]);
        assert_eq!(lens(&queues), (1, 2));
        assert_eq!(queues.queue(WorkQueue::Io).take(None), Some((WorkQueue::Io, 9)));
        assert_eq!(lens(&queues), (0, 2));
    }

    #[test]
    fn lists_never_take_every_worker_and_are_not_kept_waiting_for_ever() {
        let queues = WorkQueues::new(2, 1);
        for job in 0..6 {
            queues.push(WorkQueue::List, job);
        }
        let queue = queues.queue(WorkQueue::Io);
        assert_eq!(queues.len(WorkQueue::List), 6);
        assert_eq!(queue.take(None), Some((WorkQueue::List, 0)));
        assert_eq!(queue.take(None), Some((WorkQueue::List, 1)));
        // Two of four workers list: the others are for opens only.
        for job in 10..14 {
            queues.push(WorkQueue::Io, job);
        }
        assert_eq!(queue.take(None), Some((WorkQueue::Io, 10)));
        assert_eq!(queue.take(None), Some((WorkQueue::Io, 11)));
        // One list has ended. The other goes on, so opens come first.
        assert_eq!(queue.take(Some(WorkQueue::List)), Some((WorkQueue::Io, 12)));
        // No list is at work: one begins though an open waits; then the open has its turn.
        assert_eq!(queue.take(Some(WorkQueue::List)), Some((WorkQueue::List, 2)));
        assert_eq!(queue.take(Some(WorkQueue::List)), Some((WorkQueue::Io, 13)));
        assert_eq!(queue.take(Some(WorkQueue::Io)), Some((WorkQueue::List, 3)));
    }
}
