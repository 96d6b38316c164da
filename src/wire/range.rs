//! Byte ranges: `FIRST-LAST`, `FIRST-` and `-COUNT` (RFC 9110 §14.1.2), resolved against a length.

use std::ops::Range;

use crate::error::Failure;

/// A range as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From here to there, both included.
    Between(u64, u64),
    /// From here to the end.
    From(u64),
    /// The last so many bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads one range without the unit: `0-9`, `10-`, `-5`. `None` if it is no range.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Last(decimal(last)?)),
            (false, true) => Some(Self::From(decimal(first)?)),
            (false, false) => {
                let (first, last) = (decimal(first)?, decimal(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes it means in a file of `len` bytes; never empty.
    pub fn resolve(self, len: u64) -> Result<Range<u64>, Failure> {
        let range = match self {
            Self::Between(first, last) => first..last.saturating_add(1).min(len),
            Self::From(first) => first..len,
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        if range.is_empty() { Err(Failure::RangeUnsatisfiable) } else { Ok(range) }
    }
}

/// A plain decimal number: digits only, no sign, no blank, at most `u64::MAX`.
pub fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for text in ["", "-", "5-4", "a-b", "--1", "+1-2", "1-2-3", " 1-2", "1", "18446744073709551616-"] {
            assert_eq!(ByteRange::parse(text), None, "{text}");
        }
    }
}
