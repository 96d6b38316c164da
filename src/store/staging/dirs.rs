//! The staging directory of this process, and the sweeping of those that dead processes left.
//!
//! `.filewharf/staging/<pid>-<start>/` with a file `LOCK` held by `flock`: alive as long as the
//! lock is held. Nothing outside `.filewharf` is ever touched here, and neither is a directory that
//! another process has locked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use crate::store::fs::errno::SiteErrno;
use crate::store::fs::errno::TARGET;
use crate::store::fs::sharing::Sharing;
use crate::store::mutex::lock;
use crate::store::quota::entries::mark;
use crate::store::quota::ledger::Quotas;
use crate::store::staging::locks::{LOCK, RootLock, claim, is_of_living, private_dir};
use crate::store::staging::trash::{Leftovers, MARK};
use crate::wire::key::RESERVED;

/// Files removed in one step of a sweep: a commit queued after a step waits about a millisecond.
const SWEEP_STEP: usize = 64;
/// Names tried for an own directory; each failure means another process was faster.
const NAME_TRIES: u64 = 64;

/// One locked staging directory.
#[derive(Debug)]
pub(crate) struct StageDir {
    pub(crate) fd: OwnedFd,
    base: OwnedFd,
    name: String,
    _lock: OwnedFd,
}

/// The staging directory of this process, which may be made again.
#[derive(Debug)]
pub(crate) struct StageDirs {
    current: Mutex<Arc<StageDir>>,
    next: AtomicU64,
    root_lock: RootLock,
}

impl StageDirs {
    /// Locks `root`, and makes and locks a directory of our own under it.
    pub(crate) fn prepare(root: BorrowedFd<'_>, sharing: &Arc<Sharing>) -> Result<Self, SiteErrno> {
        let ours = private_dir(root, RESERVED)?;
        let root_lock = RootLock::take(ours.as_fd(), sharing)?;
        let current = Mutex::new(Arc::new(StageDir::prepare(ours.as_fd())?));
        Ok(Self { current, next: AtomicU64::new(0), root_lock })
    }

    /// The lock on the root, for another process to hold as well.
    pub(crate) fn lock(&self) -> std::io::Result<Option<OwnedFd>> {
        self.root_lock.duplicate()
    }

    pub(crate) fn current(&self) -> Arc<StageDir> {
        Arc::clone(&lock(&self.current))
    }

    /// `gone` was removed by hand: makes a new one, unless another worker just did.
    pub(crate) fn renew(&self, root: BorrowedFd<'_>, gone: &Arc<StageDir>) -> Result<Arc<StageDir>, SiteErrno> {
        let mut current = lock(&self.current);
        if Arc::ptr_eq(&current, gone) {
            let ours = private_dir(root, RESERVED)?;
            self.root_lock.renew(ours.as_fd())?;
            *current = Arc::new(StageDir::prepare(ours.as_fd())?);
            log::warn!(target: TARGET, "the staging folder is not there any more; made a new one");
        }
        Ok(Arc::clone(&current))
    }

    /// A name not used in the trash yet, for what was at this path.
    pub(crate) fn trash_name(&self, path: &str) -> String {
        format!("{}-{}{MARK}{}", self.current().name, self.fresh_name(), mark(path))
    }

    /// A name not used in this directory yet.
    pub(crate) fn fresh_name(&self) -> String {
        format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl AsFd for StageDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl StageDir {
    fn prepare(ours: BorrowedFd<'_>) -> Result<Self, SiteErrno> {
        let base = private_dir(ours, "staging")?;
        let pid = rustix::process::getpid().as_raw_nonzero();
        #[allow(clippy::disallowed_methods, reason = "only makes the name differ from those of earlier processes")]
        let start = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_micros());
        for attempt in 0..u128::from(NAME_TRIES) {
            let name = format!("{pid}-{}", start + attempt);
            match mkdirat(&base, &*name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(("mkdirat staging", errno)),
            }
            // A sweeper may take the directory for a dead one before its lock is held: then we try
            // the next name.
            if let Some((fd, lock)) = claim(base.as_fd(), &name) {
                return Ok(Self { fd, base, name, _lock: lock });
            }
        }
        Err(("flock staging", Errno::AGAIN))
    }

    /// True if a process lives, perhaps this one, that has made something of this name elsewhere.
    pub(crate) fn is_of_living(&self, name: &str) -> bool {
        is_of_living(self.base.as_fd(), name)
    }

    /// True if other processes, alive or dead, have directories beside it.
    pub(crate) fn has_neighbours(&self) -> bool {
        let Ok(dirs) = Dir::read_from(&self.base) else { return false };
        dirs.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name().to_bytes();
            !matches!(name, b"." | b"..") && name != self.name.as_bytes()
        })
    }

    /// Removes the directory and everything in it. Call when no worker runs any more.
    pub(crate) fn remove(&self) {
        let Ok(files) = Dir::read_from(&self.fd) else { return };
        let Ok(base) = self.base.try_clone() else { return };
        let Ok(dir) = self.fd.try_clone() else { return };
        let mut dead = Dead { base, dir, name: self.name.clone(), files, lock: None, removed: 0, found: false };
        while dead.step() {}
    }
}

