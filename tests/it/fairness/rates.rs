//! Rates of clients: what a transfer that waits for its rate leaves to others, in turns and in virtual time.

use std::time::Duration;

use filewharf::access::{Access, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

const TURN: usize = 64 * 1024;
const CLIENT: usize = 16 * 1024;

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ruled(rules: &str, change: impl FnOnce(&mut Limits)) -> Rig {
    let access = Access::with_rules(file::parse(rules).expect("rules").into(), false);
    Rig::new(Mode::PLAIN, Limits::default().with(change), access)
}

fn limited(change: impl FnOnce(&mut Limits)) -> Rig {
    Rig::new(Mode::PLAIN, Limits::default().with(change), Access::default())
}

#[test]
fn a_turn_has_room_for_all_that_is_paced_since_each_moves_only_a_little() {
    let mut rig = ruled("allow @ r /\nallow @ r /slow/ rate=64K", |l| {
        (l.fixed.turn_bytes, l.fixed.turn_bytes_shared, l.fixed.turn_bytes_client) = (TURN, TURN, CLIENT);
        (l.fixed.turn_bytes_max, l.fixed.turn_bytes_min, l.fixed.read_buffer_bytes) = (TURN, 512, TURN);
    });
    for name in ["slow/long", "long"] {
        rig.place(name, &vec![b'l'; 4 << 20]);
    }
    let paced: Vec<Peer> = (2..12).map(|host| rig.connect_from(host)).collect();
    let free = rig.connect_from(1);
    for peer in &paced {
        rig.arrive(peer, b"GET /slow/long\n");
    }
    rig.arrive(&free, b"GET /long\n");
    let turn = |rig: &mut Rig| {
        rig.skip(millis(40));
        rig.turn();
    };
    for _ in 0..50 {
        turn(&mut rig);
    }
    let heard = |peers: &[Peer]| -> Vec<usize> { peers.iter().map(|peer| peer.heard().len()).collect() };
    for _ in 0..50 {
        let (before, all) = (heard(&paced), rig.counters().bytes_out);
        turn(&mut rig);
        let moved: Vec<usize> = heard(&paced).iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(moved.iter().all(|bytes| *bytes > 0), "each in every turn: {moved:?}");
        assert!(rig.counters().bytes_out - all >= (10 * 2048 + CLIENT) as u64, "and the free one its share");
    }
}

#[test]
fn a_new_upload_does_not_overtake_those_of_its_client_that_wait_already() {
    let mut rig = limited(|l| l.live.client_upload_bytes_per_s = 64 * 1024);
    let long = rig.connect_from(1);
    rig.arrive(&long, format!("PUT {} /long\n", 4 << 20).as_bytes());
    rig.send(&long, &vec![b'u'; 4 << 20]);
    let new = rig.connect_from(1);
    let before = rig.unreceived(&long);
    rig.skip(millis(40));
    rig.arrive(&new, b"PUT 2048 /new\n");
    rig.send_in_turn(&new, &[b'n'; 2048]);
    assert!(rig.unreceived(&long) < before, "it came first");
    assert_eq!(rig.names(), [""; 0]);
    for _ in 0..5 {
        rig.pass(millis(40));
    }
    assert_eq!(rig.names(), ["new"], "in its turn");
}

#[test]
fn what_waits_for_a_rate_has_the_one_of_new_rules_at_once() {
    for rule in ["rate=1M", "rate=64M", ""] {
        let mut rig = ruled("allow @ rc / rate=1K", |_| {});
        rig.place("long", &vec![b'l'; 4 << 20]);
        let peers: Vec<Peer> = (0..6).map(|_| rig.connect_from(1)).collect();
        for (n, peer) in peers.iter().enumerate() {
            rig.arrive(peer, if n % 2 == 0 { b"GET /long\n" } else { b"PUT 4194304 /up\n" });
            rig.arrive(peer, &[b'u'; 1 << 20]);
        }
        let moved = |rig: &mut Rig| -> Vec<usize> {
            let moved = |peer: &Peer| peer.heard().len() + (1 << 20) - rig.unreceived(peer);
            peers.iter().map(moved).collect()
        };
        rig.pass(millis(1));
        rig.pass(Duration::from_secs(100)); // so long that others of them wait for it
        let before = moved(&mut rig);
        rig.replace_rules(file::parse(&format!("allow @ rc / {rule}")).expect("rules"));
        for _ in 0..10 {
            rig.pass(millis(50));
        }
        let after = moved(&mut rig);
        assert!(before.iter().zip(&after).all(|(before, after)| after - before >= 32 * 1024), "{before:?}, {after:?}");
        let sum = after.iter().sum::<usize>() - before.iter().sum::<usize>();
        assert!(rule != "rate=1M" || sum <= 2 * ((1 << 20) / 2 + 64 * 1024), "{sum}: no more than it gives");
    }
}

/// A server that admits four requests of a client in a second, and is shown `first` far more often. What it says to
/// the next request.
fn after_many(kind: Kind, rules: &str, first: &str, next: &str) -> String {
    let options: &[(String, String)] = if kind == Kind::Http { &[("allow-host".into(), "*".into())] } else { &[] };
    let access = Access::with_rules(file::parse(rules).expect("rules").into(), false);
    let limits = Limits::default().with(|l| (l.live.client_requests_per_s, l.live.wrong_secrets_free) = (4, u8::MAX));
    let listening = Listening::new(kind, options, 0).expect("it listens");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, access);
    rig.place("x", b"x");
    // An address that shows many wrong secrets is not read for another reason.
    let times = if ["Auth", "AUTH"].iter().any(|word| first.contains(word)) { 8 } else { 24 };
    for _ in 0..times {
        let peer = rig.connect_from(1);
        rig.send(&peer, first.as_bytes());
        rig.finish(&peer);
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        assert!(!heard.is_empty() && !heard.contains("429"), "{first:?} is answered: {heard:?}");
    }
    let peer = rig.connect_from(1);
    rig.send(&peer, next.as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    rig.pass(Duration::from_secs(3));
    rig.send(&peer, next.as_bytes());
    let later = String::from_utf8_lossy(&peer.heard()[heard.len()..]).into_owned();
    assert!(!later.contains("429"), "{first:?}: the debt is bounded: {later:?}");
    heard
}

#[test]
fn every_head_counts_for_the_requests_of_its_client_however_it_is_answered() {
    const RULES: &str = "key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow @ r /";
    let get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    for first in [
        "GET /.filewharf/metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /.filewharf/health HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer none\r\n\r\n",
        "GET /x?fw=none HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nFilewharf-Link: 60\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "no head at all\r\n\r\n",
        "GET /x HTTP/1.1\r\nHos",
    ] {
        let heard = after_many(Kind::Http, RULES, first, get);
        assert!(heard.starts_with("HTTP/1.1 429 "), "{first:?}: {heard:?}");
    }
    for first in ["PING\n", "AUTH none\n", "NOTHING\n", "GET\n", "GET x\n", "PI"] {
        let heard = after_many(Kind::Line, RULES, first, "STAT /x\n");
        assert!(heard.starts_with("ERR 429 "), "{first:?}: {heard:?}");
    }
}

#[test]
fn a_client_beyond_its_requests_is_not_listened_to_on_connections_that_cannot_be_refused() {
    let mut rig = limited(|l| l.live.client_requests_per_s = 4);
    let peers: Vec<Peer> = (0..2).map(|_| rig.connect_from(1)).collect();
    for peer in &peers {
        rig.send(peer, &b"PING\n".repeat(100));
    }
    let answers = |rig: &mut Rig, seconds: u64| {
        for _ in 0..10 * seconds {
            rig.pass(millis(100));
        }
        peers.iter().map(|peer| peer.heard().len() / b"OK 0\n".len()).sum::<usize>()
    };
    let (first, then) = (answers(&mut rig, 2), answers(&mut rig, 10));
    assert!((30..=50).contains(&(then - first)), "{first} in two seconds, {then} in twelve");
}

/// A server with eight slots, of which two clients hold `each` with transfers under a rate, and how many seconds a
/// third one waits for a slot. None if it gets none.
fn waits_for_a_slot(mode: Mode, rate: &str, each: usize, request: &str) -> (Rig, Vec<Peer>, Option<u64>) {
    let access = Access::with_rules(
        file::parse(&format!("allow @ rlc /\nallow @ rlc /slow/ rate={rate}")).expect("rules").into(),
        false,
    );
    let limits = Limits::default().with(|l| (l.fixed.slots, l.fixed.chunk_bytes) = (2 * each, 64 * 1024));
    let mut rig = Rig::new(mode, limits, access);
    rig.place("slow/long", &vec![b'l'; 1 << 20]);
    let holders: Vec<Peer> = (0..2 * each).map(|n| rig.connect_from(1 + u8::from(n % 2 == 0))).collect();
    for (n, peer) in holders.iter().enumerate() {
        rig.send(peer, request.replace("{n}", &n.to_string()).as_bytes());
    }
    for peer in holders.iter().filter(|_| request.starts_with("PUT")) {
        rig.send(peer, &[b'u'; 64 * 1024]);
    }
    assert_eq!(rig.counters().slots_used, 2 * each as u64);
    let other = rig.connect_from(3);
    rig.send(&other, b"LIST /\n");
    let began = rig.counters().uptime_ms;
    while other.heard().is_empty() {
        rig.pass(Duration::from_secs(1));
    }
    let waited = (rig.counters().uptime_ms - began) / 1000;
    let has_one = other.heard().starts_with(b"OK ");
    (rig, holders, has_one.then_some(waited))
}

#[test]
fn an_upload_that_waits_for_its_rate_continues_without_a_slot_while_requests_wait_for_one() {
    let (mut rig, uploads, waited) = waits_for_a_slot(Mode::PLAIN, "16", 4, "PUT 1000000 /slow/{n}\n");
    assert!(waited.is_some_and(|seconds| seconds <= 6), "{waited:?}");
    rig.pass(Duration::from_secs(1000));
    assert!(uploads.iter().all(|peer| !peer.is_closed() && peer.heard().is_empty()), "none was ended");
}

#[test]
fn a_client_that_shares_its_rate_among_many_transfers_does_not_hold_slots_with_them_for_ever() {
    let held = Mode { held: true, ..Mode::PLAIN };
    let (_rig, downloads, waited) = waits_for_a_slot(held, "1K", 4, "GET /slow/long\n");
    assert!(waited.is_some_and(|seconds| seconds < 30), "{waited:?}");
    let ended = downloads.iter().filter(|peer| peer.is_closed()).count();
    assert_eq!(ended, 1, "{ended} for one that waited {waited:?} s");
    // One that moves as much as its client may is not slow, however little that is.
    for each in [1, 2] {
        let (_rig, downloads, waited) = waits_for_a_slot(held, "100", each, "GET /slow/long\n");
        assert_eq!(waited, None, "{each}");
        assert!(downloads.iter().all(|peer| !peer.is_closed()), "{each}");
    }
}

#[test]
fn transfers_that_wait_for_the_same_bytes_under_different_rules_take_turns() {
    for names in [["long", "slow/long"], ["slow/long", "long"]] {
        let rules = "allow @ r /\nallow @ r /slow/ rate=10M";
        let mut rig = ruled(rules, |l| l.live.client_download_bytes_per_s = 1 << 20);
        let peers = names.map(|name| {
            rig.place(name, &vec![b'l'; 16 << 20]);
            let peer = rig.connect_from(1);
            rig.arrive(&peer, format!("GET /{name}\n").as_bytes());
            rig.pass(millis(1));
            peer
        });
        for _ in 0..500 {
            rig.pass(millis(10));
        }
        let heard = peers.map(|peer| peer.heard().len());
        assert!(heard.iter().all(|bytes| *bytes > 2 << 20), "{names:?} {heard:?}");
    }
}

fn older(kind: Kind, change: impl FnOnce(&mut Limits)) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, Limits::default().with(change), Access::default())
}

