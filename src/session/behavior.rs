//! The events and questions of a state. Each state implements this in a file of its own; what most states do is the
//! default. [`in_state`] is the one place that tells the states apart.

use std::time::Instant;

use crate::config::Limits;
use crate::error::{CloseReason, Failure};
use crate::platform::Completion;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::State;
use crate::session::step::{Consumed, Step};

/// Calls a method of the present state.
macro_rules! in_state {
    ($state:expr, $data:ident => $call:expr) => {
        match $state {
            State::ProxyHeader($data) => $call,
            State::Handshake($data) => $call,
            State::AwaitHeader($data) => $call,
            State::Verifying($data) => $call,
            State::AwaitSlot($data) => $call,
            State::Opening($data) => $call,
            State::Executing($data) => $call,
            State::Copying($data) => $call,
            State::ReceivingBody($data) => $call,
            State::FinishingWrites($data) => $call,
            State::Committing($data) => $call,
            State::Saving($data) => $call,
            State::SendingBody($data) => $call,
            State::SendingPart($data) => $call,
            State::Pausing($data) => $call,
            State::Discarding($data) => $call,
            State::SendingReply($data) => $call,
            State::Lingering($data) => $call,
            State::Done($data) => $call,
        }
    };
}
pub(super) use in_state;

/// One state's reaction to each event, and what it needs. Events take the state by value and say what follows.
pub(super) trait Behavior: Into<State> {
    /// True if it always needs its slot.
    const NEEDS_SLOT: bool = false;
    /// True if a drain waits for it.
    const IS_BUSY: bool = true;
    /// True if a request is cut off when the conversation ends here.
    const IS_SERVING: bool = true;
    /// True where an end of the stream would pass for the end of a file.
    const IS_IN_A_FILE: bool = false;
    /// True if all it waits for is that the peer moves bytes before `Limits::stall_timeout`.
    const IS_STALL_TIMED: bool = false;

    /// The state was entered.
    fn begin(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// How many bytes to read from the socket now; 0 means: do not read.
    fn intake(&mut self, _common: &Common, _cx: &Cx<'_>) -> usize {
        0
    }

    /// Uses what it can of the front of `data`.
    fn consume(self, _data: &[u8], _common: &mut Common, _cx: &mut Cx<'_>) -> (Step, Consumed) {
        (Step::stay(self), Consumed::Wait)
    }

    /// The peer's stream ended. It may still read: a reply is still sent.
    fn received_eof(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        debug_assert!(false, "read in a state that does not read");
        Step::stay(self)
    }

    /// The peer has been silent for as long as the dialect asked. True if that decided something.
    fn silence(self, _common: &mut Common, _cx: &mut Cx<'_>) -> (Step, bool) {
        (Step::stay(self), false)
    }

    /// Content was written from the loop itself.
    fn stored(self, _len: usize, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// The content of an upload could not be written.
    fn store_failed(self, _failure: Failure, _cause: String, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// `n` bytes of the outbox were sent.
    fn sent(self, _n: usize, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// An operation ended: by default that of an earlier request, an `Abort` or `Close`, or a write of an upload
    /// that has failed.
    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        Step::stay(self)
    }

    /// Replies were said that were owed to earlier requests; perhaps all of them.
    fn said_owed(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// The earliest time at which [`Behavior::timed_out`] has something to decide.
    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        Self::IS_STALL_TIMED.then(|| common.entered + limits.live.stall_timeout)
    }

    /// The deadline passed. `in_kernel` bytes of what was sent are not acknowledged yet.
    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.stop_sending("the peer is too slow", cx)
    }

    /// True while it needs its slot, if it has one.
    fn needs_slot(&self, common: &Common, limits: &Limits) -> bool {
        Self::NEEDS_SLOT || common.holds_long_input(limits)
    }

    /// Bytes per second that the peer moves while it holds a slot; `None` where that does not depend on the peer, or
    /// is not known yet.
    fn slot_rate(
        &self,
        _in_kernel: usize,
        _due: u64,
        _now: Instant,
        _common: &Common,
        _limits: &Limits,
    ) -> Option<u64> {
        None
    }

    /// Ends a transfer that is too slow while requests wait for its slot.
    fn end_slow_transfer(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// True for a transfer with more to move than a small request.
    fn is_bulk(&self, _common: &Common, _limits: &Limits) -> bool {
        false
    }

    /// True while a drain waits for it.
    fn is_busy(&self, _common: &Common) -> bool {
        Self::IS_BUSY
    }

    /// The server has drained.
    fn drained(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    fn is_serving(&self) -> bool {
        Self::IS_SERVING
    }

    fn is_in_a_file(&self) -> bool {
        Self::IS_IN_A_FILE
    }

    /// Another request continues with the upload that this connection is attached to.
    fn superseded(self, _common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        Step::stay(self)
    }

    /// The conversation ends here.
    fn end(self, reason: CloseReason, is_reset: bool, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.release(common, cx);
        Step::End(reason, is_reset)
    }

    /// The conversation ends here: files are closed, chunks are given back.
    fn release(self, _common: &mut Common, _cx: &mut Cx<'_>) {}
}
