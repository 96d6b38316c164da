//! A walk through the directories under a path, a step at a time, in bounded memory; never follows a link. Directories
//! come in the order of their components, each before those in it; the files of one come before these, in byte order.
//!
//! So every name is either before the cursor of the walk or after it. What the server does not show, its own directory
//! included, is left out. Each directory is read once, or more often where not all of its names fit: the first ones after
//! the cursor are kept. The caller may go through names besides those that were read: [`Files::pass`], [`Walk::enter`].

use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::store::fs::names::{Bounds, Gather, Names};
use crate::store::fs::resolve::join;
use crate::store::fs::root::{Dir, FileSystem};
use crate::wire::key::{has_control, is_reserved};

/// Names read in one step.
const READ_NAMES: usize = 16;
/// Memory for the files of the present directory, and for the directories in it. Of those above, each keeps a quarter of
/// what is left.
const FILES_BYTES: usize = 256 * 1024;
const DIRS_BYTES: usize = 512 * 1024;
const DIRS_BYTES_MIN: usize = 1024;

/// Memory of one walk, for the accounting: a path has at most half as many directories as bytes.
pub const WALK_BYTES: usize = FILES_BYTES + DIRS_BYTES + 2 * 1024 * 1024;

/// A path in a form in which byte order is that of its components: no name has a control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(Box<str>);

impl Place {
    pub(crate) fn of(path: &str) -> Self {
        Self(path.replace('/', "\0").into())
    }

    pub(crate) fn path(&self) -> String {
        self.0.replace('\0', "/")
    }
}

#[derive(Debug)]
pub(crate) struct Walk {
    stage: Stage,
    /// The directory that was entered last.
    at: Option<Place>,
    /// The directories above the present one, which have others in them that follow.
    above: Vec<Level>,
    /// Names that were read and left out: what does not exist for peers.
    pub(crate) left_out: u64,
}

#[derive(Debug)]
enum Stage {
    Reading(Box<Reading>),
    Files(Files),
    NextDir,
}

/// The names of a directory are being read.
#[derive(Debug)]
struct Reading {
    dir: Arc<Dir>,
    entries: rustix::fs::Dir,
    wanted: Wanted,
    files: Gather,
    dirs: Gather,
    left_out: u64,
}

#[derive(Debug)]
enum Wanted {
    /// All, of a directory that is entered.
    All,
    /// The files after this one.
    Files(Box<str>),
    /// The directories after this one.
    Dirs(Box<str>),
}

/// The files of a directory.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) dir: Arc<Dir>,
    names: Names,
    /// False if more than `names` are in the directory.
    is_complete: bool,
    last: Box<str>,
}

/// The directories in a directory.
#[derive(Debug)]
struct Level {
    path: Box<str>,
    names: Names,
    is_complete: bool,
    last: Box<str>,
}

/// What follows in a walk.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// More names are to be read first.
    Reading,
    /// The files of the present directory, until [`Walk::end_files`].
    Files(&'a mut Files),
    /// This directory, for [`Walk::enter`]; the walk is over if there is none.
    Dir(Option<String>),
}

impl Files {
    /// The next one by the names that were read.
    pub(crate) fn next(&self) -> Option<&str> {
        self.names.names_after(&self.last).next()
    }

    /// The last one that was read, if there are more.
    pub(crate) fn end(&self) -> Option<&str> {
        if self.is_complete { None } else { self.names.last() }
    }

    /// The cursor is at this name from now on.
    pub(crate) fn pass(&mut self, name: Box<str>) {
        self.last = name;
    }
}

impl Walk {
    /// Before the first directory, which is to be entered.
    pub(crate) const fn new() -> Self {
        Self { stage: Stage::NextDir, at: None, above: Vec::new(), left_out: 0 }
    }

    /// The directory that the next step needs.
    pub(crate) fn path(&self) -> &str {
        match &self.stage {
            Stage::Reading(reading) => &reading.dir.path,
            Stage::Files(files) => &files.dir.path,
            Stage::NextDir => self.above.last().map_or("", |level| &level.path),
        }
    }

