//! What the servers are asked to do. Every work measures one server for one round; the rounds,
//! their order, how long one may take and the tables are not its business.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::extent::Extent;
use crate::ftp;
use crate::tls::{self, Key, Tls};
use crate::{LOGGING, cold, idle, mix, slow};
use support::codec::Manner;
use support::driver::Loss;
use support::peers::{Peer, Role, Speaks};
use support::table::{Column, Rank, Unit};
use support::tls::rustls::HandshakeKind;
use support::{Content, Driver, Task, Wire, driver, process};

pub const GIB: u64 = 1 << 30;
pub const MIB: u64 = 1 << 20;
/// Names that small uploads replace again and again.
const NAMES: usize = 500;

/// How the names of works with encrypted connections begin.
pub const TLS: &str = "TLS: ";

/// A file that stands in the served directory.
#[derive(Clone, Copy)]
pub struct Served {
    pub name: &'static str,
    pub len: u64,
}

pub const SMALL: Served = Served { name: "small", len: 4096 };
const PAGE: Served = Served { name: "page", len: 64 << 10 };
pub const MEDIUM: Served = Served { name: "medium", len: MIB };
const PART: Served = Served { name: "part", len: 16 * MIB };
const BIG: Served = Served { name: "big", len: GIB };
/// All of them.
pub const SERVED: [Served; 5] = [SMALL, PAGE, MEDIUM, PART, BIG];

impl Served {
    /// To fetch it.
    pub fn fetch(self) -> Task {
        Task::Drain { path: format!("/{}", self.name), len: self.len }
    }
}

/// Something that servers can be measured at.
pub struct Work {
    /// With what one unit of it is.
    pub name: &'static str,
    pub columns: &'static [Column],
    pub kind: Kind,
}

pub enum Kind {
    Requests(Requests),
    Idle,
    Slow,
    Mix,
    Cold,
    Tls(Tls),
}

/// Connections that each ask for the same again and again.
pub struct Requests {
    connections: usize,
    each: usize,
    manner: Manner,
    what: What,
    with: With,
}

#[derive(Clone, Copy)]
enum What {
    Get(Served),
    Put { len: u64, names: usize },
}

/// Which other servers than those of HTTP take part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    HttpOnly,
    Ftp,
}

const fn column(name: &'static str, unit: Unit, rank: Rank) -> Column {
    Column { name, unit, rank }
}

const OF_REQUESTS: [Column; 3] = [
    column("CPU", Unit::Seconds, Rank::LeastIsBest),
    column("wall", Unit::Seconds, Rank::Unranked),
    column("peak memory", Unit::Bytes, Rank::Unranked),
];

const fn requests(name: &'static str, connections: usize, each: usize, what: What, with: With) -> Work {
    let requests = Requests { connections, each, manner: Manner::Kept, what, with };
    Work { name, columns: &OF_REQUESTS, kind: Kind::Requests(requests) }
}

const fn get(name: &'static str, connections: usize, each: usize, file: Served, with: With) -> Work {
    requests(name, connections, each, What::Get(file), with)
}

const fn put(name: &'static str, connections: usize, each: usize, len: u64, names: usize, with: With) -> Work {
    requests(name, connections, each, What::Put { len, names }, with)
}

/// A small file again and again, each time with a new connection. All of a round together are fewer than
/// the 14,116 ports that a client is given first (ip(7), `ip_local_port_range`, every other one): when those
/// are used up, each search for another takes milliseconds.
const fn one_each(name: &'static str, manner: Manner) -> Work {
    let (connections, each, what) = (64, 180, What::Get(SMALL));
    let requests = Requests { connections, each, manner, what, with: With::HttpOnly };
    Work { name, columns: &OF_REQUESTS, kind: Kind::Requests(requests) }
}

/// Over encrypted connections.
const fn encrypted(name: &'static str, key: Key, what: tls::What) -> Work {
    let columns: &[Column] = if matches!(what, tls::What::Idle) { &idle::COLUMNS } else { &OF_REQUESTS };
    Work { name, columns, kind: Kind::Tls(Tls { key, what }) }
}

/// A small file again and again, each time with a new encrypted connection.
const fn handshakes(name: &'static str, key: Key, kind: HandshakeKind) -> Work {
    encrypted(name, key, tls::What::Handshakes { each: 100, kind })
}

const fn kept(name: &'static str, connections: usize, each: usize, file: Served) -> Work {
    encrypted(name, Key::P256, tls::What::Kept { connections, each, file })
}

