//! Uploads into what is mounted inside the root: each mount has a reserved directory, locks, syncs and space of its own,
//! because nothing can be renamed from one file system into another.
//!
//! It is opened by the first change in the mount, and closed when it was not used for a while and keeps no upload: what
//! is open there keeps the operator from unmounting it.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::config::{Fixed, StoreConfig};
use crate::error::{Failure, StoreError};
use crate::object::Durability;
use crate::os::process::clock;
use crate::platform::Health;
use crate::store::fs::errno::{self, SiteErrno, TARGET};
use crate::store::fs::linux;
use crate::store::fs::mounts::SERVED_MAX;
use crate::store::fs::resolve::{dir_flags, look_flags};
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::stat::{self, standing};
use crate::store::fs::sync::Calls;
use crate::store::mutex::lock;
use crate::store::quota::ledger::Quotas;
use crate::store::staging::dirs::StageDirs;
use crate::store::staging::locks::ROOT_LOCK;
use crate::store::volume::Volume;
use crate::upload::UploadId;
use crate::wire::key::RESERVED;

/// Mounts that are written to at a time.
pub const MOUNTS_WRITTEN_MAX: usize = 16;
/// Descriptors that each of them takes.
pub const MOUNT_DESCRIPTORS: usize = 8;
/// A mount is closed after this time without a change.
const IDLE: Duration = Duration::from_secs(10);
/// Room for clients is left when what was left in mounts is looked for.
const ADOPTED_MAX: usize = MOUNTS_WRITTEN_MAX / 2;

pub(crate) const POINT: Failure = Failure::Conflict("another file system is mounted there");
const TOO_MANY: Failure = Failure::Busy;
const READ_ONLY: Failure = Failure::Denied("the file system that is mounted there is read-only");
const IN_USE: Failure = Failure::Conflict("another server writes to the file system that is mounted there");

/// One mount.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) path: Box<str>,
    /// The kernel's number of the mount: another one may be at the same path later.
    number: u64,
    /// Held while it is opened or closed, which may have to wait for the other file system.
    changing: Mutex<()>,
    open: Mutex<Open>,
    /// What is open has become stale.
    is_stale: AtomicBool,
    pub(crate) is_looking: AtomicBool,
}

#[derive(Debug)]
struct Open {
    volume: Option<Arc<Volume>>,
    used: Instant,
}

/// All mounts that are written to.
pub(crate) struct Mounted {
    config: StoreConfig,
    limits: Fixed,
    mounts: Mutex<Vec<Arc<Mount>>>,
    /// How many are open; and of those, which may wait for another machine or process.
    open: AtomicUsize,
    remote: AtomicUsize,
    /// Mounts in which an earlier process may have left something.
    unseen: Mutex<VecDeque<Box<str>>>,
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

impl Mounted {
    pub(crate) fn new(config: &StoreConfig, limits: &Fixed) -> Self {
        // A table of digests is that of the root.
        let limits = Fixed { digests_max: 0, ..limits.clone() };
        let (mounts, unseen) = (Mutex::default(), Mutex::default());
        let (open, remote) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { config: config.clone(), limits, mounts, open, remote, unseen }
    }

    /// The uploads of a mount, opened if they are not; `None` where nothing is mounted any more. Waits for the other
    /// file system. True if they were opened.
    pub(crate) fn at(
        &self,
        fs: &FileSystem,
        quotas: &Arc<Quotas>,
        path: &str,
    ) -> Result<Option<(Arc<Volume>, bool)>, StoreError> {
        let Some(mount) = self.mount(fs, path)? else { return Ok(None) };
        let _changing = lock(&mount.changing);
        if let Some(volume) = mount.used() {
            return Ok(Some((volume, false)));
        }
        let Some(volume) = self.open(fs, quotas, path)? else { return Ok(None) };
        let volume = Arc::new(volume);
        self.count(&volume);
        *lock(&mount.open) = Open { volume: Some(Arc::clone(&volume)), used: clock() };
        log::debug!(target: TARGET, "the file system that is mounted at /{path} is written to");
        Ok(Some((volume, true)))
    }