#[test]
fn the_uploads_of_a_client_of_an_older_system_are_bounded_though_it_says_late_that_they_are_some() {
    let mut rig = older(Kind::NameSize, |l| l.live.client_uploads_max = 2);
    let peers: Vec<Peer> = (0..5).map(|_| rig.connect_from(1)).collect();
    for peer in &peers {
        rig.send(peer, b"f");
    }
    for (n, peer) in peers.iter().enumerate() {
        rig.send(peer, format!("{n} 100000").as_bytes());
        rig.send(peer, &[b'x'; 20_000]);
    }
    assert_eq!(rig.counters().slots_used, 2);
    for peer in &peers {
        rig.send(peer, &[b'x'; 80_000]);
        rig.finish(peer);
    }
    rig.pass(millis(2000));
    assert_eq!(rig.names().len(), 5, "each in its turn: {:?}", rig.names());
}

#[test]
fn messages_that_are_gathered_wait_for_the_rate_of_their_client() {
    const LEN: usize = 900_000;
    let mut rig = older(Kind::Pickle, |l| l.live.client_upload_bytes_per_s = LEN as u64 / 5);
    let peer = rig.connect_from(1);
    let mut stored = Vec::new();
    for n in 0..4 {
        let head = b"\x80\x03}(X\x03\x00\x00\x00putX\x02\x00\x00\x00";
        let name = [b'f', b'0' + n];
        let message = [&head[..], &name, b"X\x04\x00\x00\x00dataB", &(LEN as u32).to_le_bytes(), &[b'd'; LEN], b"u."];
        rig.arrive(&peer, &message.concat());
    }
    for _ in 0..20 {
        rig.pass(millis(1000));
        stored.push(rig.names().len());
    }
    assert_eq!(stored[0], 1, "{stored:?}");
    assert_eq!(stored[19], 4, "{stored:?}");
    let second = stored.iter().position(|names| *names == 2).expect("it is stored");
    let third = stored.iter().position(|names| *names == 3).expect("it is stored");
    assert!((3..=5).contains(&second) && (8..=10).contains(&third), "one in five seconds: {stored:?}");
}

