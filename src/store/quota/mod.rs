//! Quotas: how many bytes may be stored under a prefix, and how many are.
//!
//! | module | what |
//! |---|---|
//! | `entries` | what uploads hold, and changes under way |
//! | `books` | the numbers |
//! | `changes` | changes of names under way, which move the numbers |
//! | `cursor` | how far a count of the tree has come |
//! | `ledger` | the books behind a lock, and what an upload holds of them |
//! | `count` | counts what is stored under one prefix, a step at a time |

pub(crate) mod books;
pub(crate) mod changes;
pub(crate) mod count;
pub(crate) mod cursor;
pub(crate) mod entries;
pub(crate) mod ledger;
#[cfg(test)]
mod tests;
