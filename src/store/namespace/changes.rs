//! Changes of names: delete, make a directory, rename.
//!
//! Links, fifos and devices do not exist for peers, so they can be neither removed nor moved nor
//! replaced; nothing here follows one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Stat, unlinkat};
use rustix::io::Errno;

use crate::command::Answer;
use crate::error::{Failure, StoreError};
use crate::object::{ExpectedKind, Key, MissingParents, Placed, Precondition};
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, Kind, may_replace};
use crate::store::fs::stat::{At, standing};
use crate::store::fs::sync::Scope;
use crate::store::namespace::Namespace;
use crate::store::namespace::deferred_unlink::keep_open;
use crate::store::namespace::exchange::{Bin, Replacement};
use crate::store::namespace::stripes::lock_names;
use crate::store::staging::parents::ResolvedParent;
use crate::store::staging::pending_syncs::{Change, PendingSyncs};

type Changed = Result<Change, StoreError>;

const DONE: Outcome = Outcome::Answered(Answer::Done);

impl Namespace {
    pub(crate) fn delete(
        &self,
        (key, is_recursive): (&Key, bool),
        expected_kind: ExpectedKind,
        precondition: &Precondition,
    ) -> Changed {
        self.fs.health.check_writable()?;
        if key.is_root() {
            return Err(refused(Failure::Denied("the served folder itself stays"), "delete"));
        }
        let path = key.as_str();
        let _locks = lock_names(&self.fs, &[key])?;
        let dir = self.fs.dir(key.parent()).map_err(|e| errno::reading("open folder", path, e))?;
        let _file = self.quotas.lock_files(&[(dir.id, key.name().as_bytes())]);
        let stat = self.source(dir.fd.as_fd(), key)?;
        if expected_kind == ExpectedKind::Dir && stat::kind(&stat) != Kind::Dir {
            return Err(refused(Failure::Conflict("that is a file"), "fstatat"));
        }
        let holds = match stat::kind(&stat) {
            Kind::File => precondition.holds(Some(&stat::meta(&stat))),
            // A directory has no version that could be named.
            Kind::Dir | Kind::Other => matches!(precondition, Precondition::None | Precondition::Present),
        };
        if !holds {
            return Err(refused(Failure::PreconditionFailed, "delete"));
        }
        let is_dir = stat::kind(&stat) == Kind::Dir;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let changing = if is_dir { None } else { self.quotas.removing(key, stat::len(&stat)) };
        let displaced = keep_open(&self.fs, (dir.fd.as_fd(), key.name()), &stat);
        let removed = unlinkat(&dir.fd, key.name(), flags);
        if is_recursive && is_dir && matches!(removed, Err(Errno::EXIST | Errno::NOTEMPTY)) {
            return self.discard(&dir, key);
        }
        removed.map_err(|errno| match errno {
            // POSIX lets a system say either.
            Errno::EXIST | Errno::NOTEMPTY if self.fs.lists_nothing(path) => {
                refused(Failure::Conflict(NOT_LISTED), "unlinkat")
            }
            Errno::EXIST => self.fs.change_error("unlinkat", path, Errno::NOTEMPTY),
            errno => self.fs.change_error("unlinkat", path, errno),
        })?;
        if let Some(changing) = changing {
            changing.done();
        }
        Ok(Change { outcome: DONE, syncs: self.parents.syncs_for(&dir), displaced })
    }

    /// Moves a directory to the trash, where it is removed with its content once that is durable.
    fn discard(&self, dir: &Arc<Dir>, key: &Key) -> Changed {
        let bin = self.bin_for(key)?;
        let taken = bin.take((dir.fd.as_fd(), key.name()));
        taken.map_err(|errno| self.fs.change_error("renameat", key.as_str(), errno))?;
        let mut syncs = self.parents.syncs_for(dir);
        bin.empty(self, &mut syncs);
        Ok(Change { outcome: DONE, syncs, displaced: None })
    }

