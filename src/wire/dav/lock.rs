//! The body of LOCK, the fields that go with it, and the properties that tell of locks (RFC 4918 §9.10, §10.5, §10.7, §15.8,
//! §15.10).

use std::fmt::Write as _;

use crate::dav_locks::{DavLock, LockToken, OWNER_LEN_MAX, Scope, TIMEOUT_S_MAX};
use crate::error::Failure;
use crate::wire::dav::xml::{self, is_dav};
use crate::wire::http::target;

const NO_LOCK: Failure = Failure::Malformed("the body of LOCK is no lockinfo of a write lock");
const LONG_OWNER: Failure = Failure::Malformed("the owner of a lock is described in more than 2048 bytes");

/// What supportedlock has of every file and directory.
pub const SUPPORTED: &str = "<D:supportedlock>\
    <D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
    <D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
    </D:supportedlock>";

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    pub scope: Scope,
    /// The element, as it was written; empty if there is none.
    pub owner: Box<str>,
}

impl LockInfo {
    pub fn parse(body: &str) -> Result<Self, Failure> {
        let document = xml::parse(body)?;
        let root = document.root_element();
        let child = |of: roxmltree::Node<'_, '_>, name: &str| of.children().any(|node| is_dav(node, name));
        let part = |name| root.children().find(|node| is_dav(*node, name)).ok_or(NO_LOCK);
        if !is_dav(root, "lockinfo") || !child(part("locktype")?, "write") {
            return Err(NO_LOCK);
        }
        let scope = part("lockscope")?;
        let scope = match (child(scope, "exclusive"), child(scope, "shared")) {
            (true, false) => Scope::Exclusive,
            (false, true) => Scope::Shared,
            _ => return Err(NO_LOCK),
        };
        let owner = root.children().find(|node| is_dav(*node, "owner")).map(xml::alone).unwrap_or_default();
        if owner.len() > OWNER_LEN_MAX { Err(LONG_OWNER) } else { Ok(Self { scope, owner }) }
    }
}

/// Seconds that a client asks for: the first of the values that is understood, at most an hour.
pub fn timeout_s(field: Option<&str>) -> u64 {
    let value = |value: &str| match value.trim() {
        "Infinite" => Some(TIMEOUT_S_MAX),
        value => value.strip_prefix("Second-")?.parse().ok(),
    };
    field
        .into_iter()
        .flat_map(|field| field.split(','))
        .find_map(value)
        .unwrap_or(TIMEOUT_S_MAX)
        .clamp(1, TIMEOUT_S_MAX)
}

/// The token in a `Lock-Token` field. The library `webdav` of Node sends it without its angle brackets.
pub fn token(field: Option<&str>) -> Result<LockToken, Failure> {
    let text = field.ok_or(Failure::Malformed("the request has no Lock-Token"))?.trim();
    let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    LockToken::parse(text).ok_or(Failure::Conflict("it is not locked with this token"))
}

/// The property that tells of these locks. The tokens are shown: they are worth nothing to another user.
pub fn write_discovery<'a>(locks: impl Iterator<Item = &'a DavLock>, (mount, now_s): (&str, u64), out: &mut String) {
    out.push_str("<D:lockdiscovery>");
    for DavLock { token, key, scope, is_deep, owner, expires_s, .. } in locks {
        let scope = if *scope == Scope::Exclusive { "exclusive" } else { "shared" };
        let depth = if *is_deep { "infinity" } else { "0" };
        let left = expires_s.saturating_sub(now_s);
        let _ = write!(
            out,
            "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>\
             <D:depth>{depth}</D:depth>{owner}<D:timeout>Second-{left}</D:timeout>\
             <D:locktoken><D:href>{token}</D:href></D:locktoken>\
             <D:lockroot><D:href>{mount}/{}</D:href></D:lockroot></D:activelock>",
            target::escaped(key)
        );
    }
    out.push_str("</D:lockdiscovery>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(inside: &str) -> Result<LockInfo, Failure> {
        LockInfo::parse(&format!("<l:lockinfo xmlns:l=\"DAV:\">{inside}</l:lockinfo>"))
    }

    #[test]
    fn a_lock_has_a_scope_and_an_owner_as_it_was_written() {
        let write = "<l:locktype><l:write/></l:locktype>";
        let exclusive = "<l:lockscope><l:exclusive/></l:lockscope>";
        let got = body(&format!("{exclusive}{write}<l:owner><l:href>me &amp; you</l:href></l:owner>")).expect("a lock");
        assert_eq!(got.scope, Scope::Exclusive);
        assert_eq!(&*got.owner, "<l:owner xmlns:l=\"DAV:\"><l:href>me &amp; you</l:href></l:owner>");
        let shared = body(&format!("<l:lockscope><l:shared/></l:lockscope>{write}")).expect("a lock");
        assert_eq!((shared.scope, &*shared.owner), (Scope::Shared, ""));
        for bad in [
            "",
            exclusive,
            write,
            "<l:lockscope><l:exclusive/><l:shared/></l:lockscope><l:locktype><l:write/></l:locktype>",
        ] {
            assert_eq!(body(bad), Err(NO_LOCK), "{bad}");
        }
        let long = format!("{exclusive}{write}<l:owner>{}</l:owner>", "x".repeat(OWNER_LEN_MAX));
        assert_eq!(body(&long), Err(LONG_OWNER));
        assert!(LockInfo::parse("<lockinfo/>").is_err() && LockInfo::parse("").is_err());
    }

    #[test]
    fn a_timeout_is_at_most_an_hour_and_at_least_a_second() {
        for (field, wanted) in [
            (None, 3600),
            (Some("Infinite"), 3600),
            (Some("Second-60"), 60),
            (Some("Second-4100000000, Infinite"), 3600),
            (Some("Extend, Second-5"), 5),
            (Some("Second-0"), 1),
            (Some("Second-x"), 3600),
            (Some(""), 3600),
        ] {
            assert_eq!(timeout_s(field), wanted, "{field:?}");
        }
    }

    #[test]
    fn a_token_may_lack_its_angle_brackets_but_not_one_of_them() {
        let shown = LockToken([7; 16]).to_string();
        for good in [format!(" <{shown}> "), shown.clone()] {
            assert_eq!(token(Some(&good)), Ok(LockToken([7; 16])));
        }
        let [open, close] = [format!("<{shown}"), format!("{shown}>")];
        for bad in [None, Some(""), Some(&*open), Some(&*close), Some("<>"), Some("<opaquelocktoken:x>")] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }
}
