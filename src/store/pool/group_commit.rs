//! Group commit: changes in the same directory share one `fsync` of it.
//!
//! The first worker to need the sync of a directory leads: it takes all changes that wait, syncs once, and
//! does so again while more came. The others continue with other jobs. A sync only counts for changes that
//! were registered before it began.

use std::sync::Arc;

use rustix::io::Errno;

use crate::error::StoreError;
use crate::store::fs::errno;
use crate::store::pool::jobs::{Job, Pending};
use crate::store::pool::shared::Pool;
use crate::store::pool::sync_groups::Batch;
use crate::store::pool::workers::WorkQueue;
use crate::store::volume::Volume;
use crate::upload::UploadId;

impl Pool {
    /// Finishes a change once all its syncs are done, here or by another leader.
    pub(crate) fn finish_change(&self, pending: Pending) {
        self.group_commit(vec![pending]);
    }

    /// The same for several: those in the same directory share its sync.
    pub(crate) fn group_commit(&self, all: Vec<Pending>) {
        let mut led: Option<Batch> = None;
        let mut finished = Vec::with_capacity(all.len());
        for mut pending in all {
            let Some(dir) = pending.syncs.dirs.pop() else {
                pending.volume.names.parents.were_synced(&pending.syncs);
                self.remove_joined(&pending.volume, &pending.syncs.joined);
                for removal in pending.syncs.discarded.drain(..) {
                    self.empty(Box::new(removal));
                }
                finished.push(pending.finished);
                continue;
            };
            match &mut led {
                Some(batch) if batch.dir.id == dir.id => batch.add(dir, pending),
                Some(_) => {
                    // Not here: leading another directory could keep this one waiting.
                    pending.syncs.dirs.push(dir);
                    self.finish_later(pending);
                }
                None => led = self.groups.join(dir, pending),
            }
        }
        self.completions.push_all(finished);
        if let Some(batch) = led {
            let volume = Arc::clone(&batch.changes[0].volume);
            self.lead(&volume, batch);
        }
    }

    fn finish_later(&self, pending: Pending) {
        let share = self.share_of(&pending.volume);
        self.queues.push_of(WorkQueue::Sync, pending.client, share, Job::FinishChange(pending));
    }

    /// All of a batch are in one directory, so of one file system.
    fn lead(&self, volume: &Volume, first: Batch) {
        let mut next = Some(first);
        while let Some(Batch { dir, changes }) = next {
            let result = volume.names.parents.sync_dir(&dir, changes.len());
            if result.is_ok() {
                volume.fs.health.commit_ended(None);
            }
            let mut finished = Vec::with_capacity(changes.len());
            for pending in changes {
                match result {
                    Err(errno) => self.fail(volume, pending, errno),
                    Ok(()) if pending.syncs.dirs.is_empty() => finished.push(pending),
                    // Not here: leading another directory could keep this one waiting.
                    Ok(()) => self.finish_later(pending),
                }
            }
            self.group_commit(finished);
            next = self.groups.next_batch(dir.id);
        }
    }

    /// What was joined is durable under its final name.
    fn remove_joined(&self, volume: &Volume, parts: &[UploadId]) {
        for id in parts {
            match volume.resumable.remove_partial(*id) {
                Ok(file) => self.defer_unlink(file),
                Err(error) => log::warn!(target: errno::TARGET, "a partial upload could not be removed: {error}"),
            }
        }
    }

    fn fail(&self, volume: &Volume, mut pending: Pending, errno: Errno) {
        let failure = errno::inside(errno);
        volume.fs.health.commit_ended(Some(failure));
        pending.finished.result = Err(StoreError { failure, site: "fsync folder", source: Some(errno.into()) });
        self.completions.push(pending.finished);
    }
}
