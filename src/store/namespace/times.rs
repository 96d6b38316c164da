//! Sets what is kept about a file or a directory: when it was modified, and the properties of clients. Like a rename it
//! changes the ctime, so that the file has another ETag; its content is the same, and so is its digest.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::command::Answer;
use crate::error::{Failure, StoreError};
use crate::object::Key;
use crate::platform::Outcome;
use crate::properties::{self, UNKEPT};
use crate::store::fs::errno;
use crate::store::fs::properties as kept;
use crate::store::fs::stat;
use crate::store::namespace::Namespace;
use crate::store::namespace::stripes::lock_names;
use crate::store::staging::pending_syncs::Change;

impl Namespace {
    /// Changes the properties, and then the time if one is given. With neither, it is only looked what is there.
    pub(crate) fn set_kept(
        &self,
        key: &Key,
        mtime: Option<i64>,
        changes: &[properties::Change],
    ) -> Result<Change, StoreError> {
        self.fs.health.check_writable()?;
        if key.is_root() {
            let words = match changes {
                [] => "the served folder itself keeps its time",
                _ => "the served folder itself keeps no properties",
            };
            return Err(StoreError::refused(Failure::Denied(words), "futimens"));
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
        if cfg!(feature = "webdav") && !changes.is_empty() {
            self.change_properties(file.as_fd(), path, changes)?;
        }
        if let Some(mtime) = mtime {
            set_mtime(file.as_fd(), Timespec { tv_sec: mtime, tv_nsec: 0 })
                .map_err(|e| self.fs.change_error("futimens", path, e))?;
        }
        if self.fs.durable {
            (self.fs.sync.content)(file.as_fd(), true).map_err(|e| self.fs.sync_error("fsync", path, e))?;
            self.fs.health.check_writable()?;
        }
        let after = fstat(&file).map_err(|e| errno::broken("fstat", path, e))?;
        let node = stat::node(&after).ok_or(StoreError::refused(Failure::NotFound, "fstat"))?;
        let has_time = match mtime {
            Some(mtime) => after.st_mtime == mtime,
            None => (after.st_mtime, after.st_mtime_nsec) == (before.st_mtime, before.st_mtime_nsec),
        };
        if let Some(digest) = digest.filter(|_| unchanged && after.st_size == before.st_size && has_time) {
            self.fs.digests.keep(self.fs.root().fd.as_fd(), &after, &digest);
        }
        let outcome = Outcome::Answered(Answer::TimeSet(node));
        Ok(Change { outcome, syncs: self.parents.syncs_for(&dir), displaced: None })
    }

    fn change_properties(
        &self,
        file: BorrowedFd<'_>,
        path: &str,
        changes: &[properties::Change],
    ) -> Result<(), StoreError> {
        let failed = |site, errno| match errno {
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM => StoreError::refused(UNKEPT, site),
            // Other attributes of the file take space too.
            Errno::TOOBIG | Errno::RANGE => StoreError::refused(Failure::NoSpace, site),
            errno => self.fs.change_error(site, path, errno),
        };
        let there = kept::of(file).map_err(|errno| failed("fgetxattr", errno))?.unwrap_or_default();
        let changed = there.changed(changes).ok_or(StoreError::refused(Failure::NoSpace, "properties"))?;
        if changed == there {
            return Ok(());
        }
        kept::set(file, &changed).map_err(|errno| failed("fsetxattr", errno))
    }
}

pub(super) fn set_mtime(file: BorrowedFd<'_>, time: Timespec) -> Result<(), Errno> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(file, &Timestamps { last_access, last_modification: time })
}
