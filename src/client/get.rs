//! `GET` as one request: its line, its reply, and the plain download into any writer.
//!
//! Downloads that survive lost connections are in `download`; they are made of these requests.

use std::cell::Cell;
use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::connection::Connection;
use super::error::{ClientError, ErrorKind};
use super::options::Progress;
use super::partial_file::{PartialFile, Target};
use super::pipeline::{Answer, Request};
use super::put::SMALL_LEN_MAX;
use super::requests::Client;
use super::sink::Sink as _;
use crate::wire::key;
use crate::wire::line::{self, Reply};
use crate::wire::range::{decimal, signed_decimal};

/// Which part of which version to download.
#[derive(Clone, Debug, Default)]
pub struct GetOptions<'a> {
    /// `FIRST-LAST`, `FIRST-` or `-COUNT`; the whole file if `None`.
    pub range: Option<&'a str>,
    /// Refused with 412 if the file is another version.
    pub if_etag: Option<&'a str>,
}

/// What was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// The version.
    pub etag: String,
    /// Seconds since 1970; negative before.
    pub mtime: i64,
    /// Offset in the file of the first byte.
    pub first: u64,
    /// Number of bytes.
    pub size: u64,
    /// Size of the whole file.
    pub total: u64,
    /// SHA-256 of the whole file, if the server keeps it and was asked for it.
    pub sha256: Option<[u8; 32]>,
}

impl Client {
    /// Downloads in one request into `writer` and checks the digest at the end: after an error, `writer` may hold
    /// damaged or incomplete content. Tried again only while nothing has been written.
    pub fn get(
        &mut self,
        path: &str,
        options: &GetOptions<'_>,
        writer: &mut dyn Write,
        progress: &mut dyn Progress,
    ) -> Result<Download, ClientError> {
        self.check(path)?;
        let line = request(path, options.range, options.if_etag, false);
        let written = Cell::new(0);
        self.attempt(
            path,
            progress,
            || written.get() == 0,
            |connection, progress| {
                connection.send_request(&line)?;
                let got = reply(connection)?;
                progress.total(got.size);
                connection.checked_body(got.size, |piece| {
                    writer.write_all(piece).map_err(|error| ErrorKind::local("write", "-", error))?;
                    written.set(written.get() + piece.len() as u64);
                    progress.position(written.get());
                    Ok(())
                })?;
                Ok(got)
            },
        )
    }
}

/// The request for a small file of this length; `None` if it is not small.
pub(crate) fn small_get(path: &str, len: u64) -> Option<Request> {
    if len > SMALL_LEN_MAX || key::absolute(path).is_err() {
        return None;
    }
    let line = request(path, None, None, true);
    Some(Request { body: Some(len), ..Request::new(line.into_bytes()) })
}

/// Gives the answer its name on this machine; false if that fails, or if it is not the whole file.
pub(crate) fn keep_small(target: &Target<'_>, answer: &Answer, executable: bool, overwrite: bool) -> bool {
    let digest = Sha256::digest(&answer.body).into();
    let is_whole = |got: &Download| got.size == got.total && got.sha256.is_none_or(|stored| stored == digest);
    let Some(got) = parse(&answer.reply).filter(is_whole) else { return false };
    let kept = PartialFile::open(target, &mut ()).and_then(|mut part| {
        part.begin(&got.etag, got.total)?;
        part.write(&answer.body)?;
        part.verify(&digest)?;
        (target.permits)().map_err(|error| ErrorKind::local("write", target.dir.path_of(target.name), error))?;
        part.finish(got.mtime, executable, overwrite)
    });
    kept.is_ok()
}

/// The request line.
pub(super) fn request(path: &str, range: Option<&str>, if_etag: Option<&str>, asks_digest: bool) -> String {
    let mut line = String::from("GET trailer=sha256");
    if asks_digest {
        line.push_str(" digest=1");
    }
    for (option, value) in [("range", range), ("if", if_etag)] {
        if let Some(value) = value {
            line.extend([" ", option, "=", value]);
        }
    }
    line.extend([" ", path, "\n"]);
    line
}

/// Reads the reply line, which the body follows.
pub(super) fn reply(connection: &mut Connection) -> Result<Download, ErrorKind> {
    let reply = connection.reply()?;
    parse(&reply).ok_or_else(|| ErrorKind::Protocol("the reply to GET is incomplete or contradicts itself".to_owned()))
}

/// Reads the keys of the reply and checks that they agree with each other.
fn parse(reply: &Reply) -> Option<Download> {
    let Reply::Ok { size, .. } = *reply else { return None };
    let etag = reply.key("etag")?;
    let is_etag = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if !(1..=64).contains(&etag.len()) || !etag.bytes().all(is_etag) {
        return None;
    }
    let mtime = reply.key("mtime").and_then(signed_decimal).unwrap_or(0);
    let (first, total) = match reply.key("range") {
        None => (0, size),
        Some(range) => {
            let (bounds, total) = range.split_once('/')?;
            let (first, last) = bounds.split_once('-')?;
            let (first, last, total) = (decimal(first)?, decimal(last)?, decimal(total)?);
            let agrees = last < total && last.checked_sub(first)?.checked_add(1)? == size;
            agrees.then_some((first, total))?
        }
    };
    let sha256 = reply.key("sha256").and_then(line::sha256);
    Some(Download { etag: etag.to_owned(), mtime, first, size, total, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_contradict_themselves_are_refused() {
        let read = |line: &str| parse(&Reply::parse(line).expect("a reply"));
        let got = read("OK 5 etag=a0-1 mtime=7 range=5-9/20").expect("a good reply");
        assert_eq!((got.first, got.size, got.total, got.mtime, got.sha256), (5, 5, 20, 7, None));
        let digest = format!("OK 5 etag=a sha256={}", "0a".repeat(32));
        assert_eq!(read(&digest).expect("a good reply").sha256, Some([10; 32]));
        for bad in [
            "OK 5",
            "OK 5 etag=a range=5-8/20",
            "OK 5 etag=a range=5-9/9",
            "OK 5 etag=a range=9-5/20",
            "OK 0 etag=a range=0-18446744073709551615/18446744073709551615",
            "OK 5 etag=xyz",
            "OK 5 etag=a%20b",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
