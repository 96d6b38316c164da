//! Which version of a local file is sent, and the token by which its upload is resumed, also by a later run.
//!
//! A record is a file of one line, `TOKEN SIZE MTIME`, in the directory that [`Options::state_dir`](super::Options)
//! names. Its own name is a digest of the local path and the target. It is locked while an upload uses it. Nothing here
//! fails: without a record, an upload is resumed within its run only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use sha2::{Digest as _, Sha256};

use super::address::Address;
use super::error::ErrorKind;
use crate::wire::line::hex;

/// Longest record, in bytes.
const RECORD_BYTES_MAX: u64 = 256;
/// Records that were not used for this long are removed; servers forget uploads sooner.
const UNUSED_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most records; beyond, uploads have none.
const RECORDS_MAX: usize = 10_000;

/// A symbolic link in place of a record is not followed, and a pipe does not block.
const SAFE_FLAGS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// What tells one version of a local file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) len: u64,
    /// Nanoseconds since 1970.
    mtime: i128,
}

impl Source {
    /// Opens a local file to be sent.
    pub(super) fn open(local: &Path) -> Result<(File, Self), ErrorKind> {
        let opened = File::open(local).and_then(|file| {
            let metadata = file.metadata()?;
            if metadata.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, Self::of(&metadata))) }
        });
        opened.map_err(|error| ErrorKind::local("read", local, error))
    }

    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        let mtime = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { len: metadata.len(), mtime }
    }

    /// True if the open file still is of this version.
    pub(super) fn is_of(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|metadata| Self::of(&metadata) == *self)
    }

    /// Seconds since 1970; negative before.
    pub(super) fn mtime_seconds(&self) -> i64 {
        // No more than the seconds of `Metadata`.
        self.mtime.div_euclid(1_000_000_000) as i64
    }
}

/// The token of one upload.
#[derive(Debug)]
pub(super) struct UploadRecord {
    token: String,
    /// `None` without a directory for records.
    path: Option<PathBuf>,
    /// Locked. `None` if there is no record yet, or another upload has it.
    file: Option<File>,
}

impl UploadRecord {
    /// Finds the record of an upload of `local` to `path` at `address`; true if it is one of this version of the file,
    /// whose upload may have begun.
    pub(super) fn open(
        state_dir: Option<&Path>,
        local: &Path,
        address: &Address,
        path: &str,
        source: &Source,
    ) -> io::Result<(Self, bool)> {
        let path = state_dir.map(|dir| dir.join(name(local, address, path)));
        let mut record = Self { token: new_token()?, path, file: None };
        record.file = record.lock(false);
        let token = record.file.as_mut().and_then(|file| read(file, source));
        let is_found = token.is_some();
        if let Some(token) = token {
            record.token = token;
        }
        Ok((record, is_found))
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Chooses another token, for another version of the file or an upload that the server has forgotten.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        self.token = new_token()?;
        Ok(())
    }

    /// Keeps the token for a later run.
    pub(super) fn keep(&mut self, source: &Source) {
        if self.file.is_none() {
            self.file = self.lock(true);
        }
        let Some(file) = &mut self.file else { return };
        let line = format!("{} {} {}\n", self.token, source.len, source.mtime);
        // A record that is not complete is no record.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
    }

    /// Forgets the upload, which has ended.
    pub(super) fn remove(self) {
        if let (Some(path), Some(_locked)) = (&self.path, &self.file) {
            let _ = fs::remove_file(path);
        }
    }

    /// Opens and locks the record. The upload that had it may remove it between the opening and the locking.
    fn lock(&self, create: bool) -> Option<File> {
        let path = self.path.as_deref()?;
        if create {
            prepare(path.parent()?)?;
        }
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(create).truncate(false).mode(0o600).custom_flags(SAFE_FLAGS);
            let file = options.open(path).ok().filter(is_regular)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            let (here, there) = (file.metadata().ok()?, fs::symlink_metadata(path));
            match there {
                Ok(there) if (there.dev(), there.ino()) == (here.dev(), here.ino()) => return Some(file),
                Err(_) if !create => return None,
                _ => {}
            }
        }
    }
}

/// Creates the directory of records and removes those that are of no use any more. `None` if no record can be added.
fn prepare(dir: &Path) -> Option<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).ok()?;
    let mut count = 0;
    for entry in fs::read_dir(dir).ok()?.filter_map(Result::ok).take(RECORDS_MAX) {
        count += 1;
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_unused = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNUSED_MAX));
        let is_record = is_name(&entry.file_name().to_string_lossy());
        if is_unused
            && is_record
            && let Ok(file) = OpenOptions::new().read(true).custom_flags(SAFE_FLAGS).open(entry.path())
            && is_regular(&file)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            count -= usize::from(fs::remove_file(entry.path()).is_ok());
        }
    }
    (count < RECORDS_MAX).then_some(())
}

