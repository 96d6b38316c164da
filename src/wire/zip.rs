//! The records of a zip (APPNOTE 6.3): entries are stored, their CRC follows them in a data descriptor, and every length
//! has 64 bits. Appending to a `Vec` cannot fail.

use crate::time::Utc;

const VERSION: u16 = 45;
/// A data descriptor follows; the name is UTF-8.
const FLAGS_OF_FILE: u16 = 1 << 3 | 1 << 11;
const FLAGS_OF_DIR: u16 = 1 << 11;
/// The length is in the extra field of zip64.
const ELSEWHERE: u32 = u32::MAX;
/// Bytes of one entry in the directory of the zip besides its name.
pub const ENTRY_BYTES: usize = 46 + EXTRA_BYTES as usize;
const EXTRA_BYTES: u16 = 9 + 28;
/// Unix, and the attributes of MS-DOS after those.
const FILE_ATTRIBUTES: u32 = 0o100_644 << 16;
const DIR_ATTRIBUTES: u32 = 0o040_755 << 16 | 1 << 4;

/// One file or directory; the path of a directory ends in `/`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: Box<str>,
    pub len: u64,
    pub mtime: i64,
    /// Where its header begins.
    pub offset: u64,
}

/// The end of the whole zip: the directory of it has this number of entries, begins here and has this length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Directory {
    pub entries: u64,
    pub offset: u64,
    pub len: u64,
}

impl Entry {
    fn is_dir(&self) -> bool {
        self.path.ends_with('/')
    }

    /// What is before its content.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PK\x03\x04");
        self.common(0, out);
        put16(9 + 20, out);
        out.extend_from_slice(self.path.as_bytes());
        self.time(out);
        put16(1, out);
        put16(16, out);
        // Programs that read a stream use these; others the descriptor or the directory.
        put64(self.len, out);
        put64(self.len, out);
    }

    /// What is after its content; nothing for a directory.
    pub fn descriptor(&self, crc: u32, out: &mut Vec<u8>) {
        if !self.is_dir() {
            out.extend_from_slice(b"PK\x07\x08");
            put32(crc, out);
            put64(self.len, out);
            put64(self.len, out);
        }
    }

    /// The entry in the directory of the zip.
    pub fn listed(&self, crc: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PK\x01\x02");
        put16(3 << 8 | VERSION, out);
        self.common(crc, out);
        put16(EXTRA_BYTES, out);
        // No comment, disk or internal attributes.
        out.extend_from_slice(&[0; 6]);
        put32(if self.is_dir() { DIR_ATTRIBUTES } else { FILE_ATTRIBUTES }, out);
        put32(ELSEWHERE, out);
        out.extend_from_slice(self.path.as_bytes());
        self.time(out);
        put16(1, out);
        put16(24, out);
        for number in [self.len, self.len, self.offset] {
            put64(number, out);
        }
    }

    /// From the version needed to the length of the name.
    fn common(&self, crc: u32, out: &mut Vec<u8>) {
        put16(VERSION, out);
        put16(if self.is_dir() { FLAGS_OF_DIR } else { FLAGS_OF_FILE }, out);
        put16(0, out);
        let (date, time) = dos(self.mtime);
        put16(time, out);
        put16(date, out);
        put32(crc, out);
        put32(ELSEWHERE, out);
        put32(ELSEWHERE, out);
        put16(u16::try_from(self.path.len()).unwrap_or(u16::MAX), out);
    }

    /// The extended timestamp: seconds since 1970, of 32 bits.
    fn time(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"UT");
        put16(5, out);
        out.push(1);
        let clamped = self.mtime.clamp(i32::MIN.into(), i32::MAX.into());
        out.extend_from_slice(&i32::try_from(clamped).unwrap_or(0).to_le_bytes());
    }
}

impl Directory {
    /// What is after the last entry.
    pub fn end(&self, out: &mut Vec<u8>) {
        let Self { entries, offset, len } = *self;
        out.extend_from_slice(b"PK\x06\x06");
        put64(44, out);
        put16(3 << 8 | VERSION, out);
        put16(VERSION, out);
        put64(0, out);
        for number in [entries, entries, len, offset] {
            put64(number, out);
        }
        out.extend_from_slice(b"PK\x06\x07");
        put32(0, out);
        put64(offset + len, out);
        put32(1, out);
        out.extend_from_slice(b"PK\x05\x06");
        put32(0, out);
        let count = u16::try_from(entries).unwrap_or(u16::MAX);
        put16(count, out);
        put16(count, out);
        put32(u32::try_from(len).unwrap_or(ELSEWHERE), out);
        put32(u32::try_from(offset).unwrap_or(ELSEWHERE), out);
        put16(0, out);
    }
}

/// Date and time of MS-DOS, here in UTC: from 1980 to 2107.
fn dos(mtime: i64) -> (u16, u16) {
    let Utc { year, month, day, second } = Utc::new(mtime);
    if year < 1980 {
        return (1 << 5 | 1, 0);
    }
    if year > 2107 {
        return (127 << 9 | 12 << 5 | 31, 0);
    }
    let bits = |number: i64| u16::try_from(number).unwrap_or(0);
    let date = bits((year - 1980) * 512 + month * 32 + day);
    (date, bits(second / 3600 * 2048 + second / 60 % 60 * 32 + second % 60 / 2))
}

fn put16(number: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put64(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_directory_has_the_length_that_is_counted_for_it() {
        for path in ["a", "d/", "d/\u{fc}"] {
            let mut out = Vec::new();
            Entry { path: path.into(), len: 1 << 33, mtime: 1_700_000_000, offset: 1 << 34 }.listed(7, &mut out);
            assert_eq!(out.len(), ENTRY_BYTES + path.len(), "{path}");
        }
    }

    #[test]
    fn times_before_and_after_those_of_dos_are_its_first_and_last_day() {
        for (mtime, date, time) in [
            (0, 1 << 5 | 1, 0),
            (315_532_800, 1 << 5 | 1, 0),
            (1_700_000_000, 43 << 9 | 11 << 5 | 14, 22 << 11 | 13 << 5 | 10),
            (i64::MAX / 1000, 127 << 9 | 12 << 5 | 31, 0),
        ] {
            assert_eq!(dos(mtime), (date, time), "{mtime}");
        }
    }
}
