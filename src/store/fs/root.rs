//! The served directory and what was found out about it at start.
//!
//! Fixed after the start, or under a lock that is held for a few instructions.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, open, statat};
use rustix::io::Errno;

use crate::config::Fixed;
use crate::error::{Failure, StoreError};
use crate::store::fs::caps::{Caps, Pages, pages_of};
use crate::store::fs::degraded::{Mark, leave_mark};
use crate::store::fs::digests::Digests;
use crate::store::fs::errno::{self, TARGET};
use crate::store::fs::health::StoreHealth;
use crate::store::fs::linux;
use crate::store::fs::mounts::Mounts;
use crate::store::fs::names::Windows;
use crate::store::fs::sharing::Sharing;
use crate::store::fs::stat::{self, DirId};
use crate::store::fs::sync::{Calls, OpenBeneath, SyncCalls};
use crate::store::mutex::lock;

/// An open directory: the same one is renamed into and synced, even if it is moved meanwhile.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Open for reading, because `O_PATH` cannot be synced.
    pub(crate) fd: OwnedFd,
    pub(crate) id: DirId,
    /// By which name it was opened, for the log.
    pub(crate) path: Box<str>,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// One that was opened by this name.
    pub(crate) fn of(fd: OwnedFd, path: &str) -> Result<Arc<Self>, Errno> {
        let id = stat::id(&fstat(&fd)?);
        Ok(Arc::new(Self { fd, id, path: path.into() }))
    }
}

/// What the path of the root leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootAt {
    Here,
    /// To another directory, or to none.
    Elsewhere,
    Unknown,
}

/// Why what has the path of the root cannot take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    OtherFileSystem,
    Errno(Errno),
}

impl From<Errno> for Unfit {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherFileSystem => f.write_str("its path leads to another file system"),
            Self::Errno(errno) => errno.fmt(f),
        }
    }
}

/// True if another file system is mounted at this directory.
pub(crate) fn is_mount_point(dir: BorrowedFd<'_>) -> bool {
    let above = statat(dir, "..", AtFlags::empty());
    above.is_ok_and(|above| fstat(dir).is_ok_and(|dir| above.st_dev != dir.st_dev))
}

/// The file system under the root, as all threads see it.
#[derive(Debug)]
pub(crate) struct FileSystem {
    /// Another descriptor of the served directory where the first has become stale.
    root: Mutex<Arc<Dir>>,
    /// The path at which it is mounted inside the root of the store; empty for that.
    pub(crate) at: Box<str>,
    root_path: PathBuf,
    kind: Option<u64>,
    /// Something was mounted at the path of the root.
    is_mounted: bool,
    pub(crate) caps: Caps,
    pub(crate) open: OpenBeneath,
    pub(crate) sync: SyncCalls,
    /// Follow links inside the root when reading.
    pub(crate) links: bool,
    /// The reserved directory may have a second name in the root.
    pub(crate) aliases: bool,
    pub(crate) sharing: Arc<Sharing>,
    /// Sync before a change is acknowledged.
    pub(crate) durable: bool,
    /// Other file systems inside the root.
    pub(crate) mounts: Mounts,
    /// Names of large directories, for their next pages.
    pub(crate) windows: Windows,
    pub(crate) health: StoreHealth,
    mark: Mark,
    pub(crate) digests: Digests,
    pages: OnceLock<Pages>,
}

/// What the operator chose for the file system.
#[derive(Clone, Debug)]
pub(crate) struct FsOptions {
    pub(crate) links: bool,
    pub(crate) aliases: bool,
    pub(crate) sharing: Arc<Sharing>,
    pub(crate) durable: bool,
    pub(crate) read_only: bool,
}

impl FileSystem {
    pub(crate) fn new(
        root: Dir,
        path: &Path,
        caps: Caps,
        calls: &Calls,
        (options, limits): (FsOptions, &Fixed),
    ) -> Self {
        Self {
            kind: linux::file_system(root.fd.as_fd()),
            is_mounted: is_mount_point(root.fd.as_fd()),
            mounts: if root.path.is_empty() { Mounts::unknown() } else { Mounts::default() },
            at: root.path.clone(),
            digests: Digests::open(root.fd.as_fd(), limits.digests_max, !options.read_only, options.sharing.is_on()),
            root: Mutex::new(Arc::new(root)),
            root_path: path.to_owned(),
            caps,
            open: calls.open,
            sync: calls.sync,
            links: options.links,
            aliases: options.aliases,
            sharing: options.sharing,
            durable: options.durable,
            windows: Windows::new(limits),
            health: StoreHealth::new(options.read_only),
            mark: Mark::default(),
            pages: caps.pages.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// Whether `file`, which has a byte or more, can be read from the loop. Found out once.
    pub(crate) fn pages(&self, file: &OwnedFd) -> Pages {
        if let Some(pages) = self.pages.get() {
            return *pages;
        }
        match pages_of(file.as_fd()) {
            Some(pages) => *self.pages.get_or_init(|| pages),
            None => Pages::Unknown,
        }
    }

    /// What was learned about reading from the loop.
    pub(crate) fn pages_known(&self) -> Pages {
        self.pages.get().copied().unwrap_or(Pages::Unknown)
    }

    pub(crate) fn change_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        if errno == Errno::ROFS {
            self.degrade(site, errno);
        }
        errno::changing(site, path, errno)
    }

    /// A sync failed. That is final; only what passes by itself leaves the store fit for the next change.
    pub(crate) fn sync_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        if !errno::is_passing(errno) {
            log::error!(target: TARGET, "store.fsync_failed path={path:?} site={site} cause={errno}");
            self.degrade(site, errno);
        }
        errno::broken(site, path, errno)
    }

