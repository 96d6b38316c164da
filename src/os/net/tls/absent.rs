//! What stands for TLS in a build without it: an acceptor that cannot be had, so that no session ever begins.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::config::TlsFiles;
use crate::error::WITHOUT_TLS;
use crate::ids::ConnId;
use crate::platform::ClientCertificate;
use crate::platform::{Handshake, KeyUse};

/// No session begins, so none holds anything.
pub const SESSION_BYTES_MAX: usize = 0;
pub const KEY_WORKER_SESSIONS_MAX: usize = 0;

/// TLS is not part of this build.
#[derive(Debug)]
pub struct IdentityError;

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WITHOUT_TLS)
    }
}

impl std::error::Error for IdentityError {}

#[derive(Debug)]
pub struct Acceptor(Infallible);

impl Acceptor {
    pub fn open(_files: TlsFiles, _shared: Option<PathBuf>) -> Result<Self, IdentityError> {
        Err(IdentityError)
    }

    pub fn reload(&self) -> Result<fn(), IdentityError> {
        match self.0 {}
    }

    pub const fn shares_tickets(&self) -> bool {
        match self.0 {}
    }

    pub fn refresh_tickets(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub const fn has_cores(&self) -> bool {
        match self.0 {}
    }

    pub fn accept(&self, _is_http: bool, _received: &[u8]) -> TlsSession {
        match self.0 {}
    }
}

#[derive(Debug)]
pub struct OwnCertificate(Infallible);

impl OwnCertificate {
    pub fn fingerprint(&self) -> String {
        match self.0 {}
    }

    pub fn covers(&self, _name: &str) -> bool {
        match self.0 {}
    }
}

pub fn make_self_signed(
    _: &std::path::Path,
    _names: Vec<String>,
    _now_s: u64,
) -> Result<OwnCertificate, IdentityError> {
    Err(IdentityError)
}

#[derive(Debug)]
pub struct KeyWorker(Infallible);

impl KeyWorker {
    pub fn start(_wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub const fn take(&mut self, _id: ConnId, _session: &mut TlsSession) -> io::Result<KeyUse> {
        match self.0 {}
    }

    pub const fn next_done(&mut self) -> Option<ConnId> {
        match self.0 {}
    }
}

#[derive(Debug)]
pub struct Lent(Infallible);

impl Lent {
    pub const fn use_key(self) {
        match self.0 {}
    }
}

#[derive(Debug)]
pub struct TlsSession(Infallible);

impl TlsSession {
    pub const fn lend(&mut self) -> Lent {
        match self.0 {}
    }

    pub fn handshake(&mut self, _socket: &mut (impl Read + Write)) -> io::Result<Handshake> {
        match self.0 {}
    }

    pub fn recv(&mut self, _socket: &mut (impl Read + Write), _buf: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub const fn holds_input(&self) -> bool {
        match self.0 {}
    }

    pub fn send(&mut self, _socket: &mut (impl Read + Write), _bufs: &[&[u8]]) -> io::Result<usize> {
        match self.0 {}
    }

    pub const fn is_full(&self) -> bool {
        match self.0 {}
    }

    pub const fn holds_output(&self) -> bool {
        match self.0 {}
    }

    pub fn finish(&mut self, _socket: &mut (impl Read + Write)) -> io::Result<()> {
        match self.0 {}
    }

    pub const fn peer_certificate(&self) -> Option<ClientCertificate> {
        match self.0 {}
    }
}
