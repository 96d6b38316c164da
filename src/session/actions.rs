//! What a dialect decided is done here, where no file is open: each [`Action`] leads to a state.

use std::borrow::Cow;

use crate::command::{Command, Put, Whole};
use crate::dialect::{Action, Phase};
use crate::error::{CloseReason, Failure};
use crate::groups::Flow;
use crate::ids::ClientAddress;
use crate::order::Order;
use crate::platform::Op;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{
    AwaitHeader, Committing, Discarding, Executing, Opening, Pausing, SendingPart, SendingReply, SlotRequest, Verifying,
};
use crate::session::step::Step;

impl Common {
    pub(super) fn obey(&mut self, action: Action, cx: &mut Cx<'_>) -> Step {
        if !self.may_hold_reply(cx) {
            self.report_failure(Failure::Busy, "no slot is free for a long reply", cx);
            return Step::End(CloseReason::Refused, true);
        }
        if self.owes() {
            return Step::enter(Committing::Before(Box::new(action)));
        }
        match action {
            Action::More | Action::Proceed => Step::enter(AwaitHeader::Idle),
            Action::Run(command) => self.start(command, cx),
            Action::Next => {
                self.report(Ok(()), cx);
                self.await_next(cx)
            }
            Action::Store(put, content) => self.start_store(put, content, cx),
            Action::Pause(delay) => Pausing::enter(None, delay, cx),
            Action::Continue(command) => Step::enter(SendingPart { next: Some(Box::new(command)) }),
            Action::Part => Step::enter(SendingPart { next: None }),
            Action::Discard if self.dialect.protocol_ref().body_left() > cx.limits.live.discard_bytes_max => {
                Step::Obey(Action::Close(CloseReason::Refused))
            }
            Action::Discard => Step::enter(Discarding { left: cx.limits.live.discard_bytes_max }),
            Action::Verify(mut check) => {
                check.client = ClientAddress::of_ip(self.client());
                match cx.guesses.begin_check(check.client, cx.now, cx.limits) {
                    Ok(()) => {
                        self.data.ops.push_back(Op::VerifyPassword(check));
                        Step::enter(Verifying)
                    }
                    Err(finding) => {
                        self.data.verdict = Some(Box::new(check.verdict(finding)));
                        Step::enter(AwaitHeader::Idle)
                    }
                }
            }
            Action::Close(reason) => {
                if reason == CloseReason::Finished {
                    self.report(Ok(()), cx);
                }
                Step::enter(SendingReply(reason))
            }
            Action::Reset(reason) => Step::End(reason, true),
            Action::Receive | Action::Send { .. } | Action::Speak => {
                self.fail_inside("a dialect wanted what only fits another moment", cx)
            }
        }
    }

    /// True where the peer may as well continue on another connection, and this process serves no new ones.
    fn is_over(&self, cx: &Cx<'_>) -> bool {
        let is_handing_over = cx.phase == Phase::HandingOver && self.data.inbox.is_empty();
        is_handing_over && self.dialect.kind().traits().half_closes_after_request
    }

    /// What follows a request that is answered and reported: perhaps the next one is for another process.
    pub(super) fn await_next(&self, cx: &Cx<'_>) -> Step {
        if self.is_over(cx) { Step::Obey(Action::Close(CloseReason::Finished)) } else { Step::enter(AwaitHeader::Idle) }
    }

    /// Begins what [`Common::may_begin_ahead`] permits while replies are owed.
    pub(super) fn begin_ahead(&mut self, action: Action, cx: &mut Cx<'_>) -> Step {
        match action {
            Action::Run(command) => self.start(command, cx),
            action => Step::Obey(action),
        }
    }