    fn mount(&self, fs: &FileSystem, path: &str) -> Result<Option<Arc<Mount>>, StoreError> {
        let Some(number) = fs.mounts.number_of(path) else { return Ok(None) };
        let mut mounts = lock(&self.mounts);
        if let Some(mount) = mounts.iter().find(|mount| *mount.path == *path && mount.number == number) {
            return Ok(Some(Arc::clone(mount)));
        }
        if mounts.len() >= MOUNTS_WRITTEN_MAX {
            return Err(StoreError::refused(TOO_MANY, "mounts written to"));
        }
        let mount = Arc::new(Mount {
            path: path.into(),
            number,
            changing: Mutex::default(),
            open: Mutex::new(Open { volume: None, used: clock() }),
            is_stale: AtomicBool::new(false),
            is_looking: AtomicBool::new(false),
        });
        mounts.push(Arc::clone(&mount));
        Ok(Some(mount))
    }

    fn open(&self, fs: &FileSystem, quotas: &Arc<Quotas>, mount: &str) -> Result<Option<Volume>, StoreError> {
        // Where nothing is mounted any more, the directory below is part of the root.
        if self.config.portable || fs.open_own(mount, look_flags(), false).err() == Some(Errno::XDEV) {
            let dir = open_top(fs, mount).map_err(|e| errno::changing("open folder", mount, e))?;
            let dirs = StageDirs::prepare(dir.fd.as_fd(), &fs.sharing);
            let dirs = dirs.map_err(|cause| refusal(mount, cause))?;
            if self.config.durability == Durability::Durable && dirs.current().has_neighbours() {
                let synced = linux::sync_file_system(dir.fd.as_fd());
                synced.map_err(|e| errno::broken("syncfs", mount, e))?;
            }
            let calls = Calls::of(dir.fd.as_fd());
            let (path, config) = (fs.root_path().join(mount), (&self.config, &self.limits));
            let volume = Volume::over(dir, &path, (Some(dirs), Arc::clone(quotas)), &fs.sharing, &calls, config);
            volume.fs.look_elsewhere();
            return Ok(Some(volume));
        }
        Ok(None)
    }

    /// One more is open.
    fn count(&self, volume: &Volume) {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.remote.fetch_add(usize::from(!volume.fs.caps.inline), Ordering::AcqRel);
    }

    /// One fewer is.
    fn discount(&self, volume: &Volume) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.remote.fetch_sub(usize::from(!volume.fs.caps.inline), Ordering::AcqRel);
    }

    /// Those that are open.
    pub(crate) fn all(&self) -> Vec<(Arc<Mount>, Arc<Volume>)> {
        let mounts = lock(&self.mounts);
        mounts.iter().filter_map(|mount| Some((Arc::clone(mount), lock(&mount.open).volume.clone()?))).collect()
    }

    /// Those that keep this upload.
    pub(crate) fn keeper_of(&self, id: UploadId) -> Option<Arc<Volume>> {
        let mounts = lock(&self.mounts);
        let mut open = mounts.iter().filter_map(|mount| lock(&mount.open).volume.clone());
        open.find(|volume| lock(&volume.resumable.index).contains(id))
    }

    /// True while calls for a mount that is written to may wait for another machine or process.
    pub(crate) fn are_remote(&self) -> bool {
        self.remote.load(Ordering::Acquire) > 0
    }

    pub(crate) fn are_degraded(&self) -> bool {
        let is_degraded = |(_, volume): &(_, Arc<Volume>)| volume.fs.health.state() == Health::Degraded;
        self.open.load(Ordering::Acquire) > 0 && self.all().iter().any(is_degraded)
    }

    /// A change has failed because what is open became stale.
    pub(crate) fn is_stale(&self, volume: &Volume) {
        let mounts = lock(&self.mounts);
        if let Some(mount) = mounts.iter().find(|mount| mount.path == volume.fs.at) {
            mount.is_stale.store(true, Ordering::Relaxed);
        }
    }

