//! POST of a path: makes a signed link to it. Forms of the page are read in `form`.

use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::options;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::http::sharing;
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::wire::http::head::Head;

#[derive(Debug)]
pub(super) struct Post(Incoming);

impl Post {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self(Incoming::new(head))
    }
}

impl Handler for Post {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        if sharing::concerns(head) {
            let link = sharing::link(head, &self.0, context)?;
            return Ok(sharing::respond(&link, response, context));
        }
        let words =
            "a form with files is multipart/form-data and goes to a folder; to store one file, PUT it (curl -T FILE)";
        Err(Refusal {
            status: 405,
            failure: Failure::NotImplemented(words),
            field: Some(options::allow(response, context)),
        })
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.0)
    }

    fn body_left(&self) -> u64 {
        self.0.left()
    }
}