/// The name of a record: 32 hex digits.
fn name(local: &Path, address: &Address, path: &str) -> String {
    let local = fs::canonicalize(local).unwrap_or_else(|_| local.to_owned());
    let mut hasher = Sha256::new();
    hasher.update(local.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(format!("{address}{path}"));
    hex(&hasher.finalize()[..16])
}

fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn is_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The token, if the record is of this version of the file.
fn read(file: &mut File, source: &Source) -> Option<String> {
    let mut text = String::new();
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
    let mut words = text.strip_suffix('\n')?.split(' ');
    let (token, len, mtime) = (words.next()?, words.next()?, words.next()?);
    let is_same = len.parse() == Ok(source.len) && mtime.parse() == Ok(source.mtime);
    (is_same && is_name(token) && words.next().is_none()).then(|| token.to_owned())
}

/// 32 hex digits that cannot be guessed.
fn new_token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn address() -> Address {
        Address { host: "h".to_owned(), port: 1, tls: false }
    }

    fn open(dir: &Path, path: &str, source: &Source) -> (UploadRecord, bool) {
        UploadRecord::open(Some(dir), Path::new("local"), &address(), path, source).expect("random bytes")
    }

    const SOURCE: Source = Source { len: 5, mtime: 7_000_000_001 };

    #[test]
    fn a_record_is_found_by_its_file_and_its_target_and_for_that_version_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("not/there");
        let (mut record, found) = open(&dir, "/f", &SOURCE);
        assert!(!found && !dir.exists());
        record.keep(&SOURCE);
        let token = record.token().to_owned();
        drop(record);
        let (record, found) = open(&dir, "/f", &SOURCE);
        assert!(found && record.token() == token);
        drop(record);
        assert!(!open(&dir, "/g", &SOURCE).1);
        for other in [Source { len: 6, ..SOURCE }, Source { mtime: 7_000_000_002, ..SOURCE }] {
            let (record, found) = open(&dir, "/f", &other);
            assert!(!found && record.token() != token);
        }
        open(&dir, "/f", &SOURCE).0.remove();
        assert!(!open(&dir, "/f", &SOURCE).1);
        assert_eq!(fs::read_dir(&dir).expect("there").count(), 0);
    }

    #[test]
    fn two_uploads_at_a_time_have_different_tokens() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut one, _) = open(dir.path(), "/f", &SOURCE);
        one.keep(&SOURCE);
        let (mut other, found) = open(dir.path(), "/f", &SOURCE);
        other.keep(&SOURCE);
        assert!(!found && one.token() != other.token());
        other.remove();
        let token = one.token().to_owned();
        drop(one);
        assert_eq!(open(dir.path(), "/f", &SOURCE).0.token(), token);
    }

    #[test]
    fn a_torn_or_foreign_record_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut record, _) = open(dir.path(), "/f", &SOURCE);
        record.keep(&SOURCE);
        drop(record);
        let path = dir.path().join(name(Path::new("local"), &address(), "/f"));
        let whole = fs::read(&path).expect("the record");
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).expect("written");
            assert!(!open(dir.path(), "/f", &SOURCE).1, "{len}");
        }
        fs::write(&path, [b"../../f", &whole[7..]].concat()).expect("written");
        assert!(!open(dir.path(), "/f", &SOURCE).1);
    }

    #[test]
    fn what_is_no_regular_file_is_no_record_and_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(name(Path::new("local"), &address(), "/f"));
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        for is_there in [false, true] {
            if is_there {
                fs::write(&target, "precious").expect("written");
            }
            let (mut record, found) = open(dir.path(), "/f", &SOURCE);
            record.keep(&SOURCE);
            record.remove();
            assert!(!found && fs::symlink_metadata(&path).is_ok_and(|link| link.is_symlink()), "{is_there}");
            assert_eq!(fs::read(&target).ok(), is_there.then(|| b"precious".to_vec()));
        }
        fs::remove_file(&path).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("a pipe");
        let (mut record, found) = open(dir.path(), "/f", &SOURCE);
        record.keep(&SOURCE);
        assert!(!found && record.file.is_none());
    }

    #[test]
    fn records_that_were_not_used_for_long_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let old = SystemTime::now() - UNUSED_MAX - Duration::from_secs(60);
        for name in ["0123456789abcdef0123456789abcdef", "notes.txt"] {
            let file = File::create(dir.path().join(name)).expect("created");
            file.set_modified(old).expect("a time");
        }
        open(dir.path(), "/f", &SOURCE).0.keep(&SOURCE);
        assert!(!dir.path().join("0123456789abcdef0123456789abcdef").exists());
        assert!(dir.path().join("notes.txt").exists());
    }
}
