//! One TCP connection. Never decides what is sent.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use super::send::{BulkSenders, Encrypted, SendMode, Unsent};
use super::tls::{KeyWorker, TlsSession};
use crate::buffer::SLICES_MAX;
use crate::ids::ConnId;
use crate::os::sys;
use crate::platform::ClientCertificate;
use crate::platform::{Handshake, Stream};

/// Bytes the kernel takes ahead for a connection in bulk mode: as many as it has space for by default. With half of
/// that, 64 fast readers cost a tenth more.
#[cfg(target_os = "linux")]
const BULK_UNSENT_BYTES: u32 = 4 * 1024 * 1024;
/// What is to be sent at once before bulk mode is worth its calls.
#[cfg(target_os = "linux")]
const BULK_LEN_MIN: usize = 256 * 1024;
/// The same for what is encrypted, of which less is sent at once. Bulk mode takes a quarter of the time of an
/// encrypted download of 1 GiB.
#[cfg(target_os = "linux")]
const ENCRYPTED_BULK_LEN_MIN: usize = 64 * 1024;
/// Encrypted parts from this length on leave at once although more follows. To hold back their last packet saves
/// little, and where the kernel paces (BBR) each such call arms a timer: a fifth of the time of a long download.
const ENCRYPTED_PUSH_LEN_MIN: usize = 16 * 1024;

#[derive(Debug)]
pub struct TcpConnection {
    stream: TcpStream,
    /// When a file filled its socket last, by the clock of `SlowReaders`; 0 if none did.
    pub(super) filled_at_ms: u32,
    pub(super) mode: SendMode,
    /// As events name it, once it is registered.
    pub(super) id: ConnId,
}

/// No connection has this slot.
pub(super) const UNREGISTERED: ConnId = ConnId::new(u32::MAX, 0);

impl TcpConnection {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, filled_at_ms: 0, mode: SendMode::Untested, id: UNREGISTERED }
    }

    /// For registering it.
    pub(super) const fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// To be called before `len` bytes of a file are sent: enters bulk mode if that helps and not too many have.
    #[cfg(target_os = "linux")]
    pub fn use_bulk_mode(&mut self, senders: &Arc<BulkSenders>, len: usize) {
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
    pub fn use_bulk_mode(&mut self, _senders: &Arc<BulkSenders>, _len: usize) {}

    /// Sends the last packet of a file, which is not full, where nothing follows it.
    pub fn push(&self) {
        if let SendMode::Bulk(_) = self.mode {
            // Set again, it sends what is held back (tcp(7)), in one call instead of two.
            let _ = SockRef::from(&self.stream).set_tcp_nodelay(true);
        }
    }

    /// The file is sent: what follows gains nothing from bulk mode.
    fn leave_bulk_mode(&mut self) {
        #[cfg(target_os = "linux")]
        if let SendMode::Bulk(senders) = &self.mode {
            let socket = SockRef::from(&self.stream);
            // If they fail, the connection is over, and the next call says so.
            let _ = socket.set_tcp_cork(false);
            let _ = socket.set_tcp_notsent_lowat(senders.unsent_bytes);
            self.mode = SendMode::Normal;
        }
    }

    /// The socket is full: a slow reader is watched again.
    pub fn blocked(&mut self) {
        if let SendMode::SlowIdle(reader) = &self.mode
            && let Some(reader) = reader.upgrade()
        {
            self.mode = SendMode::Slow(reader);
        }
    }

    /// As events name it, if it is registered.
    pub fn registered_as(&self) -> Option<ConnId> {
        (self.id != UNREGISTERED).then_some(self.id)
    }

    /// From here on everything passes through this session.
    pub(crate) fn secure(&mut self, session: TlsSession, senders: &Arc<BulkSenders>) {
        let unsent = Unsent::Normal(Arc::downgrade(senders));
        self.mode = SendMode::Tls(Box::new(Encrypted { session, unsent }));
    }

    /// Gives the session to the worker, for the step of the handshake that uses the private key. False if it does not
    /// take it.
    pub(crate) fn hand_over(&mut self, id: ConnId, worker: &mut KeyWorker) -> bool {
        let SendMode::Tls(encrypted) = &mut self.mode else { return false };
        worker.take(id, &mut encrypted.session)
    }

    /// To be called before `len` bytes are sent over an encrypted connection: enters bulk mode with a long part of a
    /// file that goes on, and leaves it at the end.
    #[cfg(target_os = "linux")]
    fn limit_unsent(&mut self, len: usize, more: bool) {
        let SendMode::Tls(encrypted) = &mut self.mode else { return };
        let socket = SockRef::from(&self.stream);
        match &encrypted.unsent {
            Unsent::Normal(senders) if more && len >= ENCRYPTED_BULK_LEN_MIN => {
                if let Some(senders) = senders.upgrade()
                    && (1..BULK_UNSENT_BYTES).contains(&senders.unsent_bytes)
                    && !BulkSenders::is_full_for_encrypted(&senders)
                    && socket.set_tcp_notsent_lowat(BULK_UNSENT_BYTES).is_ok()
                {
                    encrypted.unsent = Unsent::Bulk(senders);
                }
            }
            Unsent::Bulk(senders) if !more => {
                // If it fails, the connection is over, and the next call says so.
                let _ = socket.set_tcp_notsent_lowat(senders.unsent_bytes);
                encrypted.unsent = Unsent::Normal(Arc::downgrade(senders));
            }
            _ => {}
        }
    }

    /// Only Linux takes so few bytes ahead that it matters.
    #[cfg(not(target_os = "linux"))]
    fn limit_unsent(&mut self, _len: usize, _more: bool) {}

    /// The session of an encrypted connection, and its socket.
    fn tls(&mut self, more: bool) -> Option<(&mut TlsSession, RawSocket<'_>)> {
        match &mut self.mode {
            SendMode::Tls(encrypted) => Some((&mut encrypted.session, RawSocket { stream: &self.stream, more })),
            _ => None,
        }
    }

    /// For `sendfile`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The socket below a session.
struct RawSocket<'a> {
    stream: &'a TcpStream,
    more: bool,
}

