//! Whether a local file and one on a server are equal, so that nothing need be transferred. Nothing here writes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::OFlags;

use super::dir::Dir;
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::prefix_digest::PrefixDigest;
use super::requests::Client;
use super::upload_record::Source;

/// What makes two files equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equality {
    /// Their sizes, and their modification times in seconds.
    SizeAndTime,
    /// That both are there: what is there is not replaced, whatever it holds.
    Name,
    /// Their sizes and their SHA-256. A file without a kept digest on the server is equal to none.
    Digest,
}

impl Equality {
    /// True if the server must be asked for digests.
    pub(crate) fn needs_digest(self) -> bool {
        self == Self::Digest
    }
}

impl Entry {
    /// True if an open local file is equal to this one.
    fn equals(&self, file: &File, equality: Equality) -> io::Result<bool> {
        let source = Source::of(&file.metadata()?);
        if self.dir || equality != Equality::Name && (self.unseen || source.len != self.size) {
            return Ok(false);
        }
        match (equality, self.sha256) {
            (Equality::SizeAndTime, _) => Ok(source.mtime_seconds() == self.mtime),
            (Equality::Digest, None) => Ok(false),
            (Equality::Name, _) => Ok(true),
            (Equality::Digest, Some(digest)) => {
                let mut whole = PrefixDigest::new();
                match whole.seek(file, source.len) {
                    Ok(()) => Ok(whole.value() == digest),
                    // It has become shorter meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

impl Client {
    /// True if the file on the server is equal to a local one; false if there is none, or something else.
    pub fn has_file(&mut self, path: &str, local: &Path, equality: Equality) -> Result<bool, ClientError> {
        let entry = match self.stat_with(path, equality.needs_digest()) {
            Ok(entry) => entry,
            // 409: what would be a directory on the way is a file.
            Err(error) if matches!(error.kind.code(), Some(404 | 409)) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.has_listed(path, &entry, local, equality)
    }

    /// As [`Self::has_file`], for a file that the server has listed.
    pub(crate) fn has_listed(
        &self,
        path: &str,
        entry: &Entry,
        local: &Path,
        equality: Equality,
    ) -> Result<bool, ClientError> {
        let (file, _) = Source::open(local).map_err(|kind| self.error(path, kind))?;
        entry.equals(&file, equality).map_err(|error| self.error(path, ErrorKind::local("read", local, error)))
    }
}

impl Dir {
    /// True if a file of this name is in the directory and equal to one on a server. A link is equal to nothing.
    pub(crate) fn has_equal(&self, name: &OsStr, entry: &Entry, equality: Equality) -> bool {
        self.open_file(name, OFlags::RDONLY).and_then(|file| entry.equals(&file, equality)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn size_and_time_or_size_and_digest_make_two_files_equal() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("f"), "hello").expect("written");
        let file = File::options().write(true).open(dir.path().join("f")).expect("open");
        file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_millis(7_900)).expect("a time");
        let sha256 = Some(Sha256::digest("hello").into());
        let entry = Entry {
            name: "f".to_owned(),
            dir: false,
            size: 5,
            mtime: -8,
            etag: None,
            sha256,
            executable: false,
            unseen: false,
        };
        let here = Dir::open(dir.path()).expect("open");
        assert!(here.has_equal(OsStr::new("f"), &Entry { size: 6, mtime: 0, ..entry.clone() }, Equality::Name));
        let equal = |entry: &Entry, equality| here.has_equal(OsStr::new("f"), entry, equality);
        let both = |entry: &Entry| (equal(entry, Equality::SizeAndTime), equal(entry, Equality::Digest));
        assert_eq!(both(&entry), (true, true));
        assert_eq!(both(&Entry { mtime: -7, ..entry.clone() }), (false, true));
        assert_eq!(both(&Entry { sha256: Some([0; 32]), ..entry.clone() }), (true, false));
        assert_eq!(both(&Entry { sha256: None, ..entry.clone() }), (true, false));
        assert_eq!(both(&Entry { size: 6, ..entry.clone() }), (false, false));
        assert_eq!(both(&Entry { dir: true, ..entry.clone() }), (false, false));
        assert!(!here.has_equal(OsStr::new("missing"), &entry, Equality::SizeAndTime));
    }
}
