//! Uploads: which bytes are content and where they belong. The reactor moves them there.

use std::borrow::Cow;
use std::time::Instant;

use crate::admission::Slot;
use crate::buffer::Chunk;
use crate::command::{Answer, Ends, Put};
use crate::config::Limits;
use crate::dialect::{Action, Then};
use crate::error::{CloseReason, Failure, StoreError};
use crate::groups::Flow;
use crate::ids::FileId;
use crate::platform::{Completion, Op, Outcome};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::{Cx, DiskPace};
use crate::session::min_rate::MinRate;
use crate::session::state::{AfterSaving, FinishingWrites, Part, PartFate, Receiving, Saving, Target};
use crate::session::step::{Consumed, Step};
use crate::transfer::{Checkpoints, Flush, Hasher, Upload};
use crate::upload::{DigestState, PartEnd, Role, TAKEN_OVER, UploadState};

/// What the store says of an upload that is opened.
pub(super) struct Resumed {
    pub upload: Box<UploadState>,
    /// `None` if it is complete.
    pub file: Option<FileId>,
    pub digest: Option<DigestState>,
}

impl Behavior for Box<Receiving> {
    const NEEDS_SLOT: bool = true;

    fn begin(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        // A body of no bytes is complete already, and no byte will come to say so.
        let (step, _) = self.consume(&[], common, cx);
        common.is_unseen = true;
        step
    }

    fn intake(&mut self, common: &Common, cx: &Cx<'_>) -> usize {
        let room = self.room(&common.data.slot, cx);
        common.body_intake(room, cx.limits)
    }

    fn consume(mut self, data: &[u8], common: &mut Common, cx: &mut Cx<'_>) -> (Step, Consumed) {
        let room = match cx.disk.pace {
            // Without a slot, bytes that were read must not be held until the write-back has caught up.
            DiskPace::KeepsUp if common.data.slot.is_share_only() => usize::MAX,
            _ => self.room(&common.data.slot, cx),
        };
        let part = match common.dialect.protocol().body(data, room) {
            Ok(part) => part,
            Err(failure) => return (self.fail(failure, failure.words(), common, cx), Consumed::Took(0)),
        };
        let used = part.skip + part.payload;
        let content = &data[part.skip..used];
        let offset = match self.upload.launch(content.len()) {
            Ok(offset) => offset,
            Err(failure) => {
                // The dialect has stepped over these bytes: it must not see them again.
                let step = self.fail(failure, "the body is longer than allowed", common, cx);
                return (step, Consumed::Took(used));
            }
        };
        self.hasher.update(content);
        let consumed = match &mut self.target {
            Target::Whole(chunk) => {
                let held = chunk.fill(content);
                debug_assert_eq!(held, content.len(), "an upload this small fits its chunk");
                self.upload.finish_write(content.len());
                Consumed::Took(used)
            }
            Target::File(_) | Target::Part(_) if content.is_empty() => Consumed::Took(part.skip),
            Target::File(file) | Target::Part(Part { file, .. }) => {
                Consumed::Content { skip: part.skip, len: content.len(), file: *file, offset }
            }
        };
        common.moved(Flow::Up, part.payload as u64, cx);
        match part.then {
            Then::End => (self.complete(common, cx), consumed),
            // Without use, `Look` means that there is no room for these bytes: they come before what is at the socket.
            then if consumed == Consumed::Took(0) => {
                common.is_unseen = then == Then::Look;
                (Step::stay(self), Consumed::Wait)
            }
            Then::Wait | Then::Look => (Step::stay(self), consumed),
        }
    }

    fn received_eof(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match common.dialect.protocol().body_ended() {
            Ok(()) => self.complete(common, cx),
            Err(failure) => self.fail(failure, CloseReason::CutShort.word(), common, cx),
        }
    }

    fn silence(self, common: &mut Common, cx: &mut Cx<'_>) -> (Step, bool) {
        match common.dialect.protocol().body_quiet() {
            Then::End => (self.complete(common, cx), true),
            Then::Look => {
                common.is_unseen = true;
                (Step::stay(self), true)
            }
            Then::Wait => (Step::stay(self), false),
        }
    }

