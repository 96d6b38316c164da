//! TCP: listeners with every option set before the first connection, and streams that send.
//!
//! Options are set on the listening socket: on Linux each accepted socket inherits them, so that
//! a connection costs no further call. Never decides what is said.

use std::io::{self, IoSlice, Read as _};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::buffer::SLICES_MAX;
use crate::config::Limits;
use crate::os::sys;
use crate::platform::{AcceptError, Stream};

/// Connections the kernel keeps for us until they are accepted; it caps this itself.
const BACKLOG: i32 = 4096;

/// Who says the first word on a connection?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The client: until then nobody needs to know of it.
    Client,
    /// The server, or it depends.
    Server,
}

/// Opens a listener on `addr`. `congestion` pins the congestion control, for benchmarks.
pub fn listen(addr: SocketAddr, first: First, limits: &Limits, congestion: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    set_options(&socket, limits)?;
    if first == First::Client {
        sys::defer_accept(socket.as_fd(), limits.accept_defer)?;
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = congestion;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Buffers must be set before `listen` for the window scale to follow (tcp(7)).
fn set_options(socket: &Socket, limits: &Limits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    if limits.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(limits.send_buffer_bytes)?;
    }
    if limits.recv_buffer_bytes > 0 {
        socket.set_recv_buffer_size(limits.recv_buffer_bytes)?;
    }
    #[cfg(target_os = "linux")]
    if limits.unsent_bytes_max > 0 {
        socket.set_tcp_notsent_lowat(u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX))?;
    }
    Ok(())
}

/// Takes one connection from the backlog.
pub fn accept(listener: &TcpListener) -> Result<(TcpConnection, SocketAddr), AcceptError> {
    match listener.accept() {
        Ok((stream, peer)) => {
            // Elsewhere the option is not inherited.
            if cfg!(not(target_os = "linux")) {
                let _ = stream.set_nodelay(true);
            }
            Ok((TcpConnection { stream, wide: None }, peer))
        }
        Err(error) => Err(classify(error)),
    }
}

/// accept(2): which errors concern one connection, and which the whole process.
fn classify(error: io::Error) -> AcceptError {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AcceptError::Exhausted(error),
        _ if error.kind() == io::ErrorKind::WouldBlock => AcceptError::Empty,
        // The rest (ECONNABORTED, EPROTO, EPERM, EINTR and network errors that Linux passes on)
        // end one connection attempt only.
        _ => AcceptError::Gone(error),
    }
}

/// Bytes the kernel takes ahead for a connection in the wide lane: with less, a fast reader costs
/// nearly twice the calls.
#[cfg(target_os = "linux")]
const WIDE_UNSENT_BYTES: u32 = 2 * 1024 * 1024;
/// Connections in the wide lane at once; so what they may pin in the kernel is bounded too.
#[cfg(target_os = "linux")]
const WIDE_MAX: usize = 64;
/// What is to be sent at once before the wide lane is worth its two calls. Where many connections
/// share a turn, none has so much to send.
#[cfg(target_os = "linux")]
const WIDE_LEN_MIN: usize = 256 * 1024;

/// The wide lane: a few connections that send a large file straight from the page cache may have
/// more bytes on their way than `Limits::unsent_bytes_max`. Each of them holds a clone of the `Arc`.
#[derive(Debug)]
pub struct WideLane {
    unsent_bytes: u32,
}

impl WideLane {
    /// An empty lane; those who leave it get the bound of everybody else again.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { unsent_bytes: u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX) })
    }
}

/// One connection.
#[derive(Debug)]
pub struct TcpConnection {
    stream: TcpStream,
    wide: Option<Arc<WideLane>>,
}

impl TcpConnection {
    /// For registering it.
    pub const fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// `len` bytes of a file are about to be sent: enters the wide lane if that helps and there is
    /// room in it.
    #[cfg(target_os = "linux")]
    pub fn widen(&mut self, lane: &Arc<WideLane>, len: usize) {
        if self.wide.is_none()
            && len >= WIDE_LEN_MIN
            && (1..WIDE_UNSENT_BYTES).contains(&lane.unsent_bytes)
            && Arc::strong_count(lane) <= WIDE_MAX
            && SockRef::from(&self.stream).set_tcp_notsent_lowat(WIDE_UNSENT_BYTES).is_ok()
        {
            self.wide = Some(Arc::clone(lane));
        }
    }

    /// Only Linux takes so few bytes ahead that it matters.
    #[cfg(not(target_os = "linux"))]
    pub fn widen(&mut self, _lane: &Arc<WideLane>, _len: usize) {}

    /// The file is sent: what comes now is not worth a place in the wide lane.
    fn narrow(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(lane) = self.wide.take() {
            // If it fails, the connection is over, and the next call says so.
            let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(lane.unsent_bytes);
        }
    }

    /// For `sendfile`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for TcpConnection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }

    fn send(&mut self, bufs: &[&[u8]], more: bool) -> io::Result<usize> {
        // Before the head of the next file it may stay.
        if !more {
            self.narrow();
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
        sent.map_err(io::Error::from)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn unacknowledged(&self) -> io::Result<usize> {
        sys::unacknowledged(self.stream.as_fd())
    }

    fn reset_on_drop(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write as _;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn listener(first: First, defer_s: u64) -> TcpListener {
        let limits = Limits { accept_defer: Duration::from_secs(defer_s), ..Limits::default() };
        listen(([127, 0, 0, 1], 0).into(), first, &limits, None).expect("a free port")
    }

    fn client_of(listener: &TcpListener) -> std::net::TcpStream {
        std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens")
    }

    /// Waits for the next connection, and says whose it is.
    fn next(listener: &TcpListener) -> SocketAddr {
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        let told = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience)).expect("poll");
        assert_eq!(told, 1, "nobody came");
        accept(listener).expect("somebody is there").1
    }

    #[test]
    fn who_is_to_speak_first_and_is_silent_is_left_to_the_kernel_but_not_for_ever() {
        for at_once in [listener(First::Server, 60), listener(First::Client, 0)] {
            let silent = client_of(&at_once);
            assert_eq!(next(&at_once), silent.local_addr().expect("connected"));
        }

        let deferred = listener(First::Client, 60);
        let _silent = client_of(&deferred);
        assert!(matches!(accept(&deferred), Err(AcceptError::Empty)));
        let mut speaker = client_of(&deferred);
        speaker.write_all(b"GET ").expect("the kernel takes it");
        assert_eq!(next(&deferred), speaker.local_addr().expect("connected"));

        let deferred = listener(First::Client, 1);
        let silent = client_of(&deferred);
        assert_eq!(next(&deferred), silent.local_addr().expect("connected"));
    }
}
