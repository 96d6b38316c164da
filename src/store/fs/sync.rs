//! The calls that bring a change to the disk, as the file system of a root needs them.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::linux::{self, Resolve};

/// What the sync after a change of names covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The names in one directory.
    Dir,
    Everything,
}

/// How the content of a file and the names in directories get to the disk.
///
/// Where a sync writes a log of single files (btrfs), that log is not used: replayed after a power cut,
/// it can undo one half of a move without holding the other half, and it was seen to forget a name
/// although its directory had been synced. There the content only enters the tree, which is in memory, and one sync
/// of the whole file system, instead of those of directories, brings the tree to the disk: every change up to
/// then, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncCalls {
    /// Before a file gets its name: no power cut may leave the name without the content. With `true` its
    /// other properties count too.
    pub(crate) content: fn(BorrowedFd<'_>, bool) -> Result<(), Errno>,
    /// After that: brings the names in a directory to the disk.
    pub(crate) names: fn(BorrowedFd<'_>) -> Result<(), Errno>,
    /// What `names` covers.
    pub(crate) scope: Scope,
}

/// What of the system a store is given: tests replace it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) open: OpenBeneath,
    pub(crate) stage: StageIn,
    pub(crate) sync: SyncCalls,
    /// The file system is on this machine, so calls that do not read a disk may be made on the loop.
    pub(crate) inline: bool,
}

pub(crate) type OpenBeneath = fn(BorrowedFd<'_>, &str, OFlags, Resolve) -> Result<OwnedFd, Errno>;

pub(crate) type StageIn = fn(BorrowedFd<'_>, &str) -> Result<OwnedFd, Errno>;

impl Calls {
    pub(crate) fn of(root: BorrowedFd<'_>) -> Self {
        Self { inline: linux::is_on_this_machine(root), ..SyncCalls::of(root).into() }
    }
}

impl From<SyncCalls> for Calls {
    fn from(sync: SyncCalls) -> Self {
        Self { open: linux::open_beneath, stage: stage_in, sync, inline: true }
    }
}

impl SyncCalls {
    /// Those of the file system that `dir` is on.
    pub(crate) fn of(dir: BorrowedFd<'_>) -> Self {
        if !linux::logs_files(dir) {
            return Self { content: linux::sync_file, names: linux::sync_dir, scope: Scope::Dir };
        }
        let content = if linux::can_enter_tree() { enter_tree } else { sync_before };
        Self { content, names: linux::sync_file_system, scope: Scope::Everything }
    }
}

pub(crate) fn enter_tree(file: BorrowedFd<'_>, all: bool) -> Result<(), Errno> {
    match linux::enter_tree(file) {
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => sync_before(file, all),
        done => done,
    }
}

/// Nothing less is known to keep the order.
fn sync_before(file: BorrowedFd<'_>, _all: bool) -> Result<(), Errno> {
    linux::sync_file_system(file)
}

/// Makes a file in a staging directory.
pub(crate) fn stage_in(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| openat(dir, name, flags, Mode::from_raw_mode(0o666)))
}
