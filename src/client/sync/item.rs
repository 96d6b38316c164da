//! What a listing says about one name of a directory tree. Never how it was found out.

use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::client::error::{ClientError, printable};

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Below the directory that is listed, without slashes at its ends.
    pub(crate) path: String,
    pub(crate) node: Node,
}

/// What has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Dir,
    File(Facts),
    /// Excluded by a pattern: it is left alone on both sides.
    Excluded,
    /// A link, a device, or a name that is reserved for the server: left alone, and counted.
    Skipped,
    /// It could not be looked at, with the reason.
    Broken(String),
    /// No server can have this name, with the reason. The path is for messages only, but that of its directory is right.
    Unnamed(&'static str),
}

/// What is known about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    /// Seconds since 1970; negative before.
    pub(crate) mtime: i64,
    /// Differs for each version: the ETag of a file on a server. Empty for one that is equal to the local file.
    pub(crate) version: String,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) executable: bool,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum PlanError {
    Server(ClientError),
    Local(PathBuf, io::Error),
    /// The temporary file of the plan.
    Spool(io::Error),
    /// A listing is not sorted: this path comes too late.
    Unsorted(String),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Local(path, error) => write!(f, "{}: {error}", printable(&path.to_string_lossy())),
            Self::Spool(error) => write!(f, "the temporary file of the plan: {error}; TMPDIR names another directory"),
            Self::Unsorted(path) => write!(f, "the server lists {} in the wrong place", printable(path)),
        }
    }
}

impl From<io::Error> for PlanError {
    fn from(error: io::Error) -> Self {
        Self::Spool(error)
    }
}

/// The order of listings: byte order, component by component.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    // A slash ends a component, so it comes before every byte of a name.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

/// True if `path` is `dir` or below it.
pub(super) fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_directory_comes_directly_after_it() {
        let paths = ["a", "a/b", "a/b/c", "a/b-", "a b", "a-b", "a.txt", "b"];
        for pair in paths.windows(2) {
            let by_components = pair[0].split('/').cmp(pair[1].split('/'));
            assert_eq!(order(pair[0], pair[1]), by_components, "{pair:?}");
        }
        assert_eq!(order("a/b", "a b"), Ordering::Less);
        assert!(is_within("a/b", "a") && is_within("a", "a") && !is_within("ab", "a"));
    }
}
