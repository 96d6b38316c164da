//! A disk in memory that remembers every write and every flush, as a block device of the kernel:
//! one file in a FUSE file system of our own, with a loop device on top.
//!
//! Its content can be replaced at once while nothing is mounted, which makes a new crash image
//! cost no more than a pointer. Requests are served one at a time, in the order in which the log
//! has them. Whatever was attached is detached when it is dropped.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::image::{Image, Record};
use crate::story::Event;

/// Drop the cache of a block device: `_IO(0x12, 97)`.
const BLKFLSBUF: libc::c_ulong = 0x1261;
const FILE: &str = "disk";
const FILE_INODE: INodeNo = INodeNo(2);
/// Nothing about the file ever changes but its content.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

#[derive(Default)]
struct State {
    image: Image,
    log: Vec<Record>,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk, attached.
pub struct Device {
    state: Shared,
    node: PathBuf,
    session: Option<BackgroundSession>,
}

impl Device {
    /// A disk of zeroes; the FUSE file system is mounted on `dir`, which exists and is empty.
    pub fn attach(dir: &Path, len: u64) -> Result<Self, String> {
        let state = Shared::default();
        let files = Files { state: Arc::clone(&state), len };
        let session = fuser::spawn_mount(files, dir, &fuser::Config::default())
            .map_err(|e| format!("cannot mount a FUSE file system (root? /dev/fuse?): {e}"))?;
        let mut device = Self { state, node: PathBuf::new(), session: Some(session) };
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).arg(dir.join(FILE));
        device.node = run(&mut losetup)
            .map(|out| PathBuf::from(out.trim()))
            .map_err(|e| format!("cannot attach a loop device: {e}"))?;
        Ok(device)
    }

    /// The block device.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Replaces all content and forgets what was recorded. Only while nothing is mounted.
    pub fn load(&self, image: Image) -> Result<(), String> {
        *lock(&self.state) = State { image, log: Vec::new() };
        // The kernel keeps what it has read.
        let notifier =
            self.session.as_ref().map(BackgroundSession::notifier).ok_or("it is attached until it is dropped")?;
        notifier.inval_inode(FILE_INODE, 0, 0).map_err(|e| format!("cannot replace the content of the disk: {e}"))
    }

    /// Drops what the kernel has cached of the block device; `BUSY` as long as it is mounted,
    /// wherever that may be.
    pub fn forget_cache(&self) -> Result<(), Errno> {
        // Exclusive is how a file system holds its device.
        let node = open(&self.node, OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty())?;
        // SAFETY: the descriptor is open, and this request (BLKFLSBUF of linux/fs.h) has no argument.
        match unsafe { libc::ioctl(node.as_raw_fd(), BLKFLSBUF, 0) } {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }

    /// What is on it now.
    pub fn image(&self) -> Image {
        lock(&self.state).image.clone()
    }

    /// What was recorded since the last `load` or `take_log`.
    pub fn take_log(&self) -> Vec<Record> {
        std::mem::take(&mut lock(&self.state).log)
    }

    /// Puts a note at this place of the log.
    pub fn note(&self, event: Event) {
        lock(&self.state).log.push(Record::Note(event));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.node.as_os_str().is_empty()
            && let Err(error) = run(Command::new("losetup").arg("--detach").arg(&self.node))
        {
            eprintln!("{} stays attached: {error}", self.node.display());
        }
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("the FUSE file system stays mounted: {error}");
        }
    }
}

/// Runs an outside program to its end; what it printed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// The FUSE side: a root directory with one file.
struct Files {
    state: Shared,
    len: u64,
}

impl Files {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0),
            FILE_INODE => (FileType::RegularFile, self.len),
            _ => return None,
        };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (ino, blocks, perm, nlink, blksize) = (inode, size / 512, 0o600, 1, 4096);
        Some(FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize,
            flags: 0,
        })
    }
}

impl Filesystem for Files {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE_INODE) {
            Some(attributes) if parent == INodeNo::ROOT && name == FILE => {
                reply.entry(&FOR_EVER, &attributes, Generation(0));
            }
            _ => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn open(&self, _req: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _req: &Request,
        _inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = u64::from(size).min(self.len.saturating_sub(offset));
        let mut bytes = vec![0; len as usize];
        lock(&self.state).image.read(offset, &mut bytes);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _req: &Request,
        _inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > self.len {
            return reply.error(fuser::Errno::ENOSPC);
        }
        let mut state = lock(&self.state);
        state.image.write(offset, data);
        state.log.push(Record::Write { offset, bytes: data.into() });
        drop(state);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _req: &Request, _inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        lock(&self.state).log.push(Record::Flush);
        reply.ok();
    }

    /// Discards are refused: file systems do without, and nothing then depends on what a disk
    /// makes of them.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EOPNOTSUPP);
    }
}
