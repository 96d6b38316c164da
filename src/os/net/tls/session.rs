//! TLS on one connection: its handshake, then its records, over any socket. Never decides what is sent.
//!
//! The calls have the meaning of those of [`Stream`](crate::platform::Stream). Content counts as sent once the
//! socket has taken all of the records it is in: until then the caller keeps it and shows it again, so that a
//! connection with a last reply that has not left is not done.

mod client_certificate;
mod handshake;
mod hello;
mod records;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::server::danger::ClientCertVerifier;

use crate::platform::ClientCertificate;

pub use self::records::AHEAD_BYTES_MAX;
use self::records::{RECORD_BYTES_MAX, SCRATCH, Scratch, Step, encrypt, end, step};

/// Bytes of a handshake that are received and not used: the longest message, in its records.
const HANDSHAKE_BYTES_MAX: usize = 68 * 1024;
/// What a session holds at most: a message of the handshake with the next bytes, or else two records that are sent,
/// one that is received and the content of another.
pub const SESSION_BYTES_MAX: usize = HANDSHAKE_BYTES_MAX + RECORD_BYTES_MAX + 8 * 1024;
const _: () = assert!(SESSION_BYTES_MAX > AHEAD_BYTES_MAX + 2 * RECORD_BYTES_MAX + 8 * 1024);
/// Records are received directly into the buffer of the caller where it has more space than this after the longest
/// record.
const RECEIVED_BYTES_MIN: usize = 8 * 1024;
/// What a handshake fails with that needs the thread for private keys after that has panicked.
pub const WORKER_ENDED: &str = "the thread for handshakes has ended";
const CUT_OFF: &str = "the connection ended, and its encryption did not (no close_notify)";

enum Stage {
    /// The first message of the client is not whole, or not answered yet.
    Hello { config: Arc<ServerConfig>, is_first: bool },
    /// From the server's first message on.
    Open(Box<UnbufferedServerConnection>),
    /// Another thread continues with the handshake: it comes back from there with all that the session holds.
    Lent(Receiver<TlsSession>),
    /// The client has broken the rules, and was sent an alert.
    Failed,
}

/// One connection that speaks TLS. While nothing is under way it holds no buffer.
pub struct TlsSession {
    stage: Stage,
    /// Received and not used: a part of a record, or of a message of the handshake.
    input: Vec<u8>,
    /// Content that the buffer of the caller had no space for.
    content: VecDeque<u8>,
    /// Encrypted bytes that the socket has not taken.
    output: Vec<u8>,
    /// Bytes of content that are encrypted and not reported as sent.
    ahead: usize,
    /// The last send stopped because the socket was full.
    is_full: bool,
    /// The next `recv` gives something even if the socket is empty, or did not find out that it is.
    holds_input: bool,
    has_received_end: bool,
    has_sent_end: bool,
    /// Verifies the certificates of clients, which takes as long as a use of the private key.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// An error after content that was received before it.
    failed: Option<io::Error>,
    /// What the client has shown, and what was verified.
    certificate: Option<Box<ClientCertificate>>,
}

impl TlsSession {
    /// `received`: bytes of the client that were read before.
    pub fn new(config: Arc<ServerConfig>, verifier: Option<Arc<dyn ClientCertVerifier>>, received: &[u8]) -> Self {
        let stage = Stage::Hello { config, is_first: received.is_empty() };
        Self { input: received.to_vec(), verifier, ..Self::at(stage) }
    }

    /// A session that holds nothing.
    const fn at(stage: Stage) -> Self {
        Self {
            stage,
            input: Vec::new(),
            content: VecDeque::new(),
            output: Vec::new(),
            ahead: 0,
            is_full: false,
            holds_input: false,
            has_received_end: false,
            has_sent_end: false,
            verifier: None,
            failed: None,
            certificate: None,
        }
    }

    /// Gives all of the session to the thread that takes the step of the handshake that uses the private key. Until it
    /// is back, the handshake waits.
    pub fn lend(&mut self) -> Lent {
        let (back, returned) = mpsc::sync_channel(1);
        Lent { session: std::mem::replace(self, Self::at(Stage::Lent(returned))), back }
    }

    /// See [`Stream::recv`](crate::platform::Stream::recv). Nothing that was decrypted is left behind unless `buf` is
    /// full: see [`Self::holds_input`].
    pub fn recv(&mut self, socket: &mut (impl Read + Write), buf: &mut [u8]) -> io::Result<usize> {
        if self.is_handshaking() || buf.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.holds_input = true;
        if !self.content.is_empty() {
            let n = self.content.read(buf)?;
            if self.content.is_empty() {
                self.content = VecDeque::new();
            }
            return Ok(n);
        }
        while !self.has_received_end {
            let direct = RECORD_BYTES_MAX + self.input.len() + RECEIVED_BYTES_MIN;
            let received = match buf.len() >= direct {
                true => self.receive(socket, buf),
                false => SCRATCH.with_borrow_mut(|Scratch { received, .. }| {
                    let (filled, is_all) = self.receive(socket, received)?;
                    let (now, later) = received[..filled].split_at(filled.min(buf.len()));
                    buf[..now.len()].copy_from_slice(now);
                    self.content.extend(later);
                    Ok((now.len(), is_all && later.is_empty()))
                }),
            };
            match received {
                Ok((0, _)) => {}
                Ok((n, is_all)) => {
                    self.holds_input = !is_all;
                    return Ok(n);
                }
                Err(error) => {
                    self.holds_input = error.kind() != ErrorKind::WouldBlock;
                    return Err(error);
                }
            }
        }
        Ok(0)
    }

