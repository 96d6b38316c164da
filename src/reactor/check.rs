//! What must hold between turns, as debug builds and the simulator check it after each. Changes nothing.

use crate::counters::Counters;
use crate::platform::{Platform, Readable};
use crate::reactor::{Queued, Reactor, Readiness, Watched, conn_id, cx};
use crate::session::Outgoing;
use crate::session::state::Name;

impl<P: Platform> Reactor<P> {
    /// What must hold between turns.
    pub fn check_invariants(&mut self) {
        let mut slots = self.admission.free();
        for (slot, connection) in &mut self.connections {
            let id = conn_id(slot, connection.generation);
            slots += usize::from(connection.session.holds_slot());
            if connection.session.ended_because().is_none() {
                connection.unused.check(connection.session.held_len());
            }
            if connection.queued == Queued::No {
                connection.session.check_invariants(&self.limits);
                let deadline = connection.session.deadline(&self.limits);
                assert!(
                    connection.session.has_ops() || deadline.is_none() || connection.armed.is_some(),
                    "{id}: a deadline that no timer knows of"
                );
                let is_told_of = connection.watched == Watched::Yes || connection.stream.is_none();
                assert!(is_told_of, "{id}: in no queue, and no event will tell of it");
                let Readiness { readable, writable } = connection.readiness;
                let sends = writable && connection.session.outgoing() != Outgoing::Nothing;
                // What is at the store drives the connection when it completes.
                let rests = !connection.session.has_ops();
                let reads = rests && readable != Readable::Nothing && connection.session.intake(&cx!(self)) > 0;
                let state = connection.session.state();
                let more = readable != Readable::Nothing || connection.session.has_unseen();
                let opens = state == Name::Opening || state == Name::ReceivingBody && more;
                assert!(opens || !self.gate.is_opening(id), "{id}: holds up other changes of its name: {state:?}");
                let idle = connection.stream.is_none() || !sends && !reads;
                assert!(idle, "{id}: ready, willing, and in no queue: {:?}", connection.session.state());
                let waits = connection.session.wants_slot();
                assert!(!waits || !rests || connection.in_line.is_some(), "{id}: waits for a slot, and is not in line");
                assert!(waits || connection.in_line.is_none(), "{id}: in line, and wants no slot");
            }
        }
        assert_eq!(slots, self.limits.slots, "slots that are free and slots that are held");
        assert!(self.admission.free() == 0 || self.admission.in_line() == 0, "a slot is free, and somebody waits");
        self.check_counters();
    }

    /// What is changed in place must be what a count gives.
    fn check_counters(&self) {
        let Counters { open, states, dialects, slots_used, slots_waiting, .. } = &self.counters;
        let mut counted = ([0; Counters::STATES.len()], [0; Counters::DIALECTS_MAX]);
        for (_, connection) in &self.connections {
            counted.0[connection.session.state() as usize] += 1;
            counted.1[connection.session.speaks() as usize] += 1;
        }
        assert_eq!((*open, *states, *dialects), (self.connections.len() as u64, counted.0, counted.1));
        let slots = (self.limits.slots - self.admission.free(), self.admission.queued());
        assert_eq!((*slots_used, *slots_waiting), (slots.0 as u64, slots.1 as u64));
    }
}
