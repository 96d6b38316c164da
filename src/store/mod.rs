//! The store on a real disk: what may happen on the loop happens here, all else on workers.
//!
//! Nothing here waits for a disk. Opens and reads are asked for in a way that says "would wait";
//! changes run on the loop only when no sync was asked for and the disk keeps up.
//!
//! # Layers
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | `mutex` | |
//! | 1 | `fs` | the file system under the root: opening, reading, listing |
//! | 2 | `quota` | how much is stored under a prefix |
//! | 3 | `staging` | files that are not visible yet, directories for changes |
//! | 4 | `namespace` | changes of names |
//! | 5 | `resumable` | uploads that outlive their connections |
//! | 6 | `volume` | all of these for one file system: the root, or a mount in it |
//! | 7 | `pool` `take_overs` | the workers, and what they do |
//! | 8 | `cache` `content` `handles` `open` `overlap` `refresh` | what the loop does itself |
//!
//! A module imports only from its own layer and those above it in this table.

mod cache;
mod content;
mod fs;
mod handles;
mod mutex;
mod namespace;
mod open;
mod overlap;
mod pool;
mod quota;
mod refresh;
mod resumable;
mod staging;
mod take_overs;
mod volume;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::command::{Answer, Names, Whole};
use crate::dav_locks::{DavLock, LockToken, Shown};
use crate::error::StoreError;
use crate::ids::{FileId, GroupId, OpId};
use crate::object::Node;
use crate::os::sys;
use crate::platform::{Completion, Health, Op, Outcome, Queued, ReadNow, Source, Store};
use crate::upload::UploadId;

use self::cache::{Content, FileCache};
use self::fs::caps::Pages;
use self::fs::read::tail;
use self::fs::root::FileSystem;
use self::fs::tree;
use self::handles::Handles;
use self::mutex::lock;
use self::pool::growing::Growing;
use self::pool::jobs::{Finished, Held, Job, Reply, no_such_file};
use self::pool::shared::Pool;
use self::pool::workers::WorkQueue;
use self::resumable::open::Opened;
use self::take_overs::TakeOvers;

/// Most bytes of an upload between two flushes: more does not make a disk faster.
const FLUSH_WINDOW_MAX: u64 = 16 * 1024 * 1024;
/// Fewest, however many uploads share the bound: less makes every disk slow.
const FLUSH_WINDOW_MIN: u64 = 1024 * 1024;
/// A rename over another file makes some file systems write what has no room on the disk yet.
const COMMIT_NOW_MAX: u64 = 16 * 1024 * 1024;
/// The same where another machine may have the disk.
const COMMIT_NOW_MAX_AFAR: u64 = 1024 * 1024;

pub use self::fs::mounts::MOUNTS_BYTES;
pub use self::fs::sharing::Sharing;
pub use self::fs::walk::WALK_BYTES;
pub use self::overlap::Overlap;
pub use self::pool::copies::TREES_MAX as TREES_COPIED_MAX;
pub use self::pool::mounted::{MOUNT_DESCRIPTORS, MOUNTS_WRITTEN_MAX};
pub use self::quota::ledger::HOLDING_BYTES as QUOTA_HOLDING_BYTES;
pub use self::resumable::index::ENTRY_BYTES as UPLOAD_ENTRY_BYTES;

/// Memory that one disk worker may hold, for the accounting.
pub const WORKER_BUFFER_BYTES: usize = fs::read::SCRATCH;

/// Files in a directory of this machine.
#[derive(Debug)]
pub struct DiskStore {
    fs: Arc<FileSystem>,
    pool: Arc<Pool>,
    workers: Vec<JoinHandle<()>>,
    files: Handles,
    /// `None` where nothing can be cached.
    cache: Option<FileCache>,
    ready: VecDeque<Finished>,
    /// Operations submitted and not completed yet.
    in_flight: u64,
    turn: Turn,
    /// When uploads that fail are tried again at the earliest.
    probe_at: Instant,
    /// When the uploads that are kept are looked through again at the earliest.
    pass_at: Instant,
    /// When a count for a quota is asked for again at the earliest; not read while there is no quota.
    count_at: Instant,
    /// When to look again at the path of the root, and at what other servers of the directory have left.
    look_at: Instant,
    take_overs: TakeOvers,
    scratch: Vec<u8>,
    dirty_bytes_max: u64,
}

/// What holds for one turn of the loop.
#[derive(Debug)]
struct Turn {
    now: Instant,
    /// The disk does not keep up, or must not be waited for: workers write.
    lagging: bool,
    /// How often the loop had waited when it first wrote.
    waits: Option<i64>,
}

impl DiskStore {
    /// Ends the workers once they have finished what is queued, and removes the staging directory
    /// with every upload that was not committed. Dropping the store does the same.
    pub fn close(self) {
        drop(self);
    }

