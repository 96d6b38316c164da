//! Sends from a file that took less than was asked for: the socket is full, unless the file was truncated or a signal
//! came, and stopping or suspending a process is one. A connection with room in its socket must not wait for its
//! event, which would never come.
//!
//! Instead of another send after each of them, there is one call after a turn that asks for all of them.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::ids::ConnId;
use crate::os::sys;

/// Those since the sockets were looked at; at most one of each connection. One that was closed meanwhile does no
/// harm: events of its id find nothing.
#[derive(Debug, Default)]
pub(crate) struct PartialSends {
    connections: Vec<ConnId>,
    sockets: Vec<libc::pollfd>,
}

impl PartialSends {
    /// A send of a connection took less than was asked for.
    pub(crate) fn note(&mut self, socket: BorrowedFd<'_>, conn: ConnId) {
        self.connections.push(conn);
        self.sockets.push(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 });
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Calls `has_room` for each connection that may send more.
    pub(crate) fn look(&mut self, mut has_room: impl FnMut(ConnId)) {
        if self.connections.is_empty() {
            return;
        }
        let known = sys::poll_now(&mut self.sockets);
        for (conn, socket) in self.connections.drain(..).zip(self.sockets.drain(..)) {
            if !known || socket.revents != 0 {
                has_room(conn);
            }
        }
    }
}
