//! A local directory tree in the order of a server's listing. No link is followed, and memory is bounded: of each directory
//! a window of names is held, and the directory is read again for the next one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};

use super::item::{Facts, Item, Node, PlanError};
use crate::client::dir::Dir as LocalDir;
use crate::client::prefix_digest::PrefixDigest;
use crate::error::Failure;
use crate::wire::key;

/// Names of one directory that are held at once.
const WINDOW_NAMES: usize = 100_000;

const READABLE: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// True if a name is taken, with its path and whether it is a directory.
pub(crate) type Takes<'a> = dyn Fn(&str, bool) -> bool + 'a;

/// The names below a directory.
pub(crate) struct Walk<'a> {
    root: PathBuf,
    takes: &'a Takes<'a>,
    /// From the root down.
    levels: Vec<Level>,
    window_names: usize,
}

/// A directory with the names that come next, the last one first.
struct Level {
    dir: OwnedFd,
    /// With a slash at its end, unless it is the root.
    path: String,
    names: Vec<Box<[u8]>>,
    /// The name after which the next window begins, if there is one.
    next: Option<Box<[u8]>>,
}

impl Level {
    fn open(dir: OwnedFd, path: String, window_names: usize) -> io::Result<Self> {
        let mut level = Self { dir, path, names: Vec::new(), next: None };
        level.read(None, window_names)?;
        Ok(level)
    }

    /// Reads the names after this one, as many as are held at once.
    fn read(&mut self, after: Option<&[u8]>, window_names: usize) -> io::Result<()> {
        let mut is_cut = false;
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") && after.is_none_or(|after| name > after) {
                self.names.push(name.into());
            }
            if self.names.len() >= 2 * window_names {
                self.names.select_nth_unstable(window_names);
                self.names.truncate(window_names);
                is_cut = true;
            }
        }
        self.names.sort_unstable();
        is_cut |= self.names.len() > window_names;
        self.names.truncate(window_names);
        self.next = self.names.last().filter(|_| is_cut).cloned();
        self.names.reverse();
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// Lists what is below `root`, which may be a link.
    pub(crate) fn new(root: &Path, takes: &'a Takes<'a>) -> Result<Self, PlanError> {
        let opened = openat(CWD, root, READABLE, Mode::empty()).map_err(io::Error::from);
        let level = opened.and_then(|dir| Level::open(dir, String::new(), WINDOW_NAMES));
        let level = level.map_err(|error| PlanError::Local(root.to_owned(), error))?;
        Ok(Self { root: root.to_owned(), takes, levels: vec![level], window_names: WINDOW_NAMES })
    }

    /// What has a name of the last level. A directory becomes a level.
    fn item(&mut self, name: &[u8]) -> Option<Item> {
        let level = self.levels.last()?;
        let item = |path: String, node| Some(Item { path, node });
        let Ok(text) = std::str::from_utf8(name) else {
            let path = format!("{}{}", level.path, String::from_utf8_lossy(name));
            return item(path, Node::Unnamed("its name is not UTF-8"));
        };
        let path = format!("{}{text}", level.path);
        match key::relative(&path) {
            Ok(_) => {}
            Err(Failure::Denied(_)) => return item(path, Node::Skipped),
            Err(failure) => return item(path, Node::Unnamed(failure.words())),
        }
        let stat = match statat(&level.dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed meanwhile.
            Err(rustix::io::Errno::NOENT) => return None,
            Err(errno) => return item(path, Node::Broken(io::Error::from(errno).to_string())),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !(self.takes)(&path, kind == FileType::Directory) {
            return item(path, Node::Excluded);
        }
        match kind {
            FileType::RegularFile => item(path, Node::File(facts_of(&stat))),
            FileType::Directory => {
                let opened = openat(&level.dir, OsStr::from_bytes(name), READABLE | OFlags::NOFOLLOW, Mode::empty());
                let level = opened
                    .map_err(io::Error::from)
                    .and_then(|dir| Level::open(dir, format!("{path}/"), self.window_names));
                match level {
                    Ok(level) => self.levels.push(level),
                    Err(error) => return item(path, Node::Broken(error.to_string())),
                }
                item(path, Node::Dir)
            }
            _ => item(path, Node::Skipped),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Item, PlanError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.pop() else {
                match level.next.take() {
                    None => {
                        self.levels.pop();
                    }
                    Some(after) => {
                        if let Err(error) = level.read(Some(&after), self.window_names) {
                            return Some(Err(PlanError::Local(self.root.join(&level.path), error)));
                        }
                    }
                }
                continue;
            };
            if let Some(item) = self.item(&name) {
                return Some(Ok(item));
            }
        }
    }
}

/// What is known about a local file.
fn facts_of(stat: &Stat) -> Facts {
    let (size, mtime) = (u64::try_from(stat.st_size).unwrap_or(0), stat.st_mtime);
    let version = format!("{:x}-{size}-{mtime}-{}", stat.st_ino, stat.st_mtime_nsec);
    Facts { size, mtime, version, sha256: None, executable: stat.st_mode & 0o111 != 0 }
}

/// The version of what has a name in a directory; empty if there is nothing.
pub(crate) fn version_in(dir: &LocalDir, name: &OsStr) -> io::Result<String> {
    match dir.stat(name) {
        Ok(stat) => Ok(facts_of(&stat).version),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The SHA-256 of a local file; `None` if it cannot be read.
pub(crate) fn digest(file: &File) -> Option<[u8; 32]> {
    let mut whole = PrefixDigest::new();
    whole.seek(file, file.metadata().ok()?.len()).ok()?;
    Some(whole.value())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn listed(root: &Path, window_names: usize) -> Vec<String> {
        let takes = |path: &str, _: bool| path != "b/excluded";
        let mut walk = Walk::new(root, &takes).expect("a directory");
        let level = &mut walk.levels[0];
        level.names.clear();
        level.read(None, window_names).expect("read");
        walk.window_names = window_names;
        let told = |item: Item| match item.node {
            Node::Dir => format!("{}/", item.path),
            Node::File(facts) => format!("{} {}", item.path, facts.size),
            Node::Unnamed(_) => format!("{} unnamed", item.path),
            other => format!("{} {other:?}", item.path),
        };
        walk.map(|item| told(item.expect("listed"))).collect()
    }

    #[test]
    fn names_come_in_the_order_of_their_components_whatever_fits_into_a_window() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        for name in ["b/excluded", "a/x"] {
            fs::create_dir_all(root.join(name)).expect("a folder");
        }
        for name in ["b/f", "a/x/1", "a/x/2", "a/x.txt", "a b", "c", "b/excluded/g", "\u{1}"] {
            fs::write(root.join(name), name).expect("a file");
        }
        fs::write(root.join(OsStr::from_bytes(b"b/\xff")), "").expect("a file");
        fs::create_dir(root.join(".filewharf")).expect("a folder");
        symlink("c", root.join("link")).expect("a link");
        let all = [
            "\u{1} unnamed",
            ".filewharf Skipped",
            "a/",
            "a/x/",
            "a/x/1 5",
            "a/x/2 5",
            "a/x.txt 7",
            "a b 3",
            "b/",
            "b/excluded Excluded",
            "b/f 3",
            "b/\u{fffd} unnamed",
            "c 1",
            "link Skipped",
        ];
        for window_names in [1, 2, 3, 100] {
            assert_eq!(listed(root, window_names), all, "{window_names}");
        }
    }
}
