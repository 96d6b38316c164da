//! The copy of a directory with all that is in it: made in the trash, where what a process that ended has left is removed,
//! and moved to its name when every file and directory of it is on the disk. So it is there with all that it has, or not
//! at all.
//!
//! What peers cannot see (links, fifos, names that are not UTF-8) has no copy, so a directory with such a name is refused.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Timespec, fchmod, fstat, mkdirat, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::command::{Answer, Copying};
use crate::error::{Failure, StoreError};
use crate::object::{Key, Placed};
use crate::os::process::clock;
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::resolve::{dir_flags, join};
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, At, Kind, standing};
use crate::store::fs::sync::Scope;
use crate::store::fs::walk::{Next, Walk};
use crate::store::namespace::Namespace;
use crate::store::namespace::exchange::{Bin, exchange_error, refuse_mounts};
use crate::store::namespace::file_copy::{CHANGED, FileCopy, may_stand, refused, set_attributes};
use crate::store::namespace::stripes::lock_names;
use crate::store::namespace::times::set_mtime;
use crate::store::quota::ledger::TreeHolding;
use crate::store::staging::gifts::give_to_dir;
use crate::store::staging::pending_syncs::Change;
use crate::store::staging::staged::Staged;
use crate::store::staging::trash::Removal;

/// Names looked at in one step, and about how long it takes.
const STEP_NAMES: usize = 64;
const STEP_TIME: Duration = Duration::from_millis(10);

const LEFT_OUT: Failure = Failure::Conflict(
    "the folder holds what cannot be copied: links, devices, or names that are not UTF-8 or have control characters",
);

/// A directory that is being copied.
#[derive(Debug)]
pub(crate) struct TreeCopy {
    from: Key,
    to: Key,
    /// Where it is made.
    bin: Bin,
    walk: Walk,
    /// The directories that are made and not complete: those above the last one, and that.
    levels: Vec<Level>,
    file: Option<FileCopy>,
    holding: TreeHolding,
    len_max: Option<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The directory itself is not made yet; without its content if that is false.
    New {
        is_whole: bool,
    },
    Walking,
}

/// A directory of the copy.
#[derive(Debug)]
struct Level {
    /// Its path in the source.
    path: String,
    source: Arc<Dir>,
    copy: Arc<Dir>,
}

impl TreeCopy {
    /// Nothing is made of it yet.
    pub(super) fn new(names: &Namespace, copying: &Copying, is_whole: bool) -> Result<Self, StoreError> {
        let Copying { from, to, len_max, .. } = copying;
        names.quotas.check_counted(to.as_str())?;
        Ok(Self {
            from: from.clone(),
            to: to.clone(),
            bin: names.empty_bin(to.as_str())?,
            walk: Walk::new(),
            levels: Vec::new(),
            file: None,
            holding: Arc::clone(&names.quotas).holding_tree(to.clone()),
            len_max: *len_max,
            stage: Stage::New { is_whole },
        })
    }

    /// Copies a little. True once all is copied.
    pub(super) fn step(&mut self, names: &Namespace, source: &FileSystem) -> Result<bool, StoreError> {
        let end = clock() + STEP_TIME;
        for _ in 0..STEP_NAMES {
            if let Some(file) = &mut self.file {
                // As much as a step may copy.
                if !file.step(names, source)? {
                    return Ok(false);
                }
                self.end_file(names)?;
            } else if self.advance(names, source)? {
                return Ok(true);
            }
            if clock() >= end {
                break;
            }
        }
        Ok(false)
    }

    /// Continues to the next file or directory; true if there is none.
    fn advance(&mut self, names: &Namespace, source: &FileSystem) -> Result<bool, StoreError> {
        if let Stage::New { is_whole } = self.stage {
            self.stage = Stage::Walking;
            let path = self.from.as_str().to_owned();
            self.make_level(names, source, path)?;
            if !is_whole {
                return self.end_levels(names, None).map(|()| true);
            }
            self.enter(source)?;
            return Ok(false);
        }
        let failed = reading(self.from.as_str());
        let mut is_over = false;
        match self.walk.next(source).map_err(failed)? {
            Next::Reading => {}
            Next::Files(files) => match files.next().map(Box::<str>::from) {
                Some(name) => {
                    files.pass(Box::clone(&name));
                    let dir = Arc::clone(&files.dir);
                    self.begin_file(names, source, &dir, &name)?;
                }
                None => {
                    let are_all = files.end().is_none();
                    self.walk.end_files(are_all).map_err(failed)?;
                }
            },
            Next::Dir(Some(path)) => {
                self.end_levels(names, Some(&path))?;
                self.make_level(names, source, path)?;
                self.enter(source)?;
            }
            Next::Dir(None) => {
                self.end_levels(names, None)?;
                is_over = true;
            }
        }
        // Known once the names of a directory are read: nothing else is copied for nothing.
        if self.walk.left_out > 0 { refused(LEFT_OUT) } else { Ok(is_over) }
    }