    /// For another generation of the server.
    pub fn overlap(&self) -> Overlap {
        Overlap::of(&self.pool)
    }

    fn queue(&mut self, (id, client): (OpId, Option<GroupId>), op: Op, held: Held, shown: Option<Box<Shown>>) {
        let queue = self.pool.queue_of(&op);
        if matches!(queue, WorkQueue::Sync | WorkQueue::Join) {
            self.pool.syncing.fetch_add(1, Ordering::Relaxed);
        }
        let mount = match &op {
            Op::List { key, recursive: true, after, .. } => {
                self.fs.mounts.of(&tree::first_dir(key.as_str(), after.as_deref())).map(Box::from)
            }
            op => self.pool.mount_changed(op, &held),
        };
        let dir = mount.as_deref().or_else(|| self.dir_of(&op, &held)).map(|path| self.pool.dir_hash(path));
        self.pool.queues.push_of(queue, client, dir, Job::Serve { id, client, op, held, shown });
    }

    /// Results get their file ids here, on the loop.
    fn admit(&mut self, finished: Finished) -> Completion {
        let Finished { id, result, chunk } = finished;
        // It may have been a change, and the requests that waited for it continue in this turn.
        self.received();
        let result = result.map(|reply| match reply {
            Reply::Plain(outcome) => outcome,
            Reply::Wanted(_) => unreachable!("it waits, or is an error by now"),
            Reply::Created(growing) => Outcome::Created(self.files.add(Held::Staging(growing))),
            Reply::CopyBegun(copy) => Outcome::Created(self.files.add(Held::Copying(copy))),
            Reply::Opened(file, meta, source) => {
                Outcome::Opened { file: self.files.add(Held::Reading(Arc::new(file))), meta, source }
            }
            Reply::UploadOpened(opened, volume) => {
                let Opened { state, part, digest } = *opened;
                let file = part.map(|part| self.files.add(Held::Staging(Growing::part(part, volume))));
                Outcome::UploadOpened { upload: Box::new(state), file, digest }
            }
            Reply::Warmed(file, start, end) => {
                let now = self.turn.now;
                if let Some(reading) = self.files.reading(file) {
                    reading.warmed(start..end, now);
                }
                Outcome::Warmed
            }
        });
        Completion { id, result, chunk }
    }

    /// Opens a file, unless it is kept.
    fn open_now(&mut self, path: &str) -> Option<Result<Outcome, StoreError>> {
        if let Err(error) = self.fs.health.check_readable() {
            return Some(Err(error));
        }
        let now = self.turn.now;
        if let Some((content, meta)) = self.cache.as_mut().and_then(|cache| cache.get(path, now)) {
            let file = match content {
                Content::Bytes(bytes) => self.files.add(Held::Cached(Arc::clone(bytes))),
                Content::Open(open) => self.files.add(Held::Reading(Arc::clone(open))),
            };
            return Some(Ok(Outcome::Opened { file, meta, source: Source::Direct }));
        }
        Some(self.fs.open_now(path)?.map(|(open, meta, source)| {
            let open = Arc::new(open);
            if let (Some(cache), Source::Direct) = (&mut self.cache, source) {
                cache.opened(&self.fs, path, &open, &meta, now);
            }
            Outcome::Opened { file: self.files.add(Held::Reading(open)), meta, source }
        }))
    }

    fn stat_now(&mut self, path: &str) -> Option<Result<Outcome, StoreError>> {
        if let Err(error) = self.fs.health.check_readable() {
            return Some(Err(error));
        }
        let kept = self.cache.as_mut().and_then(|cache| cache.get(path, self.turn.now));
        let node = kept.map(|(_, meta)| Ok(Node::File(meta))).or_else(|| self.fs.stat_now(path))?;
        Some(node.map(|node| Outcome::Answered(Answer::Found(node))))
    }

    /// What a worker may have to wait for with this operation, if it only reads: the directory, or the mount that it is in.
    fn dir_of<'a>(&self, op: &'a Op, held: &'a Held) -> Option<&'a str> {
        let (path, is_dir) = match (op, held) {
            (Op::List { key, .. }, _) => (key.as_str(), true),
            (Op::Open { key }, _) => (key.as_str(), false),
            (Op::Run(whole), _) => match whole.names() {
                Names::Look(key) => (key.as_str(), false),
                Names::Make(_) | Names::Change(..) => return None,
            },
            (_, Held::Reading(file)) => (file.path(), false),
            _ => return None,
        };
        let dir = if is_dir { path } else { path.rsplit_once('/').map_or("", |(parent, _)| parent) };
        Some(self.fs.mounts.of(path).unwrap_or(dir))
    }

