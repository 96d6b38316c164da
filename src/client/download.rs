//! Downloads that survive lost connections: a file comes in segments, each checked by itself.
//!
//! Only checked bytes count. A segment is asked for while the one before it still comes, so the
//! connection never stands idle between them; segments after the first are tied to the version of
//! the first by `if=ETAG`. Where the bytes go is a [`Sink`]'s business.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use super::connection::Connection;
use super::dir::Dir;
use super::partial_file::PartialFile;
use super::retry::Retry;
use super::{Client, ClientError, Download, ErrorKind, Progress, get, pause};

/// First size of a segment; it doubles while all goes well.
const SEGMENT_FIRST: u64 = 1 << 20;
/// Largest segment that is held in memory, for downloads into a stream.
const SEGMENT_IN_MEMORY: u64 = 1 << 20;
/// How often a download begins again because the file has changed on the server.
const RESTARTS_MAX: u32 = 5;

/// Takes the bytes of a download. "Sealed" are those up to the last checked segment.
pub(super) trait Sink {
    /// The version and the sealed length that are there already.
    fn have(&self) -> Option<(String, u64)>;
    /// A version is about to come from its first byte on; whatever was there is worthless.
    fn begin(&mut self, etag: &str, total: u64) -> Result<(), ErrorKind>;
    /// Takes bytes that are not checked yet.
    fn take(&mut self, bytes: &[u8]) -> Result<(), ErrorKind>;
    /// Everything taken so far is checked; `digest` is that of the last segment.
    fn seal(&mut self, digest: &[u8; 32]) -> Result<(), ErrorKind>;
    /// Throws away what is not sealed.
    fn rewind(&mut self) -> Result<(), ErrorKind>;
    /// Throws everything away; trouble if the bytes are out of reach already.
    fn start_over(&mut self) -> Result<(), ErrorKind>;
}

/// How far a download is.
struct Position {
    version: Option<String>,
    sealed: u64,
    segment: u64,
    /// The file is empty, so that no range can be asked for.
    without_range: bool,
}

impl Client {
    /// Downloads to `dest` by way of `DEST.part`, beside which `DEST.part.etag` tells the version
    /// and the digests of its segments. What an earlier try left there is checked and kept.
    /// `dest` is replaced only when everything is there.
    pub fn get_file(&mut self, path: &str, dest: &Path, progress: &mut dyn Progress) -> Result<Download, ClientError> {
        let opened = match dest.file_name() {
            Some(name) => Dir::open(dest.parent().unwrap_or(Path::new(""))).map(|dir| (dir, name)),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no file name")),
        };
        let (dir, name) = opened.map_err(|error| ErrorKind::local("write", dest, error).at(&self.address, path))?;
        self.get_file_in(path, &dir, name, progress)
    }

    /// As [`Self::get_file`], to a name in a directory that is open. No link is followed, so the name may be
    /// that of a server.
    pub fn get_file_in(
        &mut self,
        path: &str,
        dir: &Dir,
        name: &OsStr,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.check(path)?;
        let local = |kind: ErrorKind, client: &Self| kind.at(&client.address, path);
        let mut part = PartialFile::open(dir, name, progress).map_err(|kind| local(kind, self))?;
        let segment_max = self.options.segment_max;
        let got = self.download(path, &mut part, segment_max, progress)?;
        part.finish(got.mtime).map_err(|kind| local(kind, self))?;
        Ok(got)
    }

    /// Downloads into a stream, to which only checked bytes are given.
    pub fn get_stream(
        &mut self,
        path: &str,
        writer: &mut dyn Write,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.check(path)?;
        let mut stream = Stream { writer, held: Vec::new(), given: 0 };
        let segment_max = self.options.segment_max.min(SEGMENT_IN_MEMORY);
        self.download(path, &mut stream, segment_max, progress)
    }

