//! `/.filewharf/health` and `/.filewharf/metrics`, and what the operator asks at an address that serves nothing else. No
//! file can be stored under that prefix, and nothing here waits for a disk.

use crate::access::{Rights, denied};
use crate::config::SHORT_REPLY_BYTES;
use crate::counters::Health;
use crate::dialect::http::handler::Handler;
use crate::dialect::http::policy::Policy;
use crate::dialect::http::response::ResponseMeta;
#[cfg(feature = "admin")]
use crate::dialect::http::response::{Field, field};
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
    let (code, text) = state(context.phase, context);
    response.text(code, &[("Cache-Control", &"no-store")], text, context);
    Some(response.next_action())
}

/// The state of the server, and whether it takes requests.
fn state(phase: Phase, context: &Context<'_>) -> (u16, &'static str) {
    match (phase, context.counters.health) {
        (Phase::Draining, _) => (503, "draining\n"),
        (_, Health::Degraded) => (503, "degraded\n"),
        (_, Health::Failing) => (503, "failing\n"),
        (_, Health::Gone) => (503, "gone\n"),
        (_, Health::Good | Health::ReadOnly) => (200, "ok\n"),
    }
}

/// Answers the operator. A page of another site learns nothing but the state: its name is not one of this server.
#[cfg(feature = "admin")]
pub(super) fn admin(
    head: &Head<'_>,
    policy: &Policy,
    handler: &mut dyn Handler,
    response: &mut ResponseMeta,
    context: &mut Context<'_>,
) -> Result<Action, Failure> {
    let no_store: [Field<'_>; 1] = [("Cache-Control", &"no-store")];
    if !matches!(head.method, Method::Get | Method::Head) {
        return Err(Failure::Denied("here is nothing to change"));
    }
    if let "/health" | "/ready" = head.path {
        // A server that drains is well: it must not be ended for that.
        let phase = if head.path == "/health" { Phase::Serving } else { context.phase };
        let (code, text) = state(phase, context);
        response.text(code, &no_store, text, context);
        return Ok(response.next_action());
    }
    if !policy.answers_for(head.fields.host) {
        return Err(Failure::WrongHost);
    }
    match head.path {
        "/metrics" => Ok(handler.sent(None, response, context)),
        "/connections" => {
            let Some(text) = context.connections.take() else {
                context.wants_connections = true;
                return Ok(Action::More);
            };
            response.head(200, context);
            field(no_store[0].0, no_store[0].1, context.out);
            response.content("application/json", text.as_bytes(), context);
            Ok(response.next_action())
        }
        _ => Err(Failure::NotFound),
    }
}

/// The counters for Prometheus, in parts that take no slot.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// The piece that is sent next.
    next: usize,
}

/// A part is sent once it has this length.
const PART_BYTES: usize = 2 * 1024;
const _: () = assert!(PART_BYTES + metrics::PIECE_LEN_MAX <= SHORT_REPLY_BYTES - 1024, "a head comes before it");

impl Metrics {
    pub(super) fn concern(head: &Head<'_>, policy: &Policy) -> bool {
        is_read_of(if policy.is_admin { "/metrics" } else { "/.filewharf/metrics" }, head)
    }
}

impl Handler for Metrics {
    /// With an access file, callers that may read the whole directory may read them.
    fn respond(
        &mut self,
        _head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Option<Action>, Failure> {
        if context.access.rules().is_some() && !context.rights(&Key::root()).has(Rights::READ) {
            return Err(denied(&context.caller));
        }
        Ok(Some(self.sent(None, response, context)))
    }

    fn sent(&mut self, _digest: Option<[u8; 32]>, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        if self.next == 0 {
            response.set_length_unknown();
            response.head(200, context);
            context.out.extend_from_slice(b"Cache-Control: no-store\r\n");
            response.begin_parts(metrics::CONTENT_TYPE, context);
            if response.head_only {
                return response.next_action();
            }
        }
        let mut text = String::new();
        while text.len() < PART_BYTES && self.next < metrics::PIECES {
            metrics::write(context.counters, self.next, &mut text);
            self.next += 1;
        }
        let is_last = self.next == metrics::PIECES;
        response.part(text.as_bytes(), is_last, context);
        if is_last { response.next_action() } else { Action::Part }
    }
}

fn is_read_of(path: &str, head: &Head<'_>) -> bool {
    head.path == path && matches!(head.method, Method::Get | Method::Head)
}
