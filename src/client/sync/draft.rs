//! A plan while it is made: new files and deletions wait until all is known, since a file may have been moved.

use std::io;

use super::moves::{Candidate, Found, Moves};
use super::plan::{Action, Change, Plan, Stage, changes};
use super::spool::Spool;

/// Most files of the destination that are kept as candidates for a move or copy; new files beyond are transferred.
pub(crate) const MOVED_MAX: usize = 200_000;

/// What [`Merge`](super::Merge) has found.
#[derive(Debug)]
pub(crate) struct Draft {
    plan: Plan,
    /// Files that the destination does not have.
    new: Spool,
    deletions: Spool,
    pub(super) moves: Moves,
}

/// Computes the digest of a local file, by its path below the directory; `None` if it cannot be read.
pub(crate) type Hash<'a> = dyn FnMut(&str) -> Option<[u8; 32]> + 'a;

impl Draft {
    pub(crate) fn new(candidates_max: usize) -> Self {
        let moves = Moves::new(candidates_max);
        Self { plan: Plan::default(), new: Spool::default(), deletions: Spool::default(), moves }
    }

    /// The destination itself is missing.
    pub(crate) fn make_root(&mut self) -> io::Result<()> {
        self.add(Stage::Dirs, &Change::new(Action::MakeDir, "."))
    }

    /// Adds a change that does not depend on others.
    pub(super) fn add(&mut self, stage: Stage, change: &Change) -> io::Result<()> {
        self.plan.push(stage, change)
    }

    /// Adds a file that the destination does not have.
    pub(super) fn add_new(&mut self, change: &Change) -> io::Result<()> {
        self.new.push(&change.line())
    }

    /// Adds the removal of a file.
    pub(super) fn add_deletion(&mut self, change: &Change) -> io::Result<()> {
        self.deletions.push(&change.line())
    }

    pub(super) fn candidate(&mut self, candidate: Candidate) {
        self.moves.add(candidate);
    }

    /// Finds out which of the new files were moved. `hash` is for local files: of the source if `hashes_source`, else of
    /// the destination. `may_copy`: copies at the destination are possible.
    pub(crate) fn finish(mut self, hashes_source: bool, may_copy: bool, hash: &mut Hash<'_>) -> io::Result<Plan> {
        self.moves.sort();
        for change in changes(self.new.lines()?) {
            let mut change = change?;
            if self.moves.has_size(change.size) {
                if hashes_source {
                    change.sha256 = hash(&change.path);
                }
                let found = match change.sha256 {
                    Some(sha256) => self.moves.find(change.size, sha256, change.executable, hash),
                    None => None,
                };
                let action = match &found {
                    Some(Found::Move(_)) => Action::Rename,
                    Some(Found::Copy(_)) if may_copy => Action::Copy,
                    _ => Action::Send,
                };
                if let (Some(Found::Move(from) | Found::Copy(from)), true) = (found, action != Action::Send) {
                    (change.from, change.version) = (from.path.to_string(), from.version.to_string());
                }
                change.action = action;
            }
            let stage = match change.action {
                Action::Rename => Stage::Renames,
                Action::Copy => Stage::Copies,
                _ => Stage::Transfers,
            };
            self.plan.push(stage, &change)?;
        }
        for change in changes(self.deletions.lines()?) {
            let change = change?;
            if !self.moves.is_moved(&change.path) {
                self.plan.push(Stage::Deletions, &change)?;
            }
        }
        Ok(self.plan)
    }
}
