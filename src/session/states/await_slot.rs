//! Waiting for a slot, and what begins once there is one.

use std::borrow::Cow;
use std::time::Instant;

use crate::buffer::Chunk;
use crate::command::{Append, Command, GoAhead};
use crate::config::Limits;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure};
use crate::groups::Flow;
use crate::platform::{Op, Source};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{
    AwaitHeader, Committing, CopyStage, Copying, Opening, Receiving, Sending, SlotRequest, Supply, Target,
};
use crate::session::step::Step;

impl Behavior for Box<SlotRequest> {
    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        Some(common.entered + limits.live.slot_timeout)
    }

    fn timed_out(self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.not_granted("no slot came in time", common, cx)
    }

    fn needs_slot(&self, common: &Common, limits: &Limits) -> bool {
        let is_needed = match &**self {
            SlotRequest::Store(_, content) => content.len() >= limits.fixed.head_len_max,
            // It keeps its share meanwhile.
            SlotRequest::ResumeUpload(_) => true,
            _ => false,
        };
        is_needed || common.holds_long_input(limits)
    }

    fn superseded(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match *self {
            SlotRequest::ResumeUpload(receiving) => receiving.superseded(common, cx),
            _ => Step::stay(self),
        }
    }

    fn end(self, reason: CloseReason, is_reset: bool, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match *self {
            SlotRequest::ResumeUpload(receiving) => receiving.end(reason, is_reset, common, cx),
            _ => {
                self.release(common, cx);
                Step::End(reason, is_reset)
            }
        }
    }

    fn release(self, common: &mut Common, cx: &mut Cx<'_>) {
        match *self {
            SlotRequest::Command(_) | SlotRequest::Gather | SlotRequest::Store(..) => {}
            SlotRequest::Download { file, .. } => common.close(file),
            SlotRequest::Resume(sending) => common.close(sending.file),
            SlotRequest::ResumeUpload(receiving) => receiving.release(common, cx),
        }
    }
}

impl SlotRequest {
    /// The slot is there.
    pub(in crate::session) fn granted(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        debug_assert!(cx.counters.slots_used > 0, "a slot that is not counted");
        debug_assert!(common.holds_slot(), "no slot is held");
        match self {
            Self::Command(Command::Put(put)) => {
                let is_small = put.len.is_some_and(|len| len <= cx.pool.chunk_bytes() as u64);
                if is_small && put.go_ahead == GoAhead::NotAwaited {
                    return match common.take_content(put.len.unwrap_or(0), cx) {
                        Some(chunk) => Receiving::start(Target::Whole(chunk), put, common, cx),
                        None => common.fail_inside("a slot without a chunk", cx),
                    };
                }
                common.data.ops.push_back(Op::Create(put.clone()));
                Step::enter(Opening::Create(Box::new(put)))
            }
            Self::Command(command @ Command::List { .. }) => common.list(command, cx),
            Self::Command(Command::Copy(copying)) => {
                common.data.ops.push_back(Op::BeginCopy(copying.clone()));
                Step::enter(Copying { stage: CopyStage::Beginning(copying), is_all_heard: false })
            }
            Self::Command(Command::Append(append)) => {
                let Append { upload, len, ends, is_verified } = *append;
                let (client, permit) = (common.owner(), common.upload_permit(cx));
                common.data.ops.push_back(Op::OpenUpload { upload, len, client, permit });
                Step::enter(Opening::Append { ends, is_verified })
            }
            Self::Command(command) => Step::Obey(Action::Run(command)),
            Self::Gather => Step::enter(AwaitHeader::Begun(cx.now)),
            Self::Store(mut put, content) => {
                // The rules may be others than before it waited.
                match common.permit_commit(put.key, put.precondition, false, cx) {
                    Ok((key, precondition)) => (put.key, put.precondition) = (key, precondition),
                    Err(failure) => return Step::refuse(failure, failure.words()),
                }
                // What a client may send in a time it may store in a time: it waits for that before this.
                common.charge(Flow::Up, content.len() as u64, cx);
                // The content is on the slot's account, as one of its chunks.
                let taken = common.data.slot.take_credit();
                debug_assert!(taken.is_some(), "a slot without a chunk");
                common.data.ops.push_back(Op::Store { put: Box::new(put), chunk: Chunk::holding(content) });
                Step::enter(Committing::Alone)
            }
            Self::Download { file, meta } => Sending::start(file, meta, Source::Held, common, cx),
            Self::Resume(mut sending) => {
                sending.supply = Supply::Held;
                sending.min_rate.store_ended(cx.now);
                Step::enter(sending)
            }
            Self::ResumeUpload(mut receiving) => {
                receiving.min_rate.store_ended(cx.now);
                Step::enter(receiving)
            }
        }
    }

    /// There is no slot; `cause` is for the log.
    pub(in crate::session) fn not_granted(
        self: Box<Self>,
        cause: &'static str,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        match *self {
            Self::ResumeUpload(receiving) => receiving.fail(Failure::Busy, cause, common, cx),
            Self::Resume(_) => {
                self.release(common, cx);
                common.report_failure(Failure::Busy, cause, cx);
                Step::End(CloseReason::SlotTimeout, true)
            }
            _ => {
                self.release(common, cx);
                Step::Refuse(Failure::Busy, Cow::Borrowed(cause))
            }
        }
    }

    /// True where content is received next.
    pub(in crate::session) const fn is_upload(&self) -> bool {
        matches!(self, Self::Command(Command::Put(_) | Command::Append(_)) | Self::Store(..))
    }

    /// Bytes of heap after the content that waits with it.
    pub(in crate::session) const fn content_bytes(&self) -> usize {
        match self {
            Self::Store(_, content) => content.capacity(),
            Self::Command(_) | Self::Gather | Self::Download { .. } | Self::Resume(_) | Self::ResumeUpload(_) => 0,
        }
    }
}
