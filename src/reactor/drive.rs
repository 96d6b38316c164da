//! One connection's slice of a turn: run its operations, send, receive, until nothing moves or
//! its budget is spent; then see what is left of it.

use crate::error::CloseReason;
use crate::ids::ConnId;
use crate::platform::{Completion, Platform, Readable, Store, Stream};
use crate::reactor::addresses::Address;
use crate::reactor::admission::Place;
use crate::reactor::{Queued, Reactor, Watched, cx, lookup};
use crate::session::state::Name;

/// What one connection may still do in this turn.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes it may move; at least 1 while it may go on.
    pub bytes: usize,
    calls: u32,
    pub slice: Slice,
}

/// Which part of a turn is this?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    Small,
    Bulk,
}

impl Budget {
    pub(super) const fn new(bytes: usize, calls: u32, slice: Slice) -> Self {
        Self { bytes, calls, slice }
    }

    /// A call moved so many bytes.
    pub(super) const fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.calls = self.calls.saturating_sub(1);
    }

    const fn is_spent(&self) -> bool {
        self.bytes == 0 || self.calls == 0
    }
}

/// Did a step get anywhere?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Blocked,
    Moved,
}

impl Progress {
    const fn or(self, other: Self) -> Self {
        match self {
            Self::Moved => self,
            Self::Blocked => other,
        }
    }
}

impl<P: Platform> Reactor<P> {
    /// Moves up to `bytes` for one connection, until nothing moves or its budget is spent.
    pub(super) fn drive(&mut self, id: ConnId, bytes: usize, slice: Slice) {
        let Some(connection) = lookup(&mut self.connections, id) else { return };
        connection.queued = Queued::No;
        let mut budget = Budget::new(bytes, self.limits.turn_calls, slice);
        while self.step(id, &mut budget) == Progress::Moved {
            if budget.is_spent() {
                self.counters.yields += 1;
                self.enqueue(id);
                // A file that is done with is closed now, so that the next request is received
                // together with everybody else's.
                let _ = self.submit(id, &mut budget);
                break;
            }
        }
        self.turn_left = self.turn_left.saturating_sub(bytes - budget.bytes);
        if self.gate.is_opening(id) && !self.may_be_complete(id) {
            self.gate.leave(id, &mut self.released);
        }
        self.run_released();
        self.settle(id);
    }

    /// True while the body of an upload may lie in the kernel, complete since before its staging file was
    /// made. False once all that had come was read, or more than the kernel is likely to have kept.
    fn may_be_complete(&mut self, id: ConnId) -> bool {
        let Some(connection) = lookup(&mut self.connections, id) else { return false };
        match connection.session.state() {
            Name::Opening => true,
            Name::ReceivingBody => {
                let session = &connection.session;
                let more = connection.readiness.readable != Readable::Nothing || session.has_unseen();
                more && session.body_received() < self.limits.turn_bytes_max as u64
            }
            _ => false,
        }
    }

    /// Operations first, as their outcome may let bytes go; then sending, which returns the chunks
    /// that receiving needs.
    fn step(&mut self, id: ConnId, budget: &mut Budget) -> Progress {
        let ran = self.submit(id, budget).or(self.ask_for_slot(id));
        if ran == Progress::Moved && self.answers_together(id) {
            return Progress::Blocked;
        }
        let sent = self.flush(id, budget).or(self.shut_down(id)).or(self.look(id));
        ran.or(sent).or(self.fill(id, budget))
    }

    fn submit(&mut self, id: ConnId, budget: &mut Budget) -> Progress {
        let mut progress = Progress::Blocked;
        while let Some(op) = lookup(&mut self.connections, id).and_then(|c| c.session.next_op()) {
            progress = Progress::Moved;
            budget.spend(0);
            let Some(op) = self.gate.enter(id, op, &mut self.released) else { continue };
            self.hand_in(id, op);
        }
        progress
    }

    fn hand_in(&mut self, id: ConnId, op: crate::platform::Op) {
        match self.platform.store().try_now(id, op) {
            Ok(done) => self.complete(done),
            Err(op) => {
                let store = self.platform.store();
                store.submit(id, op);
                self.counters.queued = store.queued();
            }
        }
    }

    /// Operations that the gate let go, of whatever connection.
    pub(super) fn run_released(&mut self) {
        while let Some((id, op)) = self.released.pop_front() {
            self.hand_in(id, op);
            self.enqueue(id);
        }
    }

    /// An operation ended. The socket may have been ready all along and no event will say so
    /// again: its connection must be driven, or go on if it is the one that is being driven.
    pub(super) fn complete(&mut self, done: Completion) {
        let id = done.conn;
        let Some(connection) = lookup(&mut self.connections, id) else {
            unreachable!("a slot outlives its operations")
        };
        connection.session.completed(done, &mut cx!(self));
        if !connection.session.is_changing() {
            self.gate.ended(id, &mut self.released);
        }
        self.log_reports(id);
    }

