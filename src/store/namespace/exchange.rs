//! Directories that lose their name with all that is in them: moved to the trash, or replaced. What replaces one
//! changes places with it first, so that something has the name at every moment.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Stat, renameat, unlinkat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::Key;
use crate::store::fs::linux;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, At, Kind};
use crate::store::namespace::Namespace;
use crate::store::quota::ledger::MovingDir;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::staging::trash::Removal;

const READ_ONLY: Failure = Failure::Denied("the server is read-only");
const MOUNTED: Failure = Failure::Conflict("another file system is mounted in that folder");
const NO_EXCHANGE: Failure = Failure::Conflict("this file system cannot replace a folder: remove it first");

/// Where a directory will be in the trash: all that can be refused has been.
#[derive(Debug)]
pub(super) struct Bin {
    trash: Arc<Dir>,
    /// `.filewharf`, if the trash was just made.
    above: Option<Arc<Dir>>,
    name: String,
    charged: Option<MovingDir>,
}

impl Bin {
    pub(super) fn at(&self) -> At<'_> {
        (self.trash.fd.as_fd(), &self.name)
    }

    /// The same place, for what has come there and counts for quotas until it is removed.
    pub(super) fn holding(&self, charged: Option<MovingDir>) -> Self {
        Self { trash: Arc::clone(&self.trash), above: self.above.clone(), name: self.name.clone(), charged }
    }

    /// The removal of what is in it.
    pub(super) fn removal(self) -> Removal {
        let Self { trash, name, charged, .. } = self;
        Removal::new(trash, &name, &name, charged)
    }

    /// Moves a directory into it.
    pub(super) fn take(&self, (dir, name): At<'_>) -> Result<(), Errno> {
        renameat(dir, name, &self.trash.fd, &*self.name)
    }

    /// What is in it is to be removed, once it is in the trash for good. Its old place must not forget it before.
    pub(super) fn empty(self, names: &Namespace, syncs: &mut PendingSyncs) {
        if names.fs.durable {
            for own in self.above.iter().chain([&self.trash]) {
                let synced = names.parents.synced_for(own);
                syncs.add(&synced);
                syncs.put_first(&synced);
            }
        }
        syncs.discarded.push(self.removal());
    }
}

/// Refuses a directory in which another file system is mounted.
pub(super) fn refuse_mounts(fs: &FileSystem, key: &Key) -> Result<(), StoreError> {
    if fs.mounts.is_any_in(key.as_str()) { Err(StoreError::refused(MOUNTED, "mounts")) } else { Ok(()) }
}

/// Why two names could not change places.
pub(super) fn exchange_error(fs: &FileSystem, path: &str, errno: Errno) -> StoreError {
    match errno {
        Errno::NOSYS | Errno::NOTSUP => StoreError::refused(NO_EXCHANGE, "renameat2"),
        // One of them is in the other.
        Errno::INVAL | Errno::NOTEMPTY => {
            StoreError::refused(Failure::Conflict("a folder cannot move into itself"), "renameat2")
        }
        errno => fs.change_error("renameat2", path, errno),
    }
}

impl Namespace {
    /// For the directory at this name.
    pub(super) fn bin_for(&self, key: &Key) -> Result<Bin, StoreError> {
        refuse_mounts(&self.fs, key)?;
        let bin = self.empty_bin(key.as_str())?;
        Ok(Bin { charged: self.quotas.moving_dir(key, None)?, ..bin })
    }

    /// For what does not count for a quota; `path` is for the log.
    pub(super) fn empty_bin(&self, path: &str) -> Result<Bin, StoreError> {
        let Some(dirs) = &self.staging.dirs else { return Err(StoreError::refused(READ_ONLY, "trash")) };
        let opened = self.staging.trash.open(&self.fs.root());
        let (trash, above) = opened.map_err(|(site, errno)| self.fs.change_error(site, path, errno))?;
        Ok(Bin { trash, above, name: dirs.trash_name(), charged: None })
    }

    /// What has the name `from` gets the name `to`. What had that, a directory if the first is none, loses its name; the
    /// result is where it is then.
    pub(super) fn replace(
        &self,
        (source, from, stat): (BorrowedFd<'_>, &Key, &Stat),
        (target, to, there): (BorrowedFd<'_>, &Key, &Stat),
    ) -> Result<Option<Bin>, StoreError> {
        let is_dir = |stat: &Stat| stat::kind(stat) == Kind::Dir;
        let bin = if is_dir(there) { Some(self.bin_for(to)?) } else { None };
        let _moving = if is_dir(stat) { self.quotas.moving_dir(from, Some(to))? } else { None };
        let moving = if is_dir(stat) { None } else { self.quotas.moving((from, to), (stat::len(stat), None))? };
        let removing = if is_dir(there) { None } else { self.quotas.removing(to, stat::len(there)) };
        let exchange = || linux::rename_exchange(source, from.name(), target, to.name());
        exchange().map_err(|errno| exchange_error(&self.fs, to.as_str(), errno))?;
        let old = (source, from.name());
        let gone = bin.as_ref().map_or_else(|| unlinkat(source, from.name(), AtFlags::empty()), |bin| bin.take(old));
        if let Err(errno) = gone {
            // As it was: where this fails too, both are still there.
            let _ = exchange();
            return Err(self.fs.change_error("renameat", to.as_str(), errno));
        }
        for changing in [moving, removing].into_iter().flatten() {
            changing.done();
        }
        Ok(bin)
    }
}
