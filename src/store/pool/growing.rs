//! An upload that has begun, as the pool knows it: what differs between a staging file and the part of an upload that can
//! be resumed.

use std::sync::Arc;

use crate::error::{Failure, StoreError};
use crate::store::fs::errno::TARGET;
use crate::store::namespace::commit::Commit;
use crate::store::resumable::attachment::Part;
use crate::store::staging::pending_syncs::Change;
use crate::store::staging::staged::Staged;
use crate::store::volume::Volume;

/// An upload, and the file system it is in.
#[derive(Debug)]
pub(crate) struct Growing {
    file: Grown,
    pub(crate) volume: Arc<Volume>,
}

#[derive(Debug)]
enum Grown {
    Staged(Staged),
    Part(Part),
}

impl Growing {
    pub(crate) fn staged(staged: Staged, volume: Arc<Volume>) -> Arc<Self> {
        Arc::new(Self { file: Grown::Staged(staged), volume })
    }

    pub(crate) fn part(part: Part, volume: Arc<Volume>) -> Arc<Self> {
        Arc::new(Self { file: Grown::Part(part), volume })
    }

    pub(crate) fn as_staged(&self) -> &Staged {
        match &self.file {
            Grown::Staged(staged) => staged,
            Grown::Part(part) => &part.staged,
        }
    }

    /// `None` for an upload that ends with its connection.
    pub(crate) fn as_part(&self) -> Option<&Part> {
        if let Grown::Part(part) = &self.file { Some(part) } else { None }
    }

    /// Refuses an operation that is for parts only: the mistake is not that of a peer.
    pub(crate) fn need_part(&self) -> Result<&Part, StoreError> {
        self.as_part().ok_or_else(|| {
            log::error!(target: TARGET, "an operation on a part named another file");
            StoreError::refused(Failure::Internal, "part")
        })
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        match &self.file {
            Grown::Staged(staged) => self.volume.names.staging.write(staged, offset, bytes),
            Grown::Part(part) => self.volume.resumable.write(part, offset, bytes),
        }
    }

    pub(crate) fn flush(&self, offset: u64, len: u64) -> Result<(), StoreError> {
        self.volume.names.staging.flush(self.as_staged(), offset, len)
    }

    pub(crate) fn commit(&self, commit: &Commit<'_>) -> Result<Change, StoreError> {
        match &self.file {
            Grown::Staged(staged) => self.volume.names.commit(staged, commit),
            Grown::Part(part) => self.volume.resumable.commit(part, commit),
        }
    }

    /// The upload is given up.
    pub(crate) fn abort(&self) {
        match &self.file {
            Grown::Staged(staged) => self.volume.names.staging.abort(staged),
            Grown::Part(part) => self.volume.resumable.abort(part),
        }
    }
}
