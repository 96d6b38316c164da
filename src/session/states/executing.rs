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
        let answer = match done.result {
            Ok(Outcome::Listed(listing)) => Answer::Listed(listing),
            Ok(Outcome::Found(node)) => Answer::Found(node),
            Ok(Outcome::UploadFound(state)) => Answer::UploadFound(state),
            Ok(Outcome::Deleted | Outcome::Made | Outcome::Renamed | Outcome::UploadRemoved) => Answer::Done,
            Ok(_) => return Step::stay(self),
            Err(error) => return error.into(),
        };
        let action = common.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context));
        if let Action::Run(_) | Action::Store(..) = action {
            // What the dialect asks for next has a line of its own in the log.
            common.report(Ok(()), cx);
        }
        Step::Obey(action)
    }
}
