//! TLS: what a server shows its clients, and the session of one connection. Plain connections never come here.

mod identity;
mod key_worker;
mod session;
#[cfg(test)]
mod tests;
mod tickets;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;

use crate::config::TlsFiles;
use crate::os::process;

use identity::{Identity, Tickets};
pub use identity::{IdentityError, OwnCertificate, make_self_signed};
pub use key_worker::{KeyWorker, SESSIONS_MAX as KEY_WORKER_SESSIONS_MAX};
pub use session::{SESSION_BYTES_MAX, TlsSession};
use tickets::TicketSecrets;

/// What every session of a server begins with. A reload replaces it for new connections.
pub struct Acceptor {
    files: TlsFiles,
    /// Locked for the clone of an `Arc`.
    configs: Mutex<Configs>,
    has_cores: bool,
    /// Those that other servers have, too.
    tickets: Option<Arc<TicketSecrets>>,
}

/// With ALPN for HTTP, and without.
struct Configs {
    http: Arc<ServerConfig>,
    other: Arc<ServerConfig>,
    tickets: Tickets,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Acceptor {
    /// Reads the files. With `shared`, the keys of tickets are in that file, which other servers use too; until the first
    /// [`refresh_tickets`](Self::refresh_tickets) they are not.
    pub fn open(files: TlsFiles, shared: Option<PathBuf>) -> Result<Self, IdentityError> {
        let tickets = shared.map(TicketSecrets::new).transpose();
        let tickets = tickets.map_err(|error| IdentityError::Cryptography(error.to_string()))?.map(Arc::new);
        let configs = Mutex::new(Configs::read(&files, None, tickets.as_ref())?);
        // Now: in a sandbox, the share of the cores that a container has cannot be read.
        let has_cores = process::cores() > 1;
        Ok(Self { files, configs, has_cores, tickets })
    }

    /// Reads the files again: what is returned puts them into effect. Blocks on the disk: for another thread than that of
    /// the loop.
    pub fn reload(&self) -> Result<impl FnOnce(), IdentityError> {
        let before = self.configs().tickets.clone();
        let configs = Configs::read(&self.files, Some(before), self.tickets.as_ref())?;
        Ok(move || *self.configs() = configs)
    }

    /// True if the keys of tickets are in a file.
    pub const fn shares_tickets(&self) -> bool {
        self.tickets.is_some()
    }

    /// Looks which keys of tickets the servers use now, and makes new ones where it is time for that. Blocks on the disk:
    /// not for the loop.
    pub fn refresh_tickets(&self) -> io::Result<()> {
        self.tickets.as_ref().map_or(Ok(()), |tickets| tickets.refresh(process::unix_time()))
    }

    fn configs(&self) -> MutexGuard<'_, Configs> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if handshakes may have another core than the loop.
    pub const fn has_cores(&self) -> bool {
        self.has_cores
    }

    /// Begins a session. `received`: what has been read of the client already.
    pub fn accept(&self, is_http: bool, received: &[u8]) -> TlsSession {
        let configs = self.configs();
        let config = if is_http { &configs.http } else { &configs.other };
        TlsSession::new(Arc::clone(config), configs.verifier.clone(), received)
    }
}

impl Configs {
    fn read(
        files: &TlsFiles,
        before: Option<Tickets>,
        shared: Option<&Arc<TicketSecrets>>,
    ) -> Result<Self, IdentityError> {
        let Identity { config: other, tickets, verifier } = identity::read(files, before, shared)?;
        let mut http = other.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http: Arc::new(http), other: Arc::new(other), tickets, verifier })
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}
