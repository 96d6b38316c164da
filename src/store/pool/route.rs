//! Which file system an operation changes: the root, or one that is mounted inside.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::command::Names;
use crate::error::StoreError;
use crate::object::Key;
use crate::platform::Op;
use crate::store::fs::errno::{OTHER_FILE_SYSTEM, TARGET};
use crate::store::pool::jobs::{Held, Job};
use crate::store::pool::mounted::{self, Mount};
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::staging::dirs::Sweep;
use crate::store::volume::Volume;
use crate::upload::{UploadId, UploadRef};

/// What an operation changes.
enum Changes<'a> {
    /// The name in its directory, and another.
    Name(&'a Key, Option<&'a Key>),
    /// A directory, which is made.
    Dir(&'a Key),
    /// An upload that is kept.
    Upload(UploadId),
    Nothing,
}

fn changes(op: &Op) -> Changes<'_> {
    match op {
        Op::BeginCopy(copying) => Changes::Name(&copying.to, None),
        Op::Create(put) => Changes::Name(&put.key, None),
        Op::Store { put, .. } => Changes::Name(&put.key, None),
        Op::Run(whole) => match whole.names() {
            Names::Look(_) => Changes::Nothing,
            Names::Make(key) => Changes::Dir(key),
            Names::Change(key, other) => Changes::Name(key, other),
        },
        Op::OpenUpload { upload: UploadRef::New(new), .. } => Changes::Name(&new.put.key, None),
        Op::OpenUpload { upload: UploadRef::Existing(id), .. }
        | Op::FindUpload { id, .. }
        | Op::RemoveUpload { id, .. } => Changes::Upload(*id),
        _ => Changes::Nothing,
    }
}

impl Pool {
    /// The mount that an operation may have to wait for, if it changes something: known without asking it.
    pub(crate) fn mount_changed(&self, op: &Op, held: &Held) -> Option<Box<str>> {
        if let Some(volume) = held.volume() {
            return Some(volume.fs.at.clone()).filter(|at| !at.is_empty());
        }
        match changes(op) {
            // What has a mount point as its name is refused without waiting.
            Changes::Name(key, _) => self.fs.mounts.of(key.parent()).map(Box::from),
            Changes::Dir(key) => self.fs.mounts.of(key.as_str()).map(Box::from),
            Changes::Upload(id) => self.mounted.keeper_of(id).map(|volume| volume.fs.at.clone()),
            Changes::Nothing => None,
        }
    }

    /// True if an operation names something in a mount, or a mount point: then it is not for the loop.
    pub(crate) fn names_mount(&self, op: &Op) -> bool {
        let is_in = |key: &Key| self.fs.mounts.of(key.as_str()).is_some();
        match changes(op) {
            Changes::Name(key, other) => is_in(key) || other.is_some_and(is_in),
            Changes::Dir(key) => is_in(key),
            Changes::Upload(_) | Changes::Nothing => false,
        }
    }

    /// Those that an operation belongs to. Waits for the file system that they are in.
    pub(crate) fn volume_for(&self, op: &Op, held: &Held) -> Result<Arc<Volume>, StoreError> {
        if let Some(volume) = held.volume() {
            return Ok(Arc::clone(volume));
        }
        match changes(op) {
            Changes::Name(key, other) => {
                let mount = self.fs.mounts.of(key.parent());
                if let Some(to) = other {
                    self.refuse_point(to)?;
                    if self.fs.mounts.of(to.parent()) != mount {
                        return Err(StoreError::refused(OTHER_FILE_SYSTEM, "rename"));
                    }
                }
                self.refuse_point(key)?;
                self.volume_at(mount)
            }
            Changes::Dir(key) => self.volume_at(self.fs.mounts.of(key.as_str())),
            Changes::Upload(id) => Ok(self.mounted.keeper_of(id).unwrap_or_else(|| Arc::clone(&self.volume))),
            Changes::Nothing => Ok(Arc::clone(&self.volume)),
        }
    }

    /// What has a mount point as its name cannot be changed, and looking at it may have to wait.
    fn refuse_point(&self, key: &Key) -> Result<(), StoreError> {
        let is_point = self.fs.mounts.of(key.as_str()) == Some(key.as_str());
        if is_point { Err(StoreError::refused(mounted::POINT, "mount point")) } else { Ok(()) }
    }

    fn volume_at(&self, mount: Option<&str>) -> Result<Arc<Volume>, StoreError> {
        let Some(mount) = mount else { return Ok(Arc::clone(&self.volume)) };
        self.fs.health.check_writable()?;
        let Some((volume, is_new)) = self.mounted.at(&self.fs, &self.volume.names.quotas, mount)? else {
            return Ok(Arc::clone(&self.volume));
        };
        if is_new {
            let share = self.share_of(&volume);
            volume.names.put_back();
            if let Some(dirs) = volume.stage_dirs()
                && let Ok(sweep) = Sweep::beside(&dirs.current(), &volume.names.quotas)
            {
                self.queues.push_of(WorkQueue::Sync, None, share, Job::Sweep(sweep, share));
            }
            volume.resumable.is_passing.store(true, Ordering::Relaxed);
            self.expire(Arc::clone(&volume), None);
        }
        Ok(volume)
    }

    /// Opens a mount in which an earlier process may have left something.
    pub(crate) fn adopt(&self, mount: &str) {
        if mounted::was_written_to(&self.fs, mount)
            && let Err(error) = self.volume_at(Some(mount))
        {
            log::debug!(target: TARGET, "nothing is looked for in /{mount}: {error}");
        }
    }

    /// Once a second: has mounts that came looked at, and those closed that are not used.
    pub(crate) fn look_at_mounts(&self) {
        self.mounted.note(self.fs.mounts.look(self.fs.root().fd.as_fd()));
        for mount in self.mounted.unseen() {
            let share = Some(self.dir_hash(&mount));
            self.queues.push_of(WorkQueue::Sync, None, share, Job::Adopt(mount));
        }
        for mount in self.mounted.idle(&self.fs) {
            let share = Some(self.dir_hash(&mount.path));
            self.queues.push_of(WorkQueue::Sync, None, share, Job::CloseMount(mount));
        }
        if self.fs.is_shared() {
            for (mount, volume) in self.mounted.all() {
                if !mount.is_looking.swap(true, Ordering::Acquire) {
                    let share = self.share_of(&volume);
                    self.queues.push_of(WorkQueue::Io, None, share, Job::LookIn(mount, volume));
                }
            }
        }
    }

    pub(crate) fn look_in(&self, mount: &Mount, volume: &Volume) {
        volume.fs.look_elsewhere();
        self.look_for_wanted(volume);
        mount.is_looking.store(false, Ordering::Release);
    }
}