#[test]
fn the_words_of_one_request_are_not_requests_of_their_own() {
    // The end of a word and the beginning of a name in one packet; the length of a message, then the message.
    let text = ["sendtex", "town.", "txt", "the text"].map(str::to_owned);
    let message = [format!("{:<64}", 13), "Hello Ser".to_owned(), "ver!".to_owned(), String::new()];
    for (kind, pieces, answer) in
        [(Kind::Menu, text, "Give the filenameFile writted"), (Kind::LengthPrefix, message, "Hello Client!")]
    {
        let mut rig = older(kind, |l| l.live.client_requests_per_s = 1);
        for _ in 0..3 {
            let peer = rig.connect_from(1);
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                rig.send(&peer, piece.as_bytes());
            }
            rig.pass(millis(500));
            let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
            assert!(heard.ends_with(answer), "{heard:?}");
            rig.pass(millis(1000));
        }
        assert_eq!(rig.names(), if kind == Kind::Menu { &["own.txt"][..] } else { &[] });
    }
}

#[test]
fn a_request_that_waits_for_the_limits_of_its_client_is_not_taken_for_silence() {
    let mut rig = older(Kind::NameChoice, |l| l.live.client_uploads_max = 1);
    let (long, waits) = (rig.connect_from(1), rig.connect_from(1));
    rig.send(&long, b"long:PUTx");
    rig.send(&waits, b"waits:PUTx");
    rig.finish(&waits);
    for _ in 0..60 {
        rig.pass(millis(2000));
        rig.send(&long, &[b'x'; 1000]);
    }
    assert!(!waits.is_closed(), "to this client that would mean success");
    rig.finish(&long);
    rig.pass(millis(1000));
    assert_eq!(rig.names(), ["long", "waits"]);
    assert!(waits.is_closed() && !waits.is_reset());
}

#[test]
fn connections_that_are_turned_away_are_no_requests_of_their_client() {
    for admitted_says in ["GET /f\n", "GET /f HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut rig = older(Kind::Auto, |l| (l.fixed.connections_max, l.live.client_requests_per_s) = (1, 2));
        let admitted = rig.connect_from(1);
        for late_says in ["GET /f\n", "PUT 1 /f\nf", "GET /f HTTP/1.1\r\nHost: x\r\n\r\n", "GET"].repeat(2) {
            let late = rig.connect_from(1);
            rig.send(&late, late_says.as_bytes());
            rig.finish(&late);
            assert!(late.is_closed() && rig.counters().open == 1);
        }
        rig.send(&admitted, admitted_says.as_bytes());
        let heard = String::from_utf8_lossy(&admitted.heard()).into_owned();
        assert!(heard.starts_with("ERR 404 ") || heard.starts_with("HTTP/1.1 404 "), "{heard}");
    }
}
