//! Uploads in one piece: small files, and streams of unknown length. Larger files are in `upload`.
//!
//! The digest is computed while sending and follows the body, so nothing is read twice. If a body cannot be completed
//! as announced, the connection is closed, and the server stores nothing.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::connection::Connection;
use super::error::{ClientError, ErrorKind};
use super::options::{Options, Progress, Replaced};
use super::pipeline::{Answer, Request};
use super::requests::Client;
use super::upload_record::Source;
use crate::wire::key;
use crate::wire::line::{self, Reply};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes of a stream that are kept, so that an early refusal does not lose them.
const REPLAY_BYTES: usize = 1 << 20;

/// Smaller files are always sent in one piece.
const RESUMED_LEN_MIN: u64 = 64 << 10;

/// Files up to this length may be sent together with others.
pub(crate) const SMALL_LEN_MAX: u64 = 16 << 10;

/// What the server confirmed about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version.
    pub etag: String,
    /// True if the file is on stable storage (`stored=durable`).
    pub durable: bool,
}

impl Client {
    /// Uploads a local file, with its modification time. After a lost connection the upload continues where it stopped;
    /// see [`Options::resume_len_min`](super::Options::resume_len_min). A pipe or a device is sent as by [`Self::put`].
    pub fn put_file(&mut self, path: &str, local: &Path, progress: &mut dyn Progress) -> Result<Stored, ClientError> {
        self.put_file_over(path, local, self.options.replaced(), progress)
    }

    /// As [`Self::put_file`]; refused with 412 if something else would be replaced.
    pub(crate) fn put_file_over(
        &mut self,
        path: &str,
        local: &Path,
        replaced: Replaced<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Stored, ClientError> {
        self.check(path)?;
        let unreadable = |error| ErrorKind::local("read", local, error);
        let metadata = fs::metadata(local).map_err(|error| self.error(path, unreadable(error)))?;
        if !metadata.is_file() && !metadata.is_dir() {
            let mut stream = File::open(local).map_err(|error| self.error(path, unreadable(error)))?;
            return self.put(path, &mut stream, None, None, progress);
        }
        let condition = self.options.conditions(&metadata, replaced);
        if metadata.len() >= RESUMED_LEN_MIN {
            return self.upload(path, local, condition, progress);
        }
        self.attempt(
            path,
            progress,
            || true,
            |connection, progress| send_file(connection, path, local, &condition, progress),
        )
    }

    /// Uploads the content of `reader`, of known or unknown length. A stream cannot be read twice, so this is tried
    /// again only while at most 1 MiB has been read.
    pub fn put(
        &mut self,
        path: &str,
        reader: &mut dyn Read,
        len: Option<u64>,
        mtime: Option<i64>,
        progress: &mut dyn Progress,
    ) -> Result<Stored, ClientError> {
        self.check(path)?;
        let is_complete = Cell::new(true);
        let mut replay = Replay { reader, kept: Vec::new(), at: 0, is_complete: &is_complete };
        let condition = self.options.replaced().to_string();
        let body = Body { path, local: Path::new("-"), len, mtime, condition: &condition };
        self.attempt(
            path,
            progress,
            || is_complete.get(),
            |connection, progress| {
                replay.at = 0;
                let digest = send(connection, &body, &mut replay, progress)?;
                confirm(connection, &digest)
            },
        )
    }
}

impl Options {
    /// The whole request that uploads a small file, as [`Client::put_file_over`] would send it; `None` if it is not small or
    /// cannot be read.
    pub(crate) fn small_put(&self, path: &str, local: &Path, replaced: Replaced<'_>) -> Option<Request> {
        key::absolute(path).ok()?;
        // A pipe would be opened for nothing.
        let metadata = fs::metadata(local).ok().filter(|local| local.is_file() && local.len() <= SMALL_LEN_MAX)?;
        let (mut file, source) = Source::open(local).ok()?;
        let condition = self.conditions(&metadata, replaced);
        let mut request = put_line(Some(source.len), &condition, Some(source.mtime_seconds()), path).into_bytes();
        let begin = request.len();
        // With less, it is read in small pieces. The trailer has 72 bytes.
        request.reserve(usize::try_from(metadata.len()).unwrap_or(0) + 128);
        file.by_ref().take(SMALL_LEN_MAX + 1).read_to_end(&mut request).ok()?;
        let is_whole = (request.len() - begin) as u64 == source.len && source.is_of(&file);
        let digest = Sha256::digest(&request[begin..]);
        request.extend_from_slice(trailer(&digest).as_bytes());
        is_whole.then(|| Request::new(request))
    }
}

/// What is announced of an upload.
struct Body<'a> {
    path: &'a str,
    local: &'a Path,
    len: Option<u64>,
    mtime: Option<i64>,
    /// Options of the request, each with a blank after it.
    condition: &'a str,
}

