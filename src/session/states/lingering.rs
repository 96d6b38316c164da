//! Our half is closed: input is discarded, so that it does not turn our last bytes into a reset (RFC 9112 §9.6).

use std::time::Instant;

use crate::config::Limits;
use crate::dialect::Phase;
use crate::error::CloseReason;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Lingering;
use crate::session::step::{Consumed, Step};

impl Behavior for Lingering {
    const IS_BUSY: bool = false;
    const IS_SERVING: bool = false;

    fn intake(&mut self, _common: &Common, _cx: &Cx<'_>) -> usize {
        usize::MAX
    }

    fn consume(self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        if data.is_empty() {
            return (Step::stay(self), Consumed::Wait);
        }
        // The connection was given up, and a file comes after all.
        let was_given_up =
            matches!(self.reason, CloseReason::Drained | CloseReason::IdleTimeout | CloseReason::HeadTimeout);
        let step = match self.left.checked_sub(data.len() as u64) {
            _ if was_given_up && common.dialect.kind().traits().end_means_success => Step::End(self.reason, true),
            Some(left) if cx.phase == Phase::HandingOver => {
                common.entered = cx.now;
                Step::stay(Self { left, is_asked: true, ..self })
            }
            Some(left) => Step::stay(Self { left, ..self }),
            None => Step::End(CloseReason::LingerEnded, false),
        };
        (step, Consumed::Took(data.len()))
    }

    fn received_eof(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::End(self.reason, false)
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        // The client repeats the request elsewhere once it has sent all of it: until then a reset would look like a failure.
        let timeout = if self.is_asked { limits.live.stall_timeout } else { limits.live.linger_timeout };
        Some(common.entered + timeout)
    }

    fn timed_out(self, _in_kernel: usize, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::End(CloseReason::LingerEnded, false)
    }
}
