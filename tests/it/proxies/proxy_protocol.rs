//! Listeners for proxies: the header of the PROXY protocol decides the client of a connection, and only from addresses
//! that are named. In virtual time.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

/// The proxy of these tests, 127.0.0.1, is where `Rig::connect` comes from.
const PROXIES: &str = "10.0.0.0/8,127.0.0.1/32";

fn proxied(kind: Kind, limits: Limits, access: Access) -> Rig {
    Rig::with_proxies(PROXIES, Listening::new(kind, &[], 0).expect("no options"), limits, access)
}

fn line() -> Rig {
    proxied(Kind::Line, Limits::default(), Access::default())
}

/// A header for the client 192.0.2.`host`, with the port of every client of a `Rig`.
fn v1(host: u8) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.{host} 198.51.100.1 50851 7070\r\n").into_bytes()
}

fn v2(host: u8) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&start[..], &[192, 0, 2, host], &[198, 51, 100, 1], &[0xC6, 0xA3, 0x1B, 0x9E]].concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A client of the proxy comes and says this.
fn comes(rig: &mut Rig, host: u8, says: &[u8]) -> Peer {
    let peer = rig.connect();
    rig.send(&peer, &[&v2(host), says].concat());
    peer
}

fn is_refused(peer: &Peer) -> bool {
    peer.is_gone() && peer.is_reset() && peer.heard().is_empty()
}

#[test]
fn a_request_after_a_header_is_answered_at_every_split() {
    for header in [v1(1), v2(1), b"PROXY UNKNOWN\r\n".to_vec(), LOCAL.to_vec()] {
        let mut rig = line();
        rig.place("f", b"content");
        let all = [&header[..], b"GET /f\nPING\n"].concat();
        for split in 0..=all.len() {
            let peer = rig.come(&all[..split]);
            rig.turn();
            rig.send(&peer, &all[split..]);
            let heard = String::from_utf8(peer.heard()).expect("text");
            assert!(heard.starts_with("OK 7 ") && heard.ends_with("\ncontentOK 0\n"), "{split}: {heard:?}");
            rig.finish(&peer);
            assert!(peer.is_gone() && !peer.is_reset());
        }
        let bytewise = rig.connect();
        for byte in &all {
            assert!(bytewise.heard().is_empty());
            rig.send(&bytewise, &[*byte]);
            if bytewise.heard().starts_with(b"OK 7 ") {
                break;
            }
        }
        assert!(bytewise.heard().ends_with(b"content"));
        rig.finish(&bytewise);
        // All in one packet with the end of the stream.
        let hurried = rig.come(&all);
        rig.leave(&hurried);
        rig.send(&hurried, b"");
        assert!(hurried.heard().ends_with(b"contentOK 0\n") && hurried.is_gone());
        let counters = rig.counters();
        assert_eq!((counters.open, counters.unidentified, counters.turned_away), (0, 0, 0));
    }
}

