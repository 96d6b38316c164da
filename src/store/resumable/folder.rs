//! `.filewharf/uploads`: its files by their names, and the clock of its file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, flock, fstat, futimens, openat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::store::fs::errno::SiteErrno;
use crate::store::fs::linux;
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, standing};
use crate::store::resumable::checkpoint::Checkpoint;
use crate::store::resumable::record::{INFO_LEN, Info, checkpoint_at, newest};
use crate::store::staging::locks::private_dir;
use crate::upload::UploadId;
use crate::wire::key::RESERVED;

pub(crate) const UPLOADS: &str = "uploads";
const CLOCK: &str = "CLOCK";

/// The directory, open.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) dir: Arc<Dir>,
    /// The reserved directory above it.
    pub(crate) above: OwnedFd,
    clock: OwnedFd,
    /// Other machines may write to the records, and this one would not notice: what it remembers of a record is dropped
    /// before each look.
    is_remote: bool,
}

pub(crate) fn part_name(id: UploadId) -> String {
    format!("{id}.part")
}

pub(crate) fn info_name(id: UploadId) -> String {
    format!("{id}.info")
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.fd.as_fd()
    }
}

impl Folder {
    /// Makes what is missing.
    pub(crate) fn make(root: BorrowedFd<'_>) -> Result<Self, SiteErrno> {
        let above = private_dir(root, RESERVED)?;
        let fd = private_dir(above.as_fd(), UPLOADS)?;
        Self::over(above, fd)
    }

    /// `None` if there is none: then there are no uploads.
    pub(crate) fn open(root: BorrowedFd<'_>) -> Result<Option<Self>, SiteErrno> {
        let open = |at, name| match openat(at, name, dir_flags(), Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(("openat .filewharf/uploads", errno)),
        };
        let Some(above) = open(root, RESERVED)? else { return Ok(None) };
        let Some(fd) = open(above.as_fd(), UPLOADS)? else { return Ok(None) };
        Self::over(above, fd).map(Some)
    }

