//! Local directories as open descriptors: names from a server are resolved under them one component at a time, and no
//! link is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, mkdirat, openat, renameat, statat, unlinkat};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::{RenameFlags, renameat_with};

/// A directory need not be readable for names in it to be used.
#[cfg(any(target_os = "linux", target_os = "android"))]
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// An open directory of this machine.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

impl Dir {
    /// Opens a directory that the user gave; links on the way are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self { fd: openat(CWD, path, DIRECTORY, Mode::empty())?, path: path.to_owned() })
    }

    /// Opens a directory under this one, with `/` between the names, and creates what is missing. A link on the way is
    /// an error.
    pub fn make(&self, names: &str) -> io::Result<Self> {
        self.under(names, true)
    }

    /// As [`Self::make`], and creates nothing.
    pub(crate) fn find(&self, names: &str) -> io::Result<Self> {
        self.under(names, false)
    }

    fn under(&self, names: &str, creates: bool) -> io::Result<Self> {
        let mut dir = Self { fd: self.fd.try_clone()?, path: self.path.clone() };
        for name in names.split('/').filter(|name| !name.is_empty()) {
            let opened = openat(&dir.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            let opened = match opened {
                Err(rustix::io::Errno::NOENT) if creates => {
                    match mkdirat(&dir.fd, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                    openat(&dir.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                }
                opened => opened,
            };
            let fd = opened.map_err(|errno| dir.explain(name.as_ref(), errno.into()))?;
            dir = Self { fd, path: dir.path.join(name) };
        }
        Ok(dir)
    }

    /// Where a name in this directory is, for messages.
    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a regular file. A link or a device is an error, and a pipe does not block.
    pub(crate) fn open_file(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags, Mode::from_raw_mode(0o666));
        let file = File::from(opened.map_err(|errno| self.explain(name, errno.into()))?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "something that is not a file is there"))
        }
    }

    /// Creates a file in place of what has its name. Of a link, symbolic or hard, only the name is removed.
    pub(super) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        self.remove(name)?;
        self.open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Describes the entry of this name, which may be a link.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn is_dir(&self, name: &OsStr) -> bool {
        self.has_type(name, FileType::Directory)
    }

    /// Moves a name within the directory, over what has the new one.
    pub(super) fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, old, &self.fd, new)?)
    }

    /// Moves a name within the directory; an error if the new one is taken.
    pub(super) fn rename_to_free(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        self.move_to_free(old, self, new)
    }

    /// Moves a name into another directory; an error if the new one is taken.
    pub(crate) fn move_to_free(&self, old: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        match renameat_with(&self.fd, old, &to.fd, new, RenameFlags::NOREPLACE) {
            // Some file systems do not know the flag.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            result => return Ok(result?),
        }
        match to.stat(new) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(renameat(&self.fd, old, &to.fd, new)?),
        }
    }

    /// Removes an empty directory; that it is missing is no error.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a name; that it is missing is no error.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn has_type(&self, name: &OsStr, wanted: FileType) -> bool {
        self.stat(name).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == wanted)
    }

    /// The system's word for a link in the way is "not a directory" or "too many levels".
    fn explain(&self, name: &OsStr, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::NotFound && self.has_type(name, FileType::Symlink) {
            let words = format!("{} is a symbolic link, which is not followed", self.path_of(name).display());
            return io::Error::new(error.kind(), words);
        }
        error
    }
}
