//! New connections: how many at a time, what happens when there are too many, and when
//! descriptors run out. Accepting never spins and never forgets the backlog.

use std::net::SocketAddr;
use std::time::Duration;

use crate::dialect::{AnyProtocol, Listening, Secret};
use crate::ids::{ConnId, ListenerId};
use crate::platform::{AcceptError, Platform, Readable, Stream};
use crate::reactor::addresses::Address;
use crate::reactor::{Connection, Queued, Reactor, Readiness, Unused, Watched, conn_id, cx, logging::LogQuota, lookup};
use crate::session::Session;

/// One listener: what it speaks, and whether connections may be waiting.
#[derive(Clone, Debug)]
pub(super) struct Door {
    listening: Listening,
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Maybe,
    Nobody,
}

impl Door {
    /// Registering a listener does not tell of those who came before: look once.
    pub(super) const fn new(listening: Listening) -> Self {
        Self { listening, waiting: Waiting::Maybe }
    }

    /// An event says that somebody waits.
    pub(super) const fn open(&mut self) {
        self.waiting = Waiting::Maybe;
    }
}

impl<P: Platform> Reactor<P> {
    /// Is there somebody to accept in the next turn?
    pub(super) fn may_accept(&self) -> bool {
        self.accept_after.is_none() && self.doors.iter().any(|door| door.waiting == Waiting::Maybe)
    }

    /// Takes a bounded number of connections from each listener.
    pub(super) fn accept(&mut self) {
        if self.accept_after.is_some_and(|at| at <= self.now) {
            self.accept_after = None;
        }
        if self.accept_after.is_some() {
            return;
        }
        for place in 0..self.doors.len() {
            let listener = ListenerId(u16::try_from(place).expect("the builder refuses more listeners"));
            for _ in 0..self.limits.accepts_per_turn {
                if self.doors[place].waiting == Waiting::Nobody {
                    break;
                }
                match self.platform.accept(listener) {
                    Ok((stream, peer)) => self.admit_connection(stream, peer, place),
                    Err(AcceptError::Empty) => self.doors[place].waiting = Waiting::Nobody,
                    Err(AcceptError::Gone(error)) => {
                        log::debug!("a connection was gone before it was accepted: {error}");
                    }
                    Err(AcceptError::Exhausted(error)) => return self.rest(listener, &error),
                }
            }
        }
    }

    /// Descriptors ran out: the edge is consumed and nobody will repeat it, so remember, tell one
    /// peer with the descriptor kept in reserve, and look again soon.
    fn rest(&mut self, listener: ListenerId, error: &std::io::Error) {
        self.counters.accept_exhausted += 1;
        if self.counters.accept_exhausted.is_power_of_two() {
            log::warn!("cannot accept connections: {error}; they wait until one ends");
        }
        self.platform.shed(listener);
        self.accept_after = Some(self.now + self.limits.accept_retry);
    }

    fn admit_connection(&mut self, mut stream: P::Stream, peer: SocketAddr, place: usize) {
        let door = &self.doors[place];
        self.counters.accepted += 1;
        let wait = match self.access.needs_secret() && door.listening.kind().traits().secret != Secret::Unknown {
            true => self.guesses.wait(Address::of_any(peer), self.now, &self.limits),
            false => Some(Duration::ZERO),
        };
        if let Some(wait) = wait
            && self.admitted < self.limits.connections_max
            && self.addresses.enter(Address::of(peer, &self.limits))
        {
            self.admitted += 1;
            let dialect = door.listening.accept(peer);
            let id = self.converse(stream, peer, dialect);
            if !wait.is_zero()
                && let Some(connection) = lookup(&mut self.connections, id)
            {
                connection.session.wait_first(wait, &mut cx!(self));
            }
            return;
        }
        self.counters.turned_away += 1;
        let heard = self.connections.len() - self.admitted < self.limits.turned_away_max;
        if let Some(dialect) = door.listening.turn_away(&self.limits).filter(|_| heard) {
            self.converse(stream, peer, dialect);
            return;
        }
        match door.listening.kind().traits().turned_away {
            // To a client that is told nothing a plain end means success.
            b"" => stream.reset_on_drop(),
            words => {
                // A fresh socket takes so few bytes at once; if not, the peer sees a plain close.
                let _ = stream.send(&[words], false);
                let _ = stream.shutdown_write();
            }
        }
        let _ = stream.recv(&mut self.scratch);
    }

    fn converse(&mut self, stream: P::Stream, peer: SocketAddr, dialect: AnyProtocol) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let id = conn_id(entry.key(), self.generation);
        let session = Session::new(dialect, &mut cx!(self));
        entry.insert(Connection {
            stream: Some(stream),
            session,
            // Optimistic: a client that speaks first has often spoken already.
            readiness: Readiness { readable: Readable::Bytes, writable: true },
            watched: Watched::NotYet,
            generation: self.generation,
            peer,
            queued: Queued::No,
            in_line: None,
            armed: None,
            unused: Unused::default(),
            log_quota: LogQuota::default(),
        });
        self.log_reports(id);
        log::debug!("{peer}: connected as {id}");
        self.enqueue(id);
        id
    }
}
