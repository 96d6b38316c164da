//! An upload of what is there already: acknowledged without its body.
//!
//! The promise is that of an upload: content and name are synced, for the file may come from a server that did not.

use std::os::fd::AsFd as _;

use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::command::Put;
use crate::error::StoreError;
use crate::object::{Meta, Placed, Stored};
use crate::platform::Outcome;
use crate::store::fs::stat::{self, Kind, may_replace};
use crate::store::namespace::Namespace;
use crate::store::staging::pending_syncs::Change;

impl Namespace {
    /// The file that has the name of an upload, if it has the announced length and digest, and the modification time
    /// that is asked for.
    pub(crate) fn find_same(&self, put: &Put) -> Result<Option<Box<Change>>, StoreError> {
        let (Some(digest), Some(len)) = (put.sha256.as_deref().copied(), put.len) else { return Ok(None) };
        if !self.fs.digests.is_used() {
            return Ok(None);
        }
        let path = put.key.as_str();
        // Whatever is in the way of a look at it: the upload will tell.
        let Ok(dir) = self.fs.dir(put.key.parent()) else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Ok(file) = retry_on_intr(|| openat(&dir.fd, put.key.name(), flags, Mode::empty())) else { return Ok(None) };
        let Ok(stat) = fstat(&file) else { return Ok(None) };
        let meta = stat::meta(&stat);
        let has_mode = !put.is_executable || meta.is_executable;
        let has_time = put.mtime.is_none_or(|seconds| seconds == meta.mtime);
        if stat::kind(&stat) != Kind::File || meta.len != len || !has_time || !has_mode {
            return Ok(None);
        }
        if self.fs.digests.find(&stat, &meta) != Some(digest) {
            return Ok(None);
        }
        // It may be another file than the one that was looked at before.
        may_replace(Some(&stat), &put.precondition).map_err(|failure| StoreError::refused(failure, "create"))?;
        if self.fs.durable {
            let synced = (self.fs.sync.content)(file.as_fd(), put.mtime.is_some());
            synced.map_err(|errno: Errno| self.fs.sync_error("fdatasync", path, errno))?;
            self.fs.health.check_writable()?;
        }
        let meta = Meta { sha256: Some(digest), ..meta };
        let stored = Stored { meta, durability: self.stored, placed: Placed::Replaced };
        let syncs = self.parents.syncs_for(&dir);
        Ok(Some(Box::new(Change { outcome: Outcome::Committed(stored), syncs, displaced: None })))
    }
}
