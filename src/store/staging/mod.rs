//! The ground floor of a change: files that are not visible yet, and the directories in which they will be.
//!
//! | module | what |
//! |---|---|
//! | `dirs` | the staging directory of this process, and what dead ones have left |
//! | `locks` | the lock on the root, and private directories |
//! | `staged` | one file, and the space promised to it |
//! | `write` | making, writing, flushing and dropping it |
//! | `copy` | filling it from another file |
//! | `space` | free space: promised, and reserved |
//! | `gifts` | what a directory gives to the files that are made in it |
//! | `parents` | directories that are made, and synced after a change |
//! | `trash` | directories that were removed with their content |
//! | `notes` | of what is out of sight for a moment |
//! | `pending_syncs`, `synced_entries` | what must be synced before a change is acknowledged |

pub(crate) mod copy;
pub(crate) mod dirs;
pub(crate) mod gifts;
pub(crate) mod locks;
pub(crate) mod notes;
pub(crate) mod parents;
pub(crate) mod pending_syncs;
pub(crate) mod space;
pub(crate) mod staged;
pub(crate) mod synced_entries;
pub(crate) mod trash;
pub(crate) mod write;