    /// True if an operation changes something that is mounted inside the root: only workers may wait for that.
    fn is_in_mount(&self, op: &Op) -> bool {
        match op {
            Op::Commit { file, .. } => self.files.staging(*file).is_some_and(|one| !one.volume.fs.at.is_empty()),
            op => self.pool.names_mount(op),
        }
    }

    fn closes_now(&self, file: FileId) -> bool {
        self.files.reading(file).map_or(self.fs.caps.inline, |file| file.is_inline())
    }

    fn waits(&mut self) -> i64 {
        *self.turn.waits.get_or_insert_with(sys::waits_of_this_thread)
    }

    /// The file an operation names; it stays open if the operation leaves it so.
    fn held(&mut self, op: &Op) -> Held {
        match op {
            Op::Abort { file }
            | Op::Close { file }
            | Op::Commit { file, .. }
            | Op::EndPart { file, .. }
            | Op::PlaceCopy { file, .. } => self.files.take(*file),
            Op::Checkpoint { file, .. }
            | Op::Copy { file }
            | Op::Flush { file, .. }
            | Op::Join { file, .. }
            | Op::Read { file, .. }
            | Op::Warm { file, .. }
            | Op::Write { file, .. } => self.files.held(*file),
            _ => Held::None,
        }
    }

    /// True if a change may run on the loop.
    fn changes_now(&self, op: &Op) -> bool {
        let quick = match op {
            // To ask for free space may take a while where another machine has the disk.
            Op::Create(put) => {
                let is_space_known = self.fs.caps.local || !self.pool.volume.names.staging.space.checks(put.len);
                is_space_known && put.sha256.is_none()
            }
            // The table of digests may be on the disk only.
            Op::Commit { digest: Some(_), .. } if self.fs.digests.is_writable() => false,
            Op::Store { put, .. } if put.sha256.is_some() && self.fs.digests.is_writable() => false,
            // No client waits for an abort, and a large file takes a while to free.
            Op::Commit { file, prepend, .. } => {
                let staged = self.files.staging(*file).filter(|growing| growing.as_part().is_none());
                let len_max = if self.fs.caps.local { COMMIT_NOW_MAX } else { COMMIT_NOW_MAX_AFAR };
                prepend.is_empty()
                    && staged.and_then(|growing| growing.as_staged().len).is_some_and(|len| len <= len_max)
            }
            // What goes to the trash is left to workers.
            Op::Run(Whole::Delete { is_recursive: true, .. } | Whole::Rename { replaces_dir: true, .. }) => false,
            Op::Run(Whole::SetProperties { .. }) => false,
            Op::Run(Whole::SetTime { .. }) => !self.fs.digests.is_used(),
            Op::Run(whole) => match whole.names() {
                Names::Look(_) => false,
                Names::Make(_) | Names::Change(_, None) => true,
                Names::Change(_, Some(_)) => !self.fs.digests.is_used(),
            },
            Op::Store { .. } => true,
            _ => false,
        };
        // Where servers share the root, a change of a name may wait for another server.
        let makes = match op {
            Op::Create(_) => true,
            Op::Run(whole) => matches!(whole.names(), Names::Make(_)),
            _ => false,
        };
        let waits = self.fs.is_shared() && !makes;
        quick
            && !waits
            && self.fs.caps.inline
            && !self.fs.durable
            && !self.turn.lagging
            && self.pool.defers_unlinks()
            && !self.is_in_mount(op)
    }
}

impl Store for DiskStore {
    fn try_now(&mut self, id: OpId, op: Op) -> Result<Completion, Op> {
        match &op {
            Op::Open { key } => match self.open_now(key.as_str()) {
                Some(result) => Ok(Completion { id, result, chunk: None }),
                None => Err(op),
            },
            Op::Run(Whole::Stat { key }) => match self.stat_now(key.as_str()) {
                Some(result) => Ok(Completion { id, result, chunk: None }),
                None => Err(op),
            },
            Op::Close { file } if self.closes_now(*file) => {
                let result = match self.files.take(*file) {
                    Held::Reading(file) => {
                        self.pool.close(file);
                        Ok(Outcome::Closed)
                    }
                    Held::Cached(_) => Ok(Outcome::Closed),
                    _ => Err(no_such_file()),
                };
                Ok(Completion { id, result, chunk: None })
            }
            op_ref if self.changes_now(op_ref) => {
                let held = self.held(&op);
                let (pool, waits) = (Arc::clone(&self.pool), self.waits());
                let (result, chunk) =
                    pool.latency.measure_since(waits, || pool.serve(&pool.volume, op, held, &mut Vec::new()));
                // Without durability nothing is owed.
                let result = result.map(|(reply, _)| reply);
                Ok(self.admit(Finished { id, result, chunk }))
            }
            _ => Err(op),
        }
    }

