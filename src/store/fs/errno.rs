//! From the kernel's error numbers to what a peer is sent and what the operator reads.
//!
//! One table for reading and one for changing, because the same number means different things.
//! Failures of the disk are logged here, ordinary refusals are not.

use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::upload::NAME_IS_DIR;

/// The log target of the store.
pub(crate) const TARGET: &str = "filewharf::store";

/// A call that failed, and how.
pub(crate) type SiteErrno = (&'static str, Errno);

/// A name that no file system under us takes.
const NAME_TOO_LONG: Failure = Failure::Malformed("a name in the path is longer than the file system takes");
/// A name that this file system does not take, such as `a:b` on FAT.
const NAME_NOT_TAKEN: Failure = Failure::Malformed("the file system does not take a name in the path");
/// Names cannot be moved into another file system, nor into a subvolume.
pub(crate) const OTHER_FILE_SYSTEM: Failure = Failure::Conflict("that folder is another file system or subvolume");
/// Said when the operator's own permissions are in the way.
const NO_PERMISSION: Failure = Failure::Denied("permission denied by the file system");

/// A call made for a reader failed.
pub(crate) fn reading(site: &'static str, path: &str, errno: Errno) -> StoreError {
    let failure = match errno {
        // ENXIO and ENODEV: a socket, or a device without a driver, stands there.
        Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => Failure::NotFound,
        Errno::LOOP | Errno::XDEV => {
            log::debug!(target: TARGET, "path.escape path={path:?} site={site} cause={errno}");
            Failure::NotFound
        }
        other => common(other),
    };
    report(failure, site, path, errno)
}

/// A call made for a change failed: something of another kind in the way is a conflict.
pub(crate) fn changing(site: &'static str, path: &str, errno: Errno) -> StoreError {
    let failure = match errno {
        Errno::NOENT => Failure::NotFound,
        Errno::NOTDIR => Failure::Conflict("a file is in the way"),
        // A subvolume of btrfs is not a mount, so it was not refused on the way.
        Errno::XDEV if is_naming(site) => OTHER_FILE_SYSTEM,
        Errno::LOOP | Errno::XDEV => {
            log::debug!(target: TARGET, "path.escape path={path:?} site={site} cause={errno}");
            Failure::Conflict("a link or another file system is in the way")
        }
        Errno::ISDIR => NAME_IS_DIR,
        Errno::EXIST => Failure::Conflict("something else has that name"),
        Errno::NOTEMPTY => Failure::Conflict("the folder is not empty"),
        Errno::BUSY => Failure::Conflict("that is in use by the system"),
        Errno::INVAL | Errno::ILSEQ if is_naming(site) => NAME_NOT_TAKEN,
        other => common(other),
    };
    report(failure, site, path, errno)
}

fn is_naming(site: &str) -> bool {
    matches!(site, "renameat" | "renameat2" | "linkat" | "mkdirat")
}

/// No table: the call must not fail at all, so whatever it says is a failure of the disk.
pub(crate) fn broken(site: &'static str, path: &str, errno: Errno) -> StoreError {
    report(inside(errno), site, path, errno)
}

/// What a peer is sent for a failure of the disk.
pub(crate) fn inside(errno: Errno) -> Failure {
    match errno {
        full if is_full(full) => Failure::NoSpace,
        stale if is_stale(stale) => Failure::Unavailable,
        _ => Failure::Internal,
    }
}

/// True when a descriptor on a file system of another machine has lost what it stood for, as after a restart
/// of that machine. Opened again, it may work.
pub(crate) fn is_stale(errno: Errno) -> bool {
    matches!(errno, Errno::STALE | Errno::NOTCONN)
}

/// True for a full disk, which passes when space returns, and for a file of our own that may not grow (`ulimit -f`).
pub(crate) fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

/// True if a failed sync says nothing about the disk itself. The change it was for fails all the same.
pub(crate) fn is_passing(errno: Errno) -> bool {
    is_full(errno) || is_stale(errno) || errno == Errno::INTR
}

fn common(errno: Errno) -> Failure {
    match errno {
        Errno::ACCESS | Errno::PERM => NO_PERMISSION,
        Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM => Failure::Busy,
        Errno::NAMETOOLONG => NAME_TOO_LONG,
        Errno::FBIG => Failure::TooLarge, // of the content that a client sends
        other => inside(other),
    }
}

fn report(failure: Failure, site: &'static str, path: &str, errno: Errno) -> StoreError {
    if matches!(failure, Failure::Internal | Failure::NoSpace | Failure::Unavailable) {
        log::warn!(target: TARGET, "disk failure: path={path:?} site={site} cause={errno}");
    }
    StoreError { failure, site, source: Some(errno.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_different_things_to_a_reader_and_a_writer() {
        for (errno, read, change) in [
            (Errno::NOTDIR, Failure::NotFound, Failure::Conflict("a file is in the way")),
            (Errno::NOSPC, Failure::NoSpace, Failure::NoSpace),
            (Errno::DQUOT, Failure::NoSpace, Failure::NoSpace),
            (Errno::MFILE, Failure::Busy, Failure::Busy),
            (Errno::IO, Failure::Internal, Failure::Internal),
            (Errno::ACCESS, NO_PERMISSION, NO_PERMISSION),
            (Errno::NAMETOOLONG, NAME_TOO_LONG, NAME_TOO_LONG),
        ] {
            assert_eq!(reading("x", "a", errno).failure, read);
            assert_eq!(changing("x", "a", errno).failure, change);
        }
    }

    #[test]
    fn a_name_that_the_file_system_does_not_take_is_no_failure_of_the_disk() {
        for errno in [Errno::INVAL, Errno::ILSEQ] {
            for site in ["renameat", "renameat2", "linkat", "mkdirat"] {
                assert_eq!(changing(site, "a:b", errno).failure, NAME_NOT_TAKEN, "{site}");
            }
            assert_eq!(changing("pwrite", "a", errno).failure, Failure::Internal);
        }
    }
}
