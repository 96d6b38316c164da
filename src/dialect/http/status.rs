//! What monitoring asks: `/.filewharf/health` and `/.filewharf/metrics`. No file can be stored
//! under that prefix, and nothing here waits for a disk.

use crate::dialect::http::reply::Manner;
use crate::dialect::{Action, Context, Phase};
use crate::platform::Health;
use crate::wire::http::head::{Head, Method};
use crate::wire::metrics;

/// The state of the server in one word, if that is asked for. Load balancers ask without a secret and for any
/// host, and a word tells nothing about the files.
pub(super) fn health(head: &Head<'_>, manner: &Manner, context: &mut Context<'_>) -> Option<Action> {
    if head.path != "/.filewharf/health" || !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let (code, text) = match (context.phase, context.counters.health) {
        (Phase::Draining, _) => (503, "draining\n"),
        (Phase::Serving, Health::Degraded) => (503, "degraded\n"),
        (Phase::Serving, Health::Failing) => (503, "failing\n"),
        (Phase::Serving, Health::Good | Health::ReadOnly) => (200, "ok\n"),
    };
    manner.text(code, &[("Cache-Control", &"no-store")], text, context);
    Some(manner.then())
}

/// The counters for Prometheus, if those are asked for.
pub(super) fn metrics(head: &Head<'_>, manner: &Manner, context: &mut Context<'_>) -> Option<Action> {
    if head.path != "/.filewharf/metrics" || !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    let mut text = Vec::new();
    metrics::write(context.counters, &mut text);
    manner.head(200, context);
    context.out.extend_from_slice(b"Cache-Control: no-store\r\n");
    manner.content_of(metrics::CONTENT_TYPE, &text, context);
    Some(manner.then())
}
