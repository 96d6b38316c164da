//! Signed links that a client asks for: POST of a path with `Filewharf-Link: SECONDS`. Nothing is stored, and the link
//! gives no more than the caller has. A page of another site cannot send the field without being permitted to.

use crate::access::link::PARAMETER;
use crate::access::{Caller, Rights, Rules, denied};
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::response::ResponseMeta;
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::object::{ExpectedKind, Key};
use crate::time::Utc;
use crate::wire::http::head::{Head, Method};
use crate::wire::http::target;
use crate::wire::range::decimal;

/// The names of one directory for which the caller can make links.
pub(super) enum Offer<'a> {
    Nothing,
    Everything,
    /// There are rules under, or this directory itself cannot be shared.
    ByName {
        rules: &'a Rules,
        caller: Caller,
    },
}

impl<'a> Offer<'a> {
    pub(super) fn new(dir: &Key, context: &Context<'a>) -> Self {
        let Some(rules) = context.access.rules().filter(|_| !context.limits.live.link_lifetime_max.is_zero()) else {
            return Self::Nothing;
        };
        match (rules.may_share(&context.caller), rules.has_rule_under(dir)) {
            (false, _) => Self::Nothing,
            (true, true) => Self::ByName { rules, caller: context.caller.clone() },
            (true, false) if rules.shareable(&context.caller, dir).has(Rights::READ) => Self::Everything,
            (true, false) => Self::Nothing,
        }
    }

    /// True if the caller can make a link for this name.
    pub(super) fn has(&self, dir: &Key, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::ByName { rules, caller } => rules.shareable(caller, &dir.child(name)).has(Rights::READ),
        }
    }
}

/// True if the head asks for a link.
pub(super) fn concerns(head: &Head<'_>) -> bool {
    head.method == Method::Post && head.upload.as_ref().is_some_and(|fields| fields.filewharf_link.is_some())
}

/// The link that the head asks for, and its expiry in seconds since 1970. A path that ends in `/` is that of a
/// directory, which may also be listed.
pub(super) fn link(head: &Head<'_>, incoming: &Incoming, context: &mut Context<'_>) -> Result<(String, u64), Failure> {
    let asked = head.upload.as_ref().and_then(|fields| fields.filewharf_link).and_then(decimal);
    let asked = asked.filter(|seconds| *seconds > 0);
    let lifetime_s = asked.ok_or(Failure::Malformed("Filewharf-Link is not a number of seconds from 1"))?;
    if !incoming.is_over() {
        return Err(Failure::Malformed("a request for a link has no body"));
    }
    let path = target::path(head.path)?;
    let lifetime_s = lifetime_s.min(context.limits.live.link_lifetime_max.as_secs());
    let rules = context.access.rules().filter(|rules| lifetime_s > 0 && rules.has_signing_key());
    let rules = rules.ok_or(Failure::Denied("this server makes no links"))?;
    let rights = match path.expected_kind {
        ExpectedKind::Dir => Rights::READ.with(Rights::LIST),
        _ => Rights::READ,
    };
    let made = rules.share(&context.caller, &path.key, rights, lifetime_s, context.wall_clock_s);
    let (link, expires_s) = made.ok_or_else(|| denied(&context.caller))?;
    let (caller, until) = (&context.caller, Utc::new(i64::try_from(expires_s).unwrap_or(i64::MAX)));
    context.notes.push(format!("{caller:?} made a link for {}, valid until {until}Z", path.key));
    Ok((link, expires_s))
}

/// The link as a reference relative to the path that was asked for.
pub(super) fn respond((link, expires_s): &(String, u64), response: &ResponseMeta, context: &mut Context<'_>) -> Action {
    let text = format!("{{\"link\":\"?{PARAMETER}={link}\",\"expires\":{expires_s}}}\n");
    response.head(200, context);
    context.out.extend_from_slice(b"Cache-Control: no-store\r\n");
    response.content("application/json", text.as_bytes(), context);
    response.next_action()
}
