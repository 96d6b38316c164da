//! Uploads that are concatenated from others: a new one, into which their bytes are copied a step at a time, and which
//! is then committed like any other. The parts are only read, until its final name is durable. Never runs on the loop.
//!
//! A part that is complete never changes, so it is not locked while it is read: it is there as it was, or it is gone.

use std::os::fd::{AsFd as _, OwnedFd};

use crate::command::Put;
use crate::error::{Failure, StoreError};
use crate::ids::ClientAddress;
use crate::platform::Permit;
use crate::store::fs::errno::TARGET;
use crate::store::fs::stat::standing;
use crate::store::mutex::lock;
use crate::store::namespace::deferred_unlink::keep_open;
use crate::store::resumable::attachment::{Attachment, Part};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, part_name};
use crate::store::resumable::found::{Found, Stage};
use crate::store::resumable::journal::Sync;
use crate::store::resumable::open::Opened;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::copy::STEP;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::upload::{DigestState, NO_PART, NOT_PARTIAL, NewUpload, PART_UNFINISHED, Role, UploadId};

fn internal() -> StoreError {
    StoreError::refused(Failure::Internal, "join")
}

/// Where the byte at `offset` of the whole is: in which part, at which offset there, and how many follow in it.
fn place_of(joins: &[(UploadId, u64)], offset: u64) -> Option<(UploadId, u64, u64)> {
    let mut start = 0;
    for (id, len) in joins {
        let from = offset - start;
        if from < *len {
            return Some((*id, from, len - from));
        }
        start += len;
    }
    None
}

impl ResumableUploads {
    /// Makes an upload that is as long as its parts together.
    pub(crate) fn begin_join(
        &self,
        new: &NewUpload,
        client: ClientAddress,
        permit: &Permit,
    ) -> Result<(Opened, PendingSyncs), StoreError> {
        let Role::Final(parts) = &new.role else { return Err(internal()) };
        let joins = self.complete_parts(parts, permit)?;
        lock(&self.index).check_joins(parts)?;
        let len = joins.iter().try_fold(0_u64, |sum, (_, len)| sum.checked_add(*len));
        let len = len.ok_or(StoreError::refused(Failure::TooLarge, "join"))?;
        let new = NewUpload { put: Put { len: Some(len), ..new.put.clone() }, ..new.clone() };
        let made = self.make_upload(&new, joins, client)?;
        lock(&self.index).count_join(parts);
        Ok(made)
    }

    /// The parts with their lengths; refused unless all of each is there.
    fn complete_parts(&self, parts: &[UploadId], permit: &Permit) -> Result<Box<[(UploadId, u64)]>, StoreError> {
        let refused = |failure| StoreError::refused(failure, "join");
        let folder = self.existing_folder("")?.ok_or(refused(NO_PART))?;
        let complete = |id: &UploadId| {
            let found = self.find_record(&folder, *id)?.ok_or(refused(NO_PART))?;
            permit.check(&found.header.put.key, None)?;
            match (&found.header.role, found.stage) {
                (_, Stage::Expired | Stage::Lost) => Err(refused(NO_PART)),
                (Role::Partial, _) if found.checkpoint.len == Some(found.checkpoint.offset) => {
                    Ok((*id, found.checkpoint.offset))
                }
                (Role::Partial, _) => Err(refused(PART_UNFINISHED)),
                (Role::Whole | Role::Final(_), _) => Err(refused(NOT_PARTIAL)),
            }
        };
        parts.iter().map(complete).collect()
    }

    /// Copies what follows after `offset`, a step at most; returns how many bytes, and the digest state after them.
    pub(crate) fn join(
        &self,
        joined: &Part,
        offset: u64,
        mut digest: Option<DigestState>,
    ) -> Result<(u64, Option<DigestState>), StoreError> {
        let Part { staged, attachment } = joined;
        staged.check()?;
        self.fs.health.check_writable()?;
        self.check_lease(attachment, &staged.path)?;
        let mut at = offset;
        while let Some((id, from, left)) = place_of(&attachment.joins, at).filter(|_| at < offset + STEP) {
            let part = attachment.folder.open_part(id).map_err(|e| self.kept_error("openat part", &staged.path, e))?;
            let part = part.ok_or(StoreError::refused(NO_PART, "join"))?;
            let len = left.min(offset + STEP - at);
            let copied = self.names.staging.copy(staged, part.as_fd(), (from, at), len, digest.as_mut())?;
            if copied < len {
                log::error!(target: TARGET, "a partial upload has lost bytes that were recorded: path={:?}", staged.path);
                return Err(StoreError::refused(NO_PART, "pread part"));
            }
            at += len;
        }
        if at == offset {
            return Err(internal());
        }
        if self.fs.durable {
            self.names.staging.flush(staged, offset, at - offset)?;
        }
        Ok((at - offset, digest))
    }

