//! The slab of connections. A `ConnId` is an index and a generation, so that late events, timers and completions
//! never reach the next connection in the same entry.

use std::net::SocketAddr;

use slab::Slab;

use crate::config::{Fixed, Limits, Live};
use crate::ids::{ClientAddress, ConnId};
use crate::platform::{Readable, Stream};
use crate::reactor::addresses::AddressShares;
use crate::reactor::logging::LogQuota;
use crate::reactor::timers::Deadline;
use crate::session::state::Name;
use crate::session::{PeerRole, Session};

/// Connections of the operator, beside those of clients: a full server can still be asked how it is.
pub const OPERATOR_CONNECTIONS: usize = 16;

/// Whether a socket is registered with epoll. Registration waits until the first turn of a connection is over,
/// because many connections have ended by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    NotYet,
    /// Not registered yet; the first bytes have been read.
    NotYetButRead,
    /// Not registered yet; answered, and read once more in the next turn, as the end of stream is probably there.
    NotYetButAnswered,
    Registered,
}

/// Counts, in debug builds, the bytes that were received and not yet used; the session must hold exactly these.
#[derive(Debug, Default)]
pub(super) struct UnusedBytes([usize; cfg!(debug_assertions) as usize]);

impl UnusedBytes {
    pub(super) fn add(&mut self, n: usize) {
        self.0.iter_mut().for_each(|count| *count += n);
    }

    pub(super) fn remove(&mut self, n: usize) {
        self.0.iter_mut().for_each(|count| *count = count.checked_sub(n).expect("bytes were used twice"));
    }

    pub(super) fn check(&self, held: usize) {
        self.0.iter().for_each(|count| assert_eq!(held, *count, "bytes held, and bytes received and not used"));
    }
}

pub(super) struct Connection<S> {
    /// `None` once it is closed and only operations are waited for.
    pub stream: Option<S>,
    pub session: Session,
    /// What edge-triggered events have reported of the socket and `WouldBlock` has not taken back.
    pub readable: Readable,
    pub writable: bool,
    pub registration: Registration,
    generation: u32,
    /// True while it is in the run queue or among the bulk transfers.
    pub is_queued: bool,
    /// The earliest entry this connection has in the timers.
    pub timer: Option<Deadline>,
    pub unused: UnusedBytes,
    pub log_quota: LogQuota,
}

impl<S: Stream> Connection<S> {
    pub(super) fn new(stream: S, session: Session) -> Self {
        Self {
            stream: Some(stream),
            session,
            // A client that sends first has often sent already.
            readable: Readable::Bytes,
            writable: true,
            registration: Registration::NotYet,
            generation: 0,
            is_queued: false,
            timer: None,
            unused: UnusedBytes::default(),
            log_quota: LogQuota::default(),
        }
    }

    /// Bytes of a file that were sent and that the peer has not acknowledged; 0 in any other state.
    pub(super) fn file_bytes_in_kernel(&self) -> usize {
        let sends = self.session.state() == Name::SendingBody;
        let stream = self.stream.as_ref().filter(|_| sends);
        stream.map_or(0, |stream| stream.unacknowledged().unwrap_or(0))
    }
}

pub(super) struct Connections<S> {
    slab: Slab<Connection<S>>,
    generation: u32,
    /// Those of clients that were not turned away.
    admitted: usize,
    /// The same of the operator.
    operators: usize,
    shares: AddressShares,
}

impl<S> Connections<S> {
    pub(super) fn new(limits: &Fixed) -> Self {
        // Reserved, not used: pages that no connection has touched cost nothing.
        let slab = Slab::with_capacity(limits.connections_max + OPERATOR_CONNECTIONS + limits.turned_away_max);
        Self { slab, generation: 0, admitted: 0, operators: 0, shares: AddressShares::new(limits) }
    }

    /// `None` if the connection is gone, though its entry may have another one.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<S>> {
        self.slab.get_mut(id.slot()).filter(|connection| connection.generation == id.generation())
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection<S>> {
        self.slab.get(id.slot()).filter(|connection| connection.generation == id.generation())
    }

    pub(super) fn insert(&mut self, connection: Connection<S>) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        id(self.slab.insert(Connection { generation, ..connection }), generation)
    }

    /// Frees the entry of a connection that has ended.
    pub(super) fn remove(&mut self, id: ConnId) {
        let Connection { session, .. } = self.slab.remove(id.slot());
        let peer = session.peer();
        if peer.is_admitted {
            *self.count_of(peer.role) -= 1;
        }
        if peer.has_share {
            self.shares.remove(ClientAddress::of(peer.address));
        }
    }

    /// Counts one more, unless all connections are taken, or those of its address where the peer is a client.
    pub(super) fn admit(&mut self, peer: SocketAddr, role: PeerRole, limits: &Limits) -> bool {
        let max = if role == PeerRole::Operator { OPERATOR_CONNECTIONS } else { limits.fixed.connections_max };
        let has_place = *self.count_of(role) < max;
        let admits = has_place && (role != PeerRole::Client || self.add_share(peer, &limits.live));
        *self.count_of(role) += usize::from(admits);
        admits
    }

    /// Where a peer of this role is counted.
    const fn count_of(&mut self, role: PeerRole) -> &mut usize {
        if matches!(role, PeerRole::Operator) { &mut self.operators } else { &mut self.admitted }
    }

    /// Counts one more of an address, unless that has its share already.
    pub(super) fn add_share(&mut self, peer: SocketAddr, limits: &Live) -> bool {
        self.shares.add(ClientAddress::of(peer), limits)
    }

    /// One that was admitted before its client was known is only sent the refusal.
    pub(super) const fn turn_away(&mut self) {
        self.admitted -= 1;
    }

    /// Connections that are only sent the refusal.
    pub(super) fn turned_away(&self) -> usize {
        self.slab.len() - self.admitted - self.operators
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection<S>)> {
        self.slab.iter().map(|(slot, connection)| (id(slot, connection.generation), connection))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Connection<S>)> {
        self.slab.iter_mut().map(|(slot, connection)| (id(slot, connection.generation), connection))
    }
}

/// Bytes of one entry of the slab.
pub(super) const fn entry_bytes<S>() -> usize {
    size_of::<Connection<S>>()
}

fn id(slot: usize, generation: u32) -> ConnId {
    ConnId::new(u32::try_from(slot).expect("connections_max is far below u32::MAX"), generation)
}
