//! Downloads that survive lost connections: a file comes in segments, each checked by itself.
//!
//! Only checked bytes count. A segment is asked for while the one before it still comes, so the
//! connection never stands idle between them; segments after the first are tied to the version of
//! the first by `if=ETAG`. Where the bytes go is a [`Sink`]'s business.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use super::dir::Dir;
use super::link::Link;
use super::part::Part;
use super::retry::Retry;
use super::{Client, ClientError, Got, Trouble, Watch, get, pause};

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
    fn begin(&mut self, etag: &str, total: u64) -> Result<(), Trouble>;
    /// Takes bytes that are not checked yet.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Trouble>;
    /// Everything taken so far is checked; `digest` is that of the last segment.
    fn seal(&mut self, digest: &[u8; 32]) -> Result<(), Trouble>;
    /// Throws away what is not sealed.
    fn rewind(&mut self) -> Result<(), Trouble>;
    /// Throws everything away; trouble if the bytes are out of reach already.
    fn start_over(&mut self) -> Result<(), Trouble>;
}

/// How far a download is.
struct Progress {
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
    pub fn get_file(&mut self, path: &str, dest: &Path, watch: &mut dyn Watch) -> Result<Got, ClientError> {
        let opened = match dest.file_name() {
            Some(name) => Dir::open(dest.parent().unwrap_or(Path::new(""))).map(|dir| (dir, name)),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no file name")),
        };
        let (dir, name) = opened.map_err(|error| Trouble::local("write", dest, error).at(&self.address, path))?;
        self.get_file_in(path, &dir, name, watch)
    }

    /// As [`Self::get_file`], to a name in a directory that is open. No link is followed, so the name may be
    /// that of a server.
    pub fn get_file_in(
        &mut self,
        path: &str,
        dir: &Dir,
        name: &OsStr,
        watch: &mut dyn Watch,
    ) -> Result<Got, ClientError> {
        self.check(path)?;
        let local = |trouble: Trouble, client: &Self| trouble.at(&client.address, path);
        let mut part = Part::open(dir, name, watch).map_err(|trouble| local(trouble, self))?;
        let segment_max = self.options.segment_max;
        let got = self.download(path, &mut part, segment_max, watch)?;
        part.finish(got.mtime).map_err(|trouble| local(trouble, self))?;
        Ok(got)
    }

    /// Downloads into a stream, to which only checked bytes are given.
    pub fn get_stream(
        &mut self,
        path: &str,
        writer: &mut dyn Write,
        watch: &mut dyn Watch,
    ) -> Result<Got, ClientError> {
        self.check(path)?;
        let mut stream = Stream { writer, held: Vec::new(), given: 0 };
        let segment_max = self.options.segment_max.min(SEGMENT_IN_MEMORY);
        self.download(path, &mut stream, segment_max, watch)
    }

    fn download(
        &mut self,
        path: &str,
        sink: &mut dyn Sink,
        segment_max: u64,
        watch: &mut dyn Watch,
    ) -> Result<Got, ClientError> {
        let segment_min = self.options.segment_min.clamp(1, segment_max.max(1));
        let mut retry = Retry::new(&self.options);
        let mut restarts = 0;
        let (version, sealed) = sink.have().map_or((None, 0), |(version, sealed)| (Some(version), sealed));
        let segment = SEGMENT_FIRST.clamp(segment_min, segment_max.max(1));
        let mut progress = Progress { version, sealed, segment, without_range: false };
        loop {
            let before = progress.sealed;
            let trouble = match self.once(|link| segments(link, path, sink, &mut progress, segment_max, watch)) {
                Ok(got) => return Ok(Got { first: 0, size: got.total, ..got }),
                Err(trouble) => trouble,
            };
            let next = match trouble.code() {
                // Nothing is known yet and no byte can be had: the file is empty.
                Some(416) if progress.version.is_none() && !progress.without_range => {
                    progress.without_range = true;
                    Ok(())
                }
                Some(412 | 416) if restarts < RESTARTS_MAX => {
                    restarts += 1;
                    progress = Progress { version: None, sealed: 0, segment, without_range: false };
                    sink.start_over()
                }
                Some(412 | 416) => Err(Trouble::Changing),
                _ => {
                    if progress.sealed > before {
                        retry.progressed();
                    }
                    // What comes in small pieces is kept even where connections break often.
                    progress.segment = (progress.segment / 4).max(segment_min);
                    sink.rewind().and_then(|()| pause(&mut retry, trouble, watch))
                }
            };
            next.map_err(|trouble| trouble.at(&self.address, path))?;
        }
    }
}

/// Downloads on one connection from where `progress` stands to the end of the file.
fn segments(
    link: &mut Link,
    path: &str,
    sink: &mut dyn Sink,
    progress: &mut Progress,
    segment_max: u64,
    watch: &mut dyn Watch,
) -> Result<Got, Trouble> {
    ask(link, path, progress, progress.sealed)?;
    let mut asked = progress.segment;
    let mut known: Option<Got> = None;
    loop {
        let got = get::head(link)?;
        check(&got, known.as_ref(), progress, asked)?;
        if progress.version.is_none() {
            sink.begin(&got.etag, got.total)?;
            progress.version = Some(got.etag.clone());
        }
        if known.is_none() {
            watch.total(got.total);
            watch.at(progress.sealed);
        }
        let end = got.first + got.size;
        if end < got.total {
            progress.segment = progress.segment.saturating_mul(2).min(segment_max);
            ask(link, path, progress, end)?;
            asked = progress.segment;
        }
        let mut at = got.first;
        let digest = link.checked_body(got.size, |piece| {
            sink.take(piece)?;
            at += piece.len() as u64;
            watch.at(at);
            Ok(())
        })?;
        if got.size > 0 {
            sink.seal(&digest)?;
        }
        progress.sealed = end;
        if end == got.total {
            return Ok(got);
        }
        known = Some(got);
    }
}

/// Asks for the segment that begins at `first`.
fn ask(link: &mut Link, path: &str, progress: &Progress, first: u64) -> Result<(), Trouble> {
    let range = format!("{first}-{}", first.saturating_add(progress.segment - 1));
    let range = (!progress.without_range).then_some(range.as_str());
    link.ask(&get::request(path, range, progress.version.as_deref()))
}

/// Checks that this is the segment that was asked for, at most `asked` bytes, of the version that was asked for.
fn check(got: &Got, known: Option<&Got>, progress: &Progress, asked: u64) -> Result<(), Trouble> {
    let same_version = progress.version.as_ref().is_none_or(|version| *version == got.etag);
    let same_total = known.is_none_or(|known| known.total == got.total);
    let leads_on = got.size > 0 || got.total == 0;
    // A stream holds a segment in memory until it is checked.
    let fits = got.size <= asked;
    if got.first == progress.sealed && same_version && same_total && leads_on && fits {
        return Ok(());
    }
    Err(Trouble::Strange("it sent another part of the file than was asked for".to_owned()))
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

    fn begin(&mut self, _etag: &str, _total: u64) -> Result<(), Trouble> {
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn seal(&mut self, _digest: &[u8; 32]) -> Result<(), Trouble> {
        let written = self.writer.write_all(&self.held).and_then(|()| self.writer.flush());
        written.map_err(|error| Trouble::local("write", "-", error))?;
        self.given += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), Trouble> {
        self.held.clear();
        Ok(())
    }

    fn start_over(&mut self) -> Result<(), Trouble> {
        self.held.clear();
        if self.given > 0 { Err(Trouble::Changing) } else { Ok(()) }
    }
}
