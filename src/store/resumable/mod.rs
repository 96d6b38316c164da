//! Uploads that can be resumed: files that are not visible yet, each with a record of how far it is.
//!
//! | module | what |
//! |---|---|
//! | `record`, `checkpoint`, `owner` | the files of an upload, and what they mean after a crash |
//! | `folder` | where they are, and the clock of the file system |
//! | `index` | which there are, and their bounds |
//! | `uploads` | folder and index of one file system |
//! | `held` | what they hold of quotas |
//! | `attachment` | the right of one connection to write |
//! | `journal` | writes to a record |
//! | `make`, `open` | new uploads, and those that are resumed |
//! | `join` | uploads that are concatenated from others |
//! | `found` | what a record says to a reader |
//! | `part` | checkpoints, and the end of a part |
//! | `commit` | a part gets its final name |
//! | `expiry` | uploads whose time is over, and leftovers |

pub(crate) mod attachment;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod expiry;
pub(crate) mod folder;
pub(crate) mod found;
pub(crate) mod held;
pub(crate) mod index;
pub(crate) mod join;
pub(crate) mod journal;
pub(crate) mod make;
pub(crate) mod open;
pub(crate) mod owner;
pub(crate) mod part;
pub(crate) mod record;
pub(crate) mod uploads;
pub(crate) mod wanted;
