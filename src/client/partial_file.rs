//! `DEST.part` and `DEST.part.etag`: an incomplete download on disk.
//!
//! The record's first line is `ETAG TOTAL`; one line `END SHA256` follows for every verified segment. It is only ever
//! appended to, and its claims are checked against the bytes when a download is resumed, so neither a crash nor an
//! edit can leave a wrong byte in the result.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat};
use sha2::{Digest as _, Sha256};

use super::dir::Dir;
use super::error::ErrorKind;
use super::options::Progress;
use super::prefix_digest::PrefixDigest;
use super::sink::Sink;
use crate::wire::line;
use crate::wire::range::decimal;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a record that are read at most: a million segments.
const RECORD_BYTES_MAX: u64 = 100 << 20;
/// Downloads of this size and larger have a record from the beginning.
const RECORD_LEN_MIN: u64 = 64 << 10;
/// Bytes read at once when the part is checked.
const CHECK_BYTES: usize = 256 << 10;

/// Where a verified segment ends, and its digest.
type VerifiedSegment = (u64, [u8; 32]);

/// Where a download goes.
pub(crate) struct Target<'a> {
    pub(crate) dir: &'a Dir,
    pub(crate) name: &'a OsStr,
    /// After the name while the download is not complete.
    pub(crate) part_suffix: &'a str,
    /// Called before the file gets its name: an error if what is there may not be replaced.
    pub(crate) permits: &'a dyn Fn() -> io::Result<()>,
}

/// A download on disk.
#[derive(Debug)]
pub(super) struct PartialFile<'a> {
    dir: &'a Dir,
    dest: OsString,
    name: OsString,
    record_name: OsString,
    /// Locked, so that no two downloads write the same file.
    file: Option<File>,
    /// Created when there is something to resume: a file that comes in one piece needs none, which saves half of the
    /// calls for a small file.
    record: Option<File>,
    /// An earlier try left one.
    has_record: bool,
    version: Option<String>,
    total: u64,
    verified: u64,
    end: u64,
    /// The digest of the bytes so far; follows them only while one is expected.
    whole: PrefixDigest,
    expected: Option<[u8; 32]>,
}

impl<'a> PartialFile<'a> {
    /// Opens what an interrupted download has left, and keeps as much as the record proves.
    pub(super) fn open(target: &Target<'a>, progress: &mut dyn Progress) -> Result<Self, ErrorKind> {
        let (dir, dest) = (target.dir, target.name);
        if dir.is_dir(dest) {
            return Err(ErrorKind::local("write", dir.path_of(dest), io::ErrorKind::IsADirectory.into()));
        }
        let (name, dest) = (part_name(dest, target.part_suffix), dest.to_owned());
        let mut record_name = name.clone();
        record_name.push(".etag");
        let mut part = Self {
            dir,
            dest,
            name,
            record_name,
            file: None,
            record: None,
            has_record: true,
            version: None,
            total: u64::MAX,
            verified: 0,
            end: 0,
            whole: PrefixDigest::new(),
            expected: None,
        };
        part.file = part.lock(false)?;
        if let Some(file) = &part.file {
            progress.verifying(file.metadata().map_or(0, |metadata| metadata.len()));
            part.resume()?;
        }
        Ok(part)
    }

