//! A crowd that downloads slowly: each client reads a little now and then, as on a thin line. What
//! it costs in memory, the server's and the kernel's, in CPU time for what was read, and whether
//! all are served alike.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::codec::Manner;
use crate::support::peers::Peer;
use crate::support::{Task, figures, process};
use crate::table::{Column, Rank, Unit};
use crate::works::{FILES, MIB, wire};

/// The name of this work.
pub const NAME: &str = "8,000 slow downloads, each or per MiB";

pub const COLUMNS: [Column; 4] = [
    Column { name: "memory", unit: Unit::Bytes, rank: Rank::LeastIsBest },
    Column { name: "kernel memory", unit: Unit::Bytes, rank: Rank::LeastIsBest },
    Column { name: "CPU per MiB", unit: Unit::Seconds, rank: Rank::LeastIsBest },
    Column { name: "fairness", unit: Unit::Plain, rank: Rank::MostIsBest },
];

pub const CROWD: usize = 8_000;
/// What each reads at once, and how often: 128 MiB/s together.
const BITE: usize = 8 << 10;
const PAUSE: Duration = Duration::from_millis(500);
const FILLING: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(3);
/// Room for bytes that came and were not read: what comes beyond waits in the server's buffers.
const RECEIVE_BUFFER: usize = 32 << 10;

struct Client {
    stream: TcpStream,
    got: u64,
}

/// Connects all, asks for a file that nobody reads to its end, and reads for a fixed time.
pub fn round(peer: &Peer) -> Vec<f64> {
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| connect(peer)).collect();
    let head = Task::Drain { path: format!("/{}", FILES[3].0), len: FILES[3].1 }.head(wire(peer), Manner::Kept);
    let (memory, kernel) = (peer.memory("VmRSS:"), process::socket_memory());
    for client in &mut crowd {
        client.stream.write_all(&head).expect("a request fits");
    }
    // At first the server fills the buffers of all, which costs and is not yet read.
    read_for(&mut crowd, FILLING);
    let (before, filled) = (peer.cpu(), total(&crowd));
    read_for(&mut crowd, TIME);
    let cpu = peer.cpu() - before;
    let (more, in_kernel) = (peer.memory("VmRSS:"), process::socket_memory());
    let got: Vec<f64> = crowd.iter().map(|client| client.got as f64).collect();
    vec![
        more.saturating_sub(memory) as f64 / CROWD as f64,
        in_kernel.saturating_sub(kernel) as f64 / CROWD as f64,
        cpu.as_secs_f64() / ((total(&crowd) - filled) as f64 / MIB as f64),
        figures::jain(&got),
    ]
}

fn total(crowd: &[Client]) -> u64 {
    crowd.iter().map(|client| client.got).sum()
}

/// Every client reads a bite in every turn, for a fixed time.
fn read_for(crowd: &mut [Client], time: Duration) {
    let (began, mut buffer) = (Instant::now(), vec![0; BITE]);
    while began.elapsed() < time {
        let turn = Instant::now();
        for (at, client) in crowd.iter_mut().enumerate() {
            // Spread over the turn, so that the server is asked evenly.
            let due = PAUSE * at as u32 / CROWD as u32;
            std::thread::sleep(due.saturating_sub(turn.elapsed()));
            client.read(&mut buffer);
        }
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
