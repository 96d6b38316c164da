//! From a name to a descriptor, under the root and never out of it.
//!
//! The kernel resolves (`openat2`), or each component is opened without following a link. No two
//! paths are ever joined for a system call on behalf of a change, compared or canonicalised.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::errno::is_stale;
use crate::store::fs::linux::{self, Resolve};
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, Kind};

/// Times a walk that met a rename is repeated.
const RACE_TRIES: u32 = 8;

/// The path of a name in a directory; the root has an empty one.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

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

/// Where a path begins.
struct Start<'a> {
    /// The root, or the top of what is mounted inside.
    top: Arc<Dir>,
    /// The rest of the path from there.
    rest: &'a str,
    /// The rest leads to a mount point.
    is_mount: bool,
}

impl FileSystem {
    /// Opens a name under the root for a reader, in whatever is mounted there. What has become stale on the way to it
    /// is resolved again, once.
    pub(crate) fn open_under(&self, path: &str, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        if self.mounts.of(path).is_none() {
            return self.open_own(path, flags, links);
        }
        let opened = self.open_mounted(path, flags, links);
        if opened.as_ref().is_err_and(|errno| is_stale(*errno)) {
            return self.open_mounted(path, flags, links);
        }
        opened
    }

    /// The same on the file system of the root only.
    pub(crate) fn open_own(&self, path: &str, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        let open = || self.open_from(&Start { top: self.root(), rest: self.rest(path), is_mount: false }, flags, links);
        let opened = open();
        let Err(errno) = opened else { return opened };
        if !is_stale(errno) {
            return opened;
        }
        let opened = open();
        if opened.as_ref().is_err_and(|errno| is_stale(*errno)) && self.reopen_root() {
            return open();
        }
        opened
    }

    fn open_mounted(&self, path: &str, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        let top = self.root();
        let Some(mount) = self.mounts.of(path) else { return self.open_own(path, flags, links) };
        let Some(rest) = path[mount.len()..].strip_prefix('/') else {
            // What is mounted may be a file.
            return self.open_from(&Start { top, rest: path, is_mount: true }, flags, false);
        };
        let fd =
            self.open_from(&Start { top, rest: mount, is_mount: true }, look_flags() | OFlags::DIRECTORY, false)?;
        let id = stat::id(&fstat(&fd)?);
        let top = Arc::new(Dir { fd, id, path: mount.into() });
        self.open_from(&Start { top, rest, is_mount: false }, flags, links)
    }

