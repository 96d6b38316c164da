//! From a name to a descriptor, beneath the root and never out of it.
//!
//! The kernel resolves (`openat2`), or each component is opened without following a link. No two
//! paths are ever joined for a system call on behalf of a change, compared or canonicalised.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Failure, StoreError};
use crate::object::Precondition;
use crate::store::fs::errno::is_stale;
use crate::store::fs::linux::{self, Resolve};
use crate::store::fs::stat::{self, Kind};
use crate::store::pool::group_commit::Making;
use crate::store::shared::{Dir, Disk};

/// Times a walk that met a rename is repeated.
const RACE_TRIES: u32 = 8;

/// How directories are opened for a change: never through a link, and so that they can be synced.
pub(crate) fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// How something is opened that is only looked at.
#[cfg(target_os = "linux")]
pub(crate) fn look_flags() -> OFlags {
    OFlags::PATH
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn look_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK
}

/// A directory for a change, with the directories that were made on the way to it.
#[derive(Debug)]
pub(crate) struct Way {
    /// The directory at its end.
    pub(crate) dir: Arc<Dir>,
    made: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    parent: Arc<Dir>,
    making: Making,
    name: Box<str>,
}

impl Disk {
    /// Opens a name beneath the root. What has become stale on the way to it is resolved again, once.
    pub(crate) fn open_beneath(&self, path: &str, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        let opened = self.open_once(path, flags, links);
        let Err(errno) = opened else { return opened };
        if !is_stale(errno) {
            return opened;
        }
        let opened = self.open_once(path, flags, links);
        if opened.as_ref().is_err_and(|errno| is_stale(*errno)) && self.reopen_root() {
            return self.open_once(path, flags, links);
        }
        opened
    }

