//! Silence, in both directions: the peer's, which means something in some dialects, and ours, when
//! a peer takes one packet for one message and must have read the one before.
//!
//! That everything has been acknowledged has no event, so it is looked at on a short deadline.

use std::time::Duration;

use crate::dialect::Then;
use crate::ids::FileId;
use crate::session::state::{Name, PauseStage, Pausing, State, Supply};
use crate::session::{Appetite, Cx, Session};

/// How long until the acknowledgements are looked at again: loopback answers within the first.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Session {
    /// The peer has been silent for as long as the dialect asked, while we listened. True if that
    /// decided something.
    pub(super) fn told_quiet(&mut self, cx: &mut Cx<'_>) -> bool {
        self.work.quiet_told = Some(cx.now);
        match self.state.name() {
            Name::AwaitHeader if self.work.outbox.is_empty() => {
                let held = self.take_held();
                let (used, action) = self.with_protocol(cx, |protocol, context| protocol.quiet(&held, context));
                self.hold(&held[used..]);
                self.appetite = Appetite::Unseen;
                self.apply(action, cx);
                true
            }
            Name::ReceivingBody => match self.dialect.protocol().body_quiet() {
                Then::End => {
                    self.body_is_complete(cx);
                    true
                }
                Then::Look => {
                    self.appetite = Appetite::Unseen;
                    true
                }
                Then::Wait => false,
            },
            _ => false,
        }
    }

    /// Waits until everything said has been acknowledged, and so long besides.
    pub(super) fn begin_pause(&mut self, open: Option<(FileId, Supply)>, delay: Duration, cx: &mut Cx<'_>) {
        let stage = PauseStage::Unacknowledged(cx.now);
        self.set_state(State::Pausing(Box::new(Pausing { open, delay, stage })), cx);
    }

    /// A connection of an address that shows wrong secrets is not read for a while.
    pub fn wait_first(&mut self, delay: Duration, cx: &mut Cx<'_>) {
        self.begin_pause(None, delay, cx);
    }

    /// Is this a pause before the bytes of a file that come through chunks?
    pub(super) fn pauses_before_held(&self) -> bool {
        let State::Pausing(pausing) = &self.state else { return false };
        matches!(pausing.open, Some((_, Supply::Held | Supply::HeldReading)))
    }

    /// Should the acknowledgements be looked at now?
    pub fn wants_look(&self, cx: &Cx<'_>) -> bool {
        let State::Pausing(pausing) = &self.state else { return false };
        matches!(pausing.stage, PauseStage::Unacknowledged(at) if at <= cx.now) && self.work.outbox.is_empty()
    }

    /// So many bytes have not been acknowledged yet.
    pub fn looked(&mut self, unacknowledged: usize, cx: &Cx<'_>) {
        let State::Pausing(pausing) = &mut self.state else { return };
        pausing.stage = match unacknowledged {
            0 => PauseStage::Until(cx.now + pausing.delay),
            _ => PauseStage::Unacknowledged(cx.now + LOOK_AGAIN),
        };
    }

    /// The deadline of a pause passed.
    pub(super) fn pause_over(&mut self, cx: &mut Cx<'_>) {
        let State::Pausing(pausing) = &mut self.state else { return };
        match pausing.stage {
            PauseStage::Unacknowledged(_) if cx.now >= self.entered + cx.limits.stall_timeout => {
                self.stop_sending("the peer does not take what was said", cx);
            }
            // An empty outbox is looked at when this connection is driven next.
            PauseStage::Unacknowledged(_) if self.work.outbox.is_empty() => {}
            PauseStage::Unacknowledged(_) => pausing.stage = PauseStage::Unacknowledged(cx.now + LOOK_AGAIN),
            PauseStage::Until(at) if at > cx.now => {}
            PauseStage::Until(_) => {
                let open = pausing.open.take();
                let _ = self.take_state();
                let action = self.with_protocol(cx, |protocol, context| protocol.paused(context));
                match open {
                    Some((file, supply)) => self.send_or(action, file, supply, cx),
                    None => self.apply(action, cx),
                }
            }
        }
    }
}
