//! Byte ranges: `FIRST-LAST`, `FIRST-` and `-COUNT` (RFC 9110 §14.1.2), resolved against a length; and plain decimal
//! numbers.

use std::ops::Range;

use crate::error::Failure;

/// A range as requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// First and last byte, both included.
    Between(u64, u64),
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// Parses one range without the unit: `0-9`, `10-`, `-5`. Numbers above `u64::MAX` become that.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", last) => Some(Self::Last(saturated(last)?)),
            (first, "") => Some(Self::From(saturated(first)?)),
            (first, last) => {
                let (first, last) = (saturated(first)?, saturated(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The range in a file of `len` bytes; never empty.
    pub fn resolve(self, len: u64) -> Result<Range<u64>, Failure> {
        let range = match self {
            Self::Between(first, last) => first..last.saturating_add(1).min(len),
            Self::From(first) => first..len,
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        if range.is_empty() { Err(Failure::RangeUnsatisfiable) } else { Ok(range) }
    }
}

/// Most ranges of one request.
pub const RANGES_MAX: usize = 16;

/// The value of `Range`, resolved against a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// There is no range, or one that may be ignored (RFC 9110 §14.2).
    Whole,
    One(Range<u64>),
    /// These do not overlap; each is at the position of the first range that requested some of it.
    Several(Box<[Range<u64>]>),
    /// 416.
    Unsatisfiable,
}

impl Ranges {
    /// Parses the value of `Range` for a file of `len` bytes. Overlapping ranges are joined, so that no byte is
    /// sent twice (RFC 9110 §14.2). Another unit, a malformed set and more than [`RANGES_MAX`] ranges mean the
    /// whole file.
    pub fn parse(value: &str, len: u64) -> Self {
        let Some((unit, set)) = value.split_once('=') else { return Self::Whole };
        // No range of an empty file can be satisfied. Caches that ask for the first slice of every file, as nginx does,
        // take 416 for an error, so its ranges are ignored, as RFC 9110 §14.2 permits.
        if !unit.eq_ignore_ascii_case("bytes") || len == 0 {
            return Self::Whole;
        }
        let mut parts: Vec<Range<u64>> = Vec::new();
        let texts = set.split(',').map(|text| text.trim_matches([' ', '\t'])).filter(|text| !text.is_empty());
        let mut count = 0;
        for text in texts {
            count += 1;
            let Some(range) = ByteRange::parse(text) else { return Self::Whole };
            if count > RANGES_MAX {
                return Self::Whole;
            }
            if let Ok(part) = range.resolve(len) {
                join(part, &mut parts);
            }
        }
        match parts.len() {
            0 if count == 0 => Self::Whole,
            0 => Self::Unsatisfiable,
            1 => Self::One(parts.remove(0)),
            _ => Self::Several(parts.into()),
        }
    }
}

/// Adds a part, joined with all that it overlaps.
fn join(mut part: Range<u64>, parts: &mut Vec<Range<u64>>) {
    let mut index = parts.len();
    for at in (0..parts.len()).rev() {
        if part.start < parts[at].end && parts[at].start < part.end {
            let other = parts.remove(at);
            part = part.start.min(other.start)..part.end.max(other.end);
            index = at;
        }
    }
    parts.insert(index, part);
}

/// Digits only; larger numbers become `u64::MAX`.
fn saturated(text: &str) -> Option<u64> {
    is_decimal(text).then(|| text.parse().unwrap_or(u64::MAX))
}

/// Digits only, without a sign; at most `u64::MAX`.
pub fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| is_decimal(text))
}

/// As [`decimal`], with `-` before the digits of a negative number.
pub fn signed_decimal(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| is_decimal(text.strip_prefix('-').unwrap_or(text)))
}

