//! Directories that were removed with their content: `.filewharf/trash/<id>~<mark>`, emptied in steps by a worker. What a
//! process that ended has left there is removed after the next start; the mark says for which quotas it counts.
//!
//! A directory in one that is emptied is moved beside it first: so no path gets long, one directory is open at a time,
//! and nothing is removed that is not directly in a directory of the trash. Links are removed, never followed; what is
//! mounted cannot be moved, so it is never entered.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir as Names, DirEntry, FileType, Mode, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::store::fs::errno::TARGET;
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, DirId, Kind, standing};
use crate::store::quota::entries::AccountId;
use crate::store::quota::ledger::{MovingDir, Quotas};
use crate::store::staging::locks::is_of_living;
use crate::store::staging::notes::{NOTES, Note};
use crate::wire::key::{has_control, is_reserved};

pub(crate) const TRASH: &str = "trash";
/// Before the mark in a name.
pub(crate) const MARK: char = '~';
/// Names removed in one step.
const STEP: usize = 64;

/// The removal of one tree that is in the trash.
#[derive(Debug)]
pub(crate) struct Removal {
    trash: Arc<Dir>,
    /// The name of the tree, and by which the directories in it are named once they are beside it: this, a number, and
    /// the mark of the tree.
    top: Box<str>,
    id: Box<str>,
    /// Directories moved beside it, and how many of those and itself are removed.
    moved: u64,
    removed: u64,
    entries: Option<Names>,
    /// The directory of these.
    dir: Option<DirId>,
    /// The present pass over a directory has removed something.
    found: bool,
    /// The directory was not empty after a pass that has removed nothing.
    is_last_pass: bool,
    /// What the quotas still count.
    charged: Option<MovingDir>,
    /// Is not needed any more.
    note: Option<Note>,
}

impl Removal {
    pub(crate) fn new(
        trash: Arc<Dir>,
        (top, id): (&str, &str),
        (charged, note): (Option<MovingDir>, Option<Note>),
    ) -> Self {
        let id = id.split_once(MARK).map_or(id, |(id, _)| id);
        let (top, id) = (top.into(), id.into());
        Self {
            trash,
            top,
            id,
            moved: 0,
            removed: 0,
            entries: None,
            dir: None,
            found: false,
            is_last_pass: false,
            charged,
            note,
        }
    }

    /// Removes a few names; false once the tree is gone, or what cannot be removed is left.
    pub(crate) fn step(&mut self) -> bool {
        for _ in 0..STEP {
            let Some(entries) = &mut self.entries else {
                if self.removed > self.moved {
                    if let Some(note) = self.note.take() {
                        note.remove();
                    }
                    return false;
                }
                self.open();
                continue;
            };
            match entries.read() {
                Some(Ok(entry)) => self.remove(&entry),
                // Some file systems skip names when others are removed while they are read.
                _ if std::mem::take(&mut self.found) => {
                    if let Some(entries) = &mut self.entries {
                        entries.rewind();
                    }
                }
                _ => self.end(),
            }
        }
        true
    }

    fn name(&self, nth: u64) -> String {
        match mark_in(&self.top) {
            _ if nth == 0 => self.top.to_string(),
            Some(mark) => format!("{}.{nth}{MARK}{mark}", self.id),
            None => format!("{}.{nth}", self.id),
        }
    }

    fn open(&mut self) {
        let name = self.name(self.removed);
        match openat(&self.trash.fd, &*name, dir_flags(), Mode::empty()).and_then(Names::new) {
            Ok(entries) => {
                self.dir = entries.stat().ok().map(|stat| stat::id(&stat));
                (self.entries, self.found, self.is_last_pass) = (Some(entries), false, false);
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let gone =
                    CString::new(&*name).map_or(Err(Errno::INVAL), |name| self.unlink(self.trash.fd.as_fd(), &name));
                self.ended(&name, gone);
            }
            Err(errno) => self.ended(&name, Err(errno)),
        }
    }

    fn remove(&mut self, entry: &DirEntry) {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        let gone = match entry.file_type() {
            FileType::Directory => self.move_out(name),
            _ => match self.unlink_in(name) {
                // What they say of a directory differs between systems.
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => self.move_out(name),
                other => other,
            },
        };
        self.found |= gone.is_ok();
        self.is_last_pass &= gone.is_err();
    }

