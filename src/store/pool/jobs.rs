//! One operation on its way: from the loop to a worker and back.
//!
//! A job owns all it needs (bytes, descriptors), so it outlives its connection. `serve` is the one
//! list of what each operation does, whether a worker or the loop runs it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::buffer::Chunk;
use crate::error::{Failure, StoreError};
use crate::ids::{ConnId, FileId};
use crate::object::Meta;
use crate::platform::{Op, Outcome, Source};
use crate::store::fs::read::OpenFile;
use crate::store::handles;
use crate::store::pool::group_commit::{Owed, Pending};
use crate::store::pool::workers::Lane;
use crate::store::shared::Disk;
use crate::store::upload::staging::Sweep;
use crate::store::upload::write::Staged;

/// What a worker does.
#[derive(Debug)]
pub(crate) enum Job {
    /// One operation for a connection.
    Serve {
        /// Whose.
        conn: ConnId,
        /// What.
        op: Op,
        /// The file it names.
        held: Held,
    },
    /// Let go of a file that has lost its name.
    Free(OwnedFd),
    /// Go on with the syncs that a change owes.
    Settle(Pending),
    /// Try whether uploads can be stored again.
    Probe,
    /// A step of the removal of leftovers.
    Sweep(Sweep),
}

/// The open file of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// It names none.
    None,
    /// Open for reading.
    Reading(Arc<OpenFile>),
    /// Its content is in memory.
    Kept(Arc<[u8]>),
    /// An upload.
    Staging(Arc<Staged>),
}

/// A result on its way to the loop, which alone gives out file ids.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing more to do.
    Plain(Outcome),
    /// An upload that needs an id.
    Created(Staged),
    /// A file that needs an id.
    Opened(OpenFile, Meta, Source),
    /// This file is in the page cache from the first to the second offset.
    Warmed(FileId, u64, u64),
}

/// One finished operation.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Whose.
    pub(crate) conn: ConnId,
    /// How it went.
    pub(crate) result: Result<Reply, StoreError>,
    /// Its chunk.
    pub(crate) chunk: Option<Chunk>,
}

/// What serving gave: the result, and what must be synced before it is true.
type Served = Result<(Reply, Owed), StoreError>;

impl Disk {
    /// Which workers take it.
    pub(crate) fn lane_of(&self, op: &Op) -> Lane {
        match op {
            // A flush waits for the disk as long as a sync does: reads must not queue behind it.
            Op::Commit { .. } | Op::Flush { .. } | Op::Store { .. } | Op::Delete { .. } | Op::Rename { .. } => {
                Lane::Sync
            }
            Op::MakeDir { .. } if self.durable => Lane::Sync,
            Op::List { .. } => Lane::List,
            _ => Lane::Io,
        }
    }

    /// What a worker thread does with a job.
    pub(crate) fn work(&self, job: Job, scratch: &mut Vec<u8>) {
        match job {
            Job::Serve { op: Op::Store { .. }, .. } if self.durable => {
                let more = self.companions();
                let jobs = 1 + more.len();
                self.store_many(std::iter::once(job).chain(more));
                self.syncing.fetch_sub(jobs, Ordering::Relaxed);
            }
            Job::Serve { conn, op, held } => {
                let syncs = usize::from(self.lane_of(&op) == Lane::Sync);
                let (result, chunk) = self.serve(op, held, scratch);
                match result {
                    Ok((reply, owed)) => {
                        self.settle(Pending { finished: Finished { conn, result: Ok(reply), chunk }, owed });
                    }
                    Err(error) => self.finished.push(Finished { conn, result: Err(error), chunk }),
                }
                self.syncing.fetch_sub(syncs, Ordering::Relaxed);
            }
            Job::Free(file) => drop(file),
            Job::Probe => self.probe_staging(),
            Job::Settle(pending) => self.settle(pending),
            Job::Sweep(mut sweep) => {
                if !self.lanes.is_closed() && sweep.step() {
                    self.lanes.push(Lane::Sync, Job::Sweep(sweep));
                }
            }
        }
    }

