//! The last reply is sent, then our half is closed.

use std::time::Instant;

use crate::config::Limits;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::SendingReply;
use crate::session::step::Step;

impl Behavior for SendingReply {
    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        Some(common.entered + limits.stall_timeout)
    }

    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.stop_sending("the peer is too slow", cx)
    }

    fn slot_rate(&self, _in_kernel: usize, now: Instant, common: &Common, limits: &Limits) -> Option<u64> {
        common.held_rate(common.entered, now, limits)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.stop_sending("the reply is read too slowly", cx)
    }

    fn is_busy(&self, _common: &Common) -> bool {
        false
    }

    fn is_serving(&self) -> bool {
        false
    }
}
