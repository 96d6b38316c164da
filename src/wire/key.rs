//! The one place where peer bytes become a [`Key`].
//!
//! A name is checked once, here, and never again compared, joined or canonicalised: the kernel
//! resolves it under the root's descriptor. What you type is the name; nothing is unescaped.

use std::fmt;

use crate::error::Failure;
use crate::object::{ExpectedKind, Key};
use crate::wire::folding::fold;

/// Longest name, in bytes: with the `/` before it, the 4,096 bytes that Linux takes as a path.
pub const KEY_LEN_MAX: usize = 4095;
/// Longest component, in bytes: what every common file system takes.
pub const COMPONENT_LEN_MAX: usize = 255;
pub const DEPTH_MAX: usize = 64;
/// The server's own directory. Refused as any component and in any letter case: a file system may ignore
/// case, and a directory under the root may be the root of another server.
pub const RESERVED: &str = ".filewharf";
/// A name that no rule mentions: what is permitted for it holds for those that no protocol can carry.
pub const UNNAMED: &str = "\u{fffd}";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The name without slashes at its ends.
    pub key: Key,
    /// A directory if it ended in `/`.
    pub expected_kind: ExpectedKind,
}

impl fmt::Display for Path {
    /// As it was written: a directory has a `/` after its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.expected_kind == ExpectedKind::Dir && !self.key.is_root() { "/" } else { "" };
        write!(f, "{}{slash}", self.key)
    }
}

/// Reads an absolute path as the `line` protocol and URLs write it: `/`, `/a/b`, `/a/b/`.
pub fn absolute(path: &str) -> Result<Path, Failure> {
    let rest = path.strip_prefix('/').ok_or(Failure::Malformed("the path must begin with /"))?;
    if rest.is_empty() {
        return Ok(Path { key: Key::root(), expected_kind: ExpectedKind::Dir });
    }
    let (name, expected_kind) = match rest.strip_suffix('/') {
        Some(name) => (name, ExpectedKind::Dir),
        None => (rest, ExpectedKind::Either),
    };
    Ok(Path { key: relative(name)?, expected_kind })
}

/// Reads a relative name as the legacy dialects send it: `a/b.txt`.
pub fn relative(name: &str) -> Result<Key, Failure> {
    if name.is_empty() {
        return Err(Failure::Malformed("the path has an empty component"));
    }
    if name.len() > KEY_LEN_MAX {
        return Err(Failure::PathTooLong);
    }
    let bytes = name.as_bytes();
    let mut start = 0;
    for (depth, end) in memchr::memchr_iter(b'/', bytes).chain([bytes.len()]).enumerate() {
        check(&bytes[start..end])?;
        start = end + 1;
        if depth >= DEPTH_MAX {
            return Err(Failure::Malformed("the path is deeper than 64 folders"));
        }
    }
    Ok(Key::checked(name))
}

/// One name between slashes.
pub fn component(part: &str) -> Result<(), Failure> {
    check(part.as_bytes())
}

fn check(part: &[u8]) -> Result<(), Failure> {
    match part {
        b"" => return Err(Failure::Malformed("the path has an empty component")),
        b"." | b".." => return Err(Failure::Malformed("the path has a . or .. component")),
        _ => {}
    }
    if part.len() > COMPONENT_LEN_MAX {
        return Err(Failure::Malformed("a name in the path is longer than 255 bytes"));
    }
    // All of it, whatever the first bytes are: so it needs no branch for each.
    if part.iter().fold(false, |found, byte| found | is_control(*byte)) {
        return Err(Failure::Malformed("the path has control bytes"));
    }
    if is_reserved(part) {
        return Err(Failure::Denied("/.filewharf/ is reserved for the server"));
    }
    Ok(())
}

/// True for [`RESERVED`] as some file system may spell it, in any letter case. Such names are neither taken nor listed.
/// That a directory is the reserved one under another name besides, the store sees when it opens it.
pub fn is_reserved(part: &[u8]) -> bool {
    if !part.is_ascii() {
        let mut folded = String::new();
        fold(&String::from_utf8_lossy(part), &mut folded);
        return folded == RESERVED;
    }
    if !matches!(part, [b'.' | b'f' | b'F', ..]) {
        return false;
    }
    let kept = part.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1);
    part[..kept].eq_ignore_ascii_case(RESERVED.as_bytes()) || is_short_reserved(&part[..kept])
}

