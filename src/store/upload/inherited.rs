//! What a file takes over from the one that it replaces: permission bits, access control list, group, and the owner
//! where this process may give files away.
//!
//! Set before the file gets its name, so that it is never more open than the old one was; the bits that run a program as
//! its owner or group are not kept, as in a write.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::store::fs::errno::SiteErrno;
use crate::store::fs::linux;
use crate::store::fs::stat::{At, Kind, kind};

/// A file that can be read and written by its owner, as an upload that is resumed must be.
pub(crate) const RESUMABLE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Gives `file` the properties of what stands at a name, and `besides` for now. True if one of them has changed: then
/// only a sync that covers more than the content brings them to the disk.
pub(crate) fn take_over(file: &OwnedFd, at: At<'_>, there: &Stat, besides: Mode) -> Result<bool, SiteErrno> {
    if kind(there) != Kind::File {
        return Ok(false);
    }
    let ours = fstat(file).map_err(|e| ("fstat", e))?;
    let changed = take_owner(file, &ours, there) | take_acl(file, at)?;
    let mode = Mode::from_raw_mode(there.st_mode & 0o777) | besides;
    let now = if changed { fstat(file).map_err(|e| ("fstat", e))? } else { ours };
    if Mode::from_raw_mode(now.st_mode & 0o7777) == mode {
        return Ok(changed);
    }
    fchmod(file, mode).map_err(|e| ("fchmod", e))?;
    Ok(true)
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

fn take_acl(file: &OwnedFd, (dir, name): At<'_>) -> Result<bool, SiteErrno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = match retry_on_intr(|| openat(dir, name, flags, Mode::empty())) {
        Ok(there) => linux::access_acl(there.as_fd()).map_err(|e| ("fgetxattr", e))?,
        // Not even this server may read it: then its list is not known, and its mode has to do.
        Err(Errno::ACCESS | Errno::PERM | Errno::NOENT) => None,
        Err(errno) => return Err(("openat", errno)),
    };
    let ours = linux::access_acl(file.as_fd()).map_err(|e| ("fgetxattr", e))?;
    if ours == theirs {
        return Ok(false);
    }
    linux::set_access_acl(file.as_fd(), theirs.as_deref()).map_err(|e| ("fsetxattr", e))?;
    Ok(true)
}
