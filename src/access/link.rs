//! Signed links: a query that gives its holder some rights at one name and under it, until a time.
//!
//! ```text
//! ?fw=BASE64URL(PAYLOAD MAC)
//! PAYLOAD  KEY-ID|EXPIRY|RIGHTS|/PATH|     EXPIRY in seconds since 1970, RIGHTS of the letters r l c w
//! MAC      the 32 bytes of HMAC-SHA256(key, PAYLOAD)
//! ```
//!
//! The payload is text and the MAC is over all of it, so that a shell and `openssl` can make one. Nothing here knows
//! the time or which keys there are.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::access::rights::Rights;
use crate::object::Key;
use crate::wire::key::{self, KEY_LEN_MAX};
use crate::wire::range::decimal;

/// The name of the query parameter.
pub const PARAMETER: &str = "fw";
/// What a link may give. To delete takes more than the possession of a link.
pub const RIGHTS_MAX: Rights = Rights::READ.with(Rights::LIST).with(Rights::CREATE).with(Rights::REPLACE);

const MAC_LEN: usize = 32;
const SEPARATOR: char = '|';
/// Longest one that is decoded: an id, a time, rights, a path, in base64.
const TEXT_LEN_MAX: usize = (64 + 20 + 4 + KEY_LEN_MAX + 8 + MAC_LEN) * 4 / 3 + 4;

/// What a link gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub key_id: Box<str>,
    /// Seconds since 1970; at this time it is over.
    pub expires_s: u64,
    pub rights: Rights,
    /// The name that it is for, with all that is under.
    pub prefix: Key,
}

/// Why a link gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It is no link, or no key of this server has signed it.
    Wrong,
    /// It was right once.
    Expired,
}

/// The SHA-256 of a key, which tells it from a later one of the same id.
pub type KeyDigest = [u8; 32];

/// As [`KeyDigest`].
pub fn digest_of(secret: &[u8]) -> KeyDigest {
    Sha256::digest(secret).into()
}

impl Link {
    /// The value of the query parameter.
    pub fn sign(&self, secret: &[u8]) -> String {
        let mut bytes = self.to_string().into_bytes();
        let mac = mac(secret, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        Base64UrlUnpadded::encode_string(&bytes)
    }

    /// Reads the value of the query parameter. `secret_of` finds the key with an id.
    pub fn verify<'k>(
        text: &str,
        secret_of: impl FnOnce(&str) -> Option<&'k [u8]>,
        now_s: u64,
    ) -> Result<Self, LinkError> {
        if text.len() > TEXT_LEN_MAX {
            return Err(LinkError::Wrong);
        }
        // Some tools pad.
        let bytes = Base64UrlUnpadded::decode_vec(text.trim_end_matches('=')).map_err(|_| LinkError::Wrong)?;
        let (payload, shown) = bytes.split_last_chunk::<MAC_LEN>().ok_or(LinkError::Wrong)?;
        let payload_text = std::str::from_utf8(payload).map_err(|_| LinkError::Wrong)?;
        let (id, rest) = payload_text.split_once(SEPARATOR).ok_or(LinkError::Wrong)?;
        let secret = secret_of(id).ok_or(LinkError::Wrong)?;
        // Compares in constant time.
        mac(secret, payload).verify_slice(shown).map_err(|_| LinkError::Wrong)?;
        let link = Self::parse(id, rest).ok_or(LinkError::Wrong)?;
        if now_s >= link.expires_s { Err(LinkError::Expired) } else { Ok(link) }
    }

    /// What is after the id in a payload.
    fn parse(id: &str, rest: &str) -> Option<Self> {
        let rest = rest.strip_suffix(SEPARATOR)?;
        let mut parts = rest.splitn(3, SEPARATOR);
        let expires_s = decimal(parts.next()?)?;
        let rights = Rights::parse(parts.next()?).filter(|rights| RIGHTS_MAX.has(*rights) && !rights.is_none())?;
        let prefix = key::absolute(parts.next()?).ok()?.key;
        Some(Self { key_id: id.into(), expires_s, rights, prefix })
    }

    /// True for the name that it is for, and for those under.
    pub fn covers(&self, key: &Key) -> bool {
        self.prefix.is_root()
            || key
                .as_str()
                .strip_prefix(self.prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The payload.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_id, expires_s, rights, prefix } = self;
        write!(f, "{key_id}{SEPARATOR}{expires_s}{SEPARATOR}{rights}{SEPARATOR}{prefix}{SEPARATOR}")
    }
}

