//! TCP: listeners with every option set before the first connection, and streams that send.
//!
//! Options are set on the listening socket: on Linux each accepted socket inherits them, so that
//! a connection costs no further call. Never decides what is said.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mio::Interest;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::buffer::SLICES_MAX;
use crate::config::Limits;
use crate::ids::ConnId;
use crate::os::slow::Place;
use crate::os::sys;
use crate::platform::{AcceptError, Stream};

/// Connections the kernel keeps for us until they are accepted; it caps this itself.
const BACKLOG: i32 = 4096;

/// Opens a listener on `addr`. `congestion` pins the congestion control, for benchmarks.
pub fn listen(addr: SocketAddr, limits: &Limits, congestion: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
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

/// The kernel hands over a connection to this listener with its first bytes, or after `time` (whole seconds)
/// without any: a request then costs no turn of its own for the accept. Zero hands it over at once.
pub fn defer(listener: &TcpListener, time: Duration) {
    if let Err(error) = sys::defer_accept(listener.as_fd(), time) {
        log::debug!("cannot set TCP_DEFER_ACCEPT: {error}");
    }
}

/// Takes one connection from the backlog.
pub fn accept(listener: &TcpListener) -> Result<(TcpConnection, SocketAddr), AcceptError> {
    match listener.accept() {
        Ok((stream, peer)) => {
            // Elsewhere the option is not inherited.
            if cfg!(not(target_os = "linux")) {
                let _ = stream.set_nodelay(true);
            }
            Ok((TcpConnection { stream, filled_ms: 0, lane: Lane::Untried, id: NOBODY }, peer))
        }
        Err(error) => Err(classify(error)),
    }
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

/// Bytes the kernel takes ahead for a connection in the wide lane: as many as it has room for by
/// default. With half of that, 64 fast readers cost a tenth more.
#[cfg(target_os = "linux")]
const WIDE_UNSENT_BYTES: u32 = 4 * 1024 * 1024;
/// Connections in the wide lane at once; so what they may pin in the kernel is bounded too.
const WIDE_MAX: usize = 64;
/// What is to be sent at once before the wide lane is worth its calls.
#[cfg(target_os = "linux")]
const WIDE_LEN_MIN: usize = 256 * 1024;

/// The wide lane: a few connections that send a large file straight from the page cache may have
/// more bytes on their way than `Limits::unsent_bytes_max`, and only full packets leave until
/// [`push`](TcpConnection::push): without that, every acknowledgement that comes meanwhile sends what
/// there is, a quarter more packets. Each of them holds a clone of the `Arc`.
#[derive(Debug)]
pub struct WideLane {
    unsent_bytes: u32,
}

impl WideLane {
    /// An empty lane; those who leave it get the bound of everybody else again.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self { unsent_bytes: u32::try_from(limits.unsent_bytes_max).unwrap_or(u32::MAX) })
    }

    /// Is there no room in it?
    pub fn is_full(lane: &Arc<Self>) -> bool {
        Arc::strong_count(lane) > WIDE_MAX
    }
}

/// How the bytes of a large file get into the kernel.
#[derive(Debug)]
pub enum Lane {
    /// As everybody's; nothing is known of the reader.
    Untried,
    /// As everybody's: the reader was found not to be slow.
    Usual,
    /// Many at a time.
    Wide(Arc<WideLane>),
    /// Together with those of others: see `os::slow`.
    Slow(Arc<Place>),
    /// The same, but it waits for no room: nobody need look at the slow lane for it.
    Resting(Weak<Place>),
}

/// What is to be known of a connection at once.
pub fn interest() -> Interest {
    let interest = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = interest | Interest::PRIORITY;
    interest
}

/// One connection.
#[derive(Debug)]
pub struct TcpConnection {
    stream: TcpStream,
    /// When a file filled its socket last, by the clock of the slow lane; 0 if none did.
    pub(super) filled_ms: u32,
    pub(super) lane: Lane,
    /// As events call it, once they tell of it.
    pub(super) id: ConnId,
}

/// No connection has this slot.
pub(super) const NOBODY: ConnId = ConnId::new(u32::MAX, 0);

impl TcpConnection {
    /// For registering it.
    pub const fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// `len` bytes of a file are about to be sent: enters the wide lane if that helps and there is
    /// room in it.
    #[cfg(target_os = "linux")]
    pub fn widen(&mut self, lane: &Arc<WideLane>, len: usize) {
        if matches!(self.lane, Lane::Untried | Lane::Usual)
            && len >= WIDE_LEN_MIN
            && (1..WIDE_UNSENT_BYTES).contains(&lane.unsent_bytes)
            && !WideLane::is_full(lane)
            && SockRef::from(&self.stream).set_tcp_notsent_lowat(WIDE_UNSENT_BYTES).is_ok()
        {
            self.lane = Lane::Wide(Arc::clone(lane));
            // Without it there are only more packets.
            let _ = SockRef::from(&self.stream).set_tcp_cork(true);
        }
    }

    /// Only Linux takes so few bytes ahead that it matters.
    #[cfg(not(target_os = "linux"))]
    pub fn widen(&mut self, _lane: &Arc<WideLane>, _len: usize) {}

    /// Nothing follows what was sent of a file: its last packet leaves now, though it is not full.
    pub fn push(&self) {
        if let Lane::Wide(_) = self.lane {
            // Said again, it sends what is held back (tcp(7)), in one call instead of two.
            let _ = SockRef::from(&self.stream).set_tcp_nodelay(true);
        }
    }

    /// The file is sent: what comes now is not worth a place in the wide lane.
    fn narrow(&mut self) {
        #[cfg(target_os = "linux")]
        if let Lane::Wide(lane) = &self.lane {
            let socket = SockRef::from(&self.stream);
            // If they fail, the connection is over, and the next call says so.
            let _ = socket.set_tcp_cork(false);
            let _ = socket.set_tcp_notsent_lowat(lane.unsent_bytes);
            self.lane = Lane::Usual;
        }
    }

    /// Its socket is full: from here on it waits for room.
    pub(super) fn blocked(&mut self) {
        if let Lane::Resting(place) = &self.lane
            && let Some(place) = place.upgrade()
        {
            self.lane = Lane::Slow(place);
        }
    }

    /// As events call it, if they tell of it.
    pub fn told_of(&self) -> Option<ConnId> {
        (self.id != NOBODY).then_some(self.id)
    }

    /// For `sendfile`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for TcpConnection {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Not through the C library, where a call that may wait looks twice whether its thread is to end.
        let (_, n) = rustix::net::recv(&self.stream, buf, RecvFlags::empty())?;
        Ok(n)
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

    fn listener() -> TcpListener {
        listen(([127, 0, 0, 1], 0).into(), &Limits::default(), None).expect("a free port")
    }

    fn client_of(listener: &TcpListener) -> std::net::TcpStream {
        std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens")
    }

    fn wait_for_next(listener: &TcpListener) {
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        let told = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience)).expect("poll");
        assert_eq!(told, 1, "nobody came");
    }

    /// Waits for the next connection, and says whose it is.
    fn next(listener: &TcpListener) -> SocketAddr {
        wait_for_next(listener);
        accept(listener).expect("somebody is there").1
    }

    #[test]
    fn a_large_part_of_a_file_enters_the_wide_lane_and_a_reply_of_its_own_leaves_it() {
        let limits = Limits::default();
        let lane = WideLane::new(&limits);
        let listener = listener();
        let _client = client_of(&listener);
        wait_for_next(&listener);
        let (mut connection, _) = accept(&listener).expect("somebody is there");
        let is_wide = |connection: &TcpConnection| {
            let socket = SockRef::from(&connection.stream);
            let unsent = socket.tcp_notsent_lowat().expect("TCP_NOTSENT_LOWAT");
            let wide = matches!(connection.lane, Lane::Wide(_));
            assert_eq!(unsent == WIDE_UNSENT_BYTES, wide);
            assert_eq!(unsent == limits.unsent_bytes_max as u32, !wide);
            assert_eq!(socket.tcp_cork().expect("TCP_CORK"), wide);
            wide
        };
        connection.widen(&lane, WIDE_LEN_MIN - 1);
        assert!(!is_wide(&connection));
        connection.widen(&lane, WIDE_LEN_MIN);
        assert!(is_wide(&connection));
        connection.send(&[b"head"], true).expect("there is room");
        connection.push();
        assert!(is_wide(&connection));
        assert!(SockRef::from(&connection.stream).tcp_nodelay().expect("TCP_NODELAY"));
        connection.send(&[b"reply"], false).expect("there is room");
        assert!(!is_wide(&connection));
        assert_eq!(Arc::strong_count(&lane), 1, "its place is free");
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