    fn stored(mut self, len: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.upload.finish_write(len);
        common.data.ops.extend(self.flush_due(cx));
        self.checkpoint_if_due(common, cx);
        Step::stay(self)
    }

    fn store_failed(self, failure: Failure, cause: String, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.fail_as(PartFate::Drop, failure, cause, common, cx)
    }

    fn completed(mut self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        match self.op_ended(done, common, cx) {
            Ok(()) => {
                self.checkpoint_if_due(common, cx);
                Step::stay(self)
            }
            Err(error) => self.fail_as(PartFate::Drop, error.failure, error.cause(), common, cx),
        }
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        let checkpoint = match &self.target {
            Target::Part(part) => part.checkpoints.at(self.upload.launched(), limits),
            Target::File(_) | Target::Whole(_) => None,
        };
        let window_end = self.min_rate.deadline();
        let slow = window_end.map(|end| common.or_silence(end.min(common.active + limits.live.stall_timeout)));
        slow.into_iter().chain(checkpoint.filter(|_| self.upload.is_written())).min()
    }

    fn timed_out(mut self, _in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.checkpoint_if_due(common, cx);
        if self.min_rate.waits_for_us() {
            return Step::stay(self);
        }
        let is_stalled = cx.now >= common.active + cx.limits.live.stall_timeout;
        if is_stalled || self.min_rate.check(cx.now, cx.limits, 0).is_err() {
            return self.end_slow_transfer(common, cx);
        }
        Step::stay(self)
    }

    fn slot_rate(&self, _in_kernel: usize, due: u64, now: Instant, _common: &Common, limits: &Limits) -> Option<u64> {
        self.min_rate.rate(now, limits, 0, due)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.fail(Failure::TimedOut, CloseReason::TooSlow.word(), common, cx)
    }

    fn is_bulk(&self, _common: &Common, _limits: &Limits) -> bool {
        self.is_into_file()
    }

    fn superseded(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.fail(TAKEN_OVER, "superseded", common, cx)
    }

    fn end(self, reason: CloseReason, is_reset: bool, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        if let Target::Part(_) = self.target {
            common.drop_outbox(cx);
            let (fate, then) = (self.fate(), AfterSaving::End { reason, is_reset });
            return Step::enter(Box::new(Saving::Writing { receiving: self, fate, then }));
        }
        self.release(common, cx);
        Step::End(reason, is_reset)
    }

    fn release(self, common: &mut Common, cx: &mut Cx<'_>) {
        self.target.abort(common, cx);
    }
}

impl Receiving {
    pub(in crate::session) fn start(target: Target, put: Put, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let action = common.with_protocol(cx, |protocol, context| protocol.answered(Ok(Answer::Created), context));
        if action != Action::Receive {
            target.abort(common, cx);
            return Step::Obey(action);
        }
        Step::enter(Box::new(Self {
            target,
            upload: Upload::new(put.len, common.upload_len_max(&put.key, cx)),
            hasher: Hasher::sha256_if(put.hash),
            flush: Flush::Idle(0),
            min_rate: MinRate::new(cx.now, cx.limits.fixed.rate_window),
            put,
        }))
    }

