//! The network: byte queues of bounded size, and the weakest edges a poll may report.
//!
//! An edge is reported only after `WouldBlock` was told, or less was read than was asked for, or after
//! registering. One that told of the end of the stream is the last. What a peer sent before it reset
//! the connection may arrive or not; who closes with unread bytes resets.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use filewharf::ids::ConnId;
use filewharf::platform::Readable;

use crate::rng::Rng;

pub type LinkId = u64;

/// Who broke the connection.
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
    /// The server was told of the end that is behind the bytes.
    end_told: bool,
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
    /// Connections that ended, whose events may still come.
    pub stale: VecDeque<ConnId>,
    /// Clients whose connection changed since the world last looked.
    pub touched: Vec<usize>,
    pub received: u64,
    pub sent: u64,
}

fn error<T>(kind: ErrorKind) -> io::Result<T> {
    Err(kind.into())
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
        }
    }

    pub const fn window(&self) -> usize {
        self.window
    }

    fn link(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("a link stays while an end is held")
    }

    // ---- the client's end ----

    /// Connects; `None` if nobody listens or the backlog is full.
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
            // Nobody is there: the answer is a reset, which may overtake what was not read.
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

    /// The client lets go: with a reset, or as a close.
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

    /// Says once that a connection came, after the server was told that there is none.
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
        SocketAddr::from(([127, 0, 0, 1 + (id % 3) as u8], 10_000 + (id % 50_000) as u16))
    }

    pub fn recv(&mut self, id: LinkId, buf: &mut [u8], rng: &mut Rng, partial: u64) -> io::Result<usize> {
        self.received += 1;
        let link = self.link(id);
        if !link.up.is_empty() {
            let mut n = buf.len().min(link.up.len());
            if rng.chance(partial) {
                n = rng.piece(n);
            }
            for (place, byte) in buf.iter_mut().zip(link.up.drain(..n)) {
                *place = byte;
            }
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

    pub fn send(&mut self, id: LinkId, bufs: &[&[u8]], rng: &mut Rng, partial: u64) -> io::Result<usize> {
        let window = self.window;
        self.sent += 1;
        let link = self.link(id);
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
            link.down.extend(bufs.iter().flat_map(|buf| buf.iter().copied()).take(n));
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
        self.links[&id].down.len()
    }

    /// The server lets go. Also for connections that it never accepted.
    pub fn drop_served(&mut self, id: LinkId, reset: bool, rng: &mut Rng) {
        let link = self.link(id);
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

    /// A new server listens. Registering does not tell of those who wait already.
    pub fn listen(&mut self) {
        self.listening = true;
        self.stale.clear();
        self.listeners.iter_mut().for_each(|listener| listener.armed = false);
    }

    pub fn accepted(&self) -> usize {
        self.links.values().filter(|link| link.is_accepted()).count()
    }
}
