//! What a directory gives to the files that are made in it: its group (setgid), an access control list, the project of a
//! quota, a security label.
//!
//! Files grow elsewhere, so where a directory gives any of these, a file is made in it without a name, so that the kernel
//! gives all of them, and is then named in the private directory. Where that cannot be done, group and list are set by
//! hand. Private directories give nothing.

use std::cell::OnceCell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Gid, Mode, Stat, fchmod, fchown, fstat};
use rustix::io::Errno;
use rustix::process::getegid;

use crate::store::fs::caps::Caps;
use crate::store::fs::linux;
use crate::store::fs::root::Dir;

const SETGID: Mode = Mode::SGID;

/// Takes from a private directory what it would give to files.
pub(crate) fn pass_on_nothing(dir: BorrowedFd<'_>, stat: &Stat) {
    if has_setgid(stat) {
        // On a directory, this takes the bit away as well.
        let _ = fchmod(dir, Mode::RWXU);
    }
    linux::pass_on_nothing(dir);
}

fn has_setgid(dir: &Stat) -> bool {
    Mode::from_raw_mode(dir.st_mode).contains(SETGID)
}

/// The directory that files are made for elsewhere, and what it gives to them, found out for the first one. Not kept
/// for longer than a few uploads: both may change.
pub(crate) struct Target {
    pub(crate) dir: Arc<Dir>,
    gifts: OnceCell<Gifts>,
}

impl From<Arc<Dir>> for Target {
    fn from(dir: Arc<Dir>) -> Self {
        Self { dir, gifts: OnceCell::new() }
    }
}

impl Target {
    /// `elsewhere` is the directory in which the files are made.
    pub(crate) fn gifts(&self, elsewhere: BorrowedFd<'_>, caps: &Caps) -> Result<&Gifts, Errno> {
        if let Some(gifts) = self.gifts.get() {
            return Ok(gifts);
        }
        let gifts = Gifts::of(self.dir.fd.as_fd(), elsewhere, caps)?;
        Ok(self.gifts.get_or_init(|| gifts))
    }
}

/// What a directory gives to a file that is made elsewhere.
pub(crate) struct Gifts {
    /// What can be set by hand.
    group: Option<Gid>,
    acl: Option<Vec<u8>>,
    /// More than that.
    are_more: bool,
}

impl Gifts {
    fn of(dir: BorrowedFd<'_>, elsewhere: BorrowedFd<'_>, caps: &Caps) -> Result<Self, Errno> {
        let stat = fstat(dir)?;
        // Other systems need no bit for it.
        let group = has_setgid(&stat) || cfg!(not(target_os = "linux"));
        let group = Some(Gid::from_raw(stat.st_gid)).filter(|gid| group && *gid != getegid());
        let acl = if caps.acls { linux::default_acl(dir)? } else { None };
        let are_more =
            caps.projects && linux::passes_on_project(dir) || caps.labels && !linux::have_same_label(dir, elsewhere);
        Ok(Self { group, acl, are_more })
    }

    /// True if a file that is made elsewhere lacks something.
    pub(crate) fn are_any(&self) -> bool {
        self.group.is_some() || self.acl.is_some() || self.are_more
    }

    /// What cannot be set is left as it is.
    pub(crate) fn give(&self, file: &OwnedFd) {
        if self.group.is_some() {
            let _ = fchown(file, None, self.group);
        }
        if let Some(acl) = &self.acl {
            let _ = linux::set_access_acl(file.as_fd(), Some(&of_new_file(acl)));
        }
    }
}

/// Makes a directory that was made elsewhere as if it had been made in `above`; what is made in it follows. What cannot be
/// set is left as it is.
pub(crate) fn give_to_dir(dir: BorrowedFd<'_>, above: BorrowedFd<'_>, has_acls: bool) -> Result<(), Errno> {
    let stat = fstat(above)?;
    if has_setgid(&stat) {
        let _ = fchown(dir, None, Some(Gid::from_raw(stat.st_gid)));
        let _ = fchmod(dir, Mode::from_raw_mode(fstat(dir)?.st_mode & 0o7777) | SETGID);
    }
    if has_acls && let Some(acl) = linux::default_acl(above)? {
        let _ = linux::set_default_acl(dir, &acl);
        let _ = linux::set_access_acl(dir, Some(&acl));
    }
    Ok(())
}

/// The list of a file that is made with mode 666 where this is the default: nothing in it may be run (acl(5), OBJECT
/// CREATION AND DEFAULT ACLs).
fn of_new_file(acl: &[u8]) -> Vec<u8> {
    const VERSION_LEN: usize = 4;
    const ENTRY_LEN: usize = 8;
    const EXECUTE: u8 = 1;
    let (owner, group, mask, others) = (0x01, 0x04, 0x10, 0x20);
    let mut acl = acl.to_vec();
    let entries = || acl.iter().skip(VERSION_LEN).step_by(ENTRY_LEN);
    let of_group = if entries().any(|tag| *tag == mask) { mask } else { group };
    for entry in acl.get_mut(VERSION_LEN..).unwrap_or_default().chunks_exact_mut(ENTRY_LEN) {
        if [owner, of_group, others].contains(&entry[0]) {
            entry[2] &= !EXECUTE;
        }
    }
    acl
}
