//! Uploads: local files, and streams whose length may not be known.
//!
//! The digest is computed while sending and follows the body, so nothing is read twice. A body
//! that cannot be completed as announced is broken off with the connection: nothing is stored then.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::connection::Connection;
use super::retry::Retry;
use super::{Client, ClientError, ErrorKind, Progress, pause};
use crate::wire::line;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes of a stream that are kept, so that an early refusal does not lose them.
const REPLAY_BYTES: usize = 1 << 20;

/// What the server promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version.
    pub etag: String,
    /// Whether it is on stable storage (`stored=durable`).
    pub durable: bool,
}

impl Client {
    /// Uploads a local file, with its time. It is read from the start again at every retry.
    pub fn put_file(&mut self, path: &str, local: &Path, progress: &mut dyn Progress) -> Result<Stored, ClientError> {
        self.check(path)?;
        let read = |error| ErrorKind::local("read", local, error);
        self.attempt(path, progress, |connection, progress| {
            let mut file = File::open(local).map_err(read)?;
            let facts = file.metadata().map_err(read)?;
            if facts.is_dir() {
                return Err(read(io::ErrorKind::IsADirectory.into()));
            }
            let body = Body { path, local, len: Some(facts.len()), mtime: seconds(facts.modified().ok()) };
            send(connection, &body, &mut file, progress)
        })
    }

    /// Uploads what `reader` gives, of a length that need not be known. A stream cannot be read
    /// twice, so this is tried again only while little of it has been taken.
    pub fn put(
        &mut self,
        path: &str,
        reader: &mut dyn Read,
        len: Option<u64>,
        mtime: Option<u64>,
        progress: &mut dyn Progress,
    ) -> Result<Stored, ClientError> {
        self.check(path)?;
        let mut retry = Retry::new(&self.options);
        let mut replay = Replay { reader, kept: Vec::new(), at: 0, whole: true };
        let body = Body { path, local: Path::new("-"), len, mtime };
        loop {
            let tried = self.once(|connection| send(connection, &body, &mut replay, progress));
            let kind = match tried {
                Ok(stored) => return Ok(stored),
                Err(kind) => kind,
            };
            replay.at = 0;
            let next = if replay.whole { pause(&mut retry, kind, progress) } else { Err(kind) };
            next.map_err(|kind| kind.at(&self.address, path))?;
        }
    }
}

/// What is announced of an upload.
struct Body<'a> {
    path: &'a str,
    local: &'a Path,
    len: Option<u64>,
    mtime: Option<u64>,
}

/// Sends one upload on one connection.
fn send(
    connection: &mut Connection,
    body: &Body<'_>,
    reader: &mut dyn Read,
    progress: &mut dyn Progress,
) -> Result<Stored, ErrorKind> {
    let size = body.len.map_or_else(|| "*".to_owned(), |len| len.to_string());
    let mtime = body.mtime.map_or_else(String::new, |mtime| format!(" mtime={mtime}"));
    connection.begin(&format!("PUT {size} trailer=sha256{mtime} {}\n", body.path));
    if let Some(len) = body.len {
        progress.total(len);
    }
    progress.at(0);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut sent = 0;
    // A file of known length is read one byte further than it should have: it may have grown.
    while let Some(piece) = read(reader, &mut buffer).map_err(|error| ErrorKind::local("read", body.local, error))? {
        sent += piece.len() as u64;
        hasher.update(piece);
        match body.len {
            Some(len) if sent > len => return Err(ErrorKind::SourceChanged),
            Some(_) => connection.push(piece)?,
            None => {
                connection.push(format!("{:x}\n", piece.len()).as_bytes())?;
                connection.push(piece)?;
                connection.flush()?; // whoever writes the stream may take a long time for its next piece
            }
        }
        progress.at(sent);
    }
    match body.len {
        Some(len) if sent != len => return Err(ErrorKind::SourceChanged),
        Some(_) => {}
        None => connection.push(b"0\n")?,
    }
    connection.push(format!("sha256={}\n", line::hex(&hasher.finalize())).as_bytes())?;
    let reply =
        connection.finish().map_err(|kind| if kind.code() == Some(422) { ErrorKind::DigestMismatch } else { kind })?;
    match (reply.key("etag"), reply.key("stored")) {
        (Some(etag), Some(stored)) => Ok(Stored { etag: etag.to_owned(), durable: stored == "durable" }),
        _ => Err(ErrorKind::Protocol("the reply to PUT lacks what it must have".to_owned())),
    }
}

/// The next piece; `None` at the end.
fn read<'a>(reader: &mut dyn Read, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => return Ok(Some(&buffer[..count])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Seconds since 1970; the protocol has no words for times before.
fn seconds(time: Option<SystemTime>) -> Option<u64> {
    Some(time?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// A stream whose beginning can be read again.
struct Replay<'a> {
    reader: &'a mut dyn Read,
    kept: Vec<u8>,
    at: usize,
    /// Nothing has been read that is not kept.
    whole: bool,
}

impl Read for Replay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at < self.kept.len() {
            let count = (&self.kept[self.at..]).read(buffer)?;
            self.at += count;
            return Ok(count);
        }
        let count = self.reader.read(buffer)?;
        if self.whole && self.kept.len() + count <= REPLAY_BYTES {
            self.kept.extend_from_slice(&buffer[..count]);
            self.at = self.kept.len();
        } else if count > 0 {
            self.whole = false;
            self.kept = Vec::new();
            self.at = 0;
        }
        Ok(count)
    }
}
