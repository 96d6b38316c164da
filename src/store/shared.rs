//! What the loop and the workers share: the root, what was learned at start, and the queue of
//! finished operations.
//!
//! Everything here is either fixed after the start or behind a lock held for a few instructions;
//! the loop never waits for a worker.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::config::Limits;
use crate::error::{Failure, StoreError};
use crate::os::process::clock;
use crate::os::sys;
use crate::platform::Health;
use crate::store::fs::caps::{Caps, Pages, pages_of};
use crate::store::fs::errno::{self, TARGET};
use crate::store::fs::health::Failures;
use crate::store::fs::linux;
use crate::store::fs::names::Windows;
use crate::store::fs::stat::{self, DirId};
use crate::store::fs::sync::{Calls, OpenBeneath, StageIn, SyncCalls};
use crate::store::pool::group_commit::{Made, Syncs};
use crate::store::pool::jobs::{Finished, Job};
use crate::store::pool::workers::{Lanes, lock};
use crate::store::upload::space::Space;
use crate::store::upload::staging::Staging;

/// Rung when the queue of finished operations was empty and is not any more.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// An open directory: the same one is renamed into and synced, even if someone moves it.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Open for reading, because `O_PATH` cannot be synced.
    pub(crate) fd: OwnedFd,
    /// Which directory it is, by whatever name.
    pub(crate) id: DirId,
    /// By which name, for the log.
    pub(crate) path: Box<str>,
}

/// The store as all threads see it.
pub(crate) struct Disk {
    /// The served directory; another descriptor of it where the first has become stale.
    root: Mutex<Arc<Dir>>,
    root_path: PathBuf,
    file_system: Option<u64>,
    /// What the system can do.
    pub(crate) caps: Caps,
    /// How names are opened.
    pub(crate) open: OpenBeneath,
    /// How staging files are made.
    pub(crate) stage: StageIn,
    /// How it is synced.
    pub(crate) sync: SyncCalls,
    /// Sync before a change is acknowledged.
    pub(crate) durable: bool,
    /// Refuse every change.
    pub(crate) read_only: bool,
    /// Follow links inside the root when reading.
    pub(crate) links: bool,
    /// The reserved directory may have a second name in the root.
    pub(crate) aliases: bool,
    /// Other servers may change names in the root.
    pub(crate) shared: bool,
    /// Permission bits of new files.
    pub(crate) file_mode: Option<Mode>,
    /// Where uploads grow; none in a read-only store.
    pub(crate) staging: Option<Staging>,
    /// Jobs for the workers.
    pub(crate) lanes: Lanes<Job>,
    /// Results for the loop.
    pub(crate) finished: Done,
    /// Names of large directories, for their next pages.
    pub(crate) windows: Windows,
    /// Which directories are being synced, and who waits for that.
    pub(crate) syncs: Syncs,
    /// Which directories are new and not durable yet.
    pub(crate) made: Made,
    /// Free space and what is promised of it.
    pub(crate) space: Space,
    /// Did the disk keep up lately?
    pub(crate) pace: Pace,
    /// Jobs that sync, waiting or at work.
    pub(crate) syncing: AtomicUsize,
    pages: OnceLock<Pages>,
    degraded: AtomicBool,
    /// Commits that failed inside since the last success.
    pub(crate) failures: Failures,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("root", &self.root).field("caps", &self.caps).finish_non_exhaustive()
    }
}

impl AsRef<Lanes<Job>> for Disk {
    fn as_ref(&self) -> &Lanes<Job> {
        &self.lanes
    }
}

/// What the operator chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    pub(crate) durable: bool,
    pub(crate) read_only: bool,
    pub(crate) links: bool,
    pub(crate) aliases: bool,
    pub(crate) shared: bool,
    pub(crate) file_mode: Option<Mode>,
}

impl Disk {
    /// Everything at its beginning.
    pub(crate) fn new(
        root: Dir,
        root_path: &Path,
        (caps, calls): (Caps, Calls),
        choices: Choices,
        staging: Option<Staging>,
        wake: Wake,
        limits: &Limits,
    ) -> Self {
        let Choices { durable, read_only, links, aliases, shared, file_mode } = choices;
        Self {
            file_system: linux::file_system(root.fd.as_fd()),
            root: Mutex::new(Arc::new(root)),
            root_path: root_path.to_owned(),
            caps,
            open: calls.open,
            stage: calls.stage,
            sync: calls.sync,
            durable,
            read_only,
            links,
            aliases,
            shared,
            file_mode,
            staging,
            lanes: Lanes::new(limits.list_workers()),
            finished: Done { queue: Mutex::default(), wake },
            windows: Windows::new(limits),
            syncs: Syncs::default(),
            made: Made::default(),
            space: Space::new(limits.free_bytes_min, limits.reserved_bytes_max),
            pace: Pace::start(),
            syncing: AtomicUsize::new(0),
            pages: caps.pages.map_or_else(OnceLock::new, OnceLock::from),
            degraded: AtomicBool::new(false),
            failures: Failures::default(),
        }
    }

    /// Can `file`, which has a byte or more, be read from the loop? Learned once.
    pub(crate) fn pages(&self, file: &OwnedFd) -> Pages {
        if let Some(pages) = self.pages.get() {
            return *pages;
        }
        match pages_of(file.as_fd()) {
            Some(pages) => *self.pages.get_or_init(|| pages),
            None => Pages::Unknown,
        }
    }

