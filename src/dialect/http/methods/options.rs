//! OPTIONS, also the preflight requests of browsers, and expectations that cannot be met.

use crate::dialect::http::methods::resumable;
use crate::dialect::http::response::{Refusal, ResponseMeta, field};
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::wire::http::head::Head;

/// How long a browser may cache a preflight response, in seconds.
const PREFLIGHT_AGE_S: u32 = 600;

/// All methods: POST and PATCH make and continue uploads that can be resumed.
const METHODS: &str = "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS";

/// The methods offered for files (RFC 9110 §10.2.1).
pub(crate) fn allowed(context: &Context<'_>) -> &'static str {
    if context.access.is_read_only() { "GET, HEAD, OPTIONS" } else { "GET, HEAD, PUT, DELETE, OPTIONS" }
}

pub(crate) fn respond(head: &Head<'_>, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
    let methods = if context.access.is_read_only() { allowed(context) } else { METHODS };
    response.head(204, context);
    field("Allow", &methods, context.out);
    if !context.access.is_read_only() {
        resumable::announce(context.limits, context.out);
    }
    let fields = &head.fields;
    if response.permits_origin() && fields.access_control_request_method.is_some() {
        field("Access-Control-Allow-Methods", &methods, context.out);
        for names in fields.access_control_request_headers.lines() {
            field("Access-Control-Allow-Headers", names, context.out);
        }
        field("Access-Control-Max-Age", &PREFLIGHT_AGE_S, context.out);
    }
    context.out.extend_from_slice(b"\r\n");
    response.next_action()
}

/// RFC 9110 §10.1.1.
pub(crate) const fn unmet_expectation() -> Refusal<'static> {
    let failure = Failure::Malformed("the only expectation that can be met is 100-continue");
    Refusal { status: 417, failure, field: None }
}

pub(crate) fn refuse_expectation(response: &ResponseMeta, context: &mut Context<'_>) -> Action {
    response.refuse_as(unmet_expectation(), None, context)
}
