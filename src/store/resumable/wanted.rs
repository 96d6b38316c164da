//! Uploads that another server of the directory is asked to leave: the mark `.filewharf/wanted/ID`.
//!
//! The request that finds an upload attached elsewhere leaves the mark, and is tried again for a while. The server that
//! is attached finds the mark at its next look, has its connection save what it has received and leave the upload, as
//! for a newer request of its own, and removes the mark. So does a server that attaches: the mark was for an older one.

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::platform::Op;
use crate::store::fs::errno::{SiteErrno, TARGET};
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::stat::standing;
use crate::store::mutex::lock;
use crate::store::resumable::attachment::LEASE;
use crate::store::resumable::folder::{Folder, mtime_ns};
use crate::store::resumable::found::{LEASE_HELD, PART_LOCKED};
use crate::store::resumable::journal::duration_ns;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::locks::private_dir;
use crate::upload::UploadId;

const WANTED: &str = "wanted";
/// Marks that one look takes in.
const LOOK_MAX: usize = 4096;

impl ResumableUploads {
    /// An operation that may find its upload attached to another server, for another try.
    pub(crate) fn again(&self, op: &Op) -> Option<(UploadId, Op)> {
        if !self.fs.is_shared() {
            return None;
        }
        match op {
            Op::OpenUpload { upload, len, client, permit } => {
                let (upload, permit) = (upload.clone(), permit.clone());
                Some((upload.id()?, Op::OpenUpload { upload, len: *len, client: *client, permit }))
            }
            Op::RemoveUpload { id, permit } => Some((*id, Op::RemoveUpload { id: *id, permit: permit.clone() })),
            _ => None,
        }
    }

    /// Has the server that is attached leave the upload. A mark that cannot be left is only a longer wait.
    pub(crate) fn want(&self, id: UploadId) {
        let Ok(Some(folder)) = self.existing_folder("") else { return };
        if let Err((site, cause)) = leave_mark(&folder, id) {
            log::debug!(target: TARGET, "another server is not asked to leave an upload: {site}: {cause}");
        }
    }

    /// The upload is attached here from now on.
    pub(crate) fn is_had(&self, folder: &Folder, id: UploadId) {
        if self.fs.is_shared() {
            let _ = unlinkat(&folder.above, format!("{WANTED}/{id}"), AtFlags::empty());
        }
    }

    /// The uploads attached here that another server wants.
    pub(crate) fn wanted(&self) -> Vec<UploadId> {
        let Ok(Some(folder)) = self.existing_folder("") else { return Vec::new() };
        let Ok(dir) = openat(&folder.above, WANTED, dir_flags(), Mode::empty()) else { return Vec::new() };
        let Ok(names) = Dir::read_from(&dir) else { return Vec::new() };
        let ids = names.filter_map(|entry| UploadId::parse(entry.ok()?.file_name().to_str().ok()?));
        let mut wanted = Vec::new();
        for id in ids.take(LOOK_MAX) {
            let is_here = lock(&self.index).attached(id).is_some();
            if is_here {
                wanted.push(id);
            }
            // The server that it was for has ended, or has left the upload otherwise.
            let is_old = || {
                let mark = standing(dir.as_fd(), &id.to_string()).ok().flatten();
                let now_ns = self.now_ns(&folder, "").ok();
                mark.zip(now_ns).is_some_and(|(mark, now)| now.saturating_sub(mtime_ns(&mark)) > duration_ns(LEASE))
            };
            if is_here || is_old() {
                let _ = unlinkat(&dir, id.to_string(), AtFlags::empty());
            }
        }
        wanted
    }
}

/// True if an operation failed because another server is attached to its upload.
pub(crate) fn is_elsewhere(error: &StoreError) -> bool {
    error.failure == Failure::Locked && matches!(error.site, PART_LOCKED | LEASE_HELD)
}

fn leave_mark(folder: &Folder, id: UploadId) -> Result<(), SiteErrno> {
    let dir = private_dir(folder.above.as_fd(), WANTED)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dir, id.to_string(), flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(("openat wanted", errno)),
    }
}