    /// Opens and locks the part. Another client may finish its own, which renames it, between the opening and the
    /// locking; then a finished file was locked, and is released.
    fn lock(&self, create: bool) -> Result<Option<File>, ErrorKind> {
        loop {
            let create_flag = if create { OFlags::CREATE } else { OFlags::empty() };
            let file = match self.dir.open_file(&self.name, OFlags::RDWR | create_flag) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
                Err(error) => return Err(self.error("open", error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if self.is_in_place(&file)? => return Ok(Some(file)),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "another download is writing it");
                    return Err(self.error("write", busy));
                }
                Err(errno) => return Err(self.error("lock", errno.into())),
            }
        }
    }

    /// True if the name still leads to the open file.
    fn is_in_place(&self, file: &File) -> Result<bool, ErrorKind> {
        let here = fstat(file).map_err(|errno| self.error("read", errno.into()))?;
        let there = self.dir.stat(&self.name);
        Ok(there.is_ok_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)))
    }

    /// Verifies the file against its record, as far as there is one.
    fn resume(&mut self) -> Result<(), ErrorKind> {
        let Ok(record) = self.dir.open_file(&self.record_name, OFlags::RDONLY) else { return Ok(()) };
        let mut text = String::new();
        if record.take(RECORD_BYTES_MAX).read_to_string(&mut text).is_err() {
            return Ok(());
        }
        let Some((etag, segments)) = parse_record(&text) else { return Ok(()) };
        let mut whole = PrefixDigest::new();
        let verified = matching_bytes(self.locked(), &segments, &mut whole);
        let verified = verified.map_err(|error| self.error("read", error))?;
        self.whole = whole;
        if verified == 0 {
            return Ok(());
        }
        (self.version, self.verified) = (Some(etag), verified);
        // The record is written again, for its last lines may be torn or disproved.
        let kept = segments.iter().filter(|(end, _)| *end <= verified);
        let kept: String = kept.map(|(end, digest)| segment_line(*end, digest)).collect();
        self.record = Some(self.write_record(&format!("{}\n{kept}", text.lines().next().unwrap_or_default()))?);
        self.rewind()
    }

    /// Gives the complete file its time, its execute bits and its name.
    pub(super) fn finish(self, mtime: i64, executable: bool, overwrite: bool) -> Result<(), ErrorKind> {
        let distance = Duration::from_secs(mtime.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if mtime < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
        if let Some(time) = time {
            // A file system that cannot keep the time is no reason to drop the content.
            let _ = self.locked().set_modified(time);
        }
        self.take_mode(0);
        if executable && let Ok(stat) = fstat(self.locked()) {
            // For all that may read it.
            let mode = stat.st_mode & 0o777 | (stat.st_mode & 0o444) >> 2;
            let _ = fchmod(self.locked(), Mode::from_raw_mode(mode));
        }
        if !self.is_in_place(self.locked())? {
            let replaced = io::Error::other("something else took its place meanwhile");
            return Err(self.error("rename", replaced));
        }
        let renamed = match overwrite {
            true => self.dir.rename(&self.name, &self.dest),
            false => self.dir.rename_to_free(&self.name, &self.dest),
        };
        if let Err(error) = renamed {
            let dest = self.dir.path_of(&self.dest);
            if error.kind() == io::ErrorKind::AlreadyExists {
                self.discard();
            }
            return Err(ErrorKind::local("write", dest, error));
        }
        if self.record.is_none() && !self.has_record {
            return Ok(());
        }
        self.dir.remove(&self.record_name).map_err(|error| self.record_error("remove", error))
    }

    /// Gives the part the permission bits of the file that it will replace, and the owner where that is permitted: the
    /// new content is open to no more users than the old one. `besides` is what writing it takes.
    fn take_mode(&self, besides: u32) {
        let Ok(there) = self.dir.stat(&self.dest) else { return };
        if FileType::from_raw_mode(there.st_mode) == FileType::RegularFile {
            let _ = std::os::unix::fs::fchown(self.locked(), Some(there.st_uid), Some(there.st_gid));
            let _ = fchmod(self.locked(), Mode::from_raw_mode((there.st_mode & 0o777) | besides));
        }
    }

    /// Removes the part: its bytes are of no use.
    pub(super) fn discard(self) {
        for name in [&self.record_name, &self.name] {
            let _ = self.dir.remove(name);
        }
    }

    fn write_first_line(&mut self) -> Result<(), ErrorKind> {
        let etag = self.version.as_deref().unwrap_or_default();
        self.record = Some(self.write_record(&format!("{etag} {}\n", self.total))?);
        Ok(())
    }

    /// Creates a record with this text, in place of what has its name.
    fn write_record(&self, text: &str) -> Result<File, ErrorKind> {
        let written = self.dir.create_file(&self.record_name).and_then(|mut record| {
            record.write_all(text.as_bytes())?;
            Ok(record)
        });
        written.map_err(|error| self.record_error("write", error))
    }

    /// Brings the digest to the verified bytes, where one is expected.
    fn follow(&mut self) -> Result<(), ErrorKind> {
        let Some(file) = self.file.as_ref().filter(|_| self.expected.is_some()) else { return Ok(()) };
        let followed = self.whole.seek(file, self.verified);
        followed.map_err(|error| self.error("read", error))
    }

    fn locked(&self) -> &File {
        self.file.as_ref().expect("the file is locked before anything is read or written")
    }

    fn error(&self, operation: &'static str, error: io::Error) -> ErrorKind {
        ErrorKind::local(operation, self.dir.path_of(&self.name), error)
    }

    fn record_error(&self, operation: &'static str, error: io::Error) -> ErrorKind {
        ErrorKind::local(operation, self.dir.path_of(&self.record_name), error)
    }
}

