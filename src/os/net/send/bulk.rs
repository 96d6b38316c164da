//! The ways in which the bytes of a large file get into the kernel.

use std::sync::{Arc, Weak};

use super::super::tls::TlsSession;
use crate::config::Limits;

/// Connections in bulk mode at once; so what they may pin in the kernel is bounded too.
const BULK_MAX: usize = 64;

#[derive(Debug)]
pub(in super::super) enum SendMode {
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
    Tls(Box<Encrypted>),
}

const _: () = assert!(size_of::<SendMode>() <= 16, "TLS costs plain connections nothing");

/// An encrypted connection.
#[derive(Debug)]
pub(in super::super) struct Encrypted {
    pub session: TlsSession,
    pub unsent: Unsent,
}

/// How much of an encrypted connection may wait in the kernel.
#[derive(Debug)]
pub(in super::super) enum Unsent {
    /// As of any other; it may enter bulk mode.
    Normal(Weak<BulkSenders>),
    Bulk(Arc<BulkSenders>),
}

/// Bulk mode: a few connections that send a large file may have more bytes in the kernel than
/// `Limits::unsent_bytes_max`. Where it is sent straight from the page cache, only full packets leave until
/// `TcpConnection::push`: without that, every acknowledgement that comes meanwhile sends what there is, a quarter more
/// packets. Each of them holds a clone of the `Arc`.
#[derive(Debug)]
pub struct BulkSenders {
    /// What a connection gets back that leaves the mode.
    pub(in super::super) unsent_bytes: u32,
}

impl BulkSenders {
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { unsent_bytes: u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX) })
    }

    pub fn is_full(senders: &Arc<Self>) -> bool {
        Arc::strong_count(senders) > BULK_MAX
    }

    /// True where no more encrypted connections may enter: `slow_readers` does not watch these, and one may hold its
    /// place for as long as its file takes.
    #[cfg(target_os = "linux")]
    pub(in super::super) fn is_full_for_encrypted(senders: &Arc<Self>) -> bool {
        Arc::strong_count(senders) > BULK_MAX / 2
    }
}

/// Each connection that `slow_readers` watches holds a clone of its `Arc`.
#[derive(Debug)]
pub(in super::super) struct SlowReader;
