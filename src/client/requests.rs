//! The client itself: its connection, retries, and the requests that have no body.

use std::time::Duration;

use super::address::{Address, as_dir};
use super::connection::Connection;
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::options::{Options, Progress, Replaced};
use super::retry::Retry;
use crate::wire::key;
use crate::wire::line::Reply;

pub(super) fn make_dir_line(path: &str) -> String {
    format!("MKDIR parents=1 {}\n", as_dir(path))
}

/// Moves or copies a file to a free name.
pub(super) fn relocate_line(is_move: bool, old: &str, new: &str) -> String {
    let verb = if is_move { "RENAME" } else { "COPY" };
    format!("{verb} parents=1 {}{old}\t{new}\n", Replaced::Nothing)
}

pub(super) fn stat_line(path: &str, digest: bool) -> String {
    format!("STAT {}{path}\n", if digest { "digest=1 " } else { "" })
}

pub(super) fn time_line(path: &str, mtime: i64) -> String {
    format!("TIME mtime={mtime} {path}\n")
}

pub(super) fn delete_line(option: &str, path: &str) -> String {
    format!("DELETE {option}{path}\n")
}

pub(super) fn if_version(etag: &str) -> String {
    format!("if={etag} ")
}

/// A connection to a server, which is opened again when it is lost. All calls block.
#[derive(Debug)]
pub struct Client {
    address: Address,
    pub(super) options: Options,
    connection: Option<Connection>,
}

impl Client {
    /// Connects, with more tries as the options say, and sends the secret if there is one.
    pub fn connect(address: &Address, options: Options) -> Result<Self, ClientError> {
        let mut client = Self { address: address.clone(), options, connection: None };
        client.attempt("", &mut (), || true, |_, _| Ok(()))?;
        Ok(client)
    }

    /// The address of the server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Changes [`Options::retry_for`] for what comes.
    pub fn set_retry_for(&mut self, time: Duration) {
        self.options.retry_for = time;
    }

