//! The ways a conversation ends: by the peer, by a deadline, by a drain, by us. Close is a join:
//! the socket may go at once, the slot only when no operation is in flight.

use std::time::Instant;

use crate::config::Limits;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure};
use crate::platform::{Completion, Op, Outcome};
use crate::session::receive::Use;
use crate::session::state::{Name, Parting, State, Wanted};
use crate::session::{Cx, Session, Slot};

impl Session {
    /// The peer's stream ended. It may still read: what is to be said is said.
    pub fn received_eof(&mut self, cx: &mut Cx<'_>) {
        match self.state.name() {
            Name::AwaitHeader => {
                let held = self.take_held();
                let action = self.with_protocol(cx, |protocol, context| protocol.ended(&held, context));
                match action {
                    // Nothing is left to say to a peer that left between requests.
                    Action::Close(reason) if self.work.outbox.is_empty() => self.end(reason, Parting::Plain, cx),
                    action => self.apply(action, cx),
                }
            }
            Name::ReceivingBody => match self.dialect.protocol().body_ended() {
                Ok(()) => self.body_is_complete(cx),
                Err(failure) => {
                    let _ = self.fail_upload(failure, CloseReason::CutShort.word(), cx);
                }
            },
            Name::Discarding => self.set_state(State::SendingReply(CloseReason::CutShort), cx),
            Name::Lingering => {
                if let State::Lingering { reason, .. } = self.state {
                    self.end(reason, Parting::Plain, cx);
                }
            }
            _ => debug_assert!(false, "read while {:?} does not read", self.state()),
        }
    }

    /// The socket failed: nobody is there to be told.
    pub fn lost(&mut self, reason: CloseReason, cause: &str, cx: &mut Cx<'_>) {
        // A disk that fails in the middle of a file looks like this too: it must not pass for its end.
        let in_a_file = matches!(self.state.name(), Name::SendingBody | Name::SendingPart | Name::Pausing);
        self.cut_off(reason, cause, if in_a_file { Parting::Reset } else { Parting::Plain }, cx);
    }

    /// Nothing more can be done for the peer, though it may have said all it wanted: to one that is told
    /// nothing, a plain end would mean success.
    pub fn given_up(&mut self, cause: &str, cx: &mut Cx<'_>) {
        self.cut_off(CloseReason::Internal, cause, Parting::Reset, cx);
    }