    fn enter(&mut self, source: &FileSystem) -> Result<(), StoreError> {
        let Some(level) = self.levels.last() else { return refused(Failure::Internal) };
        self.walk.enter(&level.path, source).map_err(reading(&level.path))
    }

    /// Makes the copy of a directory.
    fn make_level(&mut self, names: &Namespace, source: &FileSystem, path: String) -> Result<(), StoreError> {
        let opened = source.dir_under(&path).map_err(reading(&path))?;
        let copy = self.make_dir(names, &path).map_err(|errno| names.fs.change_error("mkdirat", &path, errno))?;
        set_attributes(names, &path, (&opened.fd, &copy.fd))?;
        self.levels.push(Level { path, source: opened, copy });
        Ok(())
    }

    fn make_dir(&self, names: &Namespace, path: &str) -> Result<Arc<Dir>, Errno> {
        let (at, name) = match self.levels.last() {
            None => self.bin.at(),
            Some(above) => (above.copy.fd.as_fd(), path.rsplit_once('/').map_or(path, |(_, name)| name)),
        };
        mkdirat(at, name, Mode::from_raw_mode(0o777))?;
        let dir = Dir::of(openat(at, name, dir_flags(), Mode::empty())?, path)?;
        if self.levels.is_empty()
            && let Some(above) = names.parents.nearest_dir(self.to.parent())
        {
            give_to_dir(dir.fd.as_fd(), above.fd.as_fd(), names.fs.caps.acls)?;
        }
        Ok(dir)
    }

    /// Completes the directories that the next one is not in.
    fn end_levels(&mut self, names: &Namespace, next: Option<&str>) -> Result<(), StoreError> {
        let is_in = |level: &Level| next.is_some_and(|next| next.starts_with(&format!("{}/", level.path)));
        while let Some(level) = self.levels.pop_if(|level| !is_in(level)) {
            let Level { path, source, copy } = level;
            let mtime = fstat(&source.fd).map_err(reading(&path))?.st_mtime;
            set_mtime(copy.fd.as_fd(), Timespec { tv_sec: mtime, tv_nsec: 0 })
                .map_err(|e| names.fs.change_error("futimens", &path, e))?;
            // Where one sync covers all, it follows at the end.
            if names.fs.durable && (names.fs.sync.scope == Scope::Dir || self.levels.is_empty()) {
                (names.fs.sync.names)(copy.fd.as_fd()).map_err(|e| names.fs.sync_error("fsync folder", &path, e))?;
                names.fs.check_synced()?;
            }
        }
        Ok(())
    }

    fn begin_file(
        &mut self,
        names: &Namespace,
        source: &FileSystem,
        dir: &Arc<Dir>,
        name: &str,
    ) -> Result<(), StoreError> {
        let path = join(&dir.path, name);
        let there = standing(dir.fd.as_fd(), name).map_err(reading(&path))?;
        match there.as_ref().map(stat::kind) {
            Some(Kind::File) => {}
            // Its kind was not known: it comes as a directory.
            Some(Kind::Dir) => return Ok(()),
            Some(Kind::Other) => return refused(LEFT_OUT),
            None => return refused(CHANGED),
        }
        let (from, meta, _) = source.open_file(&path)?;
        if self.len_max.is_some_and(|len_max| meta.len > len_max) {
            return refused(Failure::TooLarge);
        }
        self.holding.add(meta.len)?;
        let Some(level) = self.levels.last().filter(|level| *level.path == *dir.path) else {
            return refused(Failure::Internal);
        };
        names.staging.space.check(&names.fs, Some(meta.len))?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = retry_on_intr(|| openat(&level.copy.fd, name, flags, Mode::from_raw_mode(0o666)));
        let copy = copy.map_err(|e| names.fs.change_error("openat", &path, e))?;
        if let Some(mode) = names.staging.file_mode {
            fchmod(&copy, mode).map_err(|e| names.fs.change_error("fchmod", &path, e))?;
        }
        set_attributes(names, &path, (from.fd(), &copy))?;
        let at = (Arc::clone(&level.copy) as Arc<_>, name.to_owned());
        let staged = Staged::new(copy, at, &path, Some(meta.len));
        self.file = Some(FileCopy::new(from, meta, staged));
        Ok(())
    }

