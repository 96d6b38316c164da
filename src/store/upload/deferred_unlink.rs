//! Large files that lose their names, and whose room is freed by a worker of its own.
//!
//! Where the last one lets go of a file, its room is freed, which takes about 70 µs for each MiB (ext4, warm).
//! In a rename over it that would be while both directories are locked, and whoever changes anything in them would
//! wait; on the loop, everybody would. So it is kept open until it has lost its name. Never where room is
//! short: who was told that a file is gone may count on its room.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat, openat};

use crate::store::fs::linux;
use crate::store::fs::read::OpenFile;
use crate::store::fs::resolve::look_flags;
use crate::store::fs::stat::{self, Kind};
use crate::store::pool::jobs::Job;
use crate::store::pool::workers::Lane;
use crate::store::shared::Disk;
use crate::store::upload::commit::At;

/// Below this it costs less to free a file than two calls and a job do.
pub(crate) const AT_ONCE_MAX: u64 = 128 * 1024;
/// So many times the room of a file must be free before it is kept for later.
const ROOM_MIN: u64 = 32;
/// Files that wait to be freed. With more, changes are the business of workers, who free themselves.
pub(crate) const WAITING_MAX: usize = 16;

impl Disk {
    /// Keeps a file that is about to lose its name, if freeing it takes a while: for [`Disk::let_go`], once it
    /// has lost it. Not where other machines would see that it is kept (`.nfs…`).
    pub(crate) fn keep(&self, at: At<'_>, there: &Stat) -> Option<OwnedFd> {
        let len = stat::len(there);
        let pays = stat::kind(there) == Kind::File && len > AT_ONCE_MAX && self.caps.local;
        if !pays || !linux::has_room(at.0, len.saturating_mul(ROOM_MIN)) {
            return None;
        }
        openat(at.0, at.1, look_flags() | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Has a file freed that has lost its name.
    pub(crate) fn let_go(&self, file: Option<OwnedFd>) {
        if let Some(file) = file
            && self.frees_later()
        {
            self.lanes.push(Lane::Free, Job::Free(file));
        }
    }

    /// Is there room among those that wait?
    pub(crate) fn frees_later(&self) -> bool {
        self.lanes.len(Lane::Free) < WAITING_MAX
    }

    /// Closes a file. It may have lost its name while it was read.
    pub(crate) fn close(&self, file: Arc<OpenFile>) {
        self.let_go(Arc::into_inner(file).and_then(OpenFile::into_nameless));
    }
}
