//! What each operation does, whether a worker or the loop runs it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::buffer::Chunk;
use crate::command::{Answer, Names, Whole};
use crate::dav_locks::Shown;
use crate::error::{Failure, StoreError};
use crate::ids::{GroupId, OpId};
use crate::platform::{Finding, Op, Outcome, PasswordCheck, WorkMemory};
use crate::store::fs::errno::TARGET;
use crate::store::fs::list::PageOf;
use crate::store::fs::read::tail;
use crate::store::fs::root::{Dir, FileSystem};
use crate::store::fs::sorted::SortedPage;
use crate::store::mutex::lock;
use crate::store::namespace::commit::Commit;
use crate::store::namespace::create::Created;
use crate::store::pool::growing::Growing;
use crate::store::pool::jobs::{Finished, Held, Job, Pending, Reply, no_such_file};
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::quota::count::{Count, Step};
use crate::store::resumable::expiry::Pass;
use crate::store::resumable::wanted::is_elsewhere;
use crate::store::staging::pending_syncs::PendingSyncs;
use crate::store::take_overs::Wanted;
use crate::store::volume::Volume;
use crate::upload::UploadId;

/// Trees that wait in the trash.
const REMOVALS_MAX: usize = 1024;

/// The result, and what must be synced before it is true.
pub(crate) type Served = Result<(Reply, PendingSyncs), StoreError>;

impl Pool {
    /// The queue for an operation.
    pub(crate) fn queue_of(&self, op: &Op) -> WorkQueue {
        match op {
            // A flush waits for the disk as long as a sync does: reads must not queue after it.
            Op::Commit { .. } | Op::Flush { .. } | Op::PlaceCopy { .. } | Op::Store { .. } => WorkQueue::Sync,
            Op::OpenUpload { .. } | Op::Checkpoint { .. } | Op::EndPart { .. } | Op::RemoveUpload { .. } => {
                WorkQueue::Sync
            }
            Op::Run(Whole::KeepLock { .. } | Whole::EndLock { .. }) => WorkQueue::Sync,
            Op::Run(whole) => match whole.names() {
                Names::Change(..) => WorkQueue::Sync,
                Names::Make(_) if self.fs.durable => WorkQueue::Sync,
                Names::Make(_) | Names::Look(_) => WorkQueue::Io,
            },
            Op::Create(put) if self.fs.durable && put.sha256.is_some() => WorkQueue::Sync,
            Op::BeginCopy(_) | Op::Copy { .. } | Op::Join { .. } => WorkQueue::Join,
            Op::List { .. } => WorkQueue::List,
            Op::VerifyPassword(_) => WorkQueue::Passwords,
            _ => WorkQueue::Io,
        }
    }

    /// Refuses what a lock of another process is in the way of; none is granted until the result is dropped.
    fn keep_unlocked(&self, shown: Option<&Shown>) -> Result<Option<Arc<Dir>>, StoreError> {
        shown.map(|shown| self.volume.names.keep_unlocked(shown)).transpose()
    }

