//! Hostile clients beside the honest ones: every kind of them, a bounded number at a time, from addresses of
//! their own, so that the limits per client refuse these and not the others.
//!
//! They send only what can never become a file, and so nothing of theirs may be visible at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::TcpRepair};
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

use super::Soak;
use super::clients::{DIALECTS, Dialect};
use super::model::Names;
use crate::server::dir;
use support::Content;
use support::content::Random;

/// Addresses of hostile clients: 127.0.0.2 and those after it.
pub const CLIENTS: u8 = 4;
/// Connections of one address, at most: fewer than the server permits, or more.
const CONNECTIONS: [usize; 2] = [20, 40];
/// New connections of one address in one tick.
const NEW_PER_TICK: u64 = 2;
const TICK: Duration = Duration::from_millis(20);
/// How long a connection is kept that the server does not end.
const LIFE_MS: u64 = 8000;
/// Requests of a flood: more than the server permits in a second.
const FLOOD: usize = 600;

/// A user with a password that is none. A check takes 64 KiB instead of the usual 19 MiB, which glibc keeps for
/// each worker that has ever made one, until all have: more than what the soak looks for in the memory.
const USER: &str = "user anna $argon2id$v=19$m=64,t=2,p=1$QxdmDQWFCfnFT9TUu8y/1Q\
    $/UzdUeZ9ShXPehFkKVUxDJuJMRUonEUtoyNVl/KcrL0";

/// What the limits of the server are in a soak, for every client.
pub const LIMITS: [&str; 24] = [
    "--client-connections",
    "24",
    "--client-uploads",
    "8",
    "--client-requests",
    "400",
    "--client-upload-rate",
    "64M",
    "--client-download-rate",
    "64M",
    "--max-size",
    "16M",
    "--max-uploads",
    "128",
    "--upload-expiry",
    "10",
    "--head-timeout",
    "3",
    "--idle-timeout",
    "3",
    "--stall-timeout",
    "3",
    "--rate-window",
    "4",
];

/// The file that hostile clients download.
const LARGE: &str = "hostile/large";
const LARGE_CONTENT: Content = Content::new(77, 8 << 20);

/// Places the file that hostile clients download, and makes a directory with the rules of access: anybody may do
/// anything, but little at a time where hostile clients are, and there is a password to guess.
pub fn prepare(root: &Path) -> TempDir {
    let large = root.join(LARGE);
    fs::create_dir_all(large.parent().expect("a folder")).expect("a folder can be made");
    fs::write(&large, LARGE_CONTENT.bytes()).expect("room for a file");
    let rules = dir();
    let access = rules.path().join("access");
    let text = format!("{USER}\nallow @ rlcwd /\nallow @ rlcw /hostile/ rate=512K max-size=4M\n");
    fs::write(&access, text).expect("room for a file");
    fs::set_permissions(&access, fs::Permissions::from_mode(0o640)).expect("it is ours");
    rules
}

/// All that may be visible of hostile clients.
pub fn names() -> Names {
    let mut names = Names::new();
    names.entry(LARGE.to_owned()).or_default().acknowledged(Some(LARGE_CONTENT));
    names
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    Idle,
    Resets,
    SlowHead,
    HalfOpen,
    SlowBody,
    Garbage,
    ClientHello,
    LargeHead,
    BadFraming,
    UnfinishedUpload,
    EndlessChunks,
    NonReader,
    Vanishes,
    WrongPassword,
    Flood,
}

const LOADS: [Load; 15] = [
    Load::Idle,
    Load::Resets,
    Load::SlowHead,
    Load::HalfOpen,
    Load::SlowBody,
    Load::Garbage,
    Load::ClientHello,
    Load::LargeHead,
    Load::BadFraming,
    Load::UnfinishedUpload,
    Load::EndlessChunks,
    Load::NonReader,
    Load::Vanishes,
    Load::WrongPassword,
    Load::Flood,
];

/// What became of the connections of each kind.
#[derive(Default)]
pub struct Seen {
    begun: BTreeMap<Load, u64>,
    /// First status of a reply, or 0 of a connection that was ended without one.
    told: BTreeMap<(Load, u16), u64>,
    /// Connections on which a reply said that a limit is reached.
    limited: u64,
}

