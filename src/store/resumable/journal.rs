//! Writes to the record of an upload. `record` describes their order.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::fs::fstat;
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::object::{Durability, Stored};
use crate::os::process::clock;
use crate::store::fs::errno::{SiteErrno, TARGET, is_stale};
use crate::store::fs::stat;
use crate::store::fs::sync::Scope;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::{Attachment, LEASE, Lease, RecordLock};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, is_linked, write_checkpoint};
use crate::store::resumable::index::Share;
use crate::store::staging::staged::Staged;
use crate::store::staging::write::Uploads;
use crate::upload::{TAKEN_OVER, UploadId};

/// Does a write to the record wait until it is durable?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// As the store is configured.
    AsConfigured,
    Never,
}

/// Another has opened the upload since.
fn superseded() -> StoreError {
    StoreError::refused(TAKEN_OVER, "generation")
}

impl Uploads {
    /// Writes the next checkpoint of an upload that a connection is attached to.
    pub(crate) fn record(
        &self,
        attachment: &Attachment,
        path: &str,
        sync: Sync,
        change: impl FnOnce(&mut Checkpoint),
    ) -> Result<Checkpoint, StoreError> {
        let _lock = self.lock_record(attachment, path)?;
        self.record_locked(attachment, path, sync, change)
    }

