//! Making an upload visible: length, time, sync of the data, rename. The only code path for it.
//!
//! The syncs of the directories follow, in `pool::group_commit`. Whatever fails on the way, a staging file
//! is removed, an upload that can be resumed stays, and the final name is left as it was.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, Stat, Timespec, fstat, linkat, renameat, unlinkat};
use rustix::io::Errno;

use crate::command::Put;
use crate::error::{Failure, StoreError};
use crate::object::{Key, Meta, Placed, Precondition, Stored};
use crate::platform::Outcome;
use crate::store::fs::digests;
use crate::store::fs::errno;
use crate::store::fs::errno::SiteErrno;
use crate::store::fs::linux;
use crate::store::fs::root::Dir;
use crate::store::fs::stat::{self, may_replace};
use crate::store::fs::stat::{At, standing};
use crate::store::namespace::Namespace;
use crate::store::namespace::deferred_unlink::keep_open;
use crate::store::namespace::inherited::{Heir, RESUMABLE};
use crate::store::namespace::stripes::lock_names;
use crate::store::namespace::times::set_mtime;
use crate::store::quota::ledger::Holding;
use crate::store::staging::parents::ResolvedParent;
use crate::store::staging::pending_syncs::{Change, PendingSyncs};
use crate::store::staging::staged::Staged;

/// Times the directories are made again when they are removed meanwhile.
const PUBLISH_TRIES: u32 = 8;

/// An upload that is complete.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) key: &'a Key,
    /// Bytes that were written.
    pub(crate) len: u64,
    /// Goes before them.
    pub(crate) prepend: &'a [u8],
    pub(crate) mtime: Option<i64>,
    pub(crate) precondition: &'a Precondition,
    /// Of all of it, to be kept.
    pub(crate) digest: Option<&'a [u8; 32]>,
    /// The directory, where it was opened a moment ago.
    pub(crate) dir: Option<Arc<Dir>>,
    /// A copy has the properties of its source, not those of the file that it replaces.
    pub(crate) is_copy: bool,
}

impl<'a> Commit<'a> {
    /// All of a small upload.
    pub(crate) fn whole(put: &'a Put, len: u64) -> Self {
        Self {
            key: &put.key,
            len,
            prepend: &[],
            mtime: put.mtime,
            precondition: &put.precondition,
            digest: put.sha256.as_deref(),
            dir: None,
            is_copy: false,
        }
    }
}

/// What got its name, whether something had it before, and that if its blocks are to be freed later.
type Published = (Meta, Placed, Option<OwnedFd>);

/// Why a staging file could not get its final name.
enum Unplaced {
    /// The directory vanished between its opening and the rename.
    Race,
    Error(StoreError),
}

impl Namespace {
    pub(crate) fn commit(&self, staged: &Staged, commit: &Commit<'_>) -> Result<Change, StoreError> {
        self.prepare(staged, commit).and_then(|heir| self.give_name(staged, commit, heir))
    }

    /// The first part of a commit: all that concerns the content.
    pub(crate) fn prepare(&self, staged: &Staged, commit: &Commit<'_>) -> Result<Heir, StoreError> {
        let heir = self.fs.health.check_writable().and_then(|()| self.complete(staged, commit));
        heir.inspect_err(|error| {
            self.fs.health.commit_ended(Some(error.failure));
            self.staging.abort(staged);
        })
    }

    /// The second part: the file gets its name.
    pub(crate) fn give_name(&self, staged: &Staged, commit: &Commit<'_>, heir: Heir) -> Result<Change, StoreError> {
        let published = self.fs.health.check_writable().and_then(|()| self.publish(staged, commit, &[], heir));
        let named = self.published(published.map(|published| (published, ())));
        named.map(|(change, ..)| change).inspect_err(|_| self.staging.abort(staged))
    }

