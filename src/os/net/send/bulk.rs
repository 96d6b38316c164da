//! Bulk mode: a socket that takes a large file may hold more of it in the kernel. Not for encrypted connections, which
//! gain 2 % by it.

use std::sync::Arc;

use socket2::SockRef;

use super::socket::{BulkSenders, SendMode, Socket};
use crate::config::Fixed;

/// Connections in bulk mode at once; so what they may pin in the kernel is bounded too.
const BULK_MAX: usize = 64;
/// Bytes the kernel takes ahead for a connection in bulk mode: as many as it has space for by default. With half of
/// that, 64 fast readers cost a tenth more.
#[cfg(target_os = "linux")]
const BULK_UNSENT_BYTES: u32 = 4 * 1024 * 1024;
/// What is to be sent at once before bulk mode is worth its calls.
#[cfg(target_os = "linux")]
const BULK_LEN_MIN: usize = 256 * 1024;

impl BulkSenders {
    pub(super) fn new(limits: &Fixed) -> Arc<Self> {
        Arc::new(Self { unsent_bytes: u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX) })
    }

    pub(super) fn is_full(senders: &Arc<Self>) -> bool {
        Arc::strong_count(senders) > BULK_MAX
    }
}

impl Socket {
    /// To be called before `len` bytes of a file are sent: enters bulk mode if that helps and not too many have.
    #[cfg(target_os = "linux")]
    pub(super) fn use_bulk_mode(&mut self, senders: &Arc<BulkSenders>, len: usize) {
        if matches!(self.mode, SendMode::Untested | SendMode::Normal)
            && len >= BULK_LEN_MIN
            && (1..BULK_UNSENT_BYTES).contains(&senders.unsent_bytes)
            && !BulkSenders::is_full(senders)
            && SockRef::from(&self.stream).set_tcp_notsent_lowat(BULK_UNSENT_BYTES).is_ok()
        {
            self.mode = SendMode::Bulk(Arc::clone(senders));
            // Without it there are only more packets.
            let _ = SockRef::from(&self.stream).set_tcp_cork(true);
        }
    }

    /// Only Linux takes so few bytes ahead that it matters.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn use_bulk_mode(&mut self, _senders: &Arc<BulkSenders>, _len: usize) {}

    /// Sends the last packet of a file, which is not full, where nothing follows it.
    pub(super) fn push(&self) {
        if let SendMode::Bulk(_) = self.mode {
            // Set again, it sends what is held back (tcp(7)), in one call instead of two.
            let _ = SockRef::from(&self.stream).set_tcp_nodelay(true);
        }
    }

    /// The file is sent: what follows gains nothing from bulk mode.
    pub(crate) fn leave_bulk_mode(&mut self) {
        #[cfg(target_os = "linux")]
        if let SendMode::Bulk(senders) = &self.mode {
            let socket = SockRef::from(&self.stream);
            // If they fail, the connection is over, and the next call says so.
            let _ = socket.set_tcp_cork(false);
            let _ = socket.set_tcp_notsent_lowat(senders.unsent_bytes);
            self.mode = SendMode::Normal;
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::super::super::connection::TcpConnection;
    use super::super::super::listener::accept;
    use super::super::super::testing::{client_of, listener, wait_for_next};
    use super::*;
    use crate::config::Fixed;
    use crate::platform::Stream as _;

    #[test]
    fn a_large_part_of_a_file_enters_bulk_mode_and_a_reply_of_its_own_leaves_it() {
        let limits = Fixed::default();
        let senders = BulkSenders::new(&limits);
        let listener = listener();
        let _client = client_of(&listener);
        wait_for_next(&listener);
        let (mut connection, _) = accept(&listener).expect("a connection waits");
        let is_bulk = |connection: &TcpConnection| {
            let socket = SockRef::from(&connection.socket.stream);
            let unsent = socket.tcp_notsent_lowat().expect("TCP_NOTSENT_LOWAT");
            let bulk = matches!(connection.socket.mode, SendMode::Bulk(_));
            assert_eq!(unsent == BULK_UNSENT_BYTES, bulk);
            assert_eq!(unsent == limits.unsent_bytes_max as u32, !bulk);
            assert_eq!(socket.tcp_cork().expect("TCP_CORK"), bulk);
            bulk
        };
        connection.socket.use_bulk_mode(&senders, BULK_LEN_MIN - 1);
        assert!(!is_bulk(&connection));
        connection.socket.use_bulk_mode(&senders, BULK_LEN_MIN);
        assert!(is_bulk(&connection));
        connection.send(&[b"head"], true).expect("the socket takes bytes");
        connection.socket.push();
        assert!(is_bulk(&connection));
        assert!(SockRef::from(&connection.socket.stream).tcp_nodelay().expect("TCP_NODELAY"));
        connection.send(&[b"reply"], false).expect("the socket takes bytes");
        assert!(!is_bulk(&connection));
        assert_eq!(Arc::strong_count(&senders), 1, "another may enter");
    }
}
