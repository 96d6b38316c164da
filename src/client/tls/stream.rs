//! One connection over TLS, on a socket that blocks. An end of the socket that the server has not announced is an
//! error, never an end of the content.

use std::io::{self, BufReader, ErrorKind::*, IoSlice, Read as _, Write};
use std::net::TcpStream;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::failure::explain_handshake;
use super::trust::Tls;
use crate::client::error::ErrorKind;
use crate::client::socket::send_now;

/// Most bytes read from the socket by one call.
const RECEIVED_BYTES: usize = 128 << 10;
/// Content that is encrypted ahead of the socket.
const AHEAD_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub struct TlsStream {
    session: ClientConnection,
    /// rustls reads 4 KiB at a time.
    socket: BufReader<TcpStream>,
    /// Found after content that was returned first.
    failed: Option<io::Error>,
}

impl TlsStream {
    /// Shakes hands with `host`.
    pub fn begin(socket: TcpStream, host: &str, tls: &Tls) -> Result<Self, ErrorKind> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ErrorKind::Tls(format!("no certificate can be for the name {host}")))?;
        let session = ClientConnection::new(tls.config()?, name);
        let mut session = session.map_err(|error| ErrorKind::Tls(error.to_string()))?;
        session.set_buffer_limit(Some(AHEAD_BYTES));
        let mut stream = Self { session, socket: BufReader::with_capacity(RECEIVED_BYTES, socket), failed: None };
        stream.shake().map_err(explain_handshake)?;
        Ok(stream)
    }

    fn shake(&mut self) -> io::Result<()> {
        self.send_held()?;
        while self.session.is_handshaking() {
            if self.receive()? == 0 {
                return Err(UnexpectedEof.into());
            }
            self.send_held()?;
        }
        Ok(())
    }

    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Content that is there without waiting, at least one byte, or the end.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut filled = 0;
        loop {
            match self.session.reader().read(&mut buf[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(count) => {
                    filled += count;
                    if filled == buf.len() {
                        return Ok(filled);
                    }
                    continue;
                }
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return self.fail(filled, error),
            }
            if filled > 0 && self.socket.buffer().is_empty() {
                return Ok(filled);
            }
            if let Err(error) = self.send_held().and_then(|()| self.receive()) {
                return self.fail(filled, error);
            }
        }
    }

    /// An error comes after the content before it.
    fn fail(&mut self, filled: usize, error: io::Error) -> io::Result<usize> {
        if filled == 0 {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(filled)
    }

    /// Receives bytes and decrypts them; waits for some if there are none. Zero: the socket has ended.
    fn receive(&mut self) -> io::Result<usize> {
        let count = loop {
            match self.session.read_tls(&mut self.socket) {
                Err(error) if error.kind() == Interrupted => {}
                result => break result?,
            }
        };
        if let Err(error) = self.session.process_new_packets() {
            // The alert that tells the server; that it cannot be sent matters less.
            let _ = self.session.write_tls(&mut NoWait(self.socket.get_ref()));
            return Err(io::Error::new(InvalidData, error));
        }
        Ok(count)
    }

    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(bytes)?;
        self.send_held()
    }

    /// Sends what is encrypted, and waits until the socket has taken it.
    fn send_held(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(self.socket.get_mut()) {
                Ok(0) => return Err(WriteZero.into()),
                Err(error) if error.kind() != Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            while self.session.wants_write() {
                match self.session.write_tls(&mut NoWait(self.socket.get_ref())) {
                    Err(error) if error.kind() == WouldBlock && taken > 0 => return Ok(taken),
                    result => result?,
                };
            }
            if taken == bytes.len() {
                return Ok(taken);
            }
            taken += self.session.writer().write(&bytes[taken..])?;
        }
    }

    pub fn holds_unsent(&self) -> bool {
        self.session.wants_write()
    }

    pub fn has_input(&mut self) -> io::Result<bool> {
        loop {
            let count = self.receive()?;
            let state = self.session.process_new_packets().map_err(io::Error::other)?;
            if count == 0 || state.peer_has_closed() || state.plaintext_bytes_to_read() > 0 {
                return Ok(true);
            }
            if self.socket.buffer().is_empty() {
                return Ok(false);
            }
        }
    }

    pub fn end(&mut self) {
        self.session.send_close_notify();
        let _ = self.session.write_tls(&mut NoWait(self.socket.get_ref()));
    }
}

/// A socket to which only as much is written as it takes at once.
struct NoWait<'a>(&'a TcpStream);

impl Write for NoWait<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send_now(self.0, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
