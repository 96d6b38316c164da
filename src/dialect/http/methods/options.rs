//! OPTIONS, also the preflight requests of browsers; and the methods that are offered.

use std::fmt::Display;

use crate::dialect::http::handler::Handler;
use crate::dialect::http::methods::resumable;
use crate::dialect::http::response::{Field, ResponseMeta, field};
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::wire::http::head::Head;

/// How long a browser may cache a preflight response, in seconds.
const PREFLIGHT_AGE_S: u32 = 600;

/// The methods offered for files (RFC 9110 §10.2.1).
pub(super) fn allow(response: &ResponseMeta, context: &Context<'_>) -> Field<'static> {
    let methods: &'static dyn Display = match (context.access.is_read_only(), response.offers_webdav) {
        (true, false) => &"GET, HEAD, OPTIONS",
        (true, true) => &"GET, HEAD, PROPFIND, OPTIONS",
        (false, false) => &"GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, OPTIONS",
        (false, true) => &"GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS",
    };
    ("Allow", methods)
}

#[derive(Debug)]
pub(super) struct Options;

impl Handler for Options {
    fn respond(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Option<Action>, Failure> {
        response.head(204, context);
        // POST and PATCH make and continue uploads that can be resumed.
        let (name, methods) = match (context.access.is_read_only(), response.offers_webdav) {
            (true, _) => allow(response, context),
            (false, false) => {
                ("Allow", &"GET, HEAD, PUT, POST, PATCH, DELETE, MKCOL, COPY, MOVE, OPTIONS" as &dyn Display)
            }
            (false, true) => (
                "Allow",
                &"GET, HEAD, PUT, POST, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK, OPTIONS"
                    as _,
            ),
        };
        field(name, methods, context.out);
        if response.offers_webdav {
            // Office takes the second for the sign that it may write.
            let may_lock = context.dav_locks.are_offered() && !context.access.is_read_only();
            let class = if may_lock { "1, 2" } else { "1" };
            field("DAV", &class, context.out);
            field("MS-Author-Via", &"DAV", context.out);
        }
        if !context.access.is_read_only() {
            resumable::announce(context.limits, context.out);
        }
        let fields = &head.fields;
        if response.permits_origin() && fields.access_control_request_method.is_some() {
            field("Access-Control-Allow-Methods", methods, context.out);
            for names in fields.access_control_request_headers.lines() {
                field("Access-Control-Allow-Headers", names, context.out);
            }
            field("Access-Control-Max-Age", &PREFLIGHT_AGE_S, context.out);
        }
        context.out.extend_from_slice(b"\r\n");
        Ok(Some(response.next_action()))
    }
}
