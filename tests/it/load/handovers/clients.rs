//! Clients that do no more than unmodified ones do: they use a connection until the server says that it ends, and then
//! open another. What they meet besides is a fault, and counted.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use support::client::PATIENCE;
use support::tls::rustls::ClientConfig;
use support::tls::{self, TlsStream};

/// Like the pools of browsers and libraries, none uses a connection again that has rested for nearly as long as servers
/// keep one.
const REST_MAX: Duration = Duration::from_secs(4);
/// Bytes that wait at a slow reader.
const SLOW_BUFFER: usize = 64 << 10;

/// Where a server listens.
#[derive(Clone)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

impl Place {
    fn connect(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Self::Tcp(address) => Stream::Tcp(tcp(*address)?),
            Self::Tls(address, config) => Stream::Tls(Box::new(TlsStream::new(tls::client(config), tcp(*address)?))),
        };
        rustix::net::sockopt::set_socket_timeout(&stream, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(stream)
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Stream {
    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.as_mut(),
            Self::Unix(stream) => stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io().read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io().flush()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What no client may meet, in the order of [`FAULTS`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Refused,
    Reset,
    Unavailable,
    CutShort,
    Wrong,
}

pub(super) const FAULTS: [&str; 5] = ["refused", "reset", "answered 503", "cut short", "wrong"];

/// What all clients of a run have met.
#[derive(Debug, Default)]
pub(super) struct Tally {
    faults: [AtomicU64; FAULTS.len()],
    /// The first few in words.
    words: Mutex<Vec<String>>,
    pub(super) transfers: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) requests: AtomicU64,
    /// Connections after the first of a client.
    pub(super) reopened: AtomicU64,
    /// Requests of the line protocol that met the end of the connection after the reply before.
    pub(super) asked_again: AtomicU64,
    /// Parts of uploads that were sent again, because another process still had the upload.
    pub(super) locked: AtomicU64,
}

impl Tally {
    pub(super) fn fault(&self, fault: Fault, words: impl FnOnce() -> String) {
        self.faults[fault as usize].fetch_add(1, Relaxed);
        let mut all = self.words.lock().expect("no client panics");
        if all.len() < 20 {
            all.push(format!("{fault:?}: {:.300}", words()));
        }
    }

    pub(super) fn failed(&self, error: &io::Error, what: &str) {
        let fault = match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Fault::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Fault::Reset,
            ErrorKind::UnexpectedEof => Fault::CutShort,
            ErrorKind::ResourceBusy => Fault::Unavailable,
            _ => Fault::Wrong,
        };
        self.fault(fault, || format!("{what}: {error}"));
    }

    pub(super) fn faults(&self) -> [u64; FAULTS.len()] {
        self.faults.each_ref().map(|count| count.load(Relaxed))
    }

    #[track_caller]
    pub(super) fn assert_none(&self) {
        assert_eq!(self.faults(), [0; FAULTS.len()], "{FAULTS:?}: {:#?}", self.words);
    }
}

/// How long a message takes that is sent or read piece by piece.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) pieces: usize,
    pub(super) pause: Duration,
}

impl Pace {
    pub(super) const FULL: Self = Self { pieces: 1, pause: Duration::ZERO };

    fn piece(self, len: usize) -> usize {
        len.div_ceil(self.pieces).max(1)
    }
}

struct Connection {
    stream: BufReader<Stream>,
    used: Instant,
    answers: u64,
}

impl Connection {
    /// True if it can be used again, as far as a client can see.
    fn is_open(&self) -> bool {
        let peek = rustix::net::recv(self.stream.get_ref(), &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.used.elapsed() < REST_MAX && peek == Err(rustix::io::Errno::AGAIN)
    }

    fn send(&mut self, head: &[u8], body: &[u8], pace: Pace) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(head)?;
        for piece in body.chunks(pace.piece(body.len())) {
            stream.write_all(piece)?;
            stream.flush()?;
            thread::sleep(pace.pause);
        }
        stream.flush()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
            None => Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the stream ended after {line:?}"))),
        }
    }

    fn body(&mut self, len: usize, pace: Pace) -> io::Result<Vec<u8>> {
        let mut body = vec![0; len];
        for piece in body.chunks_mut(pace.piece(len)) {
            self.stream.read_exact(piece)?;
            thread::sleep(pace.pause);
        }
        Ok(body)
    }
}

