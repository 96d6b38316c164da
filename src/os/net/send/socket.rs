//! A socket, and the way in which large files are sent to it.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Weak};

use mio::net::TcpStream;

use super::super::tls::TlsSession;
use crate::ids::ConnId;

/// The ways in which the bytes of a large file get into the kernel.
#[derive(Debug)]
pub(crate) enum SendMode {
    /// As any other; nothing is known of the reader.
    Untested,
    /// As any other: the reader was found not to be slow.
    Normal,
    /// Many bytes at a time.
    Bulk(Arc<BulkSenders>),
    /// The reader is slow, and the socket full: `slow_readers` tells when it takes bytes again.
    Slow(#[expect(dead_code, reason = "held to be counted")] Arc<SlowReader>),
    /// The reader is slow, and nothing is to be sent to it: `slow_readers` need not watch it.
    SlowIdle(Weak<SlowReader>),
    /// Encrypted, for as long as the connection lasts.
    Tls(Box<TlsSession>),
}

const _: () = assert!(size_of::<SendMode>() <= 16, "TLS costs plain connections nothing");

/// Bulk mode: a few connections that send a large file may have more bytes in the kernel than
/// `Limits::unsent_bytes_max`. Where it is sent straight from the page cache, only full packets leave until
/// [`Socket::push`]: without that, every acknowledgement that comes meanwhile sends what there is, a quarter more
/// packets. Each of them holds a clone of the `Arc`.
#[derive(Debug)]
pub(crate) struct BulkSenders {
    /// What a connection gets back that leaves the mode.
    pub(super) unsent_bytes: u32,
}

/// Each connection that `slow_readers` watches holds a clone of its `Arc`.
#[derive(Debug)]
pub(crate) struct SlowReader;

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    /// When a file filled it last, by the clock of `SlowReaders`; 0 if none did.
    pub(super) filled_at_ms: u32,
    pub(crate) mode: SendMode,
    /// As events name it, once it is registered.
    pub(super) id: ConnId,
}

/// No connection has this slot.
pub(super) const UNREGISTERED: ConnId = ConnId::new(u32::MAX, 0);

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, filled_at_ms: 0, mode: SendMode::Untested, id: UNREGISTERED }
    }

    /// It is full: a slow reader is watched again.
    pub(crate) fn blocked(&mut self) {
        if let SendMode::SlowIdle(reader) = &self.mode
            && let Some(reader) = reader.upgrade()
        {
            self.mode = SendMode::Slow(reader);
        }
    }

    /// As events name it, if it is registered.
    pub(super) fn registered_as(&self) -> Option<ConnId> {
        (self.id != UNREGISTERED).then_some(self.id)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
