//! The store as the server sees it: queues operations, hands out completions. What they do is in
//! `jobs`; when each step of them happens is decided by the world.

use std::cell::RefCell;
use std::rc::Rc;

use filewharf::error::StoreError;
use filewharf::ids::{ConnId, FileId};
use filewharf::object::Durability;
use filewharf::platform::{Completion, Health, Op, Queued, ReadNow, Store};

use super::jobs::{Job, Stepped};
use crate::world::{Item, World};

/// The server's end of the disk.
pub struct SimStore {
    world: Rc<RefCell<World>>,
}

impl SimStore {
    pub const fn new(world: Rc<RefCell<World>>) -> Self {
        Self { world }
    }

    /// May this operation be served on the loop?
    fn now(world: &mut World, op: &Op) -> bool {
        match op {
            Op::Close { .. } => true,
            Op::Open { .. } | Op::Stat { .. } => world.rng.chance(500),
            Op::Create(_) | Op::Delete { .. } | Op::MakeDir { .. } | Op::Rename { .. } | Op::Store { .. } => {
                world.shape.durability == Durability::Written && !world.disk.lagging && world.rng.chance(500)
            }
            Op::Commit { prepend, .. } => {
                prepend.is_empty()
                    && world.shape.durability == Durability::Written
                    && !world.disk.lagging
                    && world.rng.chance(500)
            }
            _ => false,
        }
    }
}

impl Store for SimStore {
    /// What is parked has no lanes here.
    fn queued(&self) -> Queued {
        Queued::default()
    }

    fn try_now(&mut self, conn: ConnId, op: Op) -> Result<Completion, Op> {
        let mut world = self.world.borrow_mut();
        if !Self::now(&mut world, &op) {
            return Err(op);
        }
        let World { disk, rng, faults, shape, trace, now_us, .. } = &mut *world;
        let mut job = disk.begin(conn, op);
        trace.note(*now_us, "now", &[conn.to_token() as u64, job.code()]);
        loop {
            match disk.step(job, rng, faults, shape) {
                Stepped::Again(next) => job = next,
                Stepped::Done(done) => return Ok(done),
            }
        }
    }

    fn submit(&mut self, conn: ConnId, op: Op) {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let job: Job = world.disk.begin(conn, op);
        world.trace.note(world.now_us, "submit", &[conn.to_token() as u64, job.code()]);
        let number = world.disk.park(job);
        let delay = world.disk_delay();
        world.at(delay, Item::Disk(number));
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.world.borrow_mut().disk.done.pop_front()
    }

    fn received(&mut self) {}

    fn is_lagging(&self) -> bool {
        self.world.borrow().disk.lagging
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut world = self.world.borrow_mut();
        let World { disk, rng, faults, trace, now_us, .. } = &mut *world;
        trace.note(*now_us, "write", &[file.0, offset, bytes.len() as u64]);
        disk.write_now(file, offset, bytes, rng, faults)
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        let mut world = self.world.borrow_mut();
        let World { disk, rng, faults, trace, now_us, .. } = &mut *world;
        trace.note(*now_us, "read", &[file.0, offset, buf.len() as u64]);
        disk.read_now(file, offset, buf, rng, faults)
    }

    fn flush_window(&self) -> Option<u64> {
        self.world.borrow().shape.flush_window
    }

    fn health(&self) -> Health {
        if self.world.borrow().disk.degraded { Health::Degraded } else { Health::Good }
    }
}
