//! Disk worker threads: lanes of their own, so that a sync never delays a read.
//!
//! All threads are made once, at start, and joined at the end. Nothing here knows what a job
//! does, and nothing here ever drops a queued job.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Added to the nice value of the process: a quarter of the weight of the loop.
#[cfg(target_os = "linux")]
const WORKER_NICENESS: i32 = 6;

/// Which workers take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Opens, reads, writes, lists.
    Io,
    /// Syncs, renames, removes.
    Sync,
    /// Frees the room of files that nobody waits for.
    Free,
}

/// The queues between the loop and the workers.
#[derive(Debug)]
pub(super) struct Lanes<J> {
    io: Queue<J>,
    sync: Queue<J>,
    free: Queue<J>,
}

#[derive(Debug)]
struct Queue<J> {
    inside: Mutex<Inside<J>>,
    filled: Condvar,
    /// How many jobs are inside, for the loop, which asks often and must not wait for the lock.
    /// Changed under the lock only.
    len: AtomicUsize,
}

#[derive(Debug)]
struct Inside<J> {
    jobs: VecDeque<J>,
    closed: bool,
}

impl<J> Queue<J> {
    fn new() -> Self {
        let inside = Mutex::new(Inside { jobs: VecDeque::new(), closed: false });
        Self { inside, filled: Condvar::new(), len: AtomicUsize::new(0) }
    }

    fn note_len(&self, inside: &Inside<J>) {
        self.len.store(inside.jobs.len(), Ordering::Relaxed);
    }

    fn take(&self) -> Option<J> {
        let mut inside = lock(&self.inside);
        loop {
            if let Some(job) = inside.jobs.pop_front() {
                self.note_len(&inside);
                return Some(job);
            }
            if inside.closed {
                return None;
            }
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> Lanes<J> {
    /// Empty queues.
    pub(super) fn new() -> Self {
        Self { io: Queue::new(), sync: Queue::new(), free: Queue::new() }
    }

    fn lane(&self, lane: Lane) -> &Queue<J> {
        match lane {
            Lane::Io => &self.io,
            Lane::Sync => &self.sync,
            Lane::Free => &self.free,
        }
    }

    /// Queues a job. Never blocks for longer than another push or pop takes.
    pub(super) fn push(&self, lane: Lane, job: J) {
        let queue = self.lane(lane);
        let mut inside = lock(&queue.inside);
        inside.jobs.push_back(job);
        queue.note_len(&inside);
        drop(inside);
        queue.filled.notify_one();
    }

    /// How many jobs no worker has taken yet. Never waits.
    pub(super) fn len(&self, lane: Lane) -> usize {
        self.lane(lane).len.load(Ordering::Relaxed)
    }

    /// Takes more jobs for a worker that has one already: those at the head of the queue that are
    /// `wanted`, and no more than `share` says of how many wait, so that other workers get theirs.
    pub(super) fn take_more(&self, lane: Lane, share: impl Fn(usize) -> usize, wanted: impl Fn(&J) -> bool) -> Vec<J> {
        let queue = self.lane(lane);
        let mut inside = lock(&queue.inside);
        let most = share(inside.jobs.len());
        let mut more = Vec::new();
        while more.len() < most && inside.jobs.front().is_some_and(&wanted) {
            more.extend(inside.jobs.pop_front());
        }
        queue.note_len(&inside);
        more
    }

    /// Workers end when their queue is empty.
    pub(super) fn close(&self) {
        for queue in [&self.io, &self.sync, &self.free] {
            lock(&queue.inside).closed = true;
            queue.filled.notify_all();
        }
    }

    /// Is an end wanted? Long background work asks this between its steps.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.sync.inside).closed
    }
}

/// Makes `count` named threads that serve one lane. `worker` builds what each thread runs, once
/// per thread, so that a thread can own its scratch memory. Those made before a failure are in
/// `threads` too, and end when the lanes are closed.
pub(super) fn spawn<J, L, W>(
    lanes: &Arc<L>,
    lane: Lane,
    count: usize,
    threads: &mut Vec<JoinHandle<()>>,
    worker: impl Fn() -> W,
) -> io::Result<()>
where
    J: Send + 'static,
    L: AsRef<Lanes<J>> + Send + Sync + 'static,
    W: FnMut(&L, J) + Send + 'static,
{
    let word = match lane {
        Lane::Io => "io",
        Lane::Sync => "sync",
        Lane::Free => "free",
    };
    for n in 0..count {
        let (lanes, mut run) = (Arc::clone(lanes), worker());
        let thread = Builder::new().name(format!("disk-{word}-{n}")).spawn(move || {
            yield_to_the_loop();
            while let Some(job) = (*lanes).as_ref().lane(lane).take() {
                run(&lanes, job);
            }
        });
        threads.push(thread?);
    }
    Ok(())
}

/// Where cores are few, the loop goes before the disk: one thread serves everybody, a worker only
/// those who wait for it. On Linux a nice value belongs to a thread (sched(7)).
fn yield_to_the_loop() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, WORKER_NICENESS) {
        log::debug!("a disk worker keeps its priority: {error}");
    }
}

/// A poisoned lock is taken all the same: what these locks guard is whole between any two
/// statements, and in a release build a panic ends the process anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_lane_follows_every_push_and_take() {
        let lanes = Lanes::new();
        let lens = |lanes: &Lanes<u8>| (lanes.len(Lane::Io), lanes.len(Lane::Sync));
        for job in 0..5 {
            lanes.push(Lane::Sync, job);
        }
        lanes.push(Lane::Io, 9);
        assert_eq!(lens(&lanes), (1, 5));
        assert_eq!(lanes.lane(Lane::Sync).take(), Some(0));
        assert_eq!(lens(&lanes), (1, 4));
        assert_eq!(lanes.take_more(Lane::Sync, |waiting| waiting / 2, |_| true), [1, 2]);
        assert_eq!(lens(&lanes), (1, 2));
        assert_eq!(lanes.lane(Lane::Io).take(), Some(9));
        assert_eq!(lens(&lanes), (0, 2));
    }
}
