//! Directories that lose their name with all that is in them: moved to the trash, or replaced. What replaces one
//! changes places with it first, so that something has the name at every moment.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Stat, renameat, unlinkat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::Key;
use crate::store::fs::linux;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, At, Kind};
use crate::store::namespace::Namespace;
use crate::store::quota::ledger::MovingDir;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::staging::trash::Removal;

const READ_ONLY: Failure = Failure::Denied("the server is read-only");
const MOUNTED: Failure = Failure::Conflict("another file system is mounted in that folder");
const NO_EXCHANGE: Failure = Failure::Conflict("this file system cannot replace a folder: remove it first");

/// Where a directory will be in the trash: all that can be refused has been.
pub(super) struct Bin {
    trash: Arc<Dir>,
    /// `.filewharf`, if the trash was just made.
    above: Option<Arc<Dir>>,
    name: String,
    charged: Option<MovingDir>,
}

impl Bin {
    /// Moves a directory into it.
    pub(super) fn take(&self, (dir, name): At<'_>) -> Result<(), Errno> {
        renameat(dir, name, &self.trash.fd, &*self.name)
    }

    /// What is in it is to be removed, once it is in the trash for good. Its old place must not forget it before.
    pub(super) fn empty(self, names: &Namespace, syncs: &mut PendingSyncs) {
        let Self { trash, above, name, charged } = self;
        if names.fs.durable {
            for own in above.iter().chain([&trash]) {
                let synced = names.parents.synced_for(own);
                syncs.add(&synced);
                syncs.put_first(&synced);
            }
        }
        syncs.discarded.push(Removal::new(trash, &name, &name, charged));
    }
}

impl Namespace {
    /// For the directory at this name.
    pub(super) fn bin_for(&self, key: &Key) -> Result<Bin, StoreError> {
        let refused = |failure| Err(StoreError::refused(failure, "trash"));
        let Some(dirs) = &self.staging.dirs else { return refused(READ_ONLY) };
        if self.fs.mounts.is_any_in(key.as_str()) {
            return refused(MOUNTED);
        }
        let opened = self.staging.trash.open(&self.fs.root());
        let (trash, above) = opened.map_err(|(site, errno)| self.fs.change_error(site, key.as_str(), errno))?;
        Ok(Bin { trash, above, name: dirs.trash_name(), charged: self.quotas.moving_dir(key, None)? })
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
        exchange().map_err(|errno| match errno {
            Errno::NOSYS | Errno::NOTSUP => StoreError::refused(NO_EXCHANGE, "renameat2"),
            // One of them is in the other.
            Errno::INVAL | Errno::NOTEMPTY => {
                StoreError::refused(Failure::Conflict("a folder cannot move into itself"), "renameat2")
            }
            errno => self.fs.change_error("renameat2", to.as_str(), errno),
        })?;
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