    /// Begins to read a directory. It need not be one that was read, but it must be after those that were entered.
    pub(crate) fn enter(&mut self, path: &str, fs: &FileSystem) -> Result<(), Errno> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some(level) = self.above.last_mut().filter(|level| *level.path == *above) {
            level.last = name.into();
        }
        self.at = Some(Place::of(path));
        let held: usize = self.above.iter().map(|level| level.names.bytes()).sum();
        let bytes = (DIRS_BYTES.saturating_sub(held) / 4).max(DIRS_BYTES_MIN);
        self.read(fs.dir_under(path)?, Wanted::All, bytes)
    }

    /// Takes a step, unless it is the caller's turn. After an error, the walk leaves out what cannot be read.
    pub(crate) fn next(&mut self, fs: &FileSystem) -> Result<Next<'_>, Errno> {
        match self.stage {
            Stage::Reading(ref mut reading) => {
                let read = reading.read_some();
                if !matches!(read, Ok(false)) {
                    self.was_read(read.is_ok());
                }
                read.map(|_| Next::Reading)
            }
            Stage::Files(ref mut files) => Ok(Next::Files(files)),
            Stage::NextDir => self.next_dir(fs),
        }
    }

    /// All files were passed that were read. Unless these are all, those that follow are read.
    pub(crate) fn end_files(&mut self, are_all: bool) -> Result<(), Errno> {
        match std::mem::replace(&mut self.stage, Stage::NextDir) {
            Stage::Files(files) if !are_all => self.read(files.dir, Wanted::Files(files.last), 0),
            _ => Ok(()),
        }
    }

    /// Begins to read a directory, of which the names of directories may take this number of bytes.
    fn read(&mut self, dir: Arc<Dir>, wanted: Wanted, bytes: usize) -> Result<(), Errno> {
        let entries = rustix::fs::Dir::read_from(&dir.fd)?;
        let files = Gather::new(Bounds::of_bytes(FILES_BYTES));
        let dirs = Gather::new(Bounds::of_bytes(bytes));
        self.stage = Stage::Reading(Box::new(Reading { dir, entries, wanted, files, dirs, left_out: 0 }));
        Ok(())
    }

    /// The directory was read; or, if that is false, its rest is gone or not to be reached.
    fn was_read(&mut self, is_there: bool) {
        let Stage::Reading(reading) = std::mem::replace(&mut self.stage, Stage::NextDir) else { return };
        let Reading { dir, wanted, files, dirs, left_out, .. } = *reading;
        if let Wanted::Dirs(_) = wanted {
            if !is_there {
                self.above.pop();
            } else if let Some(level) = self.above.last_mut() {
                (level.names, level.is_complete) = dirs.finish();
            }
            return;
        }
        if !is_there {
            return;
        }
        if let Wanted::All = wanted {
            self.left_out += left_out;
            let (names, is_complete) = dirs.finish();
            self.above.push(Level { path: Box::clone(&dir.path), names, is_complete, last: "".into() });
        }
        let last = if let Wanted::Files(last) = wanted { last } else { "".into() };
        let (names, is_complete) = files.finish();
        self.stage = Stage::Files(Files { dir, names, is_complete, last });
    }

    /// The next directory by the names that were read.
    fn next_dir(&mut self, fs: &FileSystem) -> Result<Next<'_>, Errno> {
        while let Some(level) = self.above.last_mut() {
            while let Some(name) = level.names.names_after(&level.last).next() {
                let path = join(&level.path, name);
                if self.at.as_ref().is_none_or(|at| Place::of(&path) > *at) {
                    return Ok(Next::Dir(Some(path)));
                }
                level.last = name.into();
            }
            if level.is_complete {
                self.above.pop();
                continue;
            }
            let (bytes, wanted) = (DIRS_BYTES_MIN.max(level.names.bytes()), Wanted::Dirs(Box::clone(&level.last)));
            let read = fs.dir_under(&level.path).and_then(|dir| self.read(dir, wanted, bytes));
            if read.is_err() {
                self.above.pop();
            }
            return read.map(|()| Next::Reading);
        }
        Ok(Next::Dir(None))
    }
}

impl Reading {
    /// Reads a few names. True if those were all.
    fn read_some(&mut self) -> Result<bool, Errno> {
        let (files_after, dirs_after) = match &self.wanted {
            Wanted::All => (Some(""), Some("")),
            Wanted::Files(after) => (Some(&**after), None),
            Wanted::Dirs(after) => (None, Some(&**after)),
        };
        for _ in 0..READ_NAMES {
            let Some(entry) = self.entries.read() else { return Ok(true) };
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            // Where the kind is not known, a name is tried as either.
            let kind = entry.file_type();
            let name = entry.file_name().to_str().ok().filter(|name| {
                let is_shown = matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Unknown);
                is_shown && !is_reserved(name.as_bytes()) && !has_control(name)
            });
            let Some(name) = name else {
                self.left_out += 1;
                continue;
            };
            let is_after = |after: Option<&str>| after.is_some_and(|after| name > after);
            if matches!(kind, FileType::RegularFile | FileType::Unknown) && is_after(files_after) {
                self.files.offer(name);
            }
            if matches!(kind, FileType::Directory | FileType::Unknown) && is_after(dirs_after) {
                self.dirs.offer(name);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_their_components() {
        let mut paths = ["b", "a/b", "", "a-b", "a", "a/b/c", "a.b", "a/b-c"].map(Place::of);
        paths.sort();
        assert_eq!(paths.map(|place| place.path()), ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "b"]);
    }
}
