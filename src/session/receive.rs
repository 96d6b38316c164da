//! Uploads: from the bytes that arrived to the commit. Also the bodies nobody wants any more.
//!
//! Decides which bytes are content and where they belong; the reactor moves them there.

use crate::buffer::Chunk;
use crate::command::{Answer, Put};
use crate::config::Limits;
use crate::dialect::{Action, Then};
use crate::error::{CloseReason, Failure, StoreError};
use crate::ids::FileId;
use crate::object::Key;
use crate::platform::{Completion, Op, Outcome};
use crate::session::state::{Name, Receiving, State, Target};
use crate::session::{Appetite, Cx, DiskPace, Session};
use crate::transfer::{Flush, Hasher, Pace, Upload};

/// What [`Session::consume`] did with the bytes it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// So many bytes are used up; show the rest.
    Took(usize),
    /// Nothing can be done with them now; hold them.
    Wait,
    /// `skip` bytes are used up; the `len` behind them belong into `file` at `offset`. Report
    /// with [`Session::stored`], [`Session::hand_over`] or [`Session::store_failed`], then show
    /// what is behind them.
    Content {
        /// Framing before the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
        /// The staging file.
        file: FileId,
        /// Where in it.
        offset: u64,
    },
}

impl Session {
    /// How many bytes to read from the socket now; 0 means: do not read. This is the
    /// back-pressure.
    pub fn intake(&mut self, cx: &Cx<'_>) -> usize {
        let unseen = !self.work.inbox.is_empty() && self.appetite == Appetite::Unseen;
        let ahead = (cx.limits.head_len_max / 2).saturating_sub(self.work.inbox.len());
        let body = usize::try_from(self.dialect.protocol_ref().body_left()).unwrap_or(usize::MAX);
        match &mut self.state {
            State::AwaitHeader { .. } => self.head_intake(cx),
            State::ReceivingBody(receiving) => {
                let room = receiving.room(self.work.credits, cx);
                if unseen || room == 0 {
                    return 0;
                }
                body.saturating_add(ahead).min(room.saturating_add(ahead))
            }
            State::Discarding { .. } if !unseen => body.saturating_add(ahead),
            State::Lingering { .. } => usize::MAX,
            State::AwaitSlot(_)
            | State::Opening(_)
            | State::Executing
            | State::SendingPart(_)
            | State::Settling(_)
            | State::Committing
            | State::SendingBody(_)
            | State::Pausing(_)
            | State::Discarding { .. }
            | State::SendingReply(_)
            | State::Done { .. }
            | State::Moving(_) => 0,
        }
    }

