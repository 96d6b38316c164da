//! The fields of tus 1.0.0 that have a grammar of their own: `Upload-Metadata`, `Upload-Checksum` and `Upload-Concat`.

use base64ct::{Base64Unpadded, Encoding as _};

use crate::error::Failure;
use crate::wire::http::syntax::trimmed;

/// The checksum of one part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Checksum {
    /// What can be checked, as it is announced.
    pub const ALGORITHMS: &str = "sha1,sha256";

    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = Failure::Malformed("Upload-Checksum is not an algorithm and a digest in base64");
        let (algorithm, digest) = text.split_once(' ').ok_or(bad)?;
        let digest = bytes(trimmed(digest)).ok_or(bad)?;
        match algorithm {
            "sha1" => digest.try_into().map(Self::Sha1).map_err(|_| bad),
            "sha256" => digest.try_into().map(Self::Sha256).map_err(|_| bad),
            _ => Err(Failure::Malformed("Upload-Checksum is offered with sha1 and sha256 only")),
        }
    }
}

/// What `Upload-Concat` says of an upload that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concat<'a> {
    /// Another will be concatenated from it.
    Partial,
    /// It is concatenated from the uploads at these addresses; at least one.
    Final(Vec<&'a str>),
}

impl<'a> Concat<'a> {
    /// `parts_max` addresses at most.
    pub fn parse(text: &'a str, parts_max: usize) -> Result<Self, Failure> {
        let bad = Failure::Malformed("Upload-Concat is neither partial nor final; and addresses");
        if text == "partial" {
            return Ok(Self::Partial);
        }
        let list = text.strip_prefix("final;").ok_or(bad)?;
        if !list.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(bad);
        }
        let parts: Vec<_> = list.split(' ').filter(|part| !part.is_empty()).take(parts_max.saturating_add(1)).collect();
        match parts.len() {
            0 => Err(bad),
            n if n > parts_max => Err(Failure::Malformed("Upload-Concat names too many uploads")),
            _ => Ok(Self::Final(parts)),
        }
    }
}

/// The value of `key`; `None` if there is none. All of the field must be well-formed.
pub fn metadata(text: &str, key: &str) -> Result<Option<Vec<u8>>, Failure> {
    let bad = Failure::Malformed("Upload-Metadata is not pairs of a key and a value in base64");
    let mut found = None;
    if trimmed(text).is_empty() {
        return Ok(None);
    }
    for pair in text.split(',').map(trimmed) {
        let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad);
        }
        let value = bytes(trimmed(value)).ok_or(bad)?;
        if name == key && found.replace(value).is_some() {
            return Err(Failure::Malformed("a key stands twice in Upload-Metadata"));
        }
    }
    Ok(found)
}

/// Base64, with or without its padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || padding > 0 && !text.len().is_multiple_of(4) {
        return None;
    }
    Base64Unpadded::decode_vec(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn metadata_is_found_by_its_key() {
        let text = "filename d29ybGQudHh0,is_confidential,empty ,\tnote YQ== , bare YQ";
        for (key, value) in
            [("filename", "world.txt"), ("is_confidential", ""), ("empty", ""), ("note", "a"), ("bare", "a")]
        {
            assert_eq!(metadata(text, key), Ok(Some(value.as_bytes().to_vec())), "{key}");
        }
        assert_eq!(metadata(text, "name"), Ok(None));
        assert_eq!(metadata("", "name"), Ok(None));
    }

    #[test]
    fn metadata_with_a_mistake_is_refused_whole() {
        for text in
            [",", "a YQ==,", ",a", "a *", "a YQ=", "a YQ===", "a Y", "a YQ== x", "\u{e4} YQ==", "name YQ==,name YQ=="]
        {
            assert!(metadata(text, "name").is_err(), "{text}");
        }
    }

    #[test]
    fn a_checksum_has_a_known_algorithm_and_the_right_length() {
        assert_eq!(Checksum::parse("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="), Ok(Checksum::Sha1([0; 20])));
        let sha256 = "sha256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(Checksum::parse(sha256), Ok(Checksum::Sha256([0; 32])));
        for text in ["", "sha1", "sha1 ", "sha1 AAAA", "md5 AAAA", "SHA1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha1 *"] {
            assert!(Checksum::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_upload_is_partial_or_names_what_it_is_joined_from() {
        assert_eq!(Concat::parse("partial", 2), Ok(Concat::Partial));
        for text in ["final;/a b", "final; /a  b "] {
            assert_eq!(Concat::parse(text, 2), Ok(Concat::Final(vec!["/a", "b"])), "{text}");
        }
        for text in
            ["", "Partial", "partial;", "final", "final;", "final; ", "final;a\tb", "final;\u{e4}", "final;a b c"]
        {
            assert!(Concat::parse(text, 2).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "([a-z]{1,3}|=|,| |;|[A-Z0-9+/]{1,4}|\u{fc}|sha1 |sha256 |final;|partial){0,12}") {
            let _ = (metadata(&text, "a"), Checksum::parse(&text));
            if let Ok(Concat::Final(parts)) = Concat::parse(&text, 3) {
                prop_assert!((1..=3).contains(&parts.len()) && parts.iter().all(|part| !part.contains(' ')));
            }
        }
    }
}
