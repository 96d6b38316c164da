//! Writes to the record of an upload. `record` describes their order.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::object::Durability;
use crate::os::process::clock;
use crate::store::fs::errno::TARGET;
use crate::store::fs::sync::Scope;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::{Attachment, LEASE, Lease, Part, RecordLock};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, is_linked, write_checkpoint};
use crate::store::resumable::index::Share;
use crate::store::resumable::uploads::ResumableUploads;
use crate::upload::{TAKEN_OVER, UploadId};

/// Whether a write to the record waits until it is durable.
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

impl ResumableUploads {
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
        checkpoint.expires_s = now_ns / 1_000_000_000 + self.expiry_s;
        checkpoint.owner = self.owner;
        checkpoint.lease_until_ns = if self.fs.is_shared() { now_ns.saturating_add(duration_ns(LEASE)) } else { 0 };
        Ok(())
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
        if self.fs.durable && durable < newest.sequence {
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
        if newest.owner == self.owner { lock(&self.index).durable(id) } else { 0 }
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
        if self.fs.durable {
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
        if !self.fs.durable {
            return Ok(());
        }
        (self.fs.sync.content)(info.as_fd(), false).map_err(|e| self.fs.sync_error("fdatasync info", path, e))?;
        if self.fs.sync.scope == Scope::Everything {
            // Both contents are in the tree by now; this brings it to the disk.
            (self.fs.sync.names)(self.fs.root().fd.as_fd()).map_err(|e| self.fs.sync_error("syncfs", path, e))?;
        }
        self.fs.check_synced()?;
        lock(&self.index).is_durable(id, sequence);
        Ok(())
    }

    /// Writes to a part; refused once another connection or another process may.
    pub(crate) fn write(&self, part: &Part, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Part { staged, attachment } = part;
        staged.check()?;
        self.check_lease(attachment, &staged.path).map_err(|error| staged.fail(error))?;
        self.names.staging.write(staged, offset, bytes)
    }

    /// Before each write to a part.
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
