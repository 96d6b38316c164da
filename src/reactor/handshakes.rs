//! Handshakes of encrypted connections, until each is its client's. Never decides what a connection may do.

use std::net::SocketAddr;

use crate::dialect::Kind;
use crate::ids::{ClientAddress, ConnId};
use crate::platform::{Handshake, Platform, Readable, Stream};
use crate::reactor::accept::Newcomer;
use crate::reactor::connections::{Arrival, Stage};
use crate::reactor::listeners::ListenerState;
use crate::reactor::parts::Reactor;
use crate::wire::proxy_header::Header;

impl<P: Platform> Reactor<P> {
    /// Takes a connection of a listener where connections are encrypted.
    pub(super) fn await_handshake(&mut self, mut stream: P::Stream, peer: SocketAddr, listener: usize) {
        let most = self.env.limits.connections_max;
        let is_admitted = match self.has_share(peer, listener) {
            true => self.connections.admit(peer, most),
            false => self.connections.reserve(most),
        };
        if !is_admitted {
            self.env.counters.turned_away += 1;
            return stream.reset_on_drop();
        }
        let id = self.connections.insert_arrival(Arrival::new(stream, peer, listener));
        self.secure(id, peer, 0);
    }

    /// The same, of one from a proxy, whose header is whole.
    pub(super) fn begin_handshake(&mut self, id: ConnId, header: &Header) {
        let Some(arrival) = self.connections.arrival_mut(id) else { return };
        let client = header.client.unwrap_or(arrival.peer);
        let listener = arrival.listener;
        if self.has_share(client, listener) && !self.connections.admit_reserved(client) {
            self.env.counters.turned_away += 1;
            if let Some(mut arrival) = self.remove_arrival(id) {
                arrival.stream.reset_on_drop();
            }
            return;
        }
        self.secure(id, client, header.len);
    }

    /// False where the connections of this address are not those of one client.
    pub(super) fn has_share(&self, client: SocketAddr, listener: usize) -> bool {
        !self.listeners.states[listener].listening.trusts(client.ip())
    }

    /// `begin`: where the bytes of the client begin that have been read.
    fn secure(&mut self, id: ConnId, client: SocketAddr, begin: usize) {
        let is_http = self
            .arrival_listener(id)
            .is_some_and(|listener| matches!(listener.listening.kind(), Kind::Auto | Kind::Http));
        let Some(arrival) = self.connections.arrival_mut(id) else { return };
        arrival.client = Some(client);
        arrival.stage = Stage::Handshake;
        let held = std::mem::take(&mut arrival.held);
        match self.platform.secure(&mut arrival.stream, is_http, &held[begin..]) {
            Ok(()) => self.shake_hands(id),
            Err(error) => self.end_handshake(id, &error.to_string(), false),
        }
    }

    pub(super) fn arrival_listener(&mut self, id: ConnId) -> Option<&ListenerState> {
        let arrival = self.connections.arrival_mut(id)?;
        self.listeners.states.get(arrival.listener)
    }

    /// Continues a handshake as far as it can.
    pub(super) fn shake_hands(&mut self, id: ConnId) {
        let Some(arrival) = self.connections.arrival_mut(id) else { return };
        match arrival.stream.handshake() {
            Ok(Handshake::Done) => self.secured(id),
            Ok(Handshake::Waits) => self.rest_arrival(id),
            Ok(Handshake::NeedsKey) => {
                arrival.stage = Stage::Key;
                self.join_key_queue(id);
                self.rest_arrival(id);
            }
            Ok(Handshake::Failed { reason, is_told }) => self.end_handshake(id, &reason, is_told),
            Err(error) => self.end_handshake(id, &error.to_string(), false),
        }
    }

    fn join_key_queue(&mut self, id: ConnId) {
        let Self { key_queue, connections, env, .. } = self;
        let Some(client) = connections.arrival_mut(id).and_then(|arrival| arrival.client) else { return };
        let client = ClientAddress::of(client);
        key_queue.join(id, client, env.limits.connections_max, |id| connections.arrival_mut(id).is_some());
    }

    /// Gives handshakes of the queue to the thread that uses the private key, as many as it takes. What then waits, an
    /// [`Event::Handshake`](crate::platform::Event::Handshake) continues.
    pub(super) fn use_key(&mut self) {
        loop {
            let Self { key_queue, connections, platform, .. } = self;
            let mut failed = None;
            let taken = key_queue.pop_if(|id| {
                let Some(arrival) = connections.arrival_mut(id) else { return true };
                platform.use_key(&mut arrival.stream, id).unwrap_or_else(|error| {
                    failed = Some(error);
                    true
                })
            });
            match (taken, failed) {
                (Some(id), Some(error)) => self.end_handshake(id, &error.to_string(), false),
                (Some(_), None) => {}
                (None, _) => return,
            }
        }
    }

    /// The private key was used for this handshake.
    pub(super) fn handed_back(&mut self, id: ConnId) {
        // It may have ended meanwhile.
        let Some(arrival) = self.connections.arrival_mut(id) else { return };
        debug_assert_eq!(arrival.stage, Stage::Key, "{id}");
        (arrival.stage, arrival.is_answered) = (Stage::Handshake, true);
        self.shake_hands(id);
    }

    /// From here on the connection is the client's.
    fn secured(&mut self, id: ConnId) {
        let Some(mut arrival) = self.connections.take_arrival(id) else { return };
        self.timers.disarm(id, &mut arrival.timer);
        let Some(client) = arrival.client else { unreachable!("its handshake began with it") };
        // Counted anew, and perhaps as one that is turned away.
        if self.has_share(client, arrival.listener) {
            self.connections.release_share(client);
        }
        let newcomer = Newcomer {
            peer: client,
            listener: arrival.listener,
            place: Some(id),
            held: Vec::new(),
            readable: arrival.readable.max(Readable::Bytes),
            registration: arrival.registration,
        };
        self.welcome(arrival.stream, newcomer);
    }

    /// `is_told`: the client was sent an answer, which a reset would destroy.
    pub(super) fn end_handshake(&mut self, id: ConnId, reason: &str, is_told: bool) {
        let Some(mut arrival) = self.remove_arrival(id) else { return };
        if is_told {
            let _ = arrival.stream.shutdown_write();
            // Closing a socket with unread bytes would reset the connection.
            let _ = arrival.stream.recv(&mut self.buffers.scratch);
        } else {
            // A plain end would mean success to some clients that do not speak TLS.
            arrival.stream.reset_on_drop();
        }
        if reason.is_empty() {
            return;
        }
        let failed = &mut self.env.counters.handshakes_failed;
        *failed += 1;
        if failed.is_power_of_two() {
            let client = arrival.client.unwrap_or(arrival.peer);
            log::warn!("{client}: the TLS handshake failed: {reason} ({failed} so far)");
        }
    }
}
