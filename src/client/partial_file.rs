//! `DEST.part` and `DEST.part.etag`: what is on disk of a download that is not complete.
//!
//! The record's first line is `ETAG TOTAL`; then comes one line `END SHA256` for every checked
//! segment. It is only ever appended to, and what it claims is checked against the bytes when a
//! download is resumed, so neither a crash nor a stray edit can leave a wrong byte in the result.
//! Nothing here knows the network.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock, fstat};
use sha2::{Digest as _, Sha256};

use super::dir::Dir;
use super::download::Sink;
use super::{ErrorKind, Progress};
use crate::wire::line;
use crate::wire::range::decimal;

/// Longest local name in bytes, and what `.part.etag` needs of it.
const NAME_BYTES_MAX: usize = 255 - ".part.etag".len();
/// A record larger than this is not read: a million segments.
const RECORD_BYTES_MAX: u64 = 100 << 20;
/// From here on a download tells its version from the beginning.
const RECORD_LEN_MIN: u64 = 64 << 10;
/// Bytes read at once when the part is checked.
const CHECK_BYTES: usize = 256 << 10;

/// Where a checked segment ends, and its digest.
type VerifiedSegment = (u64, [u8; 32]);

/// A download on disk. The part is locked, so that two of them never mix.
#[derive(Debug)]
pub(super) struct PartialFile<'a> {
    dir: &'a Dir,
    dest: OsString,
    name: OsString,
    record_name: OsString,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    part: File,
    /// Made when there is something to be resumed: a file that comes in one piece needs none, and
    /// half of the calls for a small file are saved.
    record: Option<File>,
    etag: String,
    total: u64,
    sealed: u64,
    end: u64,
}

impl<'a> PartialFile<'a> {
    /// Looks for what an earlier try left, and keeps of it what the record proves.
    pub(super) fn open(dir: &'a Dir, dest: &OsStr, progress: &mut dyn Progress) -> Result<Self, ErrorKind> {
        if dir.is_dir(dest) {
            return Err(ErrorKind::local("write", dir.path_of(dest), io::ErrorKind::IsADirectory.into()));
        }
        let name = part_name(dest);
        let mut record_name = name.clone();
        record_name.push(".etag");
        let mut part = Self { dir, dest: dest.to_owned(), name, record_name, open: None };
        if let Some(file) = part.lock(false)? {
            progress.checking(file.metadata().map_or(0, |facts| facts.len()));
            part.open = part.resume(file)?;
        }
        Ok(part)
    }

    /// Opens and locks the part. Another client may finish its own, which renames it, between our
    /// opening and our locking; then what was locked is somebody's finished file, and must be let go.
    fn lock(&self, create: bool) -> Result<Option<File>, ErrorKind> {
        loop {
            let create_flag = if create { OFlags::CREATE } else { OFlags::empty() };
            let file = match self.dir.open_file(&self.name, OFlags::RDWR | create_flag) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
                Err(error) => return Err(self.kind("open", error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if self.is_in_place(&file)? => return Ok(Some(file)),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "another download is writing it");
                    return Err(self.kind("write", busy));
                }
                Err(errno) => return Err(self.kind("lock", errno.into())),
            }
        }
    }

    /// Is the open file still the one that the name leads to?
    fn is_in_place(&self, file: &File) -> Result<bool, ErrorKind> {
        let here = fstat(file).map_err(|errno| self.kind("read", errno.into()))?;
        let there = self.dir.stat(&self.name);
        Ok(there.is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)))
    }

    /// Checks an existing part against its record; `None` if nothing of it can be used.
    fn resume(&self, mut part: File) -> Result<Option<Open>, ErrorKind> {
        let Ok(record) = self.dir.open_file(&self.record_name, OFlags::RDONLY) else { return Ok(None) };
        let mut text = String::new();
        if record.take(RECORD_BYTES_MAX).read_to_string(&mut text).is_err() {
            return Ok(None);
        }
        let Some((etag, segments)) = read_record(&text) else { return Ok(None) };
        let sealed = proven(&mut part, &segments).map_err(|error| self.kind("read", error))?;
        if sealed == 0 {
            return Ok(None);
        }
        let mut open = Open { part, record: None, etag, total: u64::MAX, sealed, end: sealed };
        // The record is written anew, for its last lines may be torn or disproved.
        let kept = text.lines().next().into_iter().map(str::to_owned).chain(
            segments.iter().take_while(|(end, _)| *end <= sealed).map(|(end, digest)| segment_line(*end, digest)),
        );
        let kept: String = kept.flat_map(|line| [line, "\n".to_owned()]).collect();
        open.record = Some(self.write_record(&kept)?);
        open.rewind().map_err(|error| self.kind("write", error))?;
        Ok(Some(open))
    }

    /// Everything is there: gives the file its time and its name.
    pub(super) fn finish(self, mtime: u64) -> Result<(), ErrorKind> {
        let open = self.open.as_ref().expect("a download that is complete was begun");
        if let Some(mtime) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(mtime)) {
            // A file system that cannot keep the time is no reason to throw the content away.
            let _ = open.part.set_modified(mtime);
        }
        if !self.is_in_place(&open.part)? {
            let replaced = io::Error::other("something else took its place meanwhile");
            return Err(self.kind("rename", replaced));
        }
        let renamed = self.dir.rename(&self.name, &self.dest);
        renamed.map_err(|error| ErrorKind::local("write", self.dir.path_of(&self.dest), error))?;
        // A small file has none, unless an earlier try left one.
        self.dir.remove(&self.record_name).map_err(|error| self.record_error("remove", error))
    }

    /// A record of our own with this text, in place of what has its name.
    fn write_record(&self, text: &str) -> Result<File, ErrorKind> {
        let written = self.dir.create_file(&self.record_name).and_then(|mut record| {
            record.write_all(text.as_bytes())?;
            Ok(record)
        });
        written.map_err(|error| self.record_error("write", error))
    }

    fn kind(&self, doing: &'static str, error: io::Error) -> ErrorKind {
        ErrorKind::local(doing, self.dir.path_of(&self.name), error)
    }

    fn record_error(&self, doing: &'static str, error: io::Error) -> ErrorKind {
        ErrorKind::local(doing, self.dir.path_of(&self.record_name), error)
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("bytes come only after the download was begun")
    }
}

