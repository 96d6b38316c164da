//! One connection from accept to end: the state machine of the server.
//!
//! Pure: a session never does I/O and never asks the time; both are in the [`Cx`] of each call. This is the whole
//! driving contract:
//!
//! * [`Session::new`] begins it in its first state. [`Session::tell`] tells it each [`Event`].
//! * Before the first request, [`Peer::arrival`] says what it waits for. What becomes of that is told as an
//!   [`Event::Arrival`], and [`Event::Opened`] once the next bytes are those of the client's dialect.
//! * [`Session::poll`] returns one [`Want`] after the other, in the order of a [`Pass`] (`Pass::new`). As long as a pass
//!   got anything done, another one follows it. What cannot be done now is wanted again in the next pass.
//! * For [`Want::Receive`], `take_held` returns the bytes that are held. If [`Session::held`] has unseen ones, these are
//!   shown to [`Session::consume`]; else at most [`Session::intake`] new ones are appended, and told as
//!   [`Event::Arrived`] before. `consume` is called until it waits; [`Session::hold`] keeps what is left.
//! * For [`Want::Send`], the bytes of the [`Session::outbox`] go before those of a file.
//! * For [`Want::Slot`], [`Event::AsksForSlot`] is given, and once nothing is at the store ([`Session::ops`]),
//!   [`Session::ask_for_slot`] is called.
//! * Before bytes move and before a slot is asked for, the bucket that [`Session::paced_by`] names must admit it; its
//!   bytes and operations are those of [`Session::owner`].
//! * At the end of a drive, [`Session::ended`] says whether the socket is to be closed. [`Session::rest`] gives back what
//!   is not needed any more, and is true once the entry of the connection is free. Until then [`Session::deadline`] says
//!   when [`Event::TimedOut`] is due.
//! * [`Session::state`], `peer`, `is_bulk`, `load`, `upload`, `slot_rate` and `holdings` only look.
//!
//! ```text
//! from a proxy     ProxyHeader ─▶ AwaitHeader
//! encrypted        Handshake ─▶ AwaitHeader
//! both             ProxyHeader ─▶ Handshake ─▶ AwaitHeader
//! download         AwaitHeader ─▶ Opening ─▶ SendingBody ─▶ AwaitHeader
//! upload           AwaitHeader ─▶ Opening ─▶ ReceivingBody ─▶ FinishingWrites ─▶ Committing ─▶ AwaitHeader
//! part of upload   ReceivingBody ─▶ FinishingWrites ─▶ Saving ─▶ AwaitHeader
//! part refused     AwaitHeader ─▶ Opening ─▶ Saving ─▶ AwaitHeader
//! small upload     AwaitHeader ─▶ ReceivingBody ─▶ FinishingWrites ─▶ Committing ─▶ AwaitHeader
//! more of them     Committing ─▶ ReceivingBody ─▶ FinishingWrites ─▶ Committing ─▶ AwaitHeader
//! other command    AwaitHeader ─▶ Executing ─▶ AwaitHeader
//! copy             AwaitHeader ─▶ Copying ─▶ AwaitHeader
//! long reply       Executing ─▶ SendingPart ─▶ Executing
//! metrics          AwaitHeader ─▶ SendingPart ─▶ AwaitHeader
//! archive          Executing ─▶ SendingPart ─▶ Opening ─▶ SendingBody ─▶ SendingPart ─▶ Executing
//! new password     AwaitHeader ─▶ Verifying ─▶ AwaitHeader
//! no free slot     AwaitHeader ─▶ AwaitSlot ─▶ Opening
//! cold file        SendingBody ─▶ AwaitSlot ─▶ SendingBody
//! slow disk        ReceivingBody ─▶ AwaitSlot ─▶ ReceivingBody
//! legacy dialects  Committing ─▶ Pausing ─▶ AwaitHeader
//! refused upload   AwaitHeader ─▶ Discarding ─▶ AwaitHeader
//! end              AwaitHeader ─▶ SendingReply ─▶ Lingering ─▶ Done
//! ```
//!
//! [`state::Name::followers`] has every transition. `state` has the data of each state, `states` what each does, in a
//! file of its own, and `behavior` the events. An event takes the state by value and returns a `Step`, which
//! [`Session`] carries out: so no state calls another.
#![allow(missing_docs, reason = "internal: only the reactor drives sessions")]

