//! The path and the query of a target: percent-decoded once, then held to the rules of every
//! name; and the way back, for links.
//!
//! An escaped `/` is refused: decoded it would cut the name in another place than every proxy
//! saw.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::error::Failure;
use crate::object::Key;
use crate::wire::key::{self, Path};
use crate::wire::range::decimal;

/// Everything but what RFC 3986 calls unreserved.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same with the `/` between components left alone.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// The options of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Names after this one.
    pub after: Option<Box<str>>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// Reads the path of a target, which begins with `/`.
pub fn path(raw: &str) -> Result<Path, Failure> {
    let mut escapes = memchr::memchr_iter(b'%', raw.as_bytes());
    if escapes.any(|at| raw.as_bytes()[at..].get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case(b"%2F"))) {
        return Err(Failure::Malformed("the path has an escaped /"));
    }
    key::absolute(&decoded(raw)?)
}

/// Reads a query. Unknown names are ignored, as everywhere on the web.
pub fn query(raw: &str) -> Result<Query, Failure> {
    let mut query = Query::default();
    for pair in raw.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let earlier = match name {
            "after" => query.after.replace(form_value(value)?.into()).is_some(),
            "limit" => {
                let limit = decimal(&form_value(value)?).filter(|limit| *limit > 0);
                let limit = limit.ok_or(Failure::Malformed("limit= is not a number from 1"))?;
                query.limit.replace(usize::try_from(limit).unwrap_or(usize::MAX)).is_some()
            }
            _ => false,
        };
        if earlier {
            return Err(Failure::Malformed("an option is given twice"));
        }
    }
    Ok(query)
}

/// Writes `/` and the name, so that [`path`] reads the same key. A folder's last `/` is the
/// caller's.
pub fn encode_path(key: &Key, out: &mut Vec<u8>) {
    out.push(b'/');
    percent_encode(key.as_str().as_bytes(), PATH).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// Writes one name of a link or one value of a query.
pub fn encode_component(text: &str, out: &mut Vec<u8>) {
    percent_encode(text.as_bytes(), COMPONENT).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// A value as forms write it: `+` is a blank (a plus is `%2B`).
fn form_value(raw: &str) -> Result<String, Failure> {
    let bytes = decoded(&raw.replace('+', " "))?.into_owned();
    String::from_utf8(bytes).map_err(|_| Failure::Malformed("the query is not UTF-8"))
}

/// Decodes every `%XX`, once.
fn decoded(raw: &str) -> Result<Cow<'_, [u8]>, Failure> {
    let bytes = raw.as_bytes();
    let mut escapes = memchr::memchr_iter(b'%', bytes);
    if escapes.any(|at| !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))) {
        return Err(Failure::Malformed("a % is not followed by two hex digits"));
    }
    Ok(percent_decode(bytes).into())
}
