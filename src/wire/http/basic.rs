//! `Authorization`: extracts what is shown, and does not judge it.

use base64ct::{Base64Unpadded, Encoding as _};
use zeroize::Zeroizing;

use crate::wire::http::syntax::trimmed;

/// What is shown. It is overwritten when this is dropped.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// `Bearer SECRET`.
    Bearer(&'a [u8]),
    /// `Basic base64(USER:SECRET)`.
    Basic { pair: Zeroizing<Vec<u8>>, colon: usize },
}

impl Credentials<'_> {
    /// That of Bearer, or that of Basic with any user.
    pub fn secret(&self) -> &[u8] {
        match self {
            Self::Bearer(secret) => secret,
            Self::Basic { pair, colon } => &pair[colon + 1..],
        }
    }

    /// The user of Basic, if it is UTF-8.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Bearer(_) => None,
            Self::Basic { pair, colon } => std::str::from_utf8(&pair[..*colon]).ok(),
        }
    }
}

/// `None` for other schemes and for malformed values.
pub fn credentials(value: &str) -> Option<Credentials<'_>> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = trimmed(rest);
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then_some(Credentials::Bearer(rest.as_bytes()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Zeroizing::new(Base64Unpadded::decode_vec(rest.trim_end_matches('=')).ok()?);
    let colon = memchr::memchr(b':', &pair)?;
    Some(Credentials::Basic { pair, colon })
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
            assert_eq!(credentials(value).expect(value).secret(), want.as_bytes(), "{value}");
        }
        let user = |value| credentials(value).expect(value).user().map(str::to_owned);
        assert_eq!(user("Basic dTphOmI="), Some("u".to_owned()));
        assert_eq!(user("Basic OnMzY3JldA=="), Some(String::new()));
        assert_eq!(user("Basic /zpi"), None, "not UTF-8");
        assert_eq!(user("Bearer s3cret"), None);
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
            assert_eq!(credentials(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_a_secret(user in "[^:]{0,9}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let pair = [user.as_bytes(), b":", &bytes].concat();
            let value = format!("Basic {}", base64ct::Base64::encode_string(&pair));
            let shown = credentials(&value).expect("credentials");
            prop_assert_eq!((shown.user(), shown.secret()), (Some(&*user), &*bytes));
        }

        #[test]
        fn no_text_breaks_it(value in "(Basic|Bearer| |=|[A-Za-z0-9+/]{0,9}|ü){0,6}") {
            let _ = credentials(&value);
        }
    }
}
