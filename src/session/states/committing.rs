//! Waiting until an upload is visible and as durable as promised.

use crate::command::Answer;
use crate::platform::{Completion, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Committing;
use crate::session::step::Step;

impl Behavior for Committing {
    const NEEDS_SLOT: bool = true;

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match done.result {
            Ok(Outcome::Committed(stored)) => {
                let answer = Ok(Answer::Stored(stored));
                // Before the report, which ends the request: the answer has its name.
                let action = common.with_protocol(cx, |protocol, context| protocol.answered(answer, context));
                common.report(Ok(()), cx);
                Step::Obey(action)
            }
            Ok(_) => Step::stay(self),
            Err(error) => error.into(),
        }
    }
}
