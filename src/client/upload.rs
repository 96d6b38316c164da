//! Uploads of files that survive lost connections, and the ends of the client and of the server.
//!
//! The server says how many bytes it keeps, and only those after them are sent. The digest covers the whole file: the
//! states it passed are kept, so little is read again. A file that was changed meanwhile is sent again.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use super::connection::Connection;
use super::error::{ClientError, ErrorKind};
use super::options::Progress;
use super::prefix_digest::PrefixDigest;
use super::put::{self, Framing, Stored};
use super::requests::Client;
use super::retry::Retry;
use super::upload_record::{Source, UploadRecord};
use crate::wire::line::hex;
use crate::wire::range::decimal;

/// One upload, over all its tries.
struct Upload<'a> {
    path: &'a str,
    local: &'a Path,
    /// Options of the request, each with a blank after it.
    condition: String,
    source: Source,
    record: UploadRecord,
    digest: PrefixDigest,
    stage: Stage,
    /// Most bytes that the server has said to keep.
    kept: u64,
}

/// What the next try does.
enum Stage {
    /// An earlier run has begun the upload: asks how far it is.
    Recorded,
    /// Offers the upload, for the first time or again.
    Offering,
    /// Continues: the server knows the upload.
    Begun,
    /// All bytes were sent, and no reply came. With the digest, the server can say that it has the file.
    Sent([u8; 32]),
    /// Sends the file in one piece: it is small, or the server keeps no uploads or not one more.
    InOnePiece,
}

impl Client {
    /// Uploads a regular file.
    pub(super) fn upload(
        &mut self,
        path: &str,
        local: &Path,
        condition: String,
        progress: &mut dyn Progress,
    ) -> Result<Stored, ClientError> {
        let opened = Upload::open(self, path, local, condition);
        let mut upload = opened.map_err(|kind| self.error(path, kind))?;
        let mut retry = Retry::new();
        loop {
            let kept = upload.kept;
            let kind = match self.once(|connection| upload.send(connection, progress)) {
                Ok(stored) => {
                    upload.record.remove();
                    return Ok(stored);
                }
                Err(kind) => kind,
            };
            if upload.kept > kept {
                retry.reset();
            }
            if !upload.falls_back(&kind) {
                retry.pause(self.error(path, kind), &self.options)?;
            }
        }
    }
}

impl<'a> Upload<'a> {
    fn open(client: &Client, path: &'a str, local: &'a Path, condition: String) -> Result<Self, ErrorKind> {
        let (_, source) = Source::open(local)?;
        let state_dir = client.options.state_dir.as_deref();
        let opened = UploadRecord::open(state_dir, local, client.address(), path, &source);
        let (record, is_found) = opened.map_err(no_token)?;
        let stage = match is_found {
            true => Stage::Recorded,
            false if source.len < client.options.resume_len_min => Stage::InOnePiece,
            false => Stage::Offering,
        };
        Ok(Self { path, local, condition, source, record, digest: PrefixDigest::new(), stage, kept: 0 })
    }

    /// One try, on one connection.
    fn send(&mut self, connection: &mut Connection, progress: &mut dyn Progress) -> Result<Stored, ErrorKind> {
        if matches!(self.stage, Stage::InOnePiece) {
            return put::send_file(connection, self.path, self.local, &self.condition, progress);
        }
        let (mut file, source) = Source::open(self.local)?;
        if source != self.source {
            (self.source, self.digest, self.stage) = (source, PrefixDigest::new(), Stage::Offering);
            self.record.renew().map_err(no_token)?;
        }
        if matches!(self.stage, Stage::Recorded) {
            self.find(connection, &file, progress)?;
        }
        let offset = connection.offer(&self.line())?;
        if offset > self.source.len {
            return Err(ErrorKind::Protocol(format!("it keeps {offset} bytes of {}", self.source.len)));
        }
        self.kept = self.kept.max(offset);
        self.record.keep(&self.source);
        progress.total(self.source.len);
        progress.position(offset);
        let sent = self.send_from(offset, connection, &mut file, progress);
        if matches!(sent, Err(ErrorKind::DigestMismatch)) {
            // Whichever bytes are wrong, the server keeps none of them.
            (self.digest, self.stage) = (PrefixDigest::new(), Stage::Begun);
        }
        sent
    }

