//! Several small uploads at once: all are written before the first is synced, and each directory is opened once for all.
//!
//! A sync waits for the disk. While it does, the disk can as well write the other files, and what
//! one sync brings to the journal need not be brought there by the next.

use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;

use crate::buffer::Chunk;
use crate::os::sys;
use crate::platform::Op;
use crate::store::fs::root::Dir;
use crate::store::namespace::commit::Commit;
use crate::store::pool::jobs::{Finished, Held, Job, Pending};
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::staging::gifts::Target;
use crate::store::staging::parents::Parents;
use crate::store::staging::staged::Staged;

/// Most small uploads of one batch: the last waits for the syncs of all.
const BATCH_MAX: usize = 16;
/// One worker takes this part of what waits, for there are several.
const SHARE: usize = 4;

/// The directories of a batch.
struct Dirs<'a> {
    parents: &'a Parents,
    opened: Vec<Rc<Target>>,
}

impl<'a> Dirs<'a> {
    const fn new(parents: &'a Parents) -> Self {
        Self { parents, opened: Vec::new() }
    }

    /// The directory at a path, or the one above it that is there.
    fn nearest(&mut self, path: &str) -> Option<Rc<Target>> {
        if let Some(target) = self.opened.iter().find(|target| *target.dir.path == *path) {
            return Some(Rc::clone(target));
        }
        let target = Rc::new(Target::from(self.parents.nearest_dir(path)?));
        self.opened.push(Rc::clone(&target));
        Some(target)
    }

    /// The directory at a path, if it is there.
    fn at(&mut self, path: &str) -> Option<Arc<Dir>> {
        self.nearest(path).map(|target| Arc::clone(&target.dir)).filter(|dir| *dir.path == *path)
    }
}

impl Pool {
    /// Takes those that wait after a small upload into the root and can be stored together with it.
    pub(crate) fn batch(&self) -> Vec<Job> {
        let share = |waiting: usize| (waiting / SHARE).min(BATCH_MAX - 1);
        let is_small = |job: &Job| matches!(job, Job::Serve { op: op @ Op::Store { .. }, shown: None, .. } if !self.names_mount(op));
        self.queues.take_more(WorkQueue::Sync, share, is_small)
    }

    pub(crate) fn store_many(&self, jobs: Vec<Job>) {
        let names = &self.volume.names;
        // A single one is about to be synced itself.
        let starts_early = self.fs.durable && jobs.len() > 1;
        let start = |staged: &Staged, chunk: &Chunk| {
            if starts_early {
                sys::start_write_back(staged.file.as_fd(), chunk.len() as u64);
            }
        };
        let mut dirs = Dirs::new(&names.parents);
        let written: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                let Job::Serve { id, client, op: Op::Store { put, chunk }, held: Held::None, shown: None } = job else {
                    unreachable!("only small uploads are stored together")
                };
                let target = dirs.nearest(put.key.parent());
                let staged = names.store_staged(&put, chunk.data(), target.as_deref());
                let staged = staged.inspect(|staged| start(staged, &chunk));
                (id, client, put, chunk, staged)
            })
            .collect();
        let prepared: Vec<_> = written
            .into_iter()
            .map(|(id, client, put, chunk, staged)| {
                let commit = Commit { dir: dirs.at(put.key.parent()), ..Commit::whole(&put, chunk.len() as u64) };
                let prepared = staged.and_then(|staged| Ok((names.prepare(&staged, &commit)?, staged)));
                (id, client, put, chunk, prepared)
            })
            .collect();
        if self.fs.durable {
            // The syncs took a while: a directory may have another path by now.
            dirs = Dirs::new(&names.parents);
        }
        let mut pending = Vec::with_capacity(prepared.len());
        for (id, client, put, chunk, prepared) in prepared {
            let commit = Commit { dir: dirs.at(put.key.parent()), ..Commit::whole(&put, chunk.len() as u64) };
            match prepared.and_then(|(heir, staged)| names.give_name(&staged, &commit, heir)) {
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
