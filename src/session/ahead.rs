//! Requests that are decoded ahead of replies: while small uploads are at the store, the next small one of the connection
//! is received and follows them there. Their replies are sent in the order of the requests, in whatever order the store
//! ends. Everything else waits until they are sent.

use std::mem;

use crate::buffer::Chunk;
use crate::command::{Answer, Command, GoAhead};
use crate::dialect::Action;
use crate::error::{Failure, StoreError};
use crate::platform::{Completion, Outcome};
use crate::session::Session;
use crate::session::behavior::{Behavior, in_state};
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::owed::{Facts, Owed};
use crate::session::report::Forwarded;
use crate::session::request_data::OPS_KEPT;
use crate::session::state::{Committing, State};
use crate::session::step::Step;
use crate::session::view::Ops;

/// Small uploads of one connection under way at once: as many as our client sends without waiting.
const UPLOADS_MAX: usize = 32;
/// What each costs besides its content and its head: its entries, and its reply.
const UPLOAD_BYTES: usize = 2048;

impl Session {
    /// What is at the store, or on its way there.
    pub fn ops(&self) -> Ops {
        match self.common.has_ops() {
            true if self.common.has_own_ops() => Ops::Own,
            true => Ops::Owed,
            false => Ops::None,
        }
    }

    /// The operation of an upload ended to which a reply is owed: those are said that are next in order.
    pub(super) fn upload_ended(&mut self, done: Completion, cx: &mut Cx<'_>) {
        let common = &mut self.common;
        if let Some(content) = done.chunk {
            common.return_content(content, cx);
        }
        let result = match done.result {
            Ok(Outcome::Committed(stored)) => Ok(stored),
            Ok(_) => Err(StoreError::refused(Failure::Internal, "store")),
            Err(error) => Err(error),
        };
        common.data.owed.end(done.id.number, result);
        self.advance(cx, |state, common, cx| match common.say_owed(cx) {
            Some(action) => {
                in_state!(state, state => state.release(common, cx));
                Step::Obey(action)
            }
            None => in_state!(state, state => state.said_owed(common, cx)),
        });
    }
}

impl Common {
    /// True while replies are to be sent before anything that is said now.
    pub(super) fn owes(&self) -> bool {
        self.data.owed.is_due()
    }

    /// True while an operation is at the store, or on its way there, that is not of an upload to which a reply is owed.
    pub(super) fn has_own_ops(&self) -> bool {
        usize::from(self.in_flight) + self.data.ops.len() > self.data.owed.ops()
    }

    /// True if the next request may be decoded while replies are owed.
    pub(super) fn may_decode_ahead(&self, cx: &Cx<'_>) -> bool {
        let is_bounded = self.data.owed.len() < UPLOADS_MAX && self.data.ops.len() < OPS_KEPT;
        is_bounded && !self.data.owed.has_later() && self.data.outbox.len() < cx.limits.fixed.reply_bytes_max
    }

    /// True for what may begin while replies are owed: an upload so small that the slot has space for it. `head_len`: bytes
    /// of the head of its request. Where clients have limits, each request is counted once the one before is over.
    pub(super) fn may_begin_ahead(&self, action: &Action, head_len: usize, cx: &mut Cx<'_>) -> bool {
        let Action::Run(Command::Put(put)) = action else { return false };
        let chunk_bytes = cx.pool.chunk_bytes();
        let Some(len) = put.len.and_then(|len| usize::try_from(len).ok()).filter(|len| *len < chunk_bytes) else {
            return false;
        };
        let cost = self.data.owed.bytes() + len + UPLOAD_BYTES + Owed::head_bytes(head_len);
        put.go_ahead == GoAhead::NotAwaited
            && cost <= self.data.slot.credits() * chunk_bytes
            && !self.data.owed.has_later()
            && cx.slots.waiting() == 0
            && !cx.groups.is_limited()
            && self.data.slot.client() == Some(cx.groups.find(self.who(), cx.now))
    }

    /// Memory for the content of a small upload: a chunk of the slot, or a part of one while replies are owed.
    pub(super) fn take_content(&mut self, len: u64, cx: &mut Cx<'_>) -> Option<Chunk> {
        if self.owes() { usize::try_from(len).ok().map(Chunk::new) } else { self.take_chunk(cx) }
    }

    /// The same is free again.
    pub(super) fn return_content(&mut self, content: Chunk, cx: &mut Cx<'_>) {
        if content.size() == cx.pool.chunk_bytes() {
            self.give_back([content], cx);
        }
    }

    /// The body of a small upload is complete, and its operation follows. Its reply is owed from here on, if the dialect
    /// can say it later.
    pub(super) fn owe(&mut self, content: &Chunk, cx: &mut Cx<'_>) -> Committing {
        let is_chunk = content.size() == cx.pool.chunk_bytes();
        let may_owe = !cx.groups.is_limited() && !self.data.owed.has_later();
        let reply = if may_owe { self.dialect.protocol().defer() } else { None };
        let data = &mut *self.data;
        let Some(reply) = reply else {
            if !is_chunk {
                // The content is on the slot's account, as one of its chunks.
                let taken = data.slot.take_credit();
                debug_assert!(taken.is_some(), "an upload that began without a chunk left");
            }
            return Committing::Alone;
        };
        let facts = Facts {
            request: data.request.take(),
            caller: mem::take(&mut data.caller),
            forwarded: data.forwarded.as_ref().map(|from| Box::new(Forwarded(from.0))),
            lock_tokens: data.lock_tokens.take(),
            asked: data.asked.take(),
            status: data.status.take(),
        };
        data.owed.push(reply, facts, if is_chunk { 0 } else { content.size() + UPLOAD_BYTES });
        if self.data.group.is_some() {
            self.leave_group(cx.groups);
        }
        Committing::Owing
    }

    /// Says the replies that are next in order, as far as uploads have ended. The action if one of them ends the
    /// conversation: no other is owed then.
    fn say_owed(&mut self, cx: &mut Cx<'_>) -> Option<Action> {
        while let Some((mut upload, result)) = self.data.owed.pop_ended() {
            let later = mem::take(self.data.owed.later());
            self.swap(&mut upload.facts);
            let mut action = Action::Next;
            if let Some(mut reply) = upload.reply {
                let answer = result.as_ref().map(|stored| Answer::Stored(*stored)).map_err(|error| error.failure);
                action = self.run_protocol(cx, |_, context| reply.answered(answer, context)).0;
                // It was written there if another reply is owed.
                let said = mem::take(self.data.owed.later());
                self.data.outbox.text().extend_from_slice(&said);
            }
            match result {
                Ok(_) => self.report(Ok(()), cx),
                Err(error) => self.report_failure(error.failure, error.cause(), cx),
            }
            self.swap(&mut upload.facts);
            if action != Action::Next {
                self.data.owed.abandon();
                return Some(action);
            }
            if self.owes() {
                *self.data.owed.later() = later;
            } else if !later.is_empty() {
                self.data.outbox.text().extend_from_slice(&later);
            }
        }
        None
    }

    /// Exchanges what is known of the present request for that of another.
    fn swap(&mut self, facts: &mut Facts) {
        let data = &mut *self.data;
        mem::swap(&mut facts.request, &mut data.request);
        mem::swap(&mut facts.caller, &mut data.caller);
        mem::swap(&mut facts.forwarded, &mut data.forwarded);
        mem::swap(&mut facts.lock_tokens, &mut data.lock_tokens);
        mem::swap(&mut facts.asked, &mut data.asked);
        mem::swap(&mut facts.status, &mut data.status);
    }
}
