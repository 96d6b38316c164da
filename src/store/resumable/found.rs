//! What a record says to a reader, and what of it may be reported.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{Durability, Key, Placed, Stored};
use crate::platform::Permit;
use crate::store::fs::errno::TARGET;
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::mutex::lock;
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, Locked, is_linked};
use crate::store::resumable::record::{Header, Info};
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::upload::{UploadId, UploadStage, UploadState};

/// The record of an upload, open, and what it amounts to with its part.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) info: OwnedFd,
    pub(crate) header: Box<Header>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Unfinished,
    Complete,
    Expired,
    /// What was recorded is not there: its part was removed, or a power cut took what was never synced.
    Lost,
}

/// Where an upload is found to be attached to another server: of this machine, and of another.
pub(crate) const PART_LOCKED: &str = "flock part";
pub(crate) const LEASE_HELD: &str = "lease";

pub(crate) fn not_found() -> StoreError {
    StoreError::refused(Failure::NotFound, "upload")
}

pub(crate) fn state(id: UploadId, header: &Header, checkpoint: &Checkpoint, stage: UploadStage) -> UploadState {
    let mut put = header.put.clone();
    put.len = checkpoint.len;
    let (metadata, role) = (header.metadata.clone(), header.role.clone());
    UploadState { id, put, metadata, offset: checkpoint.offset, stage, role, expires_s: checkpoint.expires_s }
}

impl ResumableUploads {
    /// Reads the record of an upload; `None` if there is none.
    pub(crate) fn find_record(&self, folder: &Folder, id: UploadId) -> Result<Option<Found>, StoreError> {
        let info = folder.open_info(id).map_err(|e| self.kept_error("openat info", "", e))?;
        let Some(info) = info else { return Ok(None) };
        let read = self.read_record(folder, id, &info)?;
        Ok(read.map(|(header, checkpoint, stage)| Found { info, header, checkpoint, stage }))
    }

    /// Opens and locks the record of an upload, and hands it to `body`: what it says, and which files there are, stays
    /// so meanwhile.
    pub(crate) fn with_record<T>(
        &self,
        folder: &Folder,
        id: UploadId,
        body: impl FnOnce(Found) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let failed = |site| move |errno| self.kept_error(site, "", errno);
        let info = folder.open_info(id).map_err(failed("openat info"))?;
        let Some(info) = info else { return Ok(None) };
        // Another descriptor of the same open file, because the caller may keep the first.
        let lock =
            info.try_clone().map_err(|error| failed("dup")(Errno::from_io_error(&error).unwrap_or(Errno::MFILE)))?;
        let _lock = Locked::take(&lock).map_err(failed("flock info"))?;
        if !is_linked(&info).map_err(failed("fstat info"))? {
            return Ok(None);
        }
        match self.read_record(folder, id, &info)? {
            Some((header, checkpoint, stage)) => body(Found { info, header, checkpoint, stage }).map(Some),
            None => Ok(None),
        }
    }

    fn read_record(
        &self,
        folder: &Folder,
        id: UploadId,
        info: &OwnedFd,
    ) -> Result<Option<(Box<Header>, Checkpoint, Stage)>, StoreError> {
        match folder.read_info(info, id).map_err(|e| self.kept_error("pread info", "", e))? {
            Info::Whole(header, checkpoint) => {
                let stage = self.stage(folder, id, &checkpoint).map_err(|e| self.kept_error("fstatat part", "", e))?;
                Ok(Some((header, *checkpoint, stage)))
            }
            Info::Torn => Ok(None),
            Info::Foreign => Err(StoreError::refused(Failure::Locked, "a record of a later version")),
        }
    }

    fn stage(&self, folder: &Folder, id: UploadId, checkpoint: &Checkpoint) -> Result<Stage, Errno> {
        let part_len = folder.part_len(id)?;
        let owner = &checkpoint.owner;
        // What was not synced is in the page cache of one run of one kernel.
        let is_there = checkpoint.durability == Durability::Durable || owner.shares_kernel_with(&self.owner);
        Ok(match (checkpoint.status, part_len) {
            (Status::Expired, _) => Stage::Expired,
            (Status::Committing | Status::Complete, None) => Stage::Complete,
            (_, None) => Stage::Lost,
            (_, Some(len)) if len < checkpoint.offset || checkpoint.offset > 0 && !is_there => {
                // A part that is complete keeps its length for as long as it has not its final name.
                log::error!(target: TARGET, "an upload has lost bytes that were recorded: upload={id:?}");
                Stage::Lost
            }
            (_, Some(_)) => Stage::Unfinished,
        })
    }

