//! A part gets its final name: the commit of its content, between two checkpoints.

use rustix::fs::{Mode, fchmod, fstat};

use crate::error::{Failure, StoreError};
use crate::object::Stored;
use crate::store::fs::errno::TARGET;
use crate::store::fs::stat;
use crate::store::mutex::lock;
use crate::store::namespace::commit::Commit;
use crate::store::resumable::attachment::{Part, RecordLock};
use crate::store::resumable::checkpoint::Status;
use crate::store::resumable::journal::Sync;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::pending_syncs::Change;

impl ResumableUploads {
    /// If this fails, the part stays as it was, except that nothing stays of one that is joined but its parts.
    pub(crate) fn commit(&self, part: &Part, commit: &Commit<'_>) -> Result<Change, StoreError> {
        let Part { staged, attachment } = part;
        let before = fstat(&staged.file);
        let held = self.holdings(&attachment.joins);
        let committed = match commit.prepend {
            [] => self.names.commit_when(staged, commit, &held, || self.commit_begins(part)),
            // Its bytes would be others than those that its record counts.
            _ => Err(StoreError::refused(Failure::Internal, "prepend")),
        };
        let (mut change, stored, _lock) = committed.inspect_err(|_| {
            if let Ok(before) = before {
                // Its mode is perhaps that of a file that nothing may be written to.
                let _ = fchmod(&staged.file, Mode::from_raw_mode(before.st_mode & 0o7777));
            }
            self.abort(part);
        })?;
        change.syncs.joined.extend(attachment.joins.iter().map(|(id, _)| *id));
        self.was_committed(part, stored);
        Ok(change)
    }

    /// The connection gives the upload up. It stays, except one that is joined.
    pub(crate) fn abort(&self, part: &Part) {
        if !part.attachment.joins.is_empty() {
            self.abort_join(&part.attachment, &part.staged.path);
        }
    }

    /// The content is where it was promised, and the part is about to get its final name. Nothing else changes the
    /// record or removes the part until the result is dropped.
    fn commit_begins<'a>(&self, part: &'a Part) -> Result<RecordLock<'a>, StoreError> {
        let Part { staged, attachment } = part;
        let path = &staged.path;
        let lock = self.lock_record(attachment, path)?;
        let stat = fstat(&staged.file).map_err(|e| self.kept_error("fstat part", path, e))?;
        self.record_locked(attachment, path, Sync::AsConfigured, |checkpoint| {
            checkpoint.status = Status::Committing;
            checkpoint.inode = stat::id(&stat).1;
        })?;
        Ok(lock)
    }

    /// The part has its final name. A reader can tell that without this, though not what was stored.
    fn was_committed(&self, part: &Part, stored: Stored) {
        let Part { staged, attachment } = part;
        // The offset stays: if a power cut takes the name back, the upload continues from there.
        let checkpoint = self.record_locked(attachment, &staged.path, Sync::Never, |checkpoint| {
            checkpoint.status = Status::Complete;
            checkpoint.lease_until_ns = 0;
            checkpoint.stored = Some(stored);
        });
        match checkpoint {
            Ok(checkpoint) => {
                let mut index = lock(&self.index);
                index.ended(attachment.id, checkpoint.expires_s);
            }
            Err(error) => {
                log::warn!(target: TARGET, "what was stored is not recorded: path={:?} {error}", staged.path);
            }
        }
    }
}
