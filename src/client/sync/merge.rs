//! Compares two sorted listings, name by name, and decides what is done. Holds one name of each, and the directories that
//! lead to it.

use std::cmp::Ordering;
use std::io;

use super::draft::{Draft, Hash};
use super::item::{Facts, Item, Node, PlanError, is_within, order};
use super::moves::Candidate;
use super::plan::{Action, Change, Stage};
use crate::client::compare::Equality;

/// A file that was changed this short a time ago may be changed again in the same second, and servers keep whole seconds.
const RECENT_S: i64 = 2;

/// What decides.
pub(crate) struct Rules<'a> {
    /// The source is local, and the destination on the server; else the other way round.
    pub(crate) is_upload: bool,
    pub(crate) equality: Equality,
    /// What the source does not have is removed.
    pub(crate) deletes: bool,
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) hash: &'a mut Hash<'a>,
}

impl Rules<'_> {
    /// The file may be changed again without another time.
    pub(super) fn is_recent(&self, file: &Facts) -> bool {
        (self.now - RECENT_S..self.now + 60).contains(&file.mtime)
    }
}

/// Is told what is no change.
pub(crate) trait Sink {
    /// The name is not made equal, with the reason.
    fn problem(&mut self, path: &str, why: &str);
    /// A link or device of the source, or a name that is reserved.
    fn skipped(&mut self);
    /// A file is equal.
    fn unchanged(&mut self);
}

/// Where a listing has been read to.
#[derive(Debug, Default)]
struct Position {
    /// The path before the head.
    last: String,
    /// What is below this directory is left out.
    omitted: Option<String>,
}

/// A part of one listing.
struct Side<I> {
    items: I,
    head: Option<Item>,
    at: Position,
}

/// A directory that the source does not have, while what is in it is compared.
struct Gone {
    path: String,
    /// Something in it is left alone, so it cannot be removed.
    is_kept: bool,
    /// The file that takes its place.
    replacement: Option<Change>,
}

/// The comparison.
pub(crate) struct Merge<'a> {
    pub(super) rules: Rules<'a>,
    draft: &'a mut Draft,
    sink: &'a mut dyn Sink,
    /// From the first to the one that the current name is in.
    gone: Vec<Gone>,
    /// A directory of the source in place of a file.
    replaced: Option<String>,
    source: Position,
    dest: Position,
}

impl<I: Iterator<Item = Result<Item, PlanError>>> Side<I> {
    fn new(items: I, at: Position) -> Self {
        Self { items, head: None, at }
    }

    fn omits(&self, path: &str) -> bool {
        self.at.omitted.as_ref().is_some_and(|dir| is_within(path, dir))
    }

