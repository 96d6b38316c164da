//! How large files are sent over a connection.

mod bulk;
mod partial_sends;
mod slow_readers;

pub use bulk::BulkSenders;
pub(super) use bulk::{Encrypted, SendMode, Unsent};
pub(crate) use partial_sends::PartialSends;
pub use slow_readers::SlowReaders;
