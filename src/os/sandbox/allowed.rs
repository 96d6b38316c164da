//! What a sandbox leaves to a server.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// What a server continues to use.
#[derive(Debug)]
pub struct Allowed<'a> {
    /// The served directory.
    pub root: BorrowedFd<'a>,
    /// Whether files in it are changed.
    pub writes: bool,
    /// Whether it may have to be opened by its path again: the mount point of a remote file system.
    pub may_be_remounted: bool,
    /// Files that are read again. They are replaced by renaming, so all in their directories can be read.
    pub files: &'a [PathBuf],
    /// The file of the log, which is renamed and then made again: files can be made and written in its directory.
    pub log_file: Option<&'a Path>,
}
