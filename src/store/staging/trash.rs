//! Directories that were removed with their content: `.filewharf/trash/<id>`, emptied in steps by a worker. What a
//! process that ended has left there is removed after the next start.
//!
//! A directory in one that is emptied is moved beside it first: so no path gets long, one directory is open at a time,
//! and nothing is removed that is not directly in a directory of the trash. Links are removed, never followed; what is
//! mounted cannot be moved, so it is never entered.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, Weak};

use rustix::fs::{AtFlags, Dir as Names, DirEntry, FileType, Mode, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::store::fs::errno::{SiteErrno, TARGET};
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::mutex::lock;
use crate::store::quota::ledger::MovingDir;
use crate::store::staging::locks::private_dir;
use crate::wire::key::RESERVED;

const TRASH: &str = "trash";
/// Names removed in one step.
const STEP: usize = 64;

/// The trash of one file system: made when something is removed into it, open while anything is in it.
#[derive(Debug, Default)]
pub(crate) struct Trash(Mutex<Weak<Dir>>);

impl Trash {
    /// `.filewharf/trash`, and what else must be synced before what is in it is there: `.filewharf`, if it was just made.
    pub(crate) fn open(&self, root: &Dir) -> Result<(Arc<Dir>, Option<Arc<Dir>>), SiteErrno> {
        let failed = |errno| ("fstat trash", errno);
        let mut open = lock(&self.0);
        if let Some(trash) = open.upgrade() {
            return Ok((trash, None));
        }
        let ours = private_dir(root.fd.as_fd(), RESERVED)?;
        let is_there = standing(ours.as_fd(), TRASH).map_err(|e| ("fstatat trash", e))?.is_some();
        let trash = Dir::of(private_dir(ours.as_fd(), TRASH)?, TRASH).map_err(failed)?;
        let above = if is_there { None } else { Some(Dir::of(ours, RESERVED).map_err(failed)?) };
        *open = Arc::downgrade(&trash);
        Ok((trash, above))
    }
}

/// The removal of one tree that is in the trash.
#[derive(Debug)]
pub(crate) struct Removal {
    trash: Arc<Dir>,
    /// The name of the tree, and by which the directories in it are named once they are beside it.
    top: Box<str>,
    id: Box<str>,
    /// Directories moved beside it, and how many of those and itself are removed.
    moved: u64,
    removed: u64,
    entries: Option<Names>,
    /// The present pass over a directory has removed something.
    found: bool,
    /// What the quotas still count.
    charged: Option<MovingDir>,
}

impl Removal {
    pub(crate) fn new(trash: Arc<Dir>, top: &str, id: &str, charged: Option<MovingDir>) -> Self {
        let (top, id) = (top.into(), id.into());
        Self { trash, top, id, moved: 0, removed: 0, entries: None, found: false, charged }
    }

    /// Removes a few names; false once the tree is gone, or what cannot be removed is left.
    pub(crate) fn step(&mut self) -> bool {
        for _ in 0..STEP {
            let Some(entries) = &mut self.entries else {
                if self.removed > self.moved {
                    return false;
                }
                self.open();
                continue;
            };
            match entries.read() {
                Some(Ok(entry)) => self.remove(&entry),
                // Some file systems skip names when others are removed while they are read.
                _ if std::mem::take(&mut self.found) => {
                    if let Some(entries) = &mut self.entries {
                        entries.rewind();
                    }
                }
                _ => self.end(),
            }
        }
        true
    }

    fn name(&self, nth: u64) -> String {
        if nth == 0 { self.top.to_string() } else { format!("{}.{nth}", self.id) }
    }

    fn open(&mut self) {
        let name = self.name(self.removed);
        match openat(&self.trash.fd, &*name, dir_flags(), Mode::empty()).and_then(Names::new) {
            Ok(entries) => (self.entries, self.found) = (Some(entries), false),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let _ = unlinkat(&self.trash.fd, &*name, AtFlags::empty());
                self.removed += 1;
            }
            Err(errno) => self.ended(&name, Err(errno)),
        }
    }

    fn remove(&mut self, entry: &DirEntry) {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        let gone = match entry.file_type() {
            FileType::Directory => self.move_out(name),
            _ => match self.unlink(name) {
                // What they say of a directory differs between systems.
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => self.move_out(name),
                other => other,
            },
        };
        self.found |= gone.is_ok();
    }

    fn unlink(&self, name: &CStr) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Ok(()) };
        let len = match &self.charged {
            Some(_) => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .ok()
                .filter(|stat| stat::kind(stat) == Kind::File)
                .map(|stat| stat::len(&stat)),
            None => None,
        };
        unlinkat(dir, name, AtFlags::empty()).or_else(|errno| {
            self.open_up(errno)?;
            unlinkat(dir, name, AtFlags::empty())
        })?;
        if let (Some(charged), Some(len)) = (&self.charged, len) {
            charged.removed(len);
        }
        Ok(())
    }

    /// Moves a directory beside the tree, where its turn comes.
    fn move_out(&mut self, name: &CStr) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Ok(()) };
        let to = self.name(self.moved + 1);
        let moved = renameat(dir, name, &self.trash.fd, &*to).or_else(|errno| {
            // Either of them may not be changed: their owner may permit it.
            self.open_up(errno)?;
            fchmod(openat(dir, name, dir_flags(), Mode::empty())?, Mode::RWXU)?;
            renameat(dir, name, &self.trash.fd, &*to)
        });
        moved.inspect(|()| self.moved += 1)
    }

    /// The present directory may not be changed: its owner may be permitted to.
    fn open_up(&self, errno: Errno) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Err(errno) };
        if errno == Errno::ACCESS { fchmod(dir, Mode::RWXU) } else { Err(errno) }
    }

    /// A pass over the present directory has found nothing that can be removed.
    fn end(&mut self) {
        self.entries = None;
        let name = self.name(self.removed);
        let gone = unlinkat(&self.trash.fd, &*name, AtFlags::REMOVEDIR);
        self.ended(&name, gone);
    }

    fn ended(&mut self, name: &str, gone: Result<(), Errno>) {
        self.removed += 1;
        if let Err(cause) = gone
            && cause != Errno::NOENT
        {
            log::warn!(target: TARGET, "could not remove .filewharf/trash/{name}: {cause}");
        }
    }
}

/// What processes that ended have left in the trash.
#[derive(Debug)]
pub(crate) struct Leftovers {
    trash: Arc<Dir>,
    entries: Names,
    /// By which what is in them is named.
    id: String,
    count: u64,
    at_work: Option<Removal>,
}

impl Leftovers {
    /// `None` where nothing was ever removed so. `id` is of this process.
    pub(crate) fn find(ours: BorrowedFd<'_>, id: &str) -> Option<Self> {
        let fd = openat(ours, TRASH, dir_flags(), Mode::empty()).ok()?;
        let entries = Names::read_from(&fd).ok()?;
        Some(Self { trash: Dir::of(fd, TRASH).ok()?, entries, id: id.to_owned(), count: 0, at_work: None })
    }

    /// Does a little; false when there is nothing left to do.
    pub(crate) fn step(&mut self) -> bool {
        if let Some(removal) = &mut self.at_work {
            if !removal.step() {
                self.at_work = None;
            }
            return true;
        }
        let Some(Ok(entry)) = self.entries.read() else { return false };
        // Those of this process are removed by their own jobs.
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
            && !name.starts_with(&*self.id)
        {
            self.count += 1;
            let id = format!("{}left-{}", self.id, self.count);
            self.at_work = Some(Removal::new(Arc::clone(&self.trash), name, &id, None));
        }
        true
    }
}
