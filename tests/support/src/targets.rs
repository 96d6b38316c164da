//! The bodies of all targets: each takes arbitrary bytes and must neither panic nor break what it
//! asserts. Debug assertions are on: a broken invariant is a crash.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::client::{Address, Client, Options};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

mod dav;
mod wire;

use crate::rig::{Mode, Peer, Rig};

/// Takes any bytes, and panics where something is wrong.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const ALL: [(&str, Target); 12] = [
    ("auto", |data| converse(Kind::Auto, &[], data)),
    ("client", client),
    ("dav", dav::all),
    ("http", |data| converse(Kind::Http, &[("cors", "https://a.example")], data)),
    ("length_prefix", |data| converse(Kind::LengthPrefix, &[("inbox", "notes")], data)),
    ("line", |data| converse(Kind::Line, &[], data)),
    ("menu", |data| converse(Kind::Menu, &[], data)),
    ("name_choice", |data| converse(Kind::NameChoice, &[], data)),
    ("name_size", |data| converse(Kind::NameSize, &[], data)),
    ("pickle", |data| converse(Kind::Pickle, &[("inbox", "notes")], data)),
    // covers: random-bytes
    ("session", session),
    ("wire", wire::all),
];

/// A server in memory that speaks `kind`, with two files, on which everything is small.
fn server(kind: Kind, options: &[(&str, &str)], mode: Mode) -> Rig {
    let limits = Limits::default().with(|l| {
        // A server is made for every input: what it reserves must be small.
        l.fixed.connections_max = 8;
        l.fixed.read_buffer_bytes = 4096;
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 8;
        l.live.request_bytes_max = 10_000;
        l.live.discard_bytes_max = 1000;
        l.fixed.message_bytes_max = 16 * 1024;
    });
    let options: Vec<(String, String)> =
        options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let listening = Listening::new(kind, &options, 1).expect("good options");
    let mut rig = Rig::speaking(listening, mode, limits, Access::default());
    rig.place("a", b"content of a");
    rig.place("f/b.txt", b"content of b");
    rig
}

/// A client that reads little at a time. Each time costs two turns: 3 bytes, as in `tests/golden`,
/// would leave nothing but turns to a fuzzer.
const NARROW_WINDOW: usize = 61;

fn mode(world: u8) -> Mode {
    let window = if world & 8 != 0 { NARROW_WINDOW } else { usize::MAX };
    Mode { deferred: world & 1 != 0, held: world & 2 != 0, lags: world & 4 != 0, window }
}

/// Nothing is left of clients that have closed. They sent at most `sent_max` bytes: each requires at
/// most one wait, because a dialect that pauses between its answers takes at least one byte after each pause.
fn check_end(rig: &mut Rig, peers: &[Peer], sent_max: usize) {
    for peer in peers {
        rig.finish(peer);
    }
    for pass in 0..sent_max + 4 {
        // What was closed last may need a few turns until its file is closed.
        if pass >= 4 && peers.iter().all(Peer::is_gone) {
            break;
        }
        rig.pass(Duration::from_secs(400));
    }
    assert!(peers.iter().all(Peer::is_gone), "a connection stays after its client has gone");
    assert_eq!(rig.open_files(), 0, "a file stays open");
    assert_eq!(rig.counters().slots_used, 0, "a slot leaks");
}

/// A conversation with the real reactor. The first byte chooses how the world behaves; after it
/// come pieces, each after its length. A length of 255 lets time pass, 254 closes the client's
/// half.
pub fn converse(kind: Kind, options: &[(&str, &str)], data: &[u8]) {
    let Some((&world, mut rest)) = data.split_first() else { return };
    let mut rig = server(kind, options, mode(world));
    let peer = rig.connect();
    while let Some((&len, tail)) = rest.split_first() {
        rest = tail;
        match len {
            255 => rig.pass(Duration::from_millis(120)),
            254 => rig.finish(&peer),
            len => {
                let (piece, tail) = rest.split_at(rest.len().min(usize::from(len)));
                rest = tail;
                rig.send(&peer, piece);
            }
        }
        if peer.is_gone() {
            break;
        }
    }
    check_end(&mut rig, &[peer], data.len());
}

/// What a client of [`session`] says. Whole requests, and pieces without their ends.
const WORDS: [&[u8]; 16] = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-2,5-6\r\n\r\n",
    b"HEAD /f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n",
    b"PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n",
    b"PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n",
    b"PUT /q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nIf-None-Match: *\r\n\r\n",
    b"0123456789abcdef0123",
    b"14\r\n0123456789abcdef0123\r\n",
    b"0\r\n\r\n",
    b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nWant-Repr-Digest: sha-256=1\r\n\r\n",
    b"GET trailer=sha256 /a\n",
    b"PUT 20 /r\n",
    b"LIST /\nSTAT /a\n",
    b"\r\n",
];

/// Events of one input: enough for each client to be served, refused and cut off several times.
const EVENTS_MAX: usize = 200;

/// Several clients of one server, event by event. The first byte chooses how the world behaves;
/// every byte after it is an event: the upper two bits choose the client.
pub fn session(data: &[u8]) {
    let Some((&world, events)) = data.split_first() else { return };
    let mut rig = server(Kind::Auto, &[], mode(world));
    let mut peers: Vec<Peer> = (0..4).map(|_| rig.connect()).collect();
    for &event in events.iter().take(EVENTS_MAX) {
        let at = usize::from(event >> 6);
        let peer = &peers[at];
        match event & 63 {
            what @ 0..16 => rig.send(peer, WORDS[usize::from(what)]),
            // The same while the server is busy: one turn, completions still on their way.
            what @ 16..32 => rig.send_in_turn(peer, WORDS[usize::from(what - 16)]),
            what @ 32..40 => rig.send_unread(peer, WORDS[usize::from(what - 32)]),
            40 => rig.finish(peer),
            41 => rig.pass(Duration::from_millis(100)),
            42 => rig.pass(Duration::from_secs(3)),
            43 => rig.pass(Duration::from_secs(70)),
            44 => rig.skip(Duration::from_secs(31)),
            45 => rig.send(peer, b""),
            46 if world & 64 != 0 => rig.drain(),
            47 if peer.is_gone() && world & 64 == 0 => peers[at] = rig.connect(),
            what => rig.send(peer, &[what]),
        }
    }
    let longest = WORDS.iter().map(|word| word.len()).max().unwrap_or(0);
    check_end(&mut rig, &peers, EVENTS_MAX * longest);
}

/// The client library against a server that says arbitrary bytes, whatever it is asked.
pub fn client(data: &[u8]) {
    let Some((&what, says)) = data.split_first() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let address = Address { host: "127.0.0.1".to_owned(), port, tls: false };
    let says = says.to_vec();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        // The client may have gone: nothing of this matters then.
        let _ = stream.write_all(&says);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let options = Options { retry_for: Duration::ZERO, io_timeout: Duration::from_secs(5), ..Options::default() };
    if let Ok(mut client) = Client::connect(&address, options) {
        match what % 5 {
            0 => drop(client.stat("/a")),
            1 => drop(client.ping()),
            2 => {
                for entry in client.list("/").take(100) {
                    if entry.is_err() {
                        break;
                    }
                }
            }
            3 => drop(client.get_stream("/a", &mut Vec::new(), &mut ())),
            _ => drop(client.delete("/a")),
        }
    }
    server.join().expect("the server ends");
}

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = ALL.iter().find(|(own, _)| *own == name).expect("a target of that name");
    target(data);
}
