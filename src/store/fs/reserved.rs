//! The reserved directory under another name: that of a file system which ignores case or knows short
//! names, or that of a link which stays inside the root.
//!
//! `wire::key` refuses the name itself. What is compared here is device and inode.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;

use crate::store::fs::linux;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat;
use crate::store::fs::stat::standing;
use crate::wire::key::{RESERVED, is_reserved};

/// [`RESERVED`] as it can be spelled where case, dots and blanks at the end or unseen characters do not count, and its
/// short name.
const SPELLINGS: [&str; 5] = [".FILEWHARF", ".filewharf.", ".filewharf ", ".file\u{ad}wharf", "FILEWH~1"];

/// Whether the reserved directory may have a second name in `root`. Unknown where it does not exist yet, as
/// in a read-only store: then it may.
pub(crate) fn has_aliases(root: BorrowedFd<'_>) -> bool {
    let Ok(Some(reserved)) = standing(root, RESERVED) else { return true };
    let is_it = |name| matches!(standing(root, name), Ok(Some(other)) if stat::id(&other) == stat::id(&reserved));
    SPELLINGS.into_iter().any(is_it)
}

impl FileSystem {
    /// Fails with `EACCES` if the first component of `path` is the reserved directory of `top`.
    pub(crate) fn refuse_alias(&self, top: &Dir, path: &[u8]) -> Result<(), Errno> {
        // Whether another file system has aliases was not found out.
        if !self.aliases && top.path.is_empty() || path.is_empty() {
            return Ok(());
        }
        let top = top.fd.as_fd();
        let Some(reserved) = standing(top, RESERVED)? else { return Ok(()) };
        let first = path.split(|byte| *byte == b'/').next().unwrap_or(path);
        match statat(top, first, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat::id(&stat) == stat::id(&reserved) => Err(Errno::ACCESS),
            // The call that follows meets it again.
            _ => Ok(()),
        }
    }

    /// Fails with `EACCES` if a file that was opened from `top` through links is in a reserved directory. Only the kernel
    /// knows where the links have led.
    pub(crate) fn refuse_linked(&self, top: &Dir, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let (above, file) = (linux::path_of(top.fd.as_fd())?, linux::path_of(file)?);
        // It was moved between the two calls: try again.
        let path = file.strip_prefix(&*above).ok_or(Errno::AGAIN)?;
        let path = path.strip_prefix(b"/").unwrap_or(path);
        if path.split(|byte| *byte == b'/').any(is_reserved) {
            Err(Errno::ACCESS)
        } else {
            self.refuse_alias(top, path)
        }
    }
}
