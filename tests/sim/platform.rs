//! The server's view of the world: the ports of the product, answered by the simulation.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use filewharf::ids::{ConnId, FileId, ListenerId};
use filewharf::platform::{AcceptError, Counters, Event, Platform, ReadNow, SendFile, Store, Stream};

use crate::disk::SimStore;
use crate::net::LinkId;
use crate::world::World;

/// Read at once for `send_file`.
const SEND_LEN_MAX: usize = 4096;

pub struct SimPlatform {
    world: Rc<RefCell<World>>,
    store: SimStore,
}

/// The server's end of one connection.
pub struct SimStream {
    world: Rc<RefCell<World>>,
    link: LinkId,
    resets: bool,
}

impl SimPlatform {
    pub fn new(world: &Rc<RefCell<World>>) -> Self {
        Self { world: Rc::clone(world), store: SimStore::new(Rc::clone(world)) }
    }
}

impl Stream for SimStream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let World { net, rng, faults, trace, now_us, .. } = &mut *world;
        if rng.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let result = net.recv(self.link, buf, rng, faults.partial);
        trace.note(*now_us, "recv", &[self.link, result.as_ref().map_or(u64::MAX, |n| *n as u64)]);
        result
    }

    fn send(&mut self, bufs: &[&[u8]], _more: bool) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let World { net, rng, faults, trace, now_us, .. } = &mut *world;
        if rng.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let result = net.send(self.link, bufs, rng, faults.partial);
        trace.note(*now_us, "send", &[self.link, result.as_ref().map_or(u64::MAX, |n| *n as u64)]);
        result
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let now_us = world.now_us;
        world.trace.note(now_us, "shutdown", &[self.link]);
        world.net.shutdown_write(self.link)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.world.borrow().net.unacknowledged(self.link))
    }

    fn reset_on_drop(&mut self) {
        self.resets = true;
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // A check that failed in the middle of a turn must stay the one that is reported.
        let Ok(mut world) = self.world.try_borrow_mut() else { return };
        let World { net, rng, trace, now_us, .. } = &mut *world;
        trace.note(*now_us, "drop", &[self.link, u64::from(self.resets)]);
        net.drop_served(self.link, self.resets, rng);
    }
}

impl Platform for SimPlatform {
    type Stream = SimStream;
    type Store = SimStore;

    fn wall_clock_s(&self) -> u64 {
        1_700_000_000 + self.world.borrow().now_us / 1_000_000
    }

    fn now(&self) -> Instant {
        let world = self.world.borrow();
        world.base + Duration::from_micros(world.now_us)
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX / 2));
        self.world.borrow_mut().wait(timeout, events);
        Ok(())
    }

    fn accept(&mut self, listener: ListenerId) -> Result<(SimStream, SocketAddr), AcceptError> {
        let mut world = self.world.borrow_mut();
        let World { net, rng, faults, shape, trace, now_us, .. } = &mut *world;
        let place = usize::from(listener.0);
        if net.is_waiting(place) && net.accepted() >= shape.descriptors {
            trace.note(*now_us, "exhausted", &[]);
            return Err(AcceptError::Exhausted(io::Error::other("too many open files")));
        }
        let Some(link) = net.accept(place) else { return Err(AcceptError::Empty) };
        trace.note(*now_us, "accept", &[link]);
        if rng.chance(faults.accept_gone) {
            net.drop_served(link, true, rng);
            return Err(AcceptError::Gone(ErrorKind::ConnectionAborted.into()));
        }
        let address = net.address(link);
        Ok((SimStream { world: Rc::clone(&self.world), link, resets: false }, address))
    }

    fn shed(&mut self, listener: ListenerId) -> bool {
        let mut world = self.world.borrow_mut();
        let World { net, rng, .. } = &mut *world;
        match net.accept(usize::from(listener.0)) {
            Some(link) => {
                net.drop_served(link, true, rng);
                true
            }
            None => false,
        }
    }

    fn register(&mut self, stream: &mut SimStream, id: ConnId) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let World { net, rng, faults, .. } = &mut *world;
        if rng.chance(faults.register_fails) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        net.register(stream.link, id);
        Ok(())
    }

    fn close_listeners(&mut self) {
        let mut world = self.world.borrow_mut();
        let World { net, rng, .. } = &mut *world;
        net.close_listeners(rng);
    }

    fn send_file(
        &mut self,
        stream: &mut SimStream,
        file: FileId,
        offset: u64,
        len: usize,
        _more: bool,
    ) -> io::Result<SendFile> {
        let mut buf = vec![0; len.min(SEND_LEN_MAX)];
        match self.store.read_now(file, offset, &mut buf) {
            Ok(ReadNow::Cold) => Ok(SendFile::Cold),
            Ok(ReadNow::Bytes(0)) => Ok(SendFile::Truncated),
            Ok(ReadNow::Bytes(n)) => {
                let sent = stream.send(&[&buf[..n]], false)?;
                let World { net, rng, .. } = &mut *self.world.borrow_mut();
                // A kernel may say so, and need not.
                let is_full = sent < n && rng.chance(500) && net.is_full(stream.link);
                Ok(if is_full { SendFile::SentUntilFull(sent) } else { SendFile::Sent(sent) })
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    fn store(&mut self) -> &mut SimStore {
        &mut self.store
    }

    fn publish(&mut self, _: &Counters) {}
}