    /// How far an upload is.
    pub(crate) fn find_upload(&self, id: UploadId, permit: &Permit) -> Result<UploadState, StoreError> {
        self.fs.health.check_readable()?;
        let folder = self.existing_folder("")?.ok_or_else(not_found)?;
        let attached = lock(&self.index).attached(id);
        if let Some(attached) = attached {
            let info =
                attached.folder.read_info(&attached.info, id).map_err(|e| self.kept_error("pread info", "", e))?;
            let Info::Whole(header, _) = info else { return Err(not_found()) };
            permit.check(&header.put.key, None)?;
            // What is being written to the record may not be durable yet.
            return Ok(state(id, &header, &attached.saved(), UploadStage::Unfinished));
        }
        let found = self.find_record(&folder, id)?.ok_or_else(not_found)?;
        permit.check(&found.header.put.key, None)?;
        if found.stage == Stage::Unfinished && self.is_believed(id, &found.checkpoint) {
            return Ok(state(id, &found.header, &found.checkpoint, UploadStage::Unfinished));
        }
        // Another process may be committing it at this moment.
        let state = self.with_record(&folder, id, |mut found| {
            permit.check(&found.header.put.key, None)?;
            match found.stage {
                Stage::Expired | Stage::Lost => Err(StoreError::refused(Failure::Gone, "upload")),
                Stage::Unfinished => {
                    self.believe(&folder, id, &mut found)?;
                    Ok(state(id, &found.header, &found.checkpoint, UploadStage::Unfinished))
                }
                Stage::Complete => {
                    self.believe(&folder, id, &mut found)?;
                    Ok(self.complete_state(id, &found))
                }
            }
        });
        state?.ok_or_else(not_found)
    }

    /// True if an offset in this checkpoint may be reported as it is.
    fn is_believed(&self, id: UploadId, checkpoint: &Checkpoint) -> bool {
        let is_synced = checkpoint.offset == 0 || checkpoint.durability == Durability::Durable;
        !self.fs.durable || is_synced && self.durable_up_to(id, checkpoint) >= checkpoint.sequence
    }

    /// Makes durable what was read, under the lock of the record: it may have been in the page cache only.
    pub(crate) fn believe(&self, folder: &Folder, id: UploadId, found: &mut Found) -> Result<(), StoreError> {
        if !self.fs.durable {
            return Ok(());
        }
        if self.durable_up_to(id, &found.checkpoint) < found.checkpoint.sequence {
            self.sync_again((id, &found.info), &found.checkpoint, "")?;
        }
        match found.stage {
            Stage::Complete => {
                // The name that the part has now is at least as durable as the loss of its old one.
                self.names
                    .parents
                    .sync_dir(&self.names.parents.synced_for(&folder.dir), 1)
                    .map_err(|e| self.kept_error("fsync .filewharf/uploads", "", e))
            }
            // A store that does not sync has written it.
            Stage::Unfinished if found.checkpoint.durability == Durability::Written && found.checkpoint.offset > 0 => {
                let part = folder.open_part(id).map_err(|e| self.kept_error("openat part", "", e))?;
                self.sync_part(&part.ok_or_else(not_found)?, "")?;
                let mut checkpoint = Checkpoint { durability: Durability::Durable, ..found.checkpoint.clone() };
                self.write_next((id, &found.info), &found.checkpoint, &mut checkpoint, "")?;
                self.sync_record((id, &found.info), checkpoint.sequence, "")?;
                found.checkpoint = checkpoint;
                Ok(())
            }
            Stage::Unfinished | Stage::Expired | Stage::Lost => Ok(()),
        }
    }

    pub(crate) fn complete_state(&self, id: UploadId, found: &Found) -> UploadState {
        let stored = found.checkpoint.stored.or_else(|| self.stored_now(found));
        let mut checkpoint = found.checkpoint.clone();
        if let Some(stored) = stored {
            (checkpoint.offset, checkpoint.len) = (stored.meta.len, Some(stored.meta.len));
        }
        checkpoint.offset = checkpoint.len.unwrap_or(checkpoint.offset);
        state(id, &found.header, &checkpoint, UploadStage::Complete(stored))
    }