impl Seen {
    /// Prints what was seen, and checks that every kind took part and that limits refused some.
    pub fn report(&self) {
        println!("soak: {} hostile connections", self.begun.values().sum::<u64>());
        for load in LOADS {
            let begun = self.begun.get(&load).copied().unwrap_or(0);
            let told: Vec<String> = self
                .told
                .range((load, 0)..=(load, u16::MAX))
                .map(|((_, code), times)| format!("{code}: {times}"))
                .collect();
            println!("soak:   {load:?}: {begun}; told {}", told.join(", "));
            assert!(begun > 0, "no {load:?} in the whole soak");
        }
        println!("soak:   told that a limit is reached: {}", self.limited);
        assert!(self.limited > 0, "no limit refused a hostile client");
        let told = |load, code| self.told.get(&(load, code)).copied().unwrap_or(0);
        for (load, code) in [
            (Load::SlowHead, 408),
            (Load::LargeHead, 431),
            (Load::BadFraming, 400),
            (Load::UnfinishedUpload, 201),
            (Load::WrongPassword, 401),
        ] {
            assert!(told(load, code) > 0, "no {load:?} was told {code}");
        }
    }
}

/// The connections of one hostile address, until the end; none while the server is to rest.
pub fn attack(soak: &Soak, number: u8, seed: u64) {
    let _ends = super::EndsAll(soak);
    let (from, mut random) = (Ipv4Addr::new(127, 0, 0, 2 + number), Random::new(seed ^ (u64::from(number) + 1) << 40));
    while !soak.has_ended() {
        let working = soak.work.read().unwrap_or_else(PoisonError::into_inner);
        let most = CONNECTIONS[random.below(2) as usize];
        let mut connections: Vec<Connection> = Vec::new();
        while !soak.has_ended() && !soak.rests() {
            for _ in 0..NEW_PER_TICK {
                if connections.len() < most
                    && let Some(connection) = Connection::begin(soak, from, &mut random)
                {
                    connections.push(connection);
                }
            }
            connections.retain_mut(|connection| connection.continues(soak, &mut random));
            std::thread::park_timeout(TICK);
        }
        drop(connections);
        drop(working);
        while soak.rests() && !soak.has_ended() {
            std::thread::park_timeout(TICK);
        }
    }
}

/// How a connection ends on this side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// In the usual order.
    Close,
    Reset,
    /// Without a packet: the server sees no end.
    Vanish,
}

/// One hostile connection.
struct Connection {
    load: Load,
    stream: TcpStream,
    /// What is still to be sent, the first byte last.
    out: Vec<u8>,
    /// First bytes of the reply.
    reply: Vec<u8>,
    limited: bool,
    ends: Instant,
    next: Instant,
    end: End,
}

impl Connection {
    fn begin(soak: &Soak, from: Ipv4Addr, random: &mut Random) -> Option<Self> {
        let load = LOADS[random.below(LOADS.len() as u64) as usize];
        let dialect = match load {
            Load::Garbage | Load::ClientHello => DIALECTS[random.below(DIALECTS.len() as u64) as usize],
            Load::BadFraming | Load::UnfinishedUpload | Load::EndlessChunks => Dialect::Http,
            _ => [Dialect::Line, Dialect::Http][random.below(2) as usize],
        };
        let stream = connect(soak.address(dialect), from, load == Load::NonReader).ok()?;
        let (end, life) = match load {
            Load::Resets => (End::Reset, 1 + random.below(50)),
            Load::HalfOpen | Load::Vanishes => (End::Vanish, 40 + random.below(200)),
            _ => ([End::Close, End::Reset][random.below(2) as usize], 200 + random.below(LIFE_MS)),
        };
        let now = Instant::now();
        let mut out = opening(load, dialect, random);
        out.reverse();
        *soak.tally().hostile.begun.entry(load).or_default() += 1;
        let ends = now + Duration::from_millis(life);
        Some(Self { load, stream, out, reply: Vec::new(), limited: false, ends, next: now, end })
    }

