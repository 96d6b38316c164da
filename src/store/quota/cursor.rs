//! How far a count of one prefix has come: which names it has looked at, so that a change beside it is counted once.
//!
//! Directories are visited in the order of their components, each before those in it, and the files of one in the order
//! of their names. So every name is either after the cursor or ahead of it.

use std::collections::BTreeSet;

use crate::config::QuotaUnit;
use crate::store::fs::walk::Place;

/// Directories that were made ahead of the cursor and that it keeps: with more, the count begins again.
const NEW_DIRS_MAX: usize = 1024;
/// The same of files: of more it keeps the first half, and the rest of the directory is read again after those.
const NEW_FILES_MAX: usize = if cfg!(test) { 1 } else { 1024 };

/// Where a name is, seen from the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Ahead,
    /// It is being looked at: what is found may be what was there before the change, or after it.
    Now,
    Passed,
}

/// What the cursor does with the files of its directory.
#[derive(Debug, PartialEq, Eq)]
enum Files {
    /// Those up to this name are after it; none is if that is empty.
    UpTo(Box<str>),
    /// This one is looked at. True if it was changed meanwhile.
    At(Box<str>, bool),
    /// All are after it.
    All,
}

#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) number: u64,
    /// The quota that is counted.
    pub(crate) account: u64,
    pub(crate) unit: QuotaUnit,
    /// What is after the cursor.
    pub(crate) counted: i128,
    dir: Place,
    files: Files,
    /// Files of `dir` that were made since its names were read.
    new_files: BTreeSet<Box<str>>,
    /// The first of those that are not kept: from there on the names that were read are not all.
    forgotten: Option<Box<str>>,
    /// Directories ahead that were made.
    new_dirs: BTreeSet<Place>,
}

/// What follows in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This name is to be looked at.
    Look(Box<str>),
    /// None of those that were read.
    None,
    /// Too many were made since: the names after the last one are to be read again.
    ReadAgain,
}

impl Cursor {
    /// Before everything under `prefix`, and before that itself.
    pub(crate) fn before(prefix: &str, (account, unit): (u64, QuotaUnit), number: u64) -> Self {
        let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
        Self {
            number,
            account,
            unit,
            counted: 0,
            dir: Place::of(above),
            files: Files::UpTo("".into()),
            new_files: BTreeSet::new(),
            forgotten: None,
            new_dirs: BTreeSet::new(),
        }
    }

    /// A file of this length, or a name that has none, is after the cursor.
    pub(crate) fn add(&mut self, len: Option<u64>) {
        self.counted += i128::from(self.unit.of(len));
    }

    pub(crate) fn seen(&self, dir: &Place, name: &str) -> Seen {
        match dir.cmp(&self.dir) {
            std::cmp::Ordering::Less => Seen::Passed,
            std::cmp::Ordering::Greater => Seen::Ahead,
            std::cmp::Ordering::Equal => match &self.files {
                Files::All => Seen::Passed,
                Files::UpTo(last) if name <= &**last => Seen::Passed,
                Files::At(at, _) if name < &**at => Seen::Passed,
                Files::At(at, _) if name == &**at => Seen::Now,
                Files::UpTo(_) | Files::At(..) => Seen::Ahead,
            },
        }
    }

    /// What is looked at has changed.
    pub(crate) fn disturb(&mut self) {
        if let Files::At(_, is_changed) = &mut self.files {
            *is_changed = true;
        }
    }

    /// A file was made ahead.
    pub(crate) fn note_file(&mut self, dir: &Place, name: &str) {
        let is_forgotten = self.forgotten.as_deref().is_some_and(|first| name >= first);
        if *dir != self.dir || self.files == Files::All || is_forgotten {
            return;
        }
        self.new_files.insert(name.into());
        if self.new_files.len() > NEW_FILES_MAX {
            let half = self.new_files.iter().nth(NEW_FILES_MAX.div_ceil(2)).cloned();
            let rest = half.map(|half| self.new_files.split_off(&half));
            self.forgotten = rest.and_then(|mut rest| rest.pop_first());
        }
    }

    /// A directory was made. False if there are too many of them.
    pub(crate) fn note_dir(&mut self, path: &str) -> bool {
        let place = Place::of(path);
        if place > self.dir {
            self.new_dirs.insert(place);
        }
        self.new_dirs.len() <= NEW_DIRS_MAX
    }