#[test]
fn a_dialect_that_speaks_first_speaks_once_the_header_is_whole() {
    for header in [v1(1), v2(1)] {
        let mut plain = Rig::speaking(
            Listening::new(Kind::Pickle, &[], 0).expect("no options"),
            Mode::PLAIN,
            Limits::default(),
            Access::default(),
        );
        let greeting = plain.connect().heard();
        assert!(!greeting.is_empty());
        let mut rig = proxied(Kind::Pickle, Limits::default(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, &header[..header.len() - 1]);
        assert!(peer.heard().is_empty());
        rig.send(&peer, &header[header.len() - 1..]);
        assert_eq!(peer.heard(), greeting);
    }
}

#[test]
fn what_every_dialect_answers_is_the_same_after_a_header() {
    for kind in Kind::ALL {
        let listening = || Listening::new(kind, &[], 0).expect("no options");
        let says = format!("{:<64}PING", 4);
        for says in [&b"PING\n"[..], b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", says.as_bytes(), b"1\n", b"\n\n\n"] {
            let mut plain = Rig::speaking(listening(), Mode::PLAIN, Limits::default(), Access::default());
            let alone = plain.connect();
            plain.send(&alone, says);
            let mut rig = proxied(kind, Limits::default(), Access::default());
            let proxied = comes(&mut rig, 1, says);
            for rig in [&mut plain, &mut rig] {
                rig.pass(Duration::from_millis(1500));
            }
            assert_eq!(proxied.heard().escape_ascii().to_string(), alone.heard().escape_ascii().to_string(), "{kind}");
            assert_eq!(proxied.is_closed(), alone.is_closed(), "{kind}");
        }
    }
}

#[test]
fn a_header_is_never_believed_from_another_address() {
    for header in [v1(1), v2(1), LOCAL.to_vec(), b"PING\n".to_vec()] {
        let mut rig = line();
        let forger = rig.connect_from(2);
        assert!(is_refused(&forger), "{}", header.escape_ascii());
        assert_eq!((rig.counters().unidentified, rig.counters().open), (1, 0));
    }
}

#[test]
fn a_listener_without_proxies_believes_no_header() {
    let listening = Listening::new(Kind::Line, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, &[&v1(1), &b"PING\n"[..]].concat());
    assert!(peer.heard().starts_with(b"ERR 400 "), "{}", peer.heard().escape_ascii());
}

#[test]
fn a_connection_of_a_proxy_without_a_valid_header_is_reset() {
    let mut wrong_checksum = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    wrong_checksum.extend_from_slice(&v2(1)[16..]);
    wrong_checksum.extend_from_slice(&[3, 0, 4, 1, 2, 3, 4]);
    let endless = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 9000]].concat();
    for says in [&b"PING\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3.4\r\nPING\n", &wrong_checksum, &endless]
    {
        let mut rig = line();
        let peer = rig.connect();
        rig.send(&peer, says);
        assert!(is_refused(&peer), "{}", says.escape_ascii());
        assert_eq!((rig.counters().unidentified, rig.counters().open), (1, 0));
    }
}

#[test]
fn a_header_that_is_not_whole_in_time_or_ends_early_is_no_connection() {
    let limits = Limits::default();
    for said in [0, 1, 12, 27] {
        let mut rig = line();
        let [slow, short] = [0; 2].map(|_| rig.connect());
        for peer in [&slow, &short] {
            rig.send(peer, &v2(1)[..said]);
        }
        rig.finish(&short);
        assert!(short.is_gone() && short.heard().is_empty());
        // A check of the port says nothing, and is no failure.
        assert_eq!((rig.counters().unidentified, short.is_reset()), (u64::from(said > 0), said > 0));
        rig.pass(limits.live.head_timeout - Duration::from_millis(1));
        assert!(!slow.is_gone());
        rig.pass(Duration::from_millis(1));
        assert!(is_refused(&slow));
        rig.send(&slow, &v2(1)[said..]);
        assert_eq!(rig.counters().open, 0);
    }
    let mut rig = line();
    let lost = rig.connect();
    rig.send(&lost, &v1(1)[..9]);
    rig.cut(&lost);
    assert!(lost.is_gone() && rig.counters().open == 0);
}

#[test]
fn the_share_of_connections_is_that_of_the_client_and_not_of_the_proxy() {
    let limits = Limits::default().with(|l| l.fixed.connections_max = 8);
    let mut rig = proxied(Kind::Line, limits, Access::default());
    let greedy: Vec<_> = (0..4).map(|_| comes(&mut rig, 1, b"PING\n")).collect();
    assert!(greedy.iter().all(|peer| peer.heard() == b"OK 0\n"));
    let fifth = comes(&mut rig, 1, b"PING\n");
    assert!(fifth.heard().starts_with(b"ERR 429 ") && fifth.is_closed());
    let others: Vec<_> = (2..6).map(|host| comes(&mut rig, host, b"PING\n")).collect();
    assert!(others.iter().all(|peer| peer.heard() == b"OK 0\n"));
    assert!(is_refused(&rig.connect()), "no connection is left");
    rig.finish(&greedy[0]);
    assert_eq!(comes(&mut rig, 1, b"PING\n").heard(), b"OK 0\n");
    for peer in others.iter().chain(&greedy) {
        rig.finish(peer);
    }
    // LOCAL is the proxy itself.
    let own: Vec<_> = (0..5).map(|_| rig.come(&[LOCAL, b"PING\n"].concat())).collect();
    rig.turn();
    rig.pass(Duration::from_millis(1));
    assert_eq!(own.iter().filter(|peer| peer.heard() == b"OK 0\n").count(), 4);
}

