//! What the user of a client can set, and what a client reports while it works.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::ClientError;
use super::rate_limit::RateLimit;
use super::tls::Tls;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's secret or a token, sent first on every connection; or the password of the user.
    pub token: Option<String>,
    /// The user that logs in with a password.
    pub user: Option<String>,
    /// What connections to an [`Address`](super::Address) with TLS need.
    pub tls: Tls,
    /// Time for one connection to be made.
    pub connect_timeout: Duration,
    /// Time without a single byte of progress after which a connection counts as lost.
    pub io_timeout: Duration,
    /// How long a failed request is tried again, from its failure on. A transfer that makes progress has this time again.
    pub retry_for: Duration,
    /// Called before each wait for another try.
    pub on_retry: OnRetry,
    /// Replace files that are there. If false, a request for a name that is taken is refused: with 412 by the server, with
    /// [`std::io::ErrorKind::AlreadyExists`] by a download.
    pub overwrite: bool,
    /// Keep whether files can be executed, both ways.
    pub permissions: bool,
    /// How fast content moves, both ways; as fast as possible if `None`.
    pub rate_limit: Option<RateLimit>,
    /// Wait before the first retry; it doubles with each.
    pub backoff_first: Duration,
    /// Longest wait between tries.
    pub backoff_max: Duration,
    /// Smallest segment of a download, in bytes. Each segment is checked on its own.
    pub segment_min: u64,
    /// Largest segment of a download, in bytes: at most one is lost with a connection.
    pub segment_max: u64,
    /// Uploads of this size and larger can be resumed from their beginning, in bytes. Smaller ones are sent in one piece
    /// first, which saves a round trip and two syncs of the server, and can be resumed once that has failed.
    pub resume_len_min: u64,
    /// Directory that keeps the tokens of unfinished uploads, so that a later run resumes them. It is created if missing;
    /// one that cannot be used is ignored. `None`: an upload is resumed within the call that began it.
    pub state_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            user: None,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(10),
            io_timeout: Duration::from_secs(60),
            retry_for: Duration::from_secs(5),
            on_retry: OnRetry::default(),
            overwrite: true,
            permissions: false,
            rate_limit: None,
            backoff_first: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
            segment_min: 64 << 10,
            segment_max: 8 << 20,
            resume_len_min: 8 << 20,
            state_dir: None,
        }
    }
}

impl Options {
    /// What requests that give a name may replace.
    pub(crate) fn replaced(&self) -> Replaced<'static> {
        if self.overwrite { Replaced::Anything } else { Replaced::Nothing }
    }

    /// The options of an upload of this file.
    pub(super) fn conditions(&self, local: &Metadata, replaced: Replaced<'_>) -> String {
        let is_executable = self.permissions && local.permissions().mode() & 0o111 != 0;
        format!("{replaced}{}", if is_executable { "exec=1 " } else { "" })
    }
}

/// What a request may replace that gives a name. Displayed as the option of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Replaced<'a> {
    Anything,
    Nothing,
    /// The version with this ETag.
    Version(&'a str),
}

impl fmt::Display for Replaced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anything => Ok(()),
            Self::Nothing => f.write_str("if=absent "),
            Self::Version(etag) => write!(f, "if={etag} "),
        }
    }
}

/// A try that failed, and the wait before the next one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// What failed.
    pub error: &'a ClientError,
    /// How long the client waits now.
    pub wait: Duration,
    /// How long from now on it tries again.
    pub left: Duration,
}

type Listener = dyn Fn(&Waiting<'_>) + Send + Sync;

/// A function that is called before each wait, by the thread that waits.
#[derive(Clone, Default)]
pub struct OnRetry(Option<Arc<Listener>>);

impl OnRetry {
    /// Has `listener` called.
    pub fn new(listener: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(super) fn call(&self, waiting: &Waiting<'_>) {
        if let Some(listener) = &self.0 {
            listener(waiting);
        }
    }
}

impl fmt::Debug for OnRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRetry")
    }
}

/// Called back while a transfer runs. Every method does nothing by default.
pub trait Progress {
    /// Checking the bytes of an interrupted download before it is resumed.
    fn verifying(&mut self, _bytes: u64) {}
    /// The size is known. Called again if the file has changed.
    fn total(&mut self, _bytes: u64) {}
    /// Bytes transferred from the start of the file. Decreases when a try is lost.
    fn position(&mut self, _bytes: u64) {}
}

/// Ignores all calls.
impl Progress for () {}
