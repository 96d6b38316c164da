//! The path and the query of a target: dot segments and empty ones are removed, the rest is percent-decoded once and
//! checked like every name; and percent-encoding, for links.
//!
//! An escaped `/` and an escaped dot segment are refused: decoded, the path would differ from the one that a proxy in
//! front saw.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};

use crate::error::Failure;
use crate::object::Key;
use crate::order::By;
use crate::wire::key::{self, Path};
use crate::wire::percent;
use crate::wire::range::decimal;

/// Everything but what RFC 3986 calls unreserved.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same with the `/` between components left alone.
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// The options of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// List the names after this one.
    pub after: Option<Box<str>>,
    pub limit: Option<usize>,
    /// With all that is under the directory.
    pub recursive: bool,
    pub sort: Option<By>,
    pub descending: Option<bool>,
    /// In small letters.
    pub filter: Option<Box<str>>,
}

/// Parses the path of a target, which begins with `/`.
pub fn path(raw: &str) -> Result<Path, Failure> {
    match plain_path(raw) {
        // Rare, and refused by the plain parser: only then they are searched for.
        Err(_) if has_removable_segments(raw) => plain_path(&without_removable_segments(raw)?),
        path => path,
    }
}

/// What follows this prefix in a path: nothing, or what begins with `/`. `None` if the path is not under it, or leads out
/// of it again.
pub fn under<'a>(prefix: &str, raw: &'a str) -> Option<&'a str> {
    let rest = raw.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
    let mut depth = 0_usize;
    for segment in rest.split('/').skip(1) {
        depth = match segment {
            "." => depth,
            ".." => depth.checked_sub(1)?,
            _ => depth + 1,
        };
    }
    Some(rest)
}

fn has_removable_segments(raw: &str) -> bool {
    raw.starts_with('/') && raw[1..].split('/').any(|segment| matches!(segment, "" | "." | ".."))
}

/// Removes dot segments (RFC 3986 §5.2.4), then empty ones. A path that ends in one of them names a directory.
///
/// Segments that a proxy may read as another path are refused, even where they would be removed: many decode escapes first, and
/// nginx and Apache join slashes before they remove dot segments.
fn without_removable_segments(raw: &str) -> Result<String, Failure> {
    let mut kept = Vec::new();
    for segment in raw.split('/').skip(1) {
        match segment {
            "." => {}
            ".." if kept.pop() == Some("") => {
                return Err(Failure::Malformed("the path has .. after an empty component"));
            }
            ".." => {}
            segment => {
                check_escapes(segment)?;
                kept.push(segment);
            }
        }
    }
    let mut path = String::with_capacity(raw.len());
    for segment in kept.into_iter().filter(|segment| !segment.is_empty()) {
        path.push('/');
        path.push_str(segment);
    }
    if matches!(raw.rsplit('/').next(), Some("" | "." | "..")) {
        path.push('/');
    }
    Ok(path)
}

/// Refuses an escaped `/` and an escaped dot segment.
fn check_escapes(segment: &str) -> Result<(), Failure> {
    let decoded = decoded(segment)?;
    if decoded.len() == segment.len() {
        return Ok(());
    }
    match &*decoded {
        b"." | b".." => Err(Failure::Malformed("the path has a . or .. component")),
        decoded if decoded.contains(&b'/') => Err(Failure::Malformed("the path has an escaped /")),
        _ => Ok(()),
    }
}

fn plain_path(raw: &str) -> Result<Path, Failure> {
    if memchr::memchr(b'%', raw.as_bytes()).is_none() {
        return key::absolute(raw);
    }
    let mut escapes = memchr::memchr_iter(b'%', raw.as_bytes());
    if escapes.any(|at| raw.as_bytes()[at..].get(..3).is_some_and(|escape| escape.eq_ignore_ascii_case(b"%2F"))) {
        return Err(Failure::Malformed("the path has an escaped /"));
    }
    let path = decoded(raw)?;
    key::absolute(std::str::from_utf8(&path).map_err(|_| Failure::Malformed("the path is not UTF-8"))?)
}

