//! The calls that only Linux has, each with what other systems do instead.
//!
//! Whether the running kernel offers them is found out once, in `caps`; nothing here decides.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, Stat};
use rustix::io::Errno;

use crate::os::sys;
#[cfg(target_os = "linux")]
use crate::store::fs::kinds::{self, Mount};
use crate::store::fs::stat::At;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolve {
    /// Follow links that stay under the root.
    pub(crate) links: bool,
    /// Say `EAGAIN` instead of reading a disk.
    pub(crate) cached: bool,
    /// Into what is mounted on the way, too.
    pub(crate) mounts: bool,
}

#[cfg(target_os = "linux")]
mod native {
    use super::*;
    use rustix::fs::{
        AtFlags, CWD, FallocateFlags, IFlags, Mode, RenameFlags, ResolveFlags, StatxFlags, XattrFlags, statx,
    };
    use rustix::io::{ReadWriteFlags, preadv2, retry_on_intr};
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd as _;

    /// Opens a name without ever leaving `at`, whatever others rename meanwhile.
    pub(crate) fn open_beneath(
        at: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        resolve: Resolve,
    ) -> Result<OwnedFd, Errno> {
        let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        how.set(ResolveFlags::NO_XDEV, !resolve.mounts);
        how.set(ResolveFlags::NO_SYMLINKS, !resolve.links);
        how.set(ResolveFlags::CACHED, resolve.cached);
        retry_on_intr(|| rustix::fs::openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), how))
    }

    /// Looks at a name of a directory, and fails with `EXDEV` where another file system is mounted: that one is not
    /// asked, so it cannot be waited for.
    pub(crate) fn look_at(dir: BorrowedFd<'_>, name: &str) -> Result<Stat, Errno> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::fstat(retry_on_intr(|| rustix::fs::openat2(dir, name, flags, Mode::empty(), how))?)
    }

    /// Renames, and fails with `EEXIST` if anything has the new name.
    pub(crate) fn rename_noreplace(
        from: BorrowedFd<'_>,
        old: &str,
        to: BorrowedFd<'_>,
        new: &str,
    ) -> Result<(), Errno> {
        rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE)
    }

    /// Two names change places.
    pub(crate) fn rename_exchange(from: BorrowedFd<'_>, old: &str, to: BorrowedFd<'_>, new: &str) -> Result<(), Errno> {
        rustix::fs::renameat_with(from, old, to, new, RenameFlags::EXCHANGE)
    }

    /// Reserves space without changing the length.
    pub(crate) fn reserve(file: BorrowedFd<'_>, from: u64, len: u64) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, len))
    }

    /// Copies up to `len` bytes between files at these offsets; 0 at the end of the first.
    pub(crate) fn copy_range(from: (BorrowedFd<'_>, u64), to: (BorrowedFd<'_>, u64), len: u64) -> Result<u64, Errno> {
        let (mut from_at, mut to_at) = (from.1, to.1);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        retry_on_intr(|| rustix::fs::copy_file_range(from.0, Some(&mut from_at), to.0, Some(&mut to_at), len))
            .map(|n| n as u64)
    }

    /// Reads only what is in the page cache; `EAGAIN` when the first byte is not.
    pub(crate) fn pread_cached(file: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        retry_on_intr(|| preadv2(file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT))
    }

    /// Has what comes next be read from the file system, and not from this machine's memory of it. What is dirty stays.
    pub(crate) fn drop_cached(file: BorrowedFd<'_>) {
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// The path of an open file as it is now, without links.
    pub(crate) fn path_of(file: BorrowedFd<'_>) -> Result<Box<[u8]>, Errno> {
        rustix::fs::readlink(link_of(file), Vec::new()).map(|path| path.into_bytes().into())
    }

    const ACCESS_ACL: &str = "system.posix_acl_access";
    const DEFAULT_ACL: &str = "system.posix_acl_default";
    const PROPERTIES: &str = "user.filewharf.properties";
    const LABEL: &str = "security.selinux";
    /// Most that the kernel keeps under one such name.
    const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

    /// The access control list of a file, as the kernel encodes it; `None` where its mode says all.
    pub(crate) fn access_acl(file: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
        attribute(file, ACCESS_ACL)
    }

    /// True if it is known that the file at this name has no such list.
    pub(crate) fn lacks_access_acl((dir, name): At<'_>) -> bool {
        let name = std::ffi::CString::new(name);
        name.is_ok_and(|name| matches!(sys::has_attribute(dir, &name, c"system.posix_acl_access"), Ok(false)))
    }

    /// The list that a directory gives to what is made in it.
    pub(crate) fn default_acl(dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
        attribute(dir, DEFAULT_ACL)
    }

    /// True if files may have such lists here.
    pub(crate) fn has_acls(dir: BorrowedFd<'_>) -> bool {
        !matches!(rustix::fs::fgetxattr_query(dir, ACCESS_ACL), Err(Errno::OPNOTSUPP | Errno::NOSYS))
    }

    fn attribute(file: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, Errno> {
        let len = match rustix::fs::fgetxattr_query(file, name) {
            Ok(len) => len.min(ATTRIBUTE_BYTES_MAX),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let mut value = vec![0; len];
        let len = rustix::fs::fgetxattr(file, name, &mut value)?;
        value.truncate(len);
        Ok(Some(value))
    }

    /// Gives a file this list, which sets its mode too, or leaves only the mode.
    pub(crate) fn set_access_acl(file: BorrowedFd<'_>, acl: Option<&[u8]>) -> Result<(), Errno> {
        match acl {
            Some(acl) => rustix::fs::fsetxattr(file, ACCESS_ACL, acl, XattrFlags::empty()),
            None => rustix::fs::fremovexattr(file, ACCESS_ACL),
        }
    }

    /// The same of a directory, for what will be made in it.
    pub(crate) fn set_default_acl(dir: BorrowedFd<'_>, acl: &[u8]) -> Result<(), Errno> {
        rustix::fs::fsetxattr(dir, DEFAULT_ACL, acl, XattrFlags::empty())
    }

    /// Gives a file the extended attributes of another that users set (`user.…`), where its file system has such.
    pub(crate) fn copy_user_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
        let len = match rustix::fs::flistxattr(from, &mut names) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let names = names[..len].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
        for name in names.filter(|name| name.starts_with("user.")) {
            let Some(value) = attribute(from, name)? else { continue };
            match rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// What clients keep with a file; `None` if that is nothing.
    pub(crate) fn properties(file: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
        attribute(file, PROPERTIES)
    }

    /// True if it is known that the file at this name has none.
    pub(crate) fn lacks_properties((dir, name): At<'_>) -> bool {
        let name = std::ffi::CString::new(name);
        name.is_ok_and(|name| match sys::has_attribute(dir, &name, c"user.filewharf.properties") {
            Ok(has) => !has,
            Err(error) => error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()),
        })
    }

    pub(crate) fn set_properties(file: BorrowedFd<'_>, properties: Option<&[u8]>) -> Result<(), Errno> {
        match properties {
            Some(properties) => rustix::fs::fsetxattr(file, PROPERTIES, properties, XattrFlags::empty()),
            None => match rustix::fs::fremovexattr(file, PROPERTIES) {
                Err(Errno::NODATA) => Ok(()), // it had none
                removed => removed,
            },
        }
    }

    /// True if files of different directories may have different security labels here (SELinux).
    pub(crate) fn has_labels(dir: BorrowedFd<'_>) -> bool {
        rustix::fs::fgetxattr_query(dir, LABEL).is_ok()
    }

    /// True if both have the same label, or none.
    pub(crate) fn have_same_label(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
        attribute(one, LABEL) == attribute(other, LABEL)
    }

    /// True if directories may have quotas of a project here, under which falls what is made in them.
    pub(crate) fn has_projects(dir: BorrowedFd<'_>) -> bool {
        file_system(dir).is_some_and(kinds::has_projects) && rustix::fs::ioctl_getflags(dir).is_ok()
    }

    /// True if what is made in this directory falls under its project.
    pub(crate) fn passes_on_project(dir: BorrowedFd<'_>) -> bool {
        rustix::fs::ioctl_getflags(dir).is_ok_and(|flags| flags.contains(IFlags::PROJECT_INHERIT))
    }

    /// Takes from a directory what it would give to new files, but for its group. What it cannot lose it keeps.
    pub(crate) fn pass_on_nothing(dir: BorrowedFd<'_>) {
        let _ = rustix::fs::fremovexattr(dir, DEFAULT_ACL);
        if has_projects(dir)
            && let Ok(flags) = rustix::fs::ioctl_getflags(dir)
            && flags.contains(IFlags::PROJECT_INHERIT)
        {
            let _ = rustix::fs::ioctl_setflags(dir, flags - IFlags::PROJECT_INHERIT);
        }
    }

    /// Makes a file in a directory without a name there, with all that the directory gives to a file.
    pub(crate) fn make_unnamed(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o666)))
    }

    /// Gives such a file its first name, in any directory of its file system.
    pub(crate) fn name_unnamed(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        rustix::fs::linkat(CWD, link_of(file), dir, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn link_of(file: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }

    /// True for a file system in memory.
    pub(crate) fn is_memory(file: BorrowedFd<'_>) -> bool {
        file_system(file).is_some_and(kinds::is_memory)
    }

    /// True if the machine that has the file system says so of what stands at a name; what this machine remembers of it
    /// is what it says, then (statx(2), `AT_STATX_FORCE_SYNC`).
    pub(crate) fn is_gone_elsewhere(dir: BorrowedFd<'_>, name: &str) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
        statx(dir, name, flags, StatxFlags::BASIC_STATS)
            .is_err_and(|errno| matches!(errno, Errno::NOENT | Errno::STALE))
    }

    /// See [`kinds::is_local`].
    pub(crate) fn is_local(file: BorrowedFd<'_>) -> bool {
        file_system(file).is_some_and(kinds::is_local)
    }

    /// True if no call on this file system waits for another machine or another process. A frozen server behind a
    /// mount holds up also what promises not to wait (`RESOLVE_CACHED`). Unknown ones may.
    pub(crate) fn is_on_this_machine(file: BorrowedFd<'_>) -> bool {
        file_system(file).is_some_and(kinds::is_on_this_machine)
    }

    /// True if what was synced is known to be kept here. Reads files outside of the root.
    pub(crate) fn keeps_synced(dir: BorrowedFd<'_>) -> bool {
        match file_system(dir) {
            Some(kinds::FUSE) => mount_of(dir).is_some_and(|mount| kinds::keeps_synced_in_process(&mount.name)),
            Some(kinds::OVERLAY) => mount_of(dir).is_some_and(|mount| keeps_synced_under(dir, &mount)),
            kind => kind.is_some_and(kinds::keeps_synced),
        }
    }

    /// The list of what is mounted: proc_pid_mountinfo(5).
    pub(crate) fn list_of_mounts() -> Option<OwnedFd> {
        rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    #[allow(clippy::disallowed_methods, reason = "no peer names this file")]
    fn mount_of(dir: BorrowedFd<'_>) -> Option<Mount> {
        let device = rustix::fs::fstat(dir).ok()?.st_dev;
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        Mount::of_device(&device, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)
    }

    /// An overlay shows the space of the file system that it writes to; what has the path of that here is another one
    /// in a container.
    fn keeps_synced_under(overlay: BorrowedFd<'_>, mount: &Mount) -> bool {
        let (Some(upper), None) = (mount.option("upperdir"), mount.option("volatile")) else { return false };
        let (Ok(upper), Ok(shown)) = (rustix::fs::statfs(upper), rustix::fs::fstatfs(overlay)) else { return false };
        let is_it = (upper.f_blocks, upper.f_files) == (shown.f_blocks, shown.f_files);
        is_it && kinds::keeps_synced(kind_of(&upper))
    }

    /// When a file or directory was made, in nanoseconds since 1970; 0 where that is not known.
    pub(crate) fn made_at(file: &OwnedFd) -> i128 {
        statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME)
            .map_or(0, |stat| i128::from(stat.stx_btime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_btime.tv_nsec))
    }

    /// True if the file system has this many bytes free.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "its type differs between processors")]
    pub(crate) fn has_space(file: BorrowedFd<'_>, bytes: u64) -> bool {
        rustix::fs::fstatfs(file).is_ok_and(|fs| (fs.f_bavail as u64).saturating_mul(fs.f_bsize as u64) >= bytes)
    }

    /// True if a sync writes a log of single files, beside the tree that is written now and then.
    pub(crate) fn logs_files(file: BorrowedFd<'_>) -> bool {
        file_system(file) == Some(kinds::BTRFS)
    }

    /// True if [`enter_tree`] waits for the tree. Before Linux 6.1 the call after it waits
    /// for the pages only, and their extents enter the tree a moment later.
    pub(crate) fn can_enter_tree() -> bool {
        is_since(rustix::system::uname().release().to_bytes(), (6, 1))
    }

    pub(crate) fn file_system(file: BorrowedFd<'_>) -> Option<u64> {
        rustix::fs::fstatfs(file).ok().map(|fs| kind_of(&fs))
    }

    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "its type differs between processors")]
    const fn kind_of(fs: &rustix::fs::StatFs) -> u64 {
        fs.f_type as u64 & 0xFFFF_FFFF
    }
}

