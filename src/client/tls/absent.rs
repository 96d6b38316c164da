//! What stands for TLS in a build without it: streams that cannot be had.

use std::convert::Infallible;
use std::io;
use std::net::TcpStream;

use super::options::TlsOptions;
use crate::client::error::ErrorKind;
use crate::error::WITHOUT_TLS;

/// What connections over TLS have in common: there are none.
#[derive(Clone, Debug, Default)]
pub struct Tls(());

impl Tls {
    /// Does nothing with the options.
    pub fn new(_options: TlsOptions) -> Self {
        Self(())
    }

    /// Always fails.
    pub fn load(&self) -> Result<(), ErrorKind> {
        Err(ErrorKind::Tls(WITHOUT_TLS.to_owned()))
    }
}

#[derive(Debug)]
pub struct TlsStream(Infallible);

impl TlsStream {
    pub fn begin(_: TcpStream, _: &str, tls: &Tls) -> Result<Self, ErrorKind> {
        tls.load()?;
        Err(ErrorKind::Tls(WITHOUT_TLS.to_owned()))
    }

    pub fn socket(&self) -> &TcpStream {
        match self.0 {}
    }

    pub fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn send_all(&mut self, _: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    pub fn send_some(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn holds_unsent(&self) -> bool {
        match self.0 {}
    }

    pub fn has_input(&mut self) -> io::Result<bool> {
        match self.0 {}
    }

    pub fn end(&mut self) {
        match self.0 {}
    }
}

/// What a failure of a connection means.
pub fn explain(error: io::Error) -> ErrorKind {
    ErrorKind::ConnectionLost(error)
}
