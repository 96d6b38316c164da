//! Waiting while the store makes a copy, a step at a time, so that it ends when the peer is gone.

use crate::command::Command;
use crate::error::{CloseReason, Failure};
use crate::platform::{Completion, Op, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{CopyStage, Copying};
use crate::session::step::{Consumed, Step};

impl Behavior for Copying {
    const NEEDS_SLOT: bool = true;

    /// Nothing is used of it; but only a read tells that the peer is gone.
    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        if self.is_all_heard { 0 } else { cx.limits.fixed.head_len_max.saturating_sub(common.data.inbox.len()) }
    }

    fn consume(self, _data: &[u8], common: &mut Common, _cx: &mut Cx<'_>) -> (Step, Consumed) {
        common.is_unseen = false;
        (Step::stay(self), Consumed::Wait)
    }

    fn received_eof(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if common.dialect.kind().traits().half_closes_after_request {
            return Step::stay(Self { is_all_heard: true, ..self });
        }
        self.end(CloseReason::PeerClosed, false, common, cx)
    }

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        let Self { stage, is_all_heard } = self;
        let stay = |stage| Step::stay(Self { stage, is_all_heard });
        match (done.result, stage) {
            (Ok(Outcome::Created(file)), CopyStage::Beginning(copying)) => {
                common.data.ops.push_back(Op::Copy { file });
                stay(CopyStage::Stepping { file, copying })
            }
            (Ok(Outcome::Copied(false)), CopyStage::Stepping { file, copying }) => {
                common.data.ops.push_back(Op::Copy { file });
                stay(CopyStage::Stepping { file, copying })
            }
            // The rules may be others than when it began.
            (Ok(Outcome::Copied(_)), CopyStage::Stepping { file, copying }) => {
                match common.permit(Command::Copy(copying), cx) {
                    Ok(Command::Copy(copying)) => {
                        common.data.ops.push_back(Op::PlaceCopy { file, copying });
                        stay(CopyStage::Placing)
                    }
                    refused => {
                        common.data.ops.push_back(Op::Abort { file });
                        Step::refuse(refused.err().unwrap_or(Failure::Internal), "the rules permit it no more")
                    }
                }
            }
            (Ok(Outcome::Answered(answer)), CopyStage::Placing) => {
                // What has come meanwhile is the next request.
                common.is_unseen = true;
                Step::Obey(common.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context)))
            }
            (Err(error), stage) => {
                common.is_unseen = true;
                stage.release(common);
                error.into()
            }
            // An operation of the request before this one.
            (Ok(_), stage) => stay(stage),
        }
    }

    fn release(self, common: &mut Common, _cx: &mut Cx<'_>) {
        self.stage.release(common);
    }
}

impl CopyStage {
    fn release(self, common: &mut Common) {
        if let Self::Stepping { file, .. } = self {
            common.data.ops.push_back(Op::Abort { file });
        }
    }
}
