//! Counts the bytes of all files under a prefix, a step at a time, in bounded memory; never follows a link. What is
//! mounted inside counts; a step does not go from one file system into another, as it may have to wait there. What the server does not show, its own folder included, does not count.
//!
//! Changes of this process meanwhile are counted by it or by their own end, see `cursor`; those of other programs as it
//! happens to find them.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::os::process::clock;
use crate::store::fs::errno::TARGET;
use crate::store::fs::names::{Bounds, Gather, Names};
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::quota::books::{Counted, GivenUp, Then};
use crate::store::quota::cursor::Next;
use crate::store::quota::ledger::Quotas;
use crate::wire::key::{has_control, is_reserved};

/// Time after which a step ends: other jobs of the worker wait so long.
const STEP: Duration = Duration::from_millis(1);
/// Names looked at between two looks at the clock.
const STEP_NAMES: usize = 32;
/// Names read for each that could be looked at meanwhile.
const READ_NAMES: usize = 16;
/// Memory for the files of the folder that is being counted, and for the folders in it. Of those above, each keeps a
/// quarter of what is left.
const FILES_BYTES: usize = 256 * 1024;
const DIRS_BYTES: usize = 512 * 1024;
const DIRS_BYTES_MIN: usize = 1024;

/// Memory of one count, for the accounting: a path has at most half as many folders as bytes.
pub const COUNT_BYTES: usize = FILES_BYTES + DIRS_BYTES + 2 * 1024 * 1024;

/// One count.
#[derive(Debug)]
pub(crate) struct Count {
    number: u64,
    prefix: Box<str>,
    stage: Stage,
    /// The folders above the present one, which have others in them that follow.
    above: Vec<Level>,
}

#[derive(Debug)]
enum Stage {
    /// The prefix may be a file.
    Prefix,
    /// Or a folder.
    First,
    Reading(Box<Reading>),
    Files(Files),
    NextDir,
    /// This folder, which may be on another file system than the one before.
    Enter(Box<str>),
}

/// The names of a folder are being read, which is all of them each time: the first ones behind another are kept.
#[derive(Debug)]
struct Reading {
    dir: Arc<Dir>,
    entries: rustix::fs::Dir,
    wanted: Wanted,
    files: Gather,
    dirs: Gather,
}

#[derive(Debug)]
enum Wanted {
    /// All, of a folder that is visited.
    All,
    /// The files behind this one.
    Files(Box<str>),
    /// The folders behind this one.
    Dirs(Box<str>),
}

/// The files of a folder.
#[derive(Debug)]
struct Files {
    dir: Arc<Dir>,
    names: Names,
    /// False if more than `names` are in the folder.
    is_complete: bool,
    last: Box<str>,
}

/// The folders in a folder.
#[derive(Debug)]
struct Level {
    path: Box<str>,
    names: Names,
    is_complete: bool,
    last: Box<str>,
}

/// What a step leaves.
#[derive(Debug)]
pub(crate) enum Step {
    GoesOn(Box<Count>),
    Ended,
}

impl Count {
    /// Begins the next one that is due.
    pub(crate) fn begin(quotas: &Quotas) -> Option<Box<Self>> {
        if !quotas.is_used() {
            return None;
        }
        let (number, prefix) = quotas.books().begin_count(clock())?;
        Some(Box::new(Self { number, prefix, stage: Stage::Prefix, above: Vec::new() }))
    }

    /// Does a little.
    pub(crate) fn step(mut self: Box<Self>, fs: &FileSystem, quotas: &Quotas) -> Step {
        let end = clock() + STEP;
        let mount: Option<Box<str>> = self.mount(fs).map(Box::from);
        loop {
            for _ in 0..STEP_NAMES {
                if mount.as_deref() != self.mount(fs) {
                    return Step::GoesOn(self);
                }
                match self.advance(fs, quotas) {
                    Ok(None) => {}
                    Ok(Some(counted)) => {
                        report(&counted);
                        return Step::Ended;
                    }
                    Err(GivenUp) => return Step::Ended,
                }
            }
            if clock() >= end {
                return Step::GoesOn(self);
            }
        }
    }

