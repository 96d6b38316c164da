//! Changes of names: uploads from their staging file to their name, directories, renames and removals.

pub(crate) mod changes;
pub(crate) mod commit;
pub(crate) mod deferred_unlink;
pub(crate) mod inherited;
pub(crate) mod same;
