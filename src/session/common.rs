//! What a session has in every state: its dialect, buffers, slot and clocks, and what several states do alike.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::access::Caller;
use crate::buffer::Chunk;
use crate::config::Limits;
use crate::dialect::asked::Asked;
use crate::dialect::{AnyProtocol, Context, GuessLimit, Kind, Protocol, TrustedProxy};
use crate::error::{CloseReason, Failure};
use crate::ids::{ClientAddress, FileId};
use crate::object::Key;
use crate::platform::Op;
use crate::session::arrival::PeerRole;
use crate::session::cx::Cx;
use crate::session::report::{Forwarded, Report, Request};
use crate::session::request_data::LazyRequestData;
use crate::session::state::{Done, Name, State};
use crate::session::step::Step;

#[derive(Debug)]
pub(super) struct Common {
    pub dialect: AnyProtocol,
    pub peer: SocketAddr,
    /// Under which the connection is counted.
    counted_as: Kind,
    /// The present state.
    pub name: Name,
    /// True if the dialect may decide again about the bytes that are held: they are new, or something changed.
    pub is_unseen: bool,
    pub in_flight: u8,
    /// Shown on this connection so far.
    pub wrong_secrets: u8,
    pub peer_role: PeerRole,
    pub data: LazyRequestData,
    /// When the state was entered.
    pub entered: Instant,
    /// When the peer last moved a byte.
    pub active: Instant,
}

impl Common {
    pub(super) fn new(
        name: Name,
        dialect: AnyProtocol,
        peer: SocketAddr,
        peer_role: PeerRole,
        cx: &mut Cx<'_>,
    ) -> Self {
        let counted_as = dialect.kind();
        cx.counters.open += 1;
        cx.counters.states[name as usize] += 1;
        cx.counters.dialects[counted_as as usize] += 1;
        Self {
            dialect,
            peer,
            counted_as,
            name,
            is_unseen: false,
            in_flight: 0,
            wrong_secrets: 0,
            peer_role,
            data: LazyRequestData::default(),
            entered: cx.now,
            active: cx.now,
        }
    }

    /// What [`Common::new`] counted is over.
    pub(super) fn retire(&self, counters: &mut crate::counters::Counters) {
        counters.open -= 1;
        counters.states[self.name as usize] -= 1;
        counters.dialects[self.counted_as as usize] -= 1;
    }

    /// The only place where the state changes: checks the transition table, and moves the session to its new place
    /// in the counters.
    pub(super) fn enter(&mut self, next: &State, cx: &mut Cx<'_>) {
        let (from, to) = (self.name, next.name());
        debug_assert!(from == to || from.followers().contains(&to), "{from:?} must not become {to:?}");
        log::trace!(target: "filewharf::session", "{from:?} -> {to:?}");
        cx.counters.states[from as usize] -= 1;
        cx.counters.states[to as usize] += 1;
        self.name = to;
        if to != Name::AwaitSlot && self.data.slot.is_waiting() {
            self.stop_waiting(cx);
        }
        debug_assert!(to != Name::AwaitHeader || !self.owes(), "a reply would be overtaken");
        if to == Name::AwaitHeader && !self.data.caller.is_anybody() {
            // The next request has to prove its caller again.
            self.data.caller = Caller::ANYBODY;
        }
        if matches!(to, Name::AwaitHeader | Name::Done) && self.data.group.is_some() {
            self.leave_group(cx.groups);
        }
        if to != Name::Handshake {
            self.entered = cx.now; // a handshake has what is left of the time of the header
        }
        self.active = cx.now;
        self.is_unseen = true;
    }

    /// True while an operation is at the store, or on its way there.
    pub(super) fn has_ops(&self) -> bool {
        self.in_flight > 0 || !self.data.ops.is_empty()
    }

    /// True if bytes are held that the dialect has not decided about.
    pub(super) fn has_unseen(&self) -> bool {
        self.is_unseen && !self.data.inbox.is_empty()
    }

    /// True if the next request may be decoded: nothing of the last one is left at the store, and the peer reads
    /// our replies.
    pub(super) fn may_decode(&self, cx: &Cx<'_>) -> bool {
        !self.has_ops() && self.data.outbox.len() < cx.limits.fixed.reply_bytes_max
    }

    /// True if more is held than a head: a long message, or what came after one, is on the slot's account.
    pub(super) fn holds_long_input(&self, limits: &Limits) -> bool {
        self.data.inbox.len() >= limits.fixed.head_len_max
    }

