//! The body is complete: once every write has ended, it is verified and committed.

use crate::error::Failure;
use crate::platform::{Completion, Op};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{Committing, FinishingWrites, Receiving, Target};
use crate::session::step::Step;

impl Behavior for FinishingWrites {
    const NEEDS_SLOT: bool = true;

    fn begin(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let Self(mut receiving) = self;
        if !receiving.upload.is_written() || common.has_ops() {
            return Step::stay(Self(receiving));
        }
        let finish = match common.dialect.protocol().finish(receiving.hasher.finish()) {
            Ok(finish) => finish,
            Err(failure) => return receiving.fail(failure, failure.words(), common, cx),
        };
        let Receiving { mut put, target, upload, .. } = *receiving;
        put.key = finish.key.unwrap_or(put.key);
        common.data.ops.push_back(match target {
            Target::Whole(chunk) => {
                debug_assert!(finish.prepend.is_empty(), "the length of this upload was known before its content");
                Op::Store { put, chunk }
            }
            Target::File(file) => Op::Commit {
                file,
                len: upload.launched(),
                prepend: finish.prepend.into(),
                mtime: put.mtime,
                precondition: put.precondition,
                key: put.key,
            },
        });
        Step::enter(Committing)
    }

    fn stored(mut self, len: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.0.upload.finish_write(len);
        common.data.ops.extend(self.0.flush_due(cx));
        self.begin(common, cx)
    }

    fn store_failed(self, failure: Failure, cause: String, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.0.fail(failure, cause, common, cx)
    }

    fn completed(mut self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match self.0.op_ended(done, common, cx) {
            Ok(()) => self.begin(common, cx),
            Err(error) => self.0.fail(error.failure, error.cause(), common, cx),
        }
    }

    fn release(self, common: &mut Common, cx: &mut Cx<'_>) {
        self.0.target.abort(common, cx);
    }
}
