//! `Authorization`: the secret in it. Whether it is the right one is decided elsewhere.

use std::borrow::Cow;

use base64ct::{Base64Unpadded, Encoding as _};

use crate::wire::http::trimmed;

/// The secret of `Bearer SECRET` or of `Basic base64(user:SECRET)`, whoever the user; `None` for
/// other schemes and for what is malformed.
pub fn secret(value: &str) -> Option<Cow<'_, [u8]>> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = trimmed(rest);
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then_some(Cow::Borrowed(rest.as_bytes()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Base64Unpadded::decode_vec(rest.trim_end_matches('=')).ok()?;
    let colon = memchr::memchr(b':', &pair)?;
    Some(Cow::Owned(pair[colon + 1..].to_vec()))
}
