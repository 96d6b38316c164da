//! The options of a server: its limits, how it keeps files, what it shows its clients.
//!
//! Nothing here reads a file or an argument: `cli` and the builder fill it in.
#![warn(missing_docs)]

mod limits;
mod networks;
pub mod unit;

use std::path::PathBuf;

use crate::object::Durability;

pub use limits::{Fixed, LIMITS, Limit, Limits, Live, SHORT_REPLY_BYTES};
pub use networks::{NetworkError, Networks};

/// What a server shows the clients of its listeners with TLS, in PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and after it those of the authorities in between.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The authorities of the certificates that clients may show.
    pub client_ca: Option<PathBuf>,
    /// Instead of a certificate and a key: the directory of those that the server makes itself.
    pub self_signed: Option<PathBuf>,
    /// Names and addresses that such a certificate is for, besides those that the server knows itself by.
    pub names: Vec<String>,
}

/// The file of a Unix socket (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Permission bits; a client connects that may write the file.
    pub mode: u32,
    /// `USER` or `USER:GROUP`, names or numbers. Without one, the process and its group own the file.
    pub owner: Option<String>,
}

impl Default for SocketFile {
    fn default() -> Self {
        Self { mode: 0o660, owner: None }
    }
}

/// How much may be stored under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// A path without the first `/`; empty for all of the served directory.
    pub prefix: Box<str>,
    pub unit: QuotaUnit,
    /// All files under it together.
    pub max: u64,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaUnit {
    Bytes,
    /// The names of files.
    Names,
}

impl QuotaUnit {
    /// What a file of this length counts, or a name that has none.
    pub fn of(self, len: Option<u64>) -> u64 {
        match self {
            Self::Bytes => len.unwrap_or(0),
            Self::Names => len.is_some().into(),
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Names => "names",
        }
    }
}

impl TlsFiles {
    /// The certificate that was given, or else the server's own.
    pub fn certificate_path(&self) -> Option<PathBuf> {
        self.certificate.clone().or_else(|| Some(self.self_signed.as_ref()?.join(Self::CERTIFICATE_NAME)))
    }

    /// The key that was given, or else the server's own.
    pub fn key_path(&self) -> Option<PathBuf> {
        self.key.clone().or_else(|| Some(self.self_signed.as_ref()?.join(Self::KEY_NAME)))
    }

    /// In the directory of those that the server makes itself.
    pub const CERTIFICATE_NAME: &str = "cert.pem";
    /// The same.
    pub const KEY_NAME: &str = "key.pem";
}

/// What the line of a request in the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Fields with names, for people and `grep`.
    #[default]
    Text,
    /// The combined format of NCSA.
    #[cfg(feature = "access-log")]
    Combined,
    /// JSON with the fields that Caddy writes.
    #[cfg(feature = "access-log")]
    Json,
}

impl LogFormat {
    /// Where in the log requests are found as text, and notes about peers.
    pub const TEXT_TARGET: &str = "filewharf::transfer";
    /// Where they are in the format of another program: nothing is put in front of them.
    pub const BARE_TARGET: &str = "filewharf::request";
}

/// Whether a server gives up the rights that it does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// It keeps them.
    #[default]
    Off,
    /// It gives up what the system lets it give up.
    Auto,
    /// It gives them up, or does not start.
    Require,
}

/// How the store keeps files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What `OK` promises.
    pub durability: Durability,
    /// Refuse every change; nothing is written under the root, not even a staging directory.
    pub read_only: bool,
    /// Follow symbolic links that stay under the root when reading.
    pub links_inside: bool,
    /// Permission bits of new files instead of 0666 less the umask.
    pub file_mode: Option<u32>,
    /// Use only calls that every unix has.
    pub portable: bool,
    /// Other servers, all of them with this set, may serve the root as well. Else the root is locked.
    pub shared: bool,
    /// Take any file system for one that keeps what was synced, and not only those that are known to.
    pub trust_fs: bool,
    /// Passwords may be shown: a worker of its own checks them.
    pub checks_passwords: bool,
    /// At most one for each prefix.
    pub quotas: Vec<Quota>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            read_only: false,
            links_inside: false,
            file_mode: None,
            portable: false,
            shared: false,
            trust_fs: false,
            checks_passwords: false,
            quotas: Vec::new(),
        }
    }
}
