//! Expired uploads, and leftovers: passes over the directory, in steps, so that none holds up a worker.
//!
//! The first pass, at the start, also finds out which uploads there are. Only what is ours by its name is touched; what
//! another process may be making or writing to is not.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::{Dir, fstat};
use rustix::io::Errno;

use crate::error::StoreError;
use crate::store::fs::errno::TARGET;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::LEASE;
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::folder::{Folder, mtime_ns};
use crate::store::resumable::found::{Found, Stage};
use crate::store::resumable::index::Share;
use crate::store::resumable::journal::{duration_ns, share_of};
use crate::store::resumable::uploads::ResumableUploads;
use crate::upload::UploadId;

/// Names looked at in one step: a commit queued after a step waits about a millisecond.
const STEP: usize = 16;
const PART: &str = ".part";
const INFO: &str = ".info";

/// A clock that is set by less than this has not jumped.
const JUMP_MIN_S: u64 = 60;

/// One pass.
#[derive(Debug)]
pub(crate) struct Pass {
    folder: Arc<Folder>,
    names: Dir,
    now_ns: u64,
    began: Instant,
    /// By how much the clock has jumped forward since the pass before: it says nothing about the age of an upload.
    jump_s: u64,
    removed: u64,
}

impl Pass {
    /// `None` if there are no uploads, or if they cannot be looked at now.
    pub(crate) fn begin(uploads: &ResumableUploads) -> Option<Self> {
        let begun = || -> Result<Option<Self>, StoreError> {
            let Some(folder) = uploads.existing_folder("")? else { return Ok(None) };
            let names = Dir::read_from(&folder.dir.fd).map_err(|e| uploads.kept_error("read uploads", "", e))?;
            let now_ns = uploads.now_ns(&folder, "")?;
            let began = uploads.steady_now();
            let jump_s = lock(&uploads.last_pass).map_or(0, |(then_ns, then)| {
                let passed = duration_ns(began.saturating_duration_since(then));
                now_ns.saturating_sub(then_ns).saturating_sub(passed) / 1_000_000_000
            });
            let jump_s = if jump_s < JUMP_MIN_S { 0 } else { jump_s };
            lock(&uploads.index).begin_pass();
            Ok(Some(Self { folder, names, now_ns, began, jump_s, removed: 0 }))
        };
        begun().inspect_err(|error| failed(uploads, error)).ok().flatten()
    }

