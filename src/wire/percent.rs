//! Percent-decoding that refuses a `%` which begins no escape (RFC 3986 §2.1): the crate leaves it as it
//! is, and two parsers could then read one name in two ways.

use percent_encoding::{PercentDecode, percent_decode};

/// Decodes every `%XX`, once. `None` where a `%` is not followed by two hex digits.
pub fn decode(raw: &str) -> Option<PercentDecode<'_>> {
    let bytes = raw.as_bytes();
    let is_escape = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    memchr::memchr_iter(b'%', bytes).all(is_escape).then(|| percent_decode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_half_ones_refused() {
        for (raw, bytes) in [("", &b""[..]), ("a", b"a"), ("%41%2541", b"A%41"), ("%ff%C3", b"\xff\xc3")] {
            assert_eq!(decode(raw).expect(raw).collect::<Vec<_>>(), bytes, "{raw}");
        }
        for raw in ["%", "%4", "a%4g", "%%41", "%+1", "%4é"] {
            assert!(decode(raw).is_none(), "{raw}");
        }
    }
}
