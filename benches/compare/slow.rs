//! A crowd that downloads slowly: each client reads a little now and then, as on a thin line. What
//! it costs in memory, the server's and the kernel's, in CPU time for what was read, and whether
//! all are served alike.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::extent::Extent;
use crate::works::{MEDIUM, MIB, wire};
use support::codec::Manner;
use support::peers::Peer;
use support::table::{Column, Rank, Unit};
use support::{figures, process};

/// The name of this work.
pub const NAME: &str = "8,000 slow downloads, each or per MiB";

pub const COLUMNS: [Column; 4] = [
    Column { name: "memory", unit: Unit::Bytes, rank: Rank::LeastIsBest },
    Column { name: "kernel memory", unit: Unit::Bytes, rank: Rank::LeastIsBest },
    Column { name: "CPU per MiB", unit: Unit::Seconds, rank: Rank::LeastIsBest },
    Column { name: "fairness", unit: Unit::Plain, rank: Rank::MostIsBest },
];

pub const CROWD: usize = 8_000;
/// Longer than what the buffers of one connection hold.
const LEN: u64 = MEDIUM.len;
/// What each reads at once, and how often: at most 1,000 MiB/s together.
const BITE: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(500);
/// After how many passes memory and fairness are looked at: all are under way, and none is at its end.
const MIDDLE: usize = 3;
/// After this many passes from there on the memory of the kernel is looked at, for the mean: what began together
/// is filled up together, in every second pass or so, and a single look sees the least or the most.
const LOOKS: usize = 4;
/// Room for bytes that came and were not read: what comes beyond waits in the server's buffers.
const RECEIVE_BUFFER: usize = 32 << 10;

struct Client {
    stream: TcpStream,
    got: u64,
}

/// Connects all, asks for the same file, and reads it slowly to its end.
pub fn round(peer: &Peer, extent: Extent) -> Vec<f64> {
    let connections = extent.count(CROWD);
    let mut crowd: Vec<Client> = (0..connections).map(|_| connect(peer)).collect();
    let head = MEDIUM.fetch().head(wire(peer), Manner::Kept);
    let (memory, kernel) = (peer.memory("VmRSS:"), process::socket_memory());
    let (before, waited_before) = (peer.cpu(), peer.waited_for_core());
    for client in &mut crowd {
        client.stream.write_all(&head).expect("a request fits");
    }
    let mut buffer = vec![0; BITE];
    let (mut middle, mut in_kernel) = (None, 0.0);
    for pass in 1.. {
        if crowd.iter().all(|client| client.got >= LEN) {
            break;
        }
        turn(&mut crowd, &mut buffer, extent.part(PAUSE));
        if pass == MIDDLE {
            let got: Vec<f64> = crowd.iter().map(|client| client.got as f64).collect();
            middle = Some((
                peer.memory("VmRSS:"),
                figures::jain(&got),
                peer.waited_for_core().saturating_sub(waited_before),
            ));
        }
        if (MIDDLE..MIDDLE + LOOKS).contains(&pass) {
            in_kernel += process::socket_memory() as f64 / LOOKS as f64;
        }
    }
    // Whole files: what the buffers held has been read, so CPU time and bytes are of the same.
    let cpu = peer.cpu() - before;
    let (more, fairness, waited) = middle.expect("they are too slow to end before");
    // What it would take for those it left waiting is not known. A short round is over before that is known.
    assert!(
        fairness > 0.5 || extent == Extent::SHORT,
        "{} serves some and lets the others wait: Jain's index {fairness:.3} (it waited {waited:.1?} for its core)",
        peer.name
    );
    vec![
        more.saturating_sub(memory) as f64 / connections as f64,
        (in_kernel - kernel as f64).max(0.0) / connections as f64,
        cpu.as_secs_f64() / (connections as f64 * LEN as f64 / MIB as f64),
        fairness,
    ]
}

/// Every client that is not at its end reads a bite, spread over the pause, so that the server is
/// asked evenly.
fn turn(crowd: &mut [Client], buffer: &mut [u8], pause: Duration) {
    let (began, connections) = (Instant::now(), crowd.len() as u32);
    for (at, client) in crowd.iter_mut().enumerate().filter(|(_, client)| client.got < LEN) {
        let due = pause * at as u32 / connections;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        client.read(buffer);
    }
}

fn connect(peer: &Peer) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("SO_RCVBUF");
    socket.connect(&peer.address.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    Client { stream: socket.into(), got: 0 }
}

impl Client {
    fn read(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => panic!("a slow client was cut off after {} bytes", self.got),
            Ok(n) => self.got += n as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("a slow client was lost after {} bytes: {error}", self.got),
        }
    }
}
