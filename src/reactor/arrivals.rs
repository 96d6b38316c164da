//! Connections before their first request: the header of a proxy names the client, the listener admits it, and the
//! handshake encrypts the connection. What of this a connection has passes before its dialect begins.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::dialect::{AnyProtocol, Kind, Secret};
use crate::error::CloseReason;
use crate::ids::{ClientAddress, ConnId, ListenerId};
use crate::platform::{Handshake, KeyUse, Platform, Readable, Stream};
use crate::reactor::connections::Connection;
use crate::reactor::parts::Reactor;
use crate::session::state::{self, AwaitHeader, ProxyHeader};
use crate::session::{Arrival, ArrivalEvent, Event, Peer, PeerRole, Session};

impl<P: Platform> Reactor<P> {
    /// Takes a connection, or turns it away.
    pub(super) fn accepted(&mut self, mut stream: P::Stream, peer: SocketAddr, id: ListenerId) {
        self.env.counters.accepted += 1;
        let Some(listener) = self.listeners.get(id) else { return };
        let (is_proxied, is_tls) = (listener.proxies.is_some(), listener.is_tls);
        if listener.proxies.as_ref().is_some_and(|proxies| !proxies.contain(peer.ip())) {
            self.env.counters.count_unidentified(peer, "its address is not that of a proxy");
            return stream.reset_on_drop();
        }
        let role = if is_proxied { PeerRole::Unidentified } else { listener.role_of(peer) };
        let mut dialect = listener.listening.accept(peer);
        if !self.connections.admit(peer, role, &self.env.limits) {
            match self.turn_away(&mut stream, id, !is_proxied && !is_tls) {
                Some(refusal) => dialect = refusal,
                None => return,
            }
        }
        let first = match (is_proxied, is_tls) {
            (true, _) => ProxyHeader { listener: id, is_whole: false }.into(),
            (false, true) => state::Handshake::default().into(),
            (false, false) => AwaitHeader::Idle.into(),
        };
        let session = Session::new(first, dialect, peer, role, &mut self.env.cx());
        let id = self.connections.insert(Connection::new(stream, session));
        match (is_proxied, is_tls) {
            (true, _) => {}
            (false, true) => self.encrypt(id),
            (false, false) => self.open(id),
        }
        if let Some(connection) = self.connections.get_mut(id) {
            self.scheduler.enqueue(id, connection);
        }
    }