    fn submit(&mut self, id: OpId, client: Option<GroupId>, op: Op) {
        let held = self.held(&op);
        self.in_flight += 1;
        self.queue((id, client), op, held, None);
    }

    fn submit_unlocked(&mut self, id: OpId, client: Option<GroupId>, op: Op, shown: Shown) {
        let held = self.held(&op);
        self.in_flight += 1;
        self.queue((id, client), op, held, Some(Box::new(shown)));
    }

    fn next_completion(&mut self) -> Option<Completion> {
        loop {
            if self.ready.is_empty() {
                self.pool.completions.take(&mut self.ready);
            }
            let mut finished = self.ready.pop_front()?;
            let begins = matches!(finished.result, Ok(Reply::Created(_) | Reply::UploadOpened(..)));
            if begins && !self.turn.lagging && self.pool.mounted.are_remote() {
                // From the next turn on, workers write: this upload may be on another machine.
                self.ready.push_front(finished);
                self.pool.completions.wake();
                return None;
            }
            let id = finished.id;
            match finished.result {
                Ok(Reply::Wanted(wanted)) => match self.take_overs.wait(id, *wanted, self.turn.now) {
                    Some(error) => finished.result = Err(error),
                    None => continue,
                },
                _ => self.take_overs.ended(id),
            }
            self.in_flight -= 1;
            return Some(self.admit(finished));
        }
    }

    fn next_wanted(&mut self) -> Option<UploadId> {
        lock(&self.pool.wanted).pop()
    }

    fn kept_locks(&mut self, now_s: u64) -> Option<Vec<DavLock>> {
        let is_alone = !self.fs.sharing.is_always() && self.pool.volume.stage_dirs().is_some();
        is_alone.then(|| self.pool.volume.names.kept_locks(now_s))
    }

    fn set_superseded(&mut self, is_superseded: bool) {
        self.fs.sharing.set_superseded(is_superseded);
    }

    fn forget_locks(&mut self, tokens: &[LockToken]) {
        self.pool.queues.push(WorkQueue::Sync, Job::ForgetLocks(tokens.into()));
    }

    fn received(&mut self) {
        if let Some(cache) = &mut self.cache {
            cache.invalidate();
        }
    }

    fn in_memory(&self, file: FileId, offset: u64) -> Option<&[u8]> {
        self.files.cached(file).map(|content| tail(content, offset))
    }

    fn is_lagging(&self) -> bool {
        self.turn.lagging
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let waits = self.waits();
        let Some(growing) = self.files.staging(file) else { return Err(no_such_file()) };
        self.pool.latency.measure_since(waits, || growing.write(offset, bytes))
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        let now = self.turn.now;
        if let Some(content) = self.files.cached(file) {
            let rest = tail(content, offset);
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            return Ok(ReadNow::Bytes(n));
        }
        let Some(reading) = self.files.reading(file) else { return Err(no_such_file()) };
        // Only as far as it was warmed: after that a read may wait.
        let end = reading.warm_until(offset, now);
        let len = end.map_or(buf.len(), |end| buf.len().min(usize::try_from(end - offset).unwrap_or(buf.len())));
        self.fs.read_now(reading, offset, &mut buf[..len], end.is_some())
    }

    fn check_version(&self, file: FileId) -> Result<(), StoreError> {
        match self.files.get(file) {
            Some(Held::Cached(_)) => Ok(()),
            Some(Held::Reading(file)) => self.fs.check_version(file),
            _ => Err(no_such_file()),
        }
    }

    fn flush_window(&self) -> Option<u64> {
        let wanted = self.fs.durable || self.turn.lagging;
        if !wanted || !self.fs.caps.write_back || self.fs.pages_known() == Pages::Memory {
            return None;
        }
        let share = self.dirty_bytes_max / self.files.uploads_len().max(1);
        Some(share.clamp(FLUSH_WINDOW_MIN, FLUSH_WINDOW_MAX))
    }

    fn health(&self) -> Health {
        match self.fs.health.state() {
            Health::Good | Health::Failing if self.pool.mounted.are_degraded() => Health::Degraded,
            state => state,
        }
    }

    fn queued(&self) -> Queued {
        let queues = &self.pool.queues;
        Queued {
            in_flight: self.in_flight,
            io: (queues.len(WorkQueue::Io) + queues.len(WorkQueue::List)) as u64,
            sync: (queues.len(WorkQueue::Sync) + queues.len(WorkQueue::Join)) as u64,
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.pool.queues.close();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
        if let Some(dirs) = self.pool.volume.stage_dirs() {
            dirs.current().remove();
        }
        self.pool.mounted.close_all();
    }
}