    /// The mount that the next step may have to wait for.
    pub(crate) fn mount<'a>(&'a self, fs: &FileSystem) -> Option<&'a str> {
        fs.mounts.of(match &self.stage {
            Stage::Prefix | Stage::First => &self.prefix,
            Stage::Enter(path) => path,
            Stage::Reading(reading) => &reading.dir.path,
            Stage::Files(files) => &files.dir.path,
            Stage::NextDir => self.above.last().map_or("", |level| &level.path),
        })
    }

    /// Looks at one file, or goes on to the next folder.
    pub(crate) fn advance(&mut self, fs: &FileSystem, quotas: &Quotas) -> Result<Option<Counted>, GivenUp> {
        match &mut self.stage {
            Stage::Prefix => {
                if let Some((above, name)) = split(&self.prefix) {
                    if let Some(dir) = passable(fs.dir_beneath(above), quotas)? {
                        look(quotas, self.number, &dir, (above, Some(name)), None)?;
                    }
                    quotas.books().files_are_done(self.number)?;
                }
                self.stage = Stage::First;
                Ok(None)
            }
            Stage::First => {
                self.stage = Stage::NextDir;
                let prefix = self.prefix.clone();
                self.visit(Some(&prefix), quotas)
            }
            Stage::Reading(reading) => match passable(reading.read_some(), quotas)? {
                Some(false) => Ok(None),
                done => {
                    self.was_read(done.is_some());
                    Ok(None)
                }
            },
            Stage::Files(files) => {
                let read = files.names.behind(&files.last).next();
                let end = if files.is_complete { None } else { files.names.last() };
                match look(quotas, self.number, &files.dir, (&files.dir.path, read), end)? {
                    Looked::At(name) => files.last = name,
                    Looked::AtAll if files.is_complete => {
                        quotas.books().files_are_done(self.number)?;
                        self.stage = Stage::NextDir;
                    }
                    Looked::AtAll | Looked::ReadAgain => {
                        let (dir, wanted) = (Arc::clone(&files.dir), Wanted::Files(Box::clone(&files.last)));
                        self.stage = Stage::NextDir;
                        self.read(dir, wanted, 0, quotas)?;
                    }
                }
                Ok(None)
            }
            Stage::NextDir => match self.next_read(fs, quotas)? {
                NextRead::Dir(read) => self.visit(read.as_deref(), quotas),
                NextRead::Reading => Ok(None),
            },
            Stage::Enter(path) => {
                let path = std::mem::take(path);
                self.enter(&path, fs, quotas)
            }
        }
    }

    /// Begins with the files of the next folder: `read`, or one that was made since.
    fn visit(&mut self, read: Option<&str>, quotas: &Quotas) -> Result<Option<Counted>, GivenUp> {
        let then = quotas.books().next_dir(self.number, read, (clock(), quotas.interval))?;
        let (path, is_read) = match then {
            Then::Counted(counted) => return Ok(Some(counted)),
            Then::Dir(path, is_read) => (path, is_read),
        };
        if is_read && let Some(level) = self.above.last_mut() {
            level.last = name_of(&path).into();
        }
        self.stage = Stage::Enter(path.into());
        Ok(None)
    }

    /// Begins to read a folder.
    fn enter(&mut self, path: &str, fs: &FileSystem, quotas: &Quotas) -> Result<Option<Counted>, GivenUp> {
        self.stage = Stage::NextDir;
        let Some(dir) = passable(fs.dir_beneath(path), quotas)? else { return Ok(None) };
        let held: usize = self.above.iter().map(|level| level.names.bytes()).sum();
        let bytes = (DIRS_BYTES.saturating_sub(held) / 4).max(DIRS_BYTES_MIN);
        self.read(dir, Wanted::All, bytes, quotas)?;
        Ok(None)
    }

    /// Begins to read a folder, of which the names of folders may take so many bytes.
    fn read(&mut self, dir: Arc<Dir>, wanted: Wanted, bytes: usize, quotas: &Quotas) -> Result<(), GivenUp> {
        let Some(entries) = passable(rustix::fs::Dir::read_from(&dir.fd), quotas)? else { return Ok(()) };
        let files = Gather::new(Bounds::of_bytes(FILES_BYTES));
        let dirs = Gather::new(Bounds::of_bytes(bytes));
        self.stage = Stage::Reading(Box::new(Reading { dir, entries, wanted, files, dirs }));
        Ok(())
    }

    /// The folder was read; or, if that is false, its rest is gone or not to be reached.
    fn was_read(&mut self, is_there: bool) {
        let Stage::Reading(reading) = std::mem::replace(&mut self.stage, Stage::NextDir) else { return };
        let Reading { dir, wanted, files, dirs, .. } = *reading;
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
            let (names, is_complete) = dirs.finish();
            self.above.push(Level { path: Box::clone(&dir.path), names, is_complete, last: "".into() });
        }
        let last = if let Wanted::Files(last) = wanted { last } else { "".into() };
        let (names, is_complete) = files.finish();
        self.stage = Stage::Files(Files { dir, names, is_complete, last });
    }

    /// The next folder by the names that were read.
    fn next_read(&mut self, fs: &FileSystem, quotas: &Quotas) -> Result<NextRead, GivenUp> {
        while let Some(level) = self.above.last_mut() {
            while let Some(name) = level.names.behind(&level.last).next() {
                let path = if level.path.is_empty() { name.to_owned() } else { format!("{}/{name}", level.path) };
                if !quotas.books().has_visited(self.number, &path)? {
                    return Ok(NextRead::Dir(Some(path)));
                }
                level.last = name.into();
            }
            if level.is_complete {
                self.above.pop();
                continue;
            }
            let (bytes, wanted) = (DIRS_BYTES_MIN.max(level.names.bytes()), Wanted::Dirs(Box::clone(&level.last)));
            if let Some(dir) = passable(fs.dir_beneath(&level.path), quotas)? {
                self.read(dir, wanted, bytes, quotas)?;
                if matches!(self.stage, Stage::Reading(_)) {
                    return Ok(NextRead::Reading);
                }
            }
            self.above.pop();
        }
        Ok(NextRead::Dir(None))
    }
}

