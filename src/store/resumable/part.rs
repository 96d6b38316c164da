//! Checkpoints, and the end of a part.

use rustix::fs::ftruncate;

use crate::error::StoreError;
use crate::platform::Outcome;
use crate::store::fs::errno::TARGET;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::{Attachment, Part};
use crate::store::resumable::checkpoint::{Checkpoint, Status};
use crate::store::resumable::found::{not_found, state};
use crate::store::resumable::journal::{Sync, durability, share_of};
use crate::store::resumable::record::Info;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::staging::staged::Staged;
use crate::upload::{DigestState, PartEnd, UploadStage, UploadState};

/// Whether the connection stays attached after this write to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Continues,
    Detaches,
}

impl ResumableUploads {
    /// Makes what was received durable up to `offset`.
    pub(crate) fn checkpoint(&self, part: &Part, offset: u64, digest: Option<DigestState>) -> Result<u64, StoreError> {
        self.save(part, (offset, digest), Then::Continues).map(|checkpoint| checkpoint.offset)
    }

    /// First the bytes, then the record that counts them.
    fn save(
        &self,
        part: &Part,
        (offset, digest): (u64, Option<DigestState>),
        then: Then,
    ) -> Result<Checkpoint, StoreError> {
        let Part { staged, attachment } = part;
        staged.check()?;
        self.fs.health.check_writable()?;
        let path = &staged.path;
        lock(&self.index).grow(attachment.id, offset)?;
        if offset > attachment.saved().offset {
            self.sync_part(&staged.file, path).map_err(|error| staged.fail(error))?;
        }
        self.record(attachment, path, Sync::AsConfigured, |checkpoint| {
            debug_assert!(offset >= checkpoint.offset, "the offset of an upload falls");
            if offset >= checkpoint.offset {
                (checkpoint.offset, checkpoint.digest) = (offset, digest);
            }
            checkpoint.status = Status::Unfinished;
            checkpoint.durability = durability(self.fs.durable);
            if then == Then::Detaches {
                checkpoint.lease_until_ns = 0;
                self.cut(staged, checkpoint.offset);
            }
        })
    }

    /// The connection lets go of the upload.
    pub(crate) fn end_part(&self, part: &Part, end: PartEnd) -> Result<(Outcome, PendingSyncs), StoreError> {
        let Part { staged, attachment } = part;
        // What was joined until here is in its parts too.
        let end = if attachment.joins.is_empty() { end } else { PartEnd::Remove };
        let ended = |checkpoint: &Checkpoint| Ok((self.part_ended(attachment, checkpoint)?, PendingSyncs::default()));
        match end {
            PartEnd::Save { offset, digest } => {
                let checkpoint = self.save(part, (offset, digest), Then::Detaches)?;
                ended(&checkpoint)
            }
            PartEnd::Keep => {
                let checkpoint = attachment.saved();
                if let Err(error) = self.detach(part) {
                    log::debug!(target: TARGET, "a part is not released: path={:?} {error}", staged.path);
                }
                ended(&checkpoint)
            }
            PartEnd::Remove => {
                let checkpoint = attachment.saved();
                let _lock = self.lock_record(attachment, &staged.path)?;
                self.newest_of(attachment, &staged.path)?;
                let outcome = self.part_ended(attachment, &checkpoint)?;
                Ok((outcome, self.remove_files(&attachment.folder, attachment.id)?))
            }
        }
    }

    /// Nothing more is recorded of this part; what it has taken after the offset is given back.
    fn detach(&self, part: &Part) -> Result<(), StoreError> {
        let Part { staged, attachment } = part;
        let _lock = self.lock_record(attachment, &staged.path)?;
        if !attachment.is_leased() {
            self.cut(staged, self.newest_of(attachment, &staged.path)?.offset);
            return Ok(());
        }
        let released = self.record_locked(attachment, &staged.path, Sync::Never, |checkpoint| {
            checkpoint.lease_until_ns = 0;
            self.cut(staged, checkpoint.offset);
        });
        released.map(drop)
    }

    /// Gives back what was reserved after the offset, under the lock of the record and before another may write there.
    /// What cannot be cut now is cut when the upload is opened.
    fn cut(&self, staged: &Staged, offset: u64) {
        if let Some(holding) = &staged.holding {
            holding.shrink_to(offset);
        }
        if let Err(cause) = ftruncate(&staged.file, offset) {
            log::debug!(target: TARGET, "a part is not cut: path={:?} cause={cause}", staged.path);
        }
    }

    fn part_ended(&self, attachment: &Attachment, checkpoint: &Checkpoint) -> Result<Outcome, StoreError> {
        let id = attachment.id;
        let info =
            attachment.folder.read_info(&attachment.info, id).map_err(|e| self.kept_error("pread info", "", e))?;
        let Info::Whole(header, _) = info else { return Err(not_found()) };
        lock(&self.index).put(id, share_of(checkpoint, header.client));
        let state: UploadState = state(id, &header, checkpoint, UploadStage::Unfinished);
        Ok(Outcome::PartEnded(Box::new(state)))
    }
}