    /// What has the final name, if that is what was the part.
    pub(crate) fn stored_now(&self, found: &Found) -> Option<Stored> {
        let key = &found.header.put.key;
        let dir = self.fs.dir(key.parent()).ok()?;
        let there = standing(dir.fd.as_fd(), key.name()).ok()??;
        let is_it = stat::kind(&there) == Kind::File && stat::id(&there).1 == found.checkpoint.inode;
        is_it.then_some(Stored { meta: stat::meta(&there), durability: self.names.stored, placed: Placed::New })
    }

    /// Removes an upload that no connection is attached to; returns the name that it would have had.
    pub(crate) fn remove_upload(&self, id: UploadId, permit: &Permit) -> Result<(Key, PendingSyncs), StoreError> {
        self.fs.health.check_writable()?;
        let folder = self.existing_folder("")?.ok_or_else(not_found)?;
        let removed = self.with_record(&folder, id, |found| {
            permit.check(&found.header.put.key, None)?;
            if found.stage == Stage::Expired || found.stage == Stage::Lost {
                return Err(StoreError::refused(Failure::Gone, "upload"));
            }
            self.check_unowned(&folder, id, &found)?;
            Ok((found.header.put.key, self.remove_files(&folder, id)?))
        });
        removed?.ok_or_else(not_found)
    }

    /// Removes an upload that has ended, to make place. One that another process has made again meanwhile stays.
    pub(crate) fn forget_ended(&self, folder: &Folder, id: UploadId) -> Result<(), StoreError> {
        let forgotten = self.with_record(folder, id, |found| {
            if found.stage == Stage::Unfinished || self.check_unowned(folder, id, &found).is_err() {
                return Ok(());
            }
            folder.remove(id).map_err(|e| self.kept_error("unlinkat", "", e))
        });
        forgotten.map(drop)
    }

    /// Removes the files of an upload, under the lock of its record.
    pub(crate) fn remove_files(&self, folder: &Folder, id: UploadId) -> Result<PendingSyncs, StoreError> {
        folder.remove(id).map_err(|e| self.kept_error("unlinkat", "", e))?;
        lock(&self.index).remove(id);
        let dirs = if self.fs.durable { vec![self.names.parents.synced_for(&folder.dir)] } else { Vec::new() };
        Ok(PendingSyncs { dirs, ..PendingSyncs::default() })
    }

    /// Refuses what another process writes to.
    pub(crate) fn check_unowned(&self, folder: &Folder, id: UploadId, found: &Found) -> Result<(), StoreError> {
        if self.fs.is_shared()
            && let Some(part) = folder.open_part(id).map_err(|e| self.kept_error("openat part", "", e))?
        {
            self.own_part(&part, "")?;
            self.check_lease_of(&found.checkpoint, folder)?;
        }
        Ok(())
    }

    /// Refuses while a process of another machine may write. One of this machine would hold the lock of the part.
    pub(crate) fn check_lease_of(&self, checkpoint: &Checkpoint, folder: &Folder) -> Result<(), StoreError> {
        if !self.fs.is_shared() || checkpoint.lease_until_ns == 0 || checkpoint.owner.shares_kernel_with(&self.owner) {
            return Ok(());
        }
        if self.now_ns(folder, "")? < checkpoint.lease_until_ns {
            return Err(StoreError::refused(Failure::Locked, LEASE_HELD));
        }
        Ok(())
    }

    /// Locks a part for as long as it is open. Where processes share the directory, refuses what another has locked;
    /// where none does, the next generation of this server will see the lock.
    pub(crate) fn own_part(&self, part: &OwnedFd, path: &str) -> Result<(), StoreError> {
        match Locked::try_take(part) {
            Ok(Some(held)) => {
                // The kernel unlocks it when the file is closed, also that of a process that was killed.
                std::mem::forget(held);
                Ok(())
            }
            _ if !self.fs.is_shared() => Ok(()),
            Ok(None) => Err(StoreError::refused(Failure::Locked, PART_LOCKED)),
            Err(errno) => Err(self.kept_error("flock part", path, errno)),
        }
    }
}
