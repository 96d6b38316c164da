//! Encrypted connections beside nginx and HAProxy, which have OpenSSL: handshakes, downloads, and idle connections.
//!
//! The clients are of rustls, some threads on the core of this program. They offer TLS 1.3 with one group (X25519)
//! and one cipher suite (AES-128-GCM), so that each server has the same to do.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::extent::Extent;
use crate::place::Place;
use crate::works::{SMALL, Served, measured};
use support::Wire;
use support::codec::{self, Manner};
use support::peers::{Missing, Peer, Role, TlsFiles};
use support::tls::rustls::{ClientConfig, HandshakeKind};
use support::tls::{TlsStream, connect, one_suite};

/// Threads of clients.
const THREADS: usize = 4;
/// Idle connections, and those before them.
pub const IDLE: usize = 1000;
const FIRST: usize = 64;

/// What is done over encrypted connections.
#[derive(Clone, Copy)]
pub struct Tls {
    pub key: Key,
    pub what: What,
}

/// The key of the server's certificate.
#[derive(Clone, Copy)]
pub enum Key {
    P256,
    Rsa2048,
}

#[derive(Clone, Copy)]
pub enum What {
    /// A connection for each small file, which the server closes.
    Handshakes { each: usize, kind: HandshakeKind },
    /// On connections that are kept.
    Kept { connections: usize, each: usize, file: Served },
    /// Connections that were answered once and now wait: memory.
    Idle,
}

impl Tls {
    /// The servers that can be had for it, and what is missing. `other`: a build of our own to compare with alone.
    pub fn start(self, place: &Place, binary: &str, other: Option<String>) -> (Vec<Peer>, Vec<Missing>) {
        let files = match identity(self.key, &place.work) {
            Ok(files) => files,
            Err(missing) => return (Vec::new(), vec![missing]),
        };
        let own = |name, binary: &str| Peer::filewharf_tls(name, binary, &place.own(name), &files);
        let mut peers = vec![own("filewharf-http", binary)];
        if let Some(other) = other {
            let mut reference = own("other-http", &other);
            reference.role = Role::Peer;
            peers.extend([reference, own("other-http-again", &other)]);
            return (peers, Vec::new());
        }
        let mut others = vec![Peer::nginx_tls(&place.root, &place.work, &files)];
        // It has files of one buffer at most, in its memory.
        if self.what.file().len == SMALL.len {
            others.push(Peer::haproxy_tls(&place.root.join(SMALL.name), &place.work, &files));
        }
        let mut missing = Vec::new();
        for other in others {
            other.map_or_else(|why| missing.push(why), |peer| peers.push(peer));
        }
        (peers, missing)
    }
}

/// A certificate that signs itself, made by openssl: rustls makes no keys for RSA.
fn identity(key: Key, dir: &Path) -> Result<TlsFiles, Missing> {
    let files = TlsFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    let kind: &[&str] = match key {
        Key::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        Key::Rsa2048 => &["-newkey", "rsa:2048"],
    };
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "3",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(kind)
        .arg("-keyout")
        .arg(&files.key)
        .arg("-out")
        .arg(&files.certificate)
        .stderr(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Ok(files),
        _ => Err(Missing("TLS left out: openssl makes no certificate (is it installed?)".to_owned())),
    }
}

impl What {
    const fn file(self) -> Served {
        match self {
            Self::Kept { file, .. } => file,
            Self::Handshakes { .. } | Self::Idle => SMALL,
        }
    }

    /// What is measured of a server.
    pub fn round(self, peer: &Peer, extent: Extent) -> Vec<f64> {
        match self {
            Self::Handshakes { each, kind } => {
                let each = extent.count(each);
                let configs: Vec<_> = (0..THREADS).map(|_| one_suite(kind == HandshakeKind::Resumed)).collect();
                // The first handshake of each is a full one in any case.
                for config in &configs {
                    ask_once(peer, config);
                }
                measured(peer, (THREADS * each) as f64, || {
                    in_threads(configs, |config| {
                        for _ in 0..each {
                            assert_eq!(ask_once(peer, &config), Some(kind), "{}", peer.name);
                        }
                    })
                })
            }
            Self::Kept { connections, each, file } => {
                let each = extent.count(each);
                let config = one_suite(false);
                let threads = connections.min(THREADS);
                let crowds: Vec<_> = (0..threads).map(|_| asked(peer, &config, connections / threads)).collect();
                measured(peer, (connections * each) as f64, || {
                    in_threads(crowds, |mut crowd| {
                        for _ in 0..each {
                            crowd.iter_mut().for_each(|stream| ask(stream, file, Manner::Kept));
                            crowd.iter_mut().for_each(|stream| read_reply(stream, file));
                        }
                    })
                })
            }
            Self::Idle => {
                let connections = extent.count(IDLE);
                let config = one_suite(false);
                // What is paid once is paid before.
                let first = asked(peer, &config, FIRST);
                let before = peer.memory("VmRSS:");
                let crowd = asked(peer, &config, connections);
                let after = peer.memory("VmRSS:");
                drop((first, crowd));
                vec![after.saturating_sub(before) as f64 / connections as f64]
            }
        }
    }
}

/// Does each part in a thread of its own: how long all of them took.
fn in_threads<T: Send>(parts: Vec<T>, run: impl Fn(T) + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for part in parts {
            scope.spawn(|| run(part));
        }
    });
    began.elapsed()
}

/// Connections that were answered once.
fn asked(peer: &Peer, config: &Arc<ClientConfig>, connections: usize) -> Vec<TlsStream> {
    let answered = |_| {
        let mut stream = connect(peer.address, config);
        ask(&mut stream, SMALL, Manner::Kept);
        read_reply(&mut stream, SMALL);
        stream
    };
    (0..connections).map(answered).collect()
}

/// Fetches the small file over a connection of its own: how its handshake went.
fn ask_once(peer: &Peer, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut stream = connect(peer.address, config);
    ask(&mut stream, SMALL, Manner::Announced);
    read_reply(&mut stream, SMALL);
    // The end. Not every server says it in TLS.
    let _ = stream.read(&mut [0; 64]);
    stream.conn.handshake_kind()
}

fn ask(stream: &mut TlsStream, file: Served, manner: Manner) {
    stream.write_all(&file.fetch().head(Wire::Http, manner)).expect("the server reads");
}

/// Reads all of one reply.
fn read_reply(stream: &mut TlsStream, file: Served) {
    let (mut head, mut buf) = (Vec::new(), [0; 16 * 1024]);
    let mut left = loop {
        let n = stream.read(&mut buf).expect("a reply in time");
        assert!(n > 0, "the connection ended without a reply");
        head.extend_from_slice(&buf[..n]);
        if let Some(found) = codec::head(Wire::Http, &head).expect("a good reply") {
            assert_eq!(found.body, file.len, "the length of {}", file.name);
            break found.body - (head.len() - found.len) as u64;
        }
    };
    while left > 0 {
        let n = stream.read(&mut buf).expect("all of it in time");
        assert!(n > 0, "{left} bytes of {} are missing", file.name);
        left -= n as u64;
    }
}
