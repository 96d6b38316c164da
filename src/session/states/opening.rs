//! Waiting until a file is open or a staging file is made.

use crate::command::{Answer, Put};
use crate::platform::{Completion, Outcome, Source};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{Opening, Receiving, Sending, SlotRequest, Target};
use crate::session::states::receiving_body::Resumed;
use crate::session::step::Step;

impl Behavior for Opening {
    const NEEDS_SLOT: bool = true;

    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match (done.result, self) {
            (Ok(Outcome::Created(file)), Self::Create(put)) => {
                Receiving::start(Target::File(file), Put::clone(&put), common, cx)
            }
            // The file that the peer announced is there: no body is received.
            (Ok(Outcome::Committed(stored)), Self::Create(_)) => {
                let answer = Ok(Answer::Stored(stored));
                let action = common.with_protocol(cx, |protocol, context| protocol.answered(answer, context));
                common.report(Ok(()), cx);
                Step::Obey(action)
            }
            (Ok(Outcome::Opened { file, meta, source: Source::Held }), Self::Open) if !common.holds_slot() => {
                Step::NeedSlot(SlotRequest::Download { file, meta })
            }
            (Ok(Outcome::Opened { file, meta, source }), Self::Open) => Sending::start(file, meta, source, common, cx),
            (Ok(Outcome::UploadOpened { upload, file, digest }), Self::Append { ends, is_verified }) => {
                common.names_upload(&upload.put.key);
                common.keep_rate(&upload.put.key, cx);
                Receiving::resume(Resumed { upload, file, digest }, ends, is_verified, common, cx)
            }
            (Err(error), _) => error.into(),
            // An `Abort` or `Close` of the request before this one.
            (Ok(_), opening) => Step::stay(opening),
        }
    }
}
