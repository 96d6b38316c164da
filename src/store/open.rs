//! Opening a store: the root, its staging directory, what the system can do, the workers.
//!
//! Everything that can be refused is refused here, in words for a person, before anything is
//! served.

use std::collections::VecDeque;
use std::fs::create_dir;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::config::{Limits, StoreConfig};
use crate::object::Durability;
use crate::os::process::clock;
use crate::store::DiskStore;
use crate::store::cache::Hot;
use crate::store::fs::caps::Caps;
use crate::store::fs::errno::TARGET;
use crate::store::fs::linux;
use crate::store::fs::reserved::has_aliases;
use crate::store::fs::stat;
use crate::store::fs::sync::{Calls, SyncCalls};
use crate::store::handles::Files;
use crate::store::partial_sends::ShortSends;
use crate::store::pool::jobs::Job;
use crate::store::pool::workers::{Lane, spawn};
use crate::store::shared::{Choices, Dir, Disk, Wake};
use crate::store::upload::locks::ROOT_LOCK;
use crate::store::upload::staging::{SiteErrno, Staging, Sweep};

impl DiskStore {
    /// Opens the directory `root`, made if it is missing, and starts the workers. `wake` is called,
    /// from any thread, whenever [`next_completion`](crate::platform::Store::next_completion) has
    /// something again after it had nothing.
    ///
    /// # Errors
    ///
    /// Words for the operator, when the directory cannot be used or a thread cannot be made.
    pub fn open(root: &Path, config: &StoreConfig, limits: &Limits, wake: Wake) -> Result<Self, String> {
        Self::open_synced_by(root, config, limits, wake, Calls::of)
    }

    /// The same, with the calls that `calls` chooses for the root.
    pub(crate) fn open_synced_by<C: Into<Calls>>(
        root: &Path,
        config: &StoreConfig,
        limits: &Limits,
        wake: Wake,
        calls: impl FnOnce(BorrowedFd<'_>) -> C,
    ) -> Result<Self, String> {
        let name = root.display();
        if !config.read_only {
            let durable = config.durability == Durability::Durable;
            make_root(root, durable)?;
        }
        let fd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| format!("cannot open the folder {name}: {}", io::Error::from(e)))?;
        let id = stat::id(&fstat(&fd).map_err(|e| format!("cannot look at the folder {name}: {e}"))?);
        let staging = if config.read_only {
            None
        } else {
            Some(Staging::prepare(fd.as_fd(), config.shared).map_err(|cause| refusal(root, config.shared, cause))?)
        };
        if config.durability == Durability::Durable
            && staging.as_ref().is_some_and(|staging| staging.current().has_neighbours())
        {
            // One that died may have made directories, and files visible, that it did not sync any
            // more. To us they look like old ones, whose own entries need no sync.
            linux::sync_file_system(fd.as_fd())
                .map_err(|e| format!("cannot sync what another process has left in {name}: {}", io::Error::from(e)))?;
        }
        let calls: Calls = calls(fd.as_fd()).into();
        let caps = if config.portable {
            log::info!(target: TARGET, "portable mode: only calls that every unix has, reads go to disk workers");
            Caps { inline: calls.inline, ..Caps::portable() }
        } else {
            Caps::probe(fd.as_fd(), calls.inline, staging.as_ref().map(Staging::current).as_deref())
        };
        let links = config.links_inside && caps.openat2 && linux::path_of(fd.as_fd()).is_ok();
        if config.links_inside && !links {
            log::warn!(target: TARGET, "links are not followed: that takes openat2 and /proc");
        }
        let choices = Choices {
            durable: config.durability == Durability::Durable,
            read_only: config.read_only,
            links,
            aliases: has_aliases(fd.as_fd()),
            shared: config.shared,
            // `as`, because the width of a mode differs between systems; the mask fits all.
            file_mode: config.file_mode.map(|mode| Mode::from_raw_mode((mode & 0o7777) as _)),
        };
        // With links, a file may depend on directories that are not on the way to its name.
        let keeps = caps.cached && !choices.links && caps.local;
        let hot = if keeps { Hot::new(limits, clock()) } else { None };
        let dir = Dir { fd, id, path: "".into() };
        let mut store = Self {
            disk: Arc::new(Disk::new(dir, root, (caps, calls), choices, staging, wake, limits)),
            workers: Vec::new(),
            files: Files::default(),
            hot,
            ready: VecDeque::new(),
            short: ShortSends::default(),
            in_flight: 0,
            lagging: false,
            now: clock(),
            probe_at: clock(),
            waits: None,
            scratch: Vec::new(),
            dirty_bytes_max: limits.dirty_bytes_max,
        };
        // An error drops the store, which ends the threads there are and removes its directory.
        store.start_workers(limits).map_err(|e| format!("cannot start a disk worker: {e}"))?;
        store.start_sweep();
        Ok(store)
    }

    fn start_workers(&mut self, limits: &Limits) -> io::Result<()> {
        // One frees: several would take the core from the loop one after the other.
        for (lane, count) in [(Lane::Io, limits.io_workers), (Lane::Sync, limits.sync_workers), (Lane::Free, 1)] {
            spawn(&self.disk, lane, count.max(1), &mut self.workers, || {
                let mut scratch = Vec::new();
                move |disk: &Disk, job: Job| disk.work(job, &mut scratch)
            })?;
        }
        Ok(())
    }

    fn start_sweep(&self) {
        let Some(staging) = &self.disk.staging else { return };
        match Sweep::beside(&staging.current()) {
            Ok(sweep) => self.disk.lanes.push(Lane::Sync, Job::Sweep(sweep)),
            Err((site, cause)) => log::warn!(target: TARGET, "leftovers are not swept: {site}: {cause}"),
        }
    }
}

/// Why nothing can be staged in the directory, and what to do.
fn refusal(root: &Path, shared: bool, (site, errno): SiteErrno) -> String {
    let name = root.display();
    match (site, errno) {
        (ROOT_LOCK, Errno::AGAIN) if shared => {
            format!("another server has the folder {name} to itself: stop it, or start it with --shared as well")
        }
        (ROOT_LOCK, Errno::AGAIN) => {
            format!("another server has the folder {name}: stop it, or start all servers of this folder with --shared")
        }
        _ => {
            let cause = io::Error::from(errno);
            format!("cannot write in the folder {name}: {site}: {cause} (to serve it as it is: --read-only)")
        }
    }
}

/// Makes the directory if it is missing, but nothing above it: more than one missing level is rather a
/// typing error. What is stored in it later would be worth nothing if a power cut took the directory
/// itself, so its entry must be durable too.
fn make_root(root: &Path, durable: bool) -> Result<(), String> {
    let name = root.display();
    let fail = |error: io::Error| format!("cannot make the folder {name}: {error}");
    let above = root.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match create_dir(root) {
        Ok(()) => {}
        Err(_) if root.is_dir() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !above.exists() => {
            return Err(format!("cannot make the folder {name}: {} is missing, make it first", above.display()));
        }
        Err(error) => {
            return Err(match [root, above].into_iter().find(|path| path.exists() && !path.is_dir()) {
                Some(file) => format!("cannot serve {name}: {} is not a folder", file.display()),
                None => fail(error),
            });
        }
    }
    if durable {
        let above = open(above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let synced = above.and_then(|above| (SyncCalls::of(above.as_fd()).names)(above.as_fd()));
        synced.map_err(|errno| fail(errno.into()))?;
    }
    Ok(())
}
