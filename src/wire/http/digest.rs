//! `Repr-Digest`, `Content-Digest` and `Want-Repr-Digest` (RFC 9530): SHA-256 only, other
//! algorithms are ignored.

use std::fmt::Write as _;

use base64ct::{Base64, Base64Unpadded, Encoding as _};

use crate::error::Failure;
use crate::wire::http::trimmed;
use crate::wire::range::decimal;

/// Reads the SHA-256 of a digest field; `None` where the field has none.
pub fn sha256(lines: &[&str]) -> Result<Option<[u8; 32]>, Failure> {
    let bad = Failure::Malformed("a digest is not algorithm=:base64:");
    let mut digest = None;
    for (algorithm, value) in members(lines) {
        let bytes = value.and_then(|value| value.strip_prefix(':')?.strip_suffix(':')).ok_or(bad)?;
        if !is_key(algorithm) {
            return Err(bad);
        }
        if algorithm != "sha-256" {
            if !bytes.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) {
                return Err(bad);
            }
            continue;
        }
        let mut read = [0; 32];
        let padded = bytes.strip_suffix('=').unwrap_or(bytes);
        match Base64Unpadded::decode(padded, &mut read) {
            Ok(all) if all.len() == 32 => digest = Some(read),
            _ => return Err(Failure::Malformed("the sha-256 digest is not 32 bytes in base64")),
        }
    }
    Ok(digest)
}

/// Does `Want-Repr-Digest` ask for SHA-256? It is only a wish: where it is malformed, it is none.
pub fn wants_sha256(lines: &[&str]) -> bool {
    let weight = members(lines).filter(|(algorithm, _)| *algorithm == "sha-256").last();
    weight.and_then(|(_, weight)| decimal(weight?)).is_some_and(|weight| (1..=10).contains(&weight))
}

/// The value of a digest field.
pub fn format(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(55);
    let _ = write!(text, "sha-256=:{}:", Base64::encode_string(digest)); // writing to a String cannot fail
    text
}

/// The members of a dictionary (RFC 9651 §3.2) without their parameters.
fn members<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    lines.iter().flat_map(|line| line.split(',')).map(|member| {
        let member = trimmed(member.split(';').next().unwrap_or_default());
        match member.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (member, None),
        }
    })
}

/// RFC 9651 §3.1.2.
fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'*')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte))
}
