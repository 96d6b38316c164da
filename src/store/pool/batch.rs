//! Several small uploads at once: all are written before the first is synced.
//!
//! A sync waits for the disk. While it does, the disk can as well write the other files, and what
//! one sync brings to the journal need not be brought there by the next.

use std::os::fd::AsFd as _;

use crate::buffer::Chunk;
use crate::command::Put;
use crate::error::StoreError;
use crate::ids::ConnId;
use crate::os::sys;
use crate::platform::Op;
use crate::store::pool::group_commit::Pending;
use crate::store::pool::jobs::{Finished, Held, Job};
use crate::store::pool::workers::Lane;
use crate::store::shared::Disk;
use crate::store::upload::write::Staged;

/// Most small uploads of one batch: the last waits for the syncs of all.
const BATCH_MAX: usize = 16;
/// One worker takes this part of what waits, for there are several.
const SHARE: usize = 4;

impl Disk {
    /// Those that wait behind a small upload and can be stored together with it.
    pub(crate) fn companions(&self) -> Vec<Job> {
        let share = |waiting: usize| (waiting / SHARE).min(BATCH_MAX - 1);
        self.lanes.take_more(Lane::Sync, share, |job| matches!(job, Job::Serve { op: Op::Store { .. }, .. }))
    }

    /// Stores small uploads durably.
    pub(crate) fn store_many(&self, jobs: impl Iterator<Item = Job>) {
        let mut written = Vec::new();
        for job in jobs {
            match job {
                Job::Serve { conn, op: Op::Store { put, chunk }, held: Held::None } => {
                    let staged = self.write_whole(&put, &chunk);
                    written.push((conn, put, chunk, staged));
                }
                _ => unreachable!("only small uploads are stored together"),
            }
        }
        let mut pending = Vec::new();
        for (conn, put, chunk, staged) in written {
            pending.extend(self.commit_whole(conn, &put, chunk, staged));
        }
        self.settle_many(pending);
    }

    fn write_whole(&self, put: &Put, chunk: &Chunk) -> Result<Staged, StoreError> {
        let staged = self.store_staged(put, chunk.data())?;
        sys::start_write_back(staged.file.as_fd(), chunk.len() as u64);
        Ok(staged)
    }

    fn commit_whole(
        &self,
        conn: ConnId,
        put: &Put,
        chunk: Chunk,
        staged: Result<Staged, StoreError>,
    ) -> Option<Pending> {
        let len = chunk.len() as u64;
        let result = staged.and_then(|staged| self.commit(&staged, &put.key, len, &[], put.mtime, &put.precondition));
        match result {
            Ok((reply, owed)) => {
                Some(Pending { finished: Finished { conn, result: Ok(reply), chunk: Some(chunk) }, owed })
            }
            Err(error) => {
                self.finished.push(Finished { conn, result: Err(error), chunk: Some(chunk) });
                None
            }
        }
    }
}
