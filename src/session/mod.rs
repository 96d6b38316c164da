//! One request and reply after another on one connection: the state machine of the server.
//!
//! Pure: a session never does I/O and never asks the time. It is told what happened (`received`,
//! `sent`, `completed`, `timed_out`, always with the present time in [`Cx`]), and is asked what it
//! wants ([`Session::intake`], [`Session::next_op`], [`Session::outgoing`],
//! [`Session::deadline`], [`Session::wants_slot`]). After telling it anything, ask everything
//! again: that is the whole driving contract.
//!
//! `state` has the states and their table, `request` everything between requests, `receive` the
//! uploads, `send` the downloads, `pause` silences, `close` the ways to end.

mod close;
mod pause;
mod receive;
mod report;
mod request;
mod send;
pub mod state;
mod work;

use std::time::Instant;

use crate::buffer::{Chunk, ChunkPool};
use crate::config::{Access, Limits};
use crate::counters::Counters;
use crate::dialect::{AnyProtocol, Context, Kind, Phase, Protocol};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::platform::{Completion, Op};
use report::{Request, Segments};
use state::{Name, PauseStage, State, Supply, Target, Wanted};
use work::Work;

pub use receive::Use;
pub use report::{Report, Trouble};
pub use send::Outgoing;
pub use work::Spare;

/// A message longer than a head must be complete within so many times `Limits::stall_timeout`.
const GATHER_STALLS: u32 = 5;

/// What the reactor lends a session for one call.
pub struct Cx<'a> {
    /// The present.
    pub now: Instant,
    /// The clock on the wall, in seconds since 1970.
    pub wall_clock_s: u64,
    /// Every bound.
    pub limits: &'a Limits,
    /// Who may do what.
    pub access: &'a Access,
    /// Is the server taking new requests?
    pub phase: Phase,
    /// Where chunks come from and go home to.
    pub pool: &'a mut ChunkPool,
    /// Facts for the operator.
    pub counters: &'a mut Counters,
    /// Requests that ended, for the log.
    pub reports: &'a mut Vec<Report>,
    /// How the disk does.
    pub disk: Disk,
}

/// What a session must know of the disk in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Does it keep up?
    pub pace: DiskPace,
    /// See `Store::flush_window`.
    pub flush_window: Option<u64>,
}

/// Does the disk keep up?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskPace {
    /// Content is written from the loop itself.
    KeepsUp,
    /// Content is held in chunks and written by the disk workers.
    Lags,
}

/// Has the dialect seen every byte that is held?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appetite {
    /// Yes, and it needs more.
    Hungry,
    /// No, or not since the state changed.
    Unseen,
}

/// Where a session stands with the transfer slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    None,
    Held,
}

/// One connection's conversation.
#[derive(Debug)]
pub struct Session {
    dialect: AnyProtocol,
    /// Under which it is counted.
    spoken: Kind,
    state: State,
    appetite: Appetite,
    in_flight: u8,
    slot: Slot,
    /// On this connection so far.
    wrong_secrets: u8,
    /// See [`Session::take_wrong_secret`].
    has_new_wrong_secret: bool,
    work: Work,
    /// When the state was entered.
    entered: Instant,
    /// When the peer last moved a byte.
    active: Instant,
}

impl Session {
    /// A connection has been accepted; asks the dialect whether it speaks first.
    pub fn new(dialect: AnyProtocol, cx: &mut Cx<'_>) -> Self {
        let mut session = Self {
            spoken: dialect.kind(),
            dialect,
            state: State::AwaitHeader { since: None },
            appetite: Appetite::Hungry,
            in_flight: 0,
            slot: Slot::None,
            wrong_secrets: 0,
            has_new_wrong_secret: false,
            work: Work::default(),
            entered: cx.now,
            active: cx.now,
        };
        cx.counters.open += 1;
        cx.counters.states[session.state() as usize] += 1;
        cx.counters.dialects[session.spoken as usize] += 1;
        let action = session.with_protocol(cx, |protocol, context| protocol.opened(context));
        session.apply(action, cx);
        session
    }

    /// The slot of this session is freed: it is not counted any more.
    pub fn retire(&self, counters: &mut Counters) {
        counters.open -= 1;
        counters.states[self.state() as usize] -= 1;
        counters.dialects[self.spoken as usize] -= 1;
    }