    /// Receives once, and decrypts that to the begin of `buf`: returns how many bytes it became, and true if that is
    /// all until an event tells of more.
    ///
    /// Records are received after the space of the longest, and their content, which is shorter, is put in front of
    /// them.
    fn receive(&mut self, socket: &mut (impl Read + Write), buf: &mut [u8]) -> io::Result<(usize, bool)> {
        let Stage::Open(connection) = &mut self.stage else { return Err(self.not_open()) };
        let (mut used, mut filled) = (RECORD_BYTES_MAX, 0);
        let held = used + self.input.len();
        if self.input.len() >= RECORD_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "a message is too long"));
        }
        let n = socket.read(&mut buf[held..])?;
        if n == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, CUT_OFF));
        }
        buf[used..held].copy_from_slice(&self.input);
        self.input.clear();
        let (end, is_all) = (held + n, held + n < buf.len());
        loop {
            let (front, records) = buf[..end].split_at_mut(used);
            let (n, step) = step(connection, records, &mut self.output, |content| {
                front[filled..filled + content.len()].copy_from_slice(content);
                filled += content.len();
            });
            used += n;
            match step {
                Ok(Step::Again) => continue,
                Ok(Step::Waits) => self.input.extend_from_slice(&buf[used..end]),
                Ok(Step::Ended) => self.has_received_end = true,
                Err(error) => {
                    self.failed = Some(io::Error::new(ErrorKind::InvalidData, error));
                    self.stage = Stage::Failed;
                }
            }
            break;
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        // What it demands: an alert, a change of keys. If that fails, the next send finds out.
        let _ = self.flush(socket);
        match self.failed.take_if(|_| filled == 0) {
            Some(error) => Err(error),
            None => Ok((filled, is_all && self.failed.is_none() && !self.has_received_end)),
        }
    }

    /// Why nothing can be sent or received.
    fn not_open(&self) -> io::Error {
        match self.stage {
            Stage::Failed => ErrorKind::InvalidData.into(),
            _ => ErrorKind::WouldBlock.into(),
        }
    }

    /// See [`Stream::holds_input`](crate::platform::Stream::holds_input).
    pub const fn holds_input(&self) -> bool {
        self.holds_input
    }

    /// See [`Stream::send`](crate::platform::Stream::send). Bytes that are encrypted already and shown again are not
    /// looked at.
    pub fn send(&mut self, socket: &mut (impl Read + Write), bufs: &[&[u8]]) -> io::Result<usize> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        self.is_full = !self.flush(socket)?;
        let mut sent = 0;
        if !self.is_full {
            sent = self.ahead.min(total);
            self.ahead -= sent;
        }
        while sent < total && !self.is_full {
            let n = SCRATCH.with_borrow_mut(|scratch| self.send_ahead(socket, (bufs, sent), scratch))?;
            match self.is_full {
                false => sent += n,
                true => self.ahead = n,
            }
        }
        if sent == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// Encrypts some records and sends what the socket takes of them; what it does not take is held.
    fn send_ahead(
        &mut self,
        socket: &mut impl Write,
        content: (&[&[u8]], usize),
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        let Self { stage: Stage::Open(connection), input, output, .. } = self else {
            return Err(self.not_open());
        };
        let (n, len) = encrypt(connection, input, output, content, scratch)?;
        let mut encrypted = &scratch.encrypted[..len];
        while self.output.is_empty() && !encrypted.is_empty() {
            let Some(n) = write(socket, encrypted)? else { break };
            encrypted = &encrypted[n..];
        }
        self.output.extend_from_slice(encrypted);
        self.is_full = !self.flush(socket)?;
        Ok(n)
    }

    /// True if the last send stopped because the socket was full.
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// True while encrypted bytes wait for the socket.
    pub const fn holds_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// See [`Stream::finish`](crate::platform::Stream::finish).
    pub fn finish(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        if let Stage::Open(connection) = &mut self.stage
            && !std::mem::replace(&mut self.has_sent_end, true)
        {
            end(connection, &mut self.input, &mut self.output);
        }
        if self.flush(socket)? { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    /// False if the socket is full.
    fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.output.is_empty() {
            match write(socket, &self.output)? {
                None => return Ok(false),
                Some(n) if n == self.output.len() => self.output = Vec::new(),
                Some(n) => drop(self.output.drain(..n)),
            }
        }
        Ok(true)
    }

    /// Bytes of the buffers that it holds.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.input.capacity() + self.content.capacity() + self.output.capacity()
    }

    /// The certificate that the client has shown.
    pub fn peer_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.as_deref().copied()
    }
}

/// The session of a connection on its way through another thread.
#[derive(Debug)]
pub struct Lent {
    session: TlsSession,
    back: SyncSender<TlsSession>,
}

impl Lent {
    /// Takes the step that uses the private key, and gives the session back.
    pub fn use_key(mut self) {
        if let Err(error) = self.session.use_key() {
            self.session.failed = Some(io::Error::other(error));
        }
        // A connection that was closed meanwhile does not want it back.
        let _ = self.back.send(self.session);
    }
}

impl std::fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSession").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

/// `None` if the socket is full.
fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(Some(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
