//! The network: byte queues of bounded size, and the weakest edges a poll may report.
//!
//! An edge is reported only after `WouldBlock` was returned, or less was read than was asked for, or after
//! registering. One that reported the end of the stream is the last. What a peer sent before it reset
//! the connection may arrive or not; a close with unread bytes resets.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use filewharf::access::ClientCertificate;
use filewharf::ids::ConnId;
use filewharf::platform::Readable;

use crate::memory::rng::Rng;

pub type LinkId = u64;

/// Which side broke the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    No,
    ByPeer,
    ByServer,
}

/// Where the server's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    InBacklog,
    Accepted,
    Dropped,
}

/// How the stream looks to the peer, once all bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Open,
    End,
    Reset,
}

/// One TCP connection, both ends.
#[derive(Debug)]
pub struct Link {
    /// The client at the other end.
    pub peer: usize,
    pub id: Option<ConnId>,
    up: VecDeque<u8>,
    up_ended: bool,
    peer_closed: bool,
    down: VecDeque<u8>,
    down_ended: bool,
    broken: Broken,
    served: Served,
    read_armed: bool,
    write_armed: bool,
    /// The end after the bytes was reported to the server.
    end_told: bool,
    pub address: SocketAddr,
    pub probe: Probe,
}

/// What a test changes and sees at one connection, apart from its bytes.
#[derive(Debug, Default)]
pub struct Probe {
    /// What the server sent, send by send, if the network keeps that.
    pub packets: Vec<Vec<u8>>,
    /// What was sent last was said to be followed by more: the kernel keeps it back for that.
    pub held_back: bool,
    /// The server asked for a reset.
    pub reset: bool,
    /// This many calls are interrupted by a signal before one goes through.
    pub interruptions: u32,
    /// Bytes that were sent and not acknowledged, where these are not those that were not read.
    pub unacknowledged: Option<usize>,
    /// The certificate that the client has shown.
    pub certificate: Option<ClientCertificate>,
    /// The file that others replace just before the last byte that is there now is received.
    pub meanwhile: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Default)]
pub struct Listener {
    backlog: VecDeque<LinkId>,
    armed: bool,
}

#[derive(Debug)]
pub struct Net {
    pub links: BTreeMap<LinkId, Link>,
    pub listeners: Vec<Listener>,
    pub listening: bool,
    next: LinkId,
    window: usize,
    backlog_max: usize,
    /// Connections that ended; their events may still come.
    pub stale: VecDeque<ConnId>,
    /// Clients with a connection that changed since the world last looked.
    pub touched: Vec<usize>,
    pub received: u64,
    pub sent: u64,
    pub keeps_packets: bool,
    /// Files that others have replaced meanwhile.
    pub by_others: Vec<(String, Vec<u8>)>,
}