/// A time in seconds since 1970, perhaps with a fraction, which is dropped.
pub fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    signed_decimal(whole).filter(|_| is_decimal(fraction))
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Appends a number. Without formatting: replies to small downloads have several.
pub fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_have_a_fraction_which_is_dropped() {
        for (text, time) in [("0", 0), ("1700000000.123456789", 1_700_000_000), ("-5.9", -5), ("7.0", 7)] {
            assert_eq!(seconds(text), Some(time), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.x",
            "1.2.3",
            "+1",
            "1e9",
            "--1",
            " 1",
            "2025-01-01T00:00:00Z",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
    use proptest::prelude::*;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 1, 9, 10, 4096, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn ranges_mean_what_rfc_9110_says() {
        for (text, len, want) in [
            ("0-0", 10, Some(0..1)),
            ("0-9", 10, Some(0..10)),
            ("5-100", 10, Some(5..10)),
            ("5-", 10, Some(5..10)),
            ("-3", 10, Some(7..10)),
            ("-30", 10, Some(0..10)),
            ("0-18446744073709551615", 10, Some(0..10)),
            ("10-", 10, None),
            ("10-12", 10, None),
            ("0-99999999999999999999", 10, Some(0..10)),
            ("-99999999999999999999", 10, Some(0..10)),
            ("99999999999999999999-", 10, None),
            ("99999999999999999999-99999999999999999999", 10, None),
            ("-0", 10, None),
            ("0-", 0, None),
            ("-5", 0, None),
        ] {
            let range = ByteRange::parse(text).expect(text);
            assert_eq!(range.resolve(len).ok(), want, "{text} of {len}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "-", "5-4", "a-b", "--1", "+1-2", "1-2-3", " 1-2", "1", "18446744073709551616"] {
            assert_eq!(ByteRange::parse(text), None, "{text}");
        }
    }

    // covers: odd-ranges
    #[test]
    fn a_set_of_ranges_is_resolved_or_ignored() {
        use Ranges::{One, Unsatisfiable, Whole};
        let several = |parts: &[Range<u64>]| Ranges::Several(parts.into());
        for (value, want) in [
            ("bytes=0-4", One(0..5)),
            ("Bytes=5-", One(5..10)),
            ("bytes=-3", One(7..10)),
            ("bytes=0-18446744073709551615", One(0..10)),
            ("bytes=0-0,9-9", several(&[0..1, 9..10])),
            ("bytes=5-6 ,\t0-1", several(&[5..7, 0..2])),
            ("bytes=0-4,5-9", several(&[0..5, 5..10])),
            ("bytes=0-1,20-30", One(0..2)),
            ("bytes=,0-1,,", One(0..2)),
            ("bytes=20-30", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=10-,-0,99-", Unsatisfiable),
            ("bytes=0-4,4-5", One(0..6)),
            ("bytes=0-,-1", One(0..10)),
            ("bytes=0-1,0-1", One(0..2)),
            ("bytes=8-9,0-1,2-3,1-2", several(&[8..10, 0..4])),
            ("bytes=6-7,0-1,3-4,0-3", several(&[6..8, 0..5])),
            ("bytes=0-1,9-9,5-6,0-8", several(&[0..9, 9..10])),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=0-1,5-4", Whole),
            ("bytes=99-,x", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=--", Whole),
            ("bytes=-", Whole),
            ("bytes=0-18446744073709551616", One(0..10)),
            ("bytes = 0-1", Whole),
            ("bytes 0-1", Whole),
            ("foo=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(Ranges::parse(value, 10), want, "{value}");
        }
    }

    #[test]
    fn ranges_of_an_empty_file_are_ignored() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-0", "bytes=-5", "bytes=7-9", "bytes=0-1,5-"] {
            assert_eq!(Ranges::parse(value, 0), Ranges::Whole, "{value}");
        }
    }

    // covers: odd-ranges
    #[test]
    fn many_ranges_mean_the_whole_file() {
        let set = |count: usize| (0..count).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect::<Vec<_>>().join(",");
        let most = Ranges::parse(&format!("bytes={}", set(RANGES_MAX)), 1000);
        assert!(matches!(most, Ranges::Several(parts) if parts.len() == RANGES_MAX));
        assert_eq!(Ranges::parse(&format!("bytes={}", set(RANGES_MAX + 1)), 1000), Ranges::Whole);
        assert_eq!(
            Ranges::parse(&format!("bytes={}", set(RANGES_MAX + 1)), 1),
            Ranges::Whole,
            "also those that are not there"
        );
    }

    proptest! {
        // covers: odd-ranges
        #[test]
        fn parts_lie_in_the_file_and_apart(set in "(([0-9]{0,2}-[0-9]{0,2})?[, ]?){0,6}", len in 0_u64..40) {
            let parts = match Ranges::parse(&format!("bytes={set}"), len) {
                Ranges::Whole | Ranges::Unsatisfiable => return Ok(()),
                Ranges::One(part) => vec![part],
                Ranges::Several(parts) => { prop_assert!(parts.len() > 1); parts.into() }
            };
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(part.start < part.end && part.end <= len);
                prop_assert!(parts[..at].iter().all(|other| other.end <= part.start || part.end <= other.start));
            }
        }
    }
}