    pub(crate) fn make_dir(&self, key: &Key, parents: MissingParents) -> Changed {
        self.fs.health.check_writable()?;
        let parent = match parents {
            MissingParents::Make => self.parents.make_parents(key.as_str())?,
            MissingParents::Refuse => self.parents.make_new_dir(key)?,
        };
        let outcome = Outcome::Answered(Answer::DirMade { is_new: parent.is_new() });
        Ok(Change { outcome, syncs: self.parents.syncs_above(&parent.dir), displaced: None })
    }

    /// With `len_max`, only a file is moved, of at most as many bytes: what is in a directory is not looked at.
    pub(crate) fn rename(
        &self,
        (from, to): (&Key, &Key),
        (precondition, replaces_dir): (&Precondition, bool),
        parents: MissingParents,
        len_max: Option<u64>,
    ) -> Changed {
        self.fs.health.check_writable()?;
        if from.is_root() || to.is_root() {
            return Err(refused(Failure::Conflict("the served folder itself stays"), "rename"));
        }
        let _locks = lock_names(&self.fs, &[from, to])?;
        let source = self.fs.dir(from.parent()).map_err(|e| errno::reading("open folder", from.as_str(), e))?;
        let stat = self.source(source.fd.as_fd(), from)?;
        if let Some(len_max) = len_max {
            match stat::kind(&stat) {
                Kind::File if stat::len(&stat) <= len_max => {}
                Kind::File => return Err(refused(Failure::TooLarge, "rename")),
                _ => return Err(refused(Failure::Conflict(TO_BOUNDED), "rename")),
            }
        }
        let kept = self.kept_digest(&stat);
        let parent = self.parents.resolve(to.parent(), parents)?;
        let placed = self.sync_parents(&parent, to).and_then(|()| {
            let files = [(source.id, from.name().as_bytes()), (parent.dir.id, to.name().as_bytes())];
            let _files = self.quotas.lock_files(&files);
            let stat = if self.quotas.is_used() { self.source(source.fd.as_fd(), from)? } else { stat };
            let replacement = if replaces_dir {
                self.begin_replacement((from, &stat), (&parent.dir, to), precondition)?
            } else {
                None
            };
            let how = (precondition, replacement);
            let place = || self.rename_in((source.fd.as_fd(), from), &stat, (&parent, to), how);
            let is_tracked = self.fs.durable && stat::kind(&stat) == Kind::Dir;
            if is_tracked { self.parents.unsynced.move_to(&parent.dir, place) } else { place() }
        });
        match placed {
            Ok(None) => {
                let outcome = Outcome::Answered(Answer::Moved(Placed::Replaced));
                Ok(Change { outcome, syncs: PendingSyncs::default(), displaced: None })
            }
            Ok(Some(Moved { placed, displaced, bin })) => {
                self.keep_digest_moved(&stat, (parent.dir.fd.as_fd(), to.name()), kept);
                let mut syncs = self.parents.syncs_for(&source);
                syncs.join(self.parents.syncs_for(&parent.dir));
                // It stands at its new place for good before the old one forgets it.
                syncs.put_first(&parent.dir);
                if let Some(bin) = bin {
                    bin.empty(self, &mut syncs);
                }
                Ok(Change { outcome: Outcome::Answered(Answer::Moved(placed)), syncs, displaced })
            }
            Err(error) => {
                self.parents.undo(parent);
                Err(error)
            }
        }
    }

    /// The digest of a file that is about to be moved, which may change its ctime.
    pub(super) fn kept_digest(&self, stat: &Stat) -> Option<[u8; 32]> {
        if stat::kind(stat) == Kind::File { self.fs.digests.find(stat, &stat::meta(stat)) } else { None }
    }

