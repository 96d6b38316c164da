//! What a file takes over from the one that it replaces: permission bits, access control list, group, the properties that
//! clients keep (RFC 4918 §9.7.1), and the owner where this process may give files away.
//!
//! These are set before the new file gets the name, so that it is never more open than the old one was; the bits that run
//! a program as its owner or group are not kept, as in a write.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::errno::SiteErrno;
use crate::store::fs::linux;
use crate::store::fs::properties;
use crate::store::fs::stat::{self, At, Kind, kind};

/// A file that can be read and written by its owner, as an upload that is resumed must be.
pub(crate) const RESUMABLE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What is known of a file that takes over from another: what was found out is not asked again.
pub(crate) struct Heir {
    /// Its mode, owner and group as they are now.
    now: Stat,
    /// What it has taken over from.
    from: Option<Stat>,
    /// It has execute bits whatever that has.
    is_executable: bool,
    /// It has properties of its own.
    is_copy: bool,
}

impl Heir {
    pub(crate) const fn new(now: Stat, is_executable: bool, is_copy: bool) -> Self {
        Self { now, from: None, is_executable, is_copy }
    }

    /// Sets its execute bits, if it is to have them. True if they have changed.
    pub(crate) fn make_executable(&mut self, file: &OwnedFd) -> Result<bool, Errno> {
        let mode = self.now.st_mode & 0o7777;
        let wanted = if self.is_executable { stat::executable(mode) } else { mode };
        if wanted == mode {
            return Ok(false);
        }
        fchmod(file, Mode::from_raw_mode(wanted))?;
        self.now.st_mode |= wanted;
        Ok(true)
    }

    /// Gives `file`, which is this one, the properties of what stands at a name, and `besides` for now. True if one of
    /// them has changed: then only a sync that covers more than the content brings them to the disk.
    pub(crate) fn take_over(
        &mut self,
        file: &OwnedFd,
        (at, there): (At<'_>, &Stat),
        (besides, has_acls): (Mode, bool),
    ) -> Result<bool, SiteErrno> {
        if kind(there) != Kind::File {
            return Ok(false);
        }
        let mut changed = false;
        if !self.from.as_ref().is_some_and(|from| is_same(from, there)) {
            changed = take_owner(file, &self.now, there) | (has_acls && take_acl(file, at)?);
            changed |= !self.is_copy && take_properties(file, at, self.from.is_some())?;
            if changed {
                self.now = fstat(file).map_err(|e| ("fstat", e))?;
            }
            self.from = Some(*there);
        }
        let theirs = there.st_mode & 0o777;
        let mode = if self.is_executable { stat::executable(theirs) } else { theirs };
        let mode = Mode::from_raw_mode(mode) | besides;
        if Mode::from_raw_mode(self.now.st_mode & 0o7777) == mode {
            return Ok(changed);
        }
        fchmod(file, mode).map_err(|e| ("fchmod", e))?;
        self.now.st_mode = self.now.st_mode & !0o7777 | mode.as_raw_mode();
        Ok(true)
    }
}

/// True if nothing has changed at a name: a new list sets the ctime.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let access = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    (stat::etag(before), access(before)) == (stat::etag(now), access(now))
}

/// Where the owner cannot be changed, perhaps the group can.
fn take_owner(file: &OwnedFd, ours: &Stat, there: &Stat) -> bool {
    let user = (ours.st_uid != there.st_uid).then(|| Uid::from_raw(there.st_uid));
    let group = (ours.st_gid != there.st_gid).then(|| Gid::from_raw(there.st_gid));
    match (user, group) {
        (None, None) => false,
        (Some(_), _) if fchown(file, user, group).is_ok() => true,
        (_, group) => group.is_some() && fchown(file, None, group).is_ok(),
    }
}

fn take_acl(file: &OwnedFd, at: At<'_>) -> Result<bool, SiteErrno> {
    // Most files have none, which takes one call to find out where the kernel has that.
    let theirs = if linux::lacks_access_acl(at) { None } else { access_acl_at(at)? };
    let ours = linux::access_acl(file.as_fd()).map_err(|e| ("fgetxattr", e))?;
    if ours == theirs {
        return Ok(false);
    }
    linux::set_access_acl(file.as_fd(), theirs.as_deref()).map_err(|e| ("fsetxattr", e))?;
    Ok(true)
}

/// `perhaps_some`: it has taken some already.
fn take_properties(file: &OwnedFd, at: At<'_>, perhaps_some: bool) -> Result<bool, SiteErrno> {
    let theirs = properties::at(at).map_err(|e| ("fgetxattr", e))?;
    if theirs.is_none() && !perhaps_some {
        return Ok(false);
    }
    let theirs = theirs.unwrap_or_default();
    properties::set(file.as_fd(), &theirs).map_err(|e| ("fsetxattr", e))?;
    Ok(true)
}

fn access_acl_at((dir, name): At<'_>) -> Result<Option<Vec<u8>>, SiteErrno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match retry_on_intr(|| openat(dir, name, flags, Mode::empty())) {
        Ok(there) => linux::access_acl(there.as_fd()).map_err(|e| ("fgetxattr", e)),
        // Not even this server may read it: then its list is not known, and its mode has to do.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => Ok(None),
        Err(errno) => Err(("openat", errno)),
    }
}