fn error<T>(kind: ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

impl Probe {
    fn interrupt(&mut self) -> io::Result<()> {
        let Some(left) = self.interruptions.checked_sub(1) else { return Ok(()) };
        self.interruptions = left;
        error(ErrorKind::Interrupted)
    }
}

impl Link {
    fn readable(&self) -> bool {
        !self.up.is_empty() || self.at_end()
    }

    fn at_end(&self) -> bool {
        self.up_ended || self.broken == Broken::ByPeer
    }

    fn writable(&self, window: usize) -> bool {
        self.down.len() < window || self.broken != Broken::No
    }

    /// What an edge would say now.
    pub fn edge(&self, window: usize) -> Option<(ConnId, bool, bool)> {
        let id = self.id.filter(|_| self.served == Served::Accepted)?;
        let (read, write) = (self.read_armed && self.readable(), self.write_armed && self.writable(window));
        (read || write).then_some((id, read, write))
    }

    /// It is reported; gives what that tells of the bytes.
    pub fn report(&mut self, read: bool, write: bool) -> Readable {
        self.read_armed &= !read;
        self.write_armed &= !write;
        self.end_told |= read && self.at_end();
        match (read, self.at_end()) {
            (false, _) => Readable::Nothing,
            (true, false) => Readable::Bytes,
            (true, true) => Readable::BytesThenEnd,
        }
    }

    /// What the server has not received.
    pub fn unreceived(&self) -> usize {
        self.up.len()
    }

    /// What the peer has not read.
    pub fn unread(&self) -> usize {
        self.down.len()
    }

    /// The network fails, and what was on its way is lost.
    pub fn cut(&mut self) {
        self.up.clear();
        self.broken = Broken::ByPeer;
    }

    /// Bytes come, or the end of the stream does.
    pub fn arrive(&mut self, bytes: &[u8], ends: bool) {
        self.up.extend(bytes);
        self.up_ended |= ends;
    }

    /// What an event says of the bytes that are there.
    pub fn told(&self) -> Readable {
        if self.up_ended { Readable::BytesThenEnd } else { Readable::Bytes }
    }

    /// The server has closed its half, or all of it.
    pub fn is_closed(&self) -> bool {
        self.down_ended
    }

    pub fn is_dropped(&self) -> bool {
        self.served == Served::Dropped
    }

    pub fn is_accepted(&self) -> bool {
        self.served == Served::Accepted
    }
}

impl Net {
    pub fn new(listeners: usize, window: usize, backlog_max: usize) -> Self {
        Self {
            links: BTreeMap::new(),
            listeners: (0..listeners).map(|_| Listener::default()).collect(),
            listening: false,
            next: 0,
            window,
            backlog_max,
            stale: VecDeque::new(),
            touched: Vec::new(),
            received: 0,
            sent: 0,
            keeps_packets: false,
            by_others: Vec::new(),
        }
    }

    pub const fn window(&self) -> usize {
        self.window
    }

    fn link(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("a link stays while an end is held")
    }

    // ---- the client's end ----

    /// Connects; `None` without a listener or if the backlog is full.
    pub fn connect(&mut self, listener: usize, peer: usize) -> Option<LinkId> {
        if !self.listening || self.listeners[listener].backlog.len() >= self.backlog_max {
            return None;
        }
        self.next += 1;
        let link = Link {
            peer,
            id: None,
            up: VecDeque::new(),
            up_ended: false,
            peer_closed: false,
            down: VecDeque::new(),
            down_ended: false,
            broken: Broken::No,
            served: Served::InBacklog,
            read_armed: false,
            write_armed: false,
            end_told: false,
            address: SocketAddr::from(([127, 0, 0, 1 + (self.next % 3) as u8], 10_000 + (self.next % 50_000) as u16)),
            probe: Probe::default(),
        };
        self.links.insert(self.next, link);
        self.listeners[listener].backlog.push_back(self.next);
        Some(self.next)
    }

    /// How many bytes the client could send now.
    pub fn peer_room(&self, id: LinkId) -> usize {
        let link = &self.links[&id];
        if link.broken == Broken::No { self.window.saturating_sub(link.up.len()) } else { 0 }
    }

    pub fn peer_send(&mut self, id: LinkId, bytes: &[u8], rng: &mut Rng) {
        let link = self.link(id);
        if link.served == Served::Dropped {
            // The connection is closed: the answer is a reset, which may overtake what was not read.
            link.broken = Broken::ByServer;
            if rng.chance(500) {
                link.down.clear();
            }
        } else {
            link.up.extend(bytes);
        }
    }

    pub fn peer_end(&mut self, id: LinkId) {
        self.link(id).up_ended = true;
    }

    pub fn peer_recv(&mut self, id: LinkId, most: usize) -> Vec<u8> {
        let down = &mut self.link(id).down;
        let n = most.min(down.len());
        down.drain(..n).collect()
    }

    pub fn peer_sees(&self, id: LinkId) -> Ending {
        let link = &self.links[&id];
        match link.broken {
            _ if !link.down.is_empty() => Ending::Open,
            Broken::No if link.down_ended => Ending::End,
            Broken::No => Ending::Open,
            Broken::ByPeer | Broken::ByServer => Ending::Reset,
        }
    }

    /// The client closes the connection, or resets it.
    pub fn peer_drop(&mut self, id: LinkId, reset: bool, rng: &mut Rng) {
        let link = self.link(id);
        if reset || !link.down.is_empty() {
            if rng.chance(500) {
                link.up.clear();
            }
            if link.broken == Broken::No {
                link.broken = Broken::ByPeer;
            }
        }
        link.down.clear();
        link.up_ended = true;
        link.peer_closed = true;
        self.forget(id);
    }

    fn forget(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.peer_closed && link.served == Served::Dropped) {
            self.links.remove(&id);
        }
    }

    // ---- the server's end ----

    pub fn accept(&mut self, listener: usize) -> Option<LinkId> {
        let listener = &mut self.listeners[listener];
        match listener.backlog.pop_front() {
            Some(id) => {
                self.link(id).served = Served::Accepted;
                Some(id)
            }
            None => {
                listener.armed = true;
                None
            }
        }
    }

    pub fn is_waiting(&self, listener: usize) -> bool {
        !self.listeners[listener].backlog.is_empty()
    }

    /// Says once that a connection came, after the server was answered that there is none.
    pub fn acceptable(&mut self, listener: usize) -> bool {
        let waiting = self.is_waiting(listener);
        waiting && std::mem::take(&mut self.listeners[listener].armed)
    }

    pub fn is_acceptable(&self, listener: usize) -> bool {
        self.is_waiting(listener) && self.listeners[listener].armed
    }

    pub fn register(&mut self, id: LinkId, conn: ConnId) {
        let link = self.link(id);
        link.id = Some(conn);
        link.read_armed = true;
        link.write_armed = true;
    }

    pub fn address(&self, id: LinkId) -> SocketAddr {
        self.links[&id].address
    }

    pub fn recv(&mut self, id: LinkId, buf: &mut [u8], rng: &mut Rng, partial: u64) -> io::Result<usize> {
        self.received += 1;
        let link = self.links.get_mut(&id).expect("the server holds it");
        link.probe.interrupt()?;
        if !link.up.is_empty() {
            let mut n = buf.len().min(link.up.len());
            if rng.chance(partial) {
                n = rng.piece(n);
            }
            if n == link.up.len() {
                self.by_others.extend(link.probe.meanwhile.take());
            }
            buf[..n].copy_from_slice(&link.up.make_contiguous()[..n]);
            link.up.drain(..n);
            // What is left is as good as not there yet.
            link.read_armed |= n < buf.len() && !link.end_told;
            let peer = link.peer;
            self.touched.push(peer);
            return Ok(n);
        }
        match link.broken {
            Broken::ByPeer => error(ErrorKind::ConnectionReset),
            _ if link.up_ended => Ok(0),
            Broken::No | Broken::ByServer => {
                link.read_armed = true;
                error(ErrorKind::WouldBlock)
            }
        }
    }

    pub fn send(&mut self, id: LinkId, bufs: &[&[u8]], more: bool, rng: &mut Rng, partial: u64) -> io::Result<usize> {
        let window = self.window;
        self.sent += 1;
        let keeps_packets = self.keeps_packets;
        let link = self.link(id);
        link.probe.interrupt()?;
        assert!(!link.down_ended, "sent after the half was closed");
        let asked: usize = bufs.iter().map(|buf| buf.len()).sum();
        assert!(asked > 0, "an empty send");
        if link.broken != Broken::No {
            return error(if rng.chance(500) { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
        }
        let room = window.saturating_sub(link.down.len());
        if room == 0 {
            link.write_armed = true;
            return error(ErrorKind::WouldBlock);
        }
        let mut n = asked.min(room);
        if rng.chance(partial) {
            n = rng.piece(n);
        }
        if link.peer_closed {
            link.broken = Broken::ByPeer;
        } else {
            let mut bytes = bufs.concat();
            bytes.truncate(n);
            link.down.extend(&bytes);
            if keeps_packets {
                link.probe.packets.push(bytes);
                link.probe.held_back = more;
            }
        }
        let peer = link.peer;
        self.touched.push(peer);
        Ok(n)
    }

    /// Has the socket no room for another byte? Then an edge tells of the first.
    pub fn is_full(&mut self, id: LinkId) -> bool {
        let window = self.window;
        let link = self.link(id);
        let full = link.broken == Broken::No && link.down.len() >= window;
        link.write_armed |= full;
        full
    }

    pub fn shutdown_write(&mut self, id: LinkId) -> io::Result<()> {
        let link = self.link(id);
        if link.broken != Broken::No {
            return error(ErrorKind::NotConnected);
        }
        link.down_ended = true;
        let peer = link.peer;
        self.touched.push(peer);
        Ok(())
    }

    pub fn unacknowledged(&self, id: LinkId) -> usize {
        let link = &self.links[&id];
        link.probe.unacknowledged.unwrap_or(link.down.len())
    }

    /// The server closes the connection, or resets it. Also for connections that it never accepted.
    pub fn drop_served(&mut self, id: LinkId, reset: bool, rng: &mut Rng) {
        let link = self.link(id);
        link.probe.reset |= reset;
        if reset || !link.up.is_empty() {
            if link.broken == Broken::No {
                link.broken = Broken::ByServer;
            }
            let left = rng.below(link.down.len() as u64 + 1) as usize;
            link.down.truncate(left);
        }
        link.down_ended = true;
        link.served = Served::Dropped;
        let peer = link.peer;
        let conn = link.id;
        self.touched.push(peer);
        self.stale.extend(conn);
        self.forget(id);
    }

    pub fn close_listeners(&mut self, rng: &mut Rng) {
        self.listening = false;
        for place in 0..self.listeners.len() {
            while let Some(id) = self.listeners[place].backlog.pop_front() {
                self.drop_served(id, true, rng);
            }
            self.listeners[place].armed = false;
        }
    }

    /// A new server listens. Registering does not report connections that wait already.
    pub fn listen(&mut self) {
        self.listening = true;
        self.stale.clear();
        self.listeners.iter_mut().for_each(|listener| listener.armed = false);
    }

    pub fn accepted(&self) -> usize {
        self.links.values().filter(|link| link.is_accepted()).count()
    }
}
