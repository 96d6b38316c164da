//! Sets when a file or a directory was modified. Like a rename it changes the ctime, so that the file has another ETag;
//! its content is the same, and so is its digest.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::command::Answer;
use crate::error::{Failure, StoreError};
use crate::object::Key;
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::stat;
use crate::store::namespace::Namespace;
use crate::store::namespace::stripes::lock_names;
use crate::store::staging::pending_syncs::Change;

impl Namespace {
    pub(crate) fn set_time(&self, key: &Key, mtime: i64) -> Result<Change, StoreError> {
        self.fs.health.check_writable()?;
        if key.is_root() {
            return Err(StoreError::refused(Failure::Denied("the served folder itself keeps its time"), "futimens"));
        }
        let path = key.as_str();
        let _locks = lock_names(&self.fs, &[key])?;
        let dir = self.fs.dir(key.parent()).map_err(|e| errno::reading("open folder", path, e))?;
        // Refuses what is no file and no directory before it is opened.
        self.source(dir.fd.as_fd(), key)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&dir.fd, key.name(), flags, Mode::empty()));
        let file = file.map_err(|e| errno::reading("openat", path, e))?;
        let before = fstat(&file).map_err(|e| errno::broken("fstat", path, e))?;
        let digest = self.kept_digest(&before);
        let unchanged = fstat(&file).is_ok_and(|now| stat::etag(&now) == stat::etag(&before));
        set_mtime(file.as_fd(), Timespec { tv_sec: mtime, tv_nsec: 0 })
            .map_err(|e| self.fs.change_error("futimens", path, e))?;
        if self.fs.durable {
            (self.fs.sync.content)(file.as_fd(), true).map_err(|e| self.fs.sync_error("fsync", path, e))?;
            self.fs.health.check_writable()?;
        }
        let after = fstat(&file).map_err(|e| errno::broken("fstat", path, e))?;
        let node = stat::node(&after).ok_or(StoreError::refused(Failure::NotFound, "fstat"))?;
        if let Some(digest) = digest.filter(|_| unchanged && after.st_size == before.st_size && after.st_mtime == mtime)
        {
            self.fs.digests.keep(self.fs.root().fd.as_fd(), &after, &digest);
        }
        let outcome = Outcome::Answered(Answer::TimeSet(node));
        Ok(Change { outcome, syncs: self.parents.syncs_for(&dir), displaced: None })
    }
}

pub(super) fn set_mtime(file: BorrowedFd<'_>, time: Timespec) -> Result<(), Errno> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(file, &Timestamps { last_access, last_modification: time })
}
