//! The file system under the root: opening names, reading, listing, and what the kernel offers.

pub(crate) mod caps;
pub(crate) mod degraded;
pub(crate) mod digests;
pub(crate) mod errno;
pub(crate) mod health;
pub(crate) mod inotify;
#[cfg(target_os = "linux")]
pub(crate) mod kinds;
pub(crate) mod linux;
pub(crate) mod list;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod properties;
pub(crate) mod read;
pub(crate) mod reserved;
pub(crate) mod resolve;
pub(crate) mod root;
pub(crate) mod sharing;
pub(crate) mod sorted;
pub(crate) mod stat;
pub(crate) mod sync;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod walk;