    /// Asks how far the upload of an earlier run is. A server that does not know it may be another one by now, also one
    /// that cannot resume (400, 501).
    fn find(&mut self, connection: &mut Connection, file: &File, progress: &mut dyn Progress) -> Result<(), ErrorKind> {
        let line = format!("STAT resume={} {}\n", self.record.token(), self.path);
        match connection.ask(&line) {
            Ok(reply) if reply.key("complete") == Some("1") => {
                progress.verifying(self.source.len);
                self.digest.seek(file, self.source.len).map_err(|error| read_error(self.local, error))?;
                self.stage = Stage::Sent(self.digest.value());
            }
            Ok(reply) => {
                // What is kept is read before the upload is offered, for the server does not wait for long.
                let offset = reply.key("offset").and_then(decimal).unwrap_or(0).min(self.source.len);
                progress.verifying(offset);
                self.digest.seek(file, offset).map_err(|error| read_error(self.local, error))?;
                self.stage = Stage::Begun;
            }
            Err(ErrorKind::Refused { code: 400 | 404 | 410 | 501, .. }) => {
                self.record.renew().map_err(no_token)?;
                self.stage = Stage::Offering;
            }
            Err(kind) => return Err(kind),
        }
        Ok(())
    }

    /// The line that offers the upload.
    fn line(&self) -> String {
        let digest = match &self.stage {
            Stage::Sent(digest) => format!("sha256={}", hex(digest)),
            _ => "trailer=sha256".to_owned(),
        };
        let (len, token, mtime) =
            (self.source.len, self.record.token(), put::mtime_option(Some(self.source.mtime_seconds())));
        format!("PUT {len} {}resume={token} {digest}{mtime} {}\n", self.condition, self.path)
    }

    /// Sends the bytes from `offset` on, and reads what the server confirms.
    fn send_from(
        &mut self,
        offset: u64,
        connection: &mut Connection,
        file: &mut File,
        progress: &mut dyn Progress,
    ) -> Result<Stored, ErrorKind> {
        let (local, span) = (self.local, offset..self.source.len);
        if let Stage::Sent(_) = self.stage {
            file.seek(SeekFrom::Start(offset)).map_err(|error| read_error(local, error))?;
            // If it has the file, the server has confirmed that already, and the span is empty.
            put::send_bytes(connection, local, Framing::Span(span), file, &mut |_, at| progress.position(at))?;
            return put::stored(connection.finish());
        }
        self.stage = Stage::Begun;
        let digest = &mut self.digest;
        digest.seek(file, offset).map_err(|error| read_error(local, error))?;
        put::send_bytes(connection, local, Framing::Span(span), file, &mut |piece, at| {
            digest.update(piece);
            progress.position(at);
        })?;
        // A change that kept the length: earlier bytes may be of another version.
        if !self.source.is_of(file) {
            return Err(ErrorKind::SourceChanged);
        }
        let value = self.digest.value();
        self.stage = Stage::Sent(value);
        put::confirm(connection, &value)
    }

    /// True if the next try is another way to send the file, which need not wait.
    fn falls_back(&mut self, kind: &ErrorKind) -> bool {
        match (&self.stage, kind.code()) {
            // The server knows no such uploads, or keeps not one more.
            (Stage::Offering, Some(code @ (400 | 429 | 501))) => {
                self.stage = Stage::InOnePiece;
                code != 429
            }
            (Stage::InOnePiece, _) if kind.is_retryable() => {
                self.stage = Stage::Offering;
                false
            }
            _ => false,
        }
    }
}

fn no_token(error: io::Error) -> ErrorKind {
    ErrorKind::local("read", "/dev/urandom", error)
}

fn read_error(local: &Path, error: io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ErrorKind::SourceChanged,
        _ => ErrorKind::local("read", local, error),
    }
}
