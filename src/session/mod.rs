//! One connection from accept to end: the state machine of the server.
//!
//! Pure: a session never does I/O and never asks the time. It is told what happened (`received`,
//! `sent`, `completed`, `timed_out`, always with the present time in [`Cx`]), and is asked what it
//! wants ([`Session::intake`], [`Session::next_op`], [`Session::outgoing`],
//! [`Session::deadline`], [`Session::wants_slot`]). After telling it anything, ask everything
//! again: that is the whole driving contract.
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
//! other command    AwaitHeader ─▶ Executing ─▶ AwaitHeader
//! long reply       Executing ─▶ SendingPart ─▶ Executing
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
//!
//! Long, because each event is forwarded here to the state, once.
#![allow(missing_docs, reason = "internal: only the reactor drives sessions")]

mod accepted;
mod actions;
mod arrival;
mod behavior;
mod common;
mod cx;
mod pacing;
mod permission;
mod report;
mod reporting;
mod request_data;
mod slots;
pub mod state;
mod states;
mod step;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Instant;

use crate::buffer::Outbox;
use crate::command::Command;
use crate::config::Limits;
use crate::counters::Counters;
use crate::dialect::{AnyProtocol, Kind};
use crate::error::{CloseReason, Failure, StoreError};
use crate::ids::FileId;
use crate::object::Key;
use crate::platform::{Completion, Op};
use crate::upload::UploadId;
use behavior::{Behavior, in_state};
use common::Common;
use request_data::LazyRequestData;
use state::{AfterSaving, Done, Lingering, Name, Receiving, Saving, SendingReply, SlotRequest, State, Supply, Target};
use step::Step;

