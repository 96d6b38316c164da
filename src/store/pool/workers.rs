//! Disk worker threads with separate queues, so that a sync never delays a read.
//!
//! All threads are made once, at start, and joined at the end. Nothing here knows what a job
//! does, and nothing here ever drops a queued job.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::fair_queue::FairQueue;
use crate::ids::GroupId;
use crate::os::process;
use crate::store::mutex::lock;

/// Added to the nice value of the process: a quarter of the weight of the loop.
const NICENESS: i32 = 6;

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

/// A directory, as a hash of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DirHash(pub(crate) u64);

/// A job, and what decides when it is its turn.
#[derive(Debug)]
struct Waiting<J> {
    kind: WorkQueue,
    client: usize,
    /// `None` where it concerns none, or is not bounded by it.
    dir: Option<DirHash>,
    job: J,
}

/// What a worker has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    kind: WorkQueue,
    dir: Option<DirHash>,
}

/// The jobs of one directory.
#[derive(Debug)]
struct OfDir<J> {
    at_work: usize,
    lists_at_work: usize,
    /// Jobs, and lists, that wait until others of the directory have ended.
    held: [VecDeque<Waiting<J>>; 2],
}

#[derive(Debug)]
struct Inside<J> {
    jobs: FairQueue<Waiting<J>>,
    lists: FairQueue<Waiting<J>>,
    /// Directories with a job at work: at most one for each worker.
    dirs: HashMap<DirHash, OfDir<J>>,
    /// Jobs and lists that are held.
    held: [usize; 2],
    /// How many jobs of one directory may be at work at once: one that hangs must not hold every worker.
    of_dir_max: usize,
    /// The same of lists.
    lists_of_dir_max: usize,
    /// Lists at work.
    listing: usize,
    /// What was taken last.
    last: WorkQueue,
    /// Workers that wait for a job.
    idle: usize,
    closed: bool,
}

impl<J> Queue<J> {
    fn new(listing_max: usize, of_dir_max: usize) -> Self {
        let inside = Mutex::new(Inside {
            jobs: FairQueue::new(),
            lists: FairQueue::new(),
            dirs: HashMap::new(),
            held: [0; 2],
            of_dir_max: of_dir_max.max(1),
            lists_of_dir_max: listing_max.saturating_sub(1).max(1),
            listing: 0,
            last: WorkQueue::Io,
            idle: 0,
            closed: false,
        });
        let (len, lists_len) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inside, filled: Condvar::new(), len, lists_len, listing_max }
    }

    fn note_len(&self, inside: &Inside<J>) {
        self.len.store(inside.jobs.len() + inside.held[0], Ordering::Relaxed);
        self.lists_len.store(inside.lists.len() + inside.held[1], Ordering::Relaxed);
    }

    /// The next job for a worker that has `done` its last one.
    fn take(&self, done: Option<Taken>) -> Option<(Taken, J)> {
        let mut inside = lock(&self.inside);
        if let Some(done) = done {
            inside.end(done);
        }
        loop {
            // While others wait, only one list is at work, and they go in turns if there is one worker.
            let others_first = inside.jobs.len() > 0 && (inside.listing > 0 || inside.last == WorkQueue::List);
            let kind = if inside.listing < self.listing_max && !others_first { WorkQueue::List } else { WorkQueue::Io };
            let mut taken = None;
            if kind == WorkQueue::List {
                taken = inside.begin(WorkQueue::List);
            }
            taken = taken.or_else(|| inside.begin(WorkQueue::Io));
            self.note_len(&inside);
            if taken.is_some() {
                return taken;
            }
            if others_first {
                continue; // they are all held, so a list may begin
            }
            if inside.closed {
                return None;
            }
            inside.idle += 1;
            inside = self.filled.wait(inside).unwrap_or_else(PoisonError::into_inner);
            inside.idle -= 1;
        }
    }
}

impl<J> Inside<J> {
    fn turns(&mut self, kind: WorkQueue) -> &mut FairQueue<Waiting<J>> {
        match kind {
            WorkQueue::List | WorkQueue::Join => &mut self.lists,
            _ => &mut self.jobs,
        }
    }

