//! Downloads that survive lost connections: a file comes in segments, each verified on its own.
//!
//! A segment is requested while the one before it is still coming, so the connection is never idle between them.
//! Segments after the first are tied to the version of the first by `if=ETAG`. Where the server keeps the digest of the
//! file from its upload, the whole must have it too.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use super::connection::Connection;
use super::dir::Dir;
use super::error::{ClientError, ErrorKind};
use super::get::{self, Download};
use super::options::Progress;
use super::partial_file::{PartialFile, Target};
use super::requests::Client;
use super::retry::Retry;
use super::sink::{Sink, Stream};

/// Size of the first segment; the size doubles while all goes well.
const SEGMENT_FIRST: u64 = 1 << 20;
/// Largest segment that is held in memory, for downloads into a stream.
const SEGMENT_IN_MEMORY: u64 = 1 << 20;
/// How often a download starts again because the file has changed on the server.
const RESTARTS_MAX: u32 = 5;

/// How the next segments are requested.
struct Segments<'a> {
    path: &'a str,
    size: u64,
    size_max: u64,
    /// False for an empty file, of which no range can be requested.
    has_range: bool,
    /// False if the server keeps no digests.
    asks_digest: bool,
}

impl Client {
    /// Downloads to `dest` by way of `DEST.part`; `DEST.part.etag` beside it has the version and the digests of its
    /// segments. A part that was left by an interrupted download is verified and resumed. `dest` is replaced only
    /// when everything is there.
    pub fn get_file(&mut self, path: &str, dest: &Path, progress: &mut dyn Progress) -> Result<Download, ClientError> {
        let opened = match dest.file_name() {
            Some(name) => Dir::open(dest.parent().unwrap_or(Path::new(""))).map(|dir| (dir, name)),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no file name")),
        };
        let (dir, name) = opened.map_err(|error| self.error(path, ErrorKind::local("write", dest, error)))?;
        self.get_file_in(path, &dir, name, progress)
    }

    /// As [`Self::get_file`], to a name in an open directory. No link is followed, so the name may come from a server.
    pub fn get_file_in(
        &mut self,
        path: &str,
        dir: &Dir,
        name: &OsStr,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.get_to(path, &Target { dir, name, part_suffix: ".part", permits: &|| Ok(()) }, progress)
    }

    pub(crate) fn get_to(
        &mut self,
        path: &str,
        target: &Target<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.check(path)?;
        let mut part = PartialFile::open(target, progress).map_err(|kind| self.error(path, kind))?;
        let got = match self.download(path, &mut part, self.options.segment_max, progress) {
            Ok(got) => got,
            Err(error) => {
                if let ErrorKind::DamagedAtServer = error.kind {
                    part.discard();
                }
                return Err(error);
            }
        };
        (target.permits)()
            .map_err(|error| self.error(path, ErrorKind::local("write", target.dir.path_of(target.name), error)))?;
        let executable = self.options.permissions && self.stat(path)?.executable;
        part.finish(got.mtime, executable, self.options.overwrite).map_err(|kind| self.error(path, kind))?;
        Ok(got)
    }

    /// Downloads into a stream, which is given verified bytes only.
    pub fn get_stream(
        &mut self,
        path: &str,
        writer: &mut dyn Write,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.check(path)?;
        let segment_max = self.options.segment_max.min(SEGMENT_IN_MEMORY);
        self.download(path, &mut Stream::new(writer), segment_max, progress)
    }

