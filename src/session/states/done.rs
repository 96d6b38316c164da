//! The conversation is over; operations may still be in flight.

use crate::platform::{Completion, Op, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::Done;
use crate::session::step::Step;
use crate::upload::PartEnd;

impl Behavior for Done {
    const IS_BUSY: bool = false;
    const IS_SERVING: bool = false;

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match done.result {
            Ok(Outcome::Created(file)) => common.data.ops.push_back(Op::Abort { file }),
            Ok(Outcome::Opened { file, .. }) => common.close(file),
            Ok(Outcome::UploadOpened { file: Some(file), .. }) => {
                common.data.ops.push_back(Op::EndPart { file, end: PartEnd::Keep });
            }
            Ok(Outcome::Committed(..)) => common.report(Ok(()), cx),
            Ok(_) => {}
            Err(error) => common.report_failure(error.failure, error.cause(), cx),
        }
        Step::stay(self)
    }
}