/// Parses the query of a directory. Names in `others` are read elsewhere. Of all others only those are ignored that
/// programs add on their own: a client that asks for what does not exist must not take the plain list for it.
pub fn query(raw: &str, others: &[&str]) -> Result<Query, Failure> {
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
            "recursive" if matches!(value, "" | "1") => std::mem::replace(&mut query.recursive, true),
            "recursive" => return Err(Failure::Malformed("recursive= knows only 1")),
            "sort" => {
                let by = match value {
                    "name" => By::Name,
                    "size" => By::Size,
                    "mtime" => By::Mtime,
                    _ => return Err(Failure::Malformed("sort= is name, size or mtime")),
                };
                query.sort.replace(by).is_some()
            }
            "order" => {
                let is_descending = match value {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(Failure::Malformed("order= is asc or desc")),
                };
                query.descending.replace(is_descending).is_some()
            }
            "filter" => {
                let text = form_value(value)?.to_lowercase();
                if text.len() > FILTER_LEN_MAX {
                    return Err(Failure::Malformed("filter= is longer than a name"));
                }
                query.filter.replace(text.into()).is_some()
            }
            name if others.contains(&name) || is_added(name) => false,
            _ => return Err(UNKNOWN_QUERY),
        };
        if earlier {
            return Err(Failure::Malformed("an option is given twice"));
        }
    }
    if query.recursive && (query.sort.is_some() || query.descending.is_some() || query.filter.is_some()) {
        return Err(Failure::Malformed("a recursive listing has no sort=, order= and filter="));
    }
    Ok(query)
}

/// Bytes of a filter, at most.
const FILTER_LEN_MAX: usize = 255;

const UNKNOWN_QUERY: Failure = Failure::Malformed(
    "the query of a folder is after=, limit=N, sort=name|size|mtime, order=asc|desc, filter=TEXT, recursive and archive=tar|zip",
);

/// True for a name that caches are bypassed with, and for one that tells where a link was followed.
pub(super) fn is_added(name: &str) -> bool {
    const CACHE: [&str; 10] = ["v", "ver", "t", "ts", "cb", "r", "rnd", "rand", "random", "nocache"];
    const TRACKING: [&str; 5] = ["ref", "source", "igsh", "igshid", "mkt_tok"];
    let has_end = ["clid", "clkid", "braid"].iter().any(|end| name.ends_with(end));
    let has_start = ["_", "utm_", "mc_"].iter().any(|start| name.starts_with(start));
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    is_number || has_start || has_end || CACHE.contains(&name) || TRACKING.contains(&name)
}

/// The value of one parameter of a query, where it is there.
pub fn parameter(raw: &str, name: &str) -> Result<Option<String>, Failure> {
    let values = raw.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let mut values = values.map(form_value);
    let value = values.next().transpose()?;
    if values.next().is_some() { Err(Failure::Malformed("an option is given twice")) } else { Ok(value) }
}

/// Appends `/` and the name, so that [`path`] parses the same key. The caller appends the `/` of a directory.
pub fn encode_path(key: &Key, out: &mut Vec<u8>) {
    out.push(b'/');
    escaped(key).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// What follows the first `/`, for `format!`.
pub fn escaped(key: &Key) -> PercentEncode<'_> {
    percent_encode(key.as_str().as_bytes(), PATH)
}

/// Appends one name of a link or one value of a query.
pub fn encode_component(text: &str, out: &mut Vec<u8>) {
    component(text).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// The same for `format!`.
pub fn component(text: &str) -> PercentEncode<'_> {
    percent_encode(text.as_bytes(), COMPONENT)
}

/// Form encoding: `+` is a space.
pub(super) fn form_value(raw: &str) -> Result<String, Failure> {
    let bytes = decoded(&raw.replace('+', " "))?.into_owned();
    String::from_utf8(bytes).map_err(|_| Failure::Malformed("the query is not UTF-8"))
}

