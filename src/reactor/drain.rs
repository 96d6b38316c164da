//! The end of the server: drain, which lets transfers finish, stop, which cuts them off, and hand-over, which serves
//! all that was accepted while another process accepts.

use std::time::{Duration, Instant};

use crate::dialect::Phase;
use crate::ids::ConnId;
use crate::platform::{Platform, Readable, Signal, Store as _};
use crate::reactor::parts::{Lifecycle, Reactor};
use crate::session::state::Name;
use crate::session::{ArrivalEvent, Event, Load, Session};

impl<P: Platform> Reactor<P> {
    /// True once nothing is left to do.
    pub fn has_ended(&self) -> bool {
        let is_empty = self.connections.len() == 0;
        match self.lifecycle {
            Lifecycle::Serving => false,
            Lifecycle::Draining { listening_until, .. } => is_empty && self.env.clock.now >= listening_until,
            Lifecycle::HandingOver { .. } | Lifecycle::Stopped { .. } => is_empty,
        }
    }

    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        match self.lifecycle {
            Lifecycle::Draining { listening_until, until } => {
                Some(if self.env.clock.now < listening_until { listening_until } else { until })
            }
            Lifecycle::HandingOver { until } => Some(until),
            Lifecycle::Serving | Lifecycle::Stopped { .. } => None,
        }
    }

    pub(super) fn signalled(&mut self, signal: Signal) {
        let limits = &self.env.limits.live;
        match (signal, self.lifecycle) {
            (Signal::Drain, Lifecycle::Serving) => self.drain(limits.drain_grace),
            // The listeners are another process's.
            (Signal::Drain, Lifecycle::HandingOver { .. }) => self.drain(Duration::ZERO),
            (Signal::Drain, Lifecycle::Draining { .. }) | (Signal::Stop, _) => self.stop(),
            (Signal::HandOver, Lifecycle::Serving) => self.hand_over(),
            (Signal::TakeBack, Lifecycle::HandingOver { .. }) => self.take_back(),
            (Signal::Drain, Lifecycle::Stopped { .. }) | (Signal::HandOver | Signal::TakeBack, _) => {}
        }
    }

    fn drain(&mut self, grace: Duration) {
        let time = self.env.limits.live.drain_timeout;
        log::info!("draining: running transfers have {time:?} to end");
        let listening_until = self.env.clock.now + grace;
        self.lifecycle = Lifecycle::Draining { listening_until, until: listening_until + time };
        self.env.phase = Phase::Draining;
    }

    fn hand_over(&mut self) {
        let (time, open) = (self.env.limits.live.handover_timeout, self.connections.len());
        log::info!("another process serves new connections; the {open} of this one have {time:?} to end");
        self.lifecycle = Lifecycle::HandingOver { until: self.env.clock.now + time };
        self.env.phase = Phase::HandingOver;
        self.listeners.rest();
        self.platform.rest_listeners();
        self.platform.store().set_superseded(true);
    }

    /// The process that has taken over is gone, and clients wait at listeners that nothing else serves.
    fn take_back(&mut self) {
        log::warn!("the process that has taken over has ended: new connections are served here again");
        self.lifecycle = Lifecycle::Serving;
        self.env.phase = Phase::Serving;
        self.platform.store().set_superseded(false);
        // What locks it has granted.
        self.renew_locks();
        if let Err(error) = self.platform.watch_listeners() {
            log::error!("cannot watch the listeners: {error}");
        }
        self.listeners.accept_again();
    }

    pub(super) fn advance_drain(&mut self) {
        match self.lifecycle {
            Lifecycle::Draining { listening_until, until } => {
                let is_listening = self.env.clock.now < listening_until;
                if !is_listening && !self.listeners.states.is_empty() {
                    self.close_listeners();
                }
                if self.env.clock.now >= until {
                    self.stop();
                } else if !is_listening && self.only_idle_connections() {
                    self.tell_all(|_| Event::Drained);
                }
            }
            Lifecycle::HandingOver { until } if self.env.clock.now >= until => self.stop(),
            Lifecycle::HandingOver { .. } if self.env.lock_check.locks.is_settled() => self.platform.has_handed_over(),
            Lifecycle::HandingOver { .. } | Lifecycle::Serving | Lifecycle::Stopped { .. } => {}
        }
    }

    /// Idle connections stay until nothing else runs, so that a request on them is still refused with a reason.
    fn only_idle_connections(&self) -> bool {
        let mut idle = 0_usize;
        for (_, connection) in self.connections.iter() {
            let waits = connection.session.state() == Name::AwaitHeader;
            if connection.session.load() != Load::Idle || waits && connection.readable != Readable::Nothing {
                return false;
            }
            idle += usize::from(waits);
        }
        idle > 0
    }

    fn stop(&mut self) {
        log::info!("stopping");
        let mut cut_off = if let Lifecycle::Stopped { cut_off } = self.lifecycle { cut_off } else { 0 };
        self.env.phase = Phase::Draining;
        self.close_listeners();
        self.tell_all(|session| {
            cut_off += usize::from(session.load() == Load::Serving);
            Event::Stopped
        });
        self.lifecycle = Lifecycle::Stopped { cut_off };
    }

    fn close_listeners(&mut self) {
        self.tell_all(|_| Event::Arrival(ArrivalEvent::ListenersClosed));
        self.listeners.states.clear();
        self.platform.close_listeners();
    }

    /// Tells every session something; what it then wants, the next turn does.
    fn tell_all(&mut self, mut event: impl FnMut(&Session) -> Event<'static>) {
        let ids: Vec<ConnId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(mut driver) = self.driver(id) {
                driver.tell(event(&driver.connection.session));
            }
        }
    }
}