pub use arrival::{Arrival, ArrivalEvent, PeerRole, count_unidentified};
pub use cx::{Cx, Disk, DiskPace};
pub use report::{Report, RequestError};
pub use request_data::RequestDataPool;
pub use step::{Consumed, Outgoing};

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

    /// The connection is not counted any more.
    pub fn retire(&self, counters: &mut Counters) {
        self.common.retire(counters);
    }

    /// Tells the present state about an event, and does what follows until a state goes on.
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
    pub fn end(&mut self, reason: CloseReason, is_reset: bool, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.end(reason, is_reset, common, cx)));
    }

    pub const fn state(&self) -> Name {
        self.common.name
    }

    /// False for a connection that is only told that it is turned away.
    pub const fn is_admitted(&self) -> bool {
        !self.common.dialect.is_turned_away()
    }

    pub const fn peer(&self) -> SocketAddr {
        self.common.peer
    }

    pub const fn set_peer_role(&mut self, role: PeerRole) {
        self.common.peer_role = role;
    }

    /// True if it counts among the connections of its client's address.
    pub const fn has_share(&self) -> bool {
        self.is_admitted() && matches!(self.common.peer_role, PeerRole::Client | PeerRole::LimitedClient)
    }

    pub const fn speaks(&self) -> Kind {
        self.common.dialect.kind()
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
        if self.speaks().traits().decodes_slowly {
            cx.meter.enter(self.common.dialect.protocol().take_work());
        }
        consumed
    }

    /// True if bytes are held that the session has not decided about.
    pub fn has_unseen(&self) -> bool {
        self.common.has_unseen()
    }

    /// Takes the bytes that are held, to show them again in front of new ones.
    pub fn take_held(&mut self) -> Vec<u8> {
        self.common.take_held()
    }

    /// Keeps the bytes that [`Session::consume`] could not use. A part of a head costs what it holds, not its limit.
    pub fn hold(&mut self, rest: &[u8]) {
        self.common.keep(rest.to_vec());
    }

    /// As [`Session::hold`], for bytes that are held already and did not move.
    pub fn keep(&mut self, held: Vec<u8>) {
        self.common.keep(held);
    }

    /// Bytes that came and are still unread by the dialect.
    pub fn held_len(&self) -> usize {
        self.common.data.inbox.len()
    }

    /// True while no part of a message of the peer is here or on its way.
    pub fn is_between_messages(&self) -> bool {
        self.common.data.inbox.is_empty() && !matches!(self.common.name, Name::ReceivingBody)
    }

    /// True while a message is awaited of which more is here than a head may have.
    pub fn is_gathering(&self, limits: &Limits) -> bool {
        self.common.name == Name::AwaitHeader && self.common.holds_long_input(limits)
    }

    /// `n` bytes were received.
    pub fn arrived(&mut self, n: usize, cx: &mut Cx<'_>) {
        self.common.active = cx.now;
        if self.common.name == Name::AwaitHeader {
            self.common.pay_for_request(cx);
        }
        if let State::ReceivingBody(receiving) = &mut self.state {
            receiving.min_rate.moved(n);
        }
    }

    /// The peer's stream ended.
    pub fn received_eof(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.received_eof(common, cx)));
    }

    /// The socket failed: the peer cannot be told.
    pub fn lost(&mut self, reason: CloseReason, cause: &str, cx: &mut Cx<'_>) {
        // A disk that fails in the middle of a file looks like this too: it must not pass for its end.
        let is_reset = in_state!(&self.state, state => state.is_in_a_file());
        self.cut_off(reason, cause, is_reset, cx);
    }

    /// Nothing more can be done for the peer, though it may have sent all it wanted: to one that is told nothing, a
    /// plain end would mean success.
    pub fn given_up(&mut self, cause: &str, cx: &mut Cx<'_>) {
        self.cut_off(CloseReason::Internal, cause, true, cx);
    }

    /// The peer's stream was cut off, and only looks as if it had ended.
    pub fn cut_short(&mut self, cause: &str, cx: &mut Cx<'_>) {
        self.cut_off(CloseReason::CutShort, cause, true, cx);
    }

    fn cut_off(&mut self, reason: CloseReason, cause: &str, is_reset: bool, cx: &mut Cx<'_>) {
        if self.common.name != Name::Done {
            // A commit that is under way is reported when it ends.
            if self.common.name != Name::Committing {
                self.common.report_failure(Failure::Internal, format!("{reason}: {cause}"), cx);
            }
            self.end(reason, is_reset, cx);
        }
    }

    // Content of an upload.

    fn upload(&self) -> Option<&Receiving> {
        match &self.state {
            State::ReceivingBody(receiving) => Some(receiving),
            State::FinishingWrites(finishing) => Some(&finishing.0),
            _ => None,
        }
    }

    /// True while this file is being written. False if what followed its content broke the upload.
    pub fn receives(&self, file: FileId) -> bool {
        self.upload().is_some_and(|upload| upload.target.file() == Some(file))
    }

    /// The upload that this connection is attached to, if that can be resumed; while [`Session::has_ops`], perhaps
    /// also when this says none.
    pub fn attached_to(&self) -> Option<UploadId> {
        let receiving = match &self.state {
            State::AwaitSlot(request) => match &**request {
                SlotRequest::ResumeUpload(receiving) => receiving,
                _ => return None,
            },
            State::Saving(saving) => match &**saving {
                Saving::Writing { receiving, .. } => receiving,
                Saving::Ending(AfterSaving::Obey(_, id)) => return Some(*id),
                Saving::Ending(_) => return None,
            },
            _ => self.upload()?,
        };
        if let Target::Part(part) = &receiving.target { Some(part.id) } else { None }
    }

    /// The upload that a request which waits for a slot is about.
    pub fn wants_upload(&self) -> Option<UploadId> {
        match &self.state {
            State::AwaitSlot(request) => match &**request {
                SlotRequest::Command(Command::Append(append)) => append.upload.id(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Another request goes on with the upload that this connection is attached to.
    pub fn superseded(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.superseded(common, cx)));
    }

    /// Bytes of the body of an upload that were received so far.
    pub fn body_received(&self) -> u64 {
        self.upload().map_or(0, |upload| upload.upload.launched())
    }

    /// The name whose new content has come in full, while its last writes end.
    pub fn finishes_writes_of(&self) -> Option<&Key> {
        match &self.state {
            State::FinishingWrites(finishing) => finishing.0.completes().then_some(&finishing.0.put.key),
            _ => None,
        }
    }

    /// True while a change of a name may be under way. Operations that outlive the upload count.
    pub fn is_changing(&self) -> bool {
        self.common.name == Name::FinishingWrites || self.common.has_ops()
    }

    /// Content was written from the loop itself.
    pub fn stored(&mut self, len: usize, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.stored(len, common, cx)));
    }

    /// Content cannot be written now: it is copied into chunks on its way to the disk workers.
    pub fn hand_over(&mut self, file: FileId, offset: u64, content: &[u8], cx: &mut Cx<'_>) {
        if !self.common.hand_over(file, offset, content, cx) {
            self.advance(cx, |state, common, cx| {
                in_state!(state, state => state.release(common, cx));
                common.fail_inside("more content than there was room for", cx)
            });
        }
    }

    /// Content could not be written.
    pub fn store_failed(&mut self, error: &StoreError, cx: &mut Cx<'_>) {
        let (failure, cause) = (error.failure, error.cause());
        self.advance(cx, |state, common, cx| in_state!(state, state => state.store_failed(failure, cause, common, cx)));
    }

    // Bytes for the peer.

    pub fn outgoing(&self) -> Outgoing {
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
    pub fn sent(&mut self, n: usize, cx: &mut Cx<'_>) {
        let mut chunks = Vec::new();
        self.common.data.outbox.sent(n, &mut chunks);
        self.common.give_back(chunks, cx);
        self.common.active = cx.now;
        self.advance(cx, |state, common, cx| in_state!(state, state => state.sent(n, common, cx)));
    }

    /// `n` bytes of the file were sent; `bytes` are those, if they passed through this process.
    pub fn sent_file(&mut self, n: usize, bytes: Option<&[u8]>, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.sent_file(n, bytes, common, cx),
            other => Step::Stay(other),
        });
    }

    /// The next bytes are not in the page cache.
    pub fn found_cold(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.found_cold(common, cx),
            other => Step::Stay(other),
        });
    }

    /// The file cannot be read to its end any more.
    pub fn source_failed(&mut self, cause: impl Into<Cow<'static, str>>, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::SendingBody(sending) => sending.source_failed(cause, common, cx),
            other => Step::Stay(other),
        });
    }

    /// True if our half is to be closed now.
    pub fn wants_shutdown(&self) -> bool {
        self.common.name == Name::SendingReply && self.common.data.outbox.is_empty()
    }

    /// True if the connection may be closed without lingering, if nothing is unread: the peer announced that nothing
    /// comes behind the request that was answered, so nothing can turn our last bytes into a reset (RFC 9112 §9.6).
    pub fn may_close_at_once(&self) -> bool {
        matches!(self.state, State::SendingReply(SendingReply(CloseReason::Finished)))
            && self.common.data.inbox.is_empty()
            && self.common.dialect.protocol_ref().was_last_request()
    }

    /// Our half was closed.
    pub fn shut_down(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, _, cx| match state {
            State::SendingReply(SendingReply(reason)) => {
                Step::enter(Lingering { left: cx.limits.live.linger_bytes_max, reason })
            }
            other => Step::Stay(other),
        });
    }

    /// True if the reactor is to check now how much of what was sent is acknowledged.
    pub fn wants_look(&self, cx: &Cx<'_>) -> bool {
        matches!(&self.state, State::Pausing(pausing) if pausing.is_check_due(&self.common, cx))
    }

    /// So many bytes have not been acknowledged yet.
    pub fn looked(&mut self, unacknowledged: usize, cx: &Cx<'_>) {
        if let State::Pausing(pausing) = &mut self.state {
            pausing.checked(unacknowledged, cx);
        }
    }

    // Operations of the store.

    /// The next operation for the store. It counts as in flight until it is `completed`.
    pub fn next_op(&mut self) -> Option<Op> {
        if self.common.data.ops.is_empty() {
            return None; // without making the request data
        }
        let op = self.common.data.ops.pop_front()?;
        self.common.in_flight += 1;
        Some(op)
    }

    /// True while an operation is at the store, or on its way there.
    pub fn has_ops(&self) -> bool {
        self.common.has_ops()
    }

    /// An operation ended. Its chunk is given back whatever the state is.
    pub fn completed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        assert!(self.common.in_flight > 0, "a completion without an operation");
        self.common.in_flight -= 1;
        Common::count_guess(&done, cx);
        self.advance(cx, |state, common, cx| in_state!(state, state => state.completed(done, common, cx)));
    }

    // Time.

    /// The earliest time at which [`Session::timed_out`] has something to decide.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        in_state!(&self.state, state => state.deadline(&self.common, limits))
    }

    /// A deadline passed. Also harmless when it did not. `in_kernel` bytes of what was sent are not acknowledged yet.
    pub fn timed_out(&mut self, in_kernel: usize, cx: &mut Cx<'_>) {
        if self.common.silent_at().is_some_and(|at| at <= cx.now) {
            self.common.data.silence_told = Some(cx.now);
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

    /// True while there is work that a drain waits for: not on an idle connection, nor while only the last reply is
    /// read.
    pub fn is_busy(&self) -> bool {
        in_state!(&self.state, state => state.is_busy(&self.common))
    }

    /// True if it was answered in full, and has asked nothing since.
    pub fn waits_for_request(&self) -> bool {
        self.common.name == Name::AwaitHeader && !self.is_busy()
    }

    /// The server has drained: an idle connection is closed. Until then a request was told that the server is ending.
    pub fn drained(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.drained(common, cx)));
    }

    /// The server stops: true if a request was cut off.
    pub fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        let is_cut_off = in_state!(&self.state, state => state.is_serving());
        if self.common.name != Name::Done {
            if self.common.name != Name::Committing {
                self.common.report_failure(Failure::Draining, CloseReason::Stopped.word(), cx);
            }
            self.end(CloseReason::Stopped, true, cx);
        }
        is_cut_off
    }

    /// Why it ended, once it has.
    pub const fn ended_because(&self) -> Option<CloseReason> {
        match self.state {
            State::Done(Done { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    /// True if the peer must see a reset.
    pub const fn wants_reset(&self) -> bool {
        matches!(self.state, State::Done(Done { is_reset: true, .. }))
    }

    /// True once it is over and nothing refers to it any more.
    pub fn is_retirable(&self) -> bool {
        self.common.name == Name::Done && !self.has_ops()
    }

    /// Nothing moves any more: memory that is only needed while something is under way is given back.
    pub fn rest(&mut self, pool: &mut RequestDataPool) {
        self.common.data.rest(self.common.active, pool);
        if self.common.name == Name::SendingBody {
            self.common.data.shrink();
        }
    }

    /// Bytes may come: uses memory again that another session gave back.
    pub fn begin(&mut self, pool: &mut RequestDataPool) {
        self.common.data.begin(pool);
    }

    /// Bytes of heap that a session uses while something is under way, contents not counted.
    pub const fn work_bytes() -> usize {
        LazyRequestData::bytes()
    }

    /// Bytes of heap behind what it holds between turns: unread bytes, replies, a message that waits for a slot, and
    /// its chunks wherever they are. For the accounting of memory.
    pub fn content_bytes(&self, limits: &Limits) -> usize {
        let data = &self.common.data;
        let chunks = if data.slot.is_held() { limits.fixed.chunks_per_slot - data.slot.credits() } else { 0 };
        let message = if let State::AwaitSlot(request) = &self.state { request.content_bytes() } else { 0 };
        data.inbox.capacity() + data.outbox.text_capacity() + chunks * limits.fixed.chunk_bytes + message
    }

    /// What must hold between turns; a broken one is a bug of ours.
    pub fn check_invariants(&self, limits: &Limits) {
        let common = &self.common;
        assert!(common.data.slot.credits() <= limits.fixed.chunks_per_slot, "more credits at home than a slot has");
        let held_max =
            limits.fixed.head_len_max.max(if common.holds_slot() { limits.fixed.message_bytes_max } else { 0 });
        assert!(common.data.inbox.len() <= held_max, "more bytes held than a head or a message may have");
        let is_waiting = self.deadline(limits).is_some() || self.has_ops();
        let name = common.name;
        assert!(is_waiting || name == Name::Done, "{name:?}: no deadline, no operation: nothing would wake it");
    }
}

impl Common {
    /// Does what follows an event, until a state goes on.
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
