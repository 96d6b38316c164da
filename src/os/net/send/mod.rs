//! How large files are sent over a connection.
//!
//! | module | what |
//! |---|---|
//! | `socket` | a socket, and its way of sending |
//! | `file` | `sendfile`, or copies |
//! | `bulk` | a few connections may hold more of a file in the kernel |
//! | `slow_readers` | sockets that take bytes slowly are looked at together |
//! | `partial_sends` | sends that took less than was asked for |

mod bulk;
pub(crate) mod file;
pub(crate) mod partial_sends;
mod slow_readers;
mod socket;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;

use self::partial_sends::PartialSends;
use self::slow_readers::SlowReaders;
use crate::config::Fixed;
use crate::ids::ConnId;
use crate::platform::{Event, SendFile};

pub(crate) use self::file::{FileContent, Ready};
pub(crate) use self::socket::{BulkSenders, SendMode, Socket};

/// What the connections of a server share that send files.
#[derive(Debug)]
pub(crate) struct Sending {
    bulk: Arc<BulkSenders>,
    slow: SlowReaders,
    partial: PartialSends,
}

impl Sending {
    pub(crate) fn new(limits: &Fixed, now: Instant) -> io::Result<Self> {
        let (bulk, slow) = (BulkSenders::new(limits), SlowReaders::new(now)?);
        Ok(Self { bulk, slow, partial: PartialSends::default() })
    }

    /// When a socket may have room though no event comes.
    pub(crate) fn due(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.partial.is_empty() { self.slow.deadline() } else { Some(now()) }
    }

    /// Before each wait: reports the sockets of sends that ended early and that are not full.
    pub(crate) fn look_at_partial(&mut self, events: &mut Vec<Event>) {
        self.partial.look(|id| events.push(Event::writable(id)));
    }

    /// After each wait: reports the slow readers that take bytes again, if it is time.
    pub(crate) fn look_at_slow(&mut self, now: Instant, events: &mut Vec<Event>) -> io::Result<()> {
        self.slow.look(now, events)
    }

    /// Registers a connection with `main`, or as a slow reader.
    pub(crate) fn register(&self, socket: &mut Socket, id: ConnId, main: &Registry) -> io::Result<()> {
        self.slow.register(socket, id, BulkSenders::is_full(&self.bulk), main)
    }

    /// Sends a part of a file, of which `more` is to follow or not.
    pub(crate) fn send_file(
        &mut self,
        socket: &mut Socket,
        content: &mut impl FileContent,
        (offset, len): (u64, usize),
        more: bool,
        main: &Registry,
    ) -> io::Result<SendFile> {
        socket.use_bulk_mode(&self.bulk, len);
        let id = socket.registered_as();
        let sent = file::send_file(socket.fd(), content, offset, len, id.is_some()).inspect_err(|error| {
            if error.kind() == ErrorKind::WouldBlock {
                socket.blocked();
            }
        })?;
        match sent {
            SendFile::SentUntilFull(_) => {
                if let Some(id) = id {
                    self.partial.note(socket.fd(), id);
                }
                self.slow.socket_filled(socket, BulkSenders::is_full(&self.bulk), main);
            }
            SendFile::Sent(n) if more || n < len => {}
            // Nothing follows at once: this was the end, or a disk is waited for.
            SendFile::Sent(_) | SendFile::Cold | SendFile::Truncated => {
                socket.push();
                self.slow.file_sent(socket);
            }
        }
        Ok(sent)
    }
}
