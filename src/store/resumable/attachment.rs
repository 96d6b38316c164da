//! An upload that a connection is attached to: its record, and the right to write to it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::store::mutex::lock;
use crate::store::quota::ledger::Holding;
use crate::store::resumable::checkpoint::Checkpoint;
use crate::store::resumable::folder::{Folder, Locked, part_name};
use crate::store::staging::staged::{PrivateDir, Staged};
use crate::upload::UploadId;

/// For how long an owner may write after each write to the record; another process waits longer, see `LEASE`.
const RENEW_AFTER: Duration = Duration::from_secs(30);
const WRITES_FOR: Duration = Duration::from_secs(60);
/// For how long no other process that shares the directory takes the upload over.
pub(crate) const LEASE: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) id: UploadId,
    pub(crate) folder: Arc<Folder>,
    pub(crate) info: OwnedFd,
    pub(crate) generation: u64,
    /// The uploads that this one is concatenated from, with their lengths; of most there are none.
    pub(crate) joins: Box<[(UploadId, u64)]>,
    /// The last checkpoint that is as durable as the store makes things.
    saved: Mutex<Checkpoint>,
    /// Held over each write to the record: flock(2) does not exclude threads that have the same open file.
    writing: Mutex<()>,
    /// Another connection continued with the upload.
    superseded: AtomicBool,
    /// When the lease was renewed; `None` where no other process shares the directory.
    renewed: Option<Mutex<Instant>>,
}

/// The part of an upload, and the right of one connection to write to it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) staged: Staged,
    pub(crate) attachment: Arc<Attachment>,
}

impl Part {
    /// `file` is the part of the upload that is attached; `path` is its final name.
    pub(crate) fn new(file: OwnedFd, attachment: Arc<Attachment>, path: &str, len: Option<u64>) -> Self {
        let at = (Arc::clone(&attachment.folder) as Arc<dyn PrivateDir>, part_name(attachment.id));
        Self { staged: Staged::new(file, at, path, len), attachment }
    }

    pub(crate) fn executable(self, is_executable: bool) -> Self {
        Self { staged: self.staged.executable(is_executable), ..self }
    }

    pub(crate) fn holding(self, holding: Option<Arc<Holding>>) -> Self {
        Self { staged: self.staged.holding(holding), ..self }
    }
}

/// The record is locked until this is dropped.
pub(crate) struct RecordLock<'a> {
    _file: Locked<'a>,
    _writing: MutexGuard<'a, ()>,
}

/// What a lease permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Holds,
    /// It is to be renewed before more is written.
    IsDue,
    /// Another process may write by now.
    Lapsed,
}

impl Attachment {
    pub(crate) fn new(
        (id, folder): (UploadId, Arc<Folder>),
        info: OwnedFd,
        saved: Checkpoint,
        renewed: Option<Instant>,
    ) -> Self {
        let (generation, saved) = (saved.generation, Mutex::new(saved));
        let (writing, superseded) = (Mutex::default(), AtomicBool::new(false));
        let joins = Box::default();
        Self { id, folder, info, generation, joins, saved, writing, superseded, renewed: renewed.map(Mutex::new) }
    }

    pub(crate) fn joining(self, joins: Box<[(UploadId, u64)]>) -> Self {
        Self { joins, ..self }
    }

    /// Keeps all others from writing to the record, whatever process they are in.
    pub(crate) fn lock(&self) -> Result<RecordLock<'_>, Errno> {
        let writing = lock(&self.writing);
        Ok(RecordLock { _file: Locked::take(&self.info)?, _writing: writing })
    }

    /// `None` where that would wait.
    pub(crate) fn try_lock(&self) -> Result<Option<RecordLock<'_>>, Errno> {
        let Ok(writing) = self.writing.try_lock() else { return Ok(None) };
        Ok(Locked::try_take(&self.info)?.map(|file| RecordLock { _file: file, _writing: writing }))
    }

    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    pub(crate) fn saved(&self) -> Checkpoint {
        lock(&self.saved).clone()
    }

    /// `checkpoint` is durable; the lease in it began at `now` or later.
    pub(crate) fn was_saved(&self, checkpoint: Checkpoint, now: Option<Instant>) {
        self.was_renewed(now);
        *lock(&self.saved) = checkpoint;
    }

    pub(crate) fn was_renewed(&self, now: Option<Instant>) {
        if let (Some(renewed), Some(now)) = (&self.renewed, now) {
            *lock(renewed) = now;
        }
    }

    /// As if the lease had been renewed this long ago.
    #[cfg(test)]
    pub(crate) fn pretend_age(&self, age: Duration) {
        if let Some(renewed) = &self.renewed {
            *lock(renewed) -= age;
        }
    }

    pub(crate) const fn is_leased(&self) -> bool {
        self.renewed.is_some()
    }

    pub(crate) fn lease(&self, now: impl FnOnce() -> Instant) -> Lease {
        let Some(renewed) = &self.renewed else { return Lease::Holds };
        let age = now().saturating_duration_since(*lock(renewed));
        if age >= WRITES_FOR {
            Lease::Lapsed
        } else if age >= RENEW_AFTER {
            Lease::IsDue
        } else {
            Lease::Holds
        }
    }
}