const fn other(name: &'static str, columns: &'static [Column], kind: Kind) -> Work {
    Work { name, columns, kind }
}

/// All of them. Each has servers of its own, so what one did to a server is not seen in the next.
pub static WORKS: [Work; 22] = [
    other(idle::NAME, &idle::COLUMNS, Kind::Idle),
    other(slow::NAME, &slow::COLUMNS, Kind::Slow),
    get("get 4 KiB, 64 connections", 64, 200, SMALL, With::Ftp),
    get("get 4 KiB, 1,024 connections", 1024, 15, SMALL, With::HttpOnly),
    one_each("get 4 KiB, a connection each, closed by the server", Manner::Announced),
    one_each("get 4 KiB, a connection each, closed by the client", Manner::Left),
    put("put 4 KiB, 64 connections", 64, 60, SMALL.len, NAMES, With::Ftp),
    put("put 4 KiB, 1,024 connections", 1024, 4, SMALL.len, NAMES, With::HttpOnly),
    get("get 64 KiB, 64 connections", 64, 50, PAGE, With::HttpOnly),
    get("get 1 MiB, 16 connections", 16, 40, MEDIUM, With::HttpOnly),
    get("get 1 GiB, one stream", 1, 1, BIG, With::Ftp),
    get("get 1 GiB, 64 streams of 16 MiB", 64, 1, PART, With::Ftp),
    put("put 1 GiB, one stream", 1, 1, GIB, 1, With::Ftp),
    put("put 1 GiB, 64 streams of 16 MiB", 64, 1, 16 * MIB, 64, With::Ftp),
    other(mix::NAME, &mix::COLUMNS, Kind::Mix),
    other(cold::NAME, &cold::COLUMNS, Kind::Cold),
    handshakes("TLS: a full handshake and 4 KiB each, P-256", Key::P256, HandshakeKind::Full),
    handshakes("TLS: a full handshake and 4 KiB each, RSA-2048", Key::Rsa2048, HandshakeKind::Full),
    handshakes("TLS: a resumed handshake and 4 KiB each", Key::P256, HandshakeKind::Resumed),
    kept("TLS: get 4 KiB, 64 connections", 64, 100, SMALL),
    kept("TLS: get 1 GiB, one stream", 1, 1, BIG),
    encrypted("TLS: 1,000 idle connections, each", Key::P256, tls::What::Idle),
];

impl Work {
    /// Whether this server takes part.
    pub fn suits(&self, peer: &Peer) -> bool {
        if peer.name == LOGGING {
            return matches!(&self.kind, Kind::Requests(requests) if requests.len() == SMALL.len);
        }
        if peer.role == Role::Limit && self.waits_for_disks() {
            return false;
        }
        match &self.kind {
            Kind::Requests(requests) => !matches!(peer.speaks, Speaks::Ftp(_)) || requests.with == With::Ftp,
            // Only servers with TLS are started for these.
            Kind::Tls(_) => true,
            Kind::Idle | Kind::Slow | Kind::Mix | Kind::Cold => matches!(peer.speaks, Speaks::Driven(_)),
        }
    }

    /// The limit knows no uploads, and stands still while it reads from a disk.
    fn waits_for_disks(&self) -> bool {
        self.only_uploads() || matches!(self.kind, Kind::Mix | Kind::Cold)
    }

    /// What this costs depends on the file system more than on the server: it is done on each.
    pub fn only_uploads(&self) -> bool {
        matches!(&self.kind, Kind::Requests(requests) if matches!(requests.what, What::Put { .. }))
    }

    /// What forbids it here, in words.
    pub fn forbidden(&self, root: &Path) -> Option<String> {
        let descriptors = match &self.kind {
            Kind::Requests(_) | Kind::Mix => 2000,
            Kind::Idle => idle::CROWD + 1000,
            Kind::Slow => slow::CROWD + 500,
            Kind::Tls(_) => tls::IDLE + 500,
            Kind::Cold => return cold::forbidden(root),
        };
        let have = process::raise_descriptors();
        (have < descriptors).then(|| format!("it needs {descriptors} descriptors and may have {have}"))
    }

    /// The rounds that count of those that are done, from 0 on, where `most` are asked for. Most works
    /// do one more first that warms caches; what takes long is done less often.
    pub fn counted(&self, most: usize, extent: Extent) -> RangeInclusive<usize> {
        match &self.kind {
            _ if extent == Extent::SHORT => 0..=0,
            Kind::Tls(Tls { what: tls::What::Idle, .. }) => 0..=0,
            Kind::Requests(_) | Kind::Tls(_) => 1..=most,
            Kind::Mix => 1..=most.min(3),
            Kind::Cold => 1..=most.min(2),
            // Memory that a process got it keeps: only the first round shows it.
            Kind::Idle | Kind::Slow => 0..=0,
        }
    }

