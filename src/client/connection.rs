//! The framing on one connection: requests and bodies out, replies and bodies in.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sha2::{Digest as _, Sha256};
use socket2::{SockRef, TcpKeepalive};

use super::address::Address;
use super::error::ErrorKind;
use super::options::Options;
use super::rate_limit::RateLimit;
use super::stream::Stream;
use super::tls::explain;
use crate::wire::line::{self, LINE_LEN_MAX, Reply};

/// Most bytes read from the socket by one call.
const INPUT_BYTES: usize = 256 << 10;
/// Bytes of a body that are gathered before they are sent.
const OUTPUT_BYTES: usize = 256 << 10;
/// The first byte of what a server with TLS answers a client without (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;

/// A connection to a server, authenticated if the options have a secret.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<Stream>,
    output: Vec<u8>,
    timeout: Duration,
    rate_limit: Option<RateLimit>,
    /// Requests without a reply so far.
    pending_replies: u32,
    /// The body of a request has not been sent to its end.
    is_sending: bool,
}

impl Connection {
    pub(super) fn open(address: &Address, options: &Options) -> Result<Self, ErrorKind> {
        let stream = connect(address, options.connect_timeout)?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(options.io_timeout)))
            .and_then(|()| stream.set_write_timeout(Some(options.io_timeout)))
            .map_err(ErrorKind::ConnectionLost)?;
        let stream = Stream::begin(stream, address, &options.tls)?;
        let mut connection = Self {
            stream: BufReader::with_capacity(INPUT_BYTES, stream),
            output: Vec::new(),
            timeout: options.io_timeout,
            rate_limit: options.rate_limit.clone(),
            pending_replies: 0,
            is_sending: false,
        };
        if let Some(token) = &options.token {
            let user = options.user.as_ref().map(|user| format!("{user} ")).unwrap_or_default();
            connection.ask(&format!("AUTH {user}{token}\n"))?;
        }
        Ok(connection)
    }

    /// Gives the connection back if a request can be sent: no bytes and no end of stream are waiting to be read.
    pub(super) fn if_idle(mut self) -> Option<Self> {
        let is_silent = match self.poll(PollFlags::IN, Duration::ZERO) {
            Ok(flags) if flags.is_empty() => true,
            Ok(_) => matches!(self.stream.get_mut().has_input(), Ok(false)),
            Err(_) => false,
        };
        (is_silent && self.stream.buffer().is_empty() && self.is_between_requests()).then_some(self)
    }

    /// True if all requests were sent completely and all replies were read.
    pub(super) fn is_between_requests(&self) -> bool {
        self.pending_replies == 0 && !self.is_sending
    }

    /// Sends a request without a body and reads the reply.
    pub(super) fn ask(&mut self, line: &str) -> Result<Reply, ErrorKind> {
        self.send_request(line)?;
        self.reply()
    }

    /// As [`Self::ask`], for what may take the server any time: an answer is waited for as long as the server is there,
    /// which the kernel finds out.
    pub(super) fn ask_patiently(&mut self, line: &str) -> Result<Reply, ErrorKind> {
        self.send_request(line)?;
        let socket = self.stream.get_ref().socket();
        set_keepalive(socket).and_then(|()| socket.set_read_timeout(None)).map_err(ErrorKind::ConnectionLost)?;
        let reply = self.reply();
        let socket = self.stream.get_ref().socket();
        socket.set_read_timeout(Some(self.timeout)).map_err(ErrorKind::ConnectionLost)?;
        reply
    }

    /// Sends a request without a body.
    pub(super) fn send_request(&mut self, line: &str) -> Result<(), ErrorKind> {
        self.pending_replies += 1;
        self.stream.get_mut().send_all(line.as_bytes()).map_err(explain)
    }

    /// Sends this number of requests, with their bodies.
    pub(super) fn send_requests(&mut self, requests: &[u8], count: usize) -> Result<(), ErrorKind> {
        self.pending_replies += u32::try_from(count).unwrap_or(u32::MAX);
        self.stream.get_mut().send_all(requests).map_err(explain)?;
        self.pay(requests.len());
        Ok(())
    }

    /// Begins a request with a body; it is sent together with the first bytes of the body.
    pub(super) fn begin(&mut self, line: &str) {
        self.pending_replies += 1;
        self.is_sending = true;
        self.output.clear();
        self.output.extend_from_slice(line.as_bytes());
    }

    /// Sends the line of an upload and reads from which offset on the body is wanted; [`Self::push`] and
    /// [`Self::finish`] send it.
    pub(super) fn offer(&mut self, line: &str) -> Result<u64, ErrorKind> {
        self.send_request(line)?;
        let offset = match self.any_reply()? {
            Reply::Go(offset) => offset,
            other => return Err(ErrorKind::Protocol(format!("it answered an upload with {other:?}"))),
        };
        self.pending_replies += 1;
        self.is_sending = true;
        self.output.clear();
        Ok(offset)
    }

    /// Adds bytes to the body.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.output.extend_from_slice(bytes);
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Sends the rest of the body and reads the reply.
    pub(super) fn finish(&mut self) -> Result<Reply, ErrorKind> {
        self.flush()?;
        self.is_sending = false;
        self.reply()
    }

    /// Sends the gathered bytes. A reply that comes before the end of the body says why the server stops reading, so
    /// it is read at once, and also when sending fails.
    pub(super) fn flush(&mut self) -> Result<(), ErrorKind> {
        let mut sent = 0;
        while sent < self.output.len() || self.stream.get_ref().holds_unsent() {
            let ready = self.poll(PollFlags::IN | PollFlags::OUT, self.timeout).map_err(ErrorKind::ConnectionLost)?;
            if ready.is_empty() {
                return Err(ErrorKind::ConnectionLost(io::ErrorKind::TimedOut.into()));
            }
            if ready != PollFlags::OUT && self.stream.get_mut().has_input().map_err(explain)? {
                return Err(self.early_reply());
            }
            let end = self.output.len().min(sent.saturating_add(self.piece_max()));
            match self.stream.get_mut().send_some(&self.output[sent..end]) {
                Ok(count) => {
                    sent += count;
                    self.pay(count);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    return Err(match self.early_reply() {
                        refusal @ (ErrorKind::Refused { .. } | ErrorKind::Tls(_)) => refusal,
                        _ => ErrorKind::ConnectionLost(error),
                    });
                }
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Most bytes of a body to move at once.
    fn piece_max(&self) -> usize {
        self.rate_limit.as_ref().map_or(usize::MAX, RateLimit::piece)
    }

    /// Waits as the limit of the rate wants it after these bytes.
    fn pay(&self, bytes: usize) {
        if let Some(limit) = &self.rate_limit {
            limit.wait(bytes);
        }
    }

    fn early_reply(&mut self) -> ErrorKind {
        let accepted = || ErrorKind::Protocol("it accepted a file before its end".to_owned());
        self.reply().err().unwrap_or_else(accepted)
    }

    /// Reads an `OK` reply; `ERR` is an error.
    pub(super) fn reply(&mut self) -> Result<Reply, ErrorKind> {
        match self.any_reply()? {
            Reply::Go(offset) => Err(ErrorKind::Protocol(format!("GO {offset}"))),
            reply => Ok(reply),
        }
    }

    /// Reads a reply; `ERR` is an error.
    fn any_reply(&mut self) -> Result<Reply, ErrorKind> {
        let line = String::from_utf8_lossy(&self.line()?).into_owned();
        self.pending_replies = self.pending_replies.saturating_sub(1);
        let reply = Reply::parse(&line);
        match reply.as_ref().and_then(ErrorKind::from_reply) {
            Some(refusal) => Err(refusal),
            None => reply.ok_or(ErrorKind::Protocol(line)),
        }
    }

    /// Reads a line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, ErrorKind> {
        let mut line = Vec::new();
        let mut limited = self.stream.by_ref().take(LINE_LEN_MAX as u64);
        let result = limited.read_until(b'\n', &mut line);
        // Also where a reset follows.
        if line.first() == Some(&TLS_ALERT) {
            return Err(ErrorKind::Tls("the server speaks TLS on this port: write tls:// before its name".to_owned()));
        }
        result.map_err(explain)?;
        if line.pop_if(|byte| *byte == b'\n').is_some() {
            line.pop_if(|byte| *byte == b'\r');
            return Ok(line);
        }
        if line.len() < LINE_LEN_MAX {
            return Err(closed());
        }
        Err(ErrorKind::Protocol(String::from_utf8_lossy(&line[..80]).into_owned()))
    }

    /// Reads `size` bytes and passes them to `take` in pieces.
    pub(super) fn body(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let (mut left, piece_max) = (size, self.piece_max());
        while left > 0 {
            match self.stream.fill_buf() {
                Ok([]) => return Err(closed()),
                Ok(bytes) => {
                    let piece = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()).min(piece_max);
                    take(&bytes[..piece])?;
                    self.stream.consume(piece);
                    left -= piece as u64;
                    self.pay(piece);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(error)),
            }
        }
        Ok(())
    }

    /// As [`Self::body`], followed by a `sha256=` line, which is checked; returns the digest.
    pub(super) fn checked_body(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<[u8; 32], ErrorKind> {
        let mut hasher = Sha256::new();
        self.body(size, |piece| {
            hasher.update(piece);
            take(piece)
        })?;
        let digest: [u8; 32] = hasher.finalize().into();
        match line::trailer(&self.line()?) {
            Ok(sent) if sent == digest => Ok(digest),
            _ => Err(ErrorKind::DigestMismatch),
        }
    }

    /// The events of the socket within `timeout`; empty if there were none.
    fn poll(&self, events: PollFlags, timeout: Duration) -> io::Result<PollFlags> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        loop {
            let mut fds = [PollFd::new(self.stream.get_ref().socket(), events)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) => return Ok(fds[0].revents()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Connection {
    /// A connection that is given up within a request just breaks off.
    fn drop(&mut self) {
        if self.is_between_requests() {
            self.stream.get_mut().end();
        }
    }
}

/// Has the kernel probe a silent server: one that is gone ends a read after about three minutes.
fn set_keepalive(socket: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

fn closed() -> ErrorKind {
    ErrorKind::ConnectionLost(io::Error::other("the server closed it"))
}

/// Tries every address of the host in turn.
fn connect(address: &Address, timeout: Duration) -> Result<TcpStream, ErrorKind> {
    let found = (address.host.as_str(), address.port).to_socket_addrs().map_err(ErrorKind::UnknownHost)?;
    let mut last = ErrorKind::UnknownHost(io::Error::other("it has no address"));
    for candidate in found {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = ErrorKind::Unreachable(error),
        }
    }
    Err(last)
}