    pub(crate) fn work(&self, job: Job, scratch: &mut Vec<u8>) {
        match job {
            Job::Serve { op: ref op @ Op::Store { .. }, shown: None, .. } if !self.names_mount(op) => {
                let jobs: Vec<_> = std::iter::once(job).chain(self.batch()).collect();
                let stored = jobs.len();
                self.store_many(jobs);
                self.syncing.fetch_sub(stored, Ordering::Relaxed);
            }
            Job::Serve { id, client, op: Op::List { key, after, limit, bytes_max, hides, order, .. }, .. }
                if !order.is_plain() =>
            {
                let page = SortedPage::new(key, order, after.as_deref(), (limit, bytes_max), hides);
                self.begin_sorting(id, client, page);
            }
            Job::Sort(sorting) => self.sort(sorting),
            Job::Serve { id, client, op, held, shown } => {
                let syncs = usize::from(matches!(self.queue_of(&op), WorkQueue::Sync | WorkQueue::Join));
                let finished = match (self.keep_unlocked(shown.as_deref()), self.volume_for(&op, &held)) {
                    (Ok(_unlocked), Ok(volume)) => self.served(volume, (id, client), op, held, scratch),
                    (Err(error), Ok(volume)) => {
                        let chunk = match op {
                            Op::Commit { file, .. } | Op::PlaceCopy { file, .. } => {
                                self.serve(&volume, Op::Abort { file }, held, scratch).1
                            }
                            op => chunk_of(op),
                        };
                        Some(Finished { id, result: Err(error), chunk })
                    }
                    (_, Err(error)) => Some(Finished { id, result: Err(error), chunk: chunk_of(op) }),
                };
                if let Some(finished) = finished {
                    self.completions.push(finished);
                }
                self.syncing.fetch_sub(syncs, Ordering::Relaxed);
            }
            Job::Free(file) => drop(file),
            Job::Empty(mut removal) => {
                if !self.queues.is_closed() && removal.step() {
                    self.empty(removal);
                }
            }
            Job::ForgetLocks(tokens) => {
                if let Err((site, cause)) = self.volume.names.forget_locks(&tokens) {
                    log::warn!(target: TARGET, "locks that are over could not be removed: {site}: {cause}");
                }
            }
            Job::Probe => self.volume.names.staging.probe(),
            Job::Look => {
                self.look();
                self.is_looking.store(false, Ordering::Release);
            }
            Job::FinishChange(pending) => self.finish_change(pending),
            Job::Expire(volume, pass) => {
                let pass = pass.or_else(|| Pass::begin(&volume.resumable).map(Box::new));
                match pass.and_then(|pass| pass.step(&volume.resumable)) {
                    Some(pass) if !self.queues.is_closed() => self.expire(volume, Some(pass)),
                    _ => volume.resumable.is_passing.store(false, Ordering::Relaxed),
                }
            }
            Job::Adopt(mount) => self.adopt(&mount),
            Job::LookIn(mount, volume) => self.look_in(&mount, &volume),
            Job::CloseMount(mount) => self.mounted.close(&self.fs, &mount),
            Job::Count(count) => self.step_count(count),
            Job::Sweep(mut sweep, share) => {
                if !self.queues.is_closed() && sweep.step() {
                    self.queues.push_of(WorkQueue::Sync, None, share, Job::Sweep(sweep, share));
                }
            }
        }
    }

    /// The next step of a count, or of a new one.
    fn step_count(&self, under_way: Option<Box<Count>>) {
        let is_new = under_way.is_none();
        let Some(count) = under_way.or_else(|| Count::begin(&self.volume.names.quotas)) else { return };
        if self.queues.is_closed() {
            return;
        }
        let next = if is_new && count.mount(&self.fs).is_some() {
            Some(count)
        } else {
            match count.step(&self.fs, &self.volume.names.quotas) {
                Step::GoesOn(count) => Some(count),
                Step::Ended => None,
            }
        };
        self.count(next);
    }

    /// Does an operation; `None` where its end is reported once what it has changed is synced.
    fn served(
        &self,
        volume: Arc<Volume>,
        (id, client): (OpId, Option<GroupId>),
        op: Op,
        held: Held,
        scratch: &mut Vec<u8>,
    ) -> Option<Finished> {
        let again = volume.resumable.again(&op);
        let (result, chunk) = match op {
            Op::BeginCopy(copying) => (self.begin_copy(&volume, client, &copying), None),
            op => self.serve(&volume, op, held, scratch),
        };
        match result {
            Ok((reply, syncs)) => {
                let finished = Finished { id, result: Ok(reply), chunk };
                self.finish_change(Pending { client, finished, syncs, volume });
                None
            }
            Err(error) => {
                if error.failure == Failure::Unavailable && !volume.fs.at.is_empty() {
                    self.mounted.is_stale(&volume);
                }
                let result = self.tried(&volume, again, client, error);
                Some(Finished { id, result, chunk })
            }
        }
    }

    pub(crate) fn count(&self, count: Option<Box<Count>>) {
        let mount = count.as_ref().and_then(|count| count.mount(&self.fs)).map(|mount| self.dir_hash(mount));
        self.queues.push_of(WorkQueue::List, None, mount, Job::Count(count));
    }

    pub(crate) fn expire(&self, volume: Arc<Volume>, pass: Option<Box<Pass>>) {
        let share = self.share_of(&volume);
        self.queues.push_of(WorkQueue::Sync, None, share, Job::Expire(volume, pass));
    }

    /// An operation has failed: it waits where another server is to leave the upload first.
    fn tried(
        &self,
        volume: &Volume,
        again: Option<(UploadId, Op)>,
        client: Option<GroupId>,
        error: StoreError,
    ) -> Result<Reply, StoreError> {
        match again {
            Some((id, op)) if is_elsewhere(&error) && !self.queues.is_closed() => {
                volume.resumable.want(id);
                Ok(Reply::Wanted(Box::new(Wanted { op, client, error })))
            }
            _ => Err(error),
        }
    }