impl Reading {
    /// Reads a few names. True if those were all.
    fn read_some(&mut self) -> Result<bool, Errno> {
        let (files_behind, dirs_behind) = match &self.wanted {
            Wanted::All => (Some(""), Some("")),
            Wanted::Files(behind) => (Some(&**behind), None),
            Wanted::Dirs(behind) => (None, Some(&**behind)),
        };
        for _ in 0..READ_NAMES {
            let Some(entry) = self.entries.read() else { return Ok(true) };
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || is_reserved(name.as_bytes()) || has_control(name) {
                continue;
            }
            // Where the kind is not told, a name is tried as either.
            let kind = entry.file_type();
            let is_behind = |behind: Option<&str>| behind.is_some_and(|behind| name > behind);
            if matches!(kind, FileType::RegularFile | FileType::Unknown) && is_behind(files_behind) {
                self.files.offer(name);
            }
            if matches!(kind, FileType::Directory | FileType::Unknown) && is_behind(dirs_behind) {
                self.dirs.offer(name);
            }
        }
        Ok(false)
    }
}

/// What follows by the names that were read.
enum NextRead {
    /// This folder, or none.
    Dir(Option<String>),
    /// More names are being read.
    Reading,
}

/// The next file of a folder.
enum Looked {
    At(Box<str>),
    AtAll,
    ReadAgain,
}

/// Looks at the next file of a folder.
fn look(
    quotas: &Quotas,
    number: u64,
    dir: &Dir,
    (path, read): (&str, Option<&str>),
    end: Option<&str>,
) -> Result<Looked, GivenUp> {
    let (next, is_left) = quotas.books().next_file(number, (path, read), end)?;
    let name = match next {
        Next::Look(name) => name,
        Next::None => return Ok(Looked::AtAll),
        Next::ReadAgain => return Ok(Looked::ReadAgain),
    };
    if is_left {
        return Ok(Looked::At(name));
    }
    loop {
        let there = passable(standing(dir.fd.as_fd(), &name), quotas)?.flatten();
        let len = there.filter(|stat| stat::kind(stat) == Kind::File).map(|stat| stat::len(&stat));
        if quotas.books().looked(number, (path, &name), len)? {
            return Ok(Looked::At(name));
        }
    }
}

/// `None` for what is gone, or not to be reached. After any other error the count is given up, for it would be wrong.
fn passable<T>(result: Result<T, Errno>, quotas: &Quotas) -> Result<Option<T>, GivenUp> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(
            Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG,
        ) => Ok(None),
        Err(cause) => {
            log::warn!(target: TARGET, "what is stored cannot be counted for a quota: {cause}");
            quotas.books().give_up_count();
            Err(GivenUp)
        }
    }
}

fn split(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() { None } else { path.rsplit_once('/').or(Some(("", path))) }
}

fn name_of(path: &str) -> &str {
    split(path).map_or("", |(_, name)| name)
}

fn report(counted: &Counted) {
    let Counted { prefix, unit, max, before, now } = counted;
    let unit = unit.word();
    match before {
        Some(before) if before == now => {}
        Some(before) => {
            log::info!(target: TARGET, "quota of /{prefix}: {now} of {max} {unit} are stored, not {before}");
        }
        None => log::info!(target: TARGET, "quota of /{prefix}: {now} of {max} {unit} are stored"),
    }
}
