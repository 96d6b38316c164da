//! `Repr-Digest`, `Content-Digest` and `Want-Repr-Digest` (RFC 9530): SHA-256 only, other
//! algorithms are ignored.

use base64ct::{Base64, Base64Unpadded, Encoding as _};

use crate::error::Failure;
use crate::wire::http::structured;
use crate::wire::http::syntax::trimmed;
use crate::wire::http::tus::Checksum;

/// The SHA-256 in a digest field, if there is one. A malformed field is an error: it must not be ignored.
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

/// The strongest digest of `OC-Checksum` that can be verified, as ownCloud and rclone write it: `SHA1:HEX`, or several with
/// blanks between them. Other algorithms are ignored.
pub fn oc_checksum(text: &str) -> Result<Option<Checksum>, Failure> {
    let bad = Failure::Malformed("OC-Checksum is not ALGORITHM:HEX");
    let mut found = None;
    for one in text.split_ascii_whitespace() {
        let (algorithm, digits) = one.split_once(':').ok_or(bad)?;
        if algorithm.eq_ignore_ascii_case("SHA256") {
            found = Some(Checksum::Sha256(hex_bytes(digits).ok_or(bad)?));
        } else if algorithm.eq_ignore_ascii_case("SHA1") {
            let digest = hex_bytes(digits).ok_or(bad)?;
            found = found.or(Some(Checksum::Sha1(digest)));
        }
    }
    Ok(found)
}

fn hex_bytes<const LEN: usize>(digits: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if digits.len() != 2 * LEN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// True if `Want-Repr-Digest` asks for SHA-256. A malformed field is ignored whole (RFC 9651 §4.2).
pub fn wants_sha256(lines: &[&str]) -> bool {
    structured::integer(lines, "sha-256").is_some_and(|weight| (1..=10).contains(&weight))
}

/// True if `Want-Repr-Digest` says that SHA-256 is of no use.
pub fn declines_sha256(lines: &[&str]) -> bool {
    structured::integer(lines, "sha-256") == Some(0)
}

/// The value of a digest field.
pub fn format(digest: &[u8; 32]) -> String {
    let mut out = Vec::new();
    write(digest, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The same, after what is there. Nothing else is allocated: it is part of most responses.
pub fn write(digest: &[u8; 32], out: &mut Vec<u8>) {
    let mut text = [0; BASE64_LEN];
    out.extend_from_slice(b"sha-256=:");
    out.extend_from_slice(Base64::encode(digest, &mut text).unwrap_or_default().as_bytes());
    out.push(b':');
}

/// Length of 32 bytes in base64.
const BASE64_LEN: usize = 44;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of "hello world" and a new line.
    const DIGEST: [u8; 32] = [
        0xa9, 0x48, 0x90, 0x4f, 0x2f, 0x0f, 0x47, 0x9b, 0x8f, 0x81, 0x97, 0x69, 0x4b, 0x30, 0x18, 0x4b, 0x0d, 0x2e,
        0xd1, 0xc1, 0xcd, 0x2a, 0x1e, 0xc0, 0xfb, 0x85, 0xd2, 0x99, 0xa1, 0x92, 0xa4, 0x47,
    ];
    const TEXT: &str = "sha-256=:qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A+4XSmaGSpEc=:";

    #[test]
    fn a_sha_256_is_read_among_others() {
        assert_eq!(format(&DIGEST), TEXT);
        for text in [
            TEXT.to_owned(),
            format!("sha-512=:YQ==:, {TEXT}"),
            format!(" {TEXT} ,\tmd5=:YQ==:"),
            format!("{TEXT};note=1"),
            TEXT.replace("c=:", "c:"),
        ] {
            assert_eq!(sha256(&[&text]), Ok(Some(DIGEST)), "{text}");
        }
        assert_eq!(sha256(&["sha-512=:YQ==:", TEXT]), Ok(Some(DIGEST)));
        assert_eq!(sha256(&[]), Ok(None));
        assert_eq!(sha256(&["sha-512=:YQ==:"]), Ok(None));
        let first = format(&[0; 32]);
        assert_eq!(sha256(&[&first, TEXT]), Ok(Some(DIGEST)), "the last counts (RFC 9651 §4.2.2)");
    }

    #[test]
    fn a_malformed_digest_is_never_ignored() {
        for text in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=:",
            "sha-256=::",
            "sha-256=:YQ==:",
            "sha-256=abc",
            "sha-256=:!:",
            "SHA-256=:YQ==:",
            "sha-256=:qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A+4XSmaGSpEcAA=:",
            "sha-256 =:YQ==:",
            "md5=x",
            "md5",
            ",",
            "=:YQ==:",
            "sha-256=:qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A-4XSmaGSpEc=:",
            "sha-256=\"qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A+4XSmaGSpEc=\"",
        ] {
            assert!(matches!(sha256(&[text]), Err(Failure::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn the_checksum_of_owncloud_is_read_and_unknown_ones_are_ignored() {
        let (sha1, sha256) = ("0a".repeat(20), "A0".repeat(32));
        let both = (Checksum::Sha1([10; 20]), Checksum::Sha256([160; 32]));
        for (text, wanted) in [
            (format!("SHA1:{sha1}"), Some(both.0)),
            (format!("sha256:{sha256}"), Some(both.1)),
            (format!("SHA256:{sha256} SHA1:{sha1}"), Some(both.1)),
            (format!("SHA1:{sha1} MD5:x ADLER32:1 SHA256:{sha256}"), Some(both.1)),
            ("MD5:0".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(oc_checksum(&text), Ok(wanted), "{text}");
        }
        for text in ["x", "SHA1:", "SHA1:zz", &format!("SHA1:{sha256}"), &format!("SHA256:+{}", &sha256[1..])] {
            assert!(oc_checksum(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wish_for_sha_256_has_a_weight() {
        for text in [
            "sha-256=1",
            "sha-256=10",
            "sha-256=05",
            "sha-256=3;q=0.5;a, md5=(\"x\" y);z",
            "sha-512=3, sha-256=5",
            "sha-256=0, sha-256=2",
            "sha-256=5;x",
        ] {
            assert!(wants_sha256(&[text]), "{text}");
        }
        for text in [
            "",
            "sha-256=0",
            "sha-256=11",
            "sha-256=-1",
            "sha-256=+1",
            "sha-256",
            "sha-512=1",
            "SHA-256=1",
            "x",
            "sha-256=5,",
            ",sha-256=5",
            "sha-256=5 sha-512=3",
            "sha-256=5, SHA=1",
            "sha-256=5, md5=\"x",
            "sha-256=5;",
            "sha-256=1.0",
            "sha-256 =5",
            "sha-256= 5",
            "sha-256=?1",
            "sha-256=(5)",
        ] {
            assert!(!wants_sha256(&[text]), "{text}");
        }
        assert!(!wants_sha256(&[]));
        for (text, declines) in [("sha-256=0", true), ("sha-512=3, sha-256=0", true), ("sha-256=1", false), ("", false)]
        {
            assert_eq!(declines_sha256(&[text]), declines, "{text}");
        }
        assert!(wants_sha256(&["sha-512=3", "sha-256=5"]));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(digest in any::<[u8; 32]>()) {
            prop_assert_eq!(sha256(&[&format(&digest)]), Ok(Some(digest)));
        }

        #[test]
        fn no_text_breaks_it(text in "(sha-256|md5|=|:|,|;| |[A-Za-z0-9+/]{1,44}|ü){0,9}") {
            let _ = (sha256(&[&text]), wants_sha256(&[&text]));
        }
    }
}
