//! TLS of the client: the certificates that it trusts, and one connection. Plain connections never come here.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod failure;
mod options;
#[cfg(feature = "tls")]
mod stream;
#[cfg(feature = "tls")]
mod trust;

#[cfg(not(feature = "tls"))]
pub use absent::Tls;
#[cfg(not(feature = "tls"))]
pub(super) use absent::{TlsStream, explain};
pub use options::TlsOptions;
#[cfg(feature = "tls")]
pub use trust::Tls;
#[cfg(feature = "tls")]
pub(super) use {failure::explain, stream::TlsStream};
