//! All states at once in which a connection can stay, in the numbers that a process with 20,000 descriptors permits.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use support::process;
use support::tls::rustls::ClientConfig;
use support::tls::rustls::StreamOwned;
use support::tls::{client, config};

use super::{Drip, Hostile, Target, attack, connect, host};

const CROWD: usize = 18_000;
const RECEIVE_BUFFER: usize = 2304;
/// A head that the server keeps until its end: nearly the longest.
const HEAD_LEN: usize = 8000;
const DOWNLOAD: &[u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The TLS records of a handshake begun that are sent.
const HELLO_LEN: usize = 150;

/// The listeners of the server, in their order.
struct Listeners {
    auto: SocketAddr,
    tls: SocketAddr,
    name_size: SocketAddr,
    menu: SocketAddr,
}

/// The `nth` connection of the crowd, in one of twenty states. Of those that download, only a sixth do: each has one
/// more descriptor, and the server shall have enough for all of the crowd.
fn open(nth: usize, listeners: &Listeners, tls: &Arc<ClientConfig>) -> Hostile {
    let from = host(nth);
    let auto = |bytes: &[u8], drip| Hostile::begins(connect(listeners.auto, from, None), bytes, drip);
    let unread =
        |bytes: &[u8]| Hostile::begins(connect(listeners.auto, from, Some(RECEIVE_BUFFER)), bytes, Drip::Nothing);
    let downloads = (nth / 20).is_multiple_of(6);
    match nth % 20 {
        0..4 => auto(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n", Drip::Nothing),
        4..7 => {
            let mut head = b"GET /small HTTP/1.1\r\nHost: localhost\r\nX-A: ".to_vec();
            head.resize(HEAD_LEN, b'a');
            auto(&head, Drip::Nothing)
        }
        7 => auto(b"PING\nGET /a/line/that/does/not/e", Drip::Nothing),
        8 => auto(format!("PUT 1000000 /line/{nth}\nb").as_bytes(), Drip::Sends(b"b")),
        9 | 10 => {
            let head = format!("PUT /http/{nth} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nb");
            auto(head.as_bytes(), Drip::Sends(b"b"))
        }
        11 | 12 if downloads => unread(DOWNLOAD),
        13 if downloads => {
            let hostile = unread(b"GET /large\n");
            hostile.stream.shutdown(Shutdown::Write).expect("it is connected");
            hostile
        }
        11..14 => auto(b"", Drip::Nothing),
        14 => {
            let begin = format!("name-{nth} 1000000");
            Hostile::begins(connect(listeners.name_size, from, None), begin.as_bytes(), Drip::Nothing)
        }
        15 => Hostile::begins(connect(listeners.menu, from, None), b"send", Drip::Nothing),
        16 => auto(format!("PUT 1000000 resume=token-{nth} /kept/{nth}\nb").as_bytes(), Drip::Sends(b"b")),
        17 => {
            let mut hello = Vec::new();
            client(tls).write_tls(&mut hello).expect("it is written to memory");
            Hostile::begins(connect(listeners.tls, from, None), &hello[..HELLO_LEN], Drip::Nothing)
        }
        // A session that is idle, and one that does not read.
        state => {
            let mut session = StreamOwned::new(client(tls), connect(listeners.tls, from, Some(RECEIVE_BUFFER)));
            while session.conn.is_handshaking() {
                session.conn.complete_io(&mut session.sock).expect("a handshake in time");
            }
            if state == 19 && downloads {
                session.write_all(DOWNLOAD).expect("the server reads");
            }
            Hostile::begins(session.sock, b"", Drip::Nothing)
        }
    }
}

/// What is kept of uploads that can be resumed.
fn kept(root: &Path) -> usize {
    match fs::read_dir(root.join(".filewharf/uploads")) {
        Ok(entries) => entries.count(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            0
        }
    }
}

#[test]
#[ignore = "needs 20,000 descriptors of two processes each, 30 s and a release build; prints figures"]
fn eighteen_thousand_connections_in_all_states_stay_within_the_ceiling_and_leave_nothing() {
    if !process::permits(CROWD + 1500, "hostile") {
        return;
    }
    let identity = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let identity = identity.path().join("identity");
    let target = Target::start(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "http@127.0.0.1:0?tls",
        "--listen",
        "name-size@127.0.0.1:0",
        "--listen",
        "menu@127.0.0.1:0",
        "--tls-self-signed",
        identity.to_str().expect("UTF-8"),
        "--max-connections",
        "18700",
        "--head-timeout",
        "300",
        "--stall-timeout",
        "300",
        "--rate-window",
        "300",
        "--slot-timeout",
        "300",
    ]);
    let [auto, tls, name_size, menu] = target.server.addresses[..] else { panic!("four listeners") };
    let listeners = Listeners { auto, tls, name_size, menu };
    let config = config();
    attack(
        &target,
        "mix",
        CROWD,
        |nth| open(nth, &listeners, &config),
        |target| {
            let held = target.connections();
            assert!(held > CROWD * 99 / 100, "mix: only {held} connections stay");
        },
    );
    println!("hostile: mix: {} uploads are kept", kept(&target.root()));
    target.assert_nothing_is_left("mix");
}