#[cfg(not(target_os = "linux"))]
mod native {
    use super::*;

    /// Functions that give one answer, whatever they are asked.
    macro_rules! always {
        ($($name:ident($($argument:ty),*) -> $result:ty = $answer:expr;)*) => {
            $(pub(crate) fn $name($(_: $argument),*) -> $result { $answer })*
        };
    }

    always! {
        open_beneath(BorrowedFd<'_>, &str, OFlags, Resolve) -> Result<OwnedFd, Errno> = Err(Errno::NOSYS);
        look_at(BorrowedFd<'_>, &str) -> Result<Stat, Errno> = Err(Errno::NOSYS);
        rename_exchange(BorrowedFd<'_>, &str, BorrowedFd<'_>, &str) -> Result<(), Errno> = Err(Errno::NOSYS);
        rename_noreplace(BorrowedFd<'_>, &str, BorrowedFd<'_>, &str) -> Result<(), Errno> = Err(Errno::NOSYS);
        reserve(BorrowedFd<'_>, u64, u64) -> Result<(), Errno> = Err(Errno::OPNOTSUPP);
        copy_range((BorrowedFd<'_>, u64), (BorrowedFd<'_>, u64), u64) -> Result<u64, Errno> = Err(Errno::NOSYS);
        pread_cached(BorrowedFd<'_>, &mut [u8], u64) -> Result<usize, Errno> = Err(Errno::OPNOTSUPP);
        path_of(BorrowedFd<'_>) -> Result<Box<[u8]>, Errno> = Err(Errno::NOSYS);
        access_acl(BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> = Ok(None);
        lacks_access_acl(At<'_>) -> bool = false;
        set_access_acl(BorrowedFd<'_>, Option<&[u8]>) -> Result<(), Errno> = Err(Errno::NOSYS);
        properties(BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> = Ok(None);
        lacks_properties(At<'_>) -> bool = true;
        set_properties(BorrowedFd<'_>, Option<&[u8]>) -> Result<(), Errno> = Err(Errno::OPNOTSUPP);
        default_acl(BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> = Ok(None);
        set_default_acl(BorrowedFd<'_>, &[u8]) -> Result<(), Errno> = Err(Errno::NOSYS);
        copy_user_attributes(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<(), Errno> = Ok(());
        has_acls(BorrowedFd<'_>) -> bool = false;
        has_labels(BorrowedFd<'_>) -> bool = false;
        have_same_label(BorrowedFd<'_>, BorrowedFd<'_>) -> bool = true;
        has_projects(BorrowedFd<'_>) -> bool = false;
        passes_on_project(BorrowedFd<'_>) -> bool = false;
        pass_on_nothing(BorrowedFd<'_>) -> () = ();
        make_unnamed(BorrowedFd<'_>) -> Result<OwnedFd, Errno> = Err(Errno::OPNOTSUPP);
        name_unnamed(BorrowedFd<'_>, BorrowedFd<'_>, &str) -> Result<(), Errno> = Err(Errno::OPNOTSUPP);
        is_memory(BorrowedFd<'_>) -> bool = false;
        is_local(BorrowedFd<'_>) -> bool = false;
        is_gone_elsewhere(BorrowedFd<'_>, &str) -> bool = false;
        is_on_this_machine(BorrowedFd<'_>) -> bool = true;
        keeps_synced(BorrowedFd<'_>) -> bool = false;
        list_of_mounts() -> Option<OwnedFd> = None;
        drop_cached(BorrowedFd<'_>) -> () = ();
        made_at(&OwnedFd) -> i128 = 0;
        file_system(BorrowedFd<'_>) -> Option<u64> = None;
        has_space(BorrowedFd<'_>, u64) -> bool = false;
        logs_files(BorrowedFd<'_>) -> bool = false;
        can_enter_tree() -> bool = false;
    }
}

pub(crate) use native::{
    access_acl, can_enter_tree, copy_range, copy_user_attributes, default_acl, drop_cached, file_system, has_acls,
    has_labels, has_projects, has_space, have_same_label, is_gone_elsewhere, is_local, is_memory, is_on_this_machine,
    keeps_synced, lacks_access_acl, lacks_properties, list_of_mounts, logs_files, look_at, made_at, make_unnamed,
    name_unnamed, open_beneath, pass_on_nothing, passes_on_project, path_of, pread_cached, properties, rename_exchange,
    rename_noreplace, reserve, set_access_acl, set_default_acl, set_properties,
};

/// True if a release of Linux, such as `6.1.0-13-amd64`, is this version or a later one.
#[cfg(target_os = "linux")]
pub(crate) fn is_since(release: &[u8], version: (u32, u32)) -> bool {
    let mut numbers =
        release.split(|byte| !byte.is_ascii_digit()).map(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let mut next = || numbers.next().flatten();
    next().zip(next()).is_some_and(|found: (u32, u32)| found >= version)
}

/// Waits until the content of a file, and with `all` its other properties too, are on stable
/// storage. Never repeated: a second call would report success for bytes that are lost.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn sync_file(file: BorrowedFd<'_>, all: bool) -> Result<(), Errno> {
    if all { rustix::fs::fsync(file) } else { rustix::fs::fdatasync(file) }
}

/// Waits until the names in a directory are on stable storage.
pub(crate) fn sync_dir(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsync(dir)
}

/// Waits until the content of a file is written and known to the tree of its file system, if
/// [`can_enter_tree`].
pub(crate) fn enter_tree(file: BorrowedFd<'_>) -> Result<(), Errno> {
    sys::enter_tree(file).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Brings everything that was ever written to the file system of `dir` to stable storage.
#[cfg(target_os = "linux")]
pub(crate) fn sync_file_system(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    use rustix::fs::{StatVfsMountFlags, fstatvfs, syncfs};
    syncfs(dir)?;
    // One that turned read-only because it failed is not synced any more, and yet reported as synced
    // (`sync_filesystem` in fs/sync.c): what was changed since is lost.
    if fstatvfs(dir)?.f_flag.contains(StatVfsMountFlags::RDONLY) { Err(Errno::ROFS) } else { Ok(()) }
}

/// Elsewhere there is only one call for all file systems, which tells of no error.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sync_file_system(_dir: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::sync();
    Ok(())
}

/// `fsync` alone does not reach the platters here.
#[cfg(target_vendor = "apple")]
pub(crate) fn sync_file(file: BorrowedFd<'_>, _all: bool) -> Result<(), Errno> {
    rustix::fs::fcntl_fullfsync(file)
}