    /// Both for a file that the caller keeps if this fails. `ready` is called once the content is complete; its result
    /// is dropped before this returns an error. `parts`: what the uploads hold that it is concatenated from.
    pub(crate) fn commit_when<T>(
        &self,
        staged: &Staged,
        commit: &Commit<'_>,
        parts: &[Arc<Holding>],
        ready: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<(Change, Stored, T), StoreError> {
        let published = self
            .fs
            .health
            .check_writable()
            .and_then(|()| self.complete(staged, commit))
            .and_then(|heir| Ok((heir, ready()?)))
            .and_then(|(heir, ready)| Ok((self.publish(staged, commit, parts, heir)?, ready)));
        self.published(published)
    }

    /// How a commit has ended, and what follows.
    fn published<T>(
        &self,
        published: Result<((Published, PendingSyncs), T), StoreError>,
    ) -> Result<(Change, Stored, T), StoreError> {
        match &published {
            // A change with syncs to come counts once they are done.
            Ok(((_, syncs), _)) if !syncs.dirs.is_empty() => {}
            result => self.fs.health.commit_ended(result.as_ref().err().map(|error| error.failure)),
        }
        let (((meta, placed, displaced), syncs), ready) = published?;
        let stored = Stored { meta, durability: self.stored, placed };
        Ok((Change { outcome: Outcome::Committed(stored), syncs, displaced }, stored, ready))
    }

    /// Everything that concerns the content: after this its bytes are where they were promised.
    pub(super) fn complete(&self, staged: &Staged, commit: &Commit<'_>) -> Result<Heir, StoreError> {
        let &Commit { key, len, prepend, mtime, digest, .. } = commit;
        let path = key.as_str();
        staged.check()?;
        if key.is_root() {
            return Err(StoreError::refused(Failure::Conflict("that is a folder"), "commit"));
        }
        let stat = fstat(&staged.file).map_err(|e| errno::broken("fstat", path, e))?;
        if stat::len(&stat) != len {
            log::error!(target: errno::TARGET, "path={path:?}: {len} bytes were sent, {} written", stat.st_size);
            return Err(StoreError::refused(Failure::Internal, "length"));
        }
        if !prepend.is_empty() {
            self.staging.prepend(staged, len, prepend)?;
        }
        if let Some(seconds) = mtime {
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            set_mtime(staged.file.as_fd(), time).map_err(|e| self.fs.change_error("futimens", path, e))?;
        } else if digest.is_some() && self.fs.digests.is_writable() {
            // Where this fails, the digest is perhaps not kept.
            let _ = set_mtime(staged.file.as_fd(), digests::before(&stat));
        }
        let mut heir = Heir::new(stat, staged.is_executable, commit.is_copy);
        let changed = heir.make_executable(&staged.file).map_err(|e| self.fs.change_error("fchmod", path, e))?;
        if self.fs.durable {
            // A plain data sync need not keep what was set beside the content.
            let inherits = self.inherit_early(staged, commit, &mut heir)?;
            self.sync_content(
                staged,
                path,
                changed || inherits || mtime.is_some() || self.staging.file_mode.is_some(),
            )?;
        }
        Ok(heir)
    }

    /// Takes over what the file has now that will be replaced, so that one sync covers it with the content. What is there
    /// when the name is given counts.
    fn inherit_early(&self, staged: &Staged, commit: &Commit<'_>, heir: &mut Heir) -> Result<bool, StoreError> {
        let key = commit.key;
        if commit.precondition.wants_absent() {
            return Ok(false); // it will replace nothing
        }
        let dir = commit.dir.clone().map_or_else(|| self.fs.dir(key.parent()), Ok);
        let Ok(dir) = dir else { return Ok(false) };
        let at = (dir.fd.as_fd(), key.name());
        let Ok(Some(there)) = standing(at.0, at.1) else { return Ok(false) };
        self.inherit(staged, heir, (at, &there), RESUMABLE)
    }

    fn inherit(
        &self,
        staged: &Staged,
        heir: &mut Heir,
        from: (At<'_>, &Stat),
        besides: Mode,
    ) -> Result<bool, StoreError> {
        let inherited = heir.take_over(&staged.file, from, (besides, self.fs.caps.acls));
        inherited.map_err(|(site, e)| self.fs.change_error(site, &staged.path, e))
    }

    fn sync_content(&self, staged: &Staged, path: &str, all: bool) -> Result<(), StoreError> {
        (self.fs.sync.content)(staged.file.as_fd(), all).map_err(|e| self.fs.sync_error("fdatasync", path, e))?;
        // Another upload's sync may have failed meanwhile: then this one's success is not
        // worth much either.
        self.fs.health.check_writable()
    }

    fn publish(
        &self,
        staged: &Staged,
        commit: &Commit<'_>,
        parts: &[Arc<Holding>],
        mut heir: Heir,
    ) -> Result<(Published, PendingSyncs), StoreError> {
        let key = commit.key;
        let _locks = lock_names(&self.fs, &[key])?;
        let mut found = commit.dir.clone().map(ResolvedParent::found);
        for _ in 0..PUBLISH_TRIES {
            let parent = found.take().map_or_else(|| self.parents.make_parents(key.parent()), Ok)?;
            match self.publish_in(&parent, staged, (commit, parts), &mut heir) {
                Ok(published) => return Ok((published, self.parents.syncs_for(&parent.dir))),
                Err(Unplaced::Race) => self.parents.undo(parent),
                Err(Unplaced::Error(error)) => {
                    self.parents.undo(parent);
                    return Err(error);
                }
            }
        }
        Err(self.fs.gone("renameat", key.as_str()))
    }

    fn publish_in(
        &self,
        parent: &ResolvedParent,
        staged: &Staged,
        (commit, parts): (&Commit<'_>, &[Arc<Holding>]),
        heir: &mut Heir,
    ) -> Result<Published, Unplaced> {
        let &Commit { key, precondition, .. } = commit;
        let (path, to) = (key.as_str(), (parent.dir.fd.as_fd(), key.name()));
        let _file = self.quotas.lock_files(&[(parent.dir.id, key.name().as_bytes())]);
        let there =
            self.fs.standing_now(to.0, to.1).map_err(|e| Unplaced::Error(self.fs.change_error("fstatat", path, e)))?;
        may_replace(there.as_ref(), precondition)
            .map_err(|failure| Unplaced::Error(StoreError::refused(failure, "commit")))?;
        if let Some(there) = &there
            && self.inherit(staged, heir, (to, there), Mode::empty()).map_err(Unplaced::Error)?
            && self.fs.durable
        {
            self.sync_content(staged, path, true).map_err(Unplaced::Error)?;
        }
        let absent = precondition.wants_absent();
        let from = staged.at();
        let (before, after) = (there.as_ref().map(stat::len), commit.len + commit.prepend.len() as u64);
        let changing = self.quotas.storing(key, (before, after), staged.holding.as_deref(), parts);
        let changing = changing.map_err(Unplaced::Error)?;
        let displaced = there.as_ref().and_then(|there| keep_open(&self.fs, to, there));
        match self.place(from, to, absent) {
            Ok(()) => {
                if let Some(changing) = changing {
                    changing.done();
                }
            }
            Err((_, Errno::EXIST)) if absent => {
                return Err(Unplaced::Error(StoreError::refused(Failure::PreconditionFailed, "renameat2")));
            }
            Err((site, Errno::NOENT)) => {
                return Err(match standing(from.0, from.1) {
                    Ok(Some(_)) => Unplaced::Race,
                    _ if self.fs.is_root_gone() => Unplaced::Error(self.fs.gone(site, path)),
                    _ => Unplaced::Error(errno::broken(site, path, Errno::NOENT)),
                });
            }
            Err((site, errno)) => return Err(Unplaced::Error(self.fs.change_error(site, path, errno))),
        }
        // Only now: the rename has changed the ctime, which is part of the ETag.
        match fstat(&staged.file) {
            Ok(stat) => {
                if let Some(digest) = commit.digest {
                    self.fs.digests.keep(self.fs.root().fd.as_fd(), &stat, digest);
                }
                let placed = if there.is_some() { Placed::Replaced } else { Placed::New };
                Ok((Meta { sha256: commit.digest.copied(), ..stat::meta(&stat) }, placed, displaced))
            }
            Err(errno) => Err(Unplaced::Error(errno::broken("fstat", path, errno))),
        }
    }

    /// Gives a file its name; with `absent` never over anything.
    pub(crate) fn place(&self, from: At<'_>, to: At<'_>, absent: bool) -> Result<(), SiteErrno> {
        if !absent {
            return renameat(from.0, from.1, to.0, to.1).map_err(|e| ("renameat", e));
        }
        if self.fs.caps.noreplace {
            return linux::rename_noreplace(from.0, from.1, to.0, to.1).map_err(|e| ("renameat2", e));
        }
        match linkat(from.0, from.1, to.0, to.1, AtFlags::empty()) {
            Ok(()) => unlinkat(from.0, from.1, AtFlags::empty()).map_err(|e| ("unlinkat", e)),
            // A directory, or a file system without hard links: look first. Uploads to one name come
            // one after the other, so only another process could come between.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => match standing(to.0, to.1) {
                Ok(None) => renameat(from.0, from.1, to.0, to.1).map_err(|e| ("renameat", e)),
                Ok(Some(_)) => Err(("renameat", Errno::EXIST)),
                Err(errno) => Err(("fstatat", errno)),
            },
            Err(errno) => Err(("linkat", errno)),
        }
    }
}