fn mac(secret: &[u8], payload: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of every length").chain_update(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn link(path: &str, rights: &str) -> Link {
        let rights = Rights::parse(rights).expect("rights");
        Link { key_id: "k1".into(), expires_s: 1_800_000_000, rights, prefix: key::absolute(path).expect("a path").key }
    }

    fn verify(text: &str, now_s: u64) -> Result<Link, LinkError> {
        Link::verify(text, |id| (id == "k1").then_some(SECRET), now_s)
    }

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn the_mac_is_hmac_sha256() {
        for (secret, text, want) in [
            (&[0x0b; 20][..], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            let made = mac(secret, text.as_bytes()).finalize().into_bytes();
            assert_eq!(crate::wire::line::hex(&made), want);
        }
    }

    /// Made with: `P='k1|1800000000|r|/pub/a b|'; { printf %s "$P"; printf %s "$P" | openssl dgst -sha256 -mac HMAC
    /// -macopt key:0123456789abcdef -binary; } | basenc --base64url -w0`.
    #[test]
    fn a_link_made_by_openssl_is_right() {
        let made = "azF8MTgwMDAwMDAwMHxyfC9wdWIvYSBifNI4yeK1CxsX5WuN_TADn2dg_C3DeAhVkKikmAvu81ZP";
        assert_eq!(verify(made, 1_799_999_999), Ok(link("/pub/a b", "r")));
        assert_eq!(link("/pub/a b", "r").sign(SECRET), made.trim_end_matches('='));
    }

    #[test]
    fn a_link_is_right_until_its_time_is_over() {
        let link = link("/pub/", "rl");
        let text = link.sign(SECRET);
        assert_eq!(verify(&text, 0), Ok(link.clone()));
        assert_eq!(verify(&text, 1_799_999_999), Ok(link));
        assert_eq!(verify(&text, 1_800_000_000), Err(LinkError::Expired));
    }

    #[test]
    fn a_link_that_was_changed_or_cut_anywhere_is_wrong() {
        let text = link("/pub/file", "rw").sign(SECRET);
        for at in 0..text.len() {
            assert_eq!(verify(&text[..at], 0), Err(LinkError::Wrong), "cut at {at}");
            for other in [b'A', b'_', b'!'] {
                let mut bytes = text.clone().into_bytes();
                if std::mem::replace(&mut bytes[at], other) != other {
                    let changed = String::from_utf8(bytes).expect("ASCII");
                    assert_eq!(verify(&changed, 0), Err(LinkError::Wrong), "changed at {at}");
                }
            }
        }
        let expired = Link { expires_s: 5, ..link("/", "r") };
        assert_eq!(verify(&expired.sign(b"another key"), 9), Err(LinkError::Wrong), "nothing is said of a forged one");
        assert_eq!(verify(&"A".repeat(TEXT_LEN_MAX + 1), 0), Err(LinkError::Wrong));
    }

    #[test]
    fn what_a_signed_payload_may_not_say_is_wrong() {
        let signed = |payload: &str| {
            let mut bytes = payload.as_bytes().to_vec();
            bytes.extend_from_slice(&mac(SECRET, payload.as_bytes()).finalize().into_bytes());
            Base64UrlUnpadded::encode_string(&bytes)
        };
        assert!(verify(&signed("k1|1800000000|r|/a|b|"), 0).is_ok(), "a name may have the separator");
        for payload in [
            "k2|1800000000|r|/a|",
            "k1|1800000000|d|/a|",
            "k1|1800000000|-|/a|",
            "k1|1800000000||/a|",
            "k1|1800000000|rr|/a|",
            "k1|1800000000|r|/a",
            "k1|1800000000|r|a|",
            "k1|1800000000|r|/a/../b|",
            "k1|1800000000|r|/.filewharf|",
            "k1|-1|r|/a|",
            "k1||r|/a|",
            "k1|1800000000|r|",
            "k1",
            "",
        ] {
            assert_eq!(verify(&signed(payload), 0), Err(LinkError::Wrong), "{payload}");
        }
    }

    #[test]
    fn a_link_covers_its_name_and_what_is_under_it_on_component_borders() {
        let covers = |prefix, path| link(prefix, "r").covers(&key::absolute(path).expect("a path").key);
        for (prefix, path) in
            [("/", "/"), ("/", "/a/b"), ("/a", "/a"), ("/a/", "/a"), ("/a", "/a/b"), ("/a/b/", "/a/b/c/d")]
        {
            assert!(covers(prefix, path), "{prefix} {path}");
        }
        for (prefix, path) in
            [("/a", "/"), ("/a", "/ab"), ("/a/b", "/a"), ("/a", "/A"), ("/a/", "/b/a"), ("/a", "/a.txt")]
        {
            assert!(!covers(prefix, path), "{prefix} {path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[A-Za-z0-9_=-]{0,90}|\\PC{0,20}") {
            prop_assert_eq!(verify(&text, 0), Err(LinkError::Wrong));
        }
    }
}
