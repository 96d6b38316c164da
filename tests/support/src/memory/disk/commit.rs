//! How an upload gets its name: its bytes are synced, it is renamed, and every directory on the way with names that are
//! not durable yet is synced.

use filewharf::error::{Failure, StoreError};
use filewharf::object::{Durability, Placed, Stored};
use filewharf::platform::Outcome;
use filewharf::upload::UploadId;

use super::jobs::{Commit, Disk, Next, Staged, Stepping, Work, refused};
use super::tree::{Child, Ino, ROOT, UPLOADS};
use crate::memory::faults::Faults;
use crate::memory::rng::Rng;

impl Disk {
    /// An upload that outlives its connection also outlives a commit that failed.
    pub(super) fn unstage(&mut self, staged: &Staged) {
        match staged.upload {
            Some(id) if self.uploads.is_joined(id) => self.forget_upload(id),
            Some(id) => self.uploads.detach(id),
            None => self.tree.remove(staged.dir, &staged.name),
        }
    }

    pub(super) fn complete(&mut self, commit: Box<Commit>, durable: bool, rng: &mut Rng, faults: &Faults) -> Stepping {
        let ino = commit.staged.ino;
        let result = self.fit(rng, faults).and_then(|()| {
            let bytes = &mut self.tree.file_mut(ino).bytes;
            assert_eq!(bytes.len() as u64, commit.len, "the commit names another length than was written");
            bytes.splice(..0, commit.prepend.iter().copied());
            if let Some(mtime) = commit.mtime {
                self.tree.file_mut(ino).mtime = mtime;
            }
            if durable && rng.chance(faults.sync_error) {
                return Err(self.sync_failed(Some(ino)));
            }
            if durable {
                self.tree.sync_file(ino);
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(Next::Again(Work::Publish(commit))),
            Err(error) => {
                self.unstage(&commit.staged);
                Err(error)
            }
        }
    }

    pub(super) fn publish(&mut self, commit: Commit, durable: bool, rng: &mut Rng, faults: &Faults) -> Stepping {
        let Commit { staged, key, precondition, digest, .. } = commit;
        let placed = self.fit(rng, faults).and_then(|()| {
            let dir = self.make_way(key.parent())?;
            self.may_replace(&key, &precondition)?;
            let there = self.tree.at(key.as_str());
            let placed = if there.is_some() { Placed::Replaced } else { Placed::New };
            if let Some(Child::File(there)) = there {
                let there = self.tree.file(there).clone();
                let file = self.tree.file_mut(staged.ino);
                file.is_executable |= there.is_executable;
                file.properties = there.properties;
            }
            self.tree.rename((staged.dir, &staged.name), (dir, key.name()));
            self.tree.touch(staged.ino);
            self.tree.file_mut(staged.ino).sha256 = digest.map(|digest| *digest);
            Ok(placed)
        });
        let placed = match placed {
            Ok(placed) => placed,
            Err(error) => {
                self.unstage(&staged);
                return Err(error);
            }
        };
        let durability = if durable { Durability::Durable } else { Durability::Written };
        let stored = Stored { meta: self.meta(staged.ino), durability, placed };
        let next = self.owing(&[key.parent()], Outcome::Committed(stored), durable);
        Ok(match (next, staged.upload) {
            (Next::Again(Work::Settle(mut dirs, outcome, _)), Some(id)) => {
                dirs.push(UPLOADS);
                Next::Again(Work::Settle(dirs, outcome, Some(id)))
            }
            (next, upload) => {
                upload.into_iter().for_each(|id| self.upload_completed(id, Some(stored)));
                next
            }
        })
    }

    /// Every directory on the way to these that has names which are not durable.
    pub(super) fn owing(&self, paths: &[&str], outcome: Outcome, durable: bool) -> Next {
        let mut owed = Vec::new();
        for path in paths.iter().filter(|_| durable) {
            let mut at = ROOT;
            for name in std::iter::once("").chain(path.split('/')) {
                match if name.is_empty() { Some(Child::Dir(at)) } else { self.tree.child(at, name) } {
                    Some(Child::Dir(ino)) => at = ino,
                    _ => break,
                }
                if self.tree.needs_sync(at) && !owed.contains(&at) {
                    owed.push(at);
                }
            }
        }
        if owed.is_empty() { Next::Done(outcome) } else { Next::Again(Work::Settle(owed, outcome, None)) }
    }

    pub(super) fn settle(
        &mut self,
        mut dirs: Vec<Ino>,
        outcome: Outcome,
        upload: Option<UploadId>,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        if let Some(dir) = dirs.pop() {
            if self.degraded || rng.chance(faults.sync_error) {
                upload.into_iter().for_each(|id| self.uploads.detach(id));
                return Err(self.sync_failed(None));
            }
            self.tree.sync_dir(dir);
        }
        if !dirs.is_empty() {
            return Ok(Next::Again(Work::Settle(dirs, outcome, upload)));
        }
        if let (Some(id), Outcome::Committed(stored)) = (upload, &outcome) {
            self.upload_completed(id, Some(*stored));
        }
        Ok(Next::Done(outcome))
    }

    pub(super) fn sync_failed(&mut self, ino: Option<Ino>) -> StoreError {
        self.degraded = true;
        if let Some(ino) = ino {
            self.tree.sync_failed(ino);
        }
        refused(Failure::Internal)
    }
}
