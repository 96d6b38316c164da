//! A connection lets go of an upload that can be resumed: what it has sent is made safe first, also for a peer that
//! is gone.

use crate::command::Answer;
use crate::error::CloseReason;
use crate::platform::{Completion, Op, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{AfterSaving, PartFate, Saving, Target};
use crate::session::step::Step;
use crate::upload::PartEnd;

impl Behavior for Box<Saving> {
    const NEEDS_SLOT: bool = true;

    fn begin(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if let Saving::Writing { fate: PartFate::Drop | PartFate::Remove, .. } = &*self {
            common.drop_writes(cx);
        }
        Step::stay(Self::new(self.end_part(common)))
    }

    fn stored(mut self, len: usize, common: &mut Common, _cx: &mut Cx<'_>) -> Step {
        if let Saving::Writing { receiving, .. } = &mut *self {
            receiving.upload.finish_write(len);
        }
        Step::stay(Self::new(self.end_part(common)))
    }

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let saving = match *self {
            Saving::Ending(then) => return then.follow(done, common, cx),
            Saving::Writing { mut receiving, mut fate, then } => {
                if let Err(error) = receiving.op_ended(done, common, cx) {
                    log::warn!("a part of an upload is lost: {}", error.cause());
                    fate = fate.max(PartFate::Drop);
                    common.drop_writes(cx);
                }
                Saving::Writing { receiving, fate, then }
            }
        };
        Step::stay(Self::new(saving.end_part(common)))
    }

    fn end(self, reason: CloseReason, is_reset: bool, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.drop_outbox(cx);
        let then = AfterSaving::End { reason, is_reset };
        Step::stay(Self::new(match *self {
            Saving::Writing { receiving, fate, .. } => Saving::Writing { receiving, fate, then },
            Saving::Ending(_) => Saving::Ending(then),
        }))
    }
}

impl Saving {
    /// Ends the attachment once no write is under way.
    fn end_part(self, common: &mut Common) -> Self {
        let (receiving, fate, then) = match self {
            Self::Writing { receiving, fate, then } if !common.has_ops() => (receiving, fate, then),
            waiting => return waiting,
        };
        let Target::Part(part) = &receiving.target else { unreachable!("only a part is saved") };
        let end = match fate {
            PartFate::Save => {
                debug_assert!(receiving.upload.is_written(), "bytes that were never written");
                PartEnd::Save { offset: receiving.upload.launched(), digest: receiving.hasher.state() }
            }
            PartFate::Drop => PartEnd::Keep,
            PartFate::Remove => PartEnd::Remove,
        };
        common.data.ops.push_back(Op::EndPart { file: part.file, end });
        Self::Ending(then)
    }
}

impl AfterSaving {
    /// The connection is detached.
    fn follow(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match (self, done.result) {
            (Self::Answer, Ok(Outcome::PartEnded(state))) => {
                let answer = Ok(Answer::Saved(state));
                let action = common.with_protocol(cx, |protocol, context| protocol.answered(answer, context));
                common.report(Ok(()), cx);
                Step::Obey(action)
            }
            (Self::Answer, Err(error)) => error.into(),
            (Self::Answer, Ok(_)) => common.fail_inside("a part that ended otherwise", cx),
            // An operation of the request before this one may end first.
            (Self::Obey(action, id), _) if common.has_ops() => {
                Step::stay(Box::new(Saving::Ending(Self::Obey(action, id))))
            }
            (Self::Obey(action, _), _) => Step::Obey(action),
            (Self::Refuse(failure, cause), result) => {
                if let Ok(Outcome::PartEnded(state)) = result {
                    common.with_protocol(cx, |protocol, context| protocol.saved(state.offset, context));
                }
                Step::Refuse(failure, cause)
            }
            (Self::End { reason, is_reset }, _) => Step::End(reason, is_reset),
        }
    }
}