    /// One round of one server: a number for each column.
    pub fn round(&self, peer: &Peer, extent: Extent) -> Vec<f64> {
        match &self.kind {
            Kind::Requests(requests) => requests.round(peer, extent),
            Kind::Idle => idle::round(peer, extent),
            Kind::Slow => slow::round(peer, extent),
            Kind::Mix => mix::round(peer, extent),
            Kind::Cold => cold::round(peer, extent),
            Kind::Tls(tls) => tls.what.round(peer, extent),
        }
    }

    /// How the servers were set that matters for it.
    pub fn settings(&self) -> String {
        let durability = if self.only_uploads() || matches!(self.kind, Kind::Mix) { "durability none, " } else { "" };
        let logs = matches!(&self.kind, Kind::Requests(requests) if requests.len() == SMALL.len);
        format!("{durability}log {}", if logs { "off but in filewharf-log" } else { "off" })
    }
}

/// A server that the driver of connections can speak to; only those are given to it.
pub fn wire(peer: &Peer) -> Wire {
    match peer.speaks {
        Speaks::Driven(wire) => wire,
        Speaks::Ftp(_) => unreachable!("works that FTP is no part of are not given to it"),
    }
}

/// What `run` costs a server, for each of this many units: [`OF_REQUESTS`]. It returns how long it took.
pub fn measured(peer: &Peer, units: f64, run: impl FnOnce() -> Duration) -> Vec<f64> {
    let processes = peer.processes();
    processes.iter().copied().for_each(process::forget_peak);
    let before = peer.cpu();
    let elapsed = run();
    let (cpu, memory) = (peer.cpu() - before, peer.memory("VmHWM:"));
    assert_eq!(peer.processes(), processes, "processes came or went, and their CPU time with them");
    vec![cpu.as_secs_f64() / units, elapsed.as_secs_f64() / units, memory as f64]
}

/// The name that a server's uploads have.
pub fn upload(peer: &Peer, number: usize) -> String {
    format!("/put-{}-{number}", peer.name)
}

/// Removes what was uploaded, so that large uploads do not fill the disk.
pub fn remove_uploads(peer: &Peer, names: usize) {
    for number in 0..names {
        let _ = fs::remove_file(peer.root.join(&upload(peer, number)[1..]));
    }
}

impl Requests {
    /// Of one file.
    fn len(&self) -> u64 {
        match self.what {
            What::Get(served) => served.len,
            What::Put { len, .. } => len,
        }
    }

    /// Large transfers, of which each connection does one; they are reported as a whole.
    fn are_large(&self) -> bool {
        self.each == 1
    }

    fn task(&self, peer: &Peer, number: usize, extent: Extent) -> Task {
        match self.what {
            What::Get(served) => served.fetch(),
            What::Put { len, names } => {
                let path = upload(peer, number % names);
                let len = if self.are_large() { extent.bytes(len) } else { len };
                Task::Put { path, content: Content::new(2, len) }
            }
        }
    }

    fn round(&self, peer: &Peer, extent: Extent) -> Vec<f64> {
        let each = extent.count(self.each);
        let units = if self.are_large() { 1.0 } else { (self.connections * each) as f64 };
        let task = |at: usize, n: usize| self.task(peer, at * each + n, extent);
        let row = match peer.speaks {
            Speaks::Driven(wire) => {
                let clients = Driver::connect(peer.address, self.connections, wire, Loss::Panics);
                let mut clients = clients.mannered(self.manner);
                measured(peer, units, || {
                    let outcome = clients.run(driver::each(each, task));
                    assert_eq!(outcome.done, (self.connections * each) as u64);
                    outcome.elapsed
                })
            }
            Speaks::Ftp(dir) => {
                // It has processes for each connection, and those of the last round may yet be ending.
                peer.wait_for_rest();
                let mut clients: Vec<_> =
                    (0..self.connections).map(|_| ftp::Client::connect(peer.address, dir)).collect();
                measured(peer, units, || ftp::run(&mut clients, each, task))
            }
        };
        if let What::Put { names, .. } = self.what
            && self.are_large()
        {
            remove_uploads(peer, names);
        }
        row
    }
}
