//! What is known of each listener, and when to accept again after descriptors ran out.

use std::net::SocketAddr;
use std::time::Instant;

use crate::config::Networks;
use crate::dialect::Listening;
use crate::ids::{ListenerId, UNIX_PEER};
use crate::session::PeerRole;

/// One listener.
#[derive(Debug)]
pub struct ListenerSetup {
    /// What it speaks.
    pub listening: Listening,
    /// Where connections are accepted only from these, each with a header that says for which client it is.
    pub proxies: Option<Networks>,
    /// True where connections are encrypted.
    pub is_tls: bool,
}

impl From<Listening> for ListenerSetup {
    fn from(listening: Listening) -> Self {
        Self { listening, proxies: None, is_tls: false }
    }
}

#[derive(Debug)]
pub(super) struct ListenerState {
    pub listening: Listening,
    /// See [`ListenerSetup::proxies`].
    pub proxies: Option<Networks>,
    /// See [`ListenerSetup::is_tls`].
    pub is_tls: bool,
    /// False once `accept` found the backlog empty, until an event reports the next connection.
    pub has_backlog: bool,
}

impl ListenerState {
    /// What a connection of this client is.
    pub(super) fn role_of(&self, client: SocketAddr) -> PeerRole {
        match client {
            _ if self.listening.trusts(client.ip()) => PeerRole::TrustedProxy,
            _ if self.proxies.is_none() && self.listening.is_admin() => PeerRole::Operator,
            UNIX_PEER => PeerRole::LocalClient,
            _ => PeerRole::Client,
        }
    }
}

#[derive(Debug)]
pub(super) struct Listeners {
    /// By `ListenerId`; empty once the listeners are closed.
    pub states: Vec<ListenerState>,
    /// Set when descriptors ran out: nothing is accepted until then, or until a connection ends.
    pub retry_at: Option<Instant>,
}

impl Listeners {
    pub(super) fn new(listeners: Vec<ListenerSetup>) -> Self {
        // Registering a listener reports no connection that came before: try `accept` once.
        let state = |ListenerSetup { listening, proxies, is_tls }| ListenerState {
            listening,
            proxies,
            is_tls,
            has_backlog: true,
        };
        Self { states: listeners.into_iter().map(state).collect(), retry_at: None }
    }

    /// Nothing is accepted, until an event reports a connection.
    pub(super) fn rest(&mut self) {
        self.retry_at = None;
        self.states.iter_mut().for_each(|state| state.has_backlog = false);
    }

    /// Connections may have come unreported.
    pub(super) fn accept_again(&mut self) {
        self.states.iter_mut().for_each(|state| state.has_backlog = true);
    }

    /// `None` once the listeners are closed.
    pub(super) fn get(&self, ListenerId(index): ListenerId) -> Option<&ListenerState> {
        self.states.get(usize::from(index))
    }

    /// An event: connections may be waiting at a listener.
    pub(super) fn acceptable(&mut self, ListenerId(index): ListenerId) {
        if let Some(state) = self.states.get_mut(usize::from(index)) {
            state.has_backlog = true;
        }
    }

    /// True while the next turn has something to accept.
    pub(super) fn may_accept(&self) -> bool {
        self.retry_at.is_none() && self.states.iter().any(|state| state.has_backlog)
    }
}
