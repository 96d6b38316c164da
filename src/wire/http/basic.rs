//! `Authorization`: extracts the secret, and does not judge it.

use std::borrow::Cow;

use base64ct::{Base64Unpadded, Encoding as _};

use crate::wire::http::syntax::trimmed;

/// The secret of `Bearer SECRET` or of `Basic base64(user:SECRET)` with any user; `None` for other schemes and for
/// malformed values.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_secret_is_what_follows_the_scheme_or_the_user() {
        for (value, want) in [
            ("Bearer s3cret", "s3cret"),
            ("bearer  a.b-c_d~+/==", "a.b-c_d~+/=="),
            ("Basic dXNlcjpzM2NyZXQ=", "s3cret"),
            ("BASIC dXNlcjpzM2NyZXQ", "s3cret"),
            ("Basic OnMzY3JldA==", "s3cret"),
            ("Basic dTphOmI=", "a:b"),
            ("Basic dTo=", ""),
        ] {
            assert_eq!(secret(value).as_deref(), Some(want.as_bytes()), "{value}");
        }
    }

    #[test]
    fn other_schemes_have_none() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic",
            "Basic ",
            "Basic dXNlcg==",
            "Basic !!!!",
            "Digest x",
            "s3cret",
            "Basic\tdTo=",
        ] {
            assert_eq!(secret(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_a_secret(user in "[^:]{0,9}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let pair = [user.as_bytes(), b":", &bytes].concat();
            let value = format!("Basic {}", base64ct::Base64::encode_string(&pair));
            prop_assert_eq!(secret(&value), Some(Cow::Borrowed(&*bytes)));
        }

        #[test]
        fn no_text_breaks_it(value in "(Basic|Bearer| |=|[A-Za-z0-9+/]{0,9}|ü){0,6}") {
            let _ = secret(&value);
        }
    }
}
