//! Parallel connections: one thread finds jobs, a few others do them. The queue between them is bounded, so that memory
//! does not grow with the directory.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::worker::{Run, Worker};

/// Jobs that are queued at most; the totals that are shown are right for directories up to this size.
const QUEUE_LEN: usize = 4096;

/// Runs `find`, which submits jobs, and `work` for each of them in one of `run.parallel` threads; `work` may take more than
/// one, as far as there are any at once. A thread is started only when there is a job for it.
pub(super) fn run<J: Send>(
    run: &Run,
    find: impl FnOnce(&mut dyn FnMut(J)),
    work: impl Fn(&mut Worker<'_>, J, &mut dyn FnMut() -> Option<J>) + Sync,
) {
    let (sender, receiver) = sync_channel::<J>(QUEUE_LEN);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let (receiver, work) = (&receiver, &work);
        let mut threads = 0;
        let mut alone = Worker::new(run);
        find(&mut |job| {
            if threads < run.parallel {
                let builder = thread::Builder::new().name("transfer".to_owned());
                if builder.spawn_scoped(scope, move || drain(receiver, &mut Worker::new(run), work)).is_ok() {
                    threads += 1;
                }
            }
            if threads == 0 {
                work(&mut alone, job, &mut || None); // no thread could be started, so this one does it
            } else {
                sender.send(job).expect("the receiver outlives the threads");
            }
        });
        drop(sender);
    });
}

/// Does jobs until there are no more.
fn drain<J>(
    receiver: &Mutex<Receiver<J>>,
    worker: &mut Worker<'_>,
    work: impl Fn(&mut Worker<'_>, J, &mut dyn FnMut() -> Option<J>),
) {
    // A thread that waits for a job has the lock: then there is none.
    let mut more = || match receiver.try_lock() {
        Ok(receiver) => receiver.try_recv().ok(),
        Err(_) => None,
    };
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => work(worker, job, &mut more),
            Err(_) => return,
        }
    }
}
