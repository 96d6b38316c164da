//! The callers of requests. A caller is a name that was proved once; what it may do is looked up again each time, so
//! that a caller stays valid when the rules are read again. Never decides anything, and never holds a secret.

use std::fmt;
use std::sync::Arc;

use crate::access::link::{KeyDigest, Link};

/// The caller of a request. One pointer; a clone copies nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Caller(Option<Arc<Identity>>);

/// The identity of a caller, and what proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The holder of the secret of `--token-file`.
    Secret,
    /// The holder of the secret of `--read-token-file`.
    ReadSecret,
    /// A name of the access file.
    Named { name: Box<str>, proof: Proof },
    /// The holder of a signed link, and the digest of the key that signed it.
    Link { link: Box<Link>, key: KeyDigest },
}

/// By what a name was proved. If the access file has it no more, the name has no rights.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The SHA-256 of the token.
    Token([u8; 32]),
    /// The SHA-256 of the client certificate.
    Certificate([u8; 32]),
    /// The SHA-256 of the stored hash of the password.
    Password([u8; 32]),
    /// A trusted proxy named the user.
    Proxy,
}

/// The certificate of a client, which was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub sha256: [u8; 32],
    /// The first second, since 1970, at which it is not valid.
    pub expires_s: u64,
}

impl Caller {
    /// A client that has proved nothing.
    pub const ANYBODY: Self = Self(None);

    /// True for a client that has proved nothing.
    pub const fn is_anybody(&self) -> bool {
        self.0.is_none()
    }

    /// `None` for [`Caller::ANYBODY`].
    pub fn identity(&self) -> Option<&Identity> {
        self.0.as_deref()
    }

    /// The name in the access file.
    pub fn name(&self) -> Option<&str> {
        match self.identity()? {
            Identity::Named { name, .. } => Some(name),
            Identity::Secret | Identity::ReadSecret | Identity::Link { .. } => None,
        }
    }

    /// The link of its holder.
    pub fn link(&self) -> Option<&Link> {
        match self.identity()? {
            Identity::Link { link, .. } => Some(link),
            _ => None,
        }
    }
}

impl From<Identity> for Caller {
    fn from(identity: Identity) -> Self {
        Self(Some(Arc::new(identity)))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity() {
            None => f.write_str("@"),
            Some(Identity::Secret) => f.write_str("(secret)"),
            Some(Identity::ReadSecret) => f.write_str("(read secret)"),
            Some(Identity::Named { name, .. }) => f.write_str(name),
            Some(Identity::Link { link, .. }) => write!(f, "(link of {})", link.key_id),
        }
    }
}

impl fmt::Debug for Proof {
    /// Without the value: it would help to find a weak token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Certificate(_) => "Certificate",
            Self::Password(_) => "Password",
            Self::Proxy => "Proxy",
        })
    }
}
