//! A socket of the platform in memory: two byte queues, and what both ends have done to them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use filewharf::platform::Stream;

use super::store::ByOthers;

/// One connection, as both ends see it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) to_server: VecDeque<u8>,
    pub(super) client_done: bool,
    pub(super) to_client: Vec<u8>,
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) unread: usize,
    pub(super) server_done: bool,
    pub(super) dropped: bool,
    pub(super) reset: bool,
    /// What was sent last was said to be followed by more: the kernel keeps it back for that.
    pub(super) held_back: bool,
    /// So many calls are interrupted by a signal before one goes through.
    pub(super) interruptions: u32,
    /// The network is gone.
    pub(super) broken: bool,
    /// Bytes that were sent and that the client's side has not acknowledged.
    pub(super) unacknowledged: usize,
    /// What others do just before the last byte that is there now is received.
    pub(super) meanwhile: Option<(ByOthers, String, Vec<u8>)>,
}

pub struct MemStream {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) window: usize,
}

impl Wire {
    fn interrupt(&mut self) -> io::Result<()> {
        let Some(left) = self.interruptions.checked_sub(1) else { return Ok(()) };
        self.interruptions = left;
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl Stream for MemStream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        wire.interrupt()?;
        if wire.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.to_server.is_empty() {
            return if wire.client_done { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(wire.to_server.len());
        if n == wire.to_server.len()
            && let Some((by_others, name, bytes)) = wire.meanwhile.take()
        {
            by_others.borrow_mut().push((name, bytes));
        }
        for (place, byte) in buf.iter_mut().zip(wire.to_server.drain(..n)) {
            *place = byte;
        }
        Ok(n)
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        wire.interrupt()?;
        assert!(!wire.server_done, "sent after the half was closed");
        let room = self.window.saturating_sub(wire.unread);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(room).collect();
        assert!(!bytes.is_empty(), "an empty send");
        wire.unread += bytes.len();
        wire.to_client.extend_from_slice(&bytes);
        let n = bytes.len();
        wire.packets.push(bytes);
        wire.held_back = more;
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wire.borrow_mut().server_done = true;
        Ok(())
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        Ok(self.wire.borrow().unacknowledged)
    }

    fn reset_on_drop(&mut self) {
        self.wire.borrow_mut().reset = true;
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().dropped = true;
    }
}