mod accepted;
mod actions;
mod ahead;
mod arrival;
mod behavior;
mod common;
mod cx;
mod driving;
mod event;
mod min_rate;
mod owed;
mod pacing;
mod permission;
mod report;
mod reporting;
mod request_data;
mod slots;
pub mod state;
mod states;
mod step;
mod view;
mod want;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Instant;

use crate::buffer::Outbox;
use crate::config::Limits;
use crate::dialect::AnyProtocol;
use crate::error::{CloseReason, Failure, StoreError};
use crate::ids::FileId;
use crate::platform::{Completion, Op};
use behavior::{Behavior, in_state};
use common::Common;
use request_data::LazyRequestData;
use state::{
    AfterSaving, Committing, Done, FinishingWrites, Lingering, Name, Saving, SendingReply, SlotRequest, State, Supply,
    Target,
};
use step::Step;

pub use arrival::{Arrival, ArrivalEvent, PeerRole};
pub use cx::{Cx, Disk, DiskPace};
pub use event::Event;
pub use report::{Answer, Ended, Report, RequestError};
pub use request_data::RequestDataPool;
pub use step::{Consumed, Outgoing};
pub use view::{Held, Holdings, Load, Ops, Owner, Peer, UploadView};
pub use want::{Pass, SlotAnswer, Want};

/// One connection's conversation.
#[derive(Debug)]
pub struct Session {
    state: State,
    common: Common,
}

impl Session {
    /// A connection has been accepted: it begins in this state.
    pub fn new(first: State, dialect: AnyProtocol, peer: SocketAddr, peer_role: PeerRole, cx: &mut Cx<'_>) -> Self {
        let common = Common::new(first.name(), dialect, peer, peer_role, cx);
        Self { state: first, common }
    }

