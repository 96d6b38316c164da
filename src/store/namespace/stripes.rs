//! With `--shared` and during a hand-over, the lock of a name while it is changed: one of the 256 files in `.filewharf/locks/`, over the look at
//! the name and its rename or removal, as `renameat2` has no "only if it is still this version". Waits, so it is for
//! workers only.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::RwLockReadGuard;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::StoreError;
use crate::object::Key;
use crate::store::fs::errno::SiteErrno;
use crate::store::fs::root::FileSystem;
use crate::store::staging::locks::{lock_file, private_dir};
use crate::wire::key::RESERVED;

const STRIPES: &str = "locks";
/// Times a file that was removed by hand between its opening and its locking is opened again.
const LOCK_TRIES: u32 = 8;

/// What keeps other servers from changing a name.
#[derive(Debug)]
pub(crate) enum NameLocks<'a> {
    /// There is none, and none begins meanwhile.
    Alone {
        _change: RwLockReadGuard<'a, ()>,
    },
    Stripes {
        _locked: Vec<OwnedFd>,
    },
}

/// Keeps other servers from changing these names until the result is dropped.
pub(crate) fn lock_names<'a>(fs: &'a FileSystem, keys: &[&Key]) -> Result<NameLocks<'a>, StoreError> {
    if let Some(_change) = fs.sharing.change_alone() {
        return Ok(NameLocks::Alone { _change });
    }
    // One name may have several spellings where the file system ignores case.
    let mut stripes: Vec<u8> =
        keys.iter().map(|key| if fs.aliases { 0 } else { stripe(fs.rest(key.as_str())) }).collect();
    // In one order everywhere: two renames never wait for each other.
    stripes.sort_unstable();
    stripes.dedup();
    let locks = stripes.into_iter().map(|stripe| lock_stripe(fs, stripe));
    let locked = locks.collect::<Result<_, _>>().map_err(|(site, errno)| {
        let path = keys.first().map_or("", |key| key.as_str());
        fs.change_error(site, path, errno)
    })?;
    Ok(NameLocks::Stripes { _locked: locked })
}

fn lock_stripe(fs: &FileSystem, stripe: u8) -> Result<OwnedFd, SiteErrno> {
    let root = fs.root();
    let root = root.fd.as_fd();
    let name = format!("{RESERVED}/{STRIPES}/{stripe:02x}");
    let mut tries = 0;
    loop {
        match lock_file(root, &name, FlockOperation::LockExclusive) {
            Err(Errno::NOENT) if tries < LOCK_TRIES => {
                tries += 1;
                private_dir(private_dir(root, RESERVED)?.as_fd(), STRIPES)?;
            }
            result => return result.map_err(|errno| ("flock .filewharf/locks", errno)),
        }
    }
}

/// Which of the 256 files is for a name, on every machine (FNV-1a).
pub(crate) fn stripe(path: &str) -> u8 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = path.as_bytes().iter().fold(0x811C_9DC5, step);
    hash.to_le_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}
