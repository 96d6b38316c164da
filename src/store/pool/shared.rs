//! What the loop and the workers share.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use crate::platform::WorkMemory;
use crate::store::fs::read::OpenFile;
use crate::store::fs::root::{FileSystem, Unfit};
use crate::store::namespace::deferred_unlink::{AT_ONCE_MAX, WAITING_MAX};
use crate::store::pool::completions::Completions;
use crate::store::pool::copies::Trees;
use crate::store::pool::jobs::{Job, Reply};
use crate::store::pool::latency::DiskLatency;
use crate::store::pool::mounted::Mounted;
use crate::store::pool::sortings::Sortings;
use crate::store::pool::sync_groups::SyncGroups;
use crate::store::pool::workers::{DirHash, WorkQueue, WorkQueues};
use crate::store::staging::pending_syncs::{Change, PendingSyncs};
use crate::store::staging::trash::Removal;
use crate::store::volume::Volume;
use crate::upload::UploadId;

pub(crate) struct Pool {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) volume: Arc<Volume>,
    /// The same of what is mounted inside the root.
    pub(crate) mounted: Mounted,
    pub(crate) dir_hasher: RandomState,
    pub(crate) queues: WorkQueues<Job>,
    pub(crate) completions: Completions,
    pub(crate) groups: SyncGroups,
    pub(crate) latency: DiskLatency,
    /// Only the one worker for passwords locks this.
    pub(crate) password_memory: Mutex<WorkMemory>,
    pub(crate) sortings: Mutex<Sortings>,
    pub(crate) trees: Trees,
    /// Jobs that sync, waiting or at work.
    pub(crate) syncing: AtomicUsize,
    /// A look at the path of the root, and at what other servers have left, is under way.
    pub(crate) is_looking: AtomicBool,
    /// Why the directory at the path of the root was not taken in its place last time.
    pub(crate) unfit: Mutex<Option<Unfit>>,
    /// Uploads that connections of this server are to leave.
    pub(crate) wanted: Mutex<Vec<UploadId>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("fs", &self.fs).finish_non_exhaustive()
    }
}

impl AsRef<WorkQueues<Job>> for Pool {
    fn as_ref(&self) -> &WorkQueues<Job> {
        &self.queues
    }
}

impl Pool {
    /// Has a file closed that has lost its name.
    pub(crate) fn defer_unlink(&self, file: Option<OwnedFd>) {
        if let Some(file) = file
            && self.defers_unlinks()
        {
            self.queues.push(WorkQueue::Free, Job::Free(file));
        }
    }

    /// Has a tree removed that is in the trash.
    pub(crate) fn empty(&self, removal: Box<Removal>) {
        self.queues.push(WorkQueue::Free, Job::Empty(removal));
    }

    /// True while another file may wait to be freed.
    pub(crate) fn defers_unlinks(&self) -> bool {
        self.queues.len(WorkQueue::Free) < WAITING_MAX
    }

    /// Closes a file. It may have lost its name while it was read.
    pub(crate) fn close(&self, file: Arc<OpenFile>) {
        self.defer_unlink(Arc::into_inner(file).and_then(|file| file.into_nameless(AT_ONCE_MAX)));
    }

    /// What a job in this directory, or in this mount, waits for.
    pub(crate) fn dir_hash(&self, path: &str) -> DirHash {
        DirHash(self.dir_hasher.hash_one(path))
    }

    /// The same of a job for uploads: those of one mount have one share of the workers.
    pub(crate) fn share_of(&self, volume: &Volume) -> Option<DirHash> {
        if volume.fs.at.is_empty() { None } else { Some(self.dir_hash(&volume.fs.at)) }
    }

    /// What a change leaves besides its syncs.
    pub(crate) fn changed(&self, change: Change) -> (Reply, PendingSyncs) {
        self.defer_unlink(change.displaced);
        (Reply::Plain(change.outcome), change.syncs)
    }
}
