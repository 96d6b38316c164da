//! How much space the file systems have that are free.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::fstatvfs;
use rustix::io::Errno;

use crate::error::StoreError;
use crate::store::fs::errno;
use crate::store::fs::root::FileSystem;

/// Bytes that are free for this process on the file system of an open directory.
pub(crate) fn free_bytes(dir: BorrowedFd<'_>) -> Result<u64, Errno> {
    let fs = fstatvfs(dir)?;
    // A file system of no blocks does not count them.
    Ok(if fs.f_blocks > 0 { fs.f_bavail.saturating_mul(fs.f_frsize) } else { u64::MAX })
}

impl FileSystem {
    /// The same for the directory at a path, whatever is mounted there. Without `is_strict`, for the nearest one that is
    /// there.
    pub(crate) fn free_bytes_at(&self, mut path: &str, is_strict: bool) -> Result<u64, StoreError> {
        self.health.check_readable()?;
        let dir = loop {
            match self.dir_under(path) {
                Ok(dir) => break dir,
                Err(_) if !is_strict && !path.is_empty() => path = path.rsplit_once('/').map_or("", |(above, _)| above),
                Err(Errno::NOTDIR) => return Err(self.not_a_dir(path)),
                Err(errno) => return Err(errno::reading("open folder", path, errno)),
            }
        };
        free_bytes(dir.fd.as_fd()).map_err(|errno| errno::reading("fstatvfs", path, errno))
    }
}