    /// Takes the bytes that are held, to show them again in front of new ones.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        if self.data.inbox.is_empty() { Vec::new() } else { std::mem::take(&mut self.data.inbox) }
    }

    pub(super) fn keep(&mut self, held: Vec<u8>) {
        debug_assert!(self.data.inbox.is_empty(), "held bytes would be lost");
        // What came after the end is not needed.
        if !held.is_empty() && self.name != Name::Done {
            self.data.inbox = held;
        }
    }

    /// How many bytes may be read of a body of which at least `left` are still to come: half a head beyond its end.
    pub(super) fn body_intake(&self, room: usize, limits: &Limits) -> usize {
        if self.has_unseen() || room == 0 {
            return 0;
        }
        let left = usize::try_from(self.dialect.protocol_ref().body_left()).unwrap_or(usize::MAX);
        let ahead = (limits.fixed.head_len_max / 2).saturating_sub(self.data.inbox.len());
        left.min(room).saturating_add(ahead)
    }

    pub(super) fn take_chunk(&mut self, cx: &mut Cx<'_>) -> Option<Chunk> {
        self.data.slot.take_credit()?;
        Some(cx.pool.take())
    }

    pub(super) fn give_back(&mut self, chunks: impl IntoIterator<Item = Chunk>, cx: &mut Cx<'_>) {
        for chunk in chunks {
            self.data.slot.return_credit();
            cx.pool.give(chunk);
        }
    }

    /// Copies content into chunks on its way to the disk workers. Pieces that follow each other share a chunk while
    /// that has not been submitted. False if there are not enough chunks.
    pub(super) fn hand_over(&mut self, file: FileId, mut offset: u64, mut content: &[u8], cx: &mut Cx<'_>) -> bool {
        if let Some(Op::Write { file: before, offset: start, chunk }) = self.data.ops.back_mut()
            && *before == file
            && *start + chunk.len() as u64 == offset
        {
            let held = chunk.fill(content);
            offset += held as u64;
            content = &content[held..];
        }
        while !content.is_empty() {
            let Some(mut chunk) = self.take_chunk(cx) else { return false };
            let held = chunk.fill(content);
            self.data.ops.push_back(Op::Write { file, offset, chunk });
            offset += held as u64;
            content = &content[held..];
        }
        true
    }

    /// Writes that were never submitted would only delay the end. An upload that a reply is owed to is complete.
    pub(super) fn drop_writes(&mut self, cx: &mut Cx<'_>) {
        for op in std::mem::take(&mut self.data.ops) {
            match op {
                Op::Write { chunk, .. } => self.give_back([chunk], cx),
                Op::Store { .. } => self.data.ops.push_back(op),
                _ => {}
            }
        }
    }

    pub(super) fn close(&mut self, file: FileId) {
        self.data.ops.push_back(Op::Close { file });
    }

    /// Runs the dialect. What it refuses on its own is reported here.
    pub(super) fn with_protocol<R>(
        &mut self,
        cx: &mut Cx<'_>,
        run: impl FnOnce(&mut dyn Protocol, &mut Context<'_>) -> R,
    ) -> R {
        let (result, refused) = self.run_protocol(cx, run);
        if let Some(failure) = refused {
            let caller = self.data.caller.clone();
            self.data.request.get_or_insert_with(|| Request::new("request", Key::root(), caller, cx.now));
            self.report_failure(failure, failure.words(), cx);
        }
        result
    }

    /// Runs the dialect; also returns what it refused on its own.
    pub(super) fn run_protocol<R>(
        &mut self,
        cx: &mut Cx<'_>,
        run: impl FnOnce(&mut dyn Protocol, &mut Context<'_>) -> R,
    ) -> (R, Option<Failure>) {
        debug_assert!(cx.counters.agree(), "a dialect would send wrong figures: {:?}", cx.counters);
        let (client, mut notes) = (self.client(), Vec::new());
        let mut caller = std::mem::take(&mut self.data.caller);
        // Once the head is decoded, the caller of the request stays. Before, the certificate may expire at any time.
        if let (Name::AwaitHeader, Some(certificate)) = (self.name, cx.certificate) {
            caller = cx.access.certified(certificate, cx.wall_clock_s);
        }
        let is_from_proxy = self.peer_role == PeerRole::TrustedProxy;
        let guesses =
            (self.peer_role != PeerRole::Client).then_some(GuessLimit { guesses: &mut *cx.guesses, now: cx.now });
        let verdict = self.data.verdict.take();
        let retry_after_s = self.data.retry_after_s.take();
        let was_checked = verdict.is_some();
        let lock_tokens = self.data.lock_tokens.take();
        let connections = self.data.connections.take();
        let owes = self.owes();
        let data = &mut *self.data;
        let out = if owes { data.owed.later() } else { data.outbox.text() };
        let mut context = Context {
            out,
            key: data.request.as_ref().map(|request| &request.key),
            limits: cx.limits,
            access: cx.access,
            caller,
            dav_locks: cx.dav_locks,
            lock_tokens,
            client,
            proxy: is_from_proxy.then(|| TrustedProxy { address: self.peer.ip(), user: None }),
            guesses,
            phase: cx.phase,
            wall_clock_s: cx.wall_clock_s,
            counters: cx.counters,
            connections,
            wants_connections: false,
            refused: None,
            wrong_secret: false,
            verdict,
            retry_after_s,
            asked: None,
            status: None,
            notes: &mut notes,
        };
        let result = run(self.dialect.protocol(), &mut context);
        let Context { refused, wrong_secret, client, caller, lock_tokens, asked, status, wants_connections, .. } =
            context;
        (self.data.caller, self.data.lock_tokens) = (caller, lock_tokens);
        self.data.wants_connections |= wants_connections;
        let is_wrong = wrong_secret.then_some(was_checked);
        self.after_protocol((client, is_from_proxy), is_wrong, (asked, status), notes, cx);
        (result, refused)
    }

    /// Takes over what a dialect has found out. Not generic: the callers of that are many.
    fn after_protocol(
        &mut self,
        (client, is_from_proxy): (IpAddr, bool),
        wrong_secret_was_checked: Option<bool>,
        (asked, status): (Option<Arc<Asked>>, Option<u16>),
        notes: Vec<String>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(was_checked) = wrong_secret_was_checked {
            self.wrong_secrets = self.wrong_secrets.saturating_add(1);
            if !was_checked {
                cx.guesses.failed(ClientAddress::of_ip(client), cx.now, cx.limits);
            }
        }
        if is_from_proxy {
            self.identify(client, cx);
        }
        if asked.is_some() {
            (self.data.asked, self.data.bytes_logged) = (asked, 0);
        }
        self.data.status = status.or(self.data.status);
        let kind = self.dialect.kind();
        if kind != self.counted_as {
            // Only now has the peer shown what it speaks.
            cx.counters.dialects[self.counted_as as usize] -= 1;
            cx.counters.dialects[kind as usize] += 1;
            self.counted_as = kind;
        }
        cx.reports.extend(notes.into_iter().map(Report::Note));
    }

    /// The address of the client that sent the present request.
    pub(super) fn client(&self) -> IpAddr {
        self.data.forwarded.as_ref().map_or(self.peer.ip(), |from| from.0)
    }

    /// The share of what is kept that the present request counts in: that of the name, if one was proved.
    pub(super) fn owner(&self) -> ClientAddress {
        self.data.caller.name().map_or_else(|| ClientAddress::of_ip(self.client()), ClientAddress::of_name)
    }

    /// A trusted proxy sends requests of this client from now on.
    fn identify(&mut self, client: IpAddr, cx: &mut Cx<'_>) {
        match &self.data.forwarded {
            Some(from) if from.0 == client => return,
            Some(_) => self.report_segments(cx), // they were the last client's
            None => {}
        }
        self.data.forwarded = Some(Box::new(Forwarded(client)));
    }

    /// The deadline, or the end of the silence that the dialect waits for if that is sooner.
    pub(super) fn or_silence(&self, deadline: Instant) -> Instant {
        self.silent_at().map_or(deadline, |silent| silent.min(deadline))
    }

    /// When a silence of the peer is long enough to mean something to the dialect; `None` also while we do not
    /// listen.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let listens = !self.has_ops() && !self.has_unseen();
        let after = self.dialect.protocol_ref().quiet_after().filter(|_| listens)?;
        Some(self.data.silence_reported.map_or(self.active, |at| at.max(self.active)) + after)
    }

    /// [`Behavior::slot_rate`](crate::session::behavior::Behavior::slot_rate) where a message is gathered, or a long
    /// reply is read, which filled the slot at most.
    pub(super) fn held_rate(&self, since: Instant, now: Instant, limits: &Limits) -> Option<u64> {
        let time = now.saturating_duration_since(since);
        if self.has_ops() || time < limits.live.contention_wait {
            return None;
        }
        let moved = match self.data.outbox.len() {
            0 => self.data.inbox.len(),
            left => (limits.fixed.chunk_bytes * limits.fixed.chunks_per_slot).saturating_sub(left),
        };
        let rate = moved as u128 * 1000 / time.as_millis().max(1);
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// The peer does not read: what was sent must not look whole.
    pub(super) fn stop_sending(&mut self, cause: &'static str, cx: &mut Cx<'_>) -> Step {
        self.report_failure(Failure::TimedOut, cause, cx);
        Step::End(CloseReason::TooSlow, true)
    }

    /// A bug of ours: a debug build stops here, a release build ends this one conversation.
    pub(super) fn fail_inside(&mut self, what: &'static str, cx: &mut Cx<'_>) -> Step {
        debug_assert!(false, "{what}");
        log::error!("internal error: {what}");
        self.report_failure(Failure::Internal, what, cx);
        Step::End(CloseReason::Internal, true)
    }

    /// What is held for the peer is not needed any more.
    pub(super) fn drop_outbox(&mut self, cx: &mut Cx<'_>) {
        let mut chunks = Vec::new();
        self.data.outbox.clear(&mut chunks);
        self.give_back(chunks, cx);
    }

    /// Ends the conversation: what is held is dropped, chunks are given back.
    pub(super) fn end(&mut self, reason: CloseReason, is_reset: bool, cx: &mut Cx<'_>) -> State {
        self.report_segments(cx);
        self.drop_outbox(cx);
        if !self.data.owed.is_empty() {
            self.data.owed.abandon();
        }
        self.data.asked = None;
        self.data.inbox = Vec::new();
        State::Done(Done { reason, is_reset })
    }
}