    /// The next name to look at: `read`, the next of those that were read, or one that was made since. `end`: the last
    /// that was read, if more are in the directory.
    pub(crate) fn next_file(&mut self, read: Option<&str>, end: Option<&str>) -> Next {
        let read = read.filter(|read| self.forgotten.as_deref().is_none_or(|first| *read < first));
        let made = self.new_files.first().filter(|made| end.is_none_or(|end| ***made <= *end)).cloned();
        let name = match (read, made) {
            (Some(read), Some(made)) if *read <= *made => read.into(),
            (Some(read), None) => read.into(),
            (_, Some(made)) => made,
            // What is made from now on is noted again.
            (None, None) if self.forgotten.take().is_some() => return Next::ReadAgain,
            (None, None) => return Next::None,
        };
        self.new_files.remove(&name);
        self.files = Files::At(Box::clone(&name), false);
        Next::Look(name)
    }

    /// What is looked at is a file of this length, or none. False if it has changed meanwhile: then it is to be looked at again.
    pub(crate) fn looked(&mut self, len: Option<u64>) -> bool {
        match std::mem::replace(&mut self.files, Files::All) {
            Files::At(name, true) => {
                self.files = Files::At(name, false);
                false
            }
            Files::At(name, false) => {
                self.add(len);
                self.files = Files::UpTo(name);
                true
            }
            other => {
                self.files = other;
                true
            }
        }
    }

    /// A change that is under way counts what is looked at once it ends.
    pub(crate) fn leave_to_change(&mut self) {
        if let Files::At(name, _) = &self.files {
            self.files = Files::UpTo(Box::clone(name));
        }
    }

    pub(crate) fn files_are_done(&mut self) {
        self.files = Files::All;
        self.new_files.clear();
        self.forgotten = None;
    }

    /// Continues to the next directory: `read`, the next of those that were read, or one that was made since. `None` if
    /// no directory follows.
    pub(crate) fn next_dir(&mut self, read: Option<&str>) -> Option<String> {
        while self.new_dirs.first().is_some_and(|made| *made <= self.dir) {
            self.new_dirs.pop_first();
        }
        let next = read.map(Place::of).into_iter().chain(self.new_dirs.first().cloned()).min()?;
        self.new_dirs.remove(&next);
        self.new_files.clear();
        self.forgotten = None;
        self.files = Files::UpTo("".into());
        self.dir = next;
        Some(self.dir.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ahead_then_looked_at_then_passed() {
        let mut cursor = Cursor::before("p", (1, QuotaUnit::Bytes), 1);
        cursor.files_are_done();
        assert_eq!(cursor.next_dir(Some("p")), Some("p".to_owned()));
        let seen = |cursor: &Cursor, name| cursor.seen(&Place::of("p"), name);
        assert_eq!(seen(&cursor, "f"), Seen::Ahead);
        cursor.note_file(&Place::of("p"), "c");
        assert_eq!(cursor.next_file(Some("f"), None), Next::Look("c".into()));
        assert!(cursor.looked(Some(3)));
        assert_eq!(cursor.next_file(Some("f"), None), Next::Look("f".into()));
        assert_eq!(
            (seen(&cursor, "e"), seen(&cursor, "f"), seen(&cursor, "g")),
            (Seen::Passed, Seen::Now, Seen::Ahead)
        );
        cursor.disturb();
        assert!(!cursor.looked(Some(9)), "it has changed");
        assert!(cursor.looked(Some(5)));
        assert_eq!((seen(&cursor, "f"), cursor.counted), (Seen::Passed, 8));
        cursor.note_file(&Place::of("p"), "z");
        assert_eq!(cursor.next_file(None, Some("y")), Next::None, "names up to z are still to be read");
        assert_eq!(cursor.next_file(None, None), Next::Look("z".into()));
        cursor.files_are_done();
        assert_eq!(seen(&cursor, "zz"), Seen::Passed);
        assert_eq!(cursor.seen(&Place::of("p/d"), "a"), Seen::Ahead);
    }

    #[test]
    fn folders_that_are_made_ahead_are_visited_in_their_order_and_once() {
        let mut cursor = Cursor::before("", (1, QuotaUnit::Bytes), 1);
        assert_eq!(cursor.next_dir(Some("b")), Some("b".to_owned()));
        for made in ["a", "c", "b/x", "d"] {
            assert!(cursor.note_dir(made));
        }
        assert_eq!(cursor.next_dir(Some("d")), Some("b/x".to_owned()));
        assert_eq!(cursor.next_dir(Some("d")), Some("c".to_owned()));
        assert_eq!(cursor.next_dir(Some("d")), Some("d".to_owned()));
        assert_eq!(cursor.next_dir(None), None, "a is passed");
    }
}
