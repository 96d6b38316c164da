//! TLS on one connection: its handshake, then its records, over any socket. Never decides what is sent.
//!
//! The calls have the meaning of those of [`Stream`](crate::platform::Stream). Content counts as sent once the
//! socket has taken all of the records it is in: until then the caller keeps it and shows it again, so that a
//! connection whose last reply has not left is not done for anyone.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::server::{Accepted, Acceptor as HelloReader};
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use sha2::{Digest as _, Sha256};

use crate::buffer::SLICES_MAX;
use crate::platform::Handshake;

/// Content that is encrypted ahead of the socket: two records.
pub const AHEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the longest record, and of what rustls holds of one that is not whole.
const RECORD_BYTES_MAX: usize = 16 * 1024 + 2048 + 5;
/// Records that are received, whole and in part, and what rustls puts around them and those that are sent: more
/// than the messages of a handshake, which are 64 KiB at most while nothing else is held.
pub const SESSION_BYTES_MAX: usize = AHEAD_BYTES_MAX + 3 * RECORD_BYTES_MAX + 8 * 1024;
/// A record is received directly into rustls where the caller has less space than this behind the longest record.
const RECEIVED_BYTES_MIN: usize = 8 * 1024;
/// Bytes that are read at once during a handshake.
const HELLO_BYTES: usize = 4096;

/// What a client without TLS is told that speaks HTTP.
const PLAIN_HTTP_REPLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 43\r\nConnection: close\r\n\r\nThis port speaks TLS: use https, not http.\n";
const ENDED_EARLY: &str = "the connection ended within the handshake";

enum Stage {
    /// The first message of the client is not whole.
    Hello { reader: Box<HelloReader>, config: Arc<ServerConfig>, is_first: bool },
    /// The next step uses the private key. `None` only within that step.
    Key { accepted: Option<Box<Accepted>>, config: Arc<ServerConfig> },
    /// From the server's first message on.
    Open(Box<ServerConnection>),
}

/// One connection that speaks TLS.
pub struct TlsSession {
    stage: Stage,
    /// Bytes of content that are encrypted and not reported as sent.
    ahead: usize,
    /// The last send stopped because the socket was full.
    is_full: bool,
    /// The next `recv` gives something even if the socket is empty, or did not find out that it is.
    holds_input: bool,
    has_sent_end: bool,
    /// An error behind content that was received before it.
    failed: Option<io::Error>,
    /// The SHA-256 of the certificate that the client has shown.
    certificate: Option<Box<[u8; 32]>>,
}

impl TlsSession {
    /// `received`: bytes of the client that were read before.
    pub fn new(config: Arc<ServerConfig>, received: &[u8]) -> io::Result<Self> {
        let mut reader = Box::new(HelloReader::default());
        feed(received, |bytes| reader.read_tls(bytes))?;
        let stage = Stage::Hello { reader, config, is_first: received.is_empty() };
        Ok(Self {
            stage,
            ahead: 0,
            is_full: false,
            holds_input: false,
            has_sent_end: false,
            failed: None,
            certificate: None,
        })
    }

    /// See [`Stream::handshake`](crate::platform::Stream::handshake).
    pub fn handshake(&mut self, socket: &mut (impl Read + Write), may_use_key: bool) -> io::Result<Handshake> {
        loop {
            match &mut self.stage {
                Stage::Hello { reader, config, is_first } => {
                    match reader.accept() {
                        Ok(Some(accepted)) => {
                            self.stage = Stage::Key { accepted: Some(Box::new(accepted)), config: Arc::clone(config) };
                            continue;
                        }
                        Ok(None) => {}
                        Err((error, mut alert)) => {
                            let is_told = alert.write(socket).is_ok_and(|n| n > 0);
                            return Ok(Handshake::Failed { reason: error.to_string(), is_told });
                        }
                    }
                    let mut bytes = [0; HELLO_BYTES];
                    let Some(n) = received(socket.read(&mut bytes))? else { return Ok(Handshake::Waits) };
                    let is_first = std::mem::take(is_first);
                    if n == 0 {
                        // Whether the port is open was all it wanted to know.
                        let reason = if is_first { String::new() } else { ENDED_EARLY.to_owned() };
                        return Ok(Handshake::Failed { reason, is_told: false });
                    }
                    if is_first && let Some(failed) = refuse_plain(&bytes[..n], socket) {
                        return Ok(failed);
                    }
                    feed(&bytes[..n], |bytes| reader.read_tls(bytes))?;
                }
                Stage::Key { .. } if !may_use_key => return Ok(Handshake::NeedsKey),
                Stage::Key { accepted, config } => {
                    let accepted = accepted.take().ok_or(ErrorKind::InvalidData)?;
                    match accepted.into_connection(Arc::clone(config)) {
                        Ok(connection) => self.stage = Stage::Open(Box::new(connection)),
                        Err((error, mut alert)) => {
                            let is_told = alert.write(socket).is_ok_and(|n| n > 0);
                            return Ok(Handshake::Failed { reason: error.to_string(), is_told });
                        }
                    }
                }
                Stage::Open(connection) => {
                    let state = shake(connection, socket, may_use_key)?;
                    let shown = connection.peer_certificates().and_then(<[_]>::first);
                    if let (Handshake::Done, Some(certificate)) = (&state, shown) {
                        self.certificate = Some(Box::new(Sha256::digest(certificate).into()));
                    }
                    return Ok(state);
                }
            }
        }
    }

