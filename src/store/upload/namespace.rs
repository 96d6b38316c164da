//! Changes of names: delete, make a directory, rename.
//!
//! Links, fifos and devices do not exist for peers, so they can be neither removed nor moved nor
//! replaced; nothing here follows one.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Stat, unlinkat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{ExpectedKind, Key, Precondition};
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::resolve::{Way, may_replace, standing};
use crate::store::fs::stat::{self, Kind};
use crate::store::fs::sync::Scope;
use crate::store::pool::group_commit::Owed;
use crate::store::pool::jobs::{Reply, plain};
use crate::store::shared::Disk;

type Served = Result<(Reply, Owed), StoreError>;

impl Disk {
    /// Removes a file or an empty directory.
    pub(crate) fn delete(&self, key: &Key, expected_kind: ExpectedKind, precondition: &Precondition) -> Served {
        self.fit_for_change()?;
        if key.is_root() {
            return Err(refused(Failure::Denied("the served folder itself stays"), "delete"));
        }
        let path = key.as_str();
        let _locks = self.lock_names(&[key])?;
        let dir = self.dir(key.parent()).map_err(|e| errno::reading("open folder", path, e))?;
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
        let removed = self.keep((dir.fd.as_fd(), key.name()), &stat);
        unlinkat(&dir.fd, key.name(), flags).map_err(|errno| match errno {
            // POSIX lets a system say either.
            Errno::EXIST => self.change_error("unlinkat", path, Errno::NOTEMPTY),
            errno => self.change_error("unlinkat", path, errno),
        })?;
        self.let_go(removed);
        Ok((Reply::Plain(Outcome::Deleted), self.owes(&dir)))
    }

    /// Makes a directory and its parents.
    pub(crate) fn make_dir(&self, key: &Key) -> Served {
        self.fit_for_change()?;
        let way = self.make_way(key.as_str())?;
        Ok((Reply::Plain(Outcome::Made), self.owes_way(&way.dir)))
    }

    /// Moves a file or a directory.
    pub(crate) fn rename(&self, from: &Key, to: &Key, precondition: &Precondition) -> Served {
        self.fit_for_change()?;
        if from.is_root() || to.is_root() {
            return Err(refused(Failure::Conflict("the served folder itself stays"), "rename"));
        }
        let _locks = self.lock_names(&[from, to])?;
        let source = self.dir(from.parent()).map_err(|e| errno::reading("open folder", from.as_str(), e))?;
        let stat = self.source(source.fd.as_fd(), from)?;
        let way = self.make_way(to.parent())?;
        let place = || self.rename_in((source.fd.as_fd(), from), &stat, (&way, to), precondition);
        let is_owed = self.durable && stat::kind(&stat) == Kind::Dir;
        let placed =
            self.secure(&way, to).and_then(|()| if is_owed { self.made.move_to(&way.dir, place) } else { place() });
        match placed {
            Ok(false) => Ok(plain(Outcome::Renamed)),
            Ok(true) => {
                let mut owed = self.owes(&source);
                owed.join(self.owes(&way.dir));
                // It stands at its new place for good before the old one forgets it.
                owed.put_first(&way.dir);
                Ok((Reply::Plain(Outcome::Renamed), owed))
            }
            Err(error) => {
                self.undo(way);
                Err(error)
            }
        }
    }

    /// Makes the way to a new name durable. What is moved may have been acknowledged where it stands:
    /// it must not go where a power cut could leave no way to it.
    fn secure(&self, way: &Way, to: &Key) -> Result<(), StoreError> {
        if self.sync.scope == Scope::Everything {
            return Ok(()); // the way was there before: no sync has one without the other
        }
        self.owes_way(&way.dir).dirs.iter().try_for_each(|dir| {
            self.sync_dir(dir, 1).map_err(|errno| self.change_error("fsync folder", to.as_str(), errno))
        })
    }

    /// True if anything changed.
    fn rename_in(
        &self,
        (source, from): (std::os::fd::BorrowedFd<'_>, &Key),
        stat: &Stat,
        (way, to): (&Way, &Key),
        precondition: &Precondition,
    ) -> Result<bool, StoreError> {
        let path = to.as_str();
        let target = (way.dir.fd.as_fd(), to.name());
        let there = standing(target.0, target.1).map_err(|e| self.change_error("fstatat", path, e))?;
        may_replace(there.as_ref(), precondition).map_err(|failure| refused(failure, "rename"))?;
        if from == to {
            return Ok(false);
        }
        if there.is_some() && stat::kind(stat) == Kind::Dir {
            return Err(refused(Failure::Conflict("a file has that name"), "rename"));
        }
        let absent = precondition.wants_absent();
        let replaced = there.as_ref().and_then(|there| self.keep(target, there));
        self.place((source, from.name()), target, absent).map_err(|(site, errno)| match errno {
            Errno::EXIST if absent => refused(Failure::PreconditionFailed, site),
            Errno::INVAL => refused(Failure::Conflict("a folder cannot move into itself"), site),
            errno => self.change_error(site, path, errno),
        })?;
        self.let_go(replaced);
        Ok(true)
    }

    /// What is to be removed or moved: a file or a directory, or it does not exist.
    fn source(&self, dir: std::os::fd::BorrowedFd<'_>, key: &Key) -> Result<Stat, StoreError> {
        self.refuse_alias(key.as_str().as_bytes()).map_err(|e| errno::reading("fstatat", key.as_str(), e))?;
        let stat = standing(dir, key.name()).map_err(|e| errno::reading("fstatat", key.as_str(), e))?;
        stat.filter(|stat| stat::kind(stat) != Kind::Other).ok_or(refused(Failure::NotFound, "fstatat"))
    }
}

fn refused(failure: Failure, site: &'static str) -> StoreError {
    StoreError::refused(failure, site)
}
