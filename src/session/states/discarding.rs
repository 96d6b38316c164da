//! The body of a refused upload is thrown away.

use crate::dialect::{Action, Then};
use crate::error::CloseReason;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{Discarding, SendingReply};
use crate::session::step::{Consumed, Step};

impl Behavior for Discarding {
    const IS_SERVING: bool = false;
    const IS_STALL_TIMED: bool = true;

    fn begin(self, common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        let (step, _) = self.discard(&[], common);
        common.is_unseen = true;
        step
    }

    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        common.body_intake(usize::MAX, cx.limits)
    }

    fn consume(self, data: &[u8], common: &mut Common, _cx: &mut Cx<'_>) -> (Step, Consumed) {
        if data.is_empty() { (Step::stay(self), Consumed::Wait) } else { self.discard(data, common) }
    }

    fn received_eof(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::enter(SendingReply(CloseReason::CutShort))
    }
}

impl Discarding {
    fn discard(self, data: &[u8], common: &mut Common) -> (Step, Consumed) {
        let refused = Step::Obey(Action::Close(CloseReason::Refused));
        let Ok(part) = common.dialect.protocol().body(data, usize::MAX) else { return (refused, Consumed::Took(0)) };
        let used = part.skip + part.payload;
        let Some(left) = self.left.checked_sub(used as u64) else { return (refused, Consumed::Took(used)) };
        match part.then {
            Then::End => (Step::Obey(Action::Next), Consumed::Took(used)),
            Then::Wait if used == 0 => {
                common.is_unseen = false;
                (Step::stay(self), Consumed::Wait)
            }
            Then::Wait | Then::Look => (Step::stay(Self { left }), Consumed::Took(used)),
        }
    }
}
