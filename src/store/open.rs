//! Opening a store: the root, its staging directory, what the system can do, the workers.
//!
//! Everything that can be refused is refused here, in words for a person, before anything is
//! served.

use std::collections::VecDeque;
use std::fmt;
use std::fs::create_dir;
use std::hash::RandomState;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::config::{Fixed, StoreConfig};
use crate::object::Durability;
use crate::os::process::clock;
use crate::os::sandbox::{Allowed, SandboxError};
use crate::store::cache::FileCache;
use crate::store::fs::errno::SiteErrno;
use crate::store::fs::linux;
use crate::store::fs::root::{Dir, FileSystem, is_mount_point};
use crate::store::fs::sharing::Sharing;
use crate::store::fs::stat;
use crate::store::fs::sync::{Calls, SyncCalls};
use crate::store::handles::Handles;
use crate::store::pool::completions::{Completions, Wake};
use crate::store::pool::copies::Trees;
use crate::store::pool::jobs::Job;
use crate::store::pool::latency::DiskLatency;
use crate::store::pool::mounted::Mounted;
use crate::store::pool::shared::Pool;
use crate::store::pool::sortings::Sortings;
use crate::store::pool::sync_groups::SyncGroups;
use crate::store::pool::workers::{WorkQueue, WorkQueues, spawn};
use crate::store::quota::count::{Count, Step};
use crate::store::quota::ledger::Quotas;
use crate::store::resumable::expiry::Pass;
use crate::store::staging::dirs::StageDirs;
use crate::store::staging::locks::ROOT_LOCK;
use crate::store::take_overs::TakeOvers;
use crate::store::volume::Volume;
use crate::store::{DiskStore, Turn};

/// Time for which the start waits for a look at the uploads that are kept, and as long for what is stored to be counted.
const START_PASS_MAX: Duration = Duration::from_millis(200);

/// Leaves to this thread, and to those that it starts, what the store needs from then on.
pub type Confine<'a> = dyn FnMut(Allowed<'_>) -> Result<(), SandboxError> + 'a;

/// Why a store cannot be opened, in words for the operator.
#[derive(Debug)]
pub enum OpenError {
    /// Another server has locked the directory.
    InUse(String),
    /// The directory cannot be made, opened or written in.
    Unusable(String),
    /// The process cannot be confined to the directory.
    Sandbox(SandboxError),
    Worker(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(text) | Self::Unusable(text) => f.write_str(text),
            Self::Sandbox(error) => error.fmt(f),
            Self::Worker(error) => write!(f, "cannot start a disk worker: {error}"),
        }
    }
}

impl OpenError {
    /// True if it does not concern the directory.
    pub const fn is_of_sandbox(&self) -> bool {
        matches!(self, Self::Sandbox(_))
    }
}

impl std::error::Error for OpenError {}

impl DiskStore {
    /// Opens the directory `root`, made if it is missing, and starts the workers. `wake` is called,
    /// from any thread, whenever [`next_completion`](crate::platform::Store::next_completion) has
    /// something again after it had nothing.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used or a thread cannot be started.
    pub fn open(root: &Path, config: &StoreConfig, limits: &Fixed, wake: Wake) -> Result<Self, OpenError> {
        Self::open_confined(root, (config, Sharing::new(config.shared)), limits, wake, &mut |_| Ok(()))
    }

    /// The same. Calls `confine` between the two, which leaves to this thread what it needs from then on.
    pub(crate) fn open_confined(
        root: &Path,
        (config, sharing): (&StoreConfig, Sharing),
        limits: &Fixed,
        wake: Wake,
        confine: &mut Confine<'_>,
    ) -> Result<Self, OpenError> {
        let mut store = Self::open_without_workers(root, (config, sharing), limits, wake, Calls::of)?;
        let fd = &store.fs.root().fd;
        let may_be_remounted = !linux::is_local(fd.as_fd()) && is_mount_point(fd.as_fd());
        let allowed =
            Allowed { root: fd.as_fd(), writes: !config.read_only, may_be_remounted, files: &[], log_file: None };
        confine(allowed).map_err(OpenError::Sandbox)?;
        store.start(config, limits)?;
        Ok(store)
    }

