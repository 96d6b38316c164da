//! The slab of connections. A `ConnId` is an index and a generation, so that late events, timers and completions
//! never reach the next connection in the same entry.

use std::net::SocketAddr;

use slab::Slab;

use crate::config::Limits;
use crate::ids::{ClientAddress, ConnId};
use crate::platform::{Readable, Stream};
use crate::reactor::addresses::AddressShares;
use crate::reactor::logging::LogQuota;
use crate::reactor::timers::Deadline;
use crate::session::Session;
use crate::session::state::Name;

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
    pub(super) fn new(stream: S, session: Session, readable: Readable, registration: Registration) -> Self {
        Self {
            stream: Some(stream),
            session,
            readable,
            writable: true,
            registration,
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

/// What a connection waits for before it is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The header of the proxy.
    Header,
    /// The messages of the client that make it an encrypted one.
    Handshake,
    /// The thread that uses the private key.
    Key,
}

/// A connection that is not its client's yet: its proxy has not named that, or it is not encrypted yet.
pub(super) struct Arrival<S> {
    pub stream: S,
    pub stage: Stage,
    /// Whoever connected: the client, or the proxy.
    pub peer: SocketAddr,
    /// The client, once it is known, and counted among those of its address unless that is a trusted proxy.
    pub client: Option<SocketAddr>,
    /// The place of its listener.
    pub listener: usize,
    generation: u32,
    pub held: Vec<u8>,
    pub readable: Readable,
    /// The private key was used for the first message of the client, which may have ended its stream behind the rest.
    pub is_answered: bool,
    pub registration: Registration,
    pub timer: Option<Deadline>,
}

impl<S: Stream> Arrival<S> {
    pub(super) const fn new(stream: S, peer: SocketAddr, listener: usize) -> Self {
        Self {
            stream,
            stage: Stage::Header,
            peer,
            client: None,
            listener,
            generation: 0,
            held: Vec::new(),
            readable: Readable::Bytes,
            is_answered: false,
            registration: Registration::NotYet,
            timer: None,
        }
    }
}

/// What a place of the slab has.
enum Entry<S> {
    Open(Connection<S>),
    /// Not its client's yet; `None` only within one step, in which that is decided.
    Arriving(Option<Box<Arrival<S>>>),
}

const _: () = assert!(size_of::<Entry<u64>>() == size_of::<Connection<u64>>(), "an arrival costs others nothing");

pub(super) struct Connections<S> {
    slab: Slab<Entry<S>>,
    generation: u32,
    /// Those that were not turned away, arriving ones included.
    admitted: usize,
    shares: AddressShares,
}

impl<S> Connections<S> {
    pub(super) fn new(limits: &Limits) -> Self {
        // Reserved, not used: pages that no connection has touched cost nothing.
        let slab = Slab::with_capacity(limits.connections_max + limits.turned_away_max);
        Self { slab, generation: 0, admitted: 0, shares: AddressShares::new(limits) }
    }

    /// `None` if the connection is gone, though its entry may have another one.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<S>> {
        match self.slab.get_mut(id.slot())? {
            Entry::Open(connection) if connection.generation == id.generation() => Some(connection),
            _ => None,
        }
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection<S>> {
        match self.slab.get(id.slot())? {
            Entry::Open(connection) if connection.generation == id.generation() => Some(connection),
            _ => None,
        }
    }

    pub(super) fn insert(&mut self, connection: Connection<S>) -> ConnId {
        let generation = self.next_generation();
        id(self.slab.insert(Entry::Open(Connection { generation, ..connection })), generation)
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// The connection gets a place that was reserved.
    pub(super) fn insert_arrival(&mut self, mut arrival: Arrival<S>) -> ConnId {
        let generation = self.next_generation();
        arrival.generation = generation;
        id(self.slab.insert(Entry::Arriving(Some(Box::new(arrival)))), generation)
    }

    /// `None` if it is gone, or known by its client already.
    pub(super) fn arrival_mut(&mut self, id: ConnId) -> Option<&mut Arrival<S>> {
        match self.slab.get_mut(id.slot())? {
            Entry::Arriving(Some(arrival)) if arrival.generation == id.generation() => Some(arrival),
            _ => None,
        }
    }

    /// Its place stays reserved, for [`Self::open`] or [`Self::free_reserved`].
    pub(super) fn take_arrival(&mut self, id: ConnId) -> Option<Box<Arrival<S>>> {
        self.arrival_mut(id)?;
        match self.slab.get_mut(id.slot())? {
            Entry::Arriving(arrival) => arrival.take(),
            Entry::Open(_) => None,
        }
    }

    /// The connection that arrived here goes on with its client, or is turned away in its dialect.
    pub(super) fn open(&mut self, id: ConnId, connection: Connection<S>) {
        let entry = &mut self.slab[id.slot()];
        debug_assert!(matches!(entry, Entry::Arriving(None)), "{id}: its place is not reserved");
        self.admitted -= usize::from(!connection.session.is_admitted());
        *entry = Entry::Open(Connection { generation: id.generation(), ..connection });
    }

    /// The connection that arrived here was closed.
    pub(super) fn free_reserved(&mut self, id: ConnId) {
        let entry = self.slab.remove(id.slot());
        debug_assert!(matches!(entry, Entry::Arriving(None)), "{id}: its place is not reserved");
        self.admitted -= 1;
    }

    pub(super) fn arrivals(&self) -> Vec<ConnId> {
        let arrivals = self.slab.iter().filter_map(|(slot, entry)| match entry {
            Entry::Arriving(Some(arrival)) => Some(id(slot, arrival.generation)),
            _ => None,
        });
        arrivals.collect()
    }

    /// Frees the entry of a connection that has ended.
    pub(super) fn remove(&mut self, id: ConnId) {
        let Entry::Open(connection) = self.slab.remove(id.slot()) else { unreachable!("it has not arrived yet") };
        if connection.session.is_admitted() {
            self.admitted -= 1;
        }
        if connection.session.is_admitted() && !connection.session.trusts_peer() {
            self.shares.remove(ClientAddress::of(connection.session.peer()));
        }
    }

    /// Counts one more, unless all connections or those of its address are taken.
    pub(super) fn admit(&mut self, peer: SocketAddr, connections_max: usize) -> bool {
        let admits = self.admitted < connections_max && self.shares.add(ClientAddress::of(peer));
        self.admitted += usize::from(admits);
        admits
    }

    /// Counts one more whose address is not known yet, or is that of a trusted proxy, unless all connections are
    /// taken.
    pub(super) const fn reserve(&mut self, connections_max: usize) -> bool {
        let admits = self.admitted < connections_max;
        self.admitted += admits as usize;
        admits
    }

    /// The address of one that was reserved is known: false if that has its share already.
    pub(super) fn admit_reserved(&mut self, peer: SocketAddr) -> bool {
        self.shares.add(ClientAddress::of(peer))
    }

    /// The client of one that was reserved is gone, or counted anew.
    pub(super) fn release_share(&mut self, client: SocketAddr) {
        self.shares.remove(ClientAddress::of(client));
    }

    /// Connections that are only told that they are refused.
    pub(super) fn turned_away(&self) -> usize {
        self.slab.len() - self.admitted
    }

    /// Arriving ones included.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection<S>)> {
        self.slab.iter().filter_map(|(slot, entry)| match entry {
            Entry::Open(connection) => Some((id(slot, connection.generation), connection)),
            Entry::Arriving(_) => None,
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Connection<S>)> {
        self.slab.iter_mut().filter_map(|(slot, entry)| match entry {
            Entry::Open(connection) => Some((id(slot, connection.generation), connection)),
            Entry::Arriving(_) => None,
        })
    }
}

/// Bytes of one entry of the slab.
pub(super) const fn entry_bytes<S>() -> usize {
    size_of::<Entry<S>>()
}

fn id(slot: usize, generation: u32) -> ConnId {
    ConnId::new(u32::try_from(slot).expect("connections_max is far below u32::MAX"), generation)
}