    /// Which state it is in.
    pub const fn state(&self) -> Name {
        self.state.name()
    }

    /// False for a connection that is only told that there is no room.
    pub const fn is_admitted(&self) -> bool {
        !self.dialect.is_turned_away()
    }

    /// What is spoken on it.
    pub const fn speaks(&self) -> Kind {
        self.dialect.kind()
    }

    /// The next operation for the store. It counts as in flight until it is `completed`.
    pub fn next_op(&mut self) -> Option<Op> {
        if self.work.ops.is_empty() {
            return None; // and makes no room to find that out
        }
        let op = self.work.ops.pop_front()?;
        self.in_flight += 1;
        Some(op)
    }

    /// Is an operation at the store, or on its way there?
    pub fn has_ops(&self) -> bool {
        self.in_flight > 0 || !self.work.ops.is_empty()
    }

    /// An operation ended. Its chunk comes home whatever the state is.
    pub fn completed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        assert!(self.in_flight > 0, "a completion without an operation");
        self.in_flight -= 1;
        match self.state.name() {
            Name::AwaitHeader
            | Name::AwaitSlot
            | Name::SendingPart
            | Name::Pausing
            | Name::Discarding
            | Name::SendingReply
            | Name::Lingering => {
                // The end of an `Abort` or `Close`, or of writes of an upload that has failed.
                self.give_back(done.chunk, cx);
                if let State::AwaitHeader { since: None } = self.state {
                    // Only from here on is the peer listened to.
                    (self.entered, self.active) = (cx.now, cx.now);
                }
            }
            Name::Opening => self.opened(done, cx),
            Name::Executing => self.executed(done, cx),
            Name::ReceivingBody | Name::Settling => self.body_completed(done, cx),
            Name::Committing => self.committed(done, cx),
            Name::SendingBody => self.send_completed(done, cx),
            Name::Done => self.completed_after_end(done, cx),
        }
    }

    /// Is a transfer under way that has more to move than a small request?
    pub fn is_bulk(&self, limits: &Limits) -> bool {
        match &self.state {
            State::SendingBody(sending) => sending.end - sending.next > limits.turn_bytes_min as u64,
            State::ReceivingBody(receiving) => matches!(receiving.target, Target::File(_)),
            State::AwaitHeader { .. } => self.spoken.traits().decodes_slowly,
            _ => false,
        }
    }

    /// What decoding has cost since this was last asked, in bytes of an upload that take as long.
    pub fn take_work(&mut self) -> usize {
        if self.spoken.traits().decodes_slowly { self.dialect.protocol().take_work() } else { 0 }
    }

    /// True once after a wrong secret was shown.
    pub const fn take_wrong_secret(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_wrong_secret, false)
    }

    /// Is a slot wanted now?
    pub const fn wants_slot(&self) -> bool {
        matches!(self.state, State::AwaitSlot(_))
    }

    /// Since when a slot is wanted.
    pub const fn waits_for_slot_since(&self) -> Option<Instant> {
        if self.wants_slot() { Some(self.entered) } else { None }
    }

    /// Does it have one already, which it could not give back?
    pub fn holds_slot(&self) -> bool {
        self.slot == Slot::Held
    }

    /// True once when the slot is not needed any more; the caller takes it back.
    pub fn release_slot(&mut self, limits: &Limits) -> bool {
        // A long message is gathered, and what came behind one is held, on the slot's account.
        let holds = self.work.inbox.len() >= limits.head_len_max;
        let in_use = match &self.state {
            State::Done { .. } => false,
            State::Opening(_)
            | State::Executing
            | State::ReceivingBody(_)
            | State::Settling(_)
            | State::Committing
            | State::SendingPart(_) => true,
            // What comes straight from the page cache needs no chunk.
            State::SendingBody(sending) => holds || matches!(sending.supply, Supply::Held | Supply::HeldReading),
            // The file that is open meanwhile will be read into this slot's chunks.
            State::Pausing(_) => holds || self.pauses_before_held(),
            State::AwaitSlot(wanted) => {
                holds || matches!(&**wanted, Wanted::Store(_, content) if content.len() >= limits.head_len_max)
            }
            State::AwaitHeader { .. }
            | State::Discarding { .. }
            | State::SendingReply(_)
            | State::Lingering { .. }
            | State::Moving(_) => holds,
        };
        // A page of a listing lives in the outbox, on the slot's account.
        let joined = !self.has_ops() && self.work.credits == limits.chunks_per_slot;
        if self.slot == Slot::Held && !in_use && joined && self.work.outbox.len() <= limits.reply_bytes_max {
            self.slot = Slot::None;
            self.work.credits = 0;
            return true;
        }
        false
    }

    /// The earliest time at which [`Session::timed_out`] has something to decide.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match &self.state {
            State::AwaitHeader { .. } if !self.work.outbox.is_empty() => Some(self.entered + limits.stall_timeout),
            // The peer is not listened to while the last request ends at our own disk.
            State::AwaitHeader { .. } if self.has_ops() => None,
            State::AwaitHeader { since } if self.slot == Slot::Held => {
                // A message in pieces may take its time, but not keep a slot for ever.
                let whole = since.unwrap_or(self.entered) + GATHER_STALLS * limits.stall_timeout;
                self.sooner(whole.min(self.active + limits.stall_timeout))
            }
            State::AwaitHeader { since: Some(since) } => self.sooner(*since + limits.head_timeout),
            State::AwaitHeader { since: None } => self.sooner(self.active + limits.idle_timeout),
            State::AwaitSlot(_) => Some(self.entered + limits.slot_timeout),
            State::Opening(_) | State::Executing | State::Settling(_) | State::Committing => None,
            State::ReceivingBody(receiving) => {
                let pace = receiving.pace.deadline()?;
                self.sooner(pace.min(self.active + limits.stall_timeout))
            }
            State::Pausing(pausing) => Some(match pausing.stage {
                PauseStage::Unacknowledged(look_at) => look_at,
                PauseStage::Until(at) => at,
            }),
            State::SendingBody(sending) => {
                sending.pace.deadline().map(|pace| pace.min(self.active + limits.stall_timeout))
            }
            State::Discarding { .. } | State::SendingReply(_) | State::SendingPart(_) => {
                Some(self.entered + limits.stall_timeout)
            }
            State::Lingering { .. } => Some(self.entered + limits.linger_timeout),
            State::Done { .. } | State::Moving(_) => None,
        }
    }

    /// The deadline, or the silence that the dialect waits for if that is sooner.
    fn sooner(&self, deadline: Instant) -> Option<Instant> {
        Some(self.quiet_at().map_or(deadline, |quiet| quiet.min(deadline)))
    }

    /// When a silence of the peer is long enough to mean something. It is no silence while we do
    /// not listen.
    fn quiet_at(&self) -> Option<Instant> {
        let listening = !self.has_ops() && (self.work.inbox.is_empty() || self.appetite == Appetite::Hungry);
        let after = self.dialect.protocol_ref().quiet_after().filter(|_| listening)?;
        Some(self.work.quiet_told.map_or(self.active, |told| told.max(self.active)) + after)
    }

    /// Nothing moves any more: what is only needed while something is under way is given back.
    pub fn rest(&mut self, spare: &mut Spare) {
        self.work.rest(self.active, spare);
        if let State::SendingBody(_) = self.state {
            self.work.shed();
        }
    }

    /// Bytes may come: makes room for what they start from what others gave back.
    pub fn begin(&mut self, spare: &mut Spare) {
        self.work.begin(spare);
    }

    /// Bytes of heap that a session uses while something is under way, contents not counted.
    pub const fn work_bytes() -> usize {
        Work::bytes()
    }

    /// Bytes that came and are still unread by the dialect.
    pub fn held_len(&self) -> usize {
        self.work.inbox.len()
    }

    /// Bytes of heap behind what it holds between turns: unread bytes, replies, a message that waits
    /// for a slot, and its chunks wherever they are. For the accounting of memory.
    pub fn content_bytes(&self, limits: &Limits) -> usize {
        let chunks = match self.slot {
            Slot::None => 0,
            Slot::Held => limits.chunks_per_slot - self.work.credits,
        };
        let message = match &self.state {
            State::AwaitSlot(wanted) => wanted.content_bytes(),
            _ => 0,
        };
        let work = &self.work;
        work.inbox.capacity() + work.outbox.text_capacity() + chunks * limits.chunk_bytes + message
    }

    /// What must hold between turns; a broken one is a bug of ours.
    pub fn check_invariants(&self, limits: &Limits) {
        assert!(self.work.credits <= limits.chunks_per_slot, "more credits at home than a slot has");
        assert!(self.slot == Slot::Held || self.work.credits == 0, "credits without a slot");
        let held_max = match self.slot {
            Slot::None => limits.head_len_max,
            Slot::Held => limits.head_len_max.max(limits.message_bytes_max),
        };
        assert!(self.work.inbox.len() <= held_max, "more bytes held than a head or a message may have");
        assert!(!matches!(self.state, State::Moving(_)), "a state was taken out and not replaced");
        let idle = self.deadline(limits).is_none() && !self.has_ops();
        let over = matches!(self.state, State::Done { .. });
        assert!(!idle || over, "{:?}: no deadline, no operation: nothing would wake it", self.state());
    }

    /// The only mutator of `state`: checks the transition table, and moves the session to its new
    /// place in the counters.
    fn set_state(&mut self, next: State, cx: &mut Cx<'_>) {
        let (from, to) = (self.state.name(), next.name());
        debug_assert!(from == to || from.followers().contains(&to), "{from:?} must not become {to:?}");
        log::trace!(target: "filewharf::session", "{from:?} -> {to:?}");
        cx.counters.states[from as usize] -= 1;
        cx.counters.states[to as usize] += 1;
        self.state = next;
        self.entered = cx.now;
        self.active = cx.now;
        self.appetite = Appetite::Unseen;
    }

    /// Takes the state out, to be replaced by value. Whoever calls this sets a new one before
    /// returning.
    fn take_state(&mut self) -> State {
        let name = self.state.name();
        std::mem::replace(&mut self.state, State::Moving(name))
    }

    /// Runs the dialect with a place to speak. What it refuses on its own is reported here.
    fn with_protocol<R>(&mut self, cx: &mut Cx<'_>, run: impl FnOnce(&mut dyn Protocol, &mut Context<'_>) -> R) -> R {
        let (result, refused) = self.run_protocol(cx, run);
        if let Some(failure) = refused {
            self.work.request.get_or_insert_with(|| Request::new("request", Key::root(), cx.now));
            self.report_failure(failure, failure.words(), cx);
        }
        result
    }

    fn run_protocol<R>(
        &mut self,
        cx: &mut Cx<'_>,
        run: impl FnOnce(&mut dyn Protocol, &mut Context<'_>) -> R,
    ) -> (R, Option<Failure>) {
        debug_assert!(cx.counters.agree(), "a dialect would tell what is not so: {:?}", cx.counters);
        let out = self.work.outbox.text();
        let mut notes = Vec::new();
        let mut context = Context {
            out,
            limits: cx.limits,
            access: cx.access,
            phase: cx.phase,
            wall_clock_s: cx.wall_clock_s,
            counters: cx.counters,
            refused: None,
            wrong_secret: false,
            notes: &mut notes,
        };
        let result = run(self.dialect.protocol(), &mut context);
        let refused = context.refused;
        if context.wrong_secret {
            self.wrong_secrets = self.wrong_secrets.saturating_add(1);
            self.has_new_wrong_secret = true;
        }
        let spoken = self.dialect.kind();
        if spoken != self.spoken {
            // Only now has the peer shown what it speaks.
            cx.counters.dialects[self.spoken as usize] -= 1;
            cx.counters.dialects[spoken as usize] += 1;
            self.spoken = spoken;
        }
        cx.reports.extend(notes.into_iter().map(Report::Note));
        (result, refused)
    }

    fn take_chunk(&mut self, cx: &mut Cx<'_>) -> Option<Chunk> {
        self.work.credits = self.work.credits.checked_sub(1)?;
        Some(cx.pool.take())
    }

    fn give_back(&mut self, chunk: impl IntoIterator<Item = Chunk>, cx: &mut Cx<'_>) {
        for chunk in chunk {
            self.work.credits += 1;
            cx.pool.give(chunk);
        }
    }

    /// Why it ended, once it has.
    pub const fn ended_because(&self) -> Option<CloseReason> {
        match self.state {
            State::Done { reason, .. } => Some(reason),
            _ => None,
        }
    }
}