    fn unlink_in(&self, name: &CStr) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Ok(()) };
        self.unlink(dir, name)
    }

    /// Removes what is not a directory.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let is_listed = name.to_str().is_ok_and(|name| !has_control(name) && !is_reserved(name.as_bytes()));
        let charged = self.charged.as_ref().filter(|charged| charged.is_counted() && is_listed);
        let _file = charged.zip(self.dir).map(|(charged, dir)| charged.lock_file(dir, name.to_bytes()));
        let there = charged.and_then(|_| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok());
        unlinkat(dir, name, AtFlags::empty()).or_else(|errno| {
            self.open_up(errno)?;
            unlinkat(dir, name, AtFlags::empty())
        })?;
        if let (Some(charged), Some(stat)) = (charged, there.filter(|stat| stat::kind(stat) == Kind::File)) {
            charged.removed(stat::len(&stat));
        }
        Ok(())
    }

    /// Moves a directory beside the tree, where its turn comes.
    fn move_out(&mut self, name: &CStr) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Ok(()) };
        let to = self.name(self.moved + 1);
        let moved = renameat(dir, name, &self.trash.fd, &*to).or_else(|errno| {
            // Either of them may not be changed: their owner may permit it.
            self.open_up(errno)?;
            fchmod(openat(dir, name, dir_flags(), Mode::empty())?, Mode::RWXU)?;
            renameat(dir, name, &self.trash.fd, &*to)
        });
        moved.inspect(|()| self.moved += 1)
    }

    /// The present directory may not be changed: its owner may be permitted to.
    fn open_up(&self, errno: Errno) -> Result<(), Errno> {
        let Some(dir) = self.entries.as_ref().map(Names::fd).transpose()? else { return Err(errno) };
        if errno == Errno::ACCESS { fchmod(dir, Mode::RWXU) } else { Err(errno) }
    }

    /// A pass over the present directory has found nothing that can be removed. A request that had begun before may have
    /// stored something in it since.
    fn end(&mut self) {
        let name = self.name(self.removed);
        let gone = unlinkat(&self.trash.fd, &*name, AtFlags::REMOVEDIR);
        match (gone, &mut self.entries) {
            (Err(Errno::NOTEMPTY | Errno::EXIST), Some(entries)) if !self.is_last_pass => {
                self.is_last_pass = true;
                entries.rewind();
            }
            (gone, _) => {
                self.entries = None;
                self.ended(&name, gone);
            }
        }
    }

    fn ended(&mut self, name: &str, gone: Result<(), Errno>) {
        self.removed += 1;
        if let Err(cause) = gone
            && cause != Errno::NOENT
        {
            log::warn!(target: TARGET, "could not remove .filewharf/trash/{name}: {cause}");
        }
    }
}

/// What processes that ended have left in the trash. The quotas that it counts for are counted once it is gone.
#[derive(Debug)]
pub(crate) struct Leftovers {
    names: LeftNames,
    stage: Stage,
    /// Trees that were begun.
    count: u64,
    charged: MovingDir,
}

#[derive(Debug)]
enum Stage {
    /// Finds out which of the quotas that there were at the beginning are concerned.
    Marking {
        began: u64,
        concerned: HashSet<AccountId>,
    },
    Removing(Option<Box<Removal>>),
}

/// The names of what is left.
#[derive(Debug)]
struct LeftNames {
    trash: Arc<Dir>,
    entries: Names,
    /// Begins the names of what this process removes.
    own: String,
    /// The directories of processes: while one lives, what it removes is its own.
    staging: OwnedFd,
    /// What is noted here could not be put back, and stays.
    notes: Option<OwnedFd>,
}

impl Leftovers {
    /// `None` if there is nothing. `own` is the directory of this process in `staging`.
    pub(crate) fn find(staging: &OwnedFd, own: &str, quotas: &Arc<Quotas>) -> Option<Self> {
        let ours = openat(staging, "..", dir_flags(), Mode::empty()).ok()?;
        let fd = openat(&ours, TRASH, dir_flags(), Mode::empty()).ok()?;
        let notes = openat(&ours, NOTES, dir_flags(), Mode::empty()).ok();
        let (entries, staging, own) = (Names::read_from(&fd).ok()?, staging.try_clone().ok()?, format!("{own}-"));
        let mut names = LeftNames { trash: Dir::of(fd, TRASH).ok()?, entries, own, staging, notes };
        names.next()?;
        names.entries.rewind();
        let charged = quotas.removing_left();
        let stage = Stage::Marking { began: charged.begin_narrowing(), concerned: HashSet::new() };
        Some(Self { names, stage, count: 0, charged })
    }

    /// Does a little; false when there is nothing left to do.
    pub(crate) fn step(&mut self) -> bool {
        if let Stage::Removing(Some(removal)) = &mut self.stage {
            if !removal.step() {
                self.stage = Stage::Removing(None);
            }
            return true;
        }
        for _ in 0..STEP {
            let name = self.names.next();
            match (&mut self.stage, name) {
                (Stage::Marking { concerned, .. }, Some(name)) => self.charged.note(mark_in(&name), concerned),
                (Stage::Marking { began, concerned }, None) => {
                    self.charged.narrow(*began, concerned);
                    self.stage = Stage::Removing(None);
                    self.names.entries.rewind();
                }
                (Stage::Removing(_), Some(name)) => {
                    self.count += 1;
                    let id = format!("{}left-{}", self.names.own, self.count);
                    let removal = Removal::new(Arc::clone(&self.names.trash), (&name, &id), (None, None));
                    self.stage = Stage::Removing(Some(Box::new(removal)));
                    break;
                }
                (Stage::Removing(_), None) => return false,
            }
        }
        true
    }
}

impl LeftNames {
    fn next(&mut self) -> Option<String> {
        while let Some(Ok(entry)) = self.entries.read() {
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
                && !name.starts_with(&*self.own)
                && !is_of_living(self.staging.as_fd(), name)
                && self.notes.as_ref().is_none_or(|notes| matches!(standing(notes.as_fd(), name), Ok(None)))
            {
                return Some(name.to_owned());
            }
        }
        None
    }
}

/// The mark in a name.
fn mark_in(name: &str) -> Option<&str> {
    name.split_once(MARK).map(|(_, mark)| mark)
}
