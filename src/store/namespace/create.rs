//! An upload begins, and a small one is stored as a whole.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::io::Errno;

use crate::command::Put;
use crate::error::{Failure, StoreError};
use crate::object::{Key, Precondition};
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{may_replace, standing};
use crate::store::namespace::Namespace;
use crate::store::namespace::commit::Commit;
use crate::store::staging::gifts::Target;
use crate::store::staging::pending_syncs::Change;
use crate::store::staging::staged::Staged;

/// What became of an upload that begins.
#[derive(Debug)]
pub(crate) enum Created {
    Staged(Staged),
    /// The file is there, as it was announced.
    Same(Box<Change>),
}

impl Namespace {
    /// Refuses what can be known now, then makes a staging file, unless the file is there already.
    pub(crate) fn create(&self, put: &Put) -> Result<Created, StoreError> {
        self.fs.health.check_writable()?;
        let refused = self.refuse_early(&put.key, &put.precondition);
        let target = refused.inspect_err(|error| self.fs.health.commit_ended(Some(error.failure)))?;
        if let Some(same) = self.find_same(put)? {
            return Ok(Created::Same(same));
        }
        let holding = self.quotas.reserve(&put.key, put.len, &[])?;
        self.staging.space.check(&self.fs, put.len)?;
        let staged = self.staging.stage_file(put.key.as_str(), put.len, target.map(Target::from).as_ref())?;
        Ok(Created::Staged(staged.holding(holding).executable(put.is_executable)))
    }

    /// The directory, or the nearest one above it that is there.
    pub(crate) fn refuse_early(&self, key: &Key, precondition: &Precondition) -> Result<Option<Arc<Dir>>, StoreError> {
        if key.is_root() {
            return Err(StoreError::refused(Failure::Conflict("that is a folder"), "create"));
        }
        let path = key.as_str();
        let dir = match self.fs.dir(key.parent()) {
            Ok(dir) => Some(dir),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(self.fs.change_error("open folder", path, errno)),
        };
        let there = dir.as_ref().map(|dir| standing(dir.fd.as_fd(), key.name())).transpose();
        let there = there.map_err(|e| self.fs.change_error("fstatat", path, e))?.flatten();
        may_replace(there.as_ref(), precondition).map_err(|failure| StoreError::refused(failure, "create"))?;
        Ok(dir.or_else(|| self.parents.nearest_dir(key.parent())))
    }

    pub(crate) fn store(&self, put: &Put, bytes: &[u8]) -> Result<Change, StoreError> {
        let target = self.parents.nearest_dir(put.key.parent()).map(Target::from);
        let staged = self.store_staged(put, bytes, target.as_ref())?;
        let dir = target.map(|target| target.dir).filter(|dir| *dir.path == *put.key.parent());
        self.commit(&staged, &Commit { dir, ..Commit::whole(put, bytes.len() as u64) })
    }

    /// A whole small upload in its staging file, like one that is made in `target`.
    pub(crate) fn store_staged(&self, put: &Put, bytes: &[u8], target: Option<&Target>) -> Result<Staged, StoreError> {
        self.fs.health.check_writable()?;
        let holding = self.quotas.reserve(&put.key, Some(bytes.len() as u64), &[])?;
        self.staging.space.check(&self.fs, Some(bytes.len() as u64))?;
        // Where nothing is synced, blocks are reserved: ext4 would write the content out when it replaces a file
        // (auto_da_alloc), which takes a quarter more CPU. A sync takes longer for reserved blocks.
        let reserved = (!self.fs.durable).then_some(bytes.len() as u64);
        let staged = self.staging.stage_file(put.key.as_str(), reserved, target)?.holding(holding);
        let staged = staged.executable(put.is_executable);
        if let Err(error) = self.staging.write(&staged, 0, bytes) {
            self.staging.abort(&staged);
            return Err(error);
        }
        Ok(staged)
    }
}
