//! Copies: made where uploads are staged, and given their name when all of them is durable.

use filewharf::command::{Answer, Copying, DirCopy};
use filewharf::error::{Failure, StoreError};
use filewharf::ids::FileId;
use filewharf::object::{Key, MissingParents, Placed, Precondition};
use filewharf::platform::{Op, Outcome};

use super::jobs::{Disk, Next, Open, Stepping, refused};
use super::tree::{Child, Ino, STAGING};
use crate::memory::faults::Faults;
use crate::memory::rng::Rng;

/// A copy under way.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    child: Child,
    /// Its name until it has its final one.
    name: Box<str>,
    /// Steps that are left.
    steps: u64,
}

impl Disk {
    pub(super) fn copied(&mut self, op: Op, durable: bool, rng: &mut Rng, faults: &Faults) -> Stepping {
        match op {
            Op::BeginCopy(copying) => {
                self.fit(rng, faults)?;
                let child = self.copied_child(&copying)?;
                let name: Box<str> = format!("copy-{}", self.next_staged()).into();
                let is_whole = copying.dir == DirCopy::Whole;
                let child = self.copy_into(STAGING, &name, child, is_whole);
                let copied = Copied { child, name, steps: rng.range(1..=3) };
                Ok(Next::Done(Outcome::Created(self.admit(Open::Copied(copied)))))
            }
            Op::Copy { file } => {
                self.fit(rng, faults)?;
                // It may have been given up since this step was asked for.
                let Some(Open::Copied(copied)) = self.open_mut(file) else { return Ok(Next::Done(Outcome::Aborted)) };
                copied.steps = copied.steps.saturating_sub(1);
                Ok(Next::Done(Outcome::Copied(copied.steps == 0)))
            }
            Op::PlaceCopy { file, copying } => {
                let copied = self.take_copy(file);
                assert_eq!(copied.steps, 0, "a copy gets its name before it is complete");
                let placed =
                    self.fit(rng, faults).and_then(|()| self.place_copied(&copied, &copying, durable, rng, faults));
                if placed.is_err() {
                    self.tree.remove(STAGING, &copied.name);
                }
                placed
            }
            other => unreachable!("{other:?} is served elsewhere"),
        }
    }

    /// It is open no more.
    pub(super) fn take_copy(&mut self, file: FileId) -> Copied {
        let Some(Open::Copied(copied)) = self.open_mut(file) else { panic!("{file:?} is no copy") };
        let copied = copied.clone();
        self.forget(file);
        copied
    }

    pub(super) fn give_up_copy(&mut self, copied: &Copied) {
        self.tree.remove(STAGING, &copied.name);
    }

    fn copied_child(&self, copying: &Copying) -> Result<Child, StoreError> {
        let Copying { from, to, parents, dir, len_max, .. } = copying;
        if from.is_root() || to.is_root() {
            return Err(refused(Failure::Denied("the served folder itself cannot be copied, nor replaced")));
        }
        if from.is_above(to) || to.is_above(from) {
            return Err(refused(Failure::Conflict("a folder cannot be copied into itself, or over one that it is in")));
        }
        let child = self.tree.at(from.as_str()).ok_or(refused(Failure::NotFound))?;
        if *parents == MissingParents::Refuse {
            self.need_dir(to.parent())?;
        }
        if from == to {
            return Err(refused(Failure::Conflict("a file cannot be copied onto itself")));
        }
        self.may_stand(to, copying, child)?;
        match (child, dir) {
            (Child::Dir(_), DirCopy::Refused(failure)) => Err(refused(*failure)),
            (Child::File(ino), _) if len_max.is_some_and(|len_max| self.meta(ino).len > len_max) => {
                Err(refused(Failure::TooLarge))
            }
            _ => Ok(child),
        }
    }

    /// True if something is replaced.
    fn may_stand(&self, to: &Key, copying: &Copying, child: Child) -> Result<bool, StoreError> {
        let there = self.tree.at(to.as_str());
        let has_dir = |child: Option<Child>| matches!(child, Some(Child::Dir(_)));
        if there.is_some() && copying.precondition.wants_absent() {
            return Err(refused(Failure::PreconditionFailed));
        }
        if there.is_some() && (has_dir(there) || has_dir(Some(child))) {
            return match (copying.replaces_dir, &copying.precondition) {
                (true, Precondition::None | Precondition::Present) => Ok(true),
                (true, _) => Err(refused(Failure::PreconditionFailed)),
                (false, _) => Err(refused(Failure::Conflict(match there {
                    Some(Child::Dir(_)) => "a folder has that name: say the name of the copy in it too",
                    _ => "a file has that name",
                }))),
            };
        }
        self.may_replace(to, &copying.precondition).map(|()| there.is_some())
    }

    fn place_copied(
        &mut self,
        copied: &Copied,
        copying: &Copying,
        durable: bool,
        rng: &mut Rng,
        faults: &Faults,
    ) -> Stepping {
        let to = &copying.to;
        if copying.parents == MissingParents::Refuse {
            self.need_dir(to.parent())?;
        }
        if durable && rng.chance(faults.sync_error) {
            return Err(self.sync_failed(None));
        }
        if durable {
            self.sync_all(copied.child);
        }
        let above = self.make_way(to.parent())?;
        let is_replaced = self.may_stand(to, copying, copied.child)?;
        if let (Child::File(ino), Some(Child::File(there))) = (copied.child, self.tree.at(to.as_str())) {
            self.tree.file_mut(ino).is_executable |= self.tree.file(there).is_executable;
        }
        self.tree.rename((STAGING, &copied.name), (above, to.name()));
        if let Child::File(ino) = copied.child {
            let sha256 = self.tree.file(ino).sha256;
            self.tree.touch(ino);
            self.tree.file_mut(ino).sha256 = sha256;
        }
        let placed = if is_replaced { Placed::Replaced } else { Placed::New };
        Ok(self.owing(&[to.parent()], Outcome::Answered(Answer::Moved(placed)), durable))
    }

    fn sync_all(&mut self, child: Child) {
        match child {
            Child::File(ino) => self.tree.sync_file(ino),
            Child::Dir(dir) => {
                for child in Vec::from_iter(self.tree.names(dir).values().copied()) {
                    self.sync_all(child);
                }
                self.tree.sync_dir(dir);
            }
        }
    }

    fn copy_into(&mut self, dir: Ino, name: &str, child: Child, is_whole: bool) -> Child {
        match child {
            Child::File(from) => {
                let ino = self.tree.create(dir, name);
                let source = self.tree.file(from).clone();
                let copy = self.tree.file_mut(ino);
                (copy.bytes, copy.mtime) = (source.bytes, source.mtime);
                (copy.is_executable, copy.properties) = (source.is_executable, source.properties);
                self.tree.touch(ino);
                self.tree.file_mut(ino).sha256 = source.sha256;
                Child::File(ino)
            }
            Child::Dir(from) => {
                let ino = self.tree.make_dir(dir, name);
                let names = self.tree.names(from).clone();
                for (name, child) in names.into_iter().filter(|_| is_whole) {
                    self.copy_into(ino, &name, child, true);
                }
                Child::Dir(ino)
            }
        }
    }
}
