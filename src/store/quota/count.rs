//! Counts the bytes of all files under a prefix, a step at a time, in bounded memory. What is mounted inside counts; a
//! step does not go from one file system into another, as it may have to wait there. What the server does not show, its
//! own directory included, does not count.
//!
//! Changes of this process meanwhile are counted by it or by their own end, see `cursor`; those of other programs as it
//! happens to find them.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::io::Errno;

use crate::os::process::clock;
use crate::store::fs::errno::TARGET;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::fs::walk::{self, Walk};
use crate::store::quota::books::{Counted, GivenUp, Then};
use crate::store::quota::cursor::Next;
use crate::store::quota::ledger::Quotas;

/// Time after which a step ends: other jobs of the worker wait this long.
const STEP: Duration = Duration::from_millis(1);
/// Names looked at between two looks at the clock.
const STEP_NAMES: usize = 32;

/// One count.
#[derive(Debug)]
pub(crate) struct Count {
    number: u64,
    prefix: Box<str>,
    stage: Stage,
    walk: Walk,
}

#[derive(Debug)]
enum Stage {
    /// The prefix may be a file.
    Prefix,
    /// Or a directory.
    First,
    /// This directory follows, which may be on another file system than the one before.
    Enter(Box<str>),
    Walk,
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
        Some(Box::new(Self { number, prefix, stage: Stage::Prefix, walk: Walk::new() }))
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
            Stage::Walk => self.walk.path(),
        })
    }

    /// Looks at one file, or continues to the next directory.
    pub(crate) fn advance(&mut self, fs: &FileSystem, quotas: &Quotas) -> Result<Option<Counted>, GivenUp> {
        match std::mem::replace(&mut self.stage, Stage::Walk) {
            Stage::Prefix => {
                if let Some((above, name)) = split(&self.prefix) {
                    if let Some(dir) = passable(fs.dir_under(above), quotas)? {
                        look(quotas, self.number, &dir, (above, Some(name)), None)?;
                    }
                    quotas.books().files_are_done(self.number)?;
                }
                self.stage = Stage::First;
                Ok(None)
            }
            Stage::First => {
                let prefix = self.prefix.clone();
                self.visit(Some(&prefix), quotas)
            }
            Stage::Enter(path) => {
                passable(self.walk.enter(&path, fs), quotas)?;
                Ok(None)
            }
            Stage::Walk => {
                let files = match passable(self.walk.next(fs), quotas)? {
                    None | Some(walk::Next::Reading) => return Ok(None),
                    Some(walk::Next::Dir(read)) => return self.visit(read.as_deref(), quotas),
                    Some(walk::Next::Files(files)) => files,
                };
                let next = look(quotas, self.number, &files.dir, (&files.dir.path, files.next()), files.end())?;
                if let Next::Look(name) = next {
                    files.pass(name);
                    return Ok(None);
                }
                let is_done = next == Next::None && files.end().is_none();
                if is_done {
                    quotas.books().files_are_done(self.number)?;
                }
                passable(self.walk.end_files(is_done), quotas)?;
                Ok(None)
            }
        }
    }

    /// Continues to the next directory: `read`, or one that was made since.
    fn visit(&mut self, read: Option<&str>, quotas: &Quotas) -> Result<Option<Counted>, GivenUp> {
        Ok(match quotas.books().next_dir(self.number, read, (clock(), quotas.interval))? {
            Then::Counted(counted) => Some(counted),
            Then::Dir(path) => {
                self.stage = Stage::Enter(path.into());
                None
            }
        })
    }
}

/// Looks at the next file of a directory, if there is one.
fn look(
    quotas: &Quotas,
    number: u64,
    dir: &Dir,
    (path, read): (&str, Option<&str>),
    end: Option<&str>,
) -> Result<Next, GivenUp> {
    let (next, is_left) = quotas.books().next_file(number, (path, read), end)?;
    let Next::Look(name) = next else { return Ok(next) };
    loop {
        if is_left {
            return Ok(Next::Look(name));
        }
        let there = passable(standing(dir.fd.as_fd(), &name), quotas)?.flatten();
        let len = there.filter(|stat| stat::kind(stat) == Kind::File).map(|stat| stat::len(&stat));
        if quotas.books().looked(number, (path, &name), len)? {
            return Ok(Next::Look(name));
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
