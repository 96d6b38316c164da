//! What the user of a client can set for TLS.

use std::path::PathBuf;

/// The authorities that a client trusts over TLS, and its own certificate. Files are PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates of authorities or of servers that are trusted, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The SHA-256 of the certificate of the only server that is trusted, whatever its name and dates.
    pub fingerprint: Option<[u8; 32]>,
    /// The certificate that the client shows, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}
