//! One TCP connection. Never decides what is sent.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::time::Duration;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;

use super::send::{SendMode, Socket};
use super::tls::TlsSession;
use crate::buffer::SLICES_MAX;
use crate::os::sys;
use crate::platform::ClientCertificate;
use crate::platform::{Handshake, Stream};

/// Encrypted parts from this length on leave at once although more follows. To hold back their last packet saves
/// little, and where the kernel paces (BBR) each such call arms a timer: a fifth of the time of a long download.
const ENCRYPTED_PUSH_LEN_MIN: usize = 16 * 1024;

#[derive(Debug)]
pub struct TcpConnection {
    pub(super) socket: Socket,
}

impl TcpConnection {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { socket: Socket::new(stream) }
    }

    /// For registering it, and for sending files.
    pub(crate) const fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// From here on everything passes through this session.
    pub(crate) fn secure(&mut self, session: TlsSession) {
        self.socket.mode = SendMode::Tls(Box::new(session));
    }

    /// The session of an encrypted connection.
    pub(crate) fn session(&mut self) -> Option<&mut TlsSession> {
        if let SendMode::Tls(session) = &mut self.socket.mode { Some(session) } else { None }
    }

    /// The session of an encrypted connection, and its socket.
    fn tls(&mut self, more: bool) -> Option<(&mut TlsSession, RawSocket<'_>)> {
        match &mut self.socket.mode {
            SendMode::Tls(session) => Some((session, RawSocket { stream: &self.socket.stream, more })),
            _ => None,
        }
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

/// Less than half of the smallest receive buffer that Linux gives a socket (`SOCK_MIN_RCVBUF`, 2304 bytes): the rest is
/// what it keeps of each packet beside the content.
const RECEIVE_BUFFER_MIN: usize = 1024;

impl Stream for TcpConnection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some((session, mut socket)) = self.tls(false) {
            return session.recv(&mut socket, buf);
        }
        RawSocket { stream: &self.socket.stream, more: false }.read(buf)
    }

    fn receive_buffer_min(&self) -> usize {
        RECEIVE_BUFFER_MIN
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        if let SendMode::Tls(_) = self.socket.mode {
            let len = bufs.iter().map(|buf| buf.len()).sum::<usize>();
            if let Some((session, mut socket)) = self.tls(more && len < ENCRYPTED_PUSH_LEN_MIN) {
                return session.send(&mut socket, bufs);
            }
        }
        // Before the head of the next file the mode may stay.
        if !more {
            self.socket.leave_bulk_mode();
        }
        let flags = send_flags(more);
        let sent = match bufs {
            [one] => rustix::net::send(&self.socket.stream, one, flags),
            bufs => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                for (slice, buf) in slices.iter_mut().zip(bufs) {
                    *slice = IoSlice::new(buf);
                }
                let used = &slices[..bufs.len().min(SLICES_MAX)];
                rustix::net::sendmsg(&self.socket.stream, used, &mut SendAncillaryBuffer::default(), flags)
            }
        };
        sent.map_err(|errno| {
            if errno == Errno::AGAIN {
                self.socket.blocked();
            }
            errno.into()
        })
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.stream.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        let in_kernel = sys::unacknowledged(self.socket.stream.as_fd())?;
        let is_held = matches!(&self.socket.mode, SendMode::Tls(session) if session.holds_output());
        Ok(in_kernel + usize::from(is_held))
    }

    fn reset_on_drop(&mut self) {
        let _ = SockRef::from(&self.socket.stream).set_linger(Some(Duration::ZERO));
    }

    fn handshake(&mut self) -> io::Result<Handshake> {
        match self.tls(false) {
            Some((session, mut socket)) => session.handshake(&mut socket),
            None => Ok(Handshake::Done),
        }
    }

    fn holds_input(&self) -> bool {
        matches!(&self.socket.mode, SendMode::Tls(session) if session.holds_input())
    }

    fn is_full(&self) -> bool {
        matches!(&self.socket.mode, SendMode::Tls(session) if session.is_full())
    }

    fn takes_files(&self) -> bool {
        !matches!(self.socket.mode, SendMode::Tls(_))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tls(false).map_or(Ok(()), |(session, mut socket)| session.finish(&mut socket))
    }

    fn peer_certificate(&self) -> Option<ClientCertificate> {
        if let SendMode::Tls(session) = &self.socket.mode { session.peer_certificate() } else { None }
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