impl Open {
    fn first_line(&self) -> String {
        format!("{} {}\n", self.etag, self.total)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.end = self.sealed;
        self.part.set_len(self.sealed)?;
        self.part.seek(SeekFrom::Start(self.sealed)).map(drop)
    }
}

impl Sink for PartialFile<'_> {
    fn have(&self) -> Option<(String, u64)> {
        self.open.as_ref().map(|open| (open.etag.clone(), open.sealed))
    }

    fn begin(&mut self, etag: &str, total: u64) -> Result<(), ErrorKind> {
        let part = match self.open.take() {
            Some(open) => open.part,
            None => self.lock(true)?.expect("a lock that may create finds a file"),
        };
        let mut open = Open { part, record: None, etag: etag.to_owned(), total, sealed: 0, end: 0 };
        if total >= RECORD_LEN_MIN || self.dir.stat(&self.record_name).is_ok() {
            open.record = Some(self.write_record(&open.first_line())?);
        }
        open.rewind().map_err(|error| self.kind("write", error))?;
        self.open = Some(open);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        let open = self.opened();
        let written = open.part.write_all(bytes);
        open.end += bytes.len() as u64;
        written.map_err(|error| self.kind("write", error))
    }

    fn seal(&mut self, digest: &[u8; 32]) -> Result<(), ErrorKind> {
        let open = self.opened();
        open.sealed = open.end;
        if open.record.is_none() && open.sealed < open.total {
            let first_line = open.first_line();
            let record = self.write_record(&first_line)?;
            self.opened().record = Some(record);
        }
        let open = self.opened();
        let Some(record) = &mut open.record else { return Ok(()) };
        let written = record.write_all(format!("{}\n", segment_line(open.sealed, digest)).as_bytes());
        written.map_err(|error| self.record_error("write", error))
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        let rewound = self.open.as_mut().map_or(Ok(()), Open::rewind);
        rewound.map_err(|error| self.kind("write", error))
    }

    fn start_over(&mut self) -> Result<(), ErrorKind> {
        if let Some(open) = &mut self.open {
            open.sealed = 0;
        }
        self.rewind()
    }
}

/// One line of the record, without its end.
fn segment_line(end: u64, digest: &[u8; 32]) -> String {
    format!("{end} {}", line::hex(digest))
}