    /// Keeps it for the file at its new name, if that is as it was.
    fn keep_digest_moved(&self, before: &Stat, (dir, name): At<'_>, digest: Option<[u8; 32]>) {
        let Some(digest) = digest else { return };
        let unchanged = |stat: &Stat| {
            let same = |stat: &Stat| (stat::id(stat), stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
            same(stat) == same(before)
        };
        if let Ok(Some(stat)) = standing(dir, name)
            && unchanged(&stat)
        {
            self.fs.digests.keep(self.fs.root().fd.as_fd(), &stat, &digest);
        }
    }

    /// Makes the directories above a new name durable. What is moved may have been acknowledged where it stands:
    /// it must not go where a power cut could leave no path to it.
    fn sync_parents(&self, parent: &ResolvedParent, to: &Key) -> Result<(), StoreError> {
        if self.fs.sync.scope == Scope::Everything {
            return Ok(()); // they were there before: no sync has one without the other
        }
        self.parents.syncs_above(&parent.dir).dirs.iter().try_for_each(|dir| {
            self.parents.sync_dir(dir, 1).map_err(|errno| self.fs.change_error("fsync folder", to.as_str(), errno))
        })
    }

    /// `None` if nothing changed.
    fn rename_in(
        &self,
        (source, from): (BorrowedFd<'_>, &Key),
        stat: &Stat,
        (parent, to): (&ResolvedParent, &Key),
        (precondition, replacement): (&Precondition, Option<Replacement>),
    ) -> Result<Option<Moved>, StoreError> {
        let path = to.as_str();
        let target = (parent.dir.fd.as_fd(), to.name());
        if let Some(replacement) = replacement {
            let bin = self.replace(replacement, (source, from, stat), (target.0, to))?;
            return Ok(Some(Moved { placed: Placed::Replaced, displaced: None, bin: Some(bin) }));
        }
        let there = self.fs.standing_now(target.0, target.1).map_err(|e| self.fs.change_error("fstatat", path, e))?;
        if precondition.wants_absent() && there.is_some_and(|there| stat::kind(&there) == Kind::Dir) {
            return Err(refused(Failure::PreconditionFailed, "rename"));
        }
        may_replace(there.as_ref(), precondition).map_err(|failure| refused(failure, "rename"))?;
        if from == to {
            return Ok(None);
        }
        if there.is_some() && stat::kind(stat) == Kind::Dir {
            return Err(refused(Failure::Conflict("a file has that name"), "rename"));
        }
        let is_dir = stat::kind(stat) == Kind::Dir;
        let _moving = if is_dir { self.quotas.moving_dir(from, to)? } else { None };
        let lens = (stat::len(stat), there.as_ref().map(stat::len));
        let changing = if is_dir { None } else { self.quotas.moving((from, to), lens)? };
        let absent = precondition.wants_absent();
        let displaced = there.as_ref().and_then(|there| keep_open(&self.fs, target, there));
        self.place((source, from.name()), target, absent).map_err(|(site, errno)| match errno {
            Errno::EXIST if absent => refused(Failure::PreconditionFailed, site),
            Errno::INVAL => refused(Failure::Conflict("a folder cannot move into itself"), site),
            errno => self.fs.change_error(site, path, errno),
        })?;
        if let Some(changing) = changing {
            changing.done();
        }
        let placed = if there.is_some() { Placed::Replaced } else { Placed::New };
        Ok(Some(Moved { placed, displaced, bin: None }))
    }

    /// What is to be removed or moved: a file or a directory, or it does not exist.
    pub(super) fn source(&self, dir: BorrowedFd<'_>, key: &Key) -> Result<Stat, StoreError> {
        let is_reserved = self.fs.refuse_alias(&self.fs.root(), self.fs.rest(key.as_str()).as_bytes());
        is_reserved.map_err(|e| errno::reading("fstatat", key.as_str(), e))?;
        let stat = self.fs.standing_now(dir, key.name()).map_err(|e| errno::reading("fstatat", key.as_str(), e))?;
        stat.filter(|stat| stat::kind(stat) != Kind::Other).ok_or(refused(Failure::NotFound, "fstatat"))
    }
}

/// What a move has displaced.
struct Moved {
    placed: Placed,
    /// The file that had the name, if its blocks are to be freed later.
    displaced: Option<OwnedFd>,
    /// Where the directory is that had it.
    bin: Option<Bin>,
}

/// Why a directory cannot be removed that seems empty.
const NOT_LISTED: &str = "the folder is not empty: it holds only what is not listed (names that are not UTF-8 or have control characters, links)";
const TO_BOUNDED: &str = "a folder cannot move to where the size of a file is bounded";

fn refused(failure: Failure, site: &'static str) -> StoreError {
    StoreError::refused(failure, site)
}
