//! What the store does once per turn and by time: trying a failed disk again, passes over unfinished uploads, counts of
//! quotas, and looks at the root. Only begins jobs; workers do them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Quota;
use crate::platform::Store as _;
use crate::store::pool::jobs::{Held, Job};
use crate::store::pool::workers::WorkQueue;
use crate::store::take_overs::Wanted;
use crate::store::{DiskStore, Turn};

/// Time between two tries whether uploads can be stored again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at the path of the root, and at what other servers of the directory have left.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same while one may want an upload that is attached here, where a look takes microseconds.
const LOOK_INTERVAL_LOCAL: Duration = Duration::from_millis(100);
/// Time between two looks whether a count for a quota is due.
const COUNT_INTERVAL_MIN: Duration = Duration::from_secs(1);

impl DiskStore {
    /// Called once per turn, before anything else of the turn: what
    /// [`is_lagging`](Store::is_lagging) says changes only here.
    pub fn refresh(&mut self, now: Instant) {
        self.received();
        // While something is being synced, a write from the loop may have to wait behind the
        // journal of the file system: then it is the workers' business.
        let syncs = self.fs.durable && self.pool.syncing.load(Ordering::Relaxed) > 0;
        let is_remote = !self.fs.caps.inline || self.pool.mounted.are_remote();
        let lagging = syncs || is_remote || self.pool.latency.is_slow(now);
        self.turn = Turn { now, lagging, waits: None };
        if self.fs.health.is_failing() && now >= self.probe_at {
            self.probe_at = now + PROBE_INTERVAL;
            if self.fs.health.begin_probe() {
                self.pool.queues.push(WorkQueue::Io, Job::Probe);
            }
        }
        if now >= self.pass_at {
            self.begin_pass(now);
        }
        if self.pool.volume.names.quotas.is_used() && now >= self.count_at {
            self.begin_count(now);
        }
        while let Some((id, Wanted { op, client, .. })) = self.take_overs.pop_due(now) {
            self.queue((id, client), op, Held::None, None);
        }
        if now >= self.look_at {
            let is_soon = self.fs.caps.inline && self.pool.volume.resumable.is_attached.load(Ordering::Relaxed);
            self.look_at = now + if is_soon { LOOK_INTERVAL_LOCAL } else { LOOK_INTERVAL };
            // What takes the place of the root is opened by a look that begins after this.
            if let Some(cache) = self.cache.as_mut().filter(|_| self.fs.health.is_gone()) {
                cache.clear();
            }
            if !self.pool.is_looking.swap(true, Ordering::Acquire) {
                self.pool.queues.push(WorkQueue::Io, Job::Look);
            }
        }
    }

    /// When [`refresh`](DiskStore::refresh) is to be called even if nothing happens.
    pub fn refresh_at(&self) -> Option<Instant> {
        let pass = self.pool.volume.resumable.is_used.load(Ordering::Relaxed).then_some(self.pass_at);
        let count = self.pool.volume.names.quotas.is_used().then_some(self.count_at);
        [pass, count, Some(self.look_at), self.take_overs.next_at()].into_iter().flatten().min()
    }

    /// These quotas hold from now on.
    pub fn set_quotas(&mut self, quotas: &[Quota]) {
        let volume = &self.pool.volume;
        if volume.stage_dirs().is_some() && (volume.names.quotas.is_used() || !quotas.is_empty()) {
            volume.names.quotas.set(quotas, self.turn.now);
            self.count_at = self.turn.now;
            // What unfinished uploads take of new ones is found out at once.
            self.pass_at = self.turn.now;
        }
    }

    /// Has what is stored under a prefix counted, if that is due.
    fn begin_count(&mut self, now: Instant) {
        let books = self.pool.volume.names.quotas.books();
        let due = books.due().unwrap_or(now);
        drop(books);
        if due <= now {
            self.pool.queues.push(WorkQueue::List, Job::Count(None));
        }
        self.count_at = due.max(now + COUNT_INTERVAL_MIN);
    }

    /// Has the uploads that are kept looked through, unless that is under way.
    fn begin_pass(&mut self, now: Instant) {
        let uploads = &self.pool.volume.resumable;
        self.pass_at = now + uploads.pass_interval;
        let wanted = uploads.is_used.load(Ordering::Relaxed) || self.fs.is_shared();
        if self.fs.sharing.is_superseded() {
            return;
        }
        if wanted && !uploads.is_passing.swap(true, Ordering::Relaxed) {
            self.pool.expire(Arc::clone(&self.pool.volume), None);
        }
        for (_, volume) in self.pool.mounted.all() {
            if !volume.resumable.is_passing.swap(true, Ordering::Relaxed) {
                self.pool.expire(volume, None);
            }
        }
    }
}