    /// No change is accepted from now on, here and by the other servers of the directory.
    pub(crate) fn degrade(&self, site: &'static str, cause: Errno) {
        if self.health.degrade(site, cause)
            && self.is_shared()
            && let Err(errno) = leave_mark(self.root().fd.as_fd())
        {
            log::error!(target: TARGET, "other servers of this folder are not informed: cause={errno}");
        }
    }

    /// Finds out whether the disk has failed for another server of the directory.
    pub(crate) fn look_elsewhere(&self) {
        if self.is_shared() {
            match self.mark.counts(self.root().fd.as_fd()) {
                Ok(counts) => self.health.is_degraded_elsewhere(counts),
                Err(errno) => log::debug!(target: TARGET, "whether the disk has failed elsewhere: cause={errno}"),
            }
        }
    }

    /// After a sync: refuses if another one has failed meanwhile, of whatever server. Then the success of this one is
    /// not worth much either.
    pub(crate) fn check_synced(&self) -> Result<(), StoreError> {
        self.look_elsewhere();
        self.health.check_writable()
    }

    /// True if the served directory itself was removed.
    pub(crate) fn is_root_gone(&self) -> bool {
        fstat(&self.root().fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// The part of the path of a name that follows the root.
    pub(crate) fn rest<'a>(&self, path: &'a str) -> &'a str {
        let rest = path.strip_prefix(&*self.at).unwrap_or(path);
        if self.at.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) }
    }

    /// True while other servers may change names in the root.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing.is_on()
    }

    /// What stands at a name that other servers are kept from changing, though this machine may remember what one of them
    /// has replaced: nothing, then.
    pub(crate) fn standing_now(&self, dir: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
        if self.is_shared() && !self.caps.local && linux::is_gone_elsewhere(dir, name) {
            return Ok(None);
        }
        stat::standing(dir, name)
    }

    pub(crate) fn root_path(&self) -> &Path {
        &self.root_path
    }

    pub(crate) fn root(&self) -> Arc<Dir> {
        Arc::clone(&lock(&self.root))
    }

    /// What the path of the root leads to now.
    pub(crate) fn look_at_root(&self) -> RootAt {
        let Ok(ours) = fstat(&self.root().fd) else { return RootAt::Unknown };
        match statat(CWD, &self.root_path, AtFlags::empty()) {
            // Not every file system of another machine or process counts the names of a directory.
            Ok(_) if ours.st_nlink == 0 && self.caps.local => RootAt::Elsewhere,
            Ok(there) if stat::id(&there) == stat::id(&ours) => RootAt::Here,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => RootAt::Elsewhere,
            // This process may not look, or the disk fails: that says nothing about the path.
            Err(_) => RootAt::Unknown,
        }
    }

    /// Opens what has the path of the root, if it can take the place of the root.
    pub(crate) fn open_successor(&self) -> Result<Arc<Dir>, Unfit> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(&self.root_path, flags, Mode::empty())?;
        let id = stat::id(&fstat(&fd)?);
        // Where nothing is mounted any more, the empty directory below has the path. And what is known of a file system
        // is known of its kind.
        let is_mounted = is_mount_point(fd.as_fd());
        if linux::file_system(fd.as_fd()) != self.kind || self.is_mounted && !is_mounted {
            return Err(Unfit::OtherFileSystem);
        }
        Ok(Arc::new(Dir { fd, id, path: "".into() }))
    }

    /// Serves another directory from now on.
    pub(crate) fn set_root(&self, root: Arc<Dir>) {
        *lock(&self.root) = root;
    }

    /// The descriptor of the root has become stale: opens the root again by its path. True if another
    /// descriptor is used from now on.
    pub(crate) fn reopen_root(&self) -> bool {
        // A mount is closed, and opened again from the root.
        if !self.at.is_empty() {
            return false;
        }
        let stale = self.root();
        let fresh = match self.open_successor() {
            Ok(fresh) => fresh,
            Err(unfit) => {
                log::warn!(target: TARGET, "the served folder is stale, and cannot be opened again: {unfit}");
                return false;
            }
        };
        let mut root = lock(&self.root);
        // Another worker may have been faster.
        if Arc::ptr_eq(&root, &stale) {
            log::warn!(target: TARGET, "the served folder was stale: opened again, {:?} is now {:?}", stale.id, fresh.id);
            *root = fresh;
        }
        true
    }

    /// A name vanished that was there a moment ago.
    pub(crate) fn gone(&self, site: &'static str, path: &str) -> StoreError {
        let source = Some(Errno::NOENT.into());
        if self.is_root_gone() {
            log::error!(target: TARGET, "the served folder itself was deleted, nothing can be stored");
            StoreError { failure: Failure::Internal, site, source }
        } else {
            log::debug!(target: TARGET, "path.race path={path:?} site={site}");
            StoreError { failure: Failure::Busy, site, source }
        }
    }
}
