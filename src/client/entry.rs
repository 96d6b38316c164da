//! What a server tells about a file or directory, in a listing or by itself.

use super::address::last_component;
use super::page::PageOptions;
use crate::wire::key;
use crate::wire::line::{self, Reply};
use crate::wire::range::{decimal, signed_decimal};

/// A file or directory on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last component, without a slash at its end. As the server sent it: check [`Self::is_safe`] before creating
    /// a local file of this name.
    pub name: String,
    /// True for a directory.
    pub dir: bool,
    /// Size in bytes; 0 for a directory.
    pub size: u64,
    /// Seconds since 1970; negative before.
    pub mtime: i64,
    /// The version; directories have none.
    pub etag: Option<String>,
    /// SHA-256, if the server keeps it and was asked for it.
    pub sha256: Option<[u8; 32]>,
    /// It can be executed. Listings do not say it, but [`Client::stat`](super::Client::stat) does.
    pub executable: bool,
    /// The server could not look at it: size, time and version are not known.
    pub unseen: bool,
}

impl Entry {
    /// True if the name is one plain component, so that a file of this name stays within its directory.
    pub fn is_safe(&self) -> bool {
        !self.name.contains('/') && key::component(&self.name).is_ok()
    }

    pub(crate) fn from_stat(path: &str, reply: &Reply) -> Self {
        let number = |key| reply.key(key).and_then(decimal).unwrap_or(0);
        Self {
            name: last_component(path).to_owned(),
            dir: reply.key("folder") == Some("1"),
            size: number("size"),
            mtime: reply.key("mtime").and_then(signed_decimal).unwrap_or(0),
            etag: reply.key("etag").map(str::to_owned),
            sha256: reply.key("sha256").and_then(line::sha256),
            executable: reply.key("exec") == Some("1"),
            unseen: false,
        }
    }

    /// Parses `SIZE MTIME ETAG NAME`, with more words before the name as these options say.
    pub(super) fn parse(line: &str, options: PageOptions) -> Option<Self> {
        let mut words = line.splitn(4 + usize::from(options.digests) + usize::from(options.exec), ' ');
        let (size, mtime, etag) = (words.next()?, words.next()?, words.next()?);
        let sha256 = if options.digests { line::sha256(words.next()?) } else { None };
        let executable = options.exec && words.next()? == "x";
        let name = words.next()?;
        let unseen = (size, mtime, etag) == ("-", "-", "-");
        let mtime = if unseen { 0 } else { signed_decimal(mtime)? };
        match name.strip_suffix('/') {
            Some(name) if size == "-" => {
                Some(Self { name: name.to_owned(), dir: true, size: 0, mtime, etag: None, sha256, executable, unseen })
            }
            _ => {
                let (name, etag) = (name.to_owned(), Some(etag.to_owned()).filter(|_| !unseen));
                let size = if unseen { 0 } else { decimal(size)? };
                Some(Self { name, dir: false, size, mtime, etag, sha256, executable, unseen })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, digests: bool) -> Option<Entry> {
        Entry::parse(line, PageOptions { digests, ..PageOptions::default() })
    }

    #[test]
    fn lines_of_a_listing_are_read_with_blanks_in_names() {
        let file = parse("12 34 ab-cd a b  c", false).expect("a file");
        assert_eq!((file.name.as_str(), file.size, file.mtime, file.dir), ("a b  c", 12, 34, false));
        assert_eq!(parse("1 -2 3 n", false).expect("a file").mtime, -2);
        let dir = parse("- 5 - some folder/", false).expect("a folder");
        assert_eq!((dir.name.as_str(), dir.dir, dir.etag), ("some folder", true, None));
        let known = parse(&format!("1 2 e {} a b", "0a".repeat(32)), true).expect("a file");
        assert_eq!((known.name.as_str(), known.sha256), ("a b", Some([10; 32])));
        assert_eq!(parse("1 2 e - a", true).expect("a file").sha256, None);
        assert_eq!(parse("- 2 - - d/", true).expect("a folder").name, "d");
        let runs = Entry::parse("1 2 e - x a b", PageOptions { digests: true, exec: true, ..PageOptions::default() })
            .expect("a file");
        assert_eq!((runs.name.as_str(), runs.executable), ("a b", true));
        let unseen = parse("- - - a b", false).expect("a file");
        assert_eq!((unseen.name.as_str(), unseen.dir, unseen.unseen, unseen.etag), ("a b", false, true, None));
        let unseen = parse("- - - - d/", true).expect("a folder");
        assert_eq!((unseen.name.as_str(), unseen.dir, unseen.unseen), ("d", true, true));
        for bad in ["", "1 2 3", "x 2 3 n", "- 2 - n", "1 --2 3 n"] {
            assert_eq!(parse(bad, false), None, "{bad}");
        }
    }

    #[test]
    fn names_that_leave_their_directory_are_not_safe() {
        for bad in ["", ".", "..", "../a", "a/b", "/etc", "a\0", "a\u{1b}"] {
            let entry = Entry {
                name: bad.to_owned(),
                dir: false,
                size: 0,
                mtime: 0,
                etag: None,
                sha256: None,
                executable: false,
                unseen: false,
            };
            assert!(!entry.is_safe(), "{bad:?}");
        }
    }
}