    /// Goes to the next name; what has none is passed to `unnamed`.
    fn advance(&mut self, unnamed: &mut dyn FnMut(&str, &str) -> io::Result<()>) -> Result<(), PlanError> {
        self.head = None;
        while let Some(item) = self.items.next().transpose()? {
            if let Node::Unnamed(why) = item.node {
                if !self.omits(&item.path) {
                    unnamed(&item.path, why)?;
                }
                continue;
            }
            if order(&self.at.last, &item.path) != Ordering::Less {
                return Err(PlanError::Unsorted(item.path));
            }
            self.at.last.clone_from(&item.path);
            if !self.omits(&item.path) {
                self.head = Some(item);
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, is_taken: bool) -> Option<Item> {
        if is_taken { self.head.take() } else { None }
    }
}

impl<'a> Merge<'a> {
    pub(crate) fn new(rules: Rules<'a>, draft: &'a mut Draft, sink: &'a mut dyn Sink) -> Self {
        let (source, dest) = Default::default();
        Self { rules, draft, sink, gone: Vec::new(), replaced: None, source, dest }
    }

    /// Compares what is in one range of names, which comes after the ranges before.
    pub(super) fn range(
        &mut self,
        local: impl Iterator<Item = Result<Item, PlanError>>,
        remote: impl Iterator<Item = Result<Item, PlanError>>,
    ) -> Result<(), PlanError> {
        if self.rules.is_upload { self.compare_range(local, remote) } else { self.compare_range(remote, local) }
    }

    /// There are no more names.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.leave("")
    }

    fn compare_range(
        &mut self,
        source: impl Iterator<Item = Result<Item, PlanError>>,
        dest: impl Iterator<Item = Result<Item, PlanError>>,
    ) -> Result<(), PlanError> {
        let mut source = Side::new(source, std::mem::take(&mut self.source));
        let mut dest = Side::new(dest, std::mem::take(&mut self.dest));
        let (mut next_source, mut next_dest) = (true, true);
        loop {
            if next_source {
                source.advance(&mut |path, why| {
                    self.sink.problem(path, why);
                    Ok(())
                })?;
            }
            if next_dest {
                dest.advance(&mut |path, _| {
                    self.leave(path)?;
                    self.keep();
                    Ok(())
                })?;
            }
            let order = match (&source.head, &dest.head) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(source), Some(dest)) => order(&source.path, &dest.path),
            };
            (next_source, next_dest) = (order != Ordering::Greater, order != Ordering::Less);
            let (from, to) = (source.take(next_source), dest.take(next_dest));
            let Some(path) = from.as_ref().or(to.as_ref()).map(|item| item.path.clone()) else { break };
            self.leave(&path)?;
            self.replaced.take_if(|dir| !is_within(&path, dir));
            let is_compared = self.pair(&path, from.map(|item| item.node), to.map(|item| item.node))?;
            if !is_compared {
                self.keep();
                (source.at.omitted, dest.at.omitted) = (Some(path.clone()), Some(path));
            }
        }
        (self.source, self.dest) = (source.at, dest.at);
        Ok(())
    }

    /// Leaves the directories that `path` is not in: what is in them is known now.
    fn leave(&mut self, path: &str) -> io::Result<()> {
        while let Some(gone) = self.gone.pop_if(|gone| path.is_empty() || !is_within(path, &gone.path)) {
            match (gone.is_kept, gone.replacement) {
                (false, replacement) => {
                    self.draft.add(Stage::RemovedDirs, &Change::new(Action::RemoveDir, &gone.path))?;
                    if let Some(change) = replacement {
                        self.draft.add(Stage::Replacements, &change)?;
                    }
                }
                (true, Some(_)) => self.sink.problem(&gone.path, "a folder is there, with names that are left alone"),
                (true, None) => {}
            }
        }
        Ok(())
    }

    /// The directories down to here stay.
    fn keep(&mut self) {
        self.gone.iter_mut().for_each(|gone| gone.is_kept = true);
    }

    /// Decides about one name; false if it and all below it are left alone.
    fn pair(&mut self, path: &str, source: Option<Node>, dest: Option<Node>) -> io::Result<bool> {
        let deletes = self.rules.deletes;
        match (source, dest) {
            (Some(Node::Broken(why)), _) | (_, Some(Node::Broken(why))) => {
                self.sink.problem(path, &why);
                return Ok(false);
            }
            (Some(Node::Excluded), _) | (None, Some(Node::Excluded | Node::Skipped)) => return Ok(false),
            (Some(Node::Skipped), _) => {
                self.sink.skipped();
                return Ok(false);
            }
            (Some(_), Some(Node::Excluded | Node::Skipped)) => {
                self.sink.problem(path, "what is there is left alone: a link, no file, or excluded");
                return Ok(false);
            }
            (Some(Node::Dir), None) => {
                let stage = if self.replaced.is_some() { Stage::Replacements } else { Stage::Dirs };
                self.draft.add(stage, &Change::new(Action::MakeDir, path))?;
            }
            (Some(Node::File(file)), None) => {
                let change = sent(path, &file, "");
                match self.replaced.is_some() {
                    true => self.draft.add(Stage::Replacements, &change)?,
                    false => self.draft.add_new(&change)?,
                }
            }
            (Some(Node::File(file)), Some(Node::File(there))) => self.compare(path, &file, &there)?,
            (Some(Node::File(file)), Some(Node::Dir)) if deletes => {
                let replacement = Some(sent(path, &file, ""));
                self.gone.push(Gone { path: path.to_owned(), is_kept: false, replacement });
            }
            (Some(Node::Dir), Some(Node::File(there))) if deletes => {
                self.only_there(path, &there)?;
                self.draft.add(Stage::Replacements, &Change::new(Action::MakeDir, path))?;
                self.replaced = Some(path.to_owned());
            }
            (Some(Node::File(_)), Some(Node::Dir)) => {
                self.sink.problem(path, "a folder is there in place of a file; --delete replaces it");
                return Ok(false);
            }
            (Some(Node::Dir), Some(Node::File(_))) => {
                self.sink.problem(path, "a file is there in place of a folder; --delete replaces it");
                return Ok(false);
            }
            (None, Some(Node::Dir)) if deletes => {
                self.gone.push(Gone { path: path.to_owned(), is_kept: false, replacement: None });
            }
            (None, Some(Node::File(there))) => self.only_there(path, &there)?,
            _ => {}
        }
        Ok(true)
    }

    /// A file that the source does not have under this name.
    fn only_there(&mut self, path: &str, there: &Facts) -> io::Result<()> {
        if self.rules.deletes {
            let change = Change { version: there.version.clone(), ..Change::new(Action::Delete, path) };
            self.draft.add_deletion(&change)?;
        }
        self.candidate(path, there, !self.rules.deletes);
        Ok(())
    }

    /// A file that may be moved or copied. Of those on a server, the digest must be known, or be that of the local file;
    /// a local one can be moved only.
    fn candidate(&mut self, path: &str, there: &Facts, stays: bool) {
        let has_digest = there.sha256.is_some() || there.version.is_empty();
        let is_useful = if self.rules.is_upload { has_digest } else { !stays };
        if is_useful && there.size > 0 {
            let mut candidate = Candidate::new(path, there.size, there.sha256, stays);
            candidate.executable = there.executable;
            if !self.rules.is_upload {
                candidate.version = there.version.as_str().into();
            }
            self.draft.candidate(candidate);
        }
    }

    /// A file that both have.
    fn compare(&mut self, path: &str, file: &Facts, there: &Facts) -> io::Result<()> {
        let has_same_time = file.mtime == there.mtime;
        let is_recent = self.rules.is_recent(file);
        let is_other = file.size != there.size || (file.executable && !there.executable);
        let is_equal = match self.rules.equality {
            _ if is_other => false,
            Equality::Name => true,
            Equality::SizeAndTime if has_same_time && !is_recent => true,
            // Without a digest, an upload is repeated: the server has the digest after that.
            Equality::SizeAndTime => {
                self.has_same_content(path, file, there).unwrap_or(has_same_time && !self.rules.is_upload)
            }
            Equality::Digest => self.has_same_content(path, file, there).unwrap_or(false),
        };
        if !is_equal {
            return self.draft.add(Stage::Transfers, &sent(path, file, &there.version));
        }
        if has_same_time {
            self.sink.unchanged();
        } else {
            let change = Change { action: Action::SetTime, ..sent(path, file, &there.version) };
            self.draft.add(Stage::Transfers, &change)?;
        }
        self.candidate(path, there, true);
        Ok(())
    }

    /// Compares the digests of files of one size; `None` if the server does not know its own.
    fn has_same_content(&mut self, path: &str, file: &Facts, there: &Facts) -> Option<bool> {
        if file.size == 0 {
            return Some(true);
        }
        let remote = if self.rules.is_upload { there.sha256 } else { file.sha256 }?;
        Some((self.rules.hash)(path) == Some(remote))
    }
}

/// The transfer of a file in place of a version of the destination.
fn sent(path: &str, file: &Facts, version: &str) -> Change {
    Change {
        size: file.size,
        mtime: file.mtime,
        version: version.to_owned(),
        sha256: file.sha256,
        executable: file.executable,
        ..Change::new(Action::Send, path)
    }
}
