//! What the `If` field of a request means here (RFC 4918 §10.4): the tokens that it shows, whether it holds as far as locks
//! decide, and what it says of versions, which the store decides as it does `If-Match`.

use crate::dav_locks::LockToken;
use crate::dialect::http::policy::Policy;
use crate::dialect::protocol::{Context, Phase};
use crate::error::Failure;
use crate::object::Key;
use crate::wire::dav::condition::{If, Needs};
use crate::wire::http::head::{Head, Method};
use crate::wire::http::relocation::{self, Destination};
use crate::wire::http::target;

/// Why the field keeps a request from being served; takes the tokens in it.
pub(crate) fn unmet(head: &mut Head<'_>, policy: &Policy, context: &mut Context<'_>) -> Option<Failure> {
    context.lock_tokens = None;
    let text = head.upload.as_ref().and_then(|fields| fields.dav_if).filter(|_| policy.offers_webdav())?;
    match take(head, text, context) {
        Ok(true) => None,
        Ok(false) => Some(Failure::PreconditionFailed),
        Err(failure) => Some(failure),
    }
}

/// Takes the tokens and the versions of the field. False if it does not hold.
fn take<'a>(head: &mut Head<'a>, text: &'a str, context: &mut Context<'_>) -> Result<bool, Failure> {
    if matches!(head.method, Method::Get | Method::Head | Method::Options | Method::PropFind) {
        return Ok(true);
    }
    let field = If::parse(text)?;
    context.lock_tokens = Some(field.tokens().filter_map(LockToken::parse).collect());
    let own = target::path(head.path)?.key;
    let key_of = |resource: Option<&str>| match resource {
        None => Some(own.clone()),
        Some(text) => match relocation::here(head, text) {
            Ok(Destination::Here(path)) => Some(path.key),
            Ok(Destination::Elsewhere) | Err(_) => None,
        },
    };
    // The store asks those of another process.
    let are_elsewhere = context.phase == Phase::HandingOver;
    let has_token = |key: &Key, token: &str| {
        let is_there = |token| context.dav_locks.covering(key).any(|lock| lock.token == token);
        LockToken::parse(token).is_some_and(|token| are_elsewhere || is_there(token))
    };
    let needs = field.needs(
        |resource, token| key_of(resource).is_some_and(|key| has_token(&key, token)),
        |resource| key_of(resource).is_some_and(|key| key == own),
    );
    match needs {
        Needs::Nothing => Ok(true),
        Needs::OneOf(versions) => {
            if versions.is_empty() {
                return Ok(false);
            }
            let has_other = !head.fields.if_match.lines().is_empty();
            if has_other || !matches!(head.method, Method::Put | Method::Delete) {
                return Err(Failure::NotImplemented(
                    "an ETag in If is taken with PUT and DELETE, and without If-Match",
                ));
            }
            let added = versions.iter().all(|version| head.fields.if_match.add(version).is_ok());
            Ok(added)
        }
    }
}
