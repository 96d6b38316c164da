//! GET of an upload that can be resumed: how far it is.

use crate::command::Answer;
use crate::dialect::http::handler::Handler;
use crate::dialect::http::methods::resumable::{Resumable, is_upload};
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::wire::http::head::Head;
use crate::wire::http::target;

/// True if the head asks for it. No file has such a path.
pub(super) fn concerns(head: &Head<'_>) -> bool {
    is_upload(head) && target::path(head.path).is_err()
}

/// Answered as HEAD is; refused as GET of a file is.
#[derive(Debug)]
pub(super) struct Progress(Resumable);

impl Progress {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self(Resumable::new(head))
    }
}

impl Handler for Progress {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let command = self.0.command(head, &mut ResponseMeta::default(), context);
        command.map_err(|refusal| refusal.failure.into())
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.0.answered(answer, response, context)
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.0.failed(failure, response, context)
    }

    fn timed_out(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.0.timed_out(response, context)
    }
}