    /// The same as [`open`](Self::open), with the calls that `calls` chooses for the root.
    #[cfg(test)]
    pub(crate) fn open_synced_by<C: Into<Calls>>(
        root: &Path,
        config: &StoreConfig,
        limits: &Fixed,
        wake: Wake,
        calls: impl FnOnce(BorrowedFd<'_>) -> C,
    ) -> Result<Self, OpenError> {
        let sharing = Sharing::new(config.shared);
        let mut store = Self::open_without_workers(root, (config, sharing), limits, wake, calls)?;
        store.start(config, limits)?;
        Ok(store)
    }

    fn open_without_workers<C: Into<Calls>>(
        root: &Path,
        (config, sharing): (&StoreConfig, Sharing),
        limits: &Fixed,
        wake: Wake,
        calls: impl FnOnce(BorrowedFd<'_>) -> C,
    ) -> Result<Self, OpenError> {
        let (name, sharing) = (root.display(), Arc::new(sharing));
        if !config.read_only {
            let durable = config.durability == Durability::Durable;
            make_root(root, durable)?;
        }
        let fd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| OpenError::Unusable(format!("cannot open the folder {name}: {}", io::Error::from(e))))?;
        let looked_at = fstat(&fd);
        let looked_at = looked_at.map_err(|e| OpenError::Unusable(format!("cannot look at the folder {name}: {e}")))?;
        let id = stat::id(&looked_at);
        let dirs = if config.read_only {
            None
        } else {
            Some(StageDirs::prepare(fd.as_fd(), &sharing).map_err(|cause| refusal(root, config.shared, cause))?)
        };
        if config.durability == Durability::Durable && dirs.as_ref().is_some_and(|dirs| dirs.current().has_neighbours())
        {
            sync_leftovers(root, fd.as_fd())?;
        }
        let calls: Calls = calls(fd.as_fd()).into();
        let dir = Dir { fd, id, path: "".into() };
        let volume = Volume::over(dir, root, (dirs, Quotas::new(limits)), &sharing, &calls, (config, limits));
        let (fs, volume) = (Arc::clone(&volume.fs), Arc::new(volume));
        // With links, a file may depend on directories that are not on the way to its name.
        let is_cached = fs.caps.cached && !fs.links && fs.caps.local;
        let cache = if is_cached { FileCache::new(limits, clock()) } else { None };
        let mounted = Mounted::new(config, limits);
        mounted.note(fs.mounts.look(fs.root().fd.as_fd()));
        let pool = Pool {
            fs: Arc::clone(&fs),
            volume,
            mounted,
            dir_hasher: RandomState::new(),
            queues: WorkQueues::new(
                (limits.io_workers, limits.list_workers()),
                (limits.sync_workers, limits.join_workers()),
            ),
            completions: Completions::new(wake),
            groups: SyncGroups::default(),
            latency: DiskLatency::start(),
            password_memory: Mutex::default(),
            trees: Trees::default(),
            sortings: Mutex::new(Sortings::new(limits.list_workers())),
            syncing: AtomicUsize::new(0),
            is_looking: AtomicBool::new(false),
            unfit: Mutex::default(),
            wanted: Mutex::default(),
        };
        // A disk that has failed for servers that still run is not written to, not even by the first request.
        fs.look_elsewhere();
        Ok(Self::new(fs, Arc::new(pool), cache, limits))
    }

    /// An error drops the store, which ends the threads there are and removes its directory.
    fn start(&mut self, config: &StoreConfig, limits: &Fixed) -> Result<(), OpenError> {
        self.start_workers(config, limits).map_err(OpenError::Worker)?;
        self.set_quotas(&config.quotas);
        // Before the first count: it waits for what is removed.
        if self.pool.volume.stage_dirs().is_some() {
            self.pool.volume.names.put_back();
            self.pool.sweep();
        }
        self.start_pass();
        self.start_count();
        Ok(())
    }

    fn new(fs: Arc<FileSystem>, pool: Arc<Pool>, cache: Option<FileCache>, limits: &Fixed) -> Self {
        Self {
            fs,
            pool,
            workers: Vec::new(),
            files: Handles::default(),
            cache,
            ready: VecDeque::new(),
            in_flight: 0,
            turn: Turn { now: clock(), lagging: false, waits: None },
            probe_at: clock(),
            pass_at: clock(),
            count_at: clock(),
            look_at: clock(),
            take_overs: TakeOvers::default(),
            scratch: Vec::new(),
            dirty_bytes_max: limits.dirty_bytes_max,
        }
    }

    fn start_workers(&mut self, config: &StoreConfig, limits: &Fixed) -> io::Result<()> {
        // One frees: several would take the core from the loop one after the other.
        for (queue, count) in [
            (WorkQueue::Io, limits.io_workers.max(1)),
            (WorkQueue::Sync, limits.sync_workers.max(1)),
            (WorkQueue::Free, 1),
            (WorkQueue::Passwords, usize::from(config.checks_passwords)),
        ] {
            spawn(&self.pool, queue, count, &mut self.workers, || {
                let mut scratch = Vec::new();
                move |pool: &Pool, job: Job| pool.work(job, &mut scratch)
            })?;
        }
        Ok(())
    }

    /// Finds out which uploads are kept. A crowd of them is looked through while others are served.
    fn start_pass(&mut self) {
        let uploads = &self.pool.volume.resumable;
        let began = clock();
        self.pass_at = began + uploads.pass_interval;
        let mut pass = Pass::begin(uploads).map(Box::new);
        while let Some(at_work) = pass {
            if clock().saturating_duration_since(began) >= START_PASS_MAX {
                uploads.is_passing.store(true, Ordering::Relaxed);
                self.pool.queues.push(WorkQueue::Sync, Job::Expire(Arc::clone(&self.pool.volume), Some(at_work)));
                return;
            }
            pass = at_work.step(uploads);
        }
    }

    /// Counts what is stored for each quota. A large tree is counted while others are served.
    fn start_count(&self) {
        let began = clock();
        let mut count = Count::begin(&self.pool.volume.names.quotas);
        while let Some(at_work) = count {
            let is_mount = at_work.mount(&self.fs).is_some();
            if is_mount || clock().saturating_duration_since(began) >= START_PASS_MAX {
                self.pool.count(Some(at_work));
                return;
            }
            count = match at_work.step(&self.fs, &self.pool.volume.names.quotas) {
                Step::GoesOn(count) => Some(count),
                Step::Ended => Count::begin(&self.pool.volume.names.quotas),
            };
        }
    }
}

/// Syncs what other processes have left. One that died may have made directories, and files visible, without syncing
/// them. To this process they look like old ones, and the entries of those need no sync.
fn sync_leftovers(root: &Path, fd: BorrowedFd<'_>) -> Result<(), OpenError> {
    linux::sync_file_system(fd).map_err(|e| {
        let (name, cause) = (root.display(), io::Error::from(e));
        OpenError::Unusable(format!("cannot sync what another process has left in {name}: {cause}"))
    })
}

/// Why nothing can be staged in the directory, and what to do.
fn refusal(root: &Path, shared: bool, (site, errno): SiteErrno) -> OpenError {
    let name = root.display();
    match (site, errno) {
        (ROOT_LOCK, Errno::AGAIN) if shared => OpenError::InUse(format!(
            "another server has the folder {name} to itself: stop it, or start it with --shared as well"
        )),
        (ROOT_LOCK, Errno::AGAIN) => OpenError::InUse(format!(
            "another server has the folder {name}: stop it, or start all servers of this folder with --shared"
        )),
        _ => {
            let cause = io::Error::from(errno);
            OpenError::Unusable(format!(
                "cannot write in the folder {name}: {site}: {cause} (to serve it as it is: --read-only)"
            ))
        }
    }
}

/// Makes the directory if it is missing, but nothing above it: more than one missing level is rather a
/// typing error. What is stored in it later would be worth nothing if a power cut took the directory
/// itself, so its entry must be durable too.
fn make_root(root: &Path, durable: bool) -> Result<(), OpenError> {
    let name = root.display();
    let fail = |error: io::Error| OpenError::Unusable(format!("cannot make the folder {name}: {error}"));
    let above = root.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match create_dir(root) {
        Ok(()) => {}
        Err(_) if root.is_dir() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !above.exists() => {
            let above = above.display();
            return Err(OpenError::Unusable(format!(
                "cannot make the folder {name}: {above} is missing, make it first"
            )));
        }
        Err(error) => {
            return Err(match [root, above].into_iter().find(|path| path.exists() && !path.is_dir()) {
                Some(file) => OpenError::Unusable(format!("cannot serve {name}: {} is not a folder", file.display())),
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