    /// Turns a connection away. It may have a dialect that refuses its request; `None` if it is to be closed at once.
    /// `may_speak`: what comes next is its dialect.
    fn turn_away(&mut self, stream: &mut P::Stream, id: ListenerId, may_speak: bool) -> Option<AnyProtocol> {
        let env = &mut self.env;
        env.counters.turned_away += 1;
        let listening = &self.listeners.get(id)?.listening;
        if !may_speak {
            stream.reset_on_drop();
            return None;
        }
        let has_entry = self.connections.turned_away() < env.limits.fixed.turned_away_max;
        if let Some(dialect) = listening.turn_away(&env.limits).filter(|_| has_entry) {
            return Some(dialect);
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
        None
    }

    /// Continues with a queued connection before its first request as far as what was received permits.
    pub(super) fn arrive(&mut self, id: ConnId, arrival: Arrival) {
        if let Arrival::Admission(listener) = arrival {
            self.admit(id, listener);
        }
        self.shake_hands(id);
    }

    /// The header of a proxy has named the client.
    fn admit(&mut self, id: ConnId, at: ListenerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (Some(listener), Some(mut stream)) = (self.listeners.get(at), connection.stream.take()) else { return };
        let peer = connection.session.peer().address;
        let (is_tls, role) = (listener.is_tls, listener.role_of(peer));
        let mut admitted = Some(listener.listening.accept(peer));
        if role == PeerRole::Client && !self.connections.add_share(peer, &self.env.limits.live) {
            admitted = self.turn_away(&mut stream, at, !is_tls);
            if admitted.is_some() {
                self.connections.turn_away();
            }
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.stream = Some(stream);
        let (session, cx) = (&mut connection.session, &mut self.env.cx());
        match admitted {
            None => session.tell(Event::Arrival(ArrivalEvent::TurnedAway), cx),
            Some(dialect) => {
                session.tell(Event::Arrival(ArrivalEvent::Admitted(dialect, role)), cx);
                if is_tls { self.encrypt(id) } else { self.open(id) }
            }
        }
    }

    fn encrypt(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (session, cx) = (&mut connection.session, &mut self.env.cx());
        session.tell(Event::Arrival(ArrivalEvent::Encrypts), cx);
        let received = session.take_held(cx);
        connection.unused.remove(received.len());
        let is_http = matches!(session.peer().speaks, Kind::Auto | Kind::Http);
        if let Some(stream) = &mut connection.stream
            && let Err(error) = self.platform.secure(stream, is_http, &received)
        {
            session.tell(failed(&error), cx);
        }
    }

    /// Continues a handshake as far as it can.
    fn shake_hands(&mut self, id: ConnId) {
        let Self { connections, env, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return };
        let (session, cx) = (&mut connection.session, &mut env.cx());
        let Some(stream) = &mut connection.stream else { return };
        match session.peer().arrival {
            Some(Arrival::Handshake) => {}
            Some(Arrival::Key) if connection.readable == Readable::BytesThenEnd => {
                return session.tell(Event::Ended, cx);
            }
            _ => return,
        }
        match stream.handshake() {
            Ok(Handshake::Done) => {
                // What the client sent after its last message may be there already.
                connection.readable = connection.readable.max(Readable::Bytes);
                self.open(id);
            }
            Ok(Handshake::Waits) => {}
            Ok(Handshake::NeedsKey) => {
                session.tell(Event::Arrival(ArrivalEvent::NeedsKey), cx);
                let client = ClientAddress::of(session.peer().address);
                let most = env.limits.fixed.connections_max;
                self.key_queue.join(id, client, most, |id| connections.get(id).is_some());
            }
            Ok(Handshake::Failed { reason: cause, is_answered }) => {
                session.tell(
                    Event::Arrival(ArrivalEvent::Failed { reason: CloseReason::Malformed, cause, is_answered }),
                    cx,
                );
            }
            Err(error) => session.tell(failed(&error), cx),
        }
    }

    /// Lets handshakes of the queue use the private key: as many as the other thread takes, or one on the loop. Those that
    /// then wait continue after an [`Event::Handshake`](crate::platform::Event::Handshake), or in the next turn.
    pub(super) fn use_key(&mut self) {
        let Self { key_queue, connections, platform, env, scheduler, .. } = self;
        if key_queue.is_empty() {
            return;
        }
        let (began, transferred) = (platform.now(), env.counters.bytes_in + env.counters.bytes_out);
        if platform.uses_key_on_loop() && !key_queue.may_use_key(began, transferred) {
            return;
        }
        let is_used = Cell::new(false);
        let mut is_taken = |id| {
            let Some(connection) = connections.get_mut(id) else { return true };
            let Some(stream) = &mut connection.stream else { return true };
            match platform.use_key(stream, id) {
                Ok(KeyUse::Done) => is_used.set(true),
                Ok(KeyUse::UnderWay) => {}
                Ok(KeyUse::Later) => return false,
                Err(error) => {
                    connection.session.tell(failed(&error), &mut env.cx());
                    scheduler.enqueue(id, connection);
                }
            }
            true
        };
        while let Some(id) = key_queue.pop_if(&mut is_taken) {
            if is_used.get() {
                let now = platform.now();
                key_queue.used_key(now.saturating_duration_since(began), now);
                return self.key_used(id);
            }
        }
    }

    /// The private key was used for this handshake, which may have ended meanwhile.
    pub(super) fn key_used(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.session.tell(Event::Arrival(ArrivalEvent::KeyUsed), &mut self.env.cx());
        self.scheduler.enqueue(id, connection);
    }

    /// From here on the connection is the client's.
    fn open(&mut self, id: ConnId) {
        let Self { connections, env, .. } = self;
        let Some(connection) = connections.get_mut(id) else { return };
        let session = &mut connection.session;
        let Peer { address, speaks, has_share, .. } = session.peer();
        env.certificate = None; // it speaks for nobody before it has a request
        session.tell(Event::Opened, &mut env.cx());
        let shows_secrets = env.access.takes_credentials() && speaks.traits().secret != Secret::Unknown;
        if shows_secrets && has_share {
            match env.guesses.wait(ClientAddress::of(address), env.clock.now, &env.limits) {
                Some(Duration::ZERO) => {}
                Some(wait) => session.tell(Event::MustWait(wait), &mut env.cx()),
                None => session.tell(Event::Role(PeerRole::LimitedClient), &mut env.cx()),
            }
        }
        env.log_reports(address, &mut connection.log_quota);
        log::debug!("{address}: connected as {id}");
    }
}

fn failed(error: &io::Error) -> Event<'static> {
    let cause = error.to_string();
    Event::Arrival(ArrivalEvent::Failed { reason: CloseReason::PeerReset, cause, is_answered: false })
}
