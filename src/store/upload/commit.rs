//! Making an upload visible: length, time, sync of the data, rename. The one way there is.
//!
//! The syncs of the directories come after, in `settle`. Whatever fails on the way, the staging file
//! is removed and the final name is left as it was.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, linkat, renameat, unlinkat};
use rustix::io::Errno;

use crate::command::Put;
use crate::error::{Failure, StoreError};
use crate::object::{Durability, Key, Meta, Placed, Precondition, Stored};
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::resolve::{Way, may_replace, standing};
use crate::store::fs::stat;
use crate::store::pool::group_commit::Owed;
use crate::store::pool::jobs::Reply;
use crate::store::shared::Disk;
use crate::store::upload::staging::SiteErrno;
use crate::store::upload::write::Staged;

/// Times the directories are made anew when someone removes them under us.
const PUBLISH_TRIES: u32 = 8;

/// A name in an open directory.
pub(crate) type At<'a> = (BorrowedFd<'a>, &'a str);

/// What got its name, and whether something had it before.
type Version = (Meta, Placed);

/// Why a staging file could not get its final name.
enum Unplaced {
    /// The directory vanished between its opening and the rename.
    Race,
    /// Anything else.
    Error(StoreError),
}

impl Disk {
    /// A whole small upload.
    pub(crate) fn store(&self, put: &Put, bytes: &[u8]) -> Result<(Reply, Owed), StoreError> {
        let staged = self.store_staged(put, bytes)?;
        self.commit(&staged, &put.key, bytes.len() as u64, &[], put.mtime, &put.precondition)
    }

    /// A whole small upload in its staging file.
    pub(crate) fn store_staged(&self, put: &Put, bytes: &[u8]) -> Result<Staged, StoreError> {
        self.fit_for_change()?;
        // All of it is written at once, which tells of a full disk just as well. Reserved room
        // would cost a sync more than it gains: its blocks are marked as written in a second step.
        let reserve = (!self.durable).then_some(bytes.len() as u64);
        self.check_space(Some(bytes.len() as u64))?;
        let staged = self.stage_file(put.key.as_str(), reserve)?;
        if let Err(error) = self.write(&staged, 0, bytes) {
            self.abort(&staged);
            return Err(error);
        }
        Ok(staged)
    }

    /// Makes a complete staging file visible: `prepend`, then the `len` bytes that were written.
    pub(crate) fn commit(
        &self,
        staged: &Staged,
        key: &Key,
        len: u64,
        prepend: &[u8],
        mtime: Option<i64>,
        precondition: &Precondition,
    ) -> Result<(Reply, Owed), StoreError> {
        let published = self
            .fit_for_change()
            .and_then(|()| self.complete(staged, key, len, prepend, mtime))
            .and_then(|()| self.publish(staged, key, precondition));
        match &published {
            // What owes syncs counts once they are done.
            Ok((_, owed)) if !owed.dirs.is_empty() => {}
            result => self.failures.of_commit(result.as_ref().err().map(|error| error.failure)),
        }
        if published.is_err() {
            self.abort(staged);
        }
        let ((meta, placed), owed) = published?;
        let durability = if self.durable { Durability::Durable } else { Durability::Written };
        Ok((Reply::Plain(Outcome::Committed(Stored { meta, durability, placed })), owed))
    }

    /// Everything that concerns the content: after this its bytes are where they were promised.
    fn complete(
        &self,
        staged: &Staged,
        key: &Key,
        len: u64,
        prepend: &[u8],
        mtime: Option<i64>,
    ) -> Result<(), StoreError> {
        let path = key.as_str();
        staged.check()?;
        if key.is_root() {
            return Err(StoreError::refused(Failure::Conflict("that is a folder"), "commit"));
        }
        let stat = fstat(&staged.file).map_err(|e| errno::broken("fstat", path, e))?;
        if stat::len(&stat) != len {
            log::error!(target: errno::TARGET, "path={path:?}: {len} bytes were sent, {} written", stat.st_size);
            return Err(StoreError::refused(Failure::Internal, "length"));
        }
        if !prepend.is_empty() {
            self.prepend(staged, len, prepend)?;
        }
        if let Some(seconds) = mtime {
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            set_mtime(staged.file.as_fd(), time).map_err(|e| self.change_error("futimens", path, e))?;
        }
        if self.durable {
            // A plain data sync need not keep what was set beside the content.
            let all = mtime.is_some() || self.file_mode.is_some();
            (self.sync.content)(staged.file.as_fd(), all).map_err(|e| self.sync_error("fdatasync", path, e))?;
            // Another upload's sync may have failed meanwhile: then this one's success is not
            // worth much either.
            self.fit_for_change()?;
        }
        Ok(())
    }

