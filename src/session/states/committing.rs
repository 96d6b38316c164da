//! Waiting until an upload is visible and as durable as promised. Where that is a small one, and its dialect can say the
//! reply later, the next requests are decoded meanwhile: see `owed`.

use crate::command::Answer;
use crate::dialect::Action;
use crate::platform::{Completion, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Committing;
use crate::session::step::{Consumed, Step};

impl Behavior for Committing {
    const NEEDS_SLOT: bool = true;

    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        match self {
            Self::Owing if !common.has_unseen() && common.may_decode_ahead(cx) => {
                cx.limits.fixed.head_len_max.saturating_sub(common.data.inbox.len())
            }
            _ => 0,
        }
    }

    fn consume(self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        if !matches!(self, Self::Owing) || data.is_empty() || !common.may_decode_ahead(cx) {
            return (Step::stay(self), Consumed::Wait);
        }
        if let Some(certificate) = cx.certificate {
            common.data.caller = cx.access.certified(certificate, cx.wall_clock_s);
        }
        match common.decode(data, cx) {
            (0, Action::More) => {
                common.is_unseen = false;
                (Step::stay(self), Consumed::Wait)
            }
            (used, action) if common.may_begin_ahead(&action, used, cx) => {
                (common.begin_ahead(action, cx), Consumed::Took(used))
            }
            (used, action) => (Step::Obey(action), Consumed::Took(used)),
        }
    }

    fn received_eof(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let held = common.take_held();
        let action = common.with_protocol(cx, |protocol, context| protocol.ended(&held, context));
        Step::Obey(common.count_answered(action, cx))
    }

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match (done.result, self) {
            (Ok(Outcome::Committed(stored)), Self::Alone) => {
                let answer = Ok(Answer::Stored(stored));
                // Before the report, which ends the request: the answer has its name.
                let action = common.with_protocol(cx, |protocol, context| protocol.answered(answer, context));
                common.report(Ok(()), cx);
                Step::Obey(action)
            }
            (Err(error), Self::Alone) => error.into(),
            (_, committing) => Step::stay(committing),
        }
    }

    fn said_owed(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match self {
            Self::Owing if !common.owes() => common.await_next(cx),
            Self::Before(action) if !common.owes() => Step::Obey(*action),
            committing => Step::stay(committing),
        }
    }
}