    /// The next job of a directory that uses less than its share of the workers. Those of others are held until one of
    /// them ends.
    fn begin(&mut self, kind: WorkQueue) -> Option<(Taken, J)> {
        loop {
            let next = self.turns(kind).pop()?;
            let is_list = kind == WorkQueue::List;
            if let Some(dir) = next.dir {
                let of_dir = self.dirs.entry(dir);
                let of_dir = of_dir.or_insert_with(|| OfDir { at_work: 0, lists_at_work: 0, held: Default::default() });
                if of_dir.at_work >= self.of_dir_max || is_list && of_dir.lists_at_work >= self.lists_of_dir_max {
                    of_dir.held[usize::from(is_list)].push_back(next);
                    self.held[usize::from(is_list)] += 1;
                    continue;
                }
                of_dir.at_work += 1;
                of_dir.lists_at_work += usize::from(is_list);
            }
            self.listing += usize::from(is_list);
            self.last = kind;
            return Some((Taken { kind, dir: next.dir }, next.job));
        }
    }

    /// A job has ended: one that is held for it has its turn again.
    fn end(&mut self, Taken { kind, dir }: Taken) {
        let is_list = kind == WorkQueue::List;
        self.listing -= usize::from(is_list);
        let Some((dir, of_dir)) = dir.and_then(|dir| Some((dir, self.dirs.get_mut(&dir)?))) else { return };
        of_dir.at_work -= 1;
        of_dir.lists_at_work -= usize::from(is_list);
        let [jobs, lists] = &mut of_dir.held;
        let may_list = of_dir.lists_at_work < self.lists_of_dir_max;
        let next = match is_list {
            true => lists.pop_front().or_else(|| jobs.pop_front()),
            false => jobs.pop_front().or_else(|| if may_list { lists.pop_front() } else { None }),
        };
        if of_dir.at_work == 0 && of_dir.held.iter().all(VecDeque::is_empty) {
            self.dirs.remove(&dir);
        }
        if let Some(next) = next {
            self.held[usize::from(next.kind == WorkQueue::List)] -= 1;
            self.turns(next.kind).push(next.client, next);
        }
    }
}