    pub(crate) fn lock_record<'a>(&self, attachment: &'a Attachment, path: &str) -> Result<RecordLock<'a>, StoreError> {
        attachment.lock().map_err(|e| self.kept_error("flock info", path, e))
    }

    pub(crate) fn record_locked(
        &self,
        attachment: &Attachment,
        path: &str,
        sync: Sync,
        change: impl FnOnce(&mut Checkpoint),
    ) -> Result<Checkpoint, StoreError> {
        let (id, info) = (attachment.id, &attachment.info);
        let now = attachment.is_leased().then(clock);
        let newest = self.newest_of(attachment, path)?;
        let mut checkpoint = newest.clone();
        self.stamp(&mut checkpoint, &attachment.folder, path)?;
        change(&mut checkpoint);
        self.write_next((id, info), &newest, &mut checkpoint, path)?;
        if sync == Sync::AsConfigured {
            self.sync_record((id, info), checkpoint.sequence, path)?;
            attachment.was_saved(checkpoint.clone(), now);
        }
        Ok(checkpoint)
    }

    /// The newest checkpoint, read under the lock of the record; refused if the upload was removed or attached again.
    pub(crate) fn newest_of(&self, attachment: &Attachment, path: &str) -> Result<Checkpoint, StoreError> {
        let (id, info) = (attachment.id, &attachment.info);
        if !is_linked(info).map_err(|e| self.kept_error("fstat info", path, e))? {
            return Err(StoreError::refused(Failure::Gone, "removed"));
        }
        let newest = attachment.folder.read_checkpoint(info, id).map_err(|e| self.kept_error("pread info", path, e))?;
        let Some(newest) = newest else {
            log::error!(target: TARGET, "the record of an upload is damaged: path={path:?} upload={id:?}");
            return Err(StoreError::refused(Failure::Internal, "record"));
        };
        if newest.generation != attachment.generation {
            return Err(superseded());
        }
        Ok(newest)
    }

    /// When the next checkpoint expires, and until when its owner may write.
    pub(crate) fn stamp(&self, checkpoint: &mut Checkpoint, folder: &Folder, path: &str) -> Result<(), StoreError> {
        let now_ns = self.now_ns(folder, path)?;
        checkpoint.expires_s = now_ns / 1_000_000_000 + self.kept.expiry_s;
        checkpoint.owner = self.kept.owner;
        checkpoint.lease_until_ns = if self.fs.shared { now_ns.saturating_add(duration_ns(LEASE)) } else { 0 };
        Ok(())
    }

    pub(crate) fn now_ns(&self, folder: &Folder, path: &str) -> Result<u64, StoreError> {
        self.kept.now_ns(folder).map_err(|(site, errno)| self.kept_error(site, path, errno))
    }

    /// Writes `checkpoint` after `newest`, under the lock of the record. It never overwrites the last one that is durable:
    /// torn, it would leave an older one.
    pub(crate) fn write_next(
        &self,
        (id, info): (UploadId, &OwnedFd),
        newest: &Checkpoint,
        checkpoint: &mut Checkpoint,
        path: &str,
    ) -> Result<(), StoreError> {
        let durable = self.durable_up_to(id, newest);
        let mut step = 1;
        if self.durable && durable < newest.sequence {
            if durable > 0 && (newest.sequence - durable) % 2 == 1 {
                step = 2;
            } else {
                self.sync_again((id, info), newest, path)?;
            }
        }
        checkpoint.sequence = newest.sequence + step;
        write_checkpoint(info, id, checkpoint).map_err(|e| self.kept_error("pwrite info", path, e))
    }

    /// The sequence number up to which a record that ends with `newest` is known to be durable. What another process
    /// wrote, it may not have synced.
    pub(crate) fn durable_up_to(&self, id: UploadId, newest: &Checkpoint) -> u64 {
        if newest.owner == self.kept.owner { lock(&self.kept.index).durable(id) } else { 0 }
    }

    /// Makes the newest checkpoint durable, under the lock of the record. It is written again first: if a sync has failed
    /// since it was written, the kernel takes its page for clean, and the next sync would succeed without it.
    pub(crate) fn sync_again(
        &self,
        (id, info): (UploadId, &OwnedFd),
        newest: &Checkpoint,
        path: &str,
    ) -> Result<(), StoreError> {
        self.fs.health.check_writable()?;
        write_checkpoint(info, id, newest).map_err(|e| self.kept_error("pwrite info", path, e))?;
        self.sync_record((id, info), newest.sequence, path)
    }

    /// Waits until the bytes of a part are durable, if the store promises that.
    pub(crate) fn sync_part(&self, part: &OwnedFd, path: &str) -> Result<(), StoreError> {
        if self.durable {
            (self.fs.sync.content)(part.as_fd(), false).map_err(|e| self.fs.sync_error("fdatasync", path, e))?;
            // Another upload's sync may have failed meanwhile: then this one's success is not worth much either.
            self.fs.health.check_writable()?;
        }
        Ok(())
    }

    /// Waits until the record is durable up to `sequence`, and what was synced before with it.
    pub(crate) fn sync_record(
        &self,
        (id, info): (UploadId, &OwnedFd),
        sequence: u64,
        path: &str,
    ) -> Result<(), StoreError> {
        if !self.durable {
            return Ok(());
        }
        (self.fs.sync.content)(info.as_fd(), false).map_err(|e| self.fs.sync_error("fdatasync info", path, e))?;
        if self.fs.sync.scope == Scope::Everything {
            // Both contents are in the tree by now; this brings it to the disk.
            (self.fs.sync.names)(self.fs.root().fd.as_fd()).map_err(|e| self.fs.sync_error("syncfs", path, e))?;
        }
        self.fs.check_synced()?;
        lock(&self.kept.index).is_durable(id, sequence);
        Ok(())
    }

    /// The content is where it was promised, and the part is about to get its final name. Nothing else changes the
    /// record or removes the part until the result is dropped.
    pub(crate) fn commit_begins<'a>(&self, staged: &'a Staged) -> Result<Option<RecordLock<'a>>, StoreError> {
        let Some(attachment) = staged.attachment() else { return Ok(None) };
        let path = &staged.path;
        let lock = self.lock_record(attachment, path)?;
        let stat = fstat(&staged.file).map_err(|e| self.kept_error("fstat part", path, e))?;
        self.record_locked(attachment, path, Sync::AsConfigured, |checkpoint| {
            checkpoint.status = Status::Committing;
            checkpoint.inode = stat::id(&stat).1;
        })?;
        Ok(Some(lock))
    }

    /// The part has its final name. A reader can tell that without this, though not what was stored.
    pub(crate) fn was_committed(&self, staged: &Staged, stored: Stored) {
        let Some(attachment) = staged.attachment() else { return };
        // The offset stays: if a power cut takes the name back, the upload goes on from there.
        let checkpoint = self.record_locked(attachment, &staged.path, Sync::Never, |checkpoint| {
            checkpoint.status = Status::Complete;
            checkpoint.lease_until_ns = 0;
            checkpoint.stored = Some(stored);
        });
        match checkpoint {
            Ok(checkpoint) => {
                let mut index = lock(&self.kept.index);
                index.ended(attachment.id, checkpoint.expires_s);
            }
            Err(error) => {
                log::warn!(target: TARGET, "what was stored is not recorded: path={:?} {error}", staged.path);
            }
        }
    }

    /// Before each write to a part: refused once another connection or another process may write to it.
    pub(crate) fn check_lease(&self, attachment: &Attachment, path: &str) -> Result<(), StoreError> {
        if attachment.is_superseded() {
            return Err(superseded());
        }
        match attachment.lease(clock) {
            Lease::Holds => Ok(()),
            Lease::Lapsed => Err(StoreError::refused(Failure::Locked, "lease")),
            Lease::IsDue => {
                let now = clock();
                // A checkpoint that is under way renews it as well.
                let locked = attachment.try_lock().map_err(|e| self.kept_error("flock info", path, e))?;
                let Some(_lock) = locked else { return Ok(()) };
                self.record_locked(attachment, path, Sync::Never, |_| {})?;
                attachment.was_renewed(Some(now));
                Ok(())
            }
        }
    }

    /// A failure around the folder, whatever the upload is called and however large it is.
    pub(crate) fn kept_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        let mut error = self.fs.change_error(site, path, errno);
        error.failure = match error.failure {
            Failure::Conflict(_) | Failure::NotFound => Failure::Unavailable,
            Failure::TooLarge => Failure::NoSpace,
            other => other,
        };
        if is_stale(errno) {
            self.kept.forget_any_folder();
        }
        error
    }

    pub(crate) fn kept_failed(&self, path: &str) -> impl Fn(SiteErrno) -> StoreError {
        move |(site, errno)| self.kept_error(site, path, errno)
    }
}

pub(crate) fn durability(durable: bool) -> Durability {
    if durable { Durability::Durable } else { Durability::Written }
}

pub(crate) fn share_of(checkpoint: &Checkpoint, client: ClientAddress) -> Share {
    let is_unfinished = matches!(checkpoint.status, Status::Unfinished | Status::Committing);
    let bytes = if is_unfinished { checkpoint.offset } else { 0 };
    Share { client, bytes, is_unfinished, expires_s: checkpoint.expires_s }
}

pub(crate) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