    /// Returns once the server has answered.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.request("PING\n", "").map(drop)
    }

    /// Describes the file or directory at `path`.
    pub fn stat(&mut self, path: &str) -> Result<Entry, ClientError> {
        self.stat_with(path, false)
    }

    /// As [`Self::stat`], with the digest of a file if the server keeps it.
    pub(crate) fn stat_with(&mut self, path: &str, digest: bool) -> Result<Entry, ClientError> {
        self.check(path)?;
        let reply = self.request(&stat_line(path, digest), path)?;
        Ok(Entry::from_stat(path, &reply))
    }

    /// Creates a directory and its parents. Refused with 409 if it is there.
    pub fn mkdir(&mut self, path: &str) -> Result<(), ClientError> {
        self.check(path)?;
        self.request(&format!("MKDIR {}\n", as_dir(path)), path).map(drop)
    }

    /// Creates a directory and its parents, as far as they are missing; true if it was missing itself.
    pub fn make_dir(&mut self, path: &str) -> Result<bool, ClientError> {
        self.check(path)?;
        let reply = self.request(&make_dir_line(path), path)?;
        Ok(reply.key("created") != Some("0"))
    }

    /// Removes a file or an empty directory.
    pub fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        self.delete_with("", path)
    }

    /// Removes this version of a file. Refused with 412 if there is another.
    pub(crate) fn delete_version(&mut self, path: &str, etag: &str) -> Result<(), ClientError> {
        self.delete_with(&if_version(etag), path)
    }

    /// Removes a directory with everything in it.
    pub fn delete_all(&mut self, path: &str) -> Result<(), ClientError> {
        self.delete_with("recursive=1 ", &as_dir(path))
    }

    fn delete_with(&mut self, option: &str, path: &str) -> Result<(), ClientError> {
        self.check(path)?;
        let mut was_lost = false;
        let line = delete_line(option, path);
        self.attempt(
            path,
            &mut (),
            || true,
            |connection, _| match connection.ask(&line) {
                // An earlier try has removed it, and its reply was lost.
                Err(ErrorKind::Refused { code: 404, .. }) if was_lost => Ok(()),
                result => {
                    was_lost |= matches!(result, Err(ErrorKind::ConnectionLost(_)));
                    result.map(drop)
                }
            },
        )
    }

    /// Moves a file or directory; missing directories on the way are made. A file that has the new path is replaced, if
    /// [`Options::overwrite`] permits. Not tried again when the connection is lost, because it would be unknown whether
    /// the first try has moved it.
    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), ClientError> {
        self.pair("RENAME", "", old, new)
    }

    /// Copies a file, or a directory with everything in it. Else as [`Self::rename`]; the server is waited for as long
    /// as it is there.
    pub fn copy(&mut self, old: &str, new: &str, recursive: bool) -> Result<(), ClientError> {
        self.pair("COPY", if recursive { "recursive=1 " } else { "" }, old, new)
    }

    /// Moves or copies a file to a free name. Unlike [`Self::rename`], it is tried again when the connection is lost: one
    /// that was done by an earlier try is refused then, with 404 or 412.
    pub(crate) fn move_to_free(&mut self, old: &str, new: &str) -> Result<(), ClientError> {
        self.pair_to_free(true, old, new)
    }

    /// As [`Self::move_to_free`], for a copy.
    pub(crate) fn copy_to_free(&mut self, old: &str, new: &str) -> Result<(), ClientError> {
        self.pair_to_free(false, old, new)
    }

    fn pair_to_free(&mut self, is_move: bool, old: &str, new: &str) -> Result<(), ClientError> {
        self.check(old)?;
        self.check(new)?;
        let line = relocate_line(is_move, old, new);
        self.attempt(old, &mut (), || true, |connection, _| connection.ask_patiently(&line)).map(drop)
    }

    /// Sets the modification time of a file, in seconds since 1970.
    pub(crate) fn set_time(&mut self, path: &str, mtime: i64) -> Result<(), ClientError> {
        self.check(path)?;
        self.request(&time_line(path, mtime), path).map(drop)
    }

    fn pair(&mut self, verb: &str, option: &str, old: &str, new: &str) -> Result<(), ClientError> {
        self.check(old)?;
        self.check(new)?;
        let condition = self.options.replaced();
        let line = format!("{verb} parents=1 {condition}{option}{old}\t{new}\n");
        self.once(|connection| connection.ask_patiently(&line)).map(drop).map_err(|kind| self.error(old, kind))
    }

    /// A request without bodies.
    fn request(&mut self, line: &str, path: &str) -> Result<Reply, ClientError> {
        self.attempt(path, &mut (), || true, |connection, _| connection.ask(line))
    }

    /// Refuses paths that cannot be sent, above all those with an end of line.
    pub(super) fn check(&self, path: &str) -> Result<(), ClientError> {
        key::absolute(path).map(drop).map_err(|failure| self.error(path, ErrorKind::InvalidPath(failure.words())))
    }

    pub(super) fn error(&self, path: &str, kind: ErrorKind) -> ClientError {
        kind.at(&self.address, path)
    }

    /// Runs `work` on a connection, and again on a new one as long as [`Options`] allow and while `may_retry`.
    pub(super) fn attempt<T>(
        &mut self,
        path: &str,
        progress: &mut dyn Progress,
        may_retry: impl Fn() -> bool,
        mut work: impl FnMut(&mut Connection, &mut dyn Progress) -> Result<T, ErrorKind>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::new();
        loop {
            match self.once(|connection| work(connection, progress)) {
                Ok(done) => return Ok(done),
                Err(kind) if !may_retry() => return Err(self.error(path, kind)),
                Err(kind) => retry.pause(self.error(path, kind), &self.options)?,
            }
        }
    }

    /// Runs `work` on the open connection or a new one. The connection is kept only if it is certain where the next
    /// reply begins.
    pub(super) fn once<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, ErrorKind>,
    ) -> Result<T, ErrorKind> {
        let showed_secret = self.options.token.is_some();
        let judge = |kind: ErrorKind| if showed_secret { kind.into_answer_to_secret() } else { kind };
        let mut connection = match self.connection.take().and_then(Connection::if_idle) {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.options).map_err(judge)?,
        };
        let result = work(&mut connection).map_err(judge);
        let in_step = matches!(&result, Ok(_) | Err(ErrorKind::Refused { code: 404 | 409 | 412 | 416, .. }));
        if in_step && connection.is_between_requests() {
            self.connection = Some(connection);
        }
        result
    }
}