    fn download(
        &mut self,
        path: &str,
        sink: &mut dyn Sink,
        segment_max: u64,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        let segment_min = self.options.segment_min.clamp(1, segment_max.max(1));
        // Where a connection broke before, small segments are more likely to be completed.
        let segment_first = if sink.was_interrupted() { segment_min } else { SEGMENT_FIRST };
        let segment_first = segment_first.clamp(segment_min, segment_max.max(1));
        let mut segments =
            Segments { path, size: segment_first, size_max: segment_max, has_range: true, asks_digest: true };
        let mut retry = Retry::new();
        let mut restarts = 0;
        loop {
            let before = sink.verified();
            let kind = match self.once(|connection| segments.receive(connection, sink, progress)) {
                Ok(got) => return Ok(Download { first: 0, size: got.total, ..got }),
                Err(kind) => kind,
            };
            let next = match kind.code() {
                // No version is known yet, and no range can be satisfied: the file is empty.
                Some(416) if sink.version().is_none() && segments.has_range => {
                    segments.has_range = false;
                    Ok(())
                }
                Some(400) if segments.asks_digest => {
                    segments.asks_digest = false;
                    Ok(())
                }
                Some(412 | 416) if restarts < RESTARTS_MAX => {
                    restarts += 1;
                    (segments.size, segments.has_range) = (segment_first, true);
                    sink.reset()
                }
                Some(412 | 416) => Err(ErrorKind::KeepsChanging),
                _ => {
                    if sink.verified() > before {
                        retry.reset();
                    }
                    // Small segments make progress even where connections break often.
                    segments.size = (segments.size / 4).max(segment_min);
                    sink.rewind().map_err(|kind| self.error(path, kind))?;
                    retry.pause(self.error(path, kind), &self.options)?;
                    Ok(())
                }
            };
            next.map_err(|kind| self.error(path, kind))?;
        }
    }
}

impl Segments<'_> {
    /// Downloads on one connection from the verified bytes of `sink` to the end of the file.
    fn receive(
        &mut self,
        connection: &mut Connection,
        sink: &mut dyn Sink,
        progress: &mut dyn Progress,
    ) -> Result<Download, ErrorKind> {
        self.request(connection, sink.version(), sink.verified(), self.asks_digest)?;
        let mut asked = self.size;
        let mut total = None;
        loop {
            let got = get::reply(connection)?;
            check(&got, total, sink, asked)?;
            if sink.version().is_none() {
                sink.begin(&got.etag, got.total)?;
            }
            let is_whole = got.size == got.total;
            if let Some(digest) = got.sha256.filter(|_| !is_whole) {
                sink.expect(digest)?;
            }
            if total.is_none() {
                progress.total(got.total);
                progress.position(sink.verified());
            }
            total = Some(got.total);
            let end = got.first + got.size;
            if end < got.total {
                self.size = self.size.saturating_mul(2).min(self.size_max);
                self.request(connection, sink.version(), end, false)?;
                asked = self.size;
            }
            let mut at = got.first;
            let digest = connection.checked_body(got.size, |piece| {
                sink.write(piece)?;
                at += piece.len() as u64;
                progress.position(at);
                Ok(())
            })?;
            if got.size > 0 {
                sink.verify(&digest)?;
            }
            if end == got.total {
                let is_damaged = is_whole && got.sha256.is_some_and(|stored| stored != digest);
                return if is_damaged || !sink.is_as_expected() { Err(ErrorKind::DamagedAtServer) } else { Ok(got) };
            }
        }
    }

    /// Requests the segment that begins at `first`.
    fn request(
        &self,
        connection: &mut Connection,
        version: Option<&str>,
        first: u64,
        asks_digest: bool,
    ) -> Result<(), ErrorKind> {
        let range = self.has_range.then(|| format!("{first}-{}", first.saturating_add(self.size - 1)));
        connection.send_request(&get::request(self.path, range.as_deref(), version, asks_digest))
    }
}

/// Checks that this is the segment that was requested, at most `asked` bytes, of the requested version.
fn check(got: &Download, total: Option<u64>, sink: &dyn Sink, asked: u64) -> Result<(), ErrorKind> {
    let is_same_version = sink.version().is_none_or(|version| version == got.etag);
    let is_same_total = total.is_none_or(|total| total == got.total);
    let makes_progress = got.size > 0 || got.total == 0;
    // A stream holds a segment in memory until it is verified.
    let fits = got.size <= asked;
    if got.first == sink.verified() && is_same_version && is_same_total && makes_progress && fits {
        return Ok(());
    }
    Err(ErrorKind::Protocol("it sent another part of the file than was requested".to_owned()))
}
