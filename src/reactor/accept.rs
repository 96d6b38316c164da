//! Accepting: how many connections at a time, and what happens when descriptors run out. Accepting never spins and never forgets the backlog.

use crate::ids::ListenerId;
use crate::platform::{AcceptError, Platform};
use crate::reactor::parts::Reactor;

impl<P: Platform> Reactor<P> {
    /// Takes a bounded number of connections from each listener.
    pub(super) fn accept(&mut self) {
        self.listeners.retry_at = self.listeners.retry_at.filter(|at| *at > self.env.clock.now);
        if self.listeners.retry_at.is_some() {
            return;
        }
        for index in 0..self.listeners.states.len() {
            let listener = ListenerId(u16::try_from(index).expect("the builder refuses more listeners"));
            for _ in 0..self.env.limits.fixed.accepts_per_turn {
                if !self.listeners.states[index].has_backlog {
                    break;
                }
                match self.platform.accept(listener) {
                    Ok((stream, peer)) => self.accepted(stream, peer, listener),
                    Err(AcceptError::Empty) => self.listeners.states[index].has_backlog = false,
                    Err(AcceptError::Gone(error)) => {
                        log::debug!("a connection was gone before it was accepted: {error}");
                    }
                    Err(AcceptError::Exhausted(error)) => return self.exhausted(listener, &error),
                }
            }
        }
    }

    /// Descriptors ran out: the edge is consumed and no event will repeat it, so remember it, reset one
    /// connection with the descriptor kept in reserve, and try again soon.
    fn exhausted(&mut self, listener: ListenerId, error: &std::io::Error) {
        self.env.counters.accept_exhausted += 1;
        if self.env.counters.accept_exhausted.is_power_of_two() {
            log::warn!("cannot accept connections: {error}; they wait until one ends");
        }
        self.platform.shed(listener);
        self.listeners.retry_at = Some(self.env.clock.now + self.env.limits.live.accept_retry);
    }
}
