//! Entries of the books: what uploads hold, and changes of names that are under way. Plain data.

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