    /// Tells the present state about an event, and does what follows until a state continues.
    fn advance(&mut self, cx: &mut Cx<'_>, event: impl FnOnce(State, &mut Common, &mut Cx<'_>) -> Step) {
        // What stands here meanwhile is never seen.
        let state = std::mem::replace(&mut self.state, State::Executing(state::Executing::Tell));
        let step = event(state, &mut self.common, cx);
        self.state = match step {
            Step::Stay(state) => state,
            step => self.common.follow(step, cx),
        };
        debug_assert_eq!(self.state.name(), self.common.name, "a state that was not entered");
    }

    /// Ends the connection from outside.
    fn end(&mut self, reason: CloseReason, is_reset: bool, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.end(reason, is_reset, common, cx)));
    }

    pub const fn state(&self) -> Name {
        self.common.name
    }

    // Called all the time for one or two of these, so the others must cost nothing.
    #[inline]
    pub fn peer(&self) -> Peer<'_> {
        let Common { dialect, peer, peer_role, data, entered, .. } = &self.common;
        let is_admitted = !dialect.is_turned_away();
        let is_client = matches!(peer_role, PeerRole::Client | PeerRole::LimitedClient);
        let (request, caller) = match (&data.request, data.owed.first()) {
            (None, Some(facts)) => (&facts.request, &facts.caller),
            (request, _) => (request, &data.caller),
        };
        Peer {
            address: *peer,
            speaks: dialect.kind(),
            is_admitted,
            role: *peer_role,
            has_share: is_admitted && is_client,
            arrival: self.arrival(),
            user: caller.name().unwrap_or_default(),
            entered: *entered,
            request: request.as_ref().map(|request| (request.bytes, request.began)),
        }
    }

    // The peer's bytes.

    /// How many bytes to read from the socket now; 0 means: do not read. This is the back-pressure.
    pub fn intake(&mut self, cx: &Cx<'_>) -> usize {
        in_state!(&mut self.state, state => state.intake(&self.common, cx))
    }

    /// Bytes arrived, or those that are held may be of use now: uses what it can of the front of `data`. Call until
    /// it returns [`Consumed::Wait`], then [`Session::hold`] the rest.
    pub fn consume(&mut self, data: &[u8], cx: &mut Cx<'_>) -> Consumed {
        let mut consumed = Consumed::Wait;
        self.advance(cx, |state, common, cx| {
            let step;
            (step, consumed) = in_state!(state, state => state.consume(data, common, cx));
            step
        });
        if self.common.dialect.kind().traits().decodes_slowly {
            cx.meter.enter(self.common.dialect.protocol().take_work());
        }
        consumed
    }

    /// The bytes that are held.
    pub fn held(&self) -> Held {
        Held { len: self.common.data.inbox.len(), is_unseen: self.common.has_unseen() }
    }

    /// Takes the bytes that are held, to show them again before new ones.
    pub fn take_held(&mut self, cx: &mut Cx<'_>) -> Vec<u8> {
        self.common.data.begin(cx.spare);
        self.common.take_held()
    }

    /// Keeps the bytes that [`Session::consume`] could not use. A part of a head costs what it holds, not its limit.
    pub fn hold(&mut self, rest: Vec<u8>) {
        self.common.keep(rest);
    }

    /// True while no part of a message of the peer is here or on its way.
    fn is_between_messages(&self) -> bool {
        self.common.data.inbox.is_empty() && !matches!(self.common.name, Name::ReceivingBody)
    }

    /// `n` bytes were received; `is_all` as in [`Event::Arrived`].
    fn arrived(&mut self, n: usize, is_all: bool, cx: &mut Cx<'_>) {
        self.common.active = cx.now;
        if self.common.name == Name::AwaitHeader {
            self.common.pay_for_request(cx);
        }
        if let State::ReceivingBody(receiving) = &mut self.state {
            receiving.min_rate.received(n, is_all);
        }
    }

    /// The peer's stream ended.
    fn received_eof(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.received_eof(common, cx)));
    }

    /// Nothing more can be done for the peer, though it may have sent all it wanted: to one that gets no answer, a
    /// plain end would mean success.
    fn given_up(&mut self, cause: &str, cx: &mut Cx<'_>) {
        self.cut_off(CloseReason::Internal, cause, true, cx);
    }

    fn cut_off(&mut self, reason: CloseReason, cause: &str, is_reset: bool, cx: &mut Cx<'_>) {
        if self.common.name != Name::Done {
            // A commit that is under way is reported when it ends.
            if !matches!(self.state, State::Committing(Committing::Alone)) {
                self.common.report_failure(Failure::Internal, format!("{reason}: {cause}"), cx);
            }
            self.end(reason, is_reset, cx);
        }
    }

    // Content of an upload.

    /// The upload under way.
    pub fn upload(&self) -> UploadView<'_> {
        let (receiving, completes) = match &self.state {
            State::ReceivingBody(receiving) => (receiving, false),
            State::FinishingWrites(FinishingWrites(receiving)) => (receiving, receiving.completes()),
            State::AwaitSlot(request) => match &**request {
                SlotRequest::ResumeUpload(receiving) => (receiving, false),
                _ => return UploadView::default(),
            },
            State::Saving(saving) => match &**saving {
                Saving::Writing { receiving, .. } => (receiving, false),
                Saving::Ending(AfterSaving::Obey(_, id)) => {
                    return UploadView { attached_to: Some((*id, None)), ..UploadView::default() };
                }
                Saving::Ending(_) => return UploadView::default(),
            },
            _ => return UploadView::default(),
        };
        let key = &receiving.put.key;
        let attached_to = if let Target::Part(part) = &receiving.target { Some((part.id, Some(key))) } else { None };
        let completes = completes.then_some(key);
        UploadView { attached_to, received: receiving.upload.launched(), completes }
    }

    /// Content cannot be written now: it is copied into chunks on its way to the disk workers.
    fn hand_over(&mut self, file: FileId, offset: u64, content: &[u8], cx: &mut Cx<'_>) {
        if !self.common.hand_over(file, offset, content, cx) {
            self.advance(cx, |state, common, cx| {
                in_state!(state, state => state.release(common, cx));
                common.fail_inside("more content than there was room for", cx)
            });
        }
    }

    /// Content could not be written.
    fn store_failed(&mut self, error: &StoreError, cx: &mut Cx<'_>) {
        let (failure, cause) = (error.failure, error.cause());
        self.advance(cx, |state, common, cx| in_state!(state, state => state.store_failed(failure, cause, common, cx)));
    }

    // Bytes for the peer.

    fn outgoing(&self) -> Outgoing {
        if let State::SendingBody(sending) = &self.state
            && let Supply::Direct { .. } = sending.supply
            && sending.next < sending.end
        {
            let (offset, len) = (sending.next, sending.end - sending.next);
            return Outgoing::File { file: sending.file, offset, len, hash: sending.hasher.is_wanted() };
        }
        if self.common.data.outbox.is_empty() { Outgoing::Nothing } else { Outgoing::Outbox }
    }

    pub fn outbox(&self) -> &Outbox {
        &self.common.data.outbox
    }

    /// The first `n` bytes of the outbox were sent.
    fn sent(&mut self, n: usize, cx: &mut Cx<'_>) {
        let mut chunks = Vec::new();
        self.common.data.outbox.sent(n, &mut chunks);
        self.common.give_back(chunks, cx);
        self.common.active = cx.now;
        self.advance(cx, |state, common, cx| in_state!(state, state => state.sent(n, common, cx)));
    }

    /// `n` bytes of the file were sent; `bytes` are those, if they passed through this process.
    fn sent_file(&mut self, n: usize, bytes: Option<&[u8]>, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.sent_file(n, bytes, common, cx),
            other => Step::Stay(other),
        });
    }

    /// The next bytes are not in the page cache.
    fn found_cold(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.found_cold(common, cx),
            other => Step::Stay(other),
        });
    }

    /// The file cannot be read to its end any more.
    fn source_failed(&mut self, cause: Cow<'static, str>, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.source_failed(cause, common, cx),
            other => Step::Stay(other),
        });
    }

    /// True if the connection may be closed without lingering, if nothing is unread: the peer announced that nothing
    /// comes after the request that was answered, so nothing can turn our last bytes into a reset (RFC 9112 §9.6).
    fn may_close_at_once(&self) -> bool {
        matches!(self.state, State::SendingReply(SendingReply(CloseReason::Finished)))
            && self.common.data.inbox.is_empty()
            && self.common.dialect.protocol_ref().was_last_request()
    }

    /// Our half was closed.
    fn shut_down(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, _, cx| match state {
            State::SendingReply(SendingReply(reason)) => {
                Step::enter(Lingering { left: cx.limits.live.linger_bytes_max, is_asked: false, reason })
            }
            other => Step::Stay(other),
        });
    }

    /// This many bytes have not been acknowledged yet.
    fn looked(&mut self, unacknowledged: usize, cx: &Cx<'_>) {
        if let State::Pausing(pausing) = &mut self.state {
            pausing.checked(unacknowledged, cx);
        }
    }

    // Operations of the store.

    /// The next operation for the store. It counts as in flight until [`Event::Completed`].
    fn next_op(&mut self) -> Option<(u8, Op)> {
        if self.common.data.ops.is_empty() {
            return None; // without making the request data
        }
        let op = self.common.data.ops.pop_front()?;
        self.common.in_flight += 1;
        let number = if let Op::Store { .. } = &op { self.common.data.owed.submit() } else { 0 };
        Some((number, op))
    }

    /// An operation ended. Its chunk is given back whatever the state is.
    fn completed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        assert!(self.common.in_flight > 0, "a completion without an operation");
        self.common.in_flight -= 1;
        Common::count_guess(&done, cx);
        if done.id.number > 0 {
            return self.upload_ended(done, cx);
        }
        self.advance(cx, |state, common, cx| in_state!(state, state => state.completed(done, common, cx)));
    }

    // Time.

    /// The earliest time at which [`Event::TimedOut`] has something to decide.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        in_state!(&self.state, state => state.deadline(&self.common, limits))
    }

    /// A deadline passed. Also harmless when it did not. `in_kernel` bytes of what was sent are not acknowledged yet.
    fn timed_out(&mut self, in_kernel: usize, cx: &mut Cx<'_>) {
        if self.common.silent_at().is_some_and(|at| at <= cx.now) {
            self.common.data.silence_reported = Some(cx.now);
            let mut is_decided = false;
            self.advance(cx, |state, common, cx| {
                let step;
                (step, is_decided) = in_state!(state, state => state.silence(common, cx));
                step
            });
            if is_decided {
                return;
            }
        }
        if self.deadline(cx.limits).is_some_and(|at| at <= cx.now) {
            self.advance(cx, |state, common, cx| in_state!(state, state => state.timed_out(in_kernel, common, cx)));
        }
    }

    // The turn, and the end.

    /// True for a transfer under way with more to move than a small request.
    pub fn is_bulk(&self, limits: &Limits) -> bool {
        in_state!(&self.state, state => state.is_bulk(&self.common, limits))
    }

    /// What a drain and a stop see of it.
    pub fn load(&self) -> Load {
        match in_state!(&self.state, state => (state.is_serving(), state.is_busy(&self.common))) {
            (true, _) => Load::Serving,
            (false, true) => Load::Busy,
            (false, false) => Load::Idle,
        }
    }

    fn stop(&mut self, cx: &mut Cx<'_>) {
        if self.common.name != Name::Done {
            if !matches!(self.state, State::Committing(Committing::Alone)) {
                self.common.report_failure(Failure::Draining, CloseReason::Stopped.word(), cx);
            }
            self.end(CloseReason::Stopped, true, cx);
        }
    }

    /// Why it ended, once it has, and whether the peer must see a reset.
    pub const fn ended(&self) -> Option<(CloseReason, bool)> {
        match self.state {
            State::Done(Done { reason, is_reset }) => Some((reason, is_reset)),
            _ => None,
        }
    }

    /// Nothing moves any more: gives back its slot if that is not needed, and memory that is only needed while something
    /// is under way. True once it is over and nothing refers to it any more; it is not counted from then on.
    pub fn rest(&mut self, cx: &mut Cx<'_>) -> bool {
        self.give_back_slot(cx);
        self.common.data.rest(self.common.active, cx.spare);
        if self.common.name == Name::SendingBody {
            self.common.data.shrink();
        }
        let is_over = self.common.name == Name::Done && !self.common.has_ops();
        if is_over {
            debug_assert!(self.common.data.slot.is_none(), "a slot or share would leak");
            self.common.retire(cx.counters);
        }
        is_over
    }

    /// Bytes of heap that a session uses while something is under way, contents not counted.
    pub const WORK_BYTES: usize = LazyRequestData::BYTES;

    /// What it has of things that are shared out, for the accounting and the invariant checks.
    pub fn holdings(&self, limits: &Limits) -> Holdings<'_> {
        let data = &self.common.data;
        let chunks = if data.slot.is_held() { limits.fixed.chunks_per_slot - data.slot.credits() } else { 0 };
        let message = match &self.state {
            State::AwaitSlot(request) => request.content_bytes(),
            State::ReceivingBody(receiving) => receiving.content_bytes(limits),
            _ => 0,
        };
        Holdings {
            slot: &data.slot,
            is_slot_spare: self.may_continue_without_slot(limits),
            groups: [data.group, data.slot.client(), data.counted_upload].into_iter().flatten().count(),
            bytes: data.inbox.capacity()
                + data.outbox.text_capacity()
                + chunks * limits.fixed.chunk_bytes
                + data.owed.bytes()
                + message,
            sends: self.outgoing() != Outgoing::Nothing,
        }
    }
}

impl Common {
    /// Does what follows an event, until a state continues.
    fn follow(&mut self, mut step: Step, cx: &mut Cx<'_>) -> State {
        loop {
            step = match step {
                Step::Stay(state) => return state,
                Step::Enter(state) => {
                    self.enter(&state, cx);
                    in_state!(state, state => state.begin(self, cx))
                }
                Step::Obey(action) => self.obey(action, cx),
                Step::Refuse(failure, cause) => Step::Obey(self.refuse(failure, cause, cx)),
                Step::NeedSlot(request) if self.take_slot(&request, cx) => request.granted(self, cx),
                Step::NeedSlot(request) => Step::enter(Box::new(request)),
                Step::End(reason, is_reset) => Step::Enter(self.end(reason, is_reset, cx)),
            }
        }
    }
}