    /// An upload is open to be resumed: the dialect decides whether its part is received.
    pub(super) fn resume(
        resumed: Resumed,
        ends: Ends,
        is_verified: bool,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        let Resumed { upload, file, digest } = resumed;
        let UploadState { id, offset, ref put, ref role, .. } = *upload;
        let put = put.clone();
        let ends = match role {
            Role::Whole => ends,
            Role::Partial => Ends::Never,
            Role::Final(_) => Ends::Joined,
        };
        // By the rules of now, and for this caller.
        if put.len > Some(common.upload_len_max(&put.key, cx)) {
            let end = if ends == Ends::Joined { PartEnd::Remove } else { PartEnd::Keep };
            common.data.ops.extend(file.map(|file| Op::EndPart { file, end }));
            let then = AfterSaving::Refuse(Failure::TooLarge, "it is longer than allowed".into());
            return Step::enter(Box::new(Saving::Ending(then)));
        }
        let hasher = match &digest {
            Some(state) => Hasher::resume(state),
            // Of nothing there is no state; of anything else there must be one.
            None => (offset == 0 || !put.hash).then(|| Hasher::sha256_if(put.hash)),
        };
        let answer = Answer::Resumed(upload);
        let action = common.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context));
        match (action, file, hasher) {
            (Action::Receive, Some(file), Some(hasher)) => {
                let checkpoints = Checkpoints::new(offset, !is_verified, cx.now);
                Step::enter(Box::new(Self {
                    target: Target::Part(Part { id, file, ends, checkpoints }),
                    upload: Upload::resume(offset, put.len, common.upload_len_max(&put.key, cx)),
                    hasher,
                    flush: Flush::Idle(offset),
                    min_rate: MinRate::new(cx.now, cx.limits.fixed.rate_window),
                    put,
                }))
            }
            (Action::Receive, file, _) => {
                common.data.ops.extend(file.map(|file| Op::EndPart { file, end: PartEnd::Keep }));
                common.fail_inside("a part of an upload that cannot take one", cx)
            }
            (action, None, _) => Step::Obey(action),
            // The next request may continue with this very upload: it begins when this one is detached.
            (action, Some(file), _) => {
                common.data.ops.push_back(Op::EndPart { file, end: PartEnd::Keep });
                Step::enter(Box::new(Saving::Ending(AfterSaving::Obey(action, id))))
            }
        }
    }

    /// True if the upload is complete after this part, as far as that is known.
    pub(in crate::session) fn completes(&self) -> bool {
        match &self.target {
            Target::Part(part) => match part.ends {
                Ends::WithThisPart => true,
                Ends::AtItsLength | Ends::Joined => self.upload.is_at_its_end(),
                Ends::Never => false,
            },
            Target::File(_) | Target::Whole(_) => true,
        }
    }

    /// The next step of an upload that is concatenated from others, until all of them are in it.
    pub(super) fn join_due(&self) -> Option<Op> {
        match &self.target {
            Target::Part(part) if part.ends == Ends::Joined && !self.upload.is_at_its_end() => {
                let (offset, digest) = (self.upload.launched(), self.hasher.state());
                Some(Op::Join { file: part.file, offset, digest })
            }
            _ => None,
        }
    }

    /// A step of it ended.
    fn joined(&mut self, len: u64, digest: Option<&DigestState>) -> Result<(), StoreError> {
        let inside = |failure| StoreError::refused(failure, "join");
        let len = usize::try_from(len).map_err(|_| inside(Failure::Internal))?;
        self.upload.launch(len).map_err(inside)?;
        self.upload.finish_write(len);
        if let Some(state) = digest {
            self.hasher = Hasher::resume(state).ok_or(inside(Failure::Internal))?;
        }
        Ok(())
    }

    /// Makes safe what was received of an upload that can be resumed, if it is time.
    fn checkpoint_if_due(&mut self, common: &mut Common, cx: &Cx<'_>) {
        let offset = self.upload.launched();
        if let Target::Part(part) = &mut self.target
            && self.upload.is_written()
            && part.checkpoints.is_due(offset, cx.now, cx.limits)
        {
            part.checkpoints.began();
            let digest = self.hasher.state();
            common.data.ops.push_back(Op::Checkpoint { file: part.file, offset, digest });
        }
    }

    /// The body is complete; the last of it may still have to be written.
    fn complete(self: Box<Self>, common: &mut Common, cx: &Cx<'_>) -> Step {
        common.body_is_complete(cx.now);
        Step::enter(FinishingWrites(self))
    }

    /// Nothing of the upload stays but the parts of one that can be resumed; the peer gets an error. Its body may still be
    /// on its way.
    pub(super) fn fail(
        self: Box<Self>,
        failure: Failure,
        cause: impl Into<Cow<'static, str>>,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        let fate = self.fate();
        self.fail_as(fate, failure, cause, common, cx)
    }

    /// What becomes of a part that is cut short: one that is to be verified never was.
    const fn fate(&self) -> PartFate {
        match &self.target {
            Target::Part(part) if !part.checkpoints.is_wanted() => PartFate::Drop,
            _ => PartFate::Save,
        }
    }

    /// The same; `fate` is that of a part.
    pub(super) fn fail_as(
        self: Box<Self>,
        fate: PartFate,
        failure: Failure,
        cause: impl Into<Cow<'static, str>>,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        if let Target::Part(_) = self.target {
            let then = AfterSaving::Refuse(failure, cause.into());
            return Step::enter(Box::new(Saving::Writing { receiving: self, fate, then }));
        }
        self.target.abort(common, cx);
        Step::Refuse(failure, cause.into())
    }

    /// `Write` or `Flush` ended.
    pub(super) fn op_ended(
        &mut self,
        done: Completion,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Result<(), StoreError> {
        let written = done.chunk.as_ref().map_or(0, Chunk::len);
        common.give_back(done.chunk, cx);
        self.min_rate.store_ended(cx.now);
        match (done.result?, self.flush) {
            (Outcome::Written, _) => self.upload.finish_write(written),
            (Outcome::Joined { len, digest }, _) => self.joined(len, digest.as_ref())?,
            (Outcome::Flushed, Flush::Running(to)) => self.flush = Flush::Idle(to),
            (Outcome::Saved(safe), _) => {
                if let Target::Part(part) = &mut self.target {
                    part.checkpoints.finished(safe, cx.now);
                }
                common.with_protocol(cx, |protocol, context| protocol.saved(safe, context));
            }
            _ => {}
        }
        common.active = cx.now;
        common.is_unseen = true;
        Ok(())
    }

    /// The early write-back to ask for now. Not while the last writes finish: the commit follows.
    pub(super) fn flush_due(&mut self, cx: &Cx<'_>) -> Option<Op> {
        let file = self.target.file()?;
        let (offset, len) = self.flush.due(self.upload.launched(), cx.disk.flush_window?)?;
        self.flush = Flush::Running(offset + len);
        Some(Op::Flush { file, offset, len })
    }

    /// Bytes of heap of the content of an upload that has no chunk of the slot for it.
    pub(in crate::session) fn content_bytes(&self, limits: &Limits) -> usize {
        match &self.target {
            Target::Whole(content) if content.size() < limits.fixed.chunk_bytes => content.size(),
            _ => 0,
        }
    }

    /// True if the content goes into a staging file as it comes.
    pub(in crate::session) const fn is_into_file(&self) -> bool {
        self.target.file().is_some()
    }

    /// How many bytes of content may come now.
    fn room(&mut self, slot: &Slot, cx: &Cx<'_>) -> usize {
        let is_unflushed =
            cx.disk.flush_window.is_some_and(|window| self.flush.must_pause(self.upload.launched(), window));
        let is_unsafe = match &self.target {
            Target::Part(Part { checkpoints, .. }) => {
                let launched = self.upload.launched();
                let waits = checkpoints.is_due(launched, cx.now, cx.limits) && !self.upload.is_written();
                waits || checkpoints.must_pause(launched, cx.limits)
            }
            Target::File(_) | Target::Whole(_) => false,
        };
        let room = match (&self.target, cx.disk.pace) {
            (Target::Whole(_), _) => usize::MAX,
            _ if is_unflushed || is_unsafe => 0,
            (_, DiskPace::KeepsUp) => usize::MAX,
            // The client has not sent anything yet that would have to wait for a slot.
            (_, DiskPace::Lags) if slot.is_share_only() => return 0,
            (_, DiskPace::Lags) => slot.credits() * cx.pool.chunk_bytes(),
        };
        if room == 0 {
            self.min_rate.store_began(cx.now);
        }
        room
    }
}

impl Target {
    pub(super) fn abort(self, common: &mut Common, cx: &mut Cx<'_>) {
        common.drop_writes(cx);
        match self {
            Self::Whole(chunk) => common.return_content(chunk, cx),
            Self::File(file) => common.data.ops.push_back(Op::Abort { file }),
            Self::Part(_) => debug_assert!(false, "a part is ended, not aborted"),
        }
    }
}
