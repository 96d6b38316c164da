//! Requests that are answered as soon as their head is known, without the store: redirected or refused. What they bring is
//! discarded.

use crate::access::{Rights, denied};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::wire::http::head::{Head, HeadError};
use crate::wire::http::target;

/// The address that a request is redirected to, or why it is refused.
pub(super) type Answer = Result<String, Failure>;

#[derive(Debug)]
pub(super) struct Unserved {
    answer: Answer,
    /// `None` for a method without a body.
    incoming: Option<Incoming>,
}

impl Unserved {
    pub(super) fn new(head: &Head<'_>, answer: Answer) -> Self {
        Self { answer, incoming: (!head.method.is_without_body()).then(|| Incoming::new(head)) }
    }
}

impl Handler for Unserved {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        if let (Err(Failure::PreconditionFailed), Some(_)) = (&self.answer, context.access.rules()) {
            // Whether `If` holds is for callers that may change something there.
            let rights = context.rights(&target::path(head.path)?.key);
            if rights.and(Rights::CREATE | Rights::REPLACE | Rights::DELETE).is_none() {
                return Err(denied(&context.caller).into());
            }
        }
        let location = self.answer.as_ref().map_err(|failure| *failure)?;
        response.text(301, &[("Location", location), ("Cache-Control", &"no-cache")], "", context);
        Ok(response.next_action())
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        self.incoming.as_mut()
    }

    fn body_left(&self) -> u64 {
        self.incoming.as_ref().map_or(0, Incoming::left)
    }
}

/// Refuses a head that was not understood: where the next request would begin is not certain any more.
pub(super) fn refuse_head(error: HeadError, context: &mut Context<'_>) -> Action {
    let failure = match error {
        HeadError::BadRequest(_) | HeadError::Version => Failure::Malformed(error.words()),
        HeadError::NotImplemented(why) => Failure::NotImplemented(why),
        HeadError::TargetTooLong | HeadError::TooLarge => Failure::TooLarge,
    };
    context.refused = Some(failure);
    ResponseMeta::default().text(error.status(), &[], &format!("{}\n", error.words()), context);
    Action::Close(CloseReason::Malformed)
}