    /// All of a file is copied.
    fn end_file(&mut self, names: &Namespace) -> Result<(), StoreError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let (meta, copy) = (&file.meta, &file.staged.file);
        let failed = |site| move |errno| names.fs.change_error(site, "a copy", errno);
        set_mtime(copy.as_fd(), Timespec { tv_sec: meta.mtime, tv_nsec: 0 }).map_err(failed("futimens"))?;
        if names.fs.durable {
            let synced = (names.fs.sync.content)(copy.as_fd(), true);
            synced.map_err(|e| names.fs.sync_error("fdatasync", &file.staged.path, e))?;
            names.fs.health.check_writable()?;
        }
        if let Some(digest) = &meta.sha256 {
            let stat = fstat(copy).map_err(failed("fstat"))?;
            names.fs.digests.keep(names.fs.root().fd.as_fd(), &stat, digest);
        }
        Ok(())
    }

    /// Gives it its name, in place of what has that.
    pub(super) fn place(&mut self, names: &Namespace, copying: &Copying) -> Result<Change, StoreError> {
        let Copying { to, parents, .. } = copying;
        names.fs.health.check_writable()?;
        let _locks = lock_names(&names.fs, &[to])?;
        let parent = names.parents.resolve(to.parent(), *parents)?;
        let at = (parent.dir.fd.as_fd(), to.name());
        let mut place = || self.place_at(names, at, copying).map(Some);
        let placed = if names.fs.durable { names.parents.unsynced.move_to(&parent.dir, place) } else { place() };
        let displaced = match placed {
            Ok(displaced) => displaced.flatten(),
            Err(error) => {
                names.parents.undo(parent);
                return Err(error);
            }
        };
        let mut syncs = names.parents.syncs_for(&parent.dir);
        let placed = if displaced.is_some() { Placed::Replaced } else { Placed::New };
        if let Some(displaced) = displaced {
            displaced.empty(names, &mut syncs);
        }
        Ok(Change { outcome: Outcome::Answered(Answer::Moved(placed)), syncs, displaced: None })
    }

    /// The result is where that is what had the name.
    fn place_at(&mut self, names: &Namespace, at: At<'_>, copying: &Copying) -> Result<Option<Bin>, StoreError> {
        let (to, path) = (&copying.to, copying.to.as_str());
        let there = names.fs.standing_now(at.0, at.1).map_err(|e| names.fs.change_error("fstatat", path, e))?;
        let is_exchanged = may_stand(there.as_ref(), copying, true)?;
        let moving = names.quotas.moving_dir(to, to)?;
        let (dir, name) = self.bin.at();
        if !is_exchanged {
            let placed = names.place((dir, name), at, true);
            placed.map_err(|(site, errno)| match errno {
                Errno::EXIST => StoreError::refused(Failure::PreconditionFailed, site),
                errno => names.fs.change_error(site, path, errno),
            })?;
            self.holding.is_stored(moving);
            return Ok(None);
        }
        refuse_mounts(&names.fs, to)?;
        let charged = names.quotas.removing_dir(to)?;
        linux::rename_exchange(dir, name, at.0, at.1).map_err(|e| exchange_error(&names.fs, path, e))?;
        self.holding.is_stored(moving);
        Ok(Some(self.bin.holding(charged)))
    }

    /// It is given up.
    pub(super) fn abandon(self) -> Removal {
        self.bin.removal()
    }
}

/// What a directory that is copied is told to be.
fn reading(path: &str) -> impl Fn(Errno) -> StoreError + use<'_> + Copy {
    move |errno| match errno {
        // It was there a moment ago.
        Errno::NOENT | Errno::NOTDIR => StoreError::refused(CHANGED, "open folder"),
        errno => errno::reading("open folder", path, errno),
    }
}