#[test]
fn connections_that_have_not_shown_a_client_count_among_all() {
    let limits = Limits::default().with(|l| l.fixed.connections_max = 3);
    let head_timeout = limits.live.head_timeout;
    let mut rig = proxied(Kind::Auto, limits, Access::default());
    let silent = [0; 3].map(|_| rig.connect());
    assert!(is_refused(&rig.connect()) && rig.counters().turned_away == 1);
    rig.finish(&silent[0]);
    assert!(silent[0].is_gone());
    assert_eq!(comes(&mut rig, 1, b"PING\n").heard(), b"OK 0\n");
    assert!(is_refused(&rig.connect()));
    rig.pass(head_timeout);
    assert!(silent.iter().all(Peer::is_gone));
    // Above the share of its address, a client is refused in its dialect.
    let second = comes(&mut rig, 1, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(second.heard().starts_with(b"HTTP/1.1 429 "), "{}", second.heard().escape_ascii());
    rig.finish(&second);
    assert!(second.is_gone());
    assert_eq!(comes(&mut rig, 2, b"PING\n").heard(), b"OK 0\n");
    assert_eq!(rig.counters().open, 2);
}

#[test]
fn the_share_of_slots_is_that_of_the_client() {
    let limits = Limits::default().with(|l| l.fixed.slots = 4);
    let mut rig = proxied(Kind::Line, limits, Access::default());
    let upload = |rig: &mut Rig, host, name: &str| comes(rig, host, format!("PUT 100000 /{name}\nx").as_bytes());
    let greedy: Vec<_> = (0..3).map(|n| upload(&mut rig, 1, &format!("a{n}"))).collect();
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (2, 1));
    let other = upload(&mut rig, 2, "b");
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (3, 1));
    for peer in greedy.iter().chain([&other]) {
        rig.send(peer, &[b'x'; 99_999]);
        assert!(peer.heard().starts_with(b"OK "), "{}", peer.heard().escape_ascii());
    }
}

#[test]
fn wrong_secrets_are_counted_for_the_client_that_shows_them() {
    let mut rig = proxied(Kind::Line, Limits::default(), Access::new(Some(b"s3cret".to_vec()), false));
    for _ in 0..=Limits::default().live.wrong_secrets_max {
        comes(&mut rig, 1, b"AUTH wrong\n");
    }
    let [guesser, other] = [1, 2].map(|host| comes(&mut rig, host, b"AUTH s3cret\n"));
    assert!(guesser.heard().is_empty(), "it is not read yet");
    assert_eq!(other.heard(), b"OK 0\n");
    rig.pass(Limits::default().live.wrong_secret_wait_max);
    assert_eq!(guesser.heard(), b"OK 0\n");
}

#[test]
fn a_server_that_drains_or_stops_waits_for_no_header() {
    let mut rig = line();
    let silent = rig.connect();
    rig.send(&silent, b"PROXY ");
    rig.drain();
    rig.pass(Duration::from_millis(1));
    assert!(silent.is_gone() && rig.has_ended());
}

#[test]
fn interrupted_calls_and_sockets_that_cannot_be_watched_end_nothing_else() {
    let mut rig = line();
    let peer = rig.come(b"PROXY");
    peer.interrupts(3);
    rig.turn();
    rig.send(&peer, &v1(1)[5..]);
    rig.send(&peer, b"PING\n");
    assert_eq!(peer.heard(), b"OK 0\n");
}