    fn over(above: OwnedFd, fd: OwnedFd) -> Result<Self, SiteErrno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let clock = openat(&fd, CLOCK, flags, Mode::RUSR | Mode::WUSR).map_err(|e| ("openat CLOCK", e))?;
        let id = fstat(&fd).map(|stat| stat::id(&stat)).map_err(|e| ("fstat .filewharf/uploads", e))?;
        let path = format!("{RESERVED}/{UPLOADS}").into();
        let is_remote = !linux::is_on_this_machine(fd.as_fd());
        Ok(Self { dir: Arc::new(Dir { fd, id, path }), above, clock, is_remote })
    }

    /// Nanoseconds since 1970, by the clock of the file system.
    pub(crate) fn now_ns(&self) -> Result<u64, SiteErrno> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&self.clock, &Timestamps { last_access: now, last_modification: now })
            .map_err(|e| ("futimens CLOCK", e))?;
        let stat = fstat(&self.clock).map_err(|e| ("fstat CLOCK", e))?;
        Ok(mtime_ns(&stat))
    }

    /// Held while a file is made or removed without a record that could be locked: until the result is dropped.
    pub(crate) fn lock_making(&self) -> Result<OwnedFd, Errno> {
        // An open file of its own: threads that share one do not exclude each other.
        let clock = openat(&self.dir.fd, CLOCK, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        retry_on_intr(|| flock(&clock, FlockOperation::LockExclusive))?;
        Ok(clock)
    }

    pub(crate) fn open_part(&self, id: UploadId) -> Result<Option<OwnedFd>, Errno> {
        self.open_file(&part_name(id))
    }

    pub(crate) fn open_info(&self, id: UploadId) -> Result<Option<OwnedFd>, Errno> {
        self.open_file(&info_name(id))
    }

    fn open_file(&self, name: &str) -> Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| openat(&self.dir.fd, name, flags, Mode::empty())) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// An info file that must not be there yet.
    pub(crate) fn make_info(&self, id: UploadId) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        retry_on_intr(|| openat(&self.dir.fd, info_name(id), flags, Mode::RUSR | Mode::WUSR))
    }

    /// The length of a part, if it is there.
    pub(crate) fn part_len(&self, id: UploadId) -> Result<Option<u64>, Errno> {
        Ok(standing(self.dir.fd.as_fd(), &part_name(id))?.map(|stat| stat::len(&stat)))
    }

    pub(crate) fn read_info(&self, info: &OwnedFd, id: UploadId) -> Result<Info, Errno> {
        self.read_whole(info).map(|bytes| Info::parse(&bytes, id))
    }

    /// The newest whole checkpoint.
    pub(crate) fn read_checkpoint(&self, info: &OwnedFd, id: UploadId) -> Result<Option<Checkpoint>, Errno> {
        self.read_whole(info).map(|bytes| newest(&bytes, id))
    }

    fn read_whole(&self, info: &OwnedFd) -> Result<Vec<u8>, Errno> {
        if self.is_remote {
            linux::drop_cached(info.as_fd());
        }
        let mut bytes = vec![0; INFO_LEN];
        let mut done = 0;
        while done < bytes.len() {
            match retry_on_intr(|| pread(info, &mut bytes[done..], done as u64))? {
                0 => break,
                n => done += n,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    /// Removes the record first: see [`record`](super::record).
    pub(crate) fn remove(&self, id: UploadId) -> Result<(), Errno> {
        self.unlink(&info_name(id))?;
        self.unlink(&part_name(id))
    }

    pub(crate) fn remove_part(&self, id: UploadId) -> Result<(), Errno> {
        self.unlink(&part_name(id))
    }

    fn unlink(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.dir.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between systems")]
pub(crate) fn mtime_ns(stat: &rustix::fs::Stat) -> u64 {
    let seconds = u64::try_from(stat.st_mtime as i64).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(i128::from(stat.st_mtime_nsec)).unwrap_or(0))
}

/// The lock of a record: held by this open file until the result is dropped.
pub(crate) struct Locked<'a>(BorrowedFd<'a>);

impl<'a> Locked<'a> {
    pub(crate) fn take(info: &'a OwnedFd) -> Result<Self, Errno> {
        retry_on_intr(|| flock(info, FlockOperation::LockExclusive))?;
        Ok(Self(info.as_fd()))
    }

    /// `None` where it is held.
    pub(crate) fn try_take(info: &'a OwnedFd) -> Result<Option<Self>, Errno> {
        match retry_on_intr(|| flock(info, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(Self(info.as_fd()))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// False for a record that was removed since it was opened.
pub(crate) fn is_linked(info: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstat(info)?.st_nlink > 0)
}

pub(crate) fn write_checkpoint(info: &OwnedFd, id: UploadId, checkpoint: &Checkpoint) -> Result<(), Errno> {
    write_at(info, &checkpoint.encode(id), checkpoint_at(checkpoint.sequence))
}

pub(crate) fn write_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match retry_on_intr(|| pwrite(file, &bytes[done..], offset + done as u64))? {
            0 => return Err(Errno::IO),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A record without its part would be an upload that has lost its content.
    #[test]
    fn of_an_upload_that_cannot_be_removed_whole_the_record_is_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = openat(rustix::fs::CWD, dir.path(), dir_flags(), Mode::empty()).expect("a directory");
        let folder = Folder::make(root.as_fd()).expect("the directory of uploads");
        let id = UploadId([1; 16]);
        let at = |name: String| dir.path().join(RESERVED).join(UPLOADS).join(name);
        fs::write(at(info_name(id)), "a record").expect("a file");
        fs::create_dir(at(part_name(id))).expect("what cannot be removed as a file");
        assert!(folder.remove(id).is_err());
        assert!(!at(info_name(id)).exists() && at(part_name(id)).exists());
    }
}
