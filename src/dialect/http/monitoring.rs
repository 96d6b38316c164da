//! `/.filewharf/health` and `/.filewharf/metrics`. No file can be stored under that prefix, and neither waits for
//! a disk.

use crate::access::{Rights, denied};
use crate::counters::Health;
use crate::dialect::http::response::ResponseMeta;
use crate::dialect::protocol::{Action, Context, Phase};
use crate::error::Failure;
use crate::object::Key;
use crate::wire::http::head::{Head, Method};
use crate::wire::metrics;

/// The state of the server in one word, if the head asks for it. Load balancers ask without a secret and for any
/// host, and the word reveals nothing about the files.
pub(super) fn health(head: &Head<'_>, response: &ResponseMeta, context: &mut Context<'_>) -> Option<Action> {
    if !is_read_of("/.filewharf/health", head) {
        return None;
    }
    let (code, text) = match (context.phase, context.counters.health) {
        (Phase::Draining, _) => (503, "draining\n"),
        (Phase::Serving, Health::Degraded) => (503, "degraded\n"),
        (Phase::Serving, Health::Failing) => (503, "failing\n"),
        (Phase::Serving, Health::Gone) => (503, "gone\n"),
        (Phase::Serving, Health::Good | Health::ReadOnly) => (200, "ok\n"),
    };
    response.text(code, &[("Cache-Control", &"no-store")], text, context);
    Some(response.next_action())
}

/// The counters for Prometheus, if the head asks for them. With an access file, callers that may read the whole
/// directory may read them.
pub(super) fn metrics(
    head: &Head<'_>,
    response: &ResponseMeta,
    context: &mut Context<'_>,
) -> Result<Option<Action>, Failure> {
    if !is_read_of("/.filewharf/metrics", head) {
        return Ok(None);
    }
    if context.access.rules().is_some() && !context.rights(&Key::root()).has(Rights::READ) {
        return Err(denied(&context.caller));
    }
    let mut text = Vec::new();
    metrics::write(context.counters, &mut text);
    response.head(200, context);
    context.out.extend_from_slice(b"Cache-Control: no-store\r\n");
    response.content(metrics::CONTENT_TYPE, &text, context);
    Ok(Some(response.next_action()))
}

fn is_read_of(path: &str, head: &Head<'_>) -> bool {
    head.path == path && matches!(head.method, Method::Get | Method::Head)
}
