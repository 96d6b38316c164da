//! Group commit: changes in the same directory share one `fsync` of it.
//!
//! The first worker to need the sync of a directory leads: it takes all changes that wait, syncs once, and
//! does so again while more came. The others go on with other jobs. A sync only counts for changes that
//! were registered before it began.

use std::sync::Arc;

use rustix::io::Errno;

use crate::error::StoreError;
use crate::store::fs::errno;
use crate::store::fs::root::Dir;
use crate::store::pool::jobs::{Job, Pending};
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::staging::write::Uploads;
use crate::upload::UploadId;

impl Pool {
    /// Finishes a change once all its syncs are done, here or by another leader.
    pub(crate) fn finish_change(&self, pending: Pending) {
        self.group_commit(vec![pending]);
    }

    /// The same for several: those in the same directory share its sync.
    pub(crate) fn group_commit(&self, all: Vec<Pending>) {
        let mut led: Option<(Arc<Dir>, Vec<Pending>)> = None;
        for mut pending in all {
            let Some(dir) = pending.syncs.dirs.pop() else {
                pending.uploads.unsynced.forget(&pending.syncs.created);
                pending.uploads.synced_entries.were_synced(&pending.syncs.entries);
                self.remove_joined(&pending.uploads, &pending.syncs.joined);
                self.completions.push(pending.finished);
                continue;
            };
            match &mut led {
                Some((leading, batch)) if leading.id == dir.id => batch.push(pending),
                Some(_) => {
                    // Not here: leading another directory could keep this one waiting.
                    pending.syncs.dirs.push(dir);
                    self.finish_later(pending);
                }
                None => led = self.groups.join(dir.id, pending).map(|first| (dir, vec![first])),
            }
        }
        if let Some((dir, batch)) = led {
            let uploads = Arc::clone(&batch[0].uploads);
            self.lead(&uploads, &dir, batch);
        }
    }

    fn finish_later(&self, pending: Pending) {
        let share = self.share_of(&pending.uploads);
        self.queues.push_of(WorkQueue::Sync, pending.client, share, Job::FinishChange(pending));
    }

    /// All of a batch are in one directory, so of one file system.
    fn lead(&self, uploads: &Uploads, dir: &Dir, mut batch: Vec<Pending>) {
        while !batch.is_empty() {
            let result = uploads.sync_dir(dir, batch.len());
            if result.is_ok() {
                uploads.fs.health.commit_ended(None);
            }
            for pending in batch {
                match result {
                    Err(errno) => self.fail(uploads, pending, errno),
                    Ok(()) if pending.syncs.dirs.is_empty() => self.finish_change(pending),
                    // Not here: leading another directory could keep this one waiting.
                    Ok(()) => self.finish_later(pending),
                }
            }
            batch = self.groups.next_batch(dir.id);
        }
    }

    /// What was joined is durable under its final name.
    fn remove_joined(&self, uploads: &Uploads, parts: &[UploadId]) {
        for id in parts {
            match uploads.remove_partial(*id) {
                Ok(file) => self.defer_unlink(file),
                Err(error) => log::warn!(target: errno::TARGET, "a partial upload stays behind: {error}"),
            }
        }
    }

    fn fail(&self, uploads: &Uploads, mut pending: Pending, errno: Errno) {
        let failure = errno::inside(errno);
        uploads.fs.health.commit_ended(Some(failure));
        pending.finished.result = Err(StoreError { failure, site: "fsync folder", source: Some(errno.into()) });
        self.completions.push(pending.finished);
    }
}
