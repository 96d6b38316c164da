//! One file system that is written to: the root, or one that is mounted inside it. What it can do is found out when it is
//! first written to.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;

use crate::config::{Fixed, StoreConfig};
use crate::object::Durability;
use crate::store::fs::caps::Caps;
use crate::store::fs::errno::TARGET;
use crate::store::fs::linux;
use crate::store::fs::reserved::has_aliases;
use crate::store::fs::root::{Dir, FileSystem, FsOptions};
use crate::store::fs::sharing::Sharing;
use crate::store::fs::sync::Calls;
use crate::store::namespace::Namespace;
use crate::store::quota::ledger::Quotas;
use crate::store::resumable::uploads::ResumableUploads;
use crate::store::staging::dirs::StageDirs;
use crate::store::staging::locks::OwnDir;
use crate::store::staging::notes::NOTES;
use crate::store::staging::parents::Parents;
use crate::store::staging::space::Space;
use crate::store::staging::trash::TRASH;
use crate::store::staging::write::Staging;

#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) names: Arc<Namespace>,
    pub(crate) resumable: ResumableUploads,
}

impl Volume {
    /// The file system of `root`, which `path` leads to.
    pub(crate) fn over(
        root: Dir,
        path: &Path,
        (dirs, quotas): (Option<StageDirs>, Arc<Quotas>),
        sharing: &Arc<Sharing>,
        calls: &Calls,
        (config, limits): (&StoreConfig, &Fixed),
    ) -> Self {
        let fd = root.fd.as_fd();
        let stored = promised(config, fd, !root.path.is_empty());
        let caps = find_caps(config, fd, calls, dirs.as_ref());
        let links = config.links_inside && caps.openat2 && linux::path_of(fd).is_ok();
        if config.links_inside && !links {
            log::warn!(target: TARGET, "links are not followed: that takes openat2 and /proc");
        }
        let (aliases, durable) = (has_aliases(fd), config.durability == Durability::Durable);
        let options = FsOptions { links, aliases, sharing: Arc::clone(sharing), durable, read_only: config.read_only };
        let fs = Arc::new(FileSystem::new(root, path, caps, calls, (options, limits)));
        let staging = Staging {
            fs: Arc::clone(&fs),
            // `as`, because the width of a mode differs between systems; the mask fits all.
            file_mode: config.file_mode.map(|mode| Mode::from_raw_mode((mode & 0o7777) as _)),
            make: calls.stage,
            dirs,
            space: Space::new(limits.free_bytes_min, limits.reserved_bytes_max),
            trash: OwnDir::new(TRASH),
            notes: OwnDir::new(NOTES),
        };
        let parents = Parents::new(Arc::clone(&fs), Arc::clone(&quotas));
        let names = Arc::new(Namespace { fs: Arc::clone(&fs), quotas, stored, staging, parents });
        Self { fs, resumable: ResumableUploads::new(Arc::clone(&names), limits), names }
    }

    /// Where uploads grow; none in a read-only store.
    pub(crate) fn stage_dirs(&self) -> Option<&StageDirs> {
        self.names.staging.dirs.as_ref()
    }
}

fn find_caps(config: &StoreConfig, root: BorrowedFd<'_>, calls: &Calls, dirs: Option<&StageDirs>) -> Caps {
    if config.portable {
        log::info!(target: TARGET, "portable mode: only calls that every unix has, reads go to disk workers");
        return Caps { inline: calls.inline, ..Caps::portable() };
    }
    let stage = dirs.map(StageDirs::current);
    Caps::probe(root, calls.inline, stage.as_ref().map(|stage| stage.fd.as_fd()))
}

/// What an upload is acknowledged as. A sync says nothing where it is not known that the file system keeps its word.
fn promised(config: &StoreConfig, root: BorrowedFd<'_>, is_mounted: bool) -> Durability {
    if config.durability == Durability::Written || config.trust_fs || linux::keeps_synced(root) {
        return config.durability;
    }
    if !config.read_only {
        // A mount is opened again and again.
        let level = if is_mounted { log::Level::Debug } else { log::Level::Warn };
        log::log!(
            target: TARGET,
            level,
            "uploads are answered with stored=written: this file system is not known to keep what was synced \
             (--trust-fs, if it does)"
        );
    }
    Durability::Written
}