    /// Does what `op` says, and hands its chunk back.
    pub(crate) fn serve(
        &self,
        volume: &Arc<Volume>,
        op: Op,
        held: Held,
        scratch: &mut Vec<u8>,
    ) -> (Served, Option<Chunk>) {
        match (op, held) {
            (Op::Read { offset, len, mut chunk, .. }, Held::Reading(file)) => {
                let result = file.fill(offset, len, &mut chunk);
                let result = result.and_then(|()| self.fs.check_version(&file));
                (result.map(|()| plain(Outcome::Read)), Some(chunk))
            }
            (Op::Read { offset, len, mut chunk, .. }, Held::Cached(content)) => {
                let rest = tail(&content, offset);
                chunk.fill(&rest[..rest.len().min(len)]);
                (Ok(plain(Outcome::Read)), Some(chunk))
            }
            (Op::Write { offset, chunk, .. }, Held::Staging(growing)) => {
                let result = self.latency.measure(|| growing.write(offset, chunk.data()));
                (result.map(|()| plain(Outcome::Written)), Some(chunk))
            }
            (Op::Store { put, chunk }, _) => {
                (volume.names.store(&put, chunk.data()).map(|change| self.changed(change)), Some(chunk))
            }
            // They lost their file, not their chunk.
            (Op::Read { chunk, .. } | Op::Write { chunk, .. }, _) => (Err(no_such_file()), Some(chunk)),
            (Op::VerifyPassword(check), _) => (Ok(plain(self.verify_password(&check))), None),
            (op, held) => (self.serve_plain(volume, op, held, scratch), None),
        }
    }

    fn verify_password(&self, check: &PasswordCheck) -> Outcome {
        if self.queues.is_closed() {
            return Outcome::PasswordVerified(Box::new(check.verdict(Finding::Busy))); // no client waits any more
        }
        let mut memory = lock(&self.password_memory);
        let verdict = check.run(&mut memory);
        if self.queues.len(WorkQueue::Passwords) == 0 {
            *memory = WorkMemory::default();
        }
        Outcome::PasswordVerified(Box::new(verdict))
    }

    fn serve_plain(&self, volume: &Arc<Volume>, op: Op, held: Held, scratch: &mut Vec<u8>) -> Served {
        match (op, held) {
            (Op::Abort { .. }, Held::Staging(growing)) => {
                growing.abort();
                Ok(plain(Outcome::Aborted))
            }
            (Op::Abort { .. }, Held::Copying(copy)) => self.give_up_copy(&copy),
            (Op::Copy { .. }, Held::Copying(copy)) => self.step_copy(&copy),
            (Op::PlaceCopy { copying, .. }, Held::Copying(copy)) => self.place_copy(&copy, &copying),
            (Op::Close { .. }, Held::Reading(_) | Held::Cached(_)) => Ok(plain(Outcome::Closed)),
            (Op::Commit { key, len, prepend, mtime, precondition, digest, .. }, Held::Staging(growing)) => {
                let commit = Commit {
                    key: &key,
                    len,
                    prepend: &prepend,
                    mtime,
                    precondition: &precondition,
                    digest: digest.as_deref(),
                    dir: None,
                    is_copy: false,
                };
                growing.commit(&commit).map(|change| self.changed(change))
            }
            (Op::Create(put), _) => match volume.names.create(&put)? {
                Created::Staged(staged) => {
                    Ok(without_syncs(Reply::Created(Growing::staged(staged, Arc::clone(volume)))))
                }
                Created::Same(change) => Ok(self.changed(*change)),
            },
            (Op::Flush { offset, len, .. }, Held::Staging(growing)) => {
                growing.flush(offset, len)?;
                Ok(plain(Outcome::Flushed))
            }
            (Op::List { key, recursive, after, limit, bytes_max, details, hides, .. }, _) => {
                let page_of = PageOf { after: after.as_deref(), limit, bytes_max, details, hides: hides.as_ref() };
                let list = if recursive { FileSystem::list_tree } else { FileSystem::list };
                let listing = list(&self.fs, key.as_str(), &page_of)?;
                Ok(plain(Outcome::Listed(listing)))
            }
            (Op::Open { key }, _) => {
                let (file, meta, source) = self.fs.open_file(key.as_str())?;
                Ok(without_syncs(Reply::Opened(file, meta, source)))
            }
            (Op::Run(whole), _) => self.run(volume, &whole),
            (Op::Warm { file, offset, len }, Held::Reading(open)) => {
                let end = open.warm(offset, len, scratch)?;
                Ok(without_syncs(Reply::Warmed(file, offset, end)))
            }
            (Op::Warm { .. }, Held::Cached(_)) => Ok(plain(Outcome::Warmed)),
            (op, held) => self.serve_resumable(volume, op, held),
        }
    }