    fn publish(&self, staged: &Staged, key: &Key, precondition: &Precondition) -> Result<(Version, Owed), StoreError> {
        let _locks = self.lock_names(&[key])?;
        for _ in 0..PUBLISH_TRIES {
            let way = self.make_way(key.parent())?;
            match self.publish_in(&way, staged, key, precondition) {
                Ok(version) => return Ok((version, self.owes(&way.dir))),
                Err(Unplaced::Race) => self.undo(way),
                Err(Unplaced::Error(error)) => {
                    self.undo(way);
                    return Err(error);
                }
            }
        }
        Err(self.gone("renameat", key.as_str()))
    }

    fn publish_in(
        &self,
        way: &Way,
        staged: &Staged,
        key: &Key,
        precondition: &Precondition,
    ) -> Result<Version, Unplaced> {
        let (path, to) = (key.as_str(), (way.dir.fd.as_fd(), key.name()));
        let there = standing(to.0, to.1).map_err(|e| Unplaced::Error(self.change_error("fstatat", path, e)))?;
        may_replace(there.as_ref(), precondition)
            .map_err(|failure| Unplaced::Error(StoreError::refused(failure, "commit")))?;
        let absent = precondition.wants_absent();
        let from = (staged.dir.fd.as_fd(), &*staged.name);
        let replaced = there.as_ref().and_then(|there| self.keep(to, there));
        match self.place(from, to, absent) {
            Ok(()) => self.let_go(replaced),
            Err((_, Errno::EXIST)) if absent => {
                return Err(Unplaced::Error(StoreError::refused(Failure::PreconditionFailed, "renameat2")));
            }
            Err((site, Errno::NOENT)) => {
                return Err(match standing(from.0, from.1) {
                    Ok(Some(_)) => Unplaced::Race,
                    _ if self.is_root_gone() => Unplaced::Error(self.gone(site, path)),
                    _ => Unplaced::Error(errno::broken(site, path, Errno::NOENT)),
                });
            }
            // We never rename out of the file system: then something is wrong with the root.
            Err((site, Errno::XDEV)) => return Err(Unplaced::Error(errno::broken(site, path, Errno::XDEV))),
            Err((site, errno)) => return Err(Unplaced::Error(self.change_error(site, path, errno))),
        }
        // Only now: the rename has changed the ctime, which is part of the ETag.
        match fstat(&staged.file) {
            Ok(stat) => Ok((stat::meta(&stat), if there.is_some() { Placed::Replaced } else { Placed::New })),
            Err(errno) => Err(Unplaced::Error(errno::broken("fstat", path, errno))),
        }
    }

    /// Gives a file its name; with `absent` never over anything.
    pub(crate) fn place(&self, from: At<'_>, to: At<'_>, absent: bool) -> Result<(), SiteErrno> {
        if !absent {
            return renameat(from.0, from.1, to.0, to.1).map_err(|e| ("renameat", e));
        }
        if self.caps.noreplace {
            return linux::rename_noreplace(from.0, from.1, to.0, to.1).map_err(|e| ("renameat2", e));
        }
        match linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
            Ok(()) => unlinkat(from.0, from.1, AtFlags::empty()).map_err(|e| ("unlinkat", e)),
            // A directory, or a file system without hard links: look first. Uploads to one name come
            // one after the other, so only another process could come between.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => match standing(to.0, to.1) {
                Ok(None) => renameat(from.0, from.1, to.0, to.1).map_err(|e| ("renameat", e)),
                Ok(Some(_)) => Err(("renameat", Errno::EXIST)),
                Err(errno) => Err(("fstatat", errno)),
            },
            Err(errno) => Err(("linkat", errno)),
        }
    }
}

fn set_mtime(file: BorrowedFd<'_>, time: Timespec) -> Result<(), Errno> {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    futimens(file, &Timestamps { last_access, last_modification: time })
}
