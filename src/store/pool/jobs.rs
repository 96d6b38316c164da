//! One operation on its way from the loop to a worker and back.
//!
//! A job owns all it needs (bytes, descriptors), so it outlives its connection.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::buffer::Chunk;
use crate::dav_locks::{LockToken, Shown};
use crate::error::{Failure, StoreError};
use crate::ids::{FileId, GroupId, OpId};
use crate::object::Meta;
use crate::platform::{Op, Outcome, Source};
use crate::store::fs::errno::TARGET;
use crate::store::fs::read::OpenFile;
use crate::store::pool::copies::CopyUnderWay;
use crate::store::pool::growing::Growing;
use crate::store::pool::mounted::Mount;
use crate::store::pool::sortings::Sorting;
use crate::store::pool::workers::DirHash;
use crate::store::quota::count::Count;
use crate::store::resumable::expiry::Pass;
use crate::store::resumable::open::Opened;
use crate::store::staging::dirs::Sweep;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::staging::trash::Removal;
use crate::store::take_overs::Wanted;
use crate::store::volume::Volume;

#[derive(Debug)]
pub(crate) enum Job {
    /// One operation for a connection.
    Serve {
        id: OpId,
        client: Option<GroupId>,
        op: Op,
        /// The file it names.
        held: Held,
        /// What locks of another process must not be in the way of.
        shown: Option<Box<Shown>>,
    },
    /// Close a file that has lost its name, which frees its blocks.
    Free(OwnedFd),
    /// A step of the removal of a tree that is in the trash.
    Empty(Box<Removal>),
    /// Continue with the syncs of a change.
    FinishChange(Pending),
    /// Remove the records of locks of WebDAV that are over.
    ForgetLocks(Box<[LockToken]>),
    /// Try whether uploads can be stored again.
    Probe,
    /// Look at what other servers of the directory have left for this one.
    Look,
    /// A step of the removal of leftovers.
    Sweep(Sweep, Option<DirHash>),
    /// A step of a pass over the uploads that are kept, or its beginning.
    Expire(Arc<Volume>, Option<Box<Pass>>),
    /// Look for what an earlier process has left in a mount.
    Adopt(Box<str>),
    /// The same as `Look`, for a mount that is written to.
    LookIn(Arc<Mount>, Arc<Volume>),
    /// Close a mount that is not written to any more.
    CloseMount(Arc<Mount>),
    /// A step of a count for a quota, or the beginning of one that is due.
    Count(Option<Box<Count>>),
    /// A step of a listing that is not in the order of bytes.
    Sort(Box<Sorting>),
}

/// The open file of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    None,
    Reading(Arc<OpenFile>),
    /// Its content is in memory.
    Cached(Arc<[u8]>),
    Staging(Arc<Growing>),
    Copying(Arc<CopyUnderWay>),
}

impl Held {
    /// The file system that it is made in.
    pub(crate) fn volume(&self) -> Option<&Arc<Volume>> {
        match self {
            Self::Staging(growing) => Some(&growing.volume),
            Self::Copying(copy) => Some(&copy.volume),
            Self::None | Self::Reading(_) | Self::Cached(_) => None,
        }
    }
}

/// A result on its way to the loop, which alone gives out file ids.
#[derive(Debug)]
pub(crate) enum Reply {
    Plain(Outcome),
    Created(Arc<Growing>),
    CopyBegun(Arc<CopyUnderWay>),
    Opened(OpenFile, Meta, Source),
    UploadOpened(Box<Opened>, Arc<Volume>),
    /// Another server is attached to the upload.
    Wanted(Box<Wanted>),
    /// This file is in the page cache from the first to the second offset.
    Warmed(FileId, u64, u64),
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) id: OpId,
    pub(crate) result: Result<Reply, StoreError>,
    pub(crate) chunk: Option<Chunk>,
}

/// A change that has happened and is not durable yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) client: Option<GroupId>,
    /// Reported once `syncs` are done.
    pub(crate) finished: Finished,
    pub(crate) syncs: PendingSyncs,
    pub(crate) volume: Arc<Volume>,
}

/// The id names nothing, or a file of the other kind. A mistake of ours, not of a peer.
pub(crate) fn no_such_file() -> StoreError {
    log::error!(target: TARGET, "an operation named a file that is not open");
    StoreError::refused(Failure::Internal, "file id")
}