    /// Tells the dialect of a failure, reports it, and returns what the dialect then wants.
    pub(super) fn refuse(&mut self, failure: Failure, cause: Cow<'static, str>, cx: &mut Cx<'_>) -> Action {
        let action = self.run_protocol(cx, |protocol, context| protocol.answered(Err(failure), context)).0;
        match (&action, &mut self.data.request) {
            // A dialect that tries something else continues the same request: that has one line in the log.
            // So does one that leaves something out of its reply.
            (Action::Continue(_), Some(_)) => {}
            (Action::Run(command), Some(request)) => {
                request.word = command.word();
                if let Some(key) = command.key() {
                    request.key = key.clone();
                }
            }
            _ => self.report_failure(failure, cause, cx),
        }
        action
    }

    /// Checks whether a command is allowed, and, if it is the first of its request, whether its client may have another.
    fn admit(&mut self, command: Command, cx: &mut Cx<'_>) -> Result<Command, Failure> {
        let is_first = self.data.request.is_none();
        let is_upload = matches!(command, Command::Put(_) | Command::Append(_));
        let permitted = self.permit(command, cx);
        if let Some(key) = permitted.as_ref().ok().and_then(Command::key) {
            self.keep_rate(key, cx);
        }
        if is_first {
            self.count_request(is_upload, cx)?;
        }
        permitted
    }

    fn start(&mut self, command: Command, cx: &mut Cx<'_>) -> Step {
        let command = match self.admit(command, cx) {
            Ok(command) => command,
            Err(failure) => return Step::refuse(failure, failure.words()),
        };
        if let (Some(_), Command::Run(look @ (Whole::Stat { .. } | Whole::Describe { .. }))) =
            (cx.access.rules(), &command)
        {
            self.data.ops.push_back(Op::Run(look.clone()));
            return Step::enter(Executing::Filter(Box::new(command)));
        }
        self.run(command, cx)
    }

    /// Gives a command to the store that may run.
    pub(super) fn run(&mut self, command: Command, cx: &Cx<'_>) -> Step {
        let op = match command {
            Command::Append(_) | Command::Copy(_) | Command::Put(_) | Command::List { .. } => {
                return Step::NeedSlot(SlotRequest::Command(command));
            }
            Command::Get { key } => {
                self.data.ops.push_back(Op::Open { key });
                return Step::enter(Opening::Open);
            }
            Command::StatUpload { id, inquiry, .. } => Op::FindUpload { id, inquiry, permit: self.upload_permit(cx) },
            Command::CancelUpload { id } => Op::RemoveUpload { id, permit: self.upload_permit(cx) },
            Command::Run(whole) => Op::Run(whole),
        };
        self.data.ops.push_back(op);
        Step::enter(Executing::Tell)
    }

    /// Lists a directory; there is a slot.
    pub(super) fn list(&mut self, command: Command, cx: &Cx<'_>) -> Step {
        let Command::List { key, recursive, after, limit, details, order } = command else {
            return self.run(command, cx);
        };
        let bytes_max = cx.limits.fixed.chunk_bytes * cx.limits.fixed.chunks_per_slot;
        let executing = match cx.access.rules() {
            None => Executing::Tell,
            Some(_) => {
                let order = Order::default();
                let asked = Command::List { key: key.clone(), recursive, after: None, limit, details, order };
                Executing::Filter(Box::new(asked))
            }
        };
        let hides = self.hides(&key, recursive, cx);
        self.data.ops.push_back(Op::List { key, recursive, after, limit, bytes_max, details, hides, order });
        Step::enter(executing)
    }

    fn start_store(&mut self, put: Put, content: Vec<u8>, cx: &mut Cx<'_>) -> Step {
        let put = match self.admit(Command::Put(put), cx) {
            Ok(Command::Put(put)) => put,
            Ok(_) => return self.fail_inside("an upload became another command", cx),
            Err(failure) => return Step::refuse(failure, failure.words()),
        };
        self.body_is_complete(cx.now);
        self.count(Flow::Up, content.len() as u64, cx);
        Step::NeedSlot(SlotRequest::Store(put, content))
    }
}