impl Read for RawSocket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Not through the C library, where a call that may wait looks twice whether its thread is to end.
        let (_, n) = rustix::net::recv(self.stream, buf, RecvFlags::empty())?;
        Ok(n)
    }
}

impl Write for RawSocket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.stream, buf, send_flags(self.more))?)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = send_flags(self.more);
        Ok(rustix::net::sendmsg(self.stream, bufs, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for TcpConnection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some((session, mut socket)) = self.tls(false) {
            return session.recv(&mut socket, buf);
        }
        RawSocket { stream: &self.stream, more: false }.read(buf)
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        if let SendMode::Tls(_) = self.mode {
            let len = bufs.iter().map(|buf| buf.len()).sum();
            self.limit_unsent(len, more);
            if let Some((session, mut socket)) = self.tls(more && len < ENCRYPTED_PUSH_LEN_MIN) {
                return session.send(&mut socket, bufs);
            }
        }
        // Before the head of the next file the mode may stay.
        if !more {
            self.leave_bulk_mode();
        }
        let flags = send_flags(more);
        let sent = match bufs {
            [one] => rustix::net::send(&self.stream, one, flags),
            bufs => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                for (slice, buf) in slices.iter_mut().zip(bufs) {
                    *slice = IoSlice::new(buf);
                }
                let used = &slices[..bufs.len().min(SLICES_MAX)];
                rustix::net::sendmsg(&self.stream, used, &mut SendAncillaryBuffer::default(), flags)
            }
        };
        sent.map_err(|errno| {
            if errno == Errno::AGAIN {
                self.blocked();
            }
            errno.into()
        })
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        let in_kernel = sys::unacknowledged(self.stream.as_fd())?;
        let is_held = matches!(&self.mode, SendMode::Tls(encrypted) if encrypted.session.holds_output());
        Ok(in_kernel + usize::from(is_held))
    }

    fn reset_on_drop(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn handshake(&mut self, may_use_key: bool) -> io::Result<Handshake> {
        match self.tls(false) {
            Some((session, mut socket)) => session.handshake(&mut socket, may_use_key),
            None => Ok(Handshake::Done),
        }
    }

    fn holds_input(&self) -> bool {
        matches!(&self.mode, SendMode::Tls(encrypted) if encrypted.session.holds_input())
    }

    fn is_full(&self) -> bool {
        matches!(&self.mode, SendMode::Tls(encrypted) if encrypted.session.is_full())
    }

    fn takes_files(&self) -> bool {
        !matches!(self.mode, SendMode::Tls(_))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tls(false).map_or(Ok(()), |(session, mut socket)| session.finish(&mut socket))
    }

    fn peer_certificate(&self) -> Option<ClientCertificate> {
        if let SendMode::Tls(encrypted) = &self.mode { encrypted.session.peer_certificate() } else { None }
    }
}

