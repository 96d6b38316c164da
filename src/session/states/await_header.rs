//! Between requests: a head is decoded, or a long message gathered on a slot's account.

use std::time::Instant;

use crate::config::Limits;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure};
use crate::platform::Completion;
use crate::session::arrival::PeerRole;
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{AwaitHeader, SlotRequest};
use crate::session::step::{Consumed, Step};

/// A message longer than a head must be complete within this many times `Limits::stall_timeout`.
const GATHER_STALLS: u32 = 5;

impl Behavior for AwaitHeader {
    const IS_SERVING: bool = false;

    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        if common.has_unseen() || !common.may_decode(cx) {
            return 0;
        }
        let most = match common.holds_slot() {
            false => cx.limits.fixed.head_len_max,
            true => common.dialect.message_len_max(cx.limits).max(cx.limits.fixed.head_len_max),
        };
        most.saturating_sub(common.data.inbox.len())
    }

    fn consume(self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        if data.is_empty() || !common.may_decode(cx) {
            return (Step::stay(self), Consumed::Wait);
        }
        let (used, action) = common.decode(data, cx);
        match action {
            Action::More if used == 0 => self.needs_more(data, common, cx),
            Action::Speak => {
                common.dialect.speak();
                (Step::stay(self), Consumed::Took(0))
            }
            action => (self.obey(action, common, cx), Consumed::Took(used)),
        }
    }

    fn received_eof(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let held = common.take_held();
        match common.with_protocol(cx, |protocol, context| protocol.ended(&held, context)) {
            // Nothing is left to send to a peer that closed between requests.
            Action::Close(reason) if common.data.outbox.is_empty() => Step::End(reason, false),
            action => {
                let action = common.count_answered(action, cx);
                self.obey(action, common, cx)
            }
        }
    }

    fn silence(self, common: &mut Common, cx: &mut Cx<'_>) -> (Step, bool) {
        if !common.data.outbox.is_empty() {
            return (Step::stay(self), false);
        }
        let held = common.take_held();
        let (used, action) = common.with_protocol(cx, |protocol, context| protocol.quiet(&held, context));
        common.keep(held[used..].to_vec());
        common.is_unseen = true;
        (self.obey(action, common, cx), true)
    }

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        if !matches!(self, Self::Begun(_)) {
            // The peer is not listened to before the last request has ended at our own disk.
            (common.entered, common.active) = (cx.now, cx.now);
        }
        Step::stay(self)
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        if !common.data.outbox.is_empty() {
            return Some(common.entered + limits.live.stall_timeout);
        }
        if common.has_ops() {
            return None;
        }
        Some(common.or_silence(match self {
            Self::HeldBack => return None,
            // A message in pieces may take its time, but not keep a slot for ever.
            _ if common.holds_slot() => {
                let whole = self.since(common) + GATHER_STALLS * limits.live.stall_timeout;
                whole.min(common.active + limits.live.stall_timeout)
            }
            Self::Begun(since) => *since + limits.live.head_timeout,
            Self::Idle => common.active + limits.live.idle_timeout,
        }))
    }

    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if !common.data.outbox.is_empty() {
            common.stop_sending("the reply is not read", cx)
        } else if common.holds_slot() {
            Step::refuse(Failure::TimedOut, "the message stopped half-way")
        } else if let Self::Begun(_) = self {
            Step::refuse(Failure::TimedOut, CloseReason::HeadTimeout.word())
        } else {
            Step::End(CloseReason::IdleTimeout, false)
        }
    }

    fn slot_rate(&self, _in_kernel: usize, _due: u64, now: Instant, common: &Common, limits: &Limits) -> Option<u64> {
        common.held_rate(self.since(common), now, limits)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if common.data.outbox.is_empty() {
            Step::refuse(Failure::TimedOut, "the message came too slowly")
        } else {
            common.stop_sending("the reply is read too slowly", cx)
        }
    }

    fn is_bulk(&self, common: &Common, _limits: &Limits) -> bool {
        common.dialect.kind().traits().decodes_slowly
    }

    fn is_busy(&self, common: &Common) -> bool {
        let holds = !common.data.inbox.is_empty() || !common.data.outbox.is_empty() || common.has_ops();
        holds || matches!(self, Self::HeldBack)
    }

    fn drained(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if self.is_busy(common) {
            Step::stay(self)
        } else if cx.now >= common.active + cx.limits.live.linger_timeout {
            Step::End(CloseReason::Drained, false)
        } else {
            // The peer may not have read our last reply yet, and may be asking already: a plain close could become
            // a reset that destroys the reply.
            Step::Obey(Action::Close(CloseReason::Drained))
        }
    }
}

impl AwaitHeader {
    fn obey(self, action: Action, common: &mut Common, cx: &Cx<'_>) -> Step {
        match action {
            Action::More => Step::stay(self),
            Action::Proceed => {
                (common.entered, common.active, common.is_unseen) = (cx.now, cx.now, true);
                Step::stay(Self::Idle)
            }
            action => Step::Obey(action),
        }
    }

    fn since(&self, common: &Common) -> Instant {
        if let Self::Begun(since) = self { *since } else { common.entered }
    }

    fn needs_more(mut self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        common.is_unseen = false;
        if data.len() < cx.limits.fixed.head_len_max {
            if !matches!(self, Self::Begun(_)) {
                self = Self::Begun(cx.now);
            }
            return (Step::stay(self), Consumed::Wait);
        }
        if data.len() < common.dialect.message_len_max(cx.limits) {
            let step = if common.holds_slot() { Step::stay(self) } else { Step::NeedSlot(SlotRequest::Gather) };
            return (step, Consumed::Wait);
        }
        // Every dialect refuses what is longer than its own limit; this keeps memory bounded if one does not.
        let failure = Failure::Malformed("the request is too long");
        let action = match common.refuse(failure, "no end of the head within its limit".into(), cx) {
            // The same bytes would only be refused again and again.
            Action::More | Action::Proceed | Action::Next | Action::Discard => Action::Close(CloseReason::Malformed),
            action => action,
        };
        (Step::Obey(action), Consumed::Took(0))
    }
}

impl Common {
    /// Decodes a head from `data`: how many bytes that used, and what the dialect decided.
    pub(super) fn decode(&mut self, data: &[u8], cx: &mut Cx<'_>) -> (usize, Action) {
        let wrong_secrets = self.wrong_secrets;
        let (used, mut action) = self.with_protocol(cx, |protocol, context| protocol.decode(data, context));
        if self.wrong_secrets != wrong_secrets && self.peer_role != PeerRole::TrustedProxy {
            action = after_wrong_secret(action, self, cx);
        }
        (used, self.count_answered(action, cx))
    }
}

/// The answer is sent at once; the next request of a peer that guesses is not read for a while.
fn after_wrong_secret(action: Action, common: &Common, cx: &Cx<'_>) -> Action {
    match action {
        Action::Next | Action::Discard if common.wrong_secrets >= cx.limits.live.wrong_secrets_max => {
            Action::Close(CloseReason::Refused)
        }
        Action::Next if common.wrong_secrets > cx.limits.live.wrong_secrets_free => {
            Action::Pause(cx.limits.live.wrong_secret_delay)
        }
        action => action,
    }
}
