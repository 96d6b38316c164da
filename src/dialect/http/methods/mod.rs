//! What each method does, a file per method.

pub(super) mod file;
pub(super) mod listing;
pub(super) mod options;
pub(super) mod put;
pub(super) mod resumable;
