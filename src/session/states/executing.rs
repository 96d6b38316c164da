//! Waiting for a command without a body.

use crate::command::Answer;
use crate::dialect::Action;
use crate::platform::{Completion, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Executing;
use crate::session::step::Step;

impl Behavior for Executing {
    const NEEDS_SLOT: bool = true;

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        let outcome = match (done.result, self) {
            (Ok(outcome @ (Outcome::Listed(_) | Outcome::Answered(_))), Self::Filter(asked)) => {
                match common.filter(*asked, outcome, cx) {
                    Ok(outcome) => outcome,
                    Err(step) => return step,
                }
            }
            (Ok(outcome), Self::Tell) => outcome,
            // An operation of the request before this one.
            (Ok(_), executing) => return Step::stay(executing),
            (Err(error), _) => return error.into(),
        };
        let answer = match outcome {
            Outcome::Listed(listing) => Answer::Listed(listing),
            Outcome::Answered(answer) => answer,
            Outcome::UploadFound(state) => {
                common.names_upload(&state.put.key);
                Answer::UploadFound(state)
            }
            Outcome::UploadRemoved(key) => {
                common.names_upload(&key);
                Answer::Done
            }
            _ => return Step::stay(Self::Tell),
        };
        let action = common.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context));
        if let Action::Run(_) | Action::Store(..) = action {
            // What the dialect asks for next has a line of its own in the log.
            common.report(Ok(()), cx);
        }
        Step::Obey(action)
    }
}
