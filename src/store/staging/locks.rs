//! Locks between servers, and private directories. `.filewharf/LOCK` is held by every store that writes, exclusively
//! unless all of them share the root.
//!
//! Each file is opened afresh for each lock: flock(2) belongs to the open file, so threads of one process
//! exclude each other as well.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::errno::SiteErrno;
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::store::fs::sharing::Sharing;
use crate::store::fs::stat;
use crate::store::fs::stat::standing;
use crate::store::mutex::lock;
use crate::store::staging::gifts::pass_on_nothing;
use crate::wire::key::RESERVED;

/// The file that is locked, here and in each staging directory.
pub(crate) const LOCK: &str = "LOCK";
/// Where the lock on the root failed.
pub(crate) const ROOT_LOCK: &str = "flock .filewharf/LOCK";

/// Opens `name` in `dir`, made if missing, and locks it until the descriptor is closed. `ENOENT` if the
/// file was removed meanwhile: such a lock excludes nothing.
pub(crate) fn lock_file(dir: BorrowedFd<'_>, name: &str, operation: FlockOperation) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    retry_on_intr(|| flock(&file, operation))?;
    let held = stat::id(&fstat(&file)?);
    match standing(dir, name)? {
        Some(named) if stat::id(&named) == held => Ok(file),
        _ => Err(Errno::NOENT),
    }
}

/// The lock of this store on its root.
#[derive(Debug)]
pub(crate) struct RootLock {
    sharing: Arc<Sharing>,
    held: Mutex<Option<OwnedFd>>,
}

impl RootLock {
    /// Fails with `EAGAIN` at [`ROOT_LOCK`] where another store holds it.
    pub(crate) fn take(ours: BorrowedFd<'_>, sharing: &Arc<Sharing>) -> Result<Self, SiteErrno> {
        let root_lock = Self { sharing: Arc::clone(sharing), held: Mutex::default() };
        root_lock.renew(ours)?;
        Ok(root_lock)
    }

    pub(crate) fn duplicate(&self) -> std::io::Result<Option<OwnedFd>> {
        lock(&self.held).as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Takes it again if the file was replaced: another store could lock the new one.
    pub(crate) fn renew(&self, ours: BorrowedFd<'_>) -> Result<(), SiteErrno> {
        let mut held = lock(&self.held);
        let named = standing(ours, LOCK).map_err(|errno| (ROOT_LOCK, errno))?.map(|stat| stat::id(&stat));
        let own = held.as_ref().and_then(|file| fstat(file).ok()).map(|stat| stat::id(&stat));
        if named.is_some() && named == own {
            return Ok(());
        }
        *held = named.and_then(|named| self.sharing.take_inherited(named));
        if let Some(inherited) = &*held {
            // The older generation has it alone; others may hold it from now on.
            if self.sharing.is_always() {
                flock(inherited, FlockOperation::NonBlockingLockShared).map_err(|errno| (ROOT_LOCK, errno))?;
            }
            return Ok(());
        }
        let operation = if self.sharing.is_always() {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        *held = Some(lock_file(ours, LOCK, operation).map_err(|errno| (ROOT_LOCK, errno))?);
        Ok(())
    }
}

/// Takes the lock of a staging directory, if it is free.
pub(crate) fn claim(base: BorrowedFd<'_>, name: &str) -> Option<(OwnedFd, OwnedFd)> {
    let dir = openat(base, name, dir_flags(), Mode::empty()).ok()?;
    let lock = lock_file(dir.as_fd(), LOCK, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some((dir, lock))
}

/// A private directory in `.filewharf`: made when it is needed, and open while it is.
#[derive(Debug)]
pub(crate) struct OwnDir {
    name: &'static str,
    open: Mutex<Weak<Dir>>,
}

impl OwnDir {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, open: Mutex::new(Weak::new()) }
    }

    /// The directory, and what else must be synced before what is in it is there: `.filewharf`, if it was just made.
    pub(crate) fn open(&self, root: &Dir) -> Result<(Arc<Dir>, Option<Arc<Dir>>), SiteErrno> {
        let failed = |errno| ("fstat .filewharf", errno);
        let mut open = lock(&self.open);
        if let Some(dir) = open.upgrade() {
            return Ok((dir, None));
        }
        let ours = private_dir(root.fd.as_fd(), RESERVED)?;
        let is_there = standing(ours.as_fd(), self.name).map_err(failed)?.is_some();
        let dir = Dir::of(private_dir(ours.as_fd(), self.name)?, self.name).map_err(failed)?;
        let above = if is_there { None } else { Some(Dir::of(ours, RESERVED).map_err(failed)?) };
        *open = Arc::downgrade(&dir);
        Ok((dir, above))
    }
}

/// True if a process lives with a directory in `staging` that begins this name, which it made elsewhere.
pub(crate) fn is_of_living(staging: BorrowedFd<'_>, name: &str) -> bool {
    let owner = name.match_indices('-').nth(1).map(|(at, _)| &name[..at]);
    let is_there = |owner: &&str| !matches!(standing(staging, owner), Ok(None));
    owner.filter(is_there).is_some_and(|owner| claim(staging, owner).is_none())
}

/// Opens `name`, made if missing, only for us, and so that it gives nothing to files; it must lie on the file system of
/// `at`, because finished uploads are renamed out of it.
pub(crate) fn private_dir(at: BorrowedFd<'_>, name: &'static str) -> Result<OwnedFd, SiteErrno> {
    match mkdirat(at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(("mkdirat .filewharf", errno)),
    }
    let dir = openat(at, name, dir_flags(), Mode::empty()).map_err(|e| ("openat .filewharf", e))?;
    let above = fstat(at).map_err(|e| ("fstat root", e))?;
    let here = fstat(&dir).map_err(|e| ("fstat .filewharf", e))?;
    if stat::id(&above).0 != stat::id(&here).0 {
        return Err((".filewharf on another file system", Errno::XDEV));
    }
    pass_on_nothing(dir.as_fd(), &here);
    Ok(dir)
}
