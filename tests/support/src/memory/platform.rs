//! The server's view of the world: the ports of the product, answered by the simulation.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filewharf::access::ClientCertificate;
use filewharf::ids::{ConnId, FileId, ListenerId};
use filewharf::platform::{AcceptError, Counters, Event, Platform, ReadNow, Rules, SendFile, Store, Stream};

use crate::memory::disk::MemStore;
use crate::memory::net::LinkId;
use crate::memory::{Parts, STARTED_S, World};

pub struct MemPlatform<W> {
    world: Rc<RefCell<W>>,
    store: MemStore<W>,
}

/// The server's end of one connection.
pub struct MemStream<W: World> {
    world: Rc<RefCell<W>>,
    link: LinkId,
    resets: bool,
}

impl<W> MemPlatform<W> {
    pub fn new(world: &Rc<RefCell<W>>) -> Self {
        Self { world: Rc::clone(world), store: MemStore::new(Rc::clone(world)) }
    }
}

impl<W: World> Stream for MemStream<W> {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let Parts { net, rng, faults, trace, now_us, .. } = world.parts();
        if rng.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let result = net.recv(self.link, buf, rng, faults.partial);
        trace.note(now_us, "recv", &[self.link, result.as_ref().map_or(u64::MAX, |n| *n as u64)]);
        result
    }

    fn receive_buffer_min(&self) -> usize {
        self.world.borrow_mut().parts().net.window()
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let Parts { net, rng, faults, trace, now_us, .. } = world.parts();
        if rng.chance(faults.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let result = net.send(self.link, bufs, more, rng, faults.partial);
        trace.note(now_us, "send", &[self.link, result.as_ref().map_or(u64::MAX, |n| *n as u64)]);
        result
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let Parts { net, trace, now_us, .. } = world.parts();
        trace.note(now_us, "shutdown", &[self.link]);
        net.shutdown_write(self.link)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.world.borrow_mut().parts().net.unacknowledged(self.link))
    }

    fn reset_on_drop(&mut self) {
        self.resets = true;
    }

    fn peer_certificate(&self) -> Option<ClientCertificate> {
        self.world.borrow_mut().parts().net.links.get(&self.link)?.probe.certificate
    }
}

impl<W: World> Drop for MemStream<W> {
    fn drop(&mut self) {
        // A check that failed in the middle of a turn must stay the one that is reported.
        let Ok(mut world) = self.world.try_borrow_mut() else { return };
        let Parts { net, rng, trace, now_us, .. } = world.parts();
        trace.note(now_us, "drop", &[self.link, u64::from(self.resets)]);
        net.drop_served(self.link, self.resets, rng);
    }
}

impl<W: World> Platform for MemPlatform<W> {
    type Stream = MemStream<W>;
    type Store = MemStore<W>;

    fn wall_clock_ms(&self) -> u64 {
        STARTED_S * 1000 + self.world.borrow_mut().parts().now_us / 1000
    }

    fn now(&self) -> Instant {
        self.world.borrow().now()
    }

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.world.borrow_mut().wait(timeout, events);
        Ok(())
    }

    fn accept(&mut self, listener: ListenerId) -> Result<(MemStream<W>, SocketAddr), AcceptError> {
        let mut world = self.world.borrow_mut();
        let Parts { net, rng, faults, shape, trace, now_us, .. } = world.parts();
        let place = usize::from(listener.0);
        if net.is_waiting(place) && net.accepted() >= shape.descriptors {
            trace.note(now_us, "exhausted", &[]);
            return Err(AcceptError::Exhausted(io::Error::other("too many open files")));
        }
        let Some(link) = net.accept(place) else { return Err(AcceptError::Empty) };
        trace.note(now_us, "accept", &[link]);
        if rng.chance(faults.accept_gone) {
            net.drop_served(link, true, rng);
            return Err(AcceptError::Gone(ErrorKind::ConnectionAborted.into()));
        }
        let address = net.address(link);
        Ok((MemStream { world: Rc::clone(&self.world), link, resets: false }, address))
    }

    fn take_rules(&mut self) -> Option<Arc<Rules>> {
        self.world.borrow_mut().take_rules()
    }

    fn shed(&mut self, listener: ListenerId) -> bool {
        let mut world = self.world.borrow_mut();
        if world.refuses_shed() {
            return false;
        }
        let Parts { net, rng, .. } = world.parts();
        match net.accept(usize::from(listener.0)) {
            Some(link) => {
                net.drop_served(link, true, rng);
                true
            }
            None => false,
        }
    }

    fn register(&mut self, stream: &mut MemStream<W>, id: ConnId) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let Parts { net, rng, faults, .. } = world.parts();
        if rng.chance(faults.register_fails) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        net.register(stream.link, id);
        Ok(())
    }

    fn close_listeners(&mut self) {
        let mut world = self.world.borrow_mut();
        let Parts { net, rng, .. } = world.parts();
        net.close_listeners(rng);
    }

    fn send_file(
        &mut self,
        stream: &mut MemStream<W>,
        file: FileId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> io::Result<SendFile> {
        let most = self.world.borrow_mut().parts().shape.send_file_max;
        let mut buf = vec![0; len.min(most)];
        match self.store.read_now(file, offset, &mut buf) {
            Ok(ReadNow::Cold) => Ok(SendFile::Cold),
            Ok(ReadNow::Bytes(0)) => Ok(SendFile::Truncated),
            Ok(ReadNow::Bytes(n)) => {
                let sent = stream.send(&[&buf[..n]], more)?;
                let mut world = self.world.borrow_mut();
                let Parts { net, rng, .. } = world.parts();
                // A kernel may say so, and need not.
                let is_full = sent < n && rng.chance(500) && net.is_full(stream.link);
                Ok(if is_full { SendFile::SentUntilFull(sent) } else { SendFile::Sent(sent) })
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    fn store(&mut self) -> &mut MemStore<W> {
        &mut self.store
    }

    fn publish(&mut self, _: &Counters) {}
}