    /// See [`Stream::recv`](crate::platform::Stream::recv). Nothing that was decrypted is left behind unless `buf` is
    /// full: see [`Self::holds_input`].
    pub fn recv(&mut self, socket: &mut (impl Read + Write), buf: &mut [u8]) -> io::Result<usize> {
        let Stage::Open(connection) = &mut self.stage else { return Err(ErrorKind::WouldBlock.into()) };
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut filled = 0;
        let mut is_drained = false;
        self.holds_input = true;
        while filled < buf.len() {
            match connection.reader().read(&mut buf[filled..]) {
                // Behind content, the end is found again.
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
            if is_drained && filled > 0 {
                self.holds_input = false;
                break;
            }
            match receive(connection, socket, buf, &mut filled) {
                Ok(Received::Some) if filled > 0 => break,
                Ok(Received::Some) => {}
                Ok(Received::All) => is_drained = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.holds_input = false;
                    if filled == 0 {
                        return Err(error);
                    }
                    break;
                }
                Err(error) => {
                    // Records before the one that is wrong have content.
                    while let Ok(n @ 1..) = connection.reader().read(&mut buf[filled..]) {
                        filled += n;
                    }
                    if filled == 0 {
                        return Err(error);
                    }
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(filled)
    }

    /// See [`Stream::holds_input`](crate::platform::Stream::holds_input).
    pub const fn holds_input(&self) -> bool {
        self.holds_input
    }

    /// See [`Stream::send`](crate::platform::Stream::send). Bytes that are encrypted already and shown again are not
    /// looked at.
    pub fn send(&mut self, socket: &mut (impl Read + Write), bufs: &[&[u8]]) -> io::Result<usize> {
        let Stage::Open(connection) = &mut self.stage else { return Err(ErrorKind::WouldBlock.into()) };
        let total = bufs.iter().map(|buf| buf.len()).sum();
        self.is_full = !flush(connection, socket)?;
        let mut sent = 0;
        if !self.is_full {
            sent = self.ahead.min(total);
            self.ahead -= sent;
        }
        while sent < total && !self.is_full {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = slices_behind(bufs, sent, AHEAD_BYTES_MAX, &mut slices);
            let n = connection.writer().write_vectored(&slices[..count])?;
            debug_assert!(n > 0, "rustls takes content once what it held is sent");
            if flush(connection, socket)? {
                sent += n;
            } else {
                self.is_full = true;
                self.ahead = n;
            }
        }
        if sent == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// True if the last send stopped because the socket was full.
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// True while encrypted bytes wait for the socket.
    pub fn holds_output(&self) -> bool {
        matches!(&self.stage, Stage::Open(connection) if connection.wants_write())
    }

    /// See [`Stream::finish`](crate::platform::Stream::finish).
    pub fn finish(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        let Stage::Open(connection) = &mut self.stage else { return Ok(()) };
        if !self.has_sent_end {
            connection.send_close_notify();
            self.has_sent_end = true;
        }
        if flush(connection, socket)? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    /// The SHA-256 of the certificate that the client has shown.
    pub fn peer_certificate(&self) -> Option<[u8; 32]> {
        self.certificate.as_deref().copied()
    }
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

/// `None` if the socket is empty.
fn received(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives all of `bytes` to rustls, which takes them in parts.
fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>) -> io::Result<()> {
    while !bytes.is_empty() {
        if read(&mut bytes)? == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

/// Tells a client that has begun in plain text, if it speaks HTTP.
fn refuse_plain(bytes: &[u8], socket: &mut impl Write) -> Option<Handshake> {
    /// The first byte of a record of a handshake (RFC 8446 §5.1).
    const HANDSHAKE: u8 = 22;
    if bytes.first().is_none_or(|first| *first == HANDSHAKE) {
        return None;
    }
    let is_http = bytes.windows(6).any(|word| word == b" HTTP/");
    // A fresh socket takes so few bytes at once.
    let is_told = is_http && socket.write(PLAIN_HTTP_REPLY).is_ok();
    Some(Handshake::Failed { reason: "the client does not speak TLS".to_owned(), is_told })
}

/// Goes on behind the first message of the server.
fn shake(
    connection: &mut ServerConnection,
    socket: &mut (impl Read + Write),
    may_use_key: bool,
) -> io::Result<Handshake> {
    loop {
        let is_sent = flush(connection, socket)?;
        if !connection.is_handshaking() {
            return Ok(if is_sent { Handshake::Done } else { Handshake::Waits });
        }
        let received = received(connection.read_tls(socket))?;
        match received {
            Some(0) => return Ok(Handshake::Failed { reason: ENDED_EARLY.to_owned(), is_told: false }),
            // What was received is looked at with the key.
            Some(_) if needs_key(connection) && !may_use_key => return Ok(Handshake::NeedsKey),
            None if !needs_key(connection) || !may_use_key => return Ok(Handshake::Waits),
            Some(_) | None => {}
        }
        if let Err(error) = connection.process_new_packets() {
            // The alert that says so; the client may see a reset instead.
            let is_told = flush(connection, socket).is_ok();
            return Ok(Handshake::Failed { reason: error.to_string(), is_told });
        }
        if received.is_none() && needs_key(connection) {
            return Ok(Handshake::Waits);
        }
    }
}

/// True if the client was asked for another first message (RFC 8446 §4.1.4): the key is used behind that, and was not
/// before.
fn needs_key(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
        && connection.negotiated_key_exchange_group().is_none()
}

/// False if the socket is full.
fn flush(connection: &mut ServerConnection, socket: &mut impl Write) -> io::Result<bool> {
    while connection.wants_write() {
        match connection.write_tls(socket) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The slices behind the first `skip` bytes, at most `most` bytes of them; returns how many slices.
fn slices_behind<'a>(bufs: &[&'a [u8]], mut skip: usize, mut most: usize, out: &mut [IoSlice<'a>]) -> usize {
    let mut count = 0;
    for buf in bufs {
        let rest = &buf[skip.min(buf.len())..];
        skip -= buf.len() - rest.len();
        let rest = &rest[..rest.len().min(most)];
        most -= rest.len();
        if !rest.is_empty() && count < out.len() {
            out[count] = IoSlice::new(rest);
            count += 1;
        }
    }
    count
}

/// What [`receive`] took of the socket.
enum Received {
    /// All it had: an event tells of more.
    All,
    /// Perhaps it has more.
    Some,
}

/// Receives once, decrypts it, and moves the content behind the first `filled` bytes of `buf`.
///
/// Records are received into the end of `buf`, and their content, which is shorter, is put in front of them: only
/// what rustls held of a record before can come on top, so the space of a record is left free.
fn receive(
    connection: &mut ServerConnection,
    socket: &mut (impl Read + Write),
    buf: &mut [u8],
    filled: &mut usize,
) -> io::Result<Received> {
    let begin = *filled + RECORD_BYTES_MAX;
    if buf.len() < begin + RECEIVED_BYTES_MIN {
        connection.read_tls(socket)?;
        process(connection, socket)?;
        return Ok(Received::Some);
    }
    let n = socket.read(&mut buf[begin..])?;
    let end = begin + n;
    if n == 0 {
        connection.read_tls(&mut io::empty())?;
        process(connection, socket)?;
        return Ok(Received::Some);
    }
    let result = if end < buf.len() { Received::All } else { Received::Some };
    let mut at = begin;
    while at < end {
        let (content, records) = buf.split_at_mut(at);
        let n = connection.read_tls(&mut &records[..end - at])?;
        if n == 0 {
            break; // behind the end that a record told of, nothing counts
        }
        at += n;
        process(connection, socket)?;
        loop {
            match connection.reader().read(&mut content[*filled..]) {
                Ok(0) => break,
                Ok(n) => *filled += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(result)
}

/// Decrypts what rustls was given, and sends what that demands: an alert, a change of keys.
fn process(connection: &mut ServerConnection, socket: &mut impl Write) -> io::Result<()> {
    let processed = connection.process_new_packets();
    if connection.wants_write() {
        // If that fails, the next send finds out.
        let _ = flush(connection, socket);
    }
    processed.map(|_| ()).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}