/// A client that has one connection at a time.
pub(super) struct Client<'a> {
    pub(super) place: Place,
    pub(super) tally: &'a Tally,
    connection: Option<Connection>,
    reads_slowly: bool,
    has_connected: bool,
}

/// The reply to a request.
pub(super) struct Reply {
    /// The first line of a reply of the line protocol, and the whole head of one of HTTP.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The value of a field of HTTP.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }
}

fn unavailable(head: &str) -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, head.to_owned())
}

impl<'a> Client<'a> {
    pub(super) fn new(place: Place, tally: &'a Tally) -> Self {
        Self { place, tally, connection: None, reads_slowly: false, has_connected: false }
    }

    pub(super) fn reading_slowly(self) -> Self {
        Self { reads_slowly: true, ..self }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    fn take_connection(&mut self) -> io::Result<Connection> {
        if let Some(connection) = self.connection.take_if(|connection| connection.is_open()) {
            return Ok(connection);
        }
        self.connection = None;
        let stream = self.place.connect()?;
        if self.reads_slowly {
            socket2::SockRef::from(&stream).set_recv_buffer_size(SLOW_BUFFER)?;
        }
        self.tally.reopened.fetch_add(u64::from(self.has_connected), Relaxed);
        self.has_connected = true;
        Ok(Connection { stream: BufReader::new(stream), used: Instant::now(), answers: 0 })
    }

    /// Sends what needs no reply, closes, and never reads.
    pub(super) fn throw(&mut self, head: &[u8], body: &[u8], pace: Pace) -> io::Result<()> {
        self.take_connection()?.send(head, body, pace)
    }

    /// A request of HTTP and its response. The head is without its last, empty line.
    pub(super) fn http(&mut self, head: &str, body: &[u8], send: Pace, read: Pace) -> io::Result<Reply> {
        let mut connection = self.take_connection()?;
        connection.send(format!("{head}\r\n").as_bytes(), body, send)?;
        let mut reply = Reply { head: String::new(), body: Vec::new() };
        loop {
            let line = connection.line()?;
            if line.is_empty() {
                break;
            }
            reply.head.push_str(&line);
            reply.head.push('\n');
        }
        if reply.head.starts_with("HTTP/1.1 503") {
            return Err(unavailable(&reply.head));
        }
        if !head.starts_with("HEAD ") {
            let len = reply.field("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
            reply.body = connection.body(len, read)?;
        }
        let ends = reply.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.answered(connection, ends);
        Ok(reply)
    }

    /// A request of the line protocol and its reply; a body is sent at once if it is not to be asked for.
    pub(super) fn line(&mut self, head: &str, body: &[u8], send: Pace, read: Pace) -> io::Result<Reply> {
        let (mut connection, line) = self.begin_line(head, body, send)?;
        let size = line.strip_prefix("OK ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let body = connection.body(size.unwrap_or(0), read)?;
        self.answered(connection, false);
        Ok(Reply { head: line, body })
    }

    /// A request that the server first answers with the place to send from.
    pub(super) fn resume(&mut self, head: &str, body: &[u8], send: Pace) -> io::Result<Reply> {
        let (mut connection, line) = self.begin_line(head, &[], Pace::FULL)?;
        let Some(from) = line.strip_prefix("GO ").and_then(|from| from.parse::<usize>().ok()) else {
            return Ok(Reply { head: line, body: Vec::new() });
        };
        connection.send(&[], &body[from.min(body.len())..], send)?;
        let head = connection.line()?;
        self.answered(connection, false);
        Ok(Reply { head, body: Vec::new() })
    }

    fn begin_line(&mut self, head: &str, body: &[u8], send: Pace) -> io::Result<(Connection, String)> {
        loop {
            let mut connection = self.take_connection()?;
            connection.send(head.as_bytes(), body, send)?;
            // It has ended after the reply before, and this was not read.
            if connection.answers > 0 && connection.stream.fill_buf()?.is_empty() {
                self.tally.asked_again.fetch_add(1, Relaxed);
                continue;
            }
            let line = connection.line()?;
            return if line.starts_with("ERR 503") { Err(unavailable(&line)) } else { Ok((connection, line)) };
        }
    }

    fn answered(&mut self, connection: Connection, ends: bool) {
        self.tally.requests.fetch_add(1, Relaxed);
        let answered = Connection { used: Instant::now(), answers: connection.answers + 1, ..connection };
        self.connection = (!ends).then_some(answered);
    }
}
