//! One connection: lines and bodies out, replies and bodies in.
//!
//! Knows framing only. Whether something is tried again, and what a body means, is decided above.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use sha2::{Digest as _, Sha256};

use super::{Address, ErrorKind, Options};
use crate::wire::line::{self, LINE_LEN_MAX, Reply};

/// Bytes taken from the socket at once.
const INPUT_BYTES: usize = 256 << 10;
/// Bytes of a body that are gathered before they are sent.
const OUTPUT_BYTES: usize = 256 << 10;
/// A server that went away is told of by an error only; see `store` for the systems without it.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// A connection to a server, past its `AUTH`.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    timeout: Duration,
    /// Requests whose reply has not been read.
    owed: u32,
    /// A body has begun and has not been sent to its end.
    sending: bool,
}

impl Connection {
    /// Connects, and shows the secret if there is one.
    pub(super) fn open(address: &Address, options: &Options) -> Result<Self, ErrorKind> {
        let stream = connect(address, options.connect_timeout)?;
        let set_up = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(options.io_timeout)))
            .and_then(|()| stream.set_write_timeout(Some(options.io_timeout)));
        set_up.map_err(ErrorKind::ConnectionLost)?;
        let mut connection = Self {
            stream,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::new(),
            timeout: options.io_timeout,
            owed: 0,
            sending: false,
        };
        if let Some(token) = &options.token {
            connection.ask(&format!("AUTH {token}\n"))?;
            connection.ok()?;
        }
        Ok(connection)
    }

    /// Can the next request be sent? Not if bytes or an end wait that nobody asked for.
    pub(super) fn is_idle(&self) -> bool {
        let quiet = matches!(self.ready(PollFlags::IN, Duration::ZERO), Ok(flags) if flags.is_empty());
        quiet && self.start == self.end && self.is_settled()
    }

    /// Is nothing left over of earlier requests?
    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0 && !self.sending
    }

    /// Sends a request that has no body.
    pub(super) fn ask(&mut self, line: &str) -> Result<(), ErrorKind> {
        self.owed += 1;
        self.stream.write_all(line.as_bytes()).map_err(ErrorKind::ConnectionLost)
    }

    /// Begins a request that has a body; goes out together with the first bytes of it.
    pub(super) fn begin(&mut self, line: &str) {
        self.owed += 1;
        self.sending = true;
        self.output.clear();
        self.output.extend_from_slice(line.as_bytes());
    }

    /// Adds bytes to the body that was begun.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.output.extend_from_slice(bytes);
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    /// The body is complete: sends what is left of it, and reads the answer.
    pub(super) fn finish(&mut self) -> Result<Reply, ErrorKind> {
        self.flush()?;
        self.sending = false;
        self.ok()
    }

    /// Sends what was gathered. An answer that comes before the body has ended is the reason why
    /// the server reads no further, so it is read at once, and again when sending fails.
    pub(super) fn flush(&mut self) -> Result<(), ErrorKind> {
        let mut sent = 0;
        while sent < self.output.len() {
            let ready = self.ready(PollFlags::IN | PollFlags::OUT, self.timeout).map_err(ErrorKind::ConnectionLost)?;
            if ready.is_empty() {
                return Err(ErrorKind::ConnectionLost(io::ErrorKind::TimedOut.into()));
            }
            if ready != PollFlags::OUT {
                return Err(self.early());
            }
            let flags = SendFlags::DONTWAIT | NO_SIGNAL;
            match send(&self.stream, &self.output[sent..], flags) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    let refusal = self.early();
                    let told = matches!(refusal, ErrorKind::Refused { .. });
                    return Err(if told { refusal } else { ErrorKind::ConnectionLost(errno.into()) });
                }
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Why the server answered before it had the whole body.
    fn early(&mut self) -> ErrorKind {
        match self.ok() {
            Ok(_) => ErrorKind::Protocol("it accepted a file before its end".to_owned()),
            Err(kind) => kind,
        }
    }

    /// Reads a reply; `ERR` is trouble, and `GO` was not asked for.
    pub(super) fn ok(&mut self) -> Result<Reply, ErrorKind> {
        let line = String::from_utf8_lossy(&self.line()?).into_owned();
        self.owed = self.owed.saturating_sub(1);
        match Reply::parse(&line) {
            Some(reply @ Reply::Ok { .. }) => Ok(reply),
            Some(reply @ Reply::Err { .. }) => Err(ErrorKind::refused(&reply).expect("an ERR reply is a refusal")),
            Some(Reply::Go(_)) | None => Err(ErrorKind::Protocol(line)),
        }
    }

    /// Reads a line without its end of line.
    fn line(&mut self) -> Result<Vec<u8>, ErrorKind> {
        let mut line = Vec::new();
        loop {
            let (bytes, ended) = match memchr::memchr(b'\n', self.fill()?) {
                Some(at) => (at + 1, true),
                None => (self.end - self.start, false),
            };
            line.extend_from_slice(&self.input[self.start..self.start + bytes]);
            self.start += bytes;
            if line.len() > LINE_LEN_MAX {
                line.truncate(80);
                return Err(ErrorKind::Protocol(String::from_utf8_lossy(&line).into_owned()));
            }
            if ended {
                line.pop();
                line.pop_if(|byte| *byte == b'\r');
                return Ok(line);
            }
        }
    }

    /// Hands the next `size` bytes to `take`, in pieces.
    pub(super) fn body(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let mut left = size;
        while left > 0 {
            let here = self.fill()?;
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
            take(&here[..piece])?;
            self.start += piece;
            left -= piece as u64;
        }
        Ok(())
    }

    /// Like [`Self::body`] with a `sha256=` line behind it, which is checked.
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
            Ok(told) if told == digest => Ok(digest),
            _ => Err(ErrorKind::DigestMismatch),
        }
    }

    /// The bytes that are here; reads some if there are none.
    fn fill(&mut self) -> Result<&[u8], ErrorKind> {
        while self.start == self.end {
            match self.stream.read(&mut self.input) {
                Ok(0) => return Err(ErrorKind::ConnectionLost(io::Error::other("the server closed it"))),
                Ok(count) => (self.start, self.end) = (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ErrorKind::ConnectionLost(error)),
            }
        }
        Ok(&self.input[self.start..self.end])
    }

    /// What the socket is ready for within `timeout`; empty if nothing happened.
    fn ready(&self, interest: PollFlags, timeout: Duration) -> io::Result<PollFlags> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        loop {
            let mut fds = [PollFd::new(&self.stream, interest)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) => return Ok(fds[0].revents()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Tries every address of the host in turn.
fn connect(address: &Address, timeout: Duration) -> Result<TcpStream, ErrorKind> {
    let found = (address.host.as_str(), address.port).to_socket_addrs().map_err(ErrorKind::UnknownHost)?;
    let mut last = None;
    for candidate in found {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => ErrorKind::Unreachable(error),
        None => ErrorKind::UnknownHost(io::Error::other("it has no address")),
    })
}