/// Reads a record as far as it makes sense. The last segment of a complete part is left out: it is
/// asked for again, which tells whether the file is still the same.
fn read_record(text: &str) -> Option<(String, Vec<VerifiedSegment>)> {
    let mut lines = text.lines();
    let (etag, total) = lines.next()?.split_once(' ')?;
    let total = decimal(total)?;
    let mut segments: Vec<VerifiedSegment> = Vec::new();
    for line in lines {
        let read = line.split_once(' ').and_then(|(end, digest)| Some((decimal(end)?, line::sha256(digest)?)));
        let last = segments.last().map_or(0, |(end, _)| *end);
        match read {
            Some((end, digest)) if end > last && end < total => segments.push((end, digest)),
            _ => break,
        }
    }
    let etag_is_plain = !etag.is_empty() && etag.len() <= 64 && etag.bytes().all(|byte| byte.is_ascii_graphic());
    etag_is_plain.then(|| (etag.to_owned(), segments))
}

/// How many bytes of the part have the digests that the record tells.
fn proven(part: &mut File, segments: &[VerifiedSegment]) -> io::Result<u64> {
    let mut buffer = vec![0; CHECK_BYTES];
    let mut sealed = 0;
    part.seek(SeekFrom::Start(0))?;
    for (end, digest) in segments {
        let mut hasher = Sha256::new();
        let mut left = end - sealed;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(CHECK_BYTES);
            let count = part.read(&mut buffer[..piece])?;
            if count == 0 {
                return Ok(sealed);
            }
            hasher.update(&buffer[..count]);
            left -= count as u64;
        }
        if <[u8; 32]>::from(hasher.finalize()) != *digest {
            return Ok(sealed);
        }
        sealed = *end;
    }
    Ok(sealed)
}

/// `NAME.part`; a name that has no room for that is cut, and told apart by a digest of it.
fn part_name(name: &OsStr) -> OsString {
    let mut part = name.to_owned();
    if name.len() > NAME_BYTES_MAX {
        let digest = Sha256::digest(name.as_bytes());
        part = OsStr::from_bytes(&name.as_bytes()[..NAME_BYTES_MAX - 17]).to_owned();
        part.push(format!("~{}", line::hex(&digest[..8])));
    }
    part.push(".part");
    part
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn begun(dir: &Dir) -> PartialFile<'_> {
        let mut part = opened(dir);
        part.begin("ab", 12).expect("begun");
        for segment in [b"aaaa", b"bbbb"] {
            part.take(segment).expect("taken");
            part.seal(&digest(segment)).expect("sealed");
        }
        part
    }

    fn opened(dir: &Dir) -> PartialFile<'_> {
        PartialFile::open(dir, OsStr::new("f"), &mut ()).expect("a part")
    }

    #[test]
    fn only_sealed_bytes_survive_and_a_torn_record_is_no_harm() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let mut part = begun(&at);
        part.take(b"cc").expect("taken");
        drop(part);
        let record = dir.path().join("f.part.etag");
        let mut text = fs::read_to_string(&record).expect("a record");
        text.push_str("12 0123");
        fs::write(&record, text).expect("written");
        assert_eq!(opened(&at).have(), Some(("ab".to_owned(), 8)));
        assert_eq!(fs::read(dir.path().join("f.part")).expect("the part"), b"aaaabbbb");
        assert_eq!(fs::read_to_string(&record).expect("a record").lines().count(), 3);
    }

    #[test]
    fn bytes_that_differ_from_their_digest_are_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        drop(begun(&at));
        fs::write(dir.path().join("f.part"), b"aaaabbxb").expect("written");
        assert_eq!(opened(&at).have(), Some(("ab".to_owned(), 4)));
        fs::write(dir.path().join("f.part"), b"aa").expect("written");
        assert_eq!(opened(&at).have(), None);
    }

    #[test]
    fn a_part_is_written_by_one_download_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let _first = begun(&at);
        let second = PartialFile::open(&at, OsStr::new("f"), &mut ()).expect_err("the part is locked");
        assert!(second.to_string().contains("another download"), "{second}");
    }

    #[test]
    fn a_part_that_was_replaced_never_takes_the_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let part = begun(&at);
        fs::remove_file(dir.path().join("f.part")).expect("removed");
        fs::write(dir.path().join("f.part"), b"other").expect("written");
        assert!(part.finish(0).is_err());
        assert!(!dir.path().join("f").exists());
    }

    #[test]
    fn the_longest_names_have_room_for_their_part() {
        for len in [1, 245, 246, 255] {
            let name = OsString::from("x".repeat(len));
            assert!(part_name(&name).len() + ".etag".len() <= 255, "{len}");
        }
        let (a, b) = ("x".repeat(254) + "a", "x".repeat(254) + "b");
        assert_ne!(part_name(OsStr::new(&a)), part_name(OsStr::new(&b)));
    }
}