    /// Does a little; `None` when there is nothing left to do.
    pub(crate) fn step(mut self: Box<Self>, uploads: &ResumableUploads) -> Option<Box<Self>> {
        for _ in 0..STEP {
            let entry = match self.names.read() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    failed(uploads, &error);
                    return None;
                }
                None => {
                    self.end(uploads);
                    return None;
                }
            };
            let name = entry.file_name().to_str().unwrap_or("");
            let looked_at = if let Some(id) = name.strip_suffix(INFO).and_then(UploadId::parse) {
                self.look_at_record(uploads, id)
            } else if let Some(id) = name.strip_suffix(PART).and_then(UploadId::parse) {
                self.look_at_part(uploads, id)
            } else {
                Ok(())
            };
            if let Err(error) = looked_at {
                log::debug!(target: TARGET, "an upload is not looked at: {error}");
            }
        }
        Some(self)
    }

    fn end(&self, uploads: &ResumableUploads) {
        *lock(&uploads.last_pass) = Some((self.now_ns, self.began));
        let mut index = lock(&uploads.index);
        index.end_pass();
        uploads.is_used.store(!index.is_empty(), Ordering::Relaxed);
        if self.removed > 0 {
            log::info!(target: TARGET, "removed {} expired uploads, and leftovers", self.removed);
        }
    }

    fn look_at_part(&mut self, uploads: &ResumableUploads, id: UploadId) -> Result<(), StoreError> {
        let failed = |site| move |errno| uploads.kept_error(site, "", errno);
        let info = self.folder.open_info(id).map_err(failed("openat info"))?;
        if info.is_some() || lock(&uploads.index).contains(id) {
            return Ok(());
        }
        let Some(part) = self.folder.open_part(id).map_err(failed("openat part"))? else { return Ok(()) };
        if self.is_settled(uploads, &part).map_err(failed("fstat part"))? {
            self.folder.remove_part(id).map_err(failed("unlinkat"))?;
            self.removed += 1;
        }
        Ok(())
    }

    /// False for a file that another process may be making.
    fn is_settled(&self, uploads: &ResumableUploads, file: &OwnedFd) -> Result<bool, Errno> {
        if !uploads.fs.is_shared() {
            return Ok(true);
        }
        let age_ns = self.now_ns.saturating_sub(mtime_ns(&fstat(file)?));
        Ok(age_ns > duration_ns(LEASE))
    }

    fn look_at_record(&mut self, uploads: &ResumableUploads, id: UploadId) -> Result<(), StoreError> {
        let attached = lock(&uploads.index).attached(id);
        if attached.is_some() {
            return Ok(());
        }
        let folder = Arc::clone(&self.folder);
        let Some(found) = uploads.find_record(&folder, id)? else { return self.look_at_torn(uploads, id) };
        if uploads.look_at_join(&folder, &found, id)? {
            self.removed += 1;
            return Ok(());
        }
        let is_over = self.now_ns / 1_000_000_000 >= found.checkpoint.expires_s;
        let has_leftover =
            found.checkpoint.status == Status::Expired && folder.part_len(id).is_ok_and(|len| len.is_some());
        if self.renewed(uploads, &found.checkpoint).is_some() {
            drop(found);
            self.renew(uploads, id)?;
        } else if is_over || has_leftover {
            drop(found);
            self.expire(uploads, id)?;
        } else {
            let share = share_of_stage(&found);
            lock(&uploads.index).found(id, share);
            uploads.hold_found(id, &found.header.put.key, share);
        }
        Ok(())
    }

    /// A record that is torn, if it is there at all. One that is being made is in the index.
    fn look_at_torn(&mut self, uploads: &ResumableUploads, id: UploadId) -> Result<(), StoreError> {
        let failed = |site| move |errno| uploads.kept_error(site, "", errno);
        let Some(info) = self.folder.open_info(id).map_err(failed("openat info"))? else { return Ok(()) };
        let is_ours = lock(&uploads.index).contains(id);
        if !is_ours && self.is_settled(uploads, &info).map_err(failed("fstat info"))? {
            self.folder.remove(id).map_err(failed("unlinkat"))?;
            self.removed += 1;
        }
        Ok(())
    }

    /// When a record expires that has a time which does not fit the clock: that has jumped, or was wrong when the
    /// record was written.
    fn renewed(&self, uploads: &ResumableUploads, checkpoint: &Checkpoint) -> Option<u64> {
        let (now_s, expiry_s) = (self.now_ns / 1_000_000_000, uploads.expiry_s);
        let left_s = checkpoint.expires_s.saturating_sub(now_s.saturating_sub(self.jump_s));
        let is_wrong = checkpoint.expires_s > now_s + expiry_s || self.jump_s > 0 && left_s > 0;
        is_wrong.then(|| now_s + left_s.min(expiry_s))
    }

    fn renew(&self, uploads: &ResumableUploads, id: UploadId) -> Result<(), StoreError> {
        let folder = Arc::clone(&self.folder);
        uploads.with_record(&folder, id, |found| {
            let is_attached = lock(&uploads.index).attached(id).is_some();
            if is_attached || uploads.check_unowned(&folder, id, &found).is_err() {
                return Ok(());
            }
            let Some(expires_s) = self.renewed(uploads, &found.checkpoint) else { return Ok(()) };
            let mut checkpoint = Checkpoint { expires_s, ..found.checkpoint.clone() };
            uploads.write_next((id, &found.info), &found.checkpoint, &mut checkpoint, "")?;
            let share = Share { expires_s, ..share_of_stage(&found) };
            lock(&uploads.index).found(id, share);
            uploads.hold_found(id, &found.header.put.key, share);
            Ok(())
        })?;
        Ok(())
    }

    /// The time of an upload is over, or that of its tombstone.
    fn expire(&mut self, uploads: &ResumableUploads, id: UploadId) -> Result<(), StoreError> {
        let folder = Arc::clone(&self.folder);
        let now_s = self.now_ns / 1_000_000_000;
        uploads.with_record(&folder, id, |found| {
            // A connection may have resumed it meanwhile.
            let is_attached = lock(&uploads.index).attached(id).is_some();
            if is_attached || uploads.check_unowned(&folder, id, &found).is_err() {
                return Ok(());
            }
            let is_over = now_s >= found.checkpoint.expires_s;
            match found.stage {
                Stage::Expired if !is_over => {}
                Stage::Unfinished if !is_over => return Ok(()),
                Stage::Unfinished => self.mark(uploads, id, &found)?,
                Stage::Complete | Stage::Expired | Stage::Lost => {
                    uploads.remove_files(&folder, id)?;
                    self.removed += 1;
                    return Ok(());
                }
            }
            folder.remove_part(id).map_err(|e| uploads.kept_error("unlinkat", "", e))
        })?;
        Ok(())
    }

    /// From now on the upload is gone, and its record says so for a while.
    fn mark(&mut self, uploads: &ResumableUploads, id: UploadId, found: &Found) -> Result<(), StoreError> {
        let mut checkpoint = Checkpoint {
            status: Status::Expired,
            generation: found.checkpoint.generation + 1,
            lease_until_ns: 0,
            digest: None,
            ..found.checkpoint.clone()
        };
        checkpoint.expires_s = self.now_ns / 1_000_000_000 + uploads.expiry_s;
        uploads.write_next((id, &found.info), &found.checkpoint, &mut checkpoint, "")?;
        if found.checkpoint.status != Status::Unfinished {
            // Its commit has failed. Without its part, the checkpoint before this one would say that it is complete.
            uploads.sync_record((id, &found.info), checkpoint.sequence, "")?;
        }
        // Of any other, a part that is missing says the same.
        lock(&uploads.index).found(id, share_of(&checkpoint, found.header.client));
        self.removed += 1;
        Ok(())
    }
}

/// Not all uploads could be looked at: that is tried again.
fn failed(uploads: &ResumableUploads, error: &dyn std::fmt::Display) {
    log::warn!(target: TARGET, "uploads do not expire: {error}");
    uploads.is_used.store(true, Ordering::Relaxed);
}

fn share_of_stage(found: &Found) -> Share {
    let share = share_of(&found.checkpoint, found.header.client);
    if found.stage == Stage::Unfinished {
        return share;
    }
    Share { bytes: 0, is_unfinished: false, ..share }
}