    fn ask_for_slot(&mut self, id: ConnId) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        if !connection.session.wants_slot() || connection.in_line.is_some() {
            return Progress::Blocked;
        }
        let address = Address::of(connection.peer, &self.limits);
        if connection.session.release_slot(&self.limits) {
            self.admission.give_back(address, &mut self.counters);
        }
        if connection.session.has_ops() {
            return Progress::Blocked; // what is still at the store has this slot's chunks
        }
        if connection.session.holds_slot() {
            // It is full of what came behind the request: that cannot wait for another.
            connection.session.granted(&mut cx!(self));
            return Progress::Moved;
        }
        match self.admission.request(id, address, &mut self.counters) {
            Place::Granted => connection.session.granted(&mut cx!(self)),
            Place::Full => connection.session.not_granted("too many wait for a slot", &mut cx!(self)),
            Place::InLine(ticket) => {
                connection.in_line = Some(ticket);
                return Progress::Blocked;
            }
        }
        Progress::Moved
    }

    /// Free slots go to those in line.
    pub(super) fn admit(&mut self) {
        while let Some(id) = self.admission.admit(&mut self.counters) {
            let connection = lookup(&mut self.connections, id).expect("who goes leaves the line");
            connection.in_line = None;
            if !connection.session.wants_slot() {
                // Its time ran out in this turn, and it was not driven since.
                self.admission.give_back(Address::of(connection.peer, &self.limits), &mut self.counters);
                continue;
            }
            connection.session.granted(&mut cx!(self));
            self.log_reports(id);
            self.enqueue(id);
        }
    }

    fn shut_down(&mut self, id: ConnId) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_mut().filter(|_| connection.session.wants_shutdown()) else {
            return Progress::Blocked;
        };
        if connection.readiness.readable == Readable::Nothing && connection.session.may_close_at_once() {
            connection.session.closed(&mut cx!(self));
            return Progress::Moved;
        }
        match stream.shutdown_write() {
            Ok(()) => connection.session.shut_down(&mut cx!(self)),
            Err(error) => connection.session.lost(CloseReason::PeerReset, &error.to_string(), &mut cx!(self)),
        }
        Progress::Moved
    }

    /// Has the peer's system acknowledged everything we said?
    fn look(&mut self, id: ConnId) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_ref().filter(|_| connection.session.wants_look(&cx!(self))) else {
            return Progress::Blocked;
        };
        match stream.unacknowledged() {
            Ok(n) => connection.session.looked(n, &cx!(self)),
            Err(error) => connection.session.lost(CloseReason::PeerReset, &error.to_string(), &mut cx!(self)),
        }
        Progress::Moved
    }

    /// From here on events tell of the connection. What has come since it was looked at, or ended, is
    /// told of at once. Whose end may be behind the request that was answered is looked at once more, which
    /// costs less than to ask for events and to be told of it.
    fn watch(&mut self, id: ConnId) {
        let Some(connection) = lookup(&mut self.connections, id) else { return };
        if connection.watched == Watched::Yes || connection.session.ended_because().is_some() {
            return;
        }
        if connection.watched == Watched::Heard
            && connection.session.speaks().traits().half_closes_after_request
            && connection.session.waits_for_request()
        {
            connection.watched = Watched::Answered;
            connection.readiness.readable = connection.readiness.readable.max(Readable::Bytes);
            return self.enqueue(id);
        }
        connection.watched = Watched::Yes;
        if let Some(stream) = &mut connection.stream
            && let Err(error) = self.platform.register(stream, id)
        {
            log::warn!("{}: cannot watch the connection: {error}", connection.peer);
            connection.session.given_up(&error.to_string(), &mut cx!(self));
            // What is to be closed for it has no other slice.
            self.enqueue(id);
        }
    }

    /// After every drive: close what is over, take back the slot, arm the timer, free the place.
    fn settle(&mut self, id: ConnId) {
        // Whose answer waits for others is driven again in this turn, or else in the next.
        if self.answered.last() != Some(&id) {
            self.watch(id);
        }
        self.log_reports(id);
        let Some(connection) = lookup(&mut self.connections, id) else { return };
        let peer = connection.peer;
        self.turn_left = self.turn_left.saturating_sub(connection.session.take_work());
        if connection.session.take_wrong_secret() {
            self.guesses.failed(Address::of_any(peer), self.now, &self.limits);
        }
        if let Some(reason) = connection.session.ended_because()
            && let Some(mut stream) = connection.stream.take()
        {
            if connection.session.wants_reset() {
                stream.reset_on_drop();
            }
            drop(stream);
            self.counters.closed[reason as usize] += 1;
            self.accept_after = None; // a descriptor is free again
            connection.log_quota.close(peer);
            log::debug!("{peer}: closed {id}: {reason}");
        }
        if connection.session.release_slot(&self.limits) {
            self.admission.give_back(Address::of(peer, &self.limits), &mut self.counters);
        }
        if let Some(ticket) = connection.in_line.take_if(|_| !connection.session.wants_slot()) {
            self.admission.leave(ticket, Address::of(peer, &self.limits), &mut self.counters);
        }
        connection.session.rest(&mut self.spare);
        if connection.session.is_retirable() {
            debug_assert!(!connection.session.holds_slot(), "a slot would leak");
            self.timers.disarm(id, &mut connection.armed);
            connection.session.retire(&mut self.counters);
            if connection.session.is_admitted() {
                self.admitted -= 1;
                self.addresses.leave(Address::of(peer, &self.limits));
            }
            self.connections.remove(id.slot());
        } else if let Some(at) = connection.session.deadline(&self.limits) {
            self.timers.arm(id, &mut connection.armed, at);
        }
        if self.admission.free() > 0 && self.admission.in_line() > 0 {
            self.admit();
        }
    }
}
