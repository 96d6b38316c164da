//! The headers of a tar: ustar (POSIX.1-1988), with one of pax (POSIX.1-2001) before it for what does not fit into that.
//! Appending to a `Vec` cannot fail.

use std::io::Write as _;

const BLOCK: usize = 512;
/// What is after the last entry.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// Longest name, and longest prefix before it.
const NAME_MAX: usize = 100;
const PREFIX_MAX: usize = 155;
/// Largest length and time that fit in eleven octal digits.
const NUMBER_MAX: u64 = 0o777_7777_7777;

const FILE: u8 = b'0';
const DIR: u8 = b'5';
const PAX: u8 = b'x';

/// Bytes after content of this length, up to the next header.
pub const fn padding(len: u64) -> usize {
    (len.wrapping_neg() % BLOCK as u64) as usize
}

/// The header of a file of this length.
pub fn file(path: &str, len: u64, mtime: i64, out: &mut Vec<u8>) {
    entry(path, (FILE, 0o644), len, mtime, out);
}

/// The entry of a directory; `path` ends in `/`.
pub fn dir(path: &str, mtime: i64, out: &mut Vec<u8>) {
    entry(path, (DIR, 0o755), 0, mtime, out);
}

fn entry(path: &str, kind: (u8, u32), len: u64, mtime: i64, out: &mut Vec<u8>) {
    let split = if path.is_ascii() { split(path) } else { None };
    let seconds = u64::try_from(mtime).ok().filter(|seconds| *seconds <= NUMBER_MAX);
    let mut pax = Vec::new();
    if split.is_none() {
        record("path", path, &mut pax);
    }
    if len > NUMBER_MAX {
        record("size", &len.to_string(), &mut pax);
    }
    if seconds.is_none() {
        record("mtime", &mtime.to_string(), &mut pax);
    }
    if !pax.is_empty() {
        header(("", "PaxHeader"), (PAX, 0o644), pax.len() as u64, 0, out);
        let padding = padding(pax.len() as u64);
        out.append(&mut pax);
        out.resize(out.len() + padding, 0);
    }
    let cut: String;
    let name = match split {
        Some(name) => name,
        None => {
            // For programs that do not know pax.
            cut = path.chars().filter(char::is_ascii).collect();
            ("", &cut[cut.len().saturating_sub(NAME_MAX)..])
        }
    };
    header(name, kind, if len > NUMBER_MAX { 0 } else { len }, seconds.unwrap_or(0), out);
}

/// The prefix and the name that a path has in a header; `None` if it is too long.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_MAX {
        return Some(("", path));
    }
    // The name of a directory is not empty before its last `/`.
    let slashes = memchr::memchr_iter(b'/', path.as_bytes()).filter(|at| *at + 1 < path.len());
    let parts = slashes.map(|at| (&path[..at], &path[at + 1..]));
    parts.into_iter().find(|(prefix, name)| prefix.len() <= PREFIX_MAX && name.len() <= NAME_MAX)
}

/// Its length counts its own digits.
fn record(key: &str, value: &str, out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() > len {
        len += 1;
    }
    let _ = writeln!(out, "{len} {key}={value}");
}

fn header((prefix, name): (&str, &str), (kind, mode): (u8, u32), len: u64, seconds: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let block = &mut out[start..];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{len:011o}").as_bytes());
    put(136, format!("{seconds:011o}").as_bytes());
    // The sum is taken with blanks in its own place.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = out[start..].iter().map(|byte| u32::from(*byte)).sum();
    out[start + 148..start + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_header_is_there_only_where_something_does_not_fit() {
        let long = format!("{}/{}", "d".repeat(150), "n".repeat(100));
        let longer = format!("{}/{}", "d".repeat(200), "n".repeat(101));
        for (path, len, mtime, blocks) in [
            ("a", 5, 0, 1),
            (&long[..], 0, 1_700_000_000, 1),
            (&longer[..], 0, 0, 3),
            ("\u{fc}", 0, 0, 3),
            ("a", NUMBER_MAX, 0, 1),
            ("a", NUMBER_MAX + 1, 0, 3),
            ("a", 0, -1, 3),
        ] {
            let mut out = Vec::new();
            file(path, len, mtime, &mut out);
            assert_eq!(out.len(), blocks * BLOCK, "{path}");
            assert_eq!(&out[257..265], b"ustar\x0000");
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for len in (0..200).chain(980..1000) {
            let mut out = Vec::new();
            record("path", &"y".repeat(len), &mut out);
            let text = String::from_utf8_lossy(&out);
            let counted = text.split(' ').next().and_then(|len| len.parse().ok());
            assert_eq!(counted, Some(out.len()), "{text}");
        }
    }

    #[test]
    fn content_is_filled_up_to_whole_blocks() {
        for (len, bytes) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (u64::MAX, 1)] {
            assert_eq!(padding(len), bytes, "{len}");
        }
    }
}