    fn cut_off(&mut self, reason: CloseReason, cause: &str, parting: Parting, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::Done { .. }) {
            if self.state.name() != Name::Committing {
                self.report_failure(Failure::Internal, format!("{reason}: {cause}"), cx);
            }
            self.end(reason, parting, cx);
        }
    }

    /// A deadline passed. Also harmless when it did not.
    /// `queued` bytes of what we sent are still in the kernel.
    pub fn timed_out(&mut self, queued: usize, cx: &mut Cx<'_>) {
        if self.quiet_at().is_some_and(|at| at <= cx.now) && self.told_quiet(cx) {
            return;
        }
        if self.deadline(cx.limits).is_none_or(|at| at > cx.now) {
            return;
        }
        let stalled = cx.now >= self.active + cx.limits.stall_timeout;
        let (window, rate) = (cx.limits.rate_window, cx.limits.rate_bytes_per_s_min);
        match &mut self.state {
            State::AwaitHeader { .. } if !self.work.outbox.is_empty() => self.stop_sending("the reply is not read", cx),
            State::Pausing(_) => self.pause_over(cx),
            State::AwaitHeader { .. } if self.slot == Slot::Held => {
                self.refuse(Failure::TimedOut, "the message stopped half-way", cx);
            }
            State::AwaitHeader { since: Some(_) } => {
                self.refuse(Failure::TimedOut, CloseReason::HeadTimeout.word(), cx);
            }
            State::AwaitHeader { since: None } => self.end(CloseReason::IdleTimeout, Parting::Plain, cx),
            State::AwaitSlot(_) => self.not_granted("no slot came in time", cx),
            State::ReceivingBody(receiving) => {
                if stalled || receiving.pace.check(cx.now, window, rate, 0).is_err() {
                    let _ = self.fail_upload(Failure::TimedOut, CloseReason::TooSlow.word(), cx);
                }
            }
            State::SendingBody(sending) => {
                let windows_over = sending.pace.deadline().is_some_and(|at| at <= cx.now);
                if sending.pace.check(cx.now, window, rate, queued as u64).is_err() {
                    self.stop_sending("the peer reads too slowly", cx);
                } else if windows_over {
                    // It reads, though the kernel has not asked for more in a while.
                    self.active = cx.now;
                } else if stalled {
                    self.stop_sending("the peer does not read", cx);
                }
            }
            State::Discarding { .. } | State::SendingReply(_) | State::SendingPart(_) => {
                self.stop_sending("the peer is too slow", cx);
            }
            State::Lingering { .. } => self.end(CloseReason::LingerEnded, Parting::Plain, cx),
            State::Opening(_)
            | State::Executing
            | State::Settling(_)
            | State::Committing
            | State::Done { .. }
            | State::Moving(_) => {}
        }
    }

    /// Bytes per second that the peer moves while it holds a slot; `queued` as for [`Session::timed_out`]. None where
    /// that does not depend on the peer, or cannot be said yet.
    pub fn slot_rate(&self, queued: usize, now: Instant, limits: &Limits) -> Option<u64> {
        let (window, time_min) = (limits.rate_window, limits.contention_wait);
        match &self.state {
            State::ReceivingBody(receiving) => receiving.pace.rate(now, window, time_min, 0),
            State::SendingBody(sending) => sending.pace.rate(now, window, time_min, queued as u64),
            // A message is gathered, or a long reply is to be read, which filled the slot at most.
            State::AwaitHeader { .. } | State::SendingPart(_) | State::SendingReply(_) if !self.has_ops() => {
                let since =
                    if let State::AwaitHeader { since: Some(since) } = &self.state { *since } else { self.entered };
                let time = now.saturating_duration_since(since);
                let moved = match self.work.outbox.len() {
                    0 => self.work.inbox.len(),
                    left => (limits.chunk_bytes * limits.chunks_per_slot).saturating_sub(left),
                };
                let rate = moved as u128 * 1000 / time.as_millis().max(1);
                (time >= time_min).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
            }
            _ => None,
        }
    }

    /// Ends a transfer as one that is too slow.
    pub fn end_slow_transfer(&mut self, cx: &mut Cx<'_>) {
        match &self.state {
            State::ReceivingBody(_) => {
                let _ = self.fail_upload(Failure::TimedOut, CloseReason::TooSlow.word(), cx);
            }
            State::SendingBody(_) => self.stop_sending("the peer reads too slowly", cx),
            State::AwaitHeader { .. } if self.work.outbox.is_empty() => {
                self.refuse(Failure::TimedOut, "the message came too slowly", cx);
            }
            State::AwaitHeader { .. } | State::SendingPart(_) | State::SendingReply(_) => {
                self.stop_sending("the reply is read too slowly", cx);
            }
            _ => {}
        }
    }

    pub(super) fn stop_sending(&mut self, cause: &str, cx: &mut Cx<'_>) {
        self.report_failure(Failure::TimedOut, cause, cx);
        self.end(CloseReason::TooSlow, Parting::Reset, cx);
    }

    /// Is there work that a drain waits for? Not on an idle connection, nor on one that only
    /// hears our last words.
    pub fn is_busy(&self) -> bool {
        match self.state.name() {
            Name::AwaitHeader => !self.work.inbox.is_empty() || !self.work.outbox.is_empty() || self.has_ops(),
            Name::SendingReply | Name::Lingering | Name::Done => false,
            _ => true,
        }
    }

    /// Was it answered in full, and has it asked nothing since?
    pub fn waits_for_request(&self) -> bool {
        self.state.name() == Name::AwaitHeader && !self.is_busy()
    }

    /// The server has drained: whoever asks nothing is let go. Until then it would have been told
    /// that the server is ending.
    pub fn drained(&mut self, cx: &mut Cx<'_>) {
        if !self.waits_for_request() {
            return;
        }
        if cx.now >= self.active + cx.limits.linger_timeout {
            self.end(CloseReason::Drained, Parting::Plain, cx);
        } else {
            // It may not have read our last reply yet, and may be asking already: a plain close
            // could become a reset that destroys the reply.
            self.set_state(State::SendingReply(CloseReason::Drained), cx);
        }
    }

    /// The server stops: true if something was cut off.
    pub fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        let cut = !matches!(
            self.state.name(),
            Name::AwaitHeader | Name::Discarding | Name::SendingReply | Name::Lingering | Name::Done
        );
        if !matches!(self.state, State::Done { .. }) {
            if self.state.name() != Name::Committing {
                self.report_failure(Failure::Draining, CloseReason::Stopped.word(), cx);
            }
            self.end(CloseReason::Stopped, Parting::Reset, cx);
        }
        cut
    }

    /// Should our half be closed now?
    pub fn wants_shutdown(&self) -> bool {
        matches!(self.state, State::SendingReply(_)) && self.work.outbox.is_empty()
    }

    /// May the connection be closed without lingering, if nothing is unread? The peer has said that
    /// nothing comes behind the request that was answered, so nothing can turn our last bytes into a
    /// reset (RFC 9112 §9.6).
    pub fn may_close_at_once(&self) -> bool {
        matches!(self.state, State::SendingReply(CloseReason::Finished))
            && self.work.inbox.is_empty()
            && self.dialect.protocol_ref().was_last_request()
    }

    /// It is.
    pub fn closed(&mut self, cx: &mut Cx<'_>) {
        self.end(CloseReason::Finished, Parting::Plain, cx);
    }

    /// Our half is closed: linger, so that unread input does not turn our last bytes into a reset
    /// (RFC 9112 §9.6).
    pub fn shut_down(&mut self, cx: &mut Cx<'_>) {
        if let State::SendingReply(reason) = self.state {
            self.set_state(State::Lingering { left: cx.limits.linger_bytes_max, reason }, cx);
        }
    }

    pub(super) fn linger(&mut self, n: usize, cx: &mut Cx<'_>) -> Use {
        if let State::Lingering { left, .. } = &mut self.state {
            match left.checked_sub(n as u64) {
                Some(rest) => *left = rest,
                None => self.end(CloseReason::LingerEnded, Parting::Plain, cx),
            }
        }
        Use::Took(n)
    }

    /// Must the peer see a reset?
    pub const fn wants_reset(&self) -> bool {
        matches!(self.state, State::Done { parting: Parting::Reset, .. })
    }

    /// Over, and joined: nothing refers to this session any more.
    pub fn is_retirable(&self) -> bool {
        matches!(self.state, State::Done { .. }) && !self.has_ops()
    }

    /// A bug of ours: a debug build stops here, a release build ends this one conversation.
    pub(super) fn fail_inside(&mut self, what: &str, cx: &mut Cx<'_>) {
        debug_assert!(false, "{what}");
        log::error!("internal error: {what}");
        self.report_failure(Failure::Internal, what, cx);
        self.end(CloseReason::Internal, Parting::Reset, cx);
    }

    /// Ends the conversation; files are let go, chunks go home.
    pub(super) fn end(&mut self, reason: CloseReason, parting: Parting, cx: &mut Cx<'_>) {
        match self.take_state() {
            State::ReceivingBody(receiving) | State::Settling(receiving) => self.drop_target(receiving.target, cx),
            State::SendingBody(sending) => self.work.ops.push_back(Op::Close { file: sending.file }),
            State::AwaitSlot(wanted) => match *wanted {
                Wanted::Command(_) | Wanted::Gather | Wanted::Store(..) => {}
                Wanted::Download { file, .. } => self.work.ops.push_back(Op::Close { file }),
                Wanted::Resume(sending) => self.work.ops.push_back(Op::Close { file: sending.file }),
            },
            State::Pausing(pausing) => self.work.ops.extend(pausing.open.map(|(file, _)| Op::Close { file })),
            State::AwaitHeader { .. }
            | State::Opening(_)
            | State::Executing
            | State::Committing
            | State::SendingPart(_)
            | State::Discarding { .. }
            | State::SendingReply(_)
            | State::Lingering { .. }
            | State::Done { .. }
            | State::Moving(_) => {}
        }
        self.report_segments(cx);
        let mut home = Vec::new();
        self.work.outbox.clear(&mut home);
        self.give_back(home, cx);
        self.work.inbox = Vec::new();
        self.set_state(State::Done { reason, parting }, cx);
    }

    /// Operations that were in flight when the conversation ended.
    pub(super) fn completed_after_end(&mut self, done: Completion, cx: &mut Cx<'_>) {
        self.give_back(done.chunk, cx);
        match done.result {
            Ok(Outcome::Created(file)) => self.work.ops.push_back(Op::Abort { file }),
            Ok(Outcome::Opened { file, .. }) => self.work.ops.push_back(Op::Close { file }),
            Ok(Outcome::Committed(..)) => self.report(Ok(()), cx),
            Ok(_) => {}
            Err(error) => self.report_failure(error.failure, error.cause(), cx),
        }
    }
}
