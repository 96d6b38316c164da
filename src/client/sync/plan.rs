//! A plan: changes of one directory in the order in which they are made, in stages. Never says how they are made.

use std::io;

use super::spool::Spool;
use crate::wire::line::{hex, sha256};
use crate::wire::range::{decimal, signed_decimal};

/// What is done to one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    MakeDir,
    /// Copies another file of the destination.
    Copy,
    /// Moves another file of the destination.
    Rename,
    /// Transfers a file.
    Send,
    /// Sets the time of a file that has the right content.
    SetTime,
    Delete,
    /// Removes an empty directory.
    RemoveDir,
}

/// The letters of actions in a spool, in the order of [`Action`].
const LETTERS: [(Action, &str); 7] = [
    (Action::MakeDir, "m"),
    (Action::Copy, "c"),
    (Action::Rename, "r"),
    (Action::Send, "s"),
    (Action::SetTime, "t"),
    (Action::Delete, "d"),
    (Action::RemoveDir, "x"),
];

/// One change of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) action: Action,
    /// Below the destination; `.` is the destination itself.
    pub(crate) path: String,
    /// The file that is copied or moved; empty for other actions.
    pub(crate) from: String,
    /// Of the file that will be there.
    pub(crate) size: u64,
    /// Of the file that will be there, in seconds since 1970.
    pub(crate) mtime: i64,
    /// Of the file that is replaced, removed, copied or moved; empty if there is none.
    pub(crate) version: String,
    /// Of the file that will be there, if it is known.
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) executable: bool,
}

impl Change {
    pub(super) fn new(action: Action, path: &str) -> Self {
        let (from, version) = (String::new(), String::new());
        Self { action, path: path.to_owned(), from, size: 0, mtime: 0, version, sha256: None, executable: false }
    }

    /// As one line. No name in it has control characters.
    pub(super) fn line(&self) -> String {
        let letter = LETTERS.iter().find(|(action, _)| *action == self.action).map_or("", |(_, letter)| *letter);
        let Self { size, mtime, version, from, path, .. } = self;
        let (sha256, exec) =
            (self.sha256.as_ref().map_or_else(String::new, |digest| hex(digest)), u8::from(self.executable));
        format!("{letter}\t{size}\t{mtime}\t{exec}\t{version}\t{sha256}\t{from}\t{path}")
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(8, '\t');
        let mut next = || words.next();
        let letter = next()?;
        let (action, _) = LETTERS.iter().find(|(_, known)| *known == letter)?;
        let (size, mtime, executable) = (decimal(next()?)?, signed_decimal(next()?)?, next()? == "1");
        let (version, digest) = (next()?.to_owned(), next()?);
        let sha256 = if digest.is_empty() { None } else { Some(sha256(digest)?) };
        let (from, path) = (next()?.to_owned(), next()?.to_owned());
        Some(Self { action: *action, path, from, size, mtime, version, sha256, executable })
    }
}

/// Changes that may be made at the same time. All of a stage are made before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Dirs,
    /// Before files that are copied lose their names.
    Copies,
    Renames,
    Transfers,
    /// Only after the success of everything before.
    Deletions,
    /// Each directory after those in it.
    RemovedDirs,
    /// What takes the place of something that was removed.
    Replacements,
}

impl Stage {
    pub(crate) const ALL: [Self; 7] = [
        Self::Dirs,
        Self::Copies,
        Self::Renames,
        Self::Transfers,
        Self::Deletions,
        Self::RemovedDirs,
        Self::Replacements,
    ];

    /// True for the stages that need the success of all before.
    pub(crate) fn needs_success(self) -> bool {
        matches!(self, Self::Deletions | Self::RemovedDirs | Self::Replacements)
    }
}

/// How much a plan has of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) changes: u64,
    /// Files that are transferred.
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) bytes: u64,
    pub(crate) dirs: u64,
    pub(crate) copied: u64,
    pub(crate) renamed: u64,
    pub(crate) times: u64,
    /// Files and directories.
    pub(crate) deleted: u64,
}

impl Totals {
    pub(crate) fn count(&mut self, change: &Change) {
        self.changes += 1;
        match change.action {
            Action::MakeDir => self.dirs += 1,
            Action::Copy => self.copied += 1,
            Action::Rename => self.renamed += 1,
            Action::Send => {
                self.files += 1;
                self.bytes += change.size;
            }
            Action::SetTime => self.times += 1,
            Action::Delete | Action::RemoveDir => self.deleted += 1,
        }
    }
}

/// All changes, in a temporary file for each stage.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    stages: [Spool; Stage::ALL.len()],
    pub(crate) totals: Totals,
}

impl Plan {
    pub(super) fn push(&mut self, stage: Stage, change: &Change) -> io::Result<()> {
        self.totals.count(change);
        self.stages[stage as usize].push(&change.line())
    }

    /// The changes of a stage in their order.
    pub(crate) fn changes(&mut self, stage: Stage) -> io::Result<impl Iterator<Item = io::Result<Change>> + use<'_>> {
        Ok(changes(self.stages[stage as usize].lines()?))
    }
}

/// Reads the changes of a spool.
pub(super) fn changes(lines: impl Iterator<Item = io::Result<String>>) -> impl Iterator<Item = io::Result<Change>> {
    lines.map(|line| Change::parse(&line?).ok_or_else(|| io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written() {
        for (action, _) in LETTERS {
            let change = Change {
                from: "old name".to_owned(),
                size: u64::MAX,
                mtime: -5,
                version: "a-1".to_owned(),
                sha256: (action == Action::Rename).then_some([7; 32]),
                executable: action == Action::Send,
                ..Change::new(action, "a/ü b")
            };
            assert_eq!(Change::parse(&change.line()), Some(change));
        }
        assert_eq!(Change::parse("s\t1"), None);
    }
}
