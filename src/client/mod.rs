//! The client: a blocking library over the `line` protocol, as `filewharf put|get|ls|rm` use it.
//!
//! A [`Client`] is one connection that is opened again when it is lost; several of them may be
//! used side by side in threads. Everything that crosses the wire is checked by SHA-256. Nothing
//! here prints, and nothing of the server is used but its grammar.
#![warn(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the client reaches the world: files, sockets, waiting between tries")]

mod address;
mod connection;
mod dir;
mod download;
mod error;
mod get;
mod list;
mod partial_file;
mod put;
mod retry;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::thread;
use std::time::Duration;

pub use address::{Address, DEFAULT_PORT, RemotePath, as_dir};
pub use dir::Dir;
pub use error::{ClientError, ErrorKind, printable};
pub use get::{Download, GetOptions};
pub use list::{Entry, Listing};
pub use put::Stored;

use crate::wire::key;
use crate::wire::line::Reply;
use crate::wire::range::decimal;
use connection::Connection;
use retry::Retry;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's secret, sent first on every connection.
    pub token: Option<String>,
    /// Time for one connection to be made.
    pub connect_timeout: Duration,
    /// Time without a single byte of progress after which a connection counts as lost.
    pub io_timeout: Duration,
    /// How often a failed request is tried again; a download that gained ground counts anew.
    pub retries: u32,
    /// Wait before the first retry; it doubles with each.
    pub backoff_first: Duration,
    /// Longest wait between tries.
    pub backoff_max: Duration,
    /// Smallest piece of a download that is checked by itself, in bytes.
    pub segment_min: u64,
    /// Largest piece of a download that is checked by itself, in bytes. What is lost with a
    /// connection is at most one such piece.
    pub segment_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            connect_timeout: Duration::from_secs(10),
            io_timeout: Duration::from_secs(60),
            retries: 5,
            backoff_first: Duration::from_millis(200),
            backoff_max: Duration::from_secs(5),
            segment_min: 64 << 10,
            segment_max: 8 << 20,
        }
    }
}

/// Told how an operation goes on. Every method may be left as it is.
pub trait Progress {
    /// So many bytes of an earlier download are here; they are read and checked now.
    fn checking(&mut self, _bytes: u64) {}
    /// The size is known; may come again when the file has changed.
    fn total(&mut self, _bytes: u64) {}
    /// So many bytes from the start are here (or there). Goes back when a try is lost.
    fn at(&mut self, _bytes: u64) {}
    /// A try failed; the next one begins after the wait.
    fn retrying(&mut self, _trouble: &ErrorKind, _wait: Duration) {}
}

/// Watches nothing.
impl Progress for () {}

/// What `STAT` told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// It is a directory.
    pub dir: bool,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// The version; directories have none.
    pub etag: Option<String>,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    address: Address,
    options: Options,
    connection: Option<Connection>,
}

impl Client {
    /// Connects, with retries, and shows the secret if there is one.
    pub fn connect(address: &Address, options: Options) -> Result<Self, ClientError> {
        let mut client = Self { address: address.clone(), options, connection: None };
        client.attempt("", &mut (), |_, _| Ok(()))?;
        Ok(client)
    }

    /// The server it talks to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks whether the server answers.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.request("PING\n", "").map(drop)
    }

    /// What is at `path`.
    pub fn stat(&mut self, path: &str) -> Result<Stat, ClientError> {
        self.check(path)?;
        let reply = self.request(&format!("STAT {path}\n"), path)?;
        let number = |key| reply.key(key).and_then(decimal).unwrap_or(0);
        Ok(Stat {
            dir: reply.key("folder") == Some("1"),
            size: number("size"),
            mtime: number("mtime"),
            etag: reply.key("etag").map(str::to_owned),
        })
    }

    /// Makes a directory and its parents.
    pub fn mkdir(&mut self, path: &str) -> Result<(), ClientError> {
        self.check(path)?;
        self.request(&format!("MKDIR {}\n", as_dir(path)), path).map(drop)
    }

    /// Removes a file or an empty directory.
    pub fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        self.check(path)?;
        let mut was_lost = false;
        let line = format!("DELETE {path}\n");
        let gone = self.attempt(path, &mut (), |connection, _| {
            let result = connection.ask(&line).and_then(|()| connection.ok());
            match result {
                // The try whose answer was lost has done it.
                Err(ErrorKind::Refused { code: 404, .. }) if was_lost => Ok(()),
                other => {
                    was_lost |= matches!(other, Err(ErrorKind::ConnectionLost(_)));
                    other.map(drop)
                }
            }
        });
        gone.map(drop)
    }

    /// Moves a file or directory. Not tried again when the connection is lost, because nobody could
    /// tell then whether it had happened.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), ClientError> {
        self.check(old)?;
        self.check(new)?;
        let line = format!("RENAME {old}\t{new}\n");
        self.once(|connection| connection.ask(&line).and_then(|()| connection.ok()))
            .map(drop)
            .map_err(|kind| kind.at(&self.address, old))
    }

    /// One level of a directory, however large: a page is asked for when the one before is used up.
    pub fn list(&mut self, path: &str) -> Listing<'_> {
        Listing::new(self, path)
    }

    /// A request without bodies.
    fn request(&mut self, line: &str, subject: &str) -> Result<Reply, ClientError> {
        self.attempt(subject, &mut (), |connection, _| connection.ask(line).and_then(|()| connection.ok()))
    }

    /// Refuses paths that the protocol has no words for, above all those with an end of line.
    fn check(&self, path: &str) -> Result<(), ClientError> {
        match key::absolute(path) {
            Ok(_) => Ok(()),
            Err(failure) => Err(ErrorKind::InvalidPath(failure.words()).at(&self.address, path)),
        }
    }

    /// Does `work` on a connection, and again on a new one as often as [`Options`] allow.
    fn attempt<T>(
        &mut self,
        subject: &str,
        progress: &mut dyn Progress,
        mut work: impl FnMut(&mut Connection, &mut dyn Progress) -> Result<T, ErrorKind>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::new(&self.options);
        loop {
            match self.once(|connection| work(connection, progress)) {
                Ok(done) => return Ok(done),
                Err(kind) => pause(&mut retry, kind, progress).map_err(|last| last.at(&self.address, subject))?,
            }
        }
    }

    /// Does `work` on the connection there is, or a new one. It is kept only if the next request
    /// can be found on it with certainty.
    fn once<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, ErrorKind>) -> Result<T, ErrorKind> {
        let mut connection = match self.connection.take().filter(Connection::is_idle) {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.options)?,
        };
        let result = work(&mut connection);
        let agreed = matches!(&result, Ok(_) | Err(ErrorKind::Refused { code: 404 | 409 | 412 | 416, .. }));
        if agreed && connection.is_settled() {
            self.connection = Some(connection);
        }
        result
    }
}

/// Waits before the next try, or gives the trouble back when there should be none.
fn pause(retry: &mut Retry, kind: ErrorKind, progress: &mut dyn Progress) -> Result<(), ErrorKind> {
    let Some(wait) = retry.wait(&kind) else { return Err(kind) };
    progress.retrying(&kind, wait);
    thread::sleep(wait);
    Ok(())
}
