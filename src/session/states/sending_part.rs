//! A part of a long reply is sent; what the store makes the next part from needs a slot again, so that a client that
//! reads slowly does not keep the slot of a long reply from others.

use std::time::Instant;

use crate::config::Limits;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{SendingPart, SlotRequest};
use crate::session::step::Step;

impl Behavior for SendingPart {
    const NEEDS_SLOT: bool = true;
    const IS_IN_A_FILE: bool = true;
    const IS_STALL_TIMED: bool = true;

    fn begin(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if !common.data.outbox.is_empty() {
            return Step::stay(self);
        }
        match self.next {
            Some(command) => Step::NeedSlot(SlotRequest::Command(*command)),
            None => {
                let action = common.with_protocol(cx, |protocol, context| protocol.sent(None, context));
                // A request for the store is counted already.
                let is_answered = common.data.request.is_none();
                Step::Obey(if is_answered { common.count_answered(action, cx) } else { action })
            }
        }
    }

    fn sent(self, _n: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.begin(common, cx)
    }

    fn slot_rate(&self, _in_kernel: usize, _due: u64, now: Instant, common: &Common, limits: &Limits) -> Option<u64> {
        common.held_rate(common.entered, now, limits)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.stop_sending("the reply is read too slowly", cx)
    }
}
