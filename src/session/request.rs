//! Between requests: decoding heads, obeying the dialect, starting commands, answers of the store
//! that need no body.

use crate::buffer::Chunk;
use crate::command::{Answer, Command, GoAhead, Put};
use crate::dialect::Action;
use crate::error::{CloseReason, Failure, StoreError};
use crate::platform::{Completion, Op, Outcome, Source};
use crate::session::receive::Use;
use crate::session::state::{Opening, Parting, State, Wanted};
use crate::session::{Appetite, Cx, Request, Session, Slot};

impl Session {
    /// May the next request be looked at? Only when nothing of the last one is left at the store,
    /// and the peer reads our replies.
    fn may_decode(&self, cx: &Cx<'_>) -> bool {
        !self.has_ops() && self.work.outbox.len() < cx.limits.reply_bytes_max
    }

    /// How many bytes to read while a head is awaited.
    pub(super) fn head_intake(&self, cx: &Cx<'_>) -> usize {
        let unseen = !self.work.inbox.is_empty() && self.appetite == Appetite::Unseen;
        if unseen || !self.may_decode(cx) {
            return 0;
        }
        let most = match self.slot {
            Slot::None => cx.limits.head_len_max,
            Slot::Held => self.dialect.message_len_max(cx.limits).max(cx.limits.head_len_max),
        };
        most.saturating_sub(self.work.inbox.len())
    }