    /// Commands that are done whole.
    fn run(&self, volume: &Volume, whole: &Whole) -> Served {
        match whole {
            Whole::Delete { is_recursive: true, .. } | Whole::Rename { replaces_dir: true, .. }
                if self.queues.len(WorkQueue::Free) >= REMOVALS_MAX =>
            {
                Err(StoreError::refused(Failure::Busy, "trash"))
            }
            Whole::Delete { key, expected_kind, is_recursive, precondition } => volume
                .names
                .delete((key, *is_recursive), *expected_kind, precondition)
                .map(|change| self.changed(change)),
            // Only WebDAV asks for these.
            Whole::Describe { .. } | Whole::EndLock { .. } | Whole::KeepLock { .. } | Whole::SetProperties { .. }
                if !cfg!(feature = "webdav") =>
            {
                Err(StoreError::refused(Failure::Internal, "properties"))
            }
            Whole::Describe { key } => {
                let entry = self.fs.describe(key)?;
                Ok(plain(Outcome::Answered(Answer::Described(Box::new(entry)))))
            }
            Whole::EndLock { key, token } => volume.names.end_lock(key, *token).map(|change| self.changed(change)),
            Whole::KeepLock { lock, rights, .. } => {
                volume.names.keep_lock(lock, rights).map(|change| self.changed(change))
            }
            Whole::MakeDir { key, parents } => volume.names.make_dir(key, *parents).map(|change| self.changed(change)),
            Whole::Rename { from, to, precondition, parents, replaces_dir, len_max } => volume
                .names
                .rename((from, to), (precondition, *replaces_dir), *parents, *len_max)
                .map(|change| self.changed(change)),
            Whole::SetProperties { key, mtime, changes } => {
                volume.names.set_kept(key, *mtime, changes).map(|change| self.changed(change))
            }
            Whole::SetTime { key, mtime } => {
                volume.names.set_kept(key, Some(*mtime), &[]).map(|change| self.changed(change))
            }
            Whole::Space { key, is_strict } => {
                let free = self.fs.free_bytes_at(key.as_str(), *is_strict)?;
                let quota = volume.names.quotas.usage(key)?;
                Ok(plain(Outcome::Answered(Answer::SpaceLeft { free, quota })))
            }
            Whole::Stat { key } => self.fs.stat(key.as_str()).map(|node| plain(Outcome::Answered(Answer::Found(node)))),
        }
    }

    /// Uploads that can be resumed.
    fn serve_resumable(&self, volume: &Arc<Volume>, op: Op, held: Held) -> Served {
        let uploads = &volume.resumable;
        match (op, held) {
            (Op::Checkpoint { offset, digest, .. }, Held::Staging(growing)) => {
                uploads.checkpoint(growing.need_part()?, offset, digest).map(|offset| plain(Outcome::Saved(offset)))
            }
            (Op::EndPart { end, .. }, Held::Staging(growing)) => {
                uploads.end_part(growing.need_part()?, end).map(|(outcome, syncs)| (Reply::Plain(outcome), syncs))
            }
            (Op::Join { offset, digest, .. }, Held::Staging(growing)) => {
                let joined = uploads.join(growing.need_part()?, offset, digest);
                joined.map(|(len, digest)| plain(Outcome::Joined { len, digest }))
            }
            (Op::FindUpload { id, permit, .. }, _) => {
                uploads.find_upload(id, &permit).map(|state| plain(Outcome::UploadFound(Box::new(state))))
            }
            (Op::OpenUpload { upload, len, client, permit }, _) => {
                let opened = uploads.open_upload(&upload, len, client, &permit);
                opened.map(|(opened, syncs)| (Reply::UploadOpened(Box::new(opened), Arc::clone(volume)), syncs))
            }
            (Op::RemoveUpload { id, permit }, _) => {
                let removed = uploads.remove_upload(id, &permit);
                removed.map(|(key, syncs)| (Reply::Plain(Outcome::UploadRemoved(key)), syncs))
            }
            _ => Err(no_such_file()),
        }
    }
}

fn chunk_of(op: Op) -> Option<Chunk> {
    match op {
        Op::Store { chunk, .. } | Op::Read { chunk, .. } | Op::Write { chunk, .. } => Some(chunk),
        _ => None,
    }
}

fn plain(outcome: Outcome) -> (Reply, PendingSyncs) {
    without_syncs(Reply::Plain(outcome))
}

fn without_syncs(reply: Reply) -> (Reply, PendingSyncs) {
    (reply, PendingSyncs::default())
}
