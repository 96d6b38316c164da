//! The end of the server: drain, which lets transfers finish, and stop, which cuts them off.

use std::time::Instant;

use crate::dialect::Phase;
use crate::ids::ConnId;
use crate::platform::{Platform, Readable, Signal};
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
            Lifecycle::Stopped { .. } => is_empty,
        }
    }

    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        match self.lifecycle {
            Lifecycle::Draining { listening_until, until } => {
                Some(if self.env.clock.now < listening_until { listening_until } else { until })
            }
            Lifecycle::Serving | Lifecycle::Stopped { .. } => None,
        }
    }

    pub(super) fn signalled(&mut self, signal: Signal) {
        match (signal, self.lifecycle) {
            (Signal::Drain, Lifecycle::Serving) => {
                let limits = &self.env.limits;
                log::info!("draining: running transfers have {:?} to end", limits.live.drain_timeout);
                let listening_until = self.env.clock.now + limits.live.drain_grace;
                let until = listening_until + limits.live.drain_timeout;
                self.lifecycle = Lifecycle::Draining { listening_until, until };
                self.env.phase = Phase::Draining;
            }
            (Signal::Drain, Lifecycle::Draining { .. }) | (Signal::Stop, _) => self.stop(),
            (Signal::Drain, Lifecycle::Stopped { .. }) => {}
        }
    }

    pub(super) fn advance_drain(&mut self) {
        let Lifecycle::Draining { listening_until, until } = self.lifecycle else { return };
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
