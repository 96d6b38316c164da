//! The uploads that one file system keeps: their directory, once there is one, and their index.

use std::os::fd::AsFd as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::config::Fixed;
use crate::error::{Failure, StoreError};
use crate::os::process::clock;
use crate::store::fs::errno::{SiteErrno, is_stale};
use crate::store::fs::root::FileSystem;
use crate::store::mutex::lock;
use crate::store::namespace::Namespace;
use crate::store::resumable::folder::Folder;
use crate::store::resumable::index::Index;
use crate::store::resumable::owner::Owner;

const PASS_INTERVAL_MIN: Duration = Duration::from_millis(250);
const PASS_INTERVAL_MAX: Duration = Duration::from_secs(300);

/// The open directory.
#[derive(Debug)]
struct Known {
    folder: Arc<Folder>,
    /// True once its own name and that of the directory above are as durable as the store makes things.
    is_prepared: bool,
}

/// Uploads that outlive their connections.
#[derive(Debug)]
pub(crate) struct ResumableUploads {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) names: Arc<Namespace>,
    folder: Mutex<Option<Known>>,
    pub(crate) index: Mutex<Index>,
    pub(crate) owner: Owner,
    pub(crate) expiry_s: u64,
    /// Time between two passes over the directory.
    pub(crate) pass_interval: Duration,
    /// True while there may be uploads, which expire.
    pub(crate) is_used: AtomicBool,
    pub(crate) is_passing: AtomicBool,
    /// A connection was attached to an upload at the last look for those that other servers want.
    pub(crate) is_attached: AtomicBool,
    /// When the last whole pass began: by the clock of the file system, and by one that does not jump.
    pub(crate) last_pass: Mutex<Option<(u64, Instant)>>,
    /// As if this many seconds more had passed.
    #[cfg(test)]
    pub(crate) passed_s: std::sync::atomic::AtomicU64,
    /// As if the clock of the file system had jumped by this many seconds.
    #[cfg(test)]
    pub(crate) jumped_s: std::sync::atomic::AtomicU64,
}

impl ResumableUploads {
    pub(crate) fn new(names: Arc<Namespace>, limits: &Fixed) -> Self {
        Self {
            fs: Arc::clone(&names.fs),
            names,
            folder: Mutex::default(),
            index: Mutex::new(Index::new(limits)),
            owner: Owner::this(),
            expiry_s: limits.upload_expiry.as_secs().max(1),
            pass_interval: (limits.upload_expiry / 8).clamp(PASS_INTERVAL_MIN, PASS_INTERVAL_MAX),
            is_used: AtomicBool::new(false),
            is_passing: AtomicBool::new(false),
            is_attached: AtomicBool::new(false),
            last_pass: Mutex::default(),
            #[cfg(test)]
            passed_s: std::sync::atomic::AtomicU64::new(0),
            #[cfg(test)]
            jumped_s: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// The directory, if there is one.
    pub(crate) fn existing_folder(&self, path: &str) -> Result<Option<Arc<Folder>>, StoreError> {
        // A read-only store has no locks, so it shows nothing that another process may be changing.
        if self.names.staging.dirs.is_none() {
            return Ok(None);
        }
        self.open_folder().map_err(self.kept_failed(path))
    }

    fn open_folder(&self) -> Result<Option<Arc<Folder>>, SiteErrno> {
        let mut known = lock(&self.folder);
        if known.is_none() {
            let folder = Folder::open(self.fs.root().fd.as_fd())?;
            *known = folder.map(|folder| Known { folder: Arc::new(folder), is_prepared: false });
        }
        Ok(known.as_ref().map(|known| Arc::clone(&known.folder)))
    }

    /// The directory, made if it is missing, with its own name as durable as the store makes things.
    pub(crate) fn make_folder(&self, path: &str) -> Result<Arc<Folder>, StoreError> {
        self.prepare_folder().map_err(self.kept_failed(path))
    }

    fn prepare_folder(&self) -> Result<Arc<Folder>, SiteErrno> {
        let mut known = lock(&self.folder);
        if let Some(Known { folder, is_prepared: true }) = &*known {
            return Ok(Arc::clone(folder));
        }
        let root = self.fs.root();
        let folder = Arc::new(Folder::make(root.fd.as_fd())?);
        if self.fs.durable {
            (self.fs.sync.names)(folder.above.as_fd()).map_err(|e| ("fsync .filewharf", e))?;
            (self.fs.sync.names)(root.fd.as_fd()).map_err(|e| ("fsync root", e))?;
        }
        *known = Some(Known { folder: Arc::clone(&folder), is_prepared: true });
        Ok(folder)
    }

    /// The directory was removed by hand: it is opened or made again when it is needed.
    pub(crate) fn forget_folder(&self, gone: &Arc<Folder>) {
        let mut known = lock(&self.folder);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(&known.folder, gone)) {
            *known = None;
        }
    }

    /// Its descriptors became stale: it is opened again when it is needed.
    pub(crate) fn forget_any_folder(&self) {
        *lock(&self.folder) = None;
    }

    /// Nanoseconds since 1970, by the clock of the file system.
    pub(crate) fn now_ns(&self, folder: &Folder, path: &str) -> Result<u64, StoreError> {
        let now = folder.now_ns().map_err(self.kept_failed(path))?;
        #[cfg(test)]
        let now = now + self.jumped_s.load(std::sync::atomic::Ordering::Relaxed) * 1_000_000_000;
        #[cfg(test)]
        let now = now + self.passed_s.load(std::sync::atomic::Ordering::Relaxed) * 1_000_000_000;
        Ok(now)
    }

    /// A clock that does not jump.
    pub(crate) fn steady_now(&self) -> Instant {
        let now = clock();
        #[cfg(test)]
        let now = now + Duration::from_secs(self.passed_s.load(std::sync::atomic::Ordering::Relaxed));
        now
    }

    /// A failure around the directory, whatever the upload is called and however large it is.
    pub(crate) fn kept_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        let mut error = self.fs.change_error(site, path, errno);
        error.failure = match error.failure {
            Failure::Conflict(_) | Failure::NotFound => Failure::Unavailable,
            Failure::TooLarge => Failure::NoSpace,
            other => other,
        };
        if is_stale(errno) {
            self.forget_any_folder();
        }
        error
    }

    pub(crate) fn kept_failed(&self, path: &str) -> impl Fn(SiteErrno) -> StoreError {
        move |(site, errno)| self.kept_error(site, path, errno)
    }
}