    /// Those that are to be closed. Forgets those that are.
    pub(crate) fn idle(&self, fs: &FileSystem) -> Vec<Arc<Mount>> {
        let mut mounts = lock(&self.mounts);
        mounts.retain(|mount| lock(&mount.open).volume.is_some() || Arc::strong_count(mount) > 1);
        mounts.iter().filter(|mount| mount.is_to_be_closed(fs)).map(Arc::clone).collect()
    }

    /// Closes one. Waits for the other file system.
    pub(crate) fn close(&self, fs: &FileSystem, mount: &Mount) {
        let _changing = lock(&mount.changing);
        if !mount.is_to_be_closed(fs) {
            return;
        }
        let Some(volume) = lock(&mount.open).volume.take() else { return };
        self.discount(&volume);
        mount.is_stale.store(false, Ordering::Relaxed);
        match Arc::into_inner(volume) {
            Some(volume) => remove_staging(&volume),
            // Uploads that have begun end in what they began in.
            None => log::info!(target: TARGET, "/{} is not mounted any more", mount.path),
        }
    }

    /// The server ends: no worker runs any more.
    pub(crate) fn close_all(&self) {
        for (_, volume) in self.all() {
            remove_staging(&volume);
        }
    }

    /// These were mounted.
    pub(crate) fn note(&self, mounts: Vec<Box<str>>) {
        if !self.config.read_only {
            let mut unseen = lock(&self.unseen);
            unseen.extend(mounts);
            unseen.truncate(SERVED_MAX);
        }
    }

    /// Mounts in which to look for what an earlier process has left: its staging files and its uploads.
    pub(crate) fn unseen(&self) -> Vec<Box<str>> {
        let room = ADOPTED_MAX.saturating_sub(lock(&self.mounts).len());
        let mut unseen = lock(&self.unseen);
        let len = room.min(unseen.len());
        unseen.drain(..len).collect()
    }
}

impl Mount {
    fn used(&self) -> Option<Arc<Volume>> {
        let mut open = lock(&self.open);
        open.used = clock();
        open.volume.clone()
    }

    /// What has failed to sync stays, so that it is known to have.
    fn is_to_be_closed(&self, fs: &FileSystem) -> bool {
        let open = lock(&self.open);
        let Some(volume) = &open.volume else { return false };
        if volume.fs.health.state() == Health::Degraded {
            return false;
        }
        let is_here = fs.mounts.number_of(&self.path) == Some(self.number);
        let is_used = Arc::strong_count(volume) > 1
            || clock().saturating_duration_since(open.used) < IDLE
            || !lock(&volume.resumable.index).is_empty();
        !is_here || self.is_stale.load(Ordering::Relaxed) || !is_used
    }
}

/// True if a server has written to a mount before.
pub(crate) fn was_written_to(fs: &FileSystem, mount: &str) -> bool {
    let top = fs.open_under(mount, look_flags() | OFlags::DIRECTORY, false);
    top.is_ok_and(|top| standing(top.as_fd(), RESERVED).is_ok_and(|reserved| reserved.is_some()))
}

fn open_top(fs: &FileSystem, mount: &str) -> Result<Dir, Errno> {
    let fd = fs.open_under(mount, dir_flags(), false)?;
    let id = stat::id(&fstat(&fd)?);
    Ok(Dir { fd, id, path: mount.into() })
}

fn remove_staging(volume: &Volume) {
    if let Some(dirs) = volume.stage_dirs() {
        dirs.current().remove();
    }
}

/// Why nothing can be staged in a mount.
fn refusal(mount: &str, (site, errno): SiteErrno) -> StoreError {
    let failure = match (site, errno) {
        (ROOT_LOCK, Errno::AGAIN) => IN_USE,
        (_, Errno::ROFS) => READ_ONLY,
        _ => return errno::changing(site, mount, errno),
    };
    StoreError { failure, site, source: Some(errno.into()) }
}
