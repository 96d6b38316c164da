//! The bytes of one connection, plain or over TLS. Never knows what they say.

use std::io::{self, IoSlice, Read, Write as _};
use std::net::TcpStream;

use super::address::Address;
use super::error::ErrorKind;
use super::socket::send_now;
use super::tls::{Tls, TlsStream};

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Begins on a socket that is connected to `address`. Over TLS, the certificate of the server was verified when this returns.
    pub(super) fn begin(socket: TcpStream, address: &Address, tls: &Tls) -> Result<Self, ErrorKind> {
        if address.tls {
            Ok(Self::Tls(Box::new(TlsStream::begin(socket, &address.host, tls)?)))
        } else {
            Ok(Self::Plain(socket))
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Sends everything.
    pub(super) fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.send_all(bytes),
        }
    }

    /// Takes as many of the bytes as can be sent without waiting: how many.
    pub(super) fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => send_now(socket, &[IoSlice::new(bytes)]),
            Self::Tls(stream) => stream.send_some(bytes),
        }
    }

    /// True if the socket has not got all that [`Self::send_some`] took.
    pub(super) fn holds_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.holds_unsent(),
        }
    }

    /// Called when the socket can be read. False if there is nothing in it for the reader: neither content nor an end.
    pub(super) fn has_input(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(stream) => stream.has_input(),
        }
    }

    /// Tells the server that nothing more comes.
    pub(super) fn end(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Tls(stream) => stream.end(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}