/// The removal of what dead processes left, in steps, so that it never holds up a worker.
#[derive(Debug)]
pub(crate) struct Sweep {
    base: OwnedFd,
    own: String,
    dirs: Dir,
    dead: Option<Dead>,
    /// Once there are no more directories.
    trash: Option<Leftovers>,
}

/// One directory of a dead process: its lock is ours until it is gone.
#[derive(Debug)]
struct Dead {
    base: OwnedFd,
    dir: OwnedFd,
    name: String,
    files: Dir,
    lock: Option<OwnedFd>,
    removed: u64,
    found: bool,
}

impl Sweep {
    /// Looks through the directories beside `own`.
    pub(crate) fn beside(own: &StageDir, quotas: &Arc<Quotas>) -> Result<Self, SiteErrno> {
        let base = own.base.try_clone().map_err(|_| ("dup staging", Errno::MFILE))?;
        let dirs = Dir::read_from(&base).map_err(|e| ("read staging", e))?;
        let trash = Leftovers::find(&base, &own.name, quotas);
        Ok(Self { base, own: own.name.clone(), dirs, dead: None, trash })
    }

    /// Does a little; false when there is nothing left to do.
    pub(crate) fn step(&mut self) -> bool {
        if let Some(dead) = &mut self.dead {
            if !dead.step() {
                self.dead = None;
            }
            return true;
        }
        let Some(Ok(entry)) = self.dirs.read() else { return self.trash.as_mut().is_some_and(Leftovers::step) };
        let Ok(name) = entry.file_name().to_str() else { return true };
        // Our own is not only locked: if its lock were removed by hand, it would look dead.
        if !matches!(name, "." | "..") && name != self.own {
            self.dead = Dead::take(&self.base, name);
        }
        true
    }
}

impl Dead {
    fn take(base: &OwnedFd, name: &str) -> Option<Self> {
        let (dir, lock) = claim(base.as_fd(), name)?;
        let files = Dir::read_from(&dir).ok()?;
        let base = base.try_clone().ok()?;
        Some(Self { base, dir, name: name.to_owned(), files, lock: Some(lock), removed: 0, found: false })
    }

    fn step(&mut self) -> bool {
        for _ in 0..SWEEP_STEP {
            let Some(Ok(entry)) = self.files.read() else {
                // Some file systems skip entries when others are removed while they are read:
                // go round until a whole pass finds nothing.
                if std::mem::take(&mut self.found) {
                    self.files.rewind();
                    continue;
                }
                return self.finish();
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes() == LOCK.as_bytes() {
                continue;
            }
            if unlinkat(&self.dir, name, AtFlags::empty()).is_ok() {
                self.removed += 1;
                self.found = true;
            }
        }
        true
    }

    /// The lock goes last: it keeps other processes off this directory.
    fn finish(&mut self) -> bool {
        let _ = unlinkat(&self.dir, LOCK, AtFlags::empty());
        let gone = unlinkat(&self.base, &*self.name, AtFlags::REMOVEDIR);
        if self.lock.is_some() {
            let (name, files) = (&self.name, self.removed);
            match gone {
                Ok(()) => log::info!(target: TARGET, "swept {files} unfinished uploads of dead process {name}"),
                Err(cause) => log::warn!(target: TARGET, "could not sweep .filewharf/staging/{name}: {cause}"),
            }
        }
        false
    }
}
