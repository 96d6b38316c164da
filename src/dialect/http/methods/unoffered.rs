//! Methods that are known and not offered, or not known at all (RFC 9110 §15.5.6, §15.6.2).

use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::options;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::wire::http::head::{Head, Method};

/// Its body is discarded.
#[derive(Debug)]
pub(super) struct Unoffered(Incoming);

impl Unoffered {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self(Incoming::new(head))
    }
}

impl Handler for Unoffered {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let known = ["PATCH", "TRACE"];
        let (status, field) = match head.method {
            Method::Other(name) if !known.contains(&name) => (501, None),
            _ => (405, Some(options::allow(response, context))),
        };
        Err(Refusal { status, failure: Failure::NotImplemented("this method is not offered"), field })
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.0)
    }

    fn body_left(&self) -> u64 {
        self.0.left()
    }
}