#[cfg(target_os = "linux")]
const fn send_flags(more: bool) -> SendFlags {
    if more { SendFlags::NOSIGNAL.union(SendFlags::MORE) } else { SendFlags::NOSIGNAL }
}

#[cfg(not(target_os = "linux"))]
const fn send_flags(_more: bool) -> SendFlags {
    SendFlags::empty()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::super::listener::accept;
    use super::super::testing::{client_of, listener, wait_for_next};
    use super::*;
    use crate::config::Limits;

    #[test]
    fn a_large_part_of_a_file_enters_bulk_mode_and_a_reply_of_its_own_leaves_it() {
        let limits = Limits::default();
        let senders = BulkSenders::new(&limits);
        let listener = listener();
        let _client = client_of(&listener);
        wait_for_next(&listener);
        let (mut connection, _) = accept(&listener).expect("a connection waits");
        let is_bulk = |connection: &TcpConnection| {
            let socket = SockRef::from(&connection.stream);
            let unsent = socket.tcp_notsent_lowat().expect("TCP_NOTSENT_LOWAT");
            let bulk = matches!(connection.mode, SendMode::Bulk(_));
            assert_eq!(unsent == BULK_UNSENT_BYTES, bulk);
            assert_eq!(unsent == limits.unsent_bytes_max as u32, !bulk);
            assert_eq!(socket.tcp_cork().expect("TCP_CORK"), bulk);
            bulk
        };
        connection.use_bulk_mode(&senders, BULK_LEN_MIN - 1);
        assert!(!is_bulk(&connection));
        connection.use_bulk_mode(&senders, BULK_LEN_MIN);
        assert!(is_bulk(&connection));
        connection.send(&[b"head"], true).expect("the socket takes bytes");
        connection.push();
        assert!(is_bulk(&connection));
        assert!(SockRef::from(&connection.stream).tcp_nodelay().expect("TCP_NODELAY"));
        connection.send(&[b"reply"], false).expect("the socket takes bytes");
        assert!(!is_bulk(&connection));
        assert_eq!(Arc::strong_count(&senders), 1, "another may enter");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_long_part_over_tls_enters_bulk_mode_and_the_end_of_the_file_leaves_it() {
        use super::super::tls::{Acceptor, make_self_signed};
        use crate::config::TlsFiles;
        use crate::os::process;

        let dir = tempfile::TempDir::new().expect("a directory");
        make_self_signed(dir.path(), vec!["localhost".to_owned()], process::unix_time()).expect("a certificate");
        let files = TlsFiles { self_signed: Some(dir.path().to_owned()), ..TlsFiles::default() };
        let acceptor = Acceptor::open(files, None).expect("the files that were made");
        let limits = Limits::default();
        let senders = BulkSenders::new(&limits);
        let listener = listener();
        let _client = client_of(&listener);
        wait_for_next(&listener);
        let (mut connection, _) = accept(&listener).expect("a connection waits");
        connection.secure(acceptor.accept(true, &[]), &senders);
        let long = ENCRYPTED_BULK_LEN_MIN;
        for (len, more, is_bulk) in
            [(long, false, false), (long - 1, true, false), (long, true, true), (1, true, true), (long, false, false)]
        {
            connection.limit_unsent(len, more);
            let unsent = SockRef::from(&connection.stream).tcp_notsent_lowat().expect("TCP_NOTSENT_LOWAT");
            assert_eq!(
                unsent,
                if is_bulk { BULK_UNSENT_BYTES } else { limits.unsent_bytes_max as u32 },
                "{len} {more}"
            );
            assert_eq!(Arc::strong_count(&senders), 1 + usize::from(is_bulk), "{len} {more}");
        }
    }
}
