//! Copies of files and directories: made out of sight a step at a time, with all that they are to have, and then given
//! their names. What fails on the way leaves nothing.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use crate::command::{Answer, Copying, DirCopy};
use crate::error::{Failure, StoreError};
use crate::object::{Key, MissingParents, Placed};
use crate::platform::Outcome;
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, Kind, standing};
use crate::store::namespace::Namespace;
use crate::store::namespace::commit::Commit;
use crate::store::namespace::exchange::{exchange_error, refuse_mounts};
use crate::store::namespace::file_copy::{FileCopy, may_stand, refused, set_attributes};
use crate::store::namespace::stripes::lock_names;
use crate::store::namespace::tree_copy::TreeCopy;
use crate::store::staging::gifts::Target;
use crate::store::staging::pending_syncs::Change;
use crate::store::staging::staged::Staged;
use crate::store::staging::trash::Removal;

const INTO_ITSELF: Failure = Failure::Conflict("a folder cannot be copied into itself, or over one that it is in");
const ITSELF: Failure = Failure::Conflict("a file cannot be copied onto itself");
/// A copy that is being made.
#[derive(Debug)]
pub(crate) enum Copy {
    File(Box<FileCopy>),
    Tree(Box<TreeCopy>),
}

impl Namespace {
    /// Opens what is to be copied, refuses what can be known now, and makes what the copy will be.
    pub(crate) fn begin_copy(&self, source: &FileSystem, copying: &Copying) -> Result<Copy, StoreError> {
        let Copying { from, to, parents, dir, len_max, .. } = copying;
        self.fs.health.check_writable()?;
        if from.is_root() || to.is_root() {
            return refused(Failure::Denied("the served folder itself cannot be copied, nor replaced"));
        }
        if from.is_above(to) || to.is_above(from) {
            return refused(INTO_ITSELF);
        }
        source.health.check_readable()?;
        let stat = source.stat_under(from.as_str(), source.links);
        let stat = stat.map_err(|e| errno::reading("stat", from.as_str(), e))?;
        if stat::kind(&stat) == Kind::Other {
            return refused(Failure::NotFound);
        }
        let is_dir = stat::kind(&stat) == Kind::Dir;
        let above = self.fs.dir(to.parent());
        let above = match above {
            Ok(above) => Some(above),
            Err(Errno::NOENT) if *parents == MissingParents::Make => None,
            Err(_) => Some(self.parents.resolve(to.parent(), MissingParents::Refuse)?.dir),
        };
        let there = above.as_ref().map(|above| standing(above.fd.as_fd(), to.name())).transpose();
        let there = there.map_err(|e| self.fs.change_error("fstatat", to.as_str(), e))?.flatten();
        if from == to || there.as_ref().is_some_and(|there| stat::id(there) == stat::id(&stat)) {
            return refused(ITSELF);
        }
        may_stand(there.as_ref(), copying, is_dir)?;
        let above = above.or_else(|| self.parents.nearest_dir(to.parent()));
        match dir {
            DirCopy::Refused(failure) if is_dir => refused(*failure),
            dir if is_dir => {
                refuse_mounts(source, from)?;
                let is_whole = *dir == DirCopy::Whole;
                TreeCopy::new(self, copying, is_whole).map(|tree| Copy::Tree(Box::new(tree)))
            }
            _ if len_max.is_some_and(|len_max| stat::len(&stat) > len_max) => refused(Failure::TooLarge),
            _ => self.begin_file(source, (from, to), above).map(|file| Copy::File(Box::new(file))),
        }
    }

    fn begin_file(
        &self,
        source: &FileSystem,
        (from, to): (&Key, &Key),
        above: Option<Arc<Dir>>,
    ) -> Result<FileCopy, StoreError> {
        let (file, meta, _) = source.open_file(from.as_str())?;
        let holding = self.quotas.reserve(to, Some(meta.len), &[])?;
        self.staging.space.check(&self.fs, Some(meta.len))?;
        let staged = self.staging.stage_file(to.as_str(), Some(meta.len), above.map(Target::from).as_ref())?;
        let staged = staged.holding(holding).executable(meta.is_executable);
        if let Err(error) = set_attributes(self, to.as_str(), (file.fd(), &staged.file)) {
            self.staging.abort(&staged);
            return Err(error);
        }
        Ok(FileCopy::new(file, meta, staged))
    }

