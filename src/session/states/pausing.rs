//! A pause between two messages, for a peer that takes one packet for one message and must have read the one before.
//!
//! No event reports that everything has been acknowledged, so it is checked on a short deadline.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::ids::FileId;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{PauseStage, Pausing, Sending, Supply};
use crate::session::step::Step;

/// How long until the acknowledgements are checked again: loopback answers within the first.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

impl Behavior for Box<Pausing> {
    const IS_IN_A_FILE: bool = true;

    fn deadline(&self, _common: &Common, _limits: &Limits) -> Option<Instant> {
        match self.stage {
            PauseStage::Unacknowledged(at) | PauseStage::Until(at) => Some(at),
        }
    }

    fn timed_out(mut self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match self.stage {
            PauseStage::Unacknowledged(_) if cx.now >= common.entered + cx.limits.live.stall_timeout => {
                self.release(common, cx);
                return common.stop_sending("the peer does not take what was sent", cx);
            }
            // With an empty outbox it is checked when the connection is driven next.
            PauseStage::Unacknowledged(_) if common.data.outbox.is_empty() => {}
            PauseStage::Unacknowledged(_) => self.stage = PauseStage::Unacknowledged(cx.now + CHECK_INTERVAL),
            PauseStage::Until(_) => {
                let action = common.with_protocol(cx, |protocol, context| protocol.paused(context));
                return match self.open {
                    Some((file, supply)) => Sending::send_or(action, file, supply, common, cx),
                    None => Step::Obey(action),
                };
            }
        }
        Step::stay(self)
    }

    fn needs_slot(&self, common: &Common, limits: &Limits) -> bool {
        // The file that is open meanwhile will be read into this slot's chunks.
        common.holds_long_input(limits) || self.open.is_some_and(|(_, supply)| supply.needs_slot())
    }

    fn release(self, common: &mut Common, _cx: &mut Cx<'_>) {
        if let Some((file, _)) = self.open {
            common.close(file);
        }
    }
}

impl Pausing {
    /// Waits until everything sent has been acknowledged, and for `delay` after that. A file may be open meanwhile.
    pub(in crate::session) fn enter(open: Option<(FileId, Supply)>, delay: Duration, cx: &Cx<'_>) -> Step {
        Step::enter(Box::new(Self { open, delay, stage: PauseStage::Unacknowledged(cx.now) }))
    }

    /// True if the acknowledgements are to be checked now.
    pub(in crate::session) fn is_check_due(&self, common: &Common, now: Instant) -> bool {
        matches!(self.stage, PauseStage::Unacknowledged(at) if at <= now) && common.data.outbox.is_empty()
    }

    /// This many bytes have not been acknowledged yet.
    pub(in crate::session) fn checked(&mut self, unacknowledged: usize, cx: &Cx<'_>) {
        self.stage = match unacknowledged {
            0 => PauseStage::Until(cx.now + self.delay),
            _ => PauseStage::Unacknowledged(cx.now + CHECK_INTERVAL),
        };
    }
}
