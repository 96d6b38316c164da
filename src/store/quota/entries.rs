//! Entries of the books: what uploads hold, and changes of names that are under way. Plain data.
//!
//! A directory that is removed with its content counts until its files are gone, and a restart may come between. So what
//! is in the trash has a mark of where it was: by that the next process knows which quotas it counts for.

use crate::store::fs::walk::Place;

/// The number of a quota.
pub(crate) type AccountId = u64;

/// What one upload holds, by account.
pub(crate) type Charges = Vec<(AccountId, u64)>;

/// What these hold of one account.
pub(crate) fn held(charges: &Charges, id: AccountId) -> u64 {
    charges.iter().filter(|(held, _)| *held == id).map(|(_, bytes)| bytes).sum()
}

/// A name that is about to get another file, or to lose the one that it has.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) number: u64,
    pub(crate) dir: Place,
    pub(crate) name: Box<str>,
    /// The length of what has the name before and after it.
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
    pub(crate) parts: Vec<Part>,
    /// As `Books::moves` when it began.
    pub(crate) moves: u64,
    /// The count that had passed the name when it began: what was there is counted.
    pub(crate) counted_by: Option<u64>,
}

/// What it moves of one account.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) account: AccountId,
    pub(crate) pending: u64,
    /// What the upload had held.
    pub(crate) own: u64,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Nothing has changed.
    Failed,
}

impl Change {
    pub(crate) fn is_charged_to(&self, account: AccountId) -> bool {
        self.parts.iter().any(|part| part.account == account)
    }

    pub(crate) fn is_of(&self, dir: &str, name: &str) -> bool {
        *self.name == *name && self.dir == Place::of(dir)
    }
}

/// A directory that is being moved, or removed with its content.
#[derive(Debug)]
pub(crate) struct Moving {
    /// Accounts that are not counted meanwhile.
    pub(crate) within: Vec<AccountId>,
    pub(crate) origin: Origin,
}

/// Which accounts a directory counts for that are made meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It stays within reach of a count.
    Within,
    /// It was removed from this path.
    Removed(Box<str>),
    /// It was removed by an earlier process.
    Unknown,
}

/// Longest mark: with the number of a removal it is a name that every file system takes.
const MARK_MAX: usize = 64;

/// Where something was, as a part of a name in the trash.
pub(crate) fn mark(path: &str) -> String {
    let mut mark = marked(path);
    mark.truncate(MARK_MAX);
    mark
}

fn marked(path: &str) -> String {
    path.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '+' }).collect()
}

/// True if what has this mark may have been under this prefix.
pub(crate) fn may_be_under(prefix: &str, mark: &str) -> bool {
    let prefix = marked(prefix);
    let is_in = |rest: &str| rest.is_empty() || rest.starts_with('+');
    prefix.is_empty()
        || mark.strip_prefix(&*prefix).is_some_and(is_in)
        || mark.len() >= MARK_MAX && prefix.starts_with(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_every_prefix_that_the_path_was_under() {
        let deep = format!("a/{}/b", "x".repeat(100));
        for path in ["a", "a/b", "a/b c/\u{e9}", &*deep] {
            let mut prefix = path;
            loop {
                assert!(may_be_under(prefix, &mark(path)), "{prefix} {path}");
                if prefix.is_empty() {
                    break;
                }
                prefix = prefix.rsplit_once('/').map_or("", |(above, _)| above);
            }
        }
        for other in ["b", "a/c", "a/b/c", "ab"] {
            assert!(!may_be_under(other, &mark("a/b")), "{other}");
        }
    }
}