/// Sends a local file from its start, on one connection.
pub(super) fn send_file(
    connection: &mut Connection,
    path: &str,
    local: &Path,
    condition: &str,
    progress: &mut dyn Progress,
) -> Result<Stored, ErrorKind> {
    let (mut file, source) = Source::open(local)?;
    let body = Body { path, local, len: Some(source.len), mtime: Some(source.mtime_seconds()), condition };
    let digest = send(connection, &body, &mut file, progress)?;
    // A change that kept the length: without the trailer, the server stores nothing.
    if !source.is_of(&file) {
        return Err(ErrorKind::SourceChanged);
    }
    confirm(connection, &digest)
}

/// Sends one upload on one connection, but for the digest of its body, which is returned.
fn send(
    connection: &mut Connection,
    body: &Body<'_>,
    reader: &mut dyn Read,
    progress: &mut dyn Progress,
) -> Result<[u8; 32], ErrorKind> {
    connection.begin(&put_line(body.len, body.condition, body.mtime, body.path));
    if let Some(len) = body.len {
        progress.total(len);
    }
    progress.position(0);
    let mut hasher = Sha256::new();
    let framing = body.len.map_or(Framing::Chunks, |len| Framing::Span(0..len));
    send_bytes(connection, body.local, framing, reader, &mut |piece, at| {
        hasher.update(piece);
        progress.position(at);
    })?;
    if body.len.is_none() {
        connection.push(b"0\n")?;
    }
    Ok(hasher.finalize().into())
}

/// Sends the digest of a body, and reads what the server confirms.
pub(super) fn confirm(connection: &mut Connection, digest: &[u8; 32]) -> Result<Stored, ErrorKind> {
    connection.push(trailer(digest).as_bytes())?;
    stored(connection.finish())
}

/// How the bytes of a body are delimited.
pub(super) enum Framing {
    /// As chunks, up to the end of the stream.
    Chunks,
    /// As they are: this span of the body, which must end where the source ends.
    Span(Range<u64>),
}

/// Sends what `reader` has. `take` is given each piece and the offset of its end in the body.
pub(super) fn send_bytes(
    connection: &mut Connection,
    local: &Path,
    framing: Framing,
    reader: &mut dyn Read,
    take: &mut dyn FnMut(&[u8], u64),
) -> Result<(), ErrorKind> {
    let (in_chunks, span) = match framing {
        Framing::Chunks => (true, 0..u64::MAX),
        Framing::Span(span) => (false, span),
    };
    let mut buffer = vec![0; READ_BYTES];
    let mut at = span.start;
    loop {
        let piece = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ErrorKind::local("read", local, error)),
        };
        at += piece.len() as u64;
        // The file has grown: its end was expected here.
        if at > span.end {
            return Err(ErrorKind::SourceChanged);
        }
        if in_chunks {
            connection.push(format!("{:x}\n", piece.len()).as_bytes())?;
            connection.push(piece)?;
            connection.flush()?; // the next piece of a stream may take long to come
        } else {
            connection.push(piece)?;
        }
        take(piece, at);
    }
    if at == span.end || in_chunks { Ok(()) } else { Err(ErrorKind::SourceChanged) }
}

/// The line of an upload in one piece.
fn put_line(len: Option<u64>, condition: &str, mtime: Option<i64>, path: &str) -> String {
    let (size, mtime) = (len.map_or_else(|| "*".to_owned(), |len| len.to_string()), mtime_option(mtime));
    format!("PUT {size} {condition}trailer=sha256{mtime} {path}\n")
}

/// The line after a body.
fn trailer(digest: &[u8]) -> String {
    format!("sha256={}\n", line::hex(digest))
}

pub(super) fn mtime_option(mtime: Option<i64>) -> String {
    mtime.map_or_else(String::new, |mtime| format!(" mtime={mtime}"))
}

/// True for what the server confirms of a small file.
pub(crate) fn is_stored(answer: Answer) -> bool {
    stored(Ok(answer.reply)).is_ok()
}

/// Reads what the server confirms.
pub(super) fn stored(reply: Result<Reply, ErrorKind>) -> Result<Stored, ErrorKind> {
    let reply = reply.map_err(|kind| if kind.code() == Some(422) { ErrorKind::DigestMismatch } else { kind })?;
    match (reply.key("etag"), reply.key("stored")) {
        (Some(etag), Some(stored)) => Ok(Stored { etag: etag.to_owned(), durable: stored == "durable" }),
        _ => Err(ErrorKind::Protocol("the reply to PUT lacks a required key".to_owned())),
    }
}

/// A stream with a beginning that can be read again.
struct Replay<'a> {
    reader: &'a mut dyn Read,
    kept: Vec<u8>,
    at: usize,
    /// True while everything that was read is kept.
    is_complete: &'a Cell<bool>,
}

impl Read for Replay<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at < self.kept.len() {
            let count = (&self.kept[self.at..]).read(buffer)?;
            self.at += count;
            return Ok(count);
        }
        let count = self.reader.read(buffer)?;
        if self.is_complete.get() && self.kept.len() + count <= REPLAY_BYTES {
            self.kept.extend_from_slice(&buffer[..count]);
            self.at = self.kept.len();
        } else if count > 0 {
            self.is_complete.set(false);
            self.kept = Vec::new();
            self.at = 0;
        }
        Ok(count)
    }
}
