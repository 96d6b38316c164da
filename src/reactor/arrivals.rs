//! Connections that are not their clients' yet. Each that comes from a proxy begins with a header that says which
//! client it is from; `handshakes` has those that are to be encrypted, behind that. Until then a connection has an
//! entry, a timer and the bytes of the header; then it is accepted as its client's.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::ids::ConnId;
use crate::platform::{Platform, Readable, Store, Stream};
use crate::reactor::accept::Newcomer;
use crate::reactor::connections::{Arrival, Registration, Stage};
use crate::reactor::parts::Reactor;
use crate::reactor::timers::Deadline;
use crate::wire::proxy_header::{self, Header};

/// What became of a connection that is to begin with a header.
enum Outcome {
    /// Its first bytes are those of the client.
    Is(Header),
    /// More bytes are needed.
    Incomplete,
    /// The connection is over.
    Ended(Option<String>),
}

impl<P: Platform> Reactor<P> {
    /// Takes a connection of a listener for proxies, if it comes from one.
    pub(super) fn await_header(&mut self, mut stream: P::Stream, peer: SocketAddr, listener: usize) {
        let is_trusted = self.listeners.states[listener].proxies.as_ref().is_some_and(|own| own.contain(peer.ip()));
        if !is_trusted {
            self.count_refusal(peer, "its address is not that of a proxy");
            return stream.reset_on_drop();
        }
        if !self.connections.reserve(self.env.limits.connections_max) {
            self.env.counters.turned_away += 1;
            return stream.reset_on_drop();
        }
        let id = self.connections.insert_arrival(Arrival::new(stream, peer, listener));
        self.read_header(id);
    }

    /// An event of a connection that is no client's yet; false if it is none of these.
    pub(super) fn arrival_event(&mut self, id: ConnId, readable: Readable) -> bool {
        let Some(arrival) = self.connections.arrival_mut(id) else { return false };
        arrival.readable = readable.max(arrival.readable);
        match arrival.stage {
            Stage::Header => self.read_header(id),
            Stage::Handshake => self.shake_hands(id),
            // A client that ends its stream before it is answered never ends the handshake.
            Stage::Key if readable == Readable::BytesThenEnd && !arrival.is_answered => {
                self.end_arrival(id, None);
            }
            Stage::Key => {}
        }
        true
    }

    /// The header or the handshake did not come in time.
    pub(super) fn arrival_expired(&mut self, id: ConnId, at: Deadline) {
        let Some(arrival) = self.connections.arrival_mut(id).filter(|arrival| arrival.timer == Some(at)) else {
            return;
        };
        arrival.timer = None;
        match arrival.stage {
            Stage::Header => self.end_arrival(id, Some("the header is not whole in time")),
            Stage::Handshake | Stage::Key => {
                self.end_handshake(id, "it does not end in time", false);
            }
        }
    }

    /// No listener is left.
    pub(super) fn end_arrivals(&mut self) {
        for id in self.connections.arrivals() {
            self.end_arrival(id, None);
        }
    }

    fn read_header(&mut self, id: ConnId) {
        match self.receive_header(id) {
            Outcome::Is(header) => self.identified(id, header),
            Outcome::Ended(reason) => self.end_arrival(id, reason.as_deref()),
            Outcome::Incomplete => self.rest_arrival(id),
        }
    }

    /// Receives until the header is whole or the socket is empty. What is behind the header, and the header, are no
    /// more bytes than a connection may hold of a head.
    fn receive_header(&mut self, id: ConnId) -> Outcome {
        let len_max = self.env.limits.head_len_max;
        let Some(arrival) = self.connections.arrival_mut(id) else { return Outcome::Ended(None) };
        loop {
            let free = len_max - arrival.held.len();
            match arrival.stream.recv(&mut self.buffers.scratch[..free]) {
                // A proxy that checks whether this port is open says nothing.
                Ok(0) if arrival.held.is_empty() => return Outcome::Ended(None),
                Ok(0) => return Outcome::Ended(Some("the connection ended within its header".to_owned())),
                Ok(n) => {
                    self.platform.store().received();
                    arrival.held.extend_from_slice(&self.buffers.scratch[..n]);
                    match proxy_header::parse(&arrival.held, len_max) {
                        Ok(Some(header)) => return Outcome::Is(header),
                        Ok(None) => {}
                        Err(error) => return Outcome::Ended(Some(error.to_string())),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Incomplete,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Outcome::Ended(None),
            }
        }
    }

    /// Waits for more: an event or the timer.
    pub(super) fn rest_arrival(&mut self, id: ConnId) {
        let Some(arrival) = self.connections.arrival_mut(id) else { return };
        if arrival.registration == Registration::Registered {
            return;
        }
        arrival.registration = Registration::Registered;
        // Events that come from now on tell what there is to read.
        arrival.readable = Readable::Nothing;
        self.timers.arm(id, &mut arrival.timer, self.env.clock.now + self.env.limits.head_timeout);
        if let Err(error) = self.platform.register(&mut arrival.stream, id) {
            log::warn!("{}: cannot register the connection for events: {error}", arrival.peer);
            self.end_arrival(id, None);
        }
    }

    /// From here on the connection is the client's, unless it is to be encrypted first.
    fn identified(&mut self, id: ConnId, header: Header) {
        if self.arrival_listener(id).is_some_and(|listener| listener.is_tls) {
            return self.begin_handshake(id, &header);
        }
        let Some(mut arrival) = self.connections.take_arrival(id) else { return };
        self.timers.disarm(id, &mut arrival.timer);
        let client = header.client.unwrap_or(arrival.peer);
        log::debug!("{}: a proxy's connection, for {client}", arrival.peer);
        let newcomer = Newcomer {
            peer: client,
            listener: arrival.listener,
            place: Some(id),
            held: arrival.held.split_off(header.len),
            readable: arrival.readable.max(Readable::Bytes),
            registration: arrival.registration,
        };
        self.welcome(arrival.stream, newcomer);
    }

    /// Frees everything but the stream.
    pub(super) fn remove_arrival(&mut self, id: ConnId) -> Option<Box<Arrival<P::Stream>>> {
        let mut arrival = self.connections.take_arrival(id)?;
        self.connections.free_reserved(id);
        self.timers.disarm(id, &mut arrival.timer);
        self.listeners.retry_at = None; // a descriptor is free again
        if let Some(client) = arrival.client
            && self.has_share(client, arrival.listener)
        {
            self.connections.release_share(client);
        }
        Some(arrival)
    }

    pub(super) fn end_arrival(&mut self, id: ConnId, reason: Option<&str>) {
        let Some(mut arrival) = self.remove_arrival(id) else { return };
        if let Some(reason) = reason {
            self.count_refusal(arrival.peer, reason);
            // A plain end would mean success to some clients.
            arrival.stream.reset_on_drop();
        }
    }

    fn count_refusal(&mut self, peer: SocketAddr, reason: &str) {
        let refused = &mut self.env.counters.unidentified;
        *refused += 1;
        if refused.is_power_of_two() {
            log::warn!("{peer}: closed at a listener for proxies: {reason} ({refused} so far)");
        }
    }
}