    /// Bytes arrived, or time has come for those that are held: uses what it can of the front of
    /// `data`. Call until it says [`Use::Wait`], then [`Session::hold`] the rest.
    pub fn consume(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Use {
        match self.state.name() {
            Name::AwaitHeader if data.is_empty() => Use::Wait,
            Name::AwaitHeader => self.decode_head(data, cx),
            Name::ReceivingBody => self.receive(data, cx),
            Name::Discarding if data.is_empty() => Use::Wait,
            Name::Discarding => self.discard(data, cx),
            Name::Lingering if data.is_empty() => Use::Wait,
            Name::Lingering => self.linger(data.len(), cx),
            _ => Use::Wait,
        }
    }

    /// Bytes were held and nobody has looked at them since something changed.
    pub fn has_unseen(&self) -> bool {
        !self.work.inbox.is_empty() && self.appetite == Appetite::Unseen
    }

    /// Takes the bytes that are held, to show them again in front of new ones.
    pub fn take_held(&mut self) -> Vec<u8> {
        if self.work.inbox.is_empty() { Vec::new() } else { std::mem::take(&mut self.work.inbox) }
    }

    /// Keeps the bytes that [`Session::consume`] could not use. A part of a head costs what it
    /// holds, not its limit.
    pub fn hold(&mut self, rest: &[u8]) {
        self.keep(rest.to_vec());
    }

    /// As [`Session::hold`], for bytes that are held already and did not change their place.
    pub fn keep(&mut self, held: Vec<u8>) {
        debug_assert!(self.work.inbox.is_empty(), "held bytes would be lost");
        // Nobody will look at what came behind the end.
        if !held.is_empty() && !matches!(self.state, State::Done { .. }) {
            self.work.inbox = held;
        }
    }

    /// Is a message awaited of which more is here than a head may have?
    pub fn is_gathering(&self, limits: &Limits) -> bool {
        matches!(self.state, State::AwaitHeader { .. }) && self.work.inbox.len() >= limits.head_len_max
    }

    /// The peer moved bytes to us.
    pub fn arrived(&mut self, n: usize, cx: &Cx<'_>) {
        self.active = cx.now;
        if let State::ReceivingBody(receiving) = &mut self.state {
            receiving.pace.moved(n);
        }
    }

    /// A small upload: collected first, stored in one operation.
    pub(super) fn begin_whole(&mut self, put: Put, cx: &mut Cx<'_>) {
        let Some(chunk) = self.take_chunk(cx) else {
            return self.fail_inside("a slot without a chunk", cx);
        };
        self.begin_receive(Target::Whole(chunk), put, cx);
    }

    /// A large upload: its staging file is there.
    pub(super) fn begin_file(&mut self, file: FileId, put: Put, cx: &mut Cx<'_>) {
        self.begin_receive(Target::File(file), put, cx);
    }

    fn begin_receive(&mut self, target: Target, put: Put, cx: &mut Cx<'_>) {
        let action = self.with_protocol(cx, |protocol, context| protocol.answered(Ok(Answer::Created), context));
        if action != Action::Receive {
            self.drop_target(target, cx);
            return self.apply(action, cx);
        }
        let receiving = Receiving {
            target,
            upload: Upload::new(put.len, cx.limits.request_bytes_max),
            hasher: Hasher::new(put.hash),
            flush: Flush::Idle(0),
            pace: Pace::new(cx.now, cx.limits.rate_window),
            put,
        };
        self.set_state(State::ReceivingBody(Box::new(receiving)), cx);
        // A body of no bytes is complete already, and no byte will come to say so.
        let _ = self.receive(&[], cx);
        self.appetite = Appetite::Unseen;
    }

    fn receive(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Use {
        let State::ReceivingBody(receiving) = &mut self.state else { return Use::Wait };
        let room = receiving.room(self.work.credits, cx);
        let part = match self.dialect.protocol().body(data, room) {
            Ok(part) => part,
            Err(failure) => return self.fail_upload(failure, failure.words(), cx),
        };
        let State::ReceivingBody(receiving) = &mut self.state else { return Use::Wait };
        let content = &data[part.skip..part.skip + part.payload];
        let offset = match receiving.upload.launch(content.len()) {
            Ok(offset) => offset,
            Err(failure) => {
                self.fail_upload(failure, "the body is longer than allowed", cx);
                // The dialect has stepped over these bytes: it must not see them again.
                return Use::Took(part.skip + part.payload);
            }
        };
        receiving.hasher.update(content);
        let used = match &mut receiving.target {
            Target::Whole(chunk) => {
                let held = chunk.fill(content);
                debug_assert_eq!(held, content.len(), "an upload this small fits its chunk");
                receiving.upload.settle(content.len());
                Use::Took(part.skip + part.payload)
            }
            Target::File(_) if content.is_empty() => Use::Took(part.skip),
            Target::File(file) => Use::Content { skip: part.skip, len: content.len(), file: *file, offset },
        };
        self.count_bytes(part.payload as u64);
        cx.counters.bytes_in += part.payload as u64;
        match part.then {
            Then::End => self.body_is_complete(cx),
            Then::Wait if used == Use::Took(0) => {
                self.appetite = Appetite::Hungry;
                return Use::Wait;
            }
            Then::Look if used == Use::Took(0) => {
                // There is no room for these: they come before whatever is at the socket.
                self.appetite = Appetite::Unseen;
                return Use::Wait;
            }
            Then::Wait | Then::Look => {}
        }
        used
    }

    /// The body is complete; the last of it may still have to be written.
    pub(super) fn body_is_complete(&mut self, cx: &mut Cx<'_>) {
        match self.take_state() {
            State::ReceivingBody(receiving) => {
                self.body_came(cx.now);
                self.set_state(State::Settling(receiving), cx);
                self.settle(cx);
            }
            other => self.state = other,
        }
    }

    /// Is this file still being written? Not any more if what followed its content broke the
    /// upload.
    pub fn receives(&self, file: FileId) -> bool {
        match &self.state {
            State::ReceivingBody(receiving) | State::Settling(receiving) => {
                matches!(receiving.target, Target::File(target) if target == file)
            }
            _ => false,
        }
    }

    /// Bytes of the body of an upload that were received so far.
    pub fn body_received(&self) -> u64 {
        match &self.state {
            State::ReceivingBody(receiving) | State::Settling(receiving) => receiving.upload.launched(),
            _ => 0,
        }
    }

    /// The name whose new content has come in full, while its last writes end.
    pub fn settles(&self) -> Option<&Key> {
        match &self.state {
            State::Settling(receiving) => Some(&receiving.put.key),
            _ => None,
        }
    }

    /// May a change of a name still be under way? Operations that outlive the upload included.
    pub fn is_changing(&self) -> bool {
        matches!(self.state, State::Settling(_)) || self.has_ops()
    }

    /// Content was written from the loop itself.
    pub fn stored(&mut self, len: usize, cx: &mut Cx<'_>) {
        if let State::ReceivingBody(receiving) | State::Settling(receiving) = &mut self.state {
            receiving.upload.settle(len);
            self.work.ops.extend(receiving.flush_due(cx));
        }
        self.settle(cx);
    }

    /// Content cannot be written now: it is copied into chunks on its way to the disk workers.
    /// Pieces that follow each other share a chunk while that has not been submitted.
    pub fn hand_over(&mut self, file: FileId, mut offset: u64, mut content: &[u8], cx: &mut Cx<'_>) {
        if let Some(Op::Write { file: before, offset: start, chunk }) = self.work.ops.back_mut()
            && *before == file
            && *start + chunk.len() as u64 == offset
        {
            let held = chunk.fill(content);
            offset += held as u64;
            content = &content[held..];
        }
        while !content.is_empty() {
            let Some(mut chunk) = self.take_chunk(cx) else {
                return self.fail_inside("more content than there was room for", cx);
            };
            let held = chunk.fill(content);
            self.work.ops.push_back(Op::Write { file, offset, chunk });
            offset += held as u64;
            content = &content[held..];
        }
    }

    /// Content could not be written.
    pub fn store_failed(&mut self, error: &StoreError, cx: &mut Cx<'_>) {
        self.fail_upload(error.failure, &error.cause(), cx);
    }

    /// `Write` or `Flush` ended.
    pub(super) fn body_completed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        let written = done.chunk.as_ref().map_or(0, Chunk::len);
        self.give_back(done.chunk, cx);
        let (State::ReceivingBody(receiving) | State::Settling(receiving)) = &mut self.state else { return };
        receiving.pace.store_ended(cx.now);
        match done.result {
            Ok(Outcome::Written) => receiving.upload.settle(written),
            Ok(Outcome::Flushed) => {
                if let Flush::Running(to) = receiving.flush {
                    receiving.flush = Flush::Idle(to);
                }
            }
            Ok(_) => {}
            Err(error) => {
                self.fail_upload(error.failure, &error.cause(), cx);
                return;
            }
        }
        self.active = cx.now;
        self.appetite = Appetite::Unseen;
        self.settle(cx);
    }

    /// When every write has ended: verify, then commit.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        let State::Settling(receiving) = &mut self.state else { return };
        if !receiving.upload.is_settled() || self.in_flight > 0 || !self.work.ops.is_empty() {
            return;
        }
        let digest = receiving.hasher.finish();
        let finish = match self.dialect.protocol().finish(digest) {
            Ok(finish) => finish,
            Err(failure) => {
                self.fail_upload(failure, failure.words(), cx);
                return;
            }
        };
        let State::Settling(receiving) = self.take_state() else { return };
        let Receiving { mut put, target, upload, .. } = *receiving;
        put.key = finish.key.unwrap_or(put.key);
        self.work.ops.push_back(match target {
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
        self.set_state(State::Committing, cx);
    }

    /// An upload fails: nothing of it stays, the peer is told, its body may still be on its way.
    pub(super) fn fail_upload(&mut self, failure: Failure, cause: &str, cx: &mut Cx<'_>) -> Use {
        match self.take_state() {
            State::ReceivingBody(receiving) | State::Settling(receiving) => {
                self.drop_target(receiving.target, cx);
                self.refuse(failure, cause, cx);
            }
            other => self.state = other,
        }
        Use::Took(0)
    }

    pub(super) fn drop_target(&mut self, target: Target, cx: &mut Cx<'_>) {
        // Writes that were never submitted would only delay the end.
        while let Some(op) = self.work.ops.pop_front() {
            if let Op::Write { chunk, .. } = op {
                self.give_back([chunk], cx);
            }
        }
        match target {
            Target::Whole(chunk) => self.give_back([chunk], cx),
            Target::File(file) => self.work.ops.push_back(Op::Abort { file }),
        }
    }

    pub(super) fn begin_discard(&mut self, cx: &mut Cx<'_>) {
        if self.dialect.protocol_ref().body_left() > cx.limits.discard_bytes_max {
            return self.apply(Action::Close(CloseReason::Refused), cx);
        }
        self.set_state(State::Discarding { left: cx.limits.discard_bytes_max }, cx);
        let _ = self.discard(&[], cx);
        self.appetite = Appetite::Unseen;
    }

    fn discard(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Use {
        let State::Discarding { left } = &mut self.state else { return Use::Wait };
        let Ok(part) = self.dialect.protocol().body(data, usize::MAX) else {
            self.apply(Action::Close(CloseReason::Refused), cx);
            return Use::Took(0);
        };
        let used = part.skip + part.payload;
        match left.checked_sub(used as u64) {
            Some(rest) => *left = rest,
            None => {
                self.apply(Action::Close(CloseReason::Refused), cx);
                return Use::Took(used);
            }
        }
        match part.then {
            Then::End => self.apply(Action::Next, cx),
            Then::Wait if used == 0 => {
                self.appetite = Appetite::Hungry;
                return Use::Wait;
            }
            Then::Wait | Then::Look => {}
        }
        Use::Took(used)
    }
}

impl Receiving {
    /// The early write-back to ask for now. Not while the last bytes settle: the commit follows.
    fn flush_due(&mut self, cx: &Cx<'_>) -> Option<Op> {
        let Target::File(file) = self.target else { return None };
        let (offset, len) = self.flush.due(self.upload.launched(), cx.disk.flush_window?)?;
        self.flush = Flush::Running(offset + len);
        Some(Op::Flush { file, offset, len })
    }

    /// How many bytes of content may come now.
    fn room(&mut self, credits: usize, cx: &Cx<'_>) -> usize {
        let behind = cx.disk.flush_window.is_some_and(|window| self.flush.is_behind(self.upload.launched(), window));
        let room = match (&self.target, cx.disk.pace) {
            (Target::Whole(_), _) => usize::MAX,
            (Target::File(_), _) if behind => 0,
            (Target::File(_), DiskPace::KeepsUp) => usize::MAX,
            (Target::File(_), DiskPace::Lags) => credits * cx.pool.chunk_bytes(),
        };
        if room == 0 {
            self.pace.store_began(cx.now);
        }
        room
    }
}
