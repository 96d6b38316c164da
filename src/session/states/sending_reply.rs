//! The last reply is sent, then our half is closed.

use std::time::Instant;

use crate::config::Limits;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::SendingReply;
use crate::session::step::Step;

impl Behavior for SendingReply {
    const IS_BUSY: bool = false;
    const IS_SERVING: bool = false;
    const IS_STALL_TIMED: bool = true;

    fn slot_rate(&self, _in_kernel: usize, _due: u64, now: Instant, common: &Common, limits: &Limits) -> Option<u64> {
        common.held_rate(common.entered, now, limits)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.stop_sending("the reply is read too slowly", cx)
    }
}