    /// A commit has failed: nothing of the upload stays but its parts.
    pub(crate) fn abort_join(&self, attachment: &Attachment, path: &str) {
        let aborted = || -> Result<(), StoreError> {
            let _lock = self.lock_record(attachment, path)?;
            if self.newest_of(attachment, path)?.status != Status::Unfinished {
                // Without its file, the record would say that it is complete.
                self.record_locked(attachment, path, Sync::AsConfigured, |checkpoint| {
                    checkpoint.status = Status::Expired;
                })?;
            }
            self.remove_files(&attachment.folder, attachment.id).map(drop)
        };
        if let Err(error) = aborted() {
            log::warn!(target: TARGET, "an upload that was joined could not be removed: path={path:?} {error}");
        }
    }

    /// Removes an upload that another was concatenated from. Returns its file where freeing it takes a while.
    pub(crate) fn remove_partial(&self, id: UploadId) -> Result<Option<OwnedFd>, StoreError> {
        let Some(folder) = self.existing_folder("")? else { return Ok(None) };
        let removed = self.with_record(&folder, id, |found| {
            if found.header.role != Role::Partial {
                return Ok(None);
            }
            self.check_unowned(&folder, id, &found)?;
            let (dir, name) = (folder.dir.fd.as_fd(), part_name(id));
            let there = standing(dir, &name).map_err(|e| self.kept_error("fstatat part", "", e))?;
            let file = there.and_then(|there| keep_open(&self.fs, (dir, &name), &there));
            self.remove_files(&folder, id).map(|_| file)
        });
        removed.map(Option::flatten)
    }

    /// A pass has found the record of one that was joined. True if nothing is left of it: it was not complete when its
    /// process ended.
    pub(crate) fn look_at_join(&self, folder: &Folder, found: &Found, id: UploadId) -> Result<bool, StoreError> {
        let Role::Final(parts) = &found.header.role else { return Ok(false) };
        match found.stage {
            Stage::Unfinished if !lock(&self.index).contains(id) => self.remove_unfinished_join(folder, id),
            Stage::Complete if parts.iter().any(|part| folder.open_info(*part).is_ok_and(|info| info.is_some())) => {
                self.end_join(folder, id, parts).map(|()| false)
            }
            _ => Ok(false),
        }
    }

    fn remove_unfinished_join(&self, folder: &Folder, id: UploadId) -> Result<bool, StoreError> {
        let removed = self.with_record(folder, id, |found| {
            let is_ours = lock(&self.index).contains(id);
            if is_ours || found.stage != Stage::Unfinished || self.check_unowned(folder, id, &found).is_err() {
                return Ok(false);
            }
            if found.checkpoint.status != Status::Unfinished {
                // As in `abort_join`.
                let mut checkpoint = Checkpoint { status: Status::Expired, ..found.checkpoint.clone() };
                self.write_next((id, &found.info), &found.checkpoint, &mut checkpoint, "")?;
                self.sync_record((id, &found.info), checkpoint.sequence, "")?;
            }
            folder.remove(id).map_err(|e| self.kept_error("unlinkat", "", e))?;
            Ok(true)
        })?;
        Ok(removed == Some(true))
    }

    /// The process ended after the commit and before the parts were removed.
    fn end_join(&self, folder: &Folder, id: UploadId, parts: &[UploadId]) -> Result<(), StoreError> {
        let is_stored = self.with_record(folder, id, |mut found| {
            if found.stage != Stage::Complete || self.stored_now(&found).is_none() {
                return Ok(false);
            }
            self.believe(folder, id, &mut found).map(|()| true)
        })?;
        if is_stored == Some(true) {
            for part in parts {
                self.remove_partial(*part)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_whole_is_in_one_part() {
        let id = |n| UploadId([n; 16]);
        let joins = [(id(1), 3), (id(2), 0), (id(3), 2)];
        let places: Vec<_> = (0..6).map(|offset| place_of(&joins, offset)).collect();
        let wanted =
            [(1, 0, 3), (1, 1, 2), (1, 2, 1), (3, 0, 2), (3, 1, 1)].map(|(n, from, left)| Some((id(n), from, left)));
        assert_eq!(places[..5], wanted);
        assert_eq!((places[5], place_of(&[], 0)), (None, None));
    }
}
