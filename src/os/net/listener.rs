//! Listeners, with every option set before the first connection: on Linux each accepted socket inherits them, so
//! that a connection costs no further call.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::address::Address;
use super::connection::TcpConnection;
use crate::config::Fixed;
use crate::ids::{ListenerId, UNIX_PEER};
use crate::os::sys;
use crate::platform::{AcceptError, Stream as _};

/// Connections the kernel keeps until they are accepted; it caps this itself.
pub(super) const BACKLOG: i32 = 4096;

/// What a connection is accepted from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes one connection from the backlog.
    fn accept(&self) -> Result<(TcpConnection, SocketAddr), AcceptError> {
        match self {
            Self::Tcp(listener) => accept(listener),
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().map_err(classify)?;
                // Only what is sent and received matters, which is the same; what is set of TCP fails, and is not missed.
                let stream = TcpStream::from(OwnedFd::from(stream));
                Ok((TcpConnection::new(stream), UNIX_PEER))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Opens a listener on `addr`, which other processes may listen on too if it `shares_port`. `congestion` pins the
/// congestion control, for benchmarks.
pub fn listen(
    addr: SocketAddr,
    shares_port: bool,
    limits: &Fixed,
    congestion: Option<&str>,
) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    set_options(&socket, limits)?;
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

/// Takes over the listener at this address that another program has opened. The window scale stays as it was then.
pub fn adopt(listener: OwnedFd, address: &Address, limits: &Fixed) -> io::Result<Listener> {
    let socket = Socket::from(listener);
    socket.set_nonblocking(true)?;
    Ok(match address {
        Address::Ip(_) => {
            set_options(&socket, limits)?;
            Listener::Tcp(TcpListener::from_std(socket.into()))
        }
        Address::Unix(_) => Listener::Unix(UnixListener::from_std(socket.into())),
    })
}

/// Buffers must be set before `listen` for the window scale to follow (tcp(7)).
fn set_options(socket: &Socket, limits: &Fixed) -> io::Result<()> {
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

/// The kernel hands over a connection to this listener with its first bytes, or after `time` (whole seconds)
/// without any: a request then costs no turn of its own for the accept. Zero hands it over at once.
pub fn defer(listener: &TcpListener, time: Duration) {
    if let Err(error) = sys::defer_accept(listener.as_fd(), time) {
        log::debug!("cannot set TCP_DEFER_ACCEPT: {error}");
    }
}

/// Takes one connection from the backlog.
pub(super) fn accept(listener: &TcpListener) -> Result<(TcpConnection, SocketAddr), AcceptError> {
    let (stream, peer) = listener.accept().map_err(classify)?;
    // Elsewhere the option is not inherited.
    if cfg!(not(target_os = "linux")) {
        let _ = stream.set_nodelay(true);
    }
    Ok((TcpConnection::new(stream), peer))
}

/// accept(2): which errors concern one connection, and which the whole process.
fn classify(error: io::Error) -> AcceptError {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AcceptError::Exhausted(error),
        _ if error.kind() == io::ErrorKind::WouldBlock => AcceptError::Empty,
        // The rest (ECONNABORTED, EPROTO, EPERM, EINTR and network errors that Linux passes on)
        // end one connection attempt only.
        _ => AcceptError::Gone(error),
    }
}

/// Every listener of a server, in the order of their ids.
pub struct Listeners {
    sockets: Arc<Vec<Listener>>,
    /// Closed for a moment to accept and reset a connection when descriptors are short.
    reserve: Option<File>,
}

impl Listeners {
    pub fn new(sockets: Vec<Listener>) -> Self {
        Self { sockets: Arc::new(sockets), reserve: reserve() }
    }

    pub fn accept(&self, ListenerId(index): ListenerId) -> Result<(TcpConnection, SocketAddr), AcceptError> {
        self.sockets.get(usize::from(index)).map_or(Err(AcceptError::Empty), Listener::accept)
    }

    /// See [`Platform::shed`](crate::platform::Platform::shed).
    pub fn shed(&mut self, listener: ListenerId) -> bool {
        if self.reserve.take().is_none() {
            // It could not be opened again the last time; perhaps now.
            self.reserve = reserve();
            return false;
        }
        // With a reset: to a client that gets no answer a plain end means success.
        let shed = self.accept(listener).map(|(mut stream, _)| stream.reset_on_drop()).is_ok();
        self.reserve = reserve();
        shed
    }

    pub fn all(&self) -> &Arc<Vec<Listener>> {
        &self.sockets
    }

    pub fn close(&mut self) {
        self.sockets = Arc::default();
    }
}

/// A descriptor that is only there to be given up.
#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::testing::{client_of, listener, wait_for_next};
    use super::*;

    /// Waits for the next connection. Returns the address of its client.
    fn next(listener: &TcpListener) -> SocketAddr {
        wait_for_next(listener);
        accept(listener).expect("a connection waits").1
    }

    #[test]
    fn the_kernel_holds_a_silent_connection_while_a_listener_defers_but_not_for_ever() {
        let listener = listener();
        let silent = client_of(&listener);
        assert_eq!(next(&listener), silent.local_addr().expect("connected"));

        defer(&listener, Duration::from_secs(1));
        let silent = client_of(&listener);
        assert!(matches!(accept(&listener), Err(AcceptError::Empty)));
        let mut speaker = client_of(&listener);
        speaker.write_all(b"GET ").expect("the kernel takes it");
        assert_eq!(next(&listener), speaker.local_addr().expect("connected"));
        assert_eq!(next(&listener), silent.local_addr().expect("connected"));

        defer(&listener, Duration::ZERO);
        let silent = client_of(&listener);
        assert_eq!(next(&listener), silent.local_addr().expect("connected"));
    }
}