impl Sink for PartialFile<'_> {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    fn verified(&self) -> u64 {
        self.verified
    }

    fn was_interrupted(&self) -> bool {
        self.file.is_some()
    }

    fn begin(&mut self, etag: &str, total: u64) -> Result<(), ErrorKind> {
        let found_none = self.file.is_none();
        if found_none {
            self.file = self.lock(true)?;
            self.take_mode(0o600);
        }
        (self.version, self.total, self.verified, self.record) = (Some(etag.to_owned()), total, 0, None);
        (self.whole, self.expected) = (PrefixDigest::new(), None);
        self.has_record = self.dir.stat(&self.record_name).is_ok();
        if total >= RECORD_LEN_MIN || self.has_record {
            self.write_first_line()?;
        }
        // ext4 starts to write a file that was truncated when it is closed, even if it was empty: 10,000 small writes.
        let is_empty = found_none && self.locked().metadata().is_ok_and(|metadata| metadata.len() == 0);
        if is_empty { Ok(()) } else { self.rewind() }
    }

    fn expect(&mut self, digest: [u8; 32]) -> Result<(), ErrorKind> {
        self.expected = Some(digest);
        self.follow()
    }

    fn is_as_expected(&self) -> bool {
        self.expected.is_none_or(|digest| digest == self.whole.value())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        if self.expected.is_some() {
            self.whole.update(bytes);
        }
        let written = self.locked().write_all(bytes);
        self.end += bytes.len() as u64;
        written.map_err(|error| self.error("write", error))
    }

    fn verify(&mut self, digest: &[u8; 32]) -> Result<(), ErrorKind> {
        self.verified = self.end;
        if self.record.is_none() && self.verified < self.total {
            self.write_first_line()?;
        }
        let Some(record) = &mut self.record else { return Ok(()) };
        let written = record.write_all(segment_line(self.verified, digest).as_bytes());
        written.map_err(|error| self.record_error("write", error))
    }

    fn rewind(&mut self) -> Result<(), ErrorKind> {
        // Without a version, the file may be a foreign one.
        let Some(mut file) = self.file.as_ref().filter(|_| self.version.is_some()) else { return Ok(()) };
        let rewound = file.set_len(self.verified).and_then(|()| file.seek(SeekFrom::Start(self.verified)));
        self.end = self.verified;
        rewound.map_err(|error| self.error("write", error))?;
        self.follow()
    }

    fn reset(&mut self) -> Result<(), ErrorKind> {
        (self.version, self.verified) = (None, 0);
        Ok(())
    }
}

/// One line of the record.
fn segment_line(end: u64, digest: &[u8; 32]) -> String {
    format!("{end} {}\n", line::hex(digest))
}

/// Parses a record up to its first invalid line. The last segment of a complete part is left out: it is requested
/// again, which shows whether the file is still the same.
fn parse_record(text: &str) -> Option<(String, Vec<VerifiedSegment>)> {
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

/// How many bytes of the file match the digests of the record; `whole` is given them all, and perhaps more.
fn matching_bytes(mut file: &File, segments: &[VerifiedSegment], whole: &mut PrefixDigest) -> io::Result<u64> {
    let mut buffer = vec![0; CHECK_BYTES];
    let mut verified = 0;
    file.seek(SeekFrom::Start(0))?;
    for (end, digest) in segments {
        let mut hasher = Sha256::new();
        let mut left = end - verified;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(CHECK_BYTES);
            let count = file.read(&mut buffer[..piece])?;
            if count == 0 {
                return Ok(verified);
            }
            hasher.update(&buffer[..count]);
            whole.update(&buffer[..count]);
            left -= count as u64;
        }
        if <[u8; 32]>::from(hasher.finalize()) != *digest {
            return Ok(verified);
        }
        verified = *end;
    }
    Ok(verified)
}