    fn open_once(&self, path: &str, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        self.refuse_alias(path.as_bytes())?;
        let path = if path.is_empty() { "." } else { path };
        if !self.caps.openat2 {
            return self.walk(path, flags);
        }
        let resolve = Resolve { links, cached: false };
        let mut tries = 0;
        loop {
            match self.resolve(path, flags, resolve) {
                Err(Errno::AGAIN) if tries < RACE_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// The same without waiting for a disk; `None` if it would have to.
    pub(crate) fn open_cached(&self, path: &str, flags: OFlags, links: bool) -> Option<Result<OwnedFd, Errno>> {
        if !self.caps.cached {
            return None;
        }
        if let Err(errno) = self.refuse_alias(path.as_bytes()) {
            return Some(Err(errno));
        }
        let path = if path.is_empty() { "." } else { path };
        match self.resolve(path, flags, Resolve { links, cached: true }) {
            Err(errno) if errno == Errno::AGAIN || is_stale(errno) => None,
            result => Some(result),
        }
    }

    fn resolve(&self, path: &str, flags: OFlags, resolve: Resolve) -> Result<OwnedFd, Errno> {
        let root = self.root();
        if !resolve.links {
            return (self.open)(root.fd.as_fd(), path, flags | OFlags::NOFOLLOW, resolve);
        }
        let file = (self.open)(root.fd.as_fd(), path, flags, resolve)?;
        self.refuse_linked(file.as_fd())?;
        Ok(file)
    }

    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = self.root();
        let mut dir: Option<OwnedFd> = None;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let at = dir.as_ref().map_or(root.fd.as_fd(), AsFd::as_fd);
            let last = parts.peek().is_none();
            let flags = if last { flags | OFlags::NOFOLLOW | OFlags::CLOEXEC } else { dir_flags() };
            let next = retry_on_intr(|| openat(at, part, flags, Mode::empty()))?;
            self.same_device(&fstat(&next)?)?;
            if last {
                return Ok(next);
            }
            dir = Some(next);
        }
        Err(Errno::NOENT)
    }

    /// The portable walk cannot ask the kernel to stay on one mount, so it looks. Only at directories:
    /// on overlayfs a file has the device of the layer it comes from.
    fn same_device(&self, stat: &Stat) -> Result<(), Errno> {
        let stays = stat::kind(stat) != Kind::Dir || stat::id(stat).0 == self.root().id.0;
        if stays { Ok(()) } else { Err(Errno::XDEV) }
    }

    /// What stands at a name, for a reader.
    pub(crate) fn stat_beneath(&self, path: &str, links: bool) -> Result<Stat, Errno> {
        if self.caps.openat2 {
            return fstat(self.open_beneath(path, look_flags(), links)?);
        }
        self.refuse_alias(path.as_bytes())?;
        let Some((parent, name)) = path.rsplit_once('/').or(if path.is_empty() { None } else { Some(("", path)) })
        else {
            return fstat(&self.root().fd);
        };
        let parent = self.open_beneath(parent, dir_flags(), false)?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.same_device(&stat)?;
        Ok(stat)
    }

    /// The same without waiting for a disk; `None` if it would have to.
    pub(crate) fn stat_cached(&self, path: &str, links: bool) -> Option<Result<Stat, Errno>> {
        self.open_cached(path, look_flags(), links).map(|fd| fstat(fd?))
    }

    /// An existing directory, for a change.
    pub(crate) fn dir(&self, path: &str) -> Result<Arc<Dir>, Errno> {
        if path.is_empty() {
            return Ok(self.root());
        }
        let fd = self.open_beneath(path, dir_flags(), false)?;
        let id = stat::id(&fstat(&fd)?);
        Ok(Arc::new(Dir { fd, id, path: path.into() }))
    }

    /// A directory for a change; what is missing of it is made.
    pub(crate) fn make_way(&self, path: &str) -> Result<Way, StoreError> {
        match self.dir(path) {
            Ok(dir) => return Ok(Way { dir, made: Vec::new() }),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.change_error("open folder", path, errno)),
        }
        for _ in 0..RACE_TRIES {
            let mut way = Way { dir: self.root(), made: Vec::new() };
            let stepped = path.split('/').try_for_each(|part| self.step(&mut way, part));
            match stepped {
                Ok(()) => return Ok(way),
                // Somebody removed a directory that we had just come through: again, from the root.
                Err(Errno::NOENT) if !self.is_root_gone() => self.undo(way),
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    self.undo(way);
                    return Err(self.change_error("mkdirat", path, errno));
                }
            }
        }
        Err(self.gone("mkdirat", path))
    }

    fn step(&self, way: &mut Way, part: &str) -> Result<(), Errno> {
        let child = match self.child(&way.dir, part) {
            Err(Errno::NOENT) => {
                let (child, making) = self.make_child(&way.dir, part)?;
                if let Some(making) = making {
                    way.made.push(Step { parent: Arc::clone(&way.dir), making, name: part.into() });
                }
                child
            }
            other => other?,
        };
        way.dir = child;
        Ok(())
    }

    fn make_child(&self, at: &Arc<Dir>, part: &str) -> Result<(Arc<Dir>, Option<Making>), Errno> {
        let make = || {
            match mkdirat(&at.fd, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => match self.child(at, part) {
                    Ok(child) => Ok((child, true)),
                    Err(errno) => {
                        // Nobody knows of it yet: left there, it would pass for an old directory,
                        // whose own entry need not be synced.
                        let _ = unlinkat(&at.fd, part, AtFlags::REMOVEDIR);
                        Err(errno)
                    }
                },
                Err(Errno::EXIST) => Ok((self.child(at, part)?, false)),
                Err(errno) => Err(errno),
            }
        };
        if self.durable {
            return self.made.make(at, make);
        }
        // Nothing is owed, so nothing is noted; the number is only there to be forgotten.
        let (child, made) = make()?;
        let making = made.then_some((child.id, u64::MAX));
        Ok((child, making))
    }

    fn child(&self, at: &Arc<Dir>, part: &str) -> Result<Arc<Dir>, Errno> {
        let fd = if self.caps.openat2 {
            linux::open_beneath(at.fd.as_fd(), part, dir_flags(), Resolve { links: false, cached: false })?
        } else {
            let fd = retry_on_intr(|| openat(&at.fd, part, dir_flags(), Mode::empty()))?;
            self.same_device(&fstat(&fd)?)?;
            fd
        };
        let id = stat::id(&fstat(&fd)?);
        let path = if at.path.is_empty() { part.into() } else { format!("{}/{part}", at.path).into() };
        Ok(Arc::new(Dir { fd, id, path }))
    }

    /// The change failed: directories made only for it go again, unless somebody uses them already.
    pub(crate) fn undo(&self, way: Way) {
        for step in way.made.iter().rev() {
            if unlinkat(&step.parent.fd, &*step.name, AtFlags::REMOVEDIR).is_ok() {
                self.made.forget(&[step.making]);
            }
        }
    }

    /// A name vanished that was there a moment ago.
    pub(crate) fn gone(&self, site: &'static str, path: &str) -> StoreError {
        if self.is_root_gone() {
            log::error!(target: crate::store::fs::errno::TARGET, "the served folder itself was deleted, nothing can be stored");
            StoreError { failure: Failure::Internal, site, source: Some(Errno::NOENT.into()) }
        } else {
            log::debug!(target: crate::store::fs::errno::TARGET, "path.race path={path:?} site={site}");
            StoreError { failure: Failure::Busy, site, source: Some(Errno::NOENT.into()) }
        }
    }
}

/// What stands at one name of an open directory; links are not followed.
pub(crate) fn standing(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// May a file be put where `there` stands?
pub(crate) fn may_replace(there: Option<&Stat>, precondition: &Precondition) -> Result<(), Failure> {
    let file = match there.map(|stat| (stat::kind(stat), stat)) {
        None => None,
        Some((Kind::File, stat)) => Some(stat::meta(stat)),
        Some((Kind::Dir, _)) => return Err(Failure::Conflict("a folder has that name")),
        Some((Kind::Other, _)) => return Err(Failure::Conflict("something that is not a file has that name")),
    };
    if precondition.holds(file.as_ref()) { Ok(()) } else { Err(Failure::PreconditionFailed) }
}
