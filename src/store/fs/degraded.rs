//! A disk that failed, between servers that share the directory.
//!
//! A sync that fails is reported to the server that asked for it, and perhaps to no other; later syncs of others may
//! succeed without the pages that were lost. So the server that saw it leaves the mark `.filewharf/DEGRADED`: a line for
//! each server that was there then, with the name of its staging directory and the ctime of the lock in it, as a name
//! may be used again. The mark counts while one of them lives, which that lock tells. It is renamed into place, so it
//! is never read in part, and it is not removed: a mark without a living server says nothing.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Mutex;

use rustix::fs::{Dir, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, renameat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::stat::{self, DirId, standing};
use crate::store::mutex::lock;
use crate::wire::key::RESERVED;

const MARK: &str = "DEGRADED";
const STAGING: &str = "staging";
const LOCK: &str = "LOCK";
/// More names than there can be servers.
const MARK_BYTES_MAX: u64 = 64 * 1024;

/// A mark is one file: its inode, and when that was changed last.
type MarkId = (DirId, i128);

/// What is known of the mark under a root.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// One without a living server: it is not read again.
    void: Mutex<Option<MarkId>>,
}

/// Leaves the mark for all servers that are there now.
pub(crate) fn leave_mark(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let dir_flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let ours = openat(root, RESERVED, dir_flags, Mode::empty())?;
    let staging = openat(&ours, STAGING, dir_flags, Mode::empty())?;
    let mut text = String::new();
    for entry in Dir::read_from(&staging)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if let Ok(Some(held)) = standing(staging.as_fd(), &format!("{name}/{LOCK}")) {
            let _ = writeln!(text, "{name} {}", changed_ns(&held));
        }
    }
    let part = format!("{MARK}.{}", rustix::process::getpid().as_raw_nonzero());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&ours, &*part, flags, Mode::RUSR | Mode::WUSR)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let n = retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = &rest[n..];
    }
    renameat(&ours, &*part, &ours, MARK)
}

impl Mark {
    /// True while a server lives that was there when the disk failed.
    pub(crate) fn counts(&self, root: BorrowedFd<'_>) -> Result<bool, Errno> {
        let path = format!("{RESERVED}/{MARK}");
        let Some(there) = standing(root, &path)? else { return Ok(false) };
        if *lock(&self.void) == Some(id(&there)) {
            return Ok(false);
        }
        let file = openat(root, &*path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let read = id(&fstat(&file)?);
        let mut names = String::new();
        let text = File::from(file).take(MARK_BYTES_MAX).read_to_string(&mut names);
        text.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        for (name, changed) in names.lines().filter_map(|line| line.split_once(' ')) {
            if lives(root, name, changed)? {
                return Ok(true);
            }
        }
        *lock(&self.void) = Some(read);
        Ok(false)
    }
}

fn id(mark: &Stat) -> MarkId {
    (stat::id(mark), changed_ns(mark))
}

#[allow(clippy::unnecessary_cast, reason = "their types differ between systems")]
fn changed_ns(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime as i64) * 1_000_000_000 + stat.st_ctime_nsec as i128
}

/// True while the server with this staging directory holds the lock that was changed then.
fn lives(root: BorrowedFd<'_>, name: &str, changed: &str) -> Result<bool, Errno> {
    let path = format!("{RESERVED}/{STAGING}/{name}/{LOCK}");
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match retry_on_intr(|| openat(root, &*path, flags, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    if changed.parse() != Ok(changed_ns(&fstat(&file)?)) {
        return Ok(false);
    }
    // Shared: two servers that look at once do not take each other for a living one.
    match retry_on_intr(|| flock(file.as_fd(), FlockOperation::NonBlockingLockShared)) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno),
    }
}
