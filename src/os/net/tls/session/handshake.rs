//! The handshake of a session, which stops where the private key is used: another thread takes that step.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;

use rustls::HandshakeKind;
use rustls::pki_types::UnixTime;
use rustls::server::UnbufferedServerConnection;

use super::records::{Step, step};
use super::{HANDSHAKE_BYTES_MAX, Stage, TlsSession, WORKER_ENDED, client_certificate, hello};
use crate::platform::Handshake;

/// Bytes that are read at once during a handshake.
const HELLO_BYTES: usize = 4096;
/// The reply to a client without TLS that speaks HTTP.
const PLAIN_HTTP_REPLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 43\r\nConnection: close\r\n\r\nThis port speaks TLS: use https, not http.\n";
/// The reply to another: a fatal alert, `unexpected_message` (RFC 8446 §6), after which its connection is reset.
const PLAIN_ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 10];
const ENDED_EARLY: &str = "the connection ended within the handshake";

impl TlsSession {
    /// See [`Stream::handshake`](crate::platform::Stream::handshake).
    pub fn handshake(&mut self, socket: &mut (impl Read + Write)) -> io::Result<Handshake> {
        if let Stage::Lent(returned) = &self.stage {
            match returned.try_recv() {
                Ok(session) => *self = session,
                Err(TryRecvError::Empty) => return Ok(Handshake::Waits),
                Err(TryRecvError::Disconnected) => return Err(io::Error::other(WORKER_ENDED)),
            }
            if let Some(error) = self.failed.take() {
                return Ok(self.handshake_failed(&error, socket));
            }
        }
        while let Stage::Hello { is_first, .. } = &mut self.stage {
            if hello::is_whole(&self.input) {
                return Ok(Handshake::NeedsKey);
            }
            let is_first = std::mem::take(is_first);
            let Some(n) = self.read(socket)? else { return Ok(Handshake::Waits) };
            if n == 0 {
                // Whether the port is open was all it wanted to know.
                let reason = if is_first { String::new() } else { ENDED_EARLY.to_owned() };
                return Ok(Handshake::Failed { reason, is_answered: false });
            }
            if is_first && let Some(failed) = refuse_plain(&self.input, socket) {
                return Ok(failed);
            }
        }
        self.shake(socket)
    }

    /// Uses the private key for what has been received.
    pub(super) fn use_key(&mut self) -> Result<(), rustls::Error> {
        if let Stage::Hello { config, .. } = &self.stage {
            let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
            self.stage = Stage::Open(Box::new(connection));
        }
        self.process()?;
        if let (Stage::Open(connection), Some(verifier)) = (&self.stage, &self.verifier)
            && let Some(chain) = connection.peer_certificates()
        {
            let known = client_certificate::known(chain, &**verifier);
            // That of a session was verified when the session began.
            let is_valid = connection.handshake_kind() != Some(HandshakeKind::Resumed)
                || client_certificate::is_valid(chain, &**verifier, UnixTime::now());
            self.certificate = known.filter(|_| is_valid).map(Box::new);
        }
        Ok(())
    }

    /// Continues after the first message of the server.
    fn shake(&mut self, socket: &mut (impl Read + Write)) -> io::Result<Handshake> {
        loop {
            let is_sent = self.flush(socket)?;
            if !self.is_handshaking() {
                return Ok(if is_sent { Handshake::Done } else { Handshake::Waits });
            }
            match self.read(socket)? {
                None => return Ok(Handshake::Waits),
                Some(0) => return Ok(Handshake::Failed { reason: ENDED_EARLY.to_owned(), is_answered: false }),
                // What was received is looked at with the key.
                Some(_) if self.needs_key() => return Ok(Handshake::NeedsKey),
                Some(_) => {}
            }
            if let Err(error) = self.process() {
                return Ok(self.handshake_failed(&error, socket));
            }
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.stage, Stage::Open(connection) if connection.is_handshaking())
    }

    /// True if the next bytes of the client take as long as the first: another first message that it was asked for
    /// (RFC 8446 §4.1.4), or its certificate.
    fn needs_key(&self) -> bool {
        let Stage::Open(connection) = &self.stage else { return false };
        let is_asked_again = connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
            && connection.negotiated_key_exchange_group().is_none();
        let verifies = self.verifier.is_some()
            && connection.is_handshaking()
            && connection.handshake_kind() != Some(HandshakeKind::Resumed);
        is_asked_again || verifies
    }

    fn handshake_failed(&mut self, error: &impl ToString, socket: &mut impl Write) -> Handshake {
        // The alert that says so; the client may see a reset instead.
        let is_answered = !self.output.is_empty() && self.flush(socket).is_ok();
        Handshake::Failed { reason: error.to_string(), is_answered }
    }

    /// Reads some bytes of a handshake. `None` if the socket is empty.
    fn read(&mut self, socket: &mut impl Read) -> io::Result<Option<usize>> {
        if self.input.len() + HELLO_BYTES > HANDSHAKE_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "a message of the handshake is too long"));
        }
        let mut bytes = [0; HELLO_BYTES];
        let n = received(socket.read(&mut bytes))?;
        if let Some(n) = n {
            self.input.reserve_exact(n);
            self.input.extend_from_slice(&bytes[..n]);
        }
        Ok(n)
    }

    /// Lets rustls use the input of a handshake.
    fn process(&mut self) -> Result<(), rustls::Error> {
        let Self { stage: Stage::Open(connection), input, output, content, .. } = self else { return Ok(()) };
        let mut used = 0;
        let result = loop {
            let (n, step) = step(connection, &mut input[used..], output, |bytes| content.extend(bytes));
            used += n;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Waits) => break Ok(()),
                Ok(Step::Ended) => {
                    self.has_received_end = true;
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if used == input.len() || self.has_received_end {
            *input = Vec::new();
        } else {
            input.drain(..used);
        }
        if result.is_err() {
            self.stage = Stage::Failed;
        }
        result
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

/// Tells a client that has begun in plain text.
fn refuse_plain(bytes: &[u8], socket: &mut impl Write) -> Option<Handshake> {
    if bytes.first().is_none_or(|first| *first == hello::HANDSHAKE) {
        return None;
    }
    let is_http = bytes.windows(6).any(|word| word == b" HTTP/");
    // A fresh socket takes so few bytes at once.
    let is_sent = socket.write(if is_http { PLAIN_HTTP_REPLY } else { PLAIN_ALERT }).is_ok();
    Some(Handshake::Failed { reason: "the client does not speak TLS".to_owned(), is_answered: is_http && is_sent })
}
