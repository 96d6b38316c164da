//! Several small uploads at once: all are written before the first is synced.
//!
//! A sync waits for the disk. While it does, the disk can as well write the other files, and what
//! one sync brings to the journal need not be brought there by the next.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use crate::buffer::Chunk;
use crate::os::sys;
use crate::platform::Op;
use crate::store::namespace::commit::Commit;
use crate::store::pool::jobs::{Finished, Held, Job, Pending};
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::staging::staged::Staged;

/// Most small uploads of one batch: the last waits for the syncs of all.
const BATCH_MAX: usize = 16;
/// One worker takes this part of what waits, for there are several.
const SHARE: usize = 4;

impl Pool {
    /// Takes those that wait after a small upload into the root and can be stored together with it.
    pub(crate) fn batch(&self) -> Vec<Job> {
        let share = |waiting: usize| (waiting / SHARE).min(BATCH_MAX - 1);
        let is_small = |job: &Job| matches!(job, Job::Serve { op: op @ Op::Store { .. }, shown: None, .. } if !self.names_mount(op));
        self.queues.take_more(WorkQueue::Sync, share, is_small)
    }

    pub(crate) fn store_many(&self, jobs: Vec<Job>) {
        // A single one is about to be synced itself.
        let starts_early = jobs.len() > 1;
        let start = |staged: &Staged, chunk: &Chunk| {
            if starts_early {
                sys::start_write_back(staged.file.as_fd(), chunk.len() as u64);
            }
        };
        let written: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let Job::Serve { id, client, op: Op::Store { put, chunk }, held: Held::None, shown: None } = job else {
                    unreachable!("only small uploads are stored together")
                };
                let target = self.volume.names.parents.nearest_dir(put.key.parent());
                let staged = self.volume.names.store_staged(&put, chunk.data(), target.as_deref());
                let staged = staged.inspect(|staged| start(staged, &chunk));
                (id, client, put, chunk, staged)
            })
            .collect();
        let mut pending = Vec::new();
        for (id, client, put, chunk, staged) in written {
            let commit = Commit::whole(&put, chunk.len() as u64);
            match staged.and_then(|staged| self.volume.names.commit(&staged, &commit)) {
                Ok(change) => {
                    let (reply, syncs) = self.changed(change);
                    let finished = Finished { id, result: Ok(reply), chunk: Some(chunk) };
                    pending.push(Pending { client, finished, syncs, volume: Arc::clone(&self.volume) });
                }
                Err(error) => self.completions.push(Finished { id, result: Err(error), chunk: Some(chunk) }),
            }
        }
        self.group_commit(pending);
    }
}