/// True for the names that vfat, NTFS and Samba give to [`RESERVED`] where names have 8 letters: `FILEWH~1`.
fn is_short_reserved(part: &[u8]) -> bool {
    part.split_last().is_some_and(|(digit, stem)| digit.is_ascii_digit() && stem.eq_ignore_ascii_case(b"filewh~"))
}

/// True where it has a byte below 0x20, or DEL. Such names are neither taken nor listed.
pub fn has_control(text: &str) -> bool {
    text.bytes().any(is_control)
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_paths_keep_every_byte() {
        for (path, key, dir) in [
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a b/c  d.txt", "a b/c  d.txt", false),
            ("/ü/😀", "ü/😀", false),
            ("/...", "...", false),
            ("/a\\b", "a\\b", false),
            ("/x/.filewharf2/a.filewharf", "x/.filewharf2/a.filewharf", false),
        ] {
            let got = absolute(path).expect(path);
            assert_eq!((got.key.as_str(), got.expected_kind == ExpectedKind::Dir), (key, dir), "{path}");
        }
    }

    // covers: odd-names
    #[test]
    fn bad_paths_are_refused() {
        let long = format!("/{}", "x".repeat(256));
        let deep = format!("/{}", vec!["a"; 65].join("/"));
        for path in [
            "", "a", "//", "/a//b", "/..", "/../a", "/a/..", "/./a", "/a/.", "/a//", "/a\0b", "/a\x1fb", "/a\x7f",
            &long, &deep,
        ] {
            assert!(matches!(absolute(path), Err(Failure::Malformed(_))), "{path:?}");
        }
        for path in [
            "/.filewharf./x",
            "/.filewharf. ./x",
            "/.file\u{ad}wharf/x",
            "/\u{200b}.FileWharf\u{fe0f}.",
            "/.\u{fb01}lewharf",
        ] {
            assert!(matches!(absolute(path), Err(Failure::Denied(_))), "{path}");
        }
        for path in ["/FILEWH~1/uploads/x", "/filewh~9", "/d/Filewh~2.", "/filewh~1 "] {
            assert!(matches!(absolute(path), Err(Failure::Denied(_))), "{path}");
        }
        for path in ["/filewh~", "/filewh~10", "/filewh~a", "/file.~1~", "/filewharf", "/ .filewharf", "/\u{ad}"] {
            assert!(absolute(path).is_ok(), "{path}");
        }
        let nested = ["/x/.filewharf", "/x/.filewharf/", "/a/b/.FileWharf/staging/x", "/.FILEWHARF/staging"];
        for path in ["/.filewharf", "/.filewharf/", "/.filewharf/staging/x"].into_iter().chain(nested) {
            assert!(matches!(absolute(path), Err(Failure::Denied(_))), "{path}");
        }
    }

    // covers: odd-names
    #[test]
    fn the_longest_and_the_deepest_path_are_taken_and_one_more_is_not() {
        let name = "x".repeat(COMPONENT_LEN_MAX);
        let long = |len: usize| format!("/{}", [name.as_str(); 17].join("/"))[..=len].to_owned();
        let deep = |depth: usize| format!("/{}", vec!["a"; depth].join("/"));
        assert!(absolute(&long(KEY_LEN_MAX)).is_ok() && absolute(&deep(DEPTH_MAX)).is_ok());
        for path in [deep(DEPTH_MAX + 1), format!("/{name}x")] {
            assert!(matches!(absolute(&path), Err(Failure::Malformed(_))), "{path}");
        }
        assert_eq!(absolute(&long(KEY_LEN_MAX + 2)), Err(Failure::PathTooLong));
    }

    proptest! {
        // covers: odd-names
        #[test]
        fn an_accepted_path_is_written_back_unchanged(path in "/[a-z./\\\\ \\x00-\\x20é]{0,40}") {
            if let Ok(got) = absolute(&path) {
                let mut back = got.key.to_string();
                if got.expected_kind == ExpectedKind::Dir && !got.key.is_root() { back.push('/'); }
                prop_assert_eq!(back, path.clone());
                for part in got.key.as_str().split('/').filter(|_| !got.key.is_root()) {
                    prop_assert!(component(part).is_ok());
                }
            }
        }
    }
}