    /// Does what `op` says, and hands its chunk back.
    pub(crate) fn serve(&self, op: Op, held: Held, scratch: &mut Vec<u8>) -> (Served, Option<Chunk>) {
        match (op, held) {
            (Op::Read { offset, len, mut chunk, .. }, Held::Reading(file)) => {
                let result = file.fill(offset, len, &mut chunk);
                (result.map(|()| plain(Outcome::Read)), Some(chunk))
            }
            (Op::Read { offset, len, mut chunk, .. }, Held::Kept(content)) => {
                let rest = handles::behind(&content, offset);
                chunk.fill(&rest[..rest.len().min(len)]);
                (Ok(plain(Outcome::Read)), Some(chunk))
            }
            (Op::Write { offset, chunk, .. }, Held::Staging(staged)) => {
                let result = self.pace.measure(|| self.write(&staged, offset, chunk.data()));
                (result.map(|()| plain(Outcome::Written)), Some(chunk))
            }
            (Op::Store { put, chunk }, _) => (self.store(&put, chunk.data()), Some(chunk)),
            // They lost their file, not their chunk.
            (Op::Read { chunk, .. } | Op::Write { chunk, .. }, _) => (Err(no_such_file()), Some(chunk)),
            (op, held) => (self.serve_plain(op, held, scratch), None),
        }
    }

    fn serve_plain(&self, op: Op, held: Held, scratch: &mut Vec<u8>) -> Served {
        match (op, held) {
            (Op::Abort { .. }, Held::Staging(staged)) => {
                self.abort(&staged);
                Ok(plain(Outcome::Aborted))
            }
            (Op::Close { .. }, Held::Reading(_) | Held::Kept(_)) => Ok(plain(Outcome::Closed)),
            (Op::Commit { key, len, prepend, mtime, precondition, .. }, Held::Staging(staged)) => {
                self.commit(&staged, &key, len, &prepend, mtime, &precondition)
            }
            (Op::Create(put), _) => Ok(unsynced(Reply::Created(self.create(&put)?))),
            (Op::Delete { key, expected_kind, precondition }, _) => self.delete(&key, expected_kind, &precondition),
            (Op::Flush { offset, len, .. }, Held::Staging(staged)) => {
                self.flush(&staged, offset, len)?;
                Ok(plain(Outcome::Flushed))
            }
            (Op::List { key, after, limit, bytes_max }, _) => {
                let listing = self.list(key.as_str(), after.as_deref(), limit, bytes_max)?;
                Ok(plain(Outcome::Listed(listing)))
            }
            (Op::MakeDir { key }, _) => self.make_dir(&key),
            (Op::Open { key }, _) => self.open(key.as_str()).map(unsynced),
            (Op::Rename { from, to, precondition }, _) => self.rename(&from, &to, &precondition),
            (Op::Stat { key }, _) => self.stat(key.as_str()).map(|node| plain(Outcome::Found(node))),
            (Op::Warm { file, offset, len }, Held::Reading(open)) => {
                let end = open.warm(offset, len, scratch)?;
                Ok(unsynced(Reply::Warmed(file, offset, end)))
            }
            (Op::Warm { .. }, Held::Kept(_)) => Ok(plain(Outcome::Warmed)),
            _ => Err(no_such_file()),
        }
    }
}

/// A result that owes no sync.
pub(crate) fn plain(outcome: Outcome) -> (Reply, Owed) {
    unsynced(Reply::Plain(outcome))
}

fn unsynced(reply: Reply) -> (Reply, Owed) {
    (reply, Owed::default())
}

/// The id names nothing, or a file of the other kind. A mistake of ours, not of a peer.
pub(crate) fn no_such_file() -> StoreError {
    log::error!(target: crate::store::fs::errno::TARGET, "an operation named a file that is not open");
    StoreError::refused(Failure::Internal, "file id")
}
