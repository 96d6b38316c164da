//! What `fstat` said, in the words of the store: the one place where an [`Etag`] is made.
//!
//! Of the system calls, only `fstatat` is here.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, RawMode, Stat, statat};
use rustix::io::Errno;

use crate::error::Failure;
use crate::object::{Etag, Meta, Node, Precondition};
use crate::upload::NAME_IS_DIR;

/// A directory, whatever name it is reached by: device and inode.
pub(crate) type DirId = (u64, u64);

/// The execute bits of a mode.
const EXECUTE: RawMode = 0o111;

/// The mode with the execute bits that its read bits allow.
pub(crate) const fn executable(mode: RawMode) -> RawMode {
    mode | (mode & 0o444) >> 2
}

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    /// A link, fifo, socket or device: for peers it does not exist.
    Other,
}

pub(crate) fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        _ => Kind::Other,
    }
}

/// Length, time and validator of a regular file. Its digest is not looked up.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        len: len(stat),
        mtime: stat.st_mtime,
        etag: etag(stat),
        sha256: None,
        is_executable: stat.st_mode & EXECUTE != 0,
    }
}

/// What a peer is sent about it; `None` for what does not exist for peers.
pub(crate) fn node(stat: &Stat) -> Option<Node> {
    match kind(stat) {
        Kind::File => Some(Node::File(meta(stat))),
        Kind::Dir => Some(Node::Dir { mtime: stat.st_mtime }),
        Kind::Other => None,
    }
}

pub(crate) fn len(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between systems")]
pub(crate) fn id(stat: &Stat) -> DirId {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// The validator of a file: 128 bits mixed from inode, size, mtime and ctime. It must give the
/// same answer for ever, because clients keep it across restarts and upgrades.
#[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between systems")]
pub(crate) fn etag(stat: &Stat) -> Etag {
    mix([
        stat.st_ino as u64,
        stat.st_size as u64,
        stat.st_mtime as u64,
        stat.st_mtime_nsec as u64,
        stat.st_ctime as u64,
        stat.st_ctime_nsec as u64,
    ])
}

/// Two independent chains of the SplitMix64 finaliser. Each step is a bijection of its input, so
/// files that differ in one word only always differ in the tag.
fn mix(words: [u64; 6]) -> Etag {
    let (mut left, mut right) = (0x9E37_79B9_7F4A_7C15_u64, 0xD1B5_4A32_D192_ED03_u64);
    for word in words {
        left = finalise(left ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        right = finalise(right.rotate_left(29) ^ word.wrapping_mul(0xBF58_476D_1CE4_E5B9)).wrapping_add(left);
    }
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&finalise(left).to_be_bytes());
    tag[8..].copy_from_slice(&finalise(right).to_be_bytes());
    Etag(tag)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) const fn finalise(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A name in an open directory.
pub(crate) type At<'a> = (BorrowedFd<'a>, &'a str);

/// What stands at one name of an open directory; links are not followed.
pub(crate) fn standing(dir: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Refuses a file at a name where `there` stands.
pub(crate) fn may_replace(there: Option<&Stat>, precondition: &Precondition) -> Result<(), Failure> {
    let file = match there.map(|stat| (kind(stat), stat)) {
        None => None,
        Some((Kind::File, stat)) => Some(meta(stat)),
        Some((Kind::Dir, _)) => return Err(NAME_IS_DIR),
        Some((Kind::Other, _)) => return Err(Failure::Conflict("something that is not a file has that name")),
    };
    if precondition.holds(file.as_ref()) { Ok(()) } else { Err(Failure::PreconditionFailed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_gives_the_same_answer_for_ever() {
        assert_eq!(mix([1, 2, 3, 4, 5, 6]).to_string(), "e1e3962ef373b6400a112b263f6304a4");
    }

    #[test]
    fn every_bit_of_every_word_changes_about_half_of_the_etag() {
        let base = [77, 4096, 1_700_000_000, 123_456_789, 1_700_000_000, 123_456_789];
        for word in 0..6 {
            for bit in 0..64 {
                let mut other = base;
                other[word] ^= 1 << bit;
                let changed: u32 = mix(base).0.iter().zip(mix(other).0).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert!((36..=92).contains(&changed), "word {word} bit {bit}: {changed}");
            }
        }
    }
}
