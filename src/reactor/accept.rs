//! Accepting: how many connections at a time, what happens when there are too many, and when
//! descriptors run out. Accepting never spins and never forgets the backlog.

use std::net::SocketAddr;
use std::time::Duration;

use crate::dialect::{AnyProtocol, Secret};
use crate::ids::ClientAddress;
use crate::ids::{ConnId, ListenerId};
use crate::platform::{AcceptError, Platform, Readable, Stream};
use crate::reactor::connections::{Connection, Registration};
use crate::reactor::parts::Reactor;
use crate::session::{PeerRole, Session};

/// A connection at its beginning.
pub(super) struct Newcomer {
    /// The client.
    pub peer: SocketAddr,
    /// The place of its listener.
    pub listener: usize,
    /// Where it arrived, if it came from a proxy.
    pub place: Option<ConnId>,
    /// The first bytes of the client, as far as they have been read.
    pub held: Vec<u8>,
    pub readable: Readable,
    pub registration: Registration,
}

impl<P: Platform> Reactor<P> {
    /// Takes a bounded number of connections from each listener.
    pub(super) fn accept(&mut self) {
        self.listeners.retry_at = self.listeners.retry_at.filter(|at| *at > self.env.clock.now);
        if self.listeners.retry_at.is_some() {
            return;
        }
        for index in 0..self.listeners.states.len() {
            let listener = ListenerId(u16::try_from(index).expect("the builder refuses more listeners"));
            for _ in 0..self.env.limits.accepts_per_turn {
                if !self.listeners.states[index].has_backlog {
                    break;
                }
                match self.platform.accept(listener) {
                    Ok((stream, peer)) => self.accepted(stream, peer, index),
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
        self.listeners.retry_at = Some(self.env.clock.now + self.env.limits.accept_retry);
    }

    fn accepted(&mut self, stream: P::Stream, peer: SocketAddr, listener: usize) {
        self.env.counters.accepted += 1;
        if self.listeners.states[listener].proxies.is_some() {
            return self.await_header(stream, peer, listener);
        }
        if self.listeners.states[listener].is_tls {
            return self.await_handshake(stream, peer, listener);
        }
        // A client that sends first has often sent already.
        let (readable, registration) = (Readable::Bytes, Registration::NotYet);
        self.welcome(stream, Newcomer { peer, listener, place: None, held: Vec::new(), readable, registration });
    }

    /// Begins to converse with a client, or turns it away.
    pub(super) fn welcome(&mut self, mut stream: P::Stream, newcomer: Newcomer) {
        let (env, peer, place) = (&mut self.env, newcomer.peer, newcomer.place);
        let listening = &self.listeners.states[newcomer.listener].listening;
        // Its connections are not those of one client.
        let is_trusted = listening.trusts(peer.ip());
        let shows_secrets = env.access.takes_credentials() && listening.kind().traits().secret != Secret::Unknown;
        let is_admitted = match place {
            None if is_trusted => self.connections.reserve(env.limits.connections_max),
            None => self.connections.admit(peer, env.limits.connections_max),
            Some(_) => is_trusted || self.connections.admit_reserved(peer),
        };
        if is_admitted {
            let wait = match shows_secrets && !is_trusted {
                true => env.guesses.wait(ClientAddress::of(peer), env.clock.now, &env.limits),
                false => Some(Duration::ZERO),
            };
            let dialect = listening.accept(peer);
            let id = self.converse(stream, newcomer, dialect);
            if let Some(connection) = self.connections.get_mut(id) {
                let session = &mut connection.session;
                match wait {
                    _ if is_trusted => session.set_peer_role(PeerRole::TrustedProxy),
                    Some(Duration::ZERO) => {}
                    Some(wait) => session.wait_first(wait, &mut self.env.cx()),
                    None => session.set_peer_role(PeerRole::LimitedClient),
                }
            }
            return;
        }
        env.counters.turned_away += 1;
        let has_entry = self.connections.turned_away() < env.limits.turned_away_max;
        if let Some(dialect) = listening.turn_away(&env.limits).filter(|_| has_entry) {
            self.converse(stream, newcomer, dialect);
            return;
        }
        match listening.kind().traits().turned_away {
            // Without a refusal in the dialect, a plain end would mean success to the client.
            b"" => stream.reset_on_drop(),
            refusal => {
                // A fresh socket takes so few bytes at once; if not, the client sees a plain close.
                let _ = stream.send(&[refusal], false);
                let _ = stream.shutdown_write();
            }
        }
        // Closing a socket with unread bytes would reset the connection before the refusal is read.
        let _ = stream.recv(&mut self.buffers.scratch);
        if let Some(id) = place {
            self.connections.free_reserved(id);
            self.listeners.retry_at = None; // a descriptor is free again
        }
    }

    fn converse(&mut self, stream: P::Stream, newcomer: Newcomer, dialect: AnyProtocol) -> ConnId {
        let Newcomer { peer, place, held, readable, registration, .. } = newcomer;
        self.env.certificate = None; // it speaks for nobody before it has a request
        let mut session = Session::new(dialect, peer, &mut self.env.cx());
        session.begin_with(held);
        let mut connection = Connection::new(stream, session, readable, registration);
        connection.unused.add(connection.session.held_len());
        self.env.log_reports(peer, &mut connection.log_quota);
        let id = match place {
            None => self.connections.insert(connection),
            Some(id) => {
                self.connections.open(id, connection);
                id
            }
        };
        log::debug!("{peer}: connected as {id}");
        if let Some(mut driver) = self.driver(id) {
            driver.enqueue();
        }
        id
    }
}