/// The name with `.part` after it; one that is too long for that is cut, and made unique by a digest of it.
fn part_name(name: &OsStr, suffix: &str) -> OsString {
    let mut part = name.to_owned();
    let len_max = NAME_BYTES_MAX - suffix.len() - ".etag".len();
    if name.len() > len_max {
        let digest = Sha256::digest(name.as_bytes());
        part = OsStr::from_bytes(&name.as_bytes()[..len_max - 17]).to_owned();
        part.push(format!("~{}", line::hex(&digest[..8])));
    }
    part.push(suffix);
    part
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    fn target(dir: &Dir) -> Target<'_> {
        Target { dir, name: OsStr::new("f"), part_suffix: ".part", permits: &|| Ok(()) }
    }

    fn begun(dir: &Dir) -> PartialFile<'_> {
        let mut part = opened(dir);
        part.begin("ab", 12).expect("begun");
        for segment in [b"aaaa", b"bbbb"] {
            part.write(segment).expect("taken");
            part.verify(&digest(segment)).expect("verified");
        }
        part
    }

    fn opened(dir: &Dir) -> PartialFile<'_> {
        PartialFile::open(&target(dir), &mut ()).expect("a part")
    }

    fn resumable<'a>(part: &'a PartialFile<'_>) -> (Option<&'a str>, u64) {
        (part.version(), part.verified())
    }

    #[test]
    fn only_verified_bytes_survive_and_a_torn_record_is_no_harm() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let mut part = begun(&at);
        part.write(b"cc").expect("taken");
        drop(part);
        let record = dir.path().join("f.part.etag");
        let mut text = fs::read_to_string(&record).expect("a record");
        text.push_str("12 0123");
        fs::write(&record, text).expect("written");
        assert_eq!(resumable(&opened(&at)), (Some("ab"), 8));
        assert_eq!(fs::read(dir.path().join("f.part")).expect("the part"), b"aaaabbbb");
        assert_eq!(fs::read_to_string(&record).expect("a record").lines().count(), 3);
    }

    #[test]
    fn bytes_that_differ_from_their_digest_are_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        drop(begun(&at));
        fs::write(dir.path().join("f.part"), b"aaaabbxb").expect("written");
        assert_eq!(resumable(&opened(&at)), (Some("ab"), 4));
        fs::write(dir.path().join("f.part"), b"aa").expect("written");
        assert_eq!(resumable(&opened(&at)), (None, 0));
    }

    #[test]
    fn a_part_is_written_by_one_download_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let _first = begun(&at);
        let second = PartialFile::open(&target(&at), &mut ()).expect_err("the part is locked");
        assert!(second.to_string().contains("another download"), "{second}");
    }

    #[test]
    fn a_part_that_was_replaced_never_takes_the_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Dir::open(dir.path()).expect("it is there");
        let part = begun(&at);
        fs::remove_file(dir.path().join("f.part")).expect("removed");
        fs::write(dir.path().join("f.part"), b"other").expect("written");
        assert!(part.finish(0, false, true).is_err());
        assert!(!dir.path().join("f").exists());
    }

    #[test]
    fn the_longest_names_have_space_for_their_part() {
        for len in [1, 245, 246, 255] {
            let name = OsString::from("x".repeat(len));
            assert!(part_name(&name, ".part").len() + ".etag".len() <= 255, "{len}");
        }
        let (a, b) = ("x".repeat(254) + "a", "x".repeat(254) + "b");
        assert_ne!(part_name(OsStr::new(&a), ".part"), part_name(OsStr::new(&b), ".part"));
    }
}