    /// Looks for a request at the front of `data`.
    pub(super) fn decode_head(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Use {
        if !self.may_decode(cx) {
            return Use::Wait;
        }
        let wrong_secrets = self.wrong_secrets;
        let (used, mut action) = self.with_protocol(cx, |protocol, context| protocol.decode(data, context));
        if self.wrong_secrets != wrong_secrets {
            action = self.after_wrong_secret(action, cx);
        }
        if used == 0 && action == Action::More {
            return self.head_needs_more(data, cx);
        }
        if action == Action::Speak {
            self.dialect.speak();
            return Use::Took(0);
        }
        self.apply(action, cx);
        Use::Took(used)
    }

    /// The answer leaves at once; the next request of a peer that guesses is not read for a while.
    fn after_wrong_secret(&self, action: Action, cx: &Cx<'_>) -> Action {
        match action {
            Action::Next | Action::Discard if self.wrong_secrets >= cx.limits.wrong_secrets_max => {
                Action::Close(CloseReason::Refused)
            }
            Action::Next if self.wrong_secrets > cx.limits.wrong_secrets_free => {
                Action::Pause(cx.limits.wrong_secret_delay)
            }
            action => action,
        }
    }

    fn head_needs_more(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Use {
        self.appetite = Appetite::Hungry;
        let message_max = self.dialect.message_len_max(cx.limits);
        if data.len() >= cx.limits.head_len_max && data.len() < message_max {
            if self.slot == Slot::None {
                self.set_state(State::AwaitSlot(Box::new(Wanted::Gather)), cx);
            }
            return Use::Wait;
        }
        if data.len() >= cx.limits.head_len_max {
            // Every dialect refuses what is longer than its own limit; this keeps memory bounded
            // if one should not.
            self.refuse(Failure::Malformed("the request is too long"), "no end of the head within its limit", cx);
            if let State::AwaitHeader { .. } = self.state {
                // The same bytes would only be refused again, and again.
                self.apply(Action::Close(CloseReason::Malformed), cx);
            }
            return Use::Took(0);
        }
        if let State::AwaitHeader { since } = &mut self.state
            && !data.is_empty()
        {
            since.get_or_insert(cx.now);
        }
        Use::Wait
    }

    /// Obeys the dialect where no file is open.
    pub(super) fn apply(&mut self, action: Action, cx: &mut Cx<'_>) {
        match action {
            Action::More if matches!(self.state, State::AwaitHeader { .. }) => {}
            Action::More => self.set_state(State::AwaitHeader { since: None }, cx),
            Action::Run(command) => self.start(command, cx),
            Action::Next => self.next_request(cx),
            Action::Store(put, content) => self.start_store(put, content, cx),
            Action::Pause(delay) => self.begin_pause(None, delay, cx),
            Action::Continue(command) => {
                self.set_state(State::SendingPart(Box::new(command)), cx);
                self.next_part(cx);
            }
            Action::Discard => self.begin_discard(cx),
            Action::Close(reason) => {
                if reason == CloseReason::Finished {
                    self.report(Ok(()), cx);
                }
                self.set_state(State::SendingReply(reason), cx);
            }
            Action::Reset(reason) => self.end(reason, Parting::Reset, cx),
            Action::Receive | Action::Send { .. } | Action::Speak => {
                self.fail_inside("a dialect wanted what only fits another moment", cx);
            }
        }
    }

    /// Tells the peer about a failure that has been reported, and does what the dialect then
    /// wants.
    pub(super) fn refuse(&mut self, failure: Failure, cause: &str, cx: &mut Cx<'_>) {
        self.report_failure(failure, cause, cx);
        let (action, _) = self.run_protocol(cx, |protocol, context| protocol.answered(Err(failure), context));
        self.apply(action, cx);
    }

    fn refuse_store(&mut self, error: &StoreError, cx: &mut Cx<'_>) {
        self.refuse(error.failure, &error.cause(), cx);
    }

    fn next_request(&mut self, cx: &mut Cx<'_>) {
        self.report(Ok(()), cx);
        self.set_state(State::AwaitHeader { since: None }, cx);
    }

    /// Opens the report of a request, and asks whether it is allowed.
    fn permits(&mut self, command: &Command, cx: &Cx<'_>) -> Result<(), Failure> {
        if self.work.request.is_none() {
            let (word, key) = (command.word(), command.key().clone());
            self.work.request = Some(Request::new(word, key, cx.now));
        }
        cx.access.permits(command)
    }

    fn start_store(&mut self, put: Put, content: Vec<u8>, cx: &mut Cx<'_>) {
        if let Err(failure) = self.permits(&Command::Put(put.clone()), cx) {
            return self.refuse(failure, failure.words(), cx);
        }
        self.body_came(cx.now);
        self.count_bytes(content.len() as u64);
        cx.counters.bytes_in += content.len() as u64;
        self.set_state(State::AwaitSlot(Box::new(Wanted::Store(put, content))), cx);
    }

    fn start(&mut self, command: Command, cx: &mut Cx<'_>) {
        if let Err(failure) = self.permits(&command, cx) {
            return self.refuse(failure, failure.words(), cx);
        }
        let op = match command {
            // Also who still has a slot asks anew: a client that pipelines must not keep it from
            // those in line.
            Command::Put(_) | Command::List { .. } => {
                return self.set_state(State::AwaitSlot(Box::new(Wanted::Command(command))), cx);
            }
            Command::Get { key } => {
                self.work.ops.push_back(Op::Open { key });
                return self.set_state(State::Opening(Opening::Open), cx);
            }
            Command::Stat { key } => Op::Stat { key },
            Command::Delete { key, expected_kind, precondition } => Op::Delete { key, expected_kind, precondition },
            Command::MakeDir { key } => Op::MakeDir { key },
            Command::Rename { from, to, precondition } => Op::Rename { from, to, precondition },
        };
        self.work.ops.push_back(op);
        self.set_state(State::Executing, cx);
    }

    fn start_put(&mut self, put: Put, cx: &mut Cx<'_>) {
        let small = put.len.is_some_and(|len| len <= cx.pool.chunk_bytes() as u64);
        if small && put.go_ahead == GoAhead::NotAwaited {
            return self.begin_whole(put, cx);
        }
        self.work.ops.push_back(Op::Create(put.clone()));
        self.set_state(State::Opening(Opening::Create(Box::new(put))), cx);
    }

    /// Asks for what follows once a part of a reply has left. Also for that it waits in line: a client that
    /// reads slowly must not keep the slot of a long reply from others.
    pub(super) fn next_part(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::SendingPart(_)) || !self.work.outbox.is_empty() {
            return;
        }
        if let State::SendingPart(command) = self.take_state() {
            self.set_state(State::AwaitSlot(Box::new(Wanted::Command(*command))), cx);
        }
    }

    /// A slot is ours.
    pub fn granted(&mut self, cx: &mut Cx<'_>) {
        debug_assert!(cx.counters.slots_used > 0, "a slot that is not counted");
        self.slot = Slot::Held;
        self.work.credits = cx.limits.chunks_per_slot;
        match self.take_state() {
            State::AwaitSlot(wanted) => match *wanted {
                Wanted::Command(Command::Put(put)) => self.start_put(put, cx),
                Wanted::Command(Command::List { key, after, limit }) => {
                    let bytes_max = cx.limits.chunk_bytes * cx.limits.chunks_per_slot;
                    self.work.ops.push_back(Op::List { key, after, limit, bytes_max });
                    self.set_state(State::Executing, cx);
                }
                Wanted::Command(command) => self.start(command, cx),
                Wanted::Gather => self.set_state(State::AwaitHeader { since: Some(cx.now) }, cx),
                Wanted::Store(put, content) => {
                    // The content is on the slot's account, as one of its chunks.
                    self.work.credits -= 1;
                    self.work.ops.push_back(Op::Store { put, chunk: Chunk::holding(content) });
                    self.set_state(State::Committing, cx);
                }
                Wanted::Download { file, meta } => self.begin_send(file, meta, Source::Held, cx),
                Wanted::Resume(sending) => self.resume_send(sending, cx),
            },
            other => {
                debug_assert!(false, "a slot for a session that wanted none");
                self.state = other;
            }
        }
    }

    /// No slot for it, and `why`: for the log.
    pub fn not_granted(&mut self, why: &str, cx: &mut Cx<'_>) {
        let wanted = match self.take_state() {
            State::AwaitSlot(wanted) => *wanted,
            other => {
                self.state = other;
                return;
            }
        };
        match wanted {
            Wanted::Command(_) | Wanted::Gather | Wanted::Store(..) => {}
            Wanted::Download { file, .. } => self.work.ops.push_back(Op::Close { file }),
            Wanted::Resume(sending) => {
                self.work.ops.push_back(Op::Close { file: sending.file });
                self.report_failure(Failure::Busy, why, cx);
                return self.end(CloseReason::SlotTimeout, Parting::Reset, cx);
            }
        }
        self.refuse(Failure::Busy, why, cx);
    }

    /// `Create` or `Open` ended.
    pub(super) fn opened(&mut self, done: Completion, cx: &mut Cx<'_>) {
        self.give_back(done.chunk, cx);
        let State::Opening(opening) = &mut self.state else { return };
        match (done.result, opening) {
            (Ok(Outcome::Created(file)), Opening::Create(put)) => {
                let put = Put::clone(put);
                self.begin_file(file, put, cx);
            }
            (Ok(Outcome::Opened { file, meta, source }), Opening::Open) => {
                if source == Source::Held && self.slot == Slot::None {
                    let wanted = Box::new(Wanted::Download { file, meta });
                    self.set_state(State::AwaitSlot(wanted), cx);
                } else {
                    self.begin_send(file, meta, source, cx);
                }
            }
            (Err(error), _) => self.refuse_store(&error, cx),
            // An `Abort` or `Close` of the request before this one.
            (Ok(_), _) => {}
        }
    }

    /// A command without a body ended.
    pub(super) fn executed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        self.give_back(done.chunk, cx);
        let answer = match done.result {
            Ok(Outcome::Listed(listing)) => Answer::Listed(listing),
            Ok(Outcome::Found(node)) => Answer::Found(node),
            Ok(Outcome::Deleted | Outcome::Made | Outcome::Renamed) => Answer::Done,
            Ok(_) => return,
            Err(error) => return self.refuse_store(&error, cx),
        };
        let action = self.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context));
        if let Action::Run(_) | Action::Store(..) = action {
            // What the dialect asks for next has a line of its own in the log.
            self.report(Ok(()), cx);
        }
        self.apply(action, cx);
    }

    /// `Commit` or `Store` ended.
    pub(super) fn committed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        self.give_back(done.chunk, cx);
        match done.result {
            Ok(Outcome::Committed(stored)) => {
                self.report(Ok(()), cx);
                let answer = Answer::Stored(stored);
                let action = self.with_protocol(cx, |protocol, context| protocol.answered(Ok(answer), context));
                self.apply(action, cx);
            }
            Ok(_) => {}
            Err(error) => self.refuse_store(&error, cx),
        }
    }
}