    /// Copies up to 8 MiB, or a few names. True once all is copied.
    pub(crate) fn step_copy(&self, source: &FileSystem, copy: &mut Copy) -> Result<bool, StoreError> {
        self.fs.health.check_writable()?;
        match copy {
            Copy::File(file) => file.step(self, source),
            Copy::Tree(tree) => tree.step(self, source),
        }
    }

    /// Gives a complete copy its name.
    pub(crate) fn place_copy(&self, copy: &mut Copy, copying: &Copying) -> Result<Change, StoreError> {
        match copy {
            Copy::File(file) => self.place_file(file, copying),
            Copy::Tree(tree) => tree.place(self, copying),
        }
    }

    fn place_file(&self, file: &FileCopy, copying: &Copying) -> Result<Change, StoreError> {
        let FileCopy { meta, staged, .. } = file;
        let Copying { to, precondition, parents, .. } = copying;
        let commit = Commit {
            key: to,
            len: meta.len,
            prepend: &[],
            mtime: Some(meta.mtime),
            precondition,
            digest: meta.sha256.as_ref(),
            dir: None,
            is_copy: true,
        };
        if *parents == MissingParents::Refuse {
            self.parents.resolve(to.parent(), *parents)?;
        }
        let dir = self.parents.nearest_dir(to.parent()).filter(|dir| *dir.path == *to.parent());
        let there = dir.as_ref().map(|dir| standing(dir.fd.as_fd(), to.name())).transpose();
        let there = there.map_err(|e| self.fs.change_error("fstatat", to.as_str(), e))?.flatten();
        if let Some(dir) = dir
            && may_stand(there.as_ref(), copying, false)?
        {
            return self.place_over_dir(staged, &commit, &dir);
        }
        let (change, stored, ()) = self.commit_when(staged, &commit, &[], || Ok(()))?;
        Ok(Change { outcome: Outcome::Answered(Answer::Moved(stored.placed)), ..change })
    }

    /// Puts a file in the place of a directory, which goes to the trash: through that, so that a power cut leaves one of
    /// them at the name, and nothing anywhere else.
    fn place_over_dir(&self, staged: &Staged, commit: &Commit<'_>, above: &Arc<Dir>) -> Result<Change, StoreError> {
        let key = commit.key;
        self.complete(staged, commit)?;
        let _locks = lock_names(&self.fs, &[key])?;
        let bin = self.bin_for(key)?;
        let changing = self.quotas.storing(key, (None, commit.len), staged.holding.as_deref(), &[])?;
        let (in_bin, at) = (bin.at(), (above.fd.as_fd(), key.name()));
        let (dir, name) = staged.at();
        renameat(dir, name, in_bin.0, in_bin.1).map_err(|e| self.fs.change_error("renameat", key.as_str(), e))?;
        if let Err(errno) = linux::rename_exchange(in_bin.0, in_bin.1, at.0, at.1) {
            let _ = unlinkat(in_bin.0, in_bin.1, AtFlags::empty());
            return Err(exchange_error(&self.fs, key.as_str(), errno));
        }
        if let Some(changing) = changing {
            changing.done();
        }
        let mut syncs = self.parents.syncs_for(above);
        bin.empty(self, &mut syncs);
        Ok(Change { outcome: Outcome::Answered(Answer::Moved(Placed::Replaced)), syncs, displaced: None })
    }

    /// A copy is given up: what of it is to be removed in steps.
    pub(crate) fn abort_copy(&self, copy: Copy) -> Option<Removal> {
        match copy {
            Copy::File(file) => {
                self.staging.abort(&file.staged);
                None
            }
            Copy::Tree(tree) => Some(tree.abandon()),
        }
    }
}