    fn download(
        &mut self,
        path: &str,
        sink: &mut dyn Sink,
        segment_max: u64,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        let segment_min = self.options.segment_min.clamp(1, segment_max.max(1));
        let mut retry = Retry::new(&self.options);
        let mut restarts = 0;
        let (version, sealed) = sink.have().map_or((None, 0), |(version, sealed)| (Some(version), sealed));
        let segment = SEGMENT_FIRST.clamp(segment_min, segment_max.max(1));
        let mut position = Position { version, sealed, segment, without_range: false };
        loop {
            let before = position.sealed;
            let kind =
                match self.once(|connection| segments(connection, path, sink, &mut position, segment_max, progress)) {
                    Ok(got) => return Ok(Download { first: 0, size: got.total, ..got }),
                    Err(kind) => kind,
                };
            let next = match kind.code() {
                // Nothing is known yet and no byte can be had: the file is empty.
                Some(416) if position.version.is_none() && !position.without_range => {
                    position.without_range = true;
                    Ok(())
                }
                Some(412 | 416) if restarts < RESTARTS_MAX => {
                    restarts += 1;
                    position = Position { version: None, sealed: 0, segment, without_range: false };
                    sink.start_over()
                }
                Some(412 | 416) => Err(ErrorKind::KeepsChanging),
                _ => {
                    if position.sealed > before {
                        retry.progressed();
                    }
                    // What comes in small pieces is kept even where connections break often.
                    position.segment = (position.segment / 4).max(segment_min);
                    sink.rewind().and_then(|()| pause(&mut retry, kind, progress))
                }
            };
            next.map_err(|kind| kind.at(&self.address, path))?;
        }
    }
}

/// Downloads on one connection from where `position` stands to the end of the file.
fn segments(
    connection: &mut Connection,
    path: &str,
    sink: &mut dyn Sink,
    position: &mut Position,
    segment_max: u64,
    progress: &mut dyn Progress,
) -> Result<Download, ErrorKind> {
    ask(connection, path, position, position.sealed)?;
    let mut asked = position.segment;
    let mut known: Option<Download> = None;
    loop {
        let got = get::head(connection)?;
        check(&got, known.as_ref(), position, asked)?;
        if position.version.is_none() {
            sink.begin(&got.etag, got.total)?;
            position.version = Some(got.etag.clone());
        }
        if known.is_none() {
            progress.total(got.total);
            progress.at(position.sealed);
        }
        let end = got.first + got.size;
        if end < got.total {
            position.segment = position.segment.saturating_mul(2).min(segment_max);
            ask(connection, path, position, end)?;
            asked = position.segment;
        }
        let mut at = got.first;
        let digest = connection.checked_body(got.size, |piece| {
            sink.take(piece)?;
            at += piece.len() as u64;
            progress.at(at);
            Ok(())
        })?;
        if got.size > 0 {
            sink.seal(&digest)?;
        }
        position.sealed = end;
        if end == got.total {
            return Ok(got);
        }
        known = Some(got);
    }
}

/// Asks for the segment that begins at `first`.
fn ask(connection: &mut Connection, path: &str, position: &Position, first: u64) -> Result<(), ErrorKind> {
    let range = format!("{first}-{}", first.saturating_add(position.segment - 1));
    let range = (!position.without_range).then_some(range.as_str());
    connection.ask(&get::request(path, range, position.version.as_deref()))
}

/// Checks that this is the segment that was asked for, at most `asked` bytes, of the version that was asked for.
fn check(got: &Download, known: Option<&Download>, position: &Position, asked: u64) -> Result<(), ErrorKind> {
    let same_version = position.version.as_ref().is_none_or(|version| *version == got.etag);
    let same_total = known.is_none_or(|known| known.total == got.total);
    let leads_on = got.size > 0 || got.total == 0;
    // A stream holds a segment in memory until it is checked.
    let fits = got.size <= asked;
    if got.first == position.sealed && same_version && same_total && leads_on && fits {
        return Ok(());
    }
    Err(ErrorKind::Protocol("it sent another part of the file than was asked for".to_owned()))
}

/// A sink that holds one segment back until it is checked.
struct Stream<'a> {
    writer: &'a mut dyn Write,
    held: Vec<u8>,
    given: u64,
}

impl Sink for Stream<'_> {
    fn have(&self) -> Option<(String, u64)> {
        None
    }

    fn begin(&mut self, _etag: &str, _total: u64) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn seal(&mut self, _digest: &[u8; 32]) -> Result<(), ErrorKind> {
        let written = self.writer.write_all(&self.held).and_then(|()| self.writer.flush());
        written.map_err(|error| ErrorKind::local("write", "-", error))?;
        self.given += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        self.held.clear();
        Ok(())
    }

    fn start_over(&mut self) -> Result<(), ErrorKind> {
        self.held.clear();
        if self.given > 0 { Err(ErrorKind::KeepsChanging) } else { Ok(()) }
    }
}