impl<J> WorkQueues<J> {
    /// `reading` is the number of workers that read; `listing_max` of them may list at once. `syncing` and `joining_max`:
    /// the same of those that sync.
    pub(crate) fn new((reading, listing_max): (usize, usize), (syncing, joining_max): (usize, usize)) -> Self {
        Self {
            io: Queue::new(listing_max, reading.saturating_sub(1)),
            sync: Queue::new(joining_max, syncing.saturating_sub(1)),
            free: Queue::new(0, usize::MAX),
            passwords: Queue::new(0, usize::MAX),
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
        self.push_of(kind, None, None, job);
    }

    /// The same for a job of a client, which may wait for a directory.
    pub(crate) fn push_of(&self, kind: WorkQueue, client: Option<GroupId>, dir: Option<DirHash>, job: J) {
        let queue = self.queue(kind);
        let mut inside = lock(&queue.inside);
        // The server itself has its turns like a client.
        let client = client.map_or(0, |group| group.index() + 1);
        inside.turns(kind).push(client, Waiting { kind, client, dir, job });
        queue.note_len(&inside);
        let is_awaited = inside.idle > 0;
        drop(inside);
        // A call to the kernel, even where no worker waits.
        if is_awaited {
            queue.filled.notify_one();
        }
    }

    /// How many jobs no worker has taken yet. Never waits.
    pub(crate) fn len(&self, kind: WorkQueue) -> usize {
        let queue = self.queue(kind);
        let is_list = matches!(kind, WorkQueue::List | WorkQueue::Join);
        if is_list { &queue.lists_len } else { &queue.len }.load(Ordering::Relaxed)
    }

    /// Takes more jobs for a worker that has one already: those next in turn that are `wanted` and wait for no mount, and no more than `share` says of how many wait, so that other workers get theirs.
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
            && let Some(job) = inside.jobs.pop_if(|waiting| waiting.dir.is_none() && wanted(&waiting.job))
        {
            more.push(job.job);
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
            process::lower_priority(NICENESS);
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

    fn took(kind: WorkQueue, job: u8) -> Option<(Taken, u8)> {
        Some((Taken { kind, dir: None }, job))
    }

    #[test]
    fn a_directory_that_hangs_never_holds_every_worker_and_no_job_is_lost_by_it() {
        let queues = WorkQueues::new((4, 2), (5, 1));
        let queue = queues.queue(WorkQueue::Io);
        let (hung, other) = (Some(DirHash(1)), Some(DirHash(2)));
        for job in 0..8 {
            queues.push_of(WorkQueue::List, None, hung, job);
            queues.push_of(WorkQueue::Io, None, hung, 10 + job);
        }
        queues.push_of(WorkQueue::List, None, other, 50);
        queues.push_of(WorkQueue::Io, None, other, 60);
        let mut taken: Vec<_> = (0..4).map(|_| queue.take(None).expect("a job")).collect();
        let of_dir = |taken: &[(Taken, u8)], dir| taken.iter().filter(|(taken, _)| taken.dir == dir).count();
        assert_eq!(of_dir(&taken, hung), 3, "one worker is left to others: {taken:?}");
        assert_eq!(taken.iter().filter(|(one, _)| one.dir == hung && one.kind == WorkQueue::List).count(), 1);
        assert_eq!(queues.len(WorkQueue::Io) + queues.len(WorkQueue::List), 14);
        // That worker does everything that others ask for.
        let at = taken.iter().position(|(one, _)| one.dir == other).expect("one of the others");
        let (done, first) = taken.remove(at);
        let (last, second) = queue.take(Some(done)).expect("a job");
        assert_eq!((last.dir, [first.min(second), first.max(second)]), (other, [50, 60]));
        // It has answered: what was held is done.
        let (mut done, mut jobs): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        while queues.len(WorkQueue::Io) + queues.len(WorkQueue::List) > 0 {
            let next = done.iter().position(|taken: &Taken| taken.kind == WorkQueue::List).unwrap_or(0);
            let (taken, job) = queue.take(Some(done.remove(next))).expect("a job");
            jobs.push(job);
            done.push(taken);
        }
        jobs.sort_unstable();
        assert_eq!(jobs, [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17]);
    }

    #[test]
    fn the_length_of_a_queue_follows_every_push_and_take() {
        let queues = WorkQueues::new((4, 1), (5, 1));
        let lens = |queues: &WorkQueues<u8>| (queues.len(WorkQueue::Io), queues.len(WorkQueue::Sync));
        for job in 0..5 {
            queues.push(WorkQueue::Sync, job);
        }
        queues.push(WorkQueue::Io, 9);
        assert_eq!(lens(&queues), (1, 5));
        assert_eq!(queues.queue(WorkQueue::Sync).take(None), took(WorkQueue::Io, 0));
        assert_eq!(lens(&queues), (1, 4));
        assert_eq!(queues.take_more(WorkQueue::Sync, |waiting| waiting / 2, |_| true), [1, 2]);
        assert_eq!(lens(&queues), (1, 2));
        assert_eq!(queues.queue(WorkQueue::Io).take(None), took(WorkQueue::Io, 9));
        assert_eq!(lens(&queues), (0, 2));
    }

    #[test]
    fn lists_never_take_every_worker_and_are_not_kept_waiting_for_ever() {
        let queues = WorkQueues::new((4, 2), (5, 1));
        for job in 0..6 {
            queues.push(WorkQueue::List, job);
        }
        let queue = queues.queue(WorkQueue::Io);
        assert_eq!(queues.len(WorkQueue::List), 6);
        assert_eq!(queue.take(None), took(WorkQueue::List, 0));
        assert_eq!(queue.take(None), took(WorkQueue::List, 1));
        // Two of four workers list: the others are for opens only.
        for job in 10..14 {
            queues.push(WorkQueue::Io, job);
        }
        assert_eq!(queue.take(None), took(WorkQueue::Io, 10));
        assert_eq!(queue.take(None), took(WorkQueue::Io, 11));
        // One list has ended. The other continues, so opens come first.
        assert_eq!(queue.take(Some(Taken { kind: WorkQueue::List, dir: None })), took(WorkQueue::Io, 12));
        // No list is at work: one begins though an open waits; then the open has its turn.
        assert_eq!(queue.take(Some(Taken { kind: WorkQueue::List, dir: None })), took(WorkQueue::List, 2));
        assert_eq!(queue.take(Some(Taken { kind: WorkQueue::List, dir: None })), took(WorkQueue::Io, 13));
        assert_eq!(queue.take(Some(Taken { kind: WorkQueue::Io, dir: None })), took(WorkQueue::List, 3));
    }
}
