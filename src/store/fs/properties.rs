//! The properties that clients keep with files and directories: one extended attribute of each (xattr(7)), so that they
//! move with it, and backups take them along.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::StoreError;
use crate::object::{Entry, Key};
use crate::properties::Properties;
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::At;

/// Those of what stands at a name. What this server may not read has none for it.
pub(crate) fn at((dir, name): At<'_>) -> Result<Option<Properties>, Errno> {
    // Most files have none, which takes one call to find out where the kernel has that.
    if !cfg!(feature = "webdav") || linux::lacks_properties((dir, name)) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| openat(dir, name, flags, Mode::empty())) {
        Ok(file) => of(file.as_fd()),
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Those of an open file or directory.
pub(crate) fn of(file: BorrowedFd<'_>) -> Result<Option<Properties>, Errno> {
    Ok(linux::properties(file)?.and_then(Properties::read))
}

pub(crate) fn set(file: BorrowedFd<'_>, properties: &Properties) -> Result<(), Errno> {
    let bytes = Some(properties.bytes()).filter(|bytes| !bytes.is_empty());
    linux::set_properties(file, bytes)
}

impl FileSystem {
    /// What has this name, with its digest and its properties.
    pub(crate) fn describe(&self, key: &Key) -> Result<Entry, StoreError> {
        let path = key.as_str();
        let node = self.stat(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let properties = match self.open_under(path, flags, self.links) {
            Ok(file) => of(file.as_fd()).unwrap_or_default(),
            Err(Errno::ACCESS | Errno::PERM) => None,
            Err(errno) => return Err(errno::reading("open", path, errno)),
        };
        Ok(Entry { properties, ..Entry::new(key.name(), node) })
    }
}