    fn open_from(&self, start: &Start<'_>, flags: OFlags, links: bool) -> Result<OwnedFd, Errno> {
        self.refuse_alias(&start.top, start.rest.as_bytes())?;
        let path = if start.rest.is_empty() { "." } else { start.rest };
        if !self.caps.openat2 {
            return walk(start, path, flags);
        }
        let resolve = Resolve { links, cached: false, mounts: start.is_mount };
        let mut tries = 0;
        loop {
            match self.resolve(&start.top, path, flags, resolve) {
                Err(Errno::AGAIN) if tries < RACE_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// The same without waiting for a disk; `None` if it would have to. So it is for what is mounted inside: that may
    /// have to answer though everything is in memory.
    pub(crate) fn open_cached(&self, path: &str, flags: OFlags, links: bool) -> Option<Result<OwnedFd, Errno>> {
        if !self.caps.cached || self.mounts.of(path).is_some() {
            return None;
        }
        let root = self.root();
        if let Err(errno) = self.refuse_alias(&root, path.as_bytes()) {
            return Some(Err(errno));
        }
        let path = if path.is_empty() { "." } else { path };
        match self.resolve(&root, path, flags, Resolve { links, cached: true, mounts: false }) {
            Err(errno) if errno == Errno::AGAIN || is_stale(errno) => None,
            result => Some(result),
        }
    }

    fn resolve(&self, top: &Dir, path: &str, flags: OFlags, resolve: Resolve) -> Result<OwnedFd, Errno> {
        if !resolve.links {
            return (self.open)(top.fd.as_fd(), path, flags | OFlags::NOFOLLOW, resolve);
        }
        let file = (self.open)(top.fd.as_fd(), path, flags, resolve)?;
        self.refuse_linked(top, file.as_fd())?;
        Ok(file)
    }

    /// What stands at a name, for a reader.
    pub(crate) fn stat_under(&self, path: &str, links: bool) -> Result<Stat, Errno> {
        if self.caps.openat2 || self.mounts.of(path) == Some(path) {
            return fstat(self.open_under(path, look_flags(), links)?);
        }
        self.refuse_alias(&self.root(), path.as_bytes())?;
        let Some((parent, name)) = path.rsplit_once('/').or(if path.is_empty() { None } else { Some(("", path)) })
        else {
            return fstat(&self.root().fd);
        };
        let parent = self.open_under(parent, dir_flags(), false)?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        same_device(&stat, stat::id(&fstat(&parent)?).0)?;
        Ok(stat)
    }

    /// The same without waiting for a disk; `None` if it would have to.
    pub(crate) fn stat_cached(&self, path: &str, links: bool) -> Option<Result<Stat, Errno>> {
        self.open_cached(path, look_flags(), links).map(|fd| fstat(fd?))
    }

    /// A directory for a change.
    pub(crate) fn dir(&self, path: &str) -> Result<Arc<Dir>, Errno> {
        if self.rest(path).is_empty() {
            return Ok(self.root());
        }
        let fd = self.open_own(path, dir_flags(), false)?;
        let id = stat::id(&fstat(&fd)?);
        Ok(Arc::new(Dir { fd, id, path: path.into() }))
    }

    /// A directory that is only read, in whatever is mounted there.
    pub(crate) fn dir_under(&self, path: &str) -> Result<Arc<Dir>, Errno> {
        if self.mounts.of(path).is_none() {
            return self.dir(path);
        }
        let fd = self.open_under(path, dir_flags(), false)?;
        let id = stat::id(&fstat(&fd)?);
        Ok(Arc::new(Dir { fd, id, path: path.into() }))
    }

    pub(crate) fn child(&self, at: &Arc<Dir>, part: &str) -> Result<Arc<Dir>, Errno> {
        let fd = if self.caps.openat2 {
            let resolve = Resolve { links: false, cached: false, mounts: false };
            linux::open_beneath(at.fd.as_fd(), part, dir_flags(), resolve)?
        } else {
            let fd = retry_on_intr(|| openat(&at.fd, part, dir_flags(), Mode::empty()))?;
            same_device(&fstat(&fd)?, at.id.0)?;
            fd
        };
        let id = stat::id(&fstat(&fd)?);
        let path = if at.path.is_empty() { part.into() } else { format!("{}/{part}", at.path).into() };
        Ok(Arc::new(Dir { fd, id, path }))
    }
}

fn walk(start: &Start<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut dir: Option<OwnedFd> = None;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let at = dir.as_ref().map_or(start.top.fd.as_fd(), AsFd::as_fd);
        let last = parts.peek().is_none();
        let flags = if last { flags | OFlags::NOFOLLOW | OFlags::CLOEXEC } else { dir_flags() };
        let next = retry_on_intr(|| openat(at, part, flags, Mode::empty()))?;
        if !start.is_mount {
            same_device(&fstat(&next)?, start.top.id.0)?;
        }
        if last {
            return Ok(next);
        }
        dir = Some(next);
    }
    Err(Errno::NOENT)
}

/// The portable walk cannot ask the kernel to stay on one mount, so it looks. Only at directories:
/// on overlayfs a file has the device of the layer it comes from.
fn same_device(stat: &Stat, device: u64) -> Result<(), Errno> {
    let stays = stat::kind(stat) != Kind::Dir || stat::id(stat).0 == device;
    if stays { Ok(()) } else { Err(Errno::XDEV) }
}