    /// Sends and receives what is due; false once it has ended.
    fn continues(&mut self, soak: &Soak, random: &mut Random) -> bool {
        let now = Instant::now();
        let lives = self.receives() && self.sends(now, random);
        if lives && now < self.ends {
            return true;
        }
        if lives && self.end == End::Vanish {
            // Closed in this mode, a socket sends nothing (CRIU uses it).
            setsockopt(&self.stream, TcpRepair, &1).expect("root may let a connection vanish");
        } else if lives && self.end == End::Reset {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        let mut tally = soak.tally();
        if !lives || !self.reply.is_empty() {
            *tally.hostile.told.entry((self.load, status(&self.reply))).or_default() += 1;
        }
        tally.hostile.limited += u64::from(self.limited);
        false
    }

    /// Takes what has come; false at the end of the stream.
    fn receives(&mut self) -> bool {
        if matches!(self.load, Load::NonReader | Load::HalfOpen | Load::Vanishes) {
            return true;
        }
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    self.limited |= buffer[..n].windows(5).any(|word| word == b" 429 ");
                    let room = 64 - self.reply.len().min(64);
                    self.reply.extend_from_slice(&buffer[..n.min(room)]);
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends what is due; false if the server has ended the connection.
    fn sends(&mut self, now: Instant, random: &mut Random) -> bool {
        if now < self.next {
            return true;
        }
        let is_slow = self.load == Load::SlowHead || (self.load == Load::SlowBody && self.out.is_empty());
        if is_slow {
            self.next = now + Duration::from_millis(100 + random.below(400));
        }
        match self.load {
            Load::SlowBody if self.out.is_empty() => self.out.push(b'x'),
            Load::EndlessChunks if self.out.is_empty() => {
                let mut chunk = [&b"2000\r\n"[..], &[b'x'; 0x2000], b"\r\n"].concat();
                chunk.reverse();
                self.out = chunk;
            }
            _ => {}
        }
        while let Some(rest) = self.out.len().checked_sub(if is_slow { 1 } else { 16 << 10 }.min(self.out.len()))
            && rest < self.out.len()
        {
            let mut piece = self.out[rest..].to_vec();
            piece.reverse();
            match self.stream.write(&piece) {
                Ok(n) => self.out.truncate(self.out.len() - n),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            if is_slow {
                break;
            }
        }
        true
    }
}

fn connect(to: SocketAddr, from: Ipv4Addr, reads_nothing: bool) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if reads_nothing {
        socket.set_recv_buffer_size(4 << 10)?;
    }
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(from, 0)).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What is sent first.
fn opening(load: Load, dialect: Dialect, random: &mut Random) -> Vec<u8> {
    let is_http = dialect == Dialect::Http;
    let put = |name: &str, len: u64| match is_http {
        true => format!("PUT /hostile/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n"),
        false => format!("PUT {len} /hostile/{name}\n"),
    };
    let get = |name: &str| match is_http {
        true => format!("GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        false => format!("GET /{name}\n"),
    };
    match load {
        // Every other one says nothing.
        Load::Idle | Load::HalfOpen if random.below(2) == 0 => Vec::new(),
        Load::Idle | Load::HalfOpen => get("hostile/none").into_bytes(),
        Load::Resets | Load::Vanishes => match random.below(3) {
            0 => get(LARGE).into_bytes(),
            1 => get(LARGE).as_bytes()[..8].to_vec(),
            _ => (put("cut", 1_000_000) + &"x".repeat(100_000)).into_bytes(),
        },
        Load::SlowHead => {
            let long = "n".repeat(200);
            get(&format!("hostile/{long}")).into_bytes()
        }
        Load::SlowBody => put("slow", 1_000_000).into_bytes(),
        Load::Garbage => noise(2000, random),
        // A record of the handshake with a ClientHello of TLS 1.2 in it.
        Load::ClientHello => [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &noise(0x1fa, random)].concat(),
        Load::LargeHead if is_http => {
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000)).into_bytes()
        }
        Load::LargeHead => get(&"x".repeat(20_000)).into_bytes(),
        Load::BadFraming => {
            let framing = [
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                "Content-Length: 3\r\nContent-Length: 4",
                "Content-Length: -1",
                "Content-Length: 99999999999999999999999",
                "Transfer-Encoding: chunked, gzip",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            ][random.below(6) as usize];
            format!("PUT /hostile/framing HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\nzz\r\n").into_bytes()
        }
        Load::UnfinishedUpload => {
            let head = "POST /hostile/unfinished HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n\
                Upload-Length: 100000\r\n";
            match random.below(2) {
                0 => format!("{head}Content-Length: 0\r\n\r\n"),
                _ => format!(
                    "{head}Content-Type: application/offset+octet-stream\r\nContent-Length: 100000\r\n\r\n{}",
                    "x".repeat(30_000)
                ),
            }
            .into_bytes()
        }
        Load::EndlessChunks => {
            b"PUT /hostile/endless HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()
        }
        Load::NonReader => get(LARGE).into_bytes(),
        Load::WrongPassword => match (is_http, random.below(2)) {
            // `anna:wrong`.
            (true, 0) => "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YW5uYTp3cm9uZw==\r\n\r\n",
            (true, _) => "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong-token\r\n\r\n",
            (false, 0) => "AUTH anna wrong\n",
            (false, _) => "AUTH wrong-token\n",
        }
        .as_bytes()
        .to_vec(),
        Load::Flood => get("hostile/none").repeat(FLOOD).into_bytes(),
    }
}

/// Bytes without digits: in no dialect can these announce a file.
fn noise(len: usize, random: &mut Random) -> Vec<u8> {
    (0..len).map(|_| (random.next() >> 32) as u8).map(|byte| if byte.is_ascii_digit() { b'#' } else { byte }).collect()
}

/// The status of a reply in HTTP or in the line protocol; 0 of everything else.
fn status(reply: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(reply);
    let mut words = text.split_whitespace();
    match words.next() {
        Some("HTTP/1.1" | "ERR") => words.next().and_then(|word| word.parse().ok()).unwrap_or(0),
        Some("OK") => 200,
        _ => 0,
    }
}
