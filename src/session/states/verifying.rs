//! Waiting for the worker that checks a password. The bytes that the dialect was shown are held, and it is shown them
//! again together with the verdict.

use crate::platform::{Completion, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{AwaitHeader, Verifying};
use crate::session::step::Step;

impl Common {
    /// A password was checked. This counts also where the connection is closed by now: to close it first must not make
    /// guesses free.
    pub(in crate::session) fn count_guess(done: &Completion, cx: &mut Cx<'_>) {
        if let Ok(Outcome::PasswordVerified(verdict)) = &done.result {
            cx.guesses.end_check(verdict.client, verdict.finding, cx.now, cx.limits);
        }
    }
}

impl Behavior for Verifying {
    fn completed(self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        common.give_back(done.chunk, cx);
        match done.result {
            Ok(Outcome::PasswordVerified(verdict)) => {
                common.data.verdict = Some(verdict);
                Step::enter(AwaitHeader::Idle)
            }
            // A request is decoded only once everything of the one before has ended.
            Ok(_) => common.fail_inside("another operation ended while a password was checked", cx),
            Err(error) => error.into(),
        }
    }
}
