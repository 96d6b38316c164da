//! What monitoring asks: `/.filewharf/health` and `/.filewharf/metrics`. No file can be stored
//! under that prefix, and nothing here waits for a disk.

use crate::dialect::http::reply::Manner;
use crate::dialect::{Act, Phase, Talk};
use crate::platform::Health;
use crate::wire::http::head::{Head, Method};
use crate::wire::metrics;

/// The response, if this is a question of that kind.
pub(super) fn answer(head: &Head<'_>, manner: &Manner, talk: &mut Talk<'_>) -> Option<Act> {
    if !matches!(head.method, Method::Get | Method::Head) {
        return None;
    }
    match head.path {
        "/.filewharf/health" => {
            let (code, text) = match (talk.phase, talk.counters.health) {
                (Phase::Draining, _) => (503, "draining\n"),
                (Phase::Serving, Health::Degraded) => (503, "degraded: a sync failed, changes are refused\n"),
                (Phase::Serving, Health::Good | Health::ReadOnly) => (200, "ok\n"),
            };
            manner.text(code, &[("Cache-Control", &"no-store")], text, talk);
        }
        "/.filewharf/metrics" => {
            let mut text = Vec::new();
            metrics::write(talk.counters, &mut text);
            manner.head(200, talk);
            talk.out.extend_from_slice(b"Cache-Control: no-store\r\n");
            manner.content_of(metrics::CONTENT_TYPE, &text, talk);
        }
        _ => return None,
    }
    Some(manner.then())
}
