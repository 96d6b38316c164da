//! What must hold between turns, as debug builds and the simulator check it after each. Changes nothing.

use crate::counters::Counters;
use crate::ids::ConnId;
use crate::platform::{Platform, Readable};
use crate::reactor::connections::{Connection, Registration};
use crate::reactor::env::Env;
use crate::reactor::name_locks::NameLocks;
use crate::reactor::parts::Reactor;
use crate::session::state::Name;
use crate::session::{DiskPace, Holdings, Ops};

impl<P: Platform> Reactor<P> {
    /// Panics where something does not hold that must hold between turns.
    pub fn check_invariants(&mut self) {
        let mut slots = self.env.admission.free();
        let (mut without_slot, mut held) = (0, 0);
        for (id, connection) in self.connections.iter_mut() {
            let holdings = connection.session.holdings(&self.env.limits);
            slots += usize::from(holdings.slot.is_held());
            without_slot += usize::from(holdings.slot.is_share_only());
            held += holdings.groups;
            if connection.session.ended().is_none() {
                connection.unused.check(connection.session.held().len);
            }
            if !connection.is_queued && !self.env.pacing.waits(id) {
                check_resting(id, connection, &mut self.env, &self.locks);
            }
        }
        assert_eq!(slots, self.env.limits.fixed.slots, "slots that are free and slots that are held");
        let admission = &self.env.admission;
        assert_eq!(without_slot, admission.without_slot(), "uploads without a slot");
        assert!(
            without_slot <= self.env.limits.fixed.uploads_without_slot_max,
            "{without_slot} uploads without a slot"
        );
        admission.check();
        assert_eq!(self.env.groups.refs(), held, "references to client groups");
        assert!(!self.env.admission.may_grant(), "a slot is free, and a request waits for one");
        let connections = &self.connections;
        self.env.pacing.check(|id| connections.get(id).is_some_and(|connection| connection.is_queued));
        // What one connection moves is bounded by its buffer, and the next of its client waits.
        let limits = &self.env.limits;
        let debt_max = limits.fixed.held_bytes_max() + limits.fixed.head_len_max + limits.fixed.turn_bytes_min;
        assert!(self.env.groups.debt_max(self.env.clock.now) <= debt_max as u64, "a client moved more than it may");
        self.check_counters();
    }

    /// What is changed in place must be what a count gives.
    fn check_counters(&self) {
        let Counters { open, states, dialects, slots_used, slots_waiting, .. } = &self.env.counters;
        let mut counted = ([0; Counters::STATES.len()], [0; Counters::DIALECTS_MAX]);
        for (_, connection) in self.connections.iter() {
            counted.0[connection.session.state() as usize] += 1;
            counted.1[connection.session.peer().speaks as usize] += 1;
        }
        assert_eq!((*open, *states, *dialects), (counted.0.iter().sum(), counted.0, counted.1));
        let slots = (self.env.limits.fixed.slots - self.env.admission.free(), self.env.admission.waiting());
        assert_eq!((*slots_used, *slots_waiting), (slots.0 as u64, slots.1 as u64));
    }
}

/// A connection that is in no queue must have something that wakes it.
fn check_resting<S>(id: ConnId, connection: &mut Connection<S>, env: &mut Env, locks: &NameLocks) {
    let session = &mut connection.session;
    let (limits, held, state, deadline) = (&env.limits, session.held(), session.state(), session.deadline(&env.limits));
    let Holdings { slot, sends, .. } = session.holdings(limits);
    let (has_slot, is_queued, has_share) = (slot.is_held(), slot.is_waiting(), slot.is_share_only());
    assert!(slot.credits() <= limits.fixed.chunks_per_slot, "more credits at home than a slot has");
    let held_max = limits.fixed.head_len_max.max(if has_slot { limits.fixed.message_bytes_max } else { 0 });
    assert!(held.len <= held_max, "more bytes held than a head or a message may have");
    let ops = session.ops();
    let is_woken = deadline.is_some() || ops != Ops::None || state == Name::Done;
    assert!(is_woken, "{state:?}: no deadline, no operation: nothing would wake it");
    assert!(
        ops != Ops::None || deadline.is_none() || connection.timer.is_some(),
        "{id}: a deadline that no timer knows of"
    );
    let has_events = connection.registration == Registration::Registered || connection.stream.is_none();
    assert!(has_events, "{id}: in no queue, and not registered for events");
    let (readable, writable) = (connection.readable, connection.writable);
    let sends = writable && sends;
    // A connection with an operation is driven when that completes.
    let rests = ops == Ops::None;
    let reads = ops != Ops::Own && readable != Readable::Nothing && session.intake(&env.cx()) > 0;
    let more = readable != Readable::Nothing || held.is_unseen;
    let opens = state == Name::Opening || state == Name::ReceivingBody && more;
    assert!(opens || !locks.is_opening(id.into()), "{id}: holds up other changes of its name: {state:?}");
    let is_idle = connection.stream.is_none() || !sends && !reads;
    assert!(is_idle, "{id}: ready, willing, and in no queue: {state:?}");
    let waits = state == Name::AwaitSlot;
    let lacks_slot = rests && has_share && state == Name::ReceivingBody && env.disk.pace == DiskPace::Lags && more;
    assert!(!lacks_slot, "{id}: has bytes for chunks, has no slot, and asked for none");
    assert!(!waits || !rests || is_queued, "{id}: wants a slot, and is not in the wait queue");
    assert!(waits || !is_queued, "{id}: in the wait queue, and wants no slot");
}
