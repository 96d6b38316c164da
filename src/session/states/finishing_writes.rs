//! The body is complete: once every write has ended, it is verified and committed. An upload that is concatenated from
//! others has no body; its bytes are copied here, a step at a time.

use crate::error::{CloseReason, Failure};
use crate::object::Precondition;
use crate::platform::{Completion, Op};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{AfterSaving, Committing, FinishingWrites, Part, PartFate, Receiving, Saving, Target};
use crate::session::step::Step;

impl Behavior for FinishingWrites {
    const NEEDS_SLOT: bool = true;

    fn begin(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let Self(mut receiving) = self;
        if !receiving.upload.is_written() || common.has_own_ops() {
            return Step::stay(Self(receiving));
        }
        if let Some(op) = receiving.join_due() {
            common.data.ops.push_back(op);
            return Step::stay(Self(receiving));
        }
        let completes = receiving.completes();
        if completes && receiving.upload.misses_its_end() {
            let failure = Failure::Malformed("the upload is shorter than was announced");
            return receiving.fail(failure, failure.words(), common, cx);
        }
        let digest = if completes { receiving.hasher.finish() } else { None };
        let finish = match common.dialect.protocol().finish(digest) {
            Ok(finish) => finish,
            // All that was received has another digest than was announced, and would have it whenever it is resumed; or
            // only what this request brought.
            Err(failure) => {
                let is_whole = completes && failure == Failure::DigestMismatch;
                let fate = if is_whole { PartFate::Remove } else { PartFate::Drop };
                return receiving.fail_as(fate, failure, failure.words(), common, cx);
            }
        };
        if !completes {
            return Step::enter(Box::new(Saving::Writing {
                receiving,
                fate: PartFate::Save,
                then: AfterSaving::Answer,
            }));
        }
        let is_new_name = finish.key.is_some();
        let key = finish.key.unwrap_or_else(|| receiving.put.key.clone());
        let precondition = std::mem::replace(&mut receiving.put.precondition, Precondition::None);
        match common.permit_commit(key, precondition, is_new_name, cx) {
            Ok((key, precondition)) => (receiving.put.key, receiving.put.precondition) = (key, precondition),
            Err(failure) => {
                let cause = "the rules permit it no more";
                return receiving.fail_as(PartFate::Remove, failure, cause, common, cx);
            }
        }
        let Receiving { mut put, target, upload, .. } = *receiving;
        // What goes before the content was not hashed.
        let digest = digest.filter(|_| finish.prepend.is_empty()).map(Box::new);
        let (committing, op) = match target {
            Target::Whole(chunk) => {
                debug_assert!(finish.prepend.is_empty(), "the length of this upload was known before its content");
                put.sha256 = digest;
                (common.owe(&chunk, cx), Op::Store { put: Box::new(put), chunk })
            }
            Target::File(file) | Target::Part(Part { file, .. }) => {
                let op = Op::Commit {
                    file,
                    len: upload.launched(),
                    prepend: finish.prepend.into(),
                    mtime: put.mtime,
                    precondition: put.precondition,
                    key: put.key,
                    digest,
                };
                (Committing::Alone, op)
            }
        };
        common.data.ops.push_back(op);
        Step::enter(committing)
    }

    fn stored(mut self, len: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.0.upload.finish_write(len);
        common.data.ops.extend(self.0.flush_due(cx));
        self.begin(common, cx)
    }

    fn store_failed(self, failure: Failure, cause: String, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.0.fail_as(PartFate::Drop, failure, cause, common, cx)
    }

    fn completed(mut self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match self.0.op_ended(done, common, cx) {
            Ok(()) => self.begin(common, cx),
            Err(error) => self.0.fail_as(PartFate::Drop, error.failure, error.cause(), common, cx),
        }
    }

    fn end(self, reason: CloseReason, is_reset: bool, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.0.end(reason, is_reset, common, cx)
    }

    fn release(self, common: &mut Common, cx: &mut Cx<'_>) {
        self.0.target.abort(common, cx);
    }
}
