//! The store as the server sees it: queues operations, hands out completions. What they do is in
//! `jobs`; when each step of them happens is decided by the world.

use std::cell::RefCell;
use std::rc::Rc;

use filewharf::dav_locks::{DavLock, LockToken, Shown};
use filewharf::error::StoreError;
use filewharf::ids::{FileId, GroupId, OpId};
use filewharf::platform::{Completion, Health, Op, Queued, ReadNow, Store};
use filewharf::upload::UploadId;

use super::jobs::{Disk, Job, Stepped};
use crate::memory::{Parts, World};
use crate::rig::STARTED_S;

/// The server's end of the disk.
pub struct MemStore<W> {
    world: Rc<RefCell<W>>,
}

impl<W> MemStore<W> {
    pub const fn new(world: Rc<RefCell<W>>) -> Self {
        Self { world }
    }
}

impl<W: World> MemStore<W> {
    fn queue(&self, id: OpId, client: Option<GroupId>, begin: impl FnOnce(&mut Disk, u64) -> Job) {
        let mut world = self.world.borrow_mut();
        let Parts { disk, trace, now_us, .. } = world.parts();
        disk.queued_of = client;
        let job = begin(disk, STARTED_S + now_us / 1_000_000);
        trace.note(now_us, "submit", &[id.conn.to_token() as u64, job.code()]);
        let number = disk.park(job);
        world.submitted(number);
    }
}

impl<W: World> Store for MemStore<W> {
    fn queued(&self) -> Queued {
        Queued { in_flight: self.world.borrow_mut().parts().disk.done.len() as u64, ..Queued::default() }
    }

    fn try_now(&mut self, id: OpId, op: Op) -> Result<Completion, Op> {
        let mut world = self.world.borrow_mut();
        if let Some(cached) = world.cached(id, &op) {
            return Ok(cached);
        }
        if !world.serves_now(&op) {
            return Err(op);
        }
        let Parts { disk, rng, faults, shape, trace, now_us, .. } = world.parts();
        let mut job = disk.begin(id, op);
        trace.note(now_us, "now", &[id.conn.to_token() as u64, job.code()]);
        loop {
            match disk.step(job, rng, faults, shape) {
                Stepped::Again(next) => job = next,
                Stepped::Done(done) => return Ok(done),
            }
        }
    }

    fn submit(&mut self, id: OpId, client: Option<GroupId>, op: Op) {
        self.queue(id, client, |disk, _| disk.begin(id, op));
    }

    /// The locks are those that this process granted before it handed over.
    fn submit_unlocked(&mut self, id: OpId, client: Option<GroupId>, op: Op, shown: Shown) {
        self.queue(id, client, |disk, now_s| match shown.check(disk.kept_locks(now_s)) {
            Ok(()) => disk.begin(id, op),
            Err(failure) => disk.refuse(id, op, failure),
        });
    }

    /// No other process wants one here.
    fn next_wanted(&mut self) -> Option<UploadId> {
        None
    }

    fn set_superseded(&mut self, _is_superseded: bool) {}

    fn next_completion(&mut self) -> Option<Completion> {
        let mut world = self.world.borrow_mut();
        let disk = world.parts().disk;
        if disk.reversed { disk.done.pop_back() } else { disk.done.pop_front() }
    }

    fn kept_locks(&mut self, now_s: u64) -> Option<Vec<DavLock>> {
        Some(self.world.borrow_mut().parts().disk.kept_locks(now_s))
    }

    fn forget_locks(&mut self, tokens: &[LockToken]) {
        self.world.borrow_mut().parts().disk.forget_locks(tokens);
    }

    fn received(&mut self) {
        self.world.borrow_mut().received();
    }

    fn is_lagging(&self) -> bool {
        self.world.borrow_mut().parts().disk.lagging
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut world = self.world.borrow_mut();
        let Parts { disk, rng, faults, trace, now_us, .. } = world.parts();
        trace.note(now_us, "write", &[file.0, offset, bytes.len() as u64]);
        disk.write_now(file, offset, bytes, rng, faults)
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        let mut world = self.world.borrow_mut();
        let Parts { disk, rng, faults, trace, now_us, .. } = world.parts();
        trace.note(now_us, "read", &[file.0, offset, buf.len() as u64]);
        disk.read_now(file, offset, buf, rng, faults)
    }

    /// No other program changes files here.
    fn check_version(&self, _file: FileId) -> Result<(), StoreError> {
        Ok(())
    }

    fn flush_window(&self) -> Option<u64> {
        self.world.borrow_mut().parts().shape.flush_window
    }

    fn health(&self) -> Health {
        self.world.borrow_mut().parts().disk.health()
    }
}