fn decoded(raw: &str) -> Result<Cow<'_, [u8]>, Failure> {
    percent::decode(raw).map(Cow::from).ok_or(Failure::Malformed("a % is not followed by two hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ExpectedKind;
    use proptest::prelude::*;

    // covers: odd-targets
    #[test]
    fn escapes_are_decoded_once() {
        for (raw, key, dir) in [
            ("/", "", true),
            ("/a%20b/c.txt", "a b/c.txt", false),
            ("/a/", "a", true),
            ("/%61", "a", false),
            ("/%2561", "%61", false),
            ("/a+b", "a+b", false),
            ("/%C3%BC", "ü", false),
            ("/ü", "ü", false),
            ("/a;b=c,d", "a;b=c,d", false),
            ("/%5C", "\\", false),
            ("/...", "...", false),
        ] {
            let path = path(raw).expect(raw);
            assert_eq!((path.key.as_str(), path.expected_kind == ExpectedKind::Dir), (key, dir), "{raw}");
        }
    }

    // covers: odd-targets
    #[test]
    fn tricks_are_refused() {
        for raw in [
            "",
            "a",
            "a/../b",
            "*",
            "/%2e%2e",
            "/a/../%2e%2e/b",
            "/./a%2Fb",
            "/a/../%ff",
            // Removed, too, they are not what a proxy saw that decodes first.
            "/private/x/%2e%2e/../s",
            "/private/%2E/../s",
            "/private/x%2Fy/../s",
            "/private/x%2f..%2f../../s",
            "/private/%zz/../s",
            // And these not what one saw that joins slashes first, as nginx and Apache do.
            "/private//../s",
            "//../a",
            "/a//b/../../c",
            "/.%2E/a",
            "/a/%2e",
            "/a%2Fb",
            "/a%2fb",
            "/%2F",
            "/%00",
            "/a%0a",
            "/%7f",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/%u002e",
            "/%c0%ae",
            "/%ff",
            "/%ed%a0%80",
            "/a%",
        ] {
            assert!(matches!(path(raw), Err(Failure::Malformed(_))), "{raw}");
        }
        for raw in ["/.filewharf/health", "/%2efilewharf", "/.%66ilewharf/", "//.filewharf/x", "/a/..//.filewharf/"] {
            assert!(matches!(path(raw), Err(Failure::Denied(_))), "{raw}");
        }
    }

    #[test]
    fn dot_segments_and_empty_ones_are_removed() {
        for (raw, key, dir) in [
            // RFC 3986 §5.2.4 and §5.4.
            ("/a/b/c/./../../g", "a/g", false),
            ("/b/c/.", "b/c", true),
            ("/b/c/./", "b/c", true),
            ("/b/c/..", "b", true),
            ("/b/c/../", "b", true),
            ("/b/c/../g", "b/g", false),
            ("/b/c/../..", "", true),
            ("/../../g", "g", false),
            ("/b/c/g.", "b/c/g.", false),
            ("/b/c/..g", "b/c/..g", false),
            ("/b/c/./g/.", "b/c/g", true),
            ("/..", "", true),
            ("/.", "", true),
            ("//", "", true),
            ("//a", "a", false),
            ("/a//b", "a/b", false),
            ("/a///", "a", true),
            ("/a/../b//c", "b/c", false),
            ("/.filewharf/../%61", "a", false),
            (r"/a\..\b/./c", r"a\..\b/c", false),
        ] {
            let path = path(raw).expect(raw);
            assert_eq!((path.key.as_str(), path.expected_kind == ExpectedKind::Dir), (key, dir), "{raw}");
        }
    }

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        for (raw, after, limit) in [
            ("", None, None),
            ("after=a&limit=5", Some("a"), Some(5)),
            ("limit=5&after=a%20b%2Bc%26", Some("a b+c&"), Some(5)),
            ("after=a+b", Some("a b"), None),
            ("after=%C3%BC", Some("ü"), None),
            ("after=a=b", Some("a=b"), None),
            ("after", Some(""), None),
            ("fw=%zz&&_=17&1764000000&utm_source=a&fbclid=%&v=2", None, None),
            ("limit=99999999999999999", None, Some(99_999_999_999_999_999)),
        ] {
            let want = Query { after: after.map(Into::into), limit, ..Query::default() };
            assert_eq!(query(raw, &["fw"]), Ok(want), "{raw}");
        }
        for raw in [
            "limit=0",
            "limit=",
            "limit=-1",
            "limit=x",
            "limit=1&limit=1",
            "after=a&after=b",
            "after=%",
            "after=%ff",
            "recursive=0",
            "sort=",
            "sort=Name",
            "sort=date",
            "sort=name&sort=name",
            "order=up",
            "filter=%ff",
            "filter=a&filter=b",
            "recursive&filter=a",
            "sort=name&recursive",
            "recursive&order=asc",
            "recursive&recursive",
        ] {
            assert!(matches!(query(raw, &[]), Err(Failure::Malformed(_))), "{raw}");
        }
    }

    #[test]
    fn only_what_programs_add_to_an_address_is_ignored() {
        for raw in [
            "_",
            "_=1",
            "_ga=1",
            "1764000000",
            "v=1.2",
            "t=1",
            "ts=1",
            "cb=1",
            "nocache",
            "rand=0.1",
            "utm_campaign=a",
            "mc_cid=1",
            "fbclid=a",
            "gclid=a",
            "gbraid=a",
            "msclkid=a",
            "ref=mail",
            "igshid=a",
            "",
            "&",
            "v=1&_=2",
        ] {
            assert_eq!(query(raw, &[]), Ok(Query::default()), "{raw}");
        }
        for raw in [
            "archive=tar",
            "archive",
            "zip",
            "tar",
            "download",
            "depth=2",
            "format=json",
            "json",
            "list",
            "search=a",
            "q=a",
            "C=M;O=D",
            "offset=5",
            "page=2",
            "start=5",
            "delete",
            "prefix=a",
            "list-type=2",
            "max-keys=3",
            "marker=a",
            "versionId=1",
            "LIMIT=5",
            "Limit=5",
            "limit =5",
            "limits=5",
            "after%3Da",
            "%61fter=a",
            "fw=a",
            "login=/",
            "x",
            "v;limit=5",
        ] {
            assert_eq!(query(raw, &[]), Err(UNKNOWN_QUERY), "{raw}");
            assert_eq!(query(&format!("limit=5&{raw}"), &[]), Err(UNKNOWN_QUERY), "{raw}");
        }
    }

    #[test]
    fn only_what_needs_no_escape_is_written_plainly() {
        let mut out = Vec::new();
        encode_path(&path("/a%20b/ü~-._:'%22%25%3f%23&%5c").expect("good").key, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "/a%20b/%C3%BC~-._%3A%27%22%25%3F%23%26%5C");
        out.clear();
        encode_component("a/b c+", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "a%2Fb%20c%2B");
    }

    proptest! {
        // covers: names-in-pages
        #[test]
        fn every_name_comes_back_from_its_address(name in "[^/\\x00-\\x1f\\x7f]{1,20}(/[^/\\x00-\\x1f\\x7f]{1,20}){0,3}") {
            let Ok(key) = key::relative(&name) else { return Ok(()) };
            let mut out = Vec::new();
            encode_path(&key, &mut out);
            let raw = String::from_utf8(out).expect("ASCII");
            prop_assert!(raw.is_ascii());
            prop_assert_eq!(path(&raw), Ok(Path { key, expected_kind: ExpectedKind::Either }));
        }

        #[test]
        fn every_value_comes_back_from_its_query(after in "\\PC{0,20}") {
            let mut raw = b"after=".to_vec();
            encode_component(&after, &mut raw);
            let raw = String::from_utf8(raw).expect("ASCII");
            prop_assert_eq!(query(&raw, &[]), Ok(Query { after: Some(after.into()), ..Query::default() }));
        }

        #[test]
        fn no_text_breaks_it(raw in "(/|%|%2[0-9a-fA-F]|%[0-9a-f]{2}|\\.|[a-z]|&|=|\\+|after=|limit=|ü){0,12}") {
            let _ = (path(&raw), query(&raw, &[]));
        }
    }
}
