//! What is stored: names, versions and listings. Plain data that every layer may hold.
//!
//! Nothing here touches a disk, and a [`Key`] is made only by `wire::key`.

use std::fmt;
use std::sync::Arc;

use crate::properties::Properties;

/// A name under the served directory: components joined by `/`, none empty, `.` or `..`, no
/// control bytes. The empty key is the served directory itself. Cheap to clone: each request keeps
/// several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Only `wire::key` calls this, after it has checked every rule.
    pub(crate) fn checked(text: &str) -> Self {
        Self(text.into())
    }

    /// The served directory itself.
    pub fn root() -> Self {
        Self("".into())
    }

    /// Without a leading or trailing `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the served directory itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds it; the root for a top-level name.
    pub fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// What has this name, one of a listing, in the directory.
    pub fn child(&self, name: &str) -> Self {
        let slash = if self.is_root() { "" } else { "/" };
        Self(format!("{}{slash}{name}", self.0).into())
    }

    /// True if the other is a name in this directory, or deeper.
    pub fn is_above(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        rest.is_some_and(|rest| self.is_root() && !rest.is_empty() || rest.starts_with('/'))
    }

    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// A strong validator: equal only for the same bytes of the same file. 32 hex digits on the wire,
/// the same in every dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Etag(pub [u8; 16]);

impl Etag {
    /// Reads what [`fmt::Display`] wrote; anything else is no tag of ours and matches nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 || digits.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut tag = [0; 16];
        for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            if pair.starts_with('+') {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(tag))
    }
}

impl Etag {
    /// In one piece: it is in almost every reply, and to format each byte took a third of the
    /// instructions of a small download.
    pub fn digits(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        text
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("digits are ASCII"))
    }
}

/// One version of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub len: u64,
    /// Last modification, seconds since 1970 (negative before).
    pub mtime: i64,
    pub etag: Etag,
    /// The SHA-256 of its content, where that was kept since it was stored. Only looked up where it may be asked for.
    pub sha256: Option<[u8; 32]>,
    /// One of its execute bits is set.
    pub is_executable: bool,
}

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    File(Meta),
    /// A directory, with its modification time in seconds since 1970.
    Dir {
        mtime: i64,
    },
}

/// What a name is meant to stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedKind {
    /// A file or a directory, whichever is there.
    Either,
    /// A directory: the name was written with `/` after it.
    Dir,
}

/// What is done where a directory above a new name is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingParents {
    Make,
    Refuse,
}

/// A quota of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub max: u64,
    /// Stored, or held for what is being stored.
    pub used: u64,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One component, any UTF-8 without control bytes.
    pub name: Box<str>,
    pub is_dir: bool,
    /// `None` where it could not be looked at.
    pub node: Option<Node>,
    /// What it was sorted by; 0 in a listing by names.
    pub rank: i64,
    /// That clients keep with it, where they were looked up and there are some.
    pub properties: Option<Properties>,
}

/// What a listing looks up besides what stands at its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The digests of the files.
    pub digests: bool,
    /// The properties that clients keep.
    pub properties: bool,
}

impl Entry {
    pub fn new(name: &str, node: Node) -> Self {
        Self {
            name: name.into(),
            is_dir: matches!(node, Node::Dir { .. }),
            node: Some(node),
            rank: 0,
            properties: None,
        }
    }
}

/// One page of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// At most the number asked for.
    pub entries: Vec<Entry>,
    /// Names were left out after the last entry.
    pub more: bool,
    /// How many names of the whole directory cannot be listed, because no protocol can carry them: they are not UTF-8,
    /// or hold control characters.
    pub unlisted: u64,
    /// How many names all pages have together, where that was counted.
    pub total: Option<u64>,
}

/// What must be true of the name at the moment a change becomes visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// No file there yet.
    Absent,
    /// All of these.
    All(Box<[Self]>),
    /// One of these versions is there.
    AnyOf(Box<[Etag]>),
    /// Exactly this version is there.
    Matches(Etag),
    /// Nothing.
    None,
    /// None of these versions is there.
    NoneOf(Box<[Etag]>),
    /// Some file is there.
    Present,
    /// What is there was last modified at this second (since 1970) or before. Holds where nothing
    /// is (RFC 9110 §13.1.4).
    UnmodifiedSince(i64),
}

impl Precondition {
    /// Whether it holds for the existing file, or for none.
    pub fn holds(&self, there: Option<&Meta>) -> bool {
        let is = |etag: &Etag| there.is_some_and(|meta| meta.etag == *etag);
        match self {
            Self::Absent => there.is_none(),
            Self::All(all) => all.iter().all(|one| one.holds(there)),
            Self::AnyOf(etags) => etags.iter().any(is),
            Self::Matches(etag) => is(etag),
            Self::None => true,
            Self::NoneOf(etags) => !etags.iter().any(is),
            Self::Present => there.is_some(),
            Self::UnmodifiedSince(second) => there.is_none_or(|meta| meta.mtime <= *second),
        }
    }

    /// True if the change must not be able to replace a file.
    pub fn wants_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::All(all) => all.iter().any(Self::wants_absent),
            _ => false,
        }
    }
}

/// Whether an upload replaced a file when it got its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    New,
    /// Yes; it is gone.
    Replaced,
}

/// An upload that is complete under its final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub meta: Meta,
    pub durability: Durability,
    pub placed: Placed,
}

/// What `OK` promises about an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// File and directory are on stable storage.
    Durable,
    /// Complete and visible, in the kernel's cache.
    Written,
}

impl Durability {
    /// The word of `stored=` on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Written => "written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_reads_what_it_wrote_and_nothing_else() {
        let tag = Etag([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
        assert_eq!(Etag::parse(&tag.to_string()), Some(tag));
        for bad in ["", "00", "+0010203040506070809000000000000", "000102030405060708090A0B0C0DFEFF"] {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_precondition_holds_for_what_it_names_and_nothing_else() {
        let (this, other) = (Etag([1; 16]), Etag([2; 16]));
        let meta = Meta { len: 1, mtime: 100, etag: this, sha256: None, is_executable: false };
        let both = |one, two| Precondition::All(Box::new([one, two]));
        for (precondition, without, with) in [
            (Precondition::None, true, true),
            (Precondition::Absent, true, false),
            (Precondition::Present, false, true),
            (Precondition::Matches(this), false, true),
            (Precondition::Matches(other), false, false),
            (Precondition::AnyOf(Box::new([other, this])), false, true),
            (Precondition::AnyOf(Box::new([])), false, false),
            (Precondition::NoneOf(Box::new([other, this])), true, false),
            (Precondition::NoneOf(Box::new([other])), true, true),
            (Precondition::UnmodifiedSince(100), true, true),
            (Precondition::UnmodifiedSince(99), true, false),
            (both(Precondition::Present, Precondition::NoneOf(Box::new([this]))), false, false),
            (both(Precondition::Present, Precondition::NoneOf(Box::new([other]))), false, true),
        ] {
            assert_eq!(precondition.holds(None), without, "{precondition:?} without a file");
            assert_eq!(precondition.holds(Some(&meta)), with, "{precondition:?} with this one");
        }
        assert!(both(Precondition::None, Precondition::Absent).wants_absent());
        assert!(!both(Precondition::None, Precondition::Present).wants_absent());
    }

    #[test]
    fn a_key_knows_its_parent_and_its_name() {
        let key = Key::checked("a/b/c.txt");
        assert_eq!((key.parent(), key.name()), ("a/b", "c.txt"));
        let top = Key::checked("c.txt");
        assert_eq!((top.parent(), top.name()), ("", "c.txt"));
    }
}