    /// What was learned about reading from the loop.
    pub(crate) fn pages_known(&self) -> Pages {
        self.pages.get().copied().unwrap_or(Pages::Unknown)
    }

    /// Is it fit for changes?
    pub(crate) fn health(&self) -> Health {
        if self.degraded.load(Ordering::Acquire) {
            Health::Degraded
        } else if self.read_only {
            Health::ReadOnly
        } else if self.failures.are_many() {
            Health::Failing
        } else {
            Health::Good
        }
    }

    /// Refuses a change when none may happen.
    pub(crate) fn fit_for_change(&self) -> Result<(), StoreError> {
        match self.health() {
            Health::Good | Health::Failing => Ok(()),
            Health::ReadOnly => Err(StoreError::refused(Failure::Denied("the server is read-only"), "read-only")),
            Health::Degraded => Err(StoreError::refused(Failure::Internal, "degraded")),
        }
    }

    /// From now on no change is accepted: the kernel has marked lost pages as clean, so nothing
    /// it says about later syncs can be believed.
    pub(crate) fn degrade(&self, site: &'static str, cause: Errno) {
        if !self.degraded.swap(true, Ordering::AcqRel) {
            log::error!(
                target: TARGET,
                "store.degraded site={site} cause={cause}: no change is accepted until a restart, reading goes on"
            );
        }
    }

    /// A call made for a change failed.
    pub(crate) fn change_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        if errno == Errno::ROFS {
            self.degrade(site, errno);
        }
        errno::changing(site, path, errno)
    }

    /// A sync failed. That is final; only what passes by itself leaves the store fit for the next change.
    pub(crate) fn sync_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        if !errno::is_passing(errno) {
            log::error!(target: TARGET, "store.fsync_failed path={path:?} site={site} cause={errno}");
            self.degrade(site, errno);
        }
        errno::broken(site, path, errno)
    }

    /// Has the served directory itself been removed?
    pub(crate) fn is_root_gone(&self) -> bool {
        fstat(&self.root().fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// The served directory.
    pub(crate) fn root(&self) -> Arc<Dir> {
        Arc::clone(&lock(&self.root))
    }

    /// The descriptor of the root has become stale: opens the root again by its path. True if another
    /// descriptor is used from now on.
    pub(crate) fn reopen_root(&self) -> bool {
        let stale = self.root();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = open(&self.root_path, flags, Mode::empty()) else { return false };
        let Ok(id) = fstat(&fd).map(|stat| stat::id(&stat)) else { return false };
        // Where nothing is mounted any more, a directory of another file system may have the path.
        if linux::file_system(fd.as_fd()) != self.file_system {
            log::warn!(target: TARGET, "the served folder is stale, and its path leads to another file system");
            return false;
        }
        let mut root = lock(&self.root);
        // Another worker may have been faster.
        if Arc::ptr_eq(&root, &stale) {
            log::warn!(target: TARGET, "the served folder was stale: opened again, {:?} is now {id:?}", stale.id);
            *root = Arc::new(Dir { fd, id, path: "".into() });
        }
        true
    }
}

/// Finished operations on their way to the loop.
pub(crate) struct Done {
    queue: Mutex<VecDeque<Finished>>,
    wake: Wake,
}

impl Done {
    /// Hands one over, and wakes the loop unless that was done already.
    pub(crate) fn push(&self, finished: Finished) {
        let was_empty = {
            let mut queue = lock(&self.queue);
            queue.push_back(finished);
            queue.len() == 1
        };
        if was_empty {
            (self.wake)();
        }
    }

    /// Moves all that is there to `ready`, which must be empty.
    pub(crate) fn take(&self, ready: &mut VecDeque<Finished>) {
        debug_assert!(ready.is_empty(), "operations would overtake each other");
        std::mem::swap(&mut *lock(&self.queue), ready);
    }
}

/// An inline call this long means that the disk does not keep up. A write into the page cache
/// takes microseconds; 5 ms is the longest turn that is allowed.
const SLOW: Duration = Duration::from_millis(5);
/// How long a slow call counts.
const SLOW_FOR: Duration = Duration::from_millis(500);

/// Remembers when a write was last slow. Any thread may report one.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    slow_until_ns: AtomicU64,
}

impl Pace {
    fn start() -> Self {
        Self { start: clock(), slow_until_ns: AtomicU64::new(0) }
    }

    fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Runs `call` and remembers if it was slow. A call that only lost its core to another process
    /// says nothing about the disk.
    pub(crate) fn measure<T>(&self, call: impl FnOnce() -> T) -> T {
        self.measure_since(sys::waits_of_this_thread(), call)
    }

    /// The same where the waits of this thread were counted a moment ago: a small call must not pay
    /// for counting them.
    pub(crate) fn measure_since<T>(&self, waits: i64, call: impl FnOnce() -> T) -> T {
        let before = clock();
        let result = call();
        let after = clock();
        if after.saturating_duration_since(before) > SLOW && sys::waits_of_this_thread() != waits {
            self.slow_until_ns.fetch_max(self.ns(after + SLOW_FOR), Ordering::Relaxed);
        }
        result
    }

    /// Was something slow lately?
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        self.slow_until_ns.load(Ordering::Relaxed) > self.ns(now)
    }
}
