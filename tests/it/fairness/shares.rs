//! Shares of clients: what each moves of the bytes, in turns and in virtual time.

use std::time::Duration;

use filewharf::access::{Access, file};
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Peer, Rig};

use crate::access::{TOKEN, entries};

const TURN: usize = 64 * 1024;
const CLIENT: usize = 4 * 1024;
const LONG: usize = 4 << 20;

/// A server in which all clients wait for their turns only.
fn rig(window: usize) -> Rig {
    let limits = Limits::default().with(|l| {
        (l.fixed.turn_bytes, l.fixed.turn_bytes_shared, l.fixed.turn_bytes_client) = (TURN, TURN, CLIENT);
        (l.fixed.turn_bytes_max, l.fixed.turn_bytes_min, l.fixed.read_buffer_bytes) = (TURN, 512, TURN);
    });
    Rig::new(Mode { window, ..Mode::PLAIN }, limits, Access::default())
}

/// What each has received, in bytes.
fn heard<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> Vec<f64> {
    peers.into_iter().map(|peer| peer.heard().len() as f64).collect()
}

/// The index of Jain: 1 where all have the same.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn a_client_with_one_download_gets_as_many_bytes_as_one_with_two_hundred() {
    for window in [usize::MAX, 3 * CLIENT] {
        let mut rig = rig(window);
        rig.place("long", &[b'l'; LONG]);
        let many: Vec<Peer> = (0..200).map(|_| rig.connect_from(1)).collect();
        let one = rig.connect_from(2);
        for peer in many.iter().chain([&one]) {
            rig.arrive(peer, b"GET /long\n");
        }
        let turns = |rig: &mut Rig| {
            for _ in 0..200 {
                rig.read_in_turn(&many.iter().chain([&one]).collect::<Vec<_>>());
            }
            (heard([&one])[0], heard(&many))
        };
        let (before, many_before) = turns(&mut rig);
        let (one, many) = turns(&mut rig);
        let share = one / (one + many.iter().sum::<f64>());
        assert!(share >= 0.45, "{share} of the bytes, sockets of {window}");
        assert!(one - before >= 200.0 * (CLIENT as f64), "its share in every turn");
        let many: Vec<f64> = many.iter().zip(many_before).map(|(after, before)| after - before).collect();
        assert!(jain(&many) > 0.9, "connections of one client share what it has: {many:?}");
    }
}

#[test]
fn a_client_with_one_upload_gets_as_many_bytes_as_one_with_two_hundred() {
    let mut rig = rig(usize::MAX);
    let upload = |rig: &mut Rig, host: u8, n: usize| {
        let peer = rig.connect_from(host);
        rig.arrive(&peer, format!("PUT {LONG} /{host}-{n}\n").as_bytes());
        rig.turn();
        peer
    };
    let many: Vec<Peer> = (0..200).map(|n| upload(&mut rig, 1, n)).collect();
    let one = upload(&mut rig, 2, 0);
    let piece = [b'u'; CLIENT];
    let before = rig.counters().bytes_in;
    for _ in 0..10 {
        rig.arrive(&one, &piece.repeat(20));
    }
    for peer in &many {
        rig.arrive(peer, &piece.repeat(4));
    }
    for _ in 0..50 {
        rig.turn();
    }
    let all = rig.counters().bytes_in - before;
    let left = rig.unreceived(&one);
    let one = 200 * CLIENT - left;
    assert!(one as f64 / all as f64 >= 0.45, "{one} of {all} bytes");
}

#[test]
fn operations_are_queued_at_a_disk_that_lags_as_those_of_their_client() {
    let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, Limits::default(), Access::default());
    let mut put = |host: u8, name: &str| {
        let peer = rig.connect_from(host);
        rig.send(&peer, &[format!("PUT {LONG} /{name}\n").as_bytes(), &[b'u'; 200_000]].concat());
        rig.queued_of().expect("it is of a client")
    };
    let [first, second, other] = [put(1, "a"), put(1, "b"), put(2, "c")];
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn fifty_clients_get_the_same_however_many_connections_each_has() {
    let mut rig = rig(usize::MAX);
    rig.place("long", &[b'l'; LONG]);
    let clients: Vec<Vec<Peer>> =
        (1..=50).map(|host| (0..=host % 7).map(|_| rig.connect_from(host)).collect()).collect();
    for peer in clients.iter().flatten() {
        rig.arrive(peer, b"GET /long\n");
    }
    for _ in 0..300 {
        rig.turn();
    }
    let shares: Vec<f64> = clients.iter().map(|peers| heard(peers).iter().sum()).collect();
    assert!(jain(&shares) >= 0.95, "{}: {shares:?}", jain(&shares));
}

#[test]
fn a_client_alone_has_the_whole_turn() {
    let mut rig = rig(usize::MAX);
    rig.place("long", &[b'l'; LONG]);
    let peers: Vec<Peer> = (0..8).map(|_| rig.connect_from(1)).collect();
    for peer in &peers {
        rig.arrive(peer, b"GET /long\n");
    }
    rig.turn();
    let before = rig.counters().bytes_out;
    rig.turn();
    assert!(rig.counters().bytes_out - before >= TURN as u64, "nothing is kept for others");
}

const RATE: u64 = 1 << 20;
/// A twentieth of what comes in ten seconds, and a burst.
const TOLERANCE: f64 = RATE as f64 * 10.0 / 20.0;

fn limited(mode: Mode, change: impl FnOnce(&mut Limits)) -> Rig {
    Rig::new(mode, Limits::default().with(change), Access::default())
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn downloads_of_one_client_together_keep_its_rate_and_others_are_not_held_up() {
    for mode in Mode::all() {
        let window = if mode.window == usize::MAX { usize::MAX } else { 100_000 };
        let mut rig = limited(Mode { window, ..mode }, |l| l.live.client_download_bytes_per_s = RATE);
        rig.place("long", &vec![b'l'; 16 << 20]);
        let peers: Vec<Peer> = (0..5).map(|_| rig.connect_from(1)).collect();
        for peer in &peers {
            rig.arrive(peer, b"GET /long\n");
        }
        for _ in 0..2000 {
            rig.pass(millis(5));
            rig.read_in_turn(&peers.iter().collect::<Vec<_>>());
        }
        let shares = heard(&peers);
        let sum: f64 = shares.iter().sum();
        assert!((sum - RATE as f64 * 10.0).abs() <= TOLERANCE, "{sum} bytes in 10 s, {mode:?}");
        assert!(jain(&shares) > 0.95, "{shares:?}, {mode:?}");
        let other = rig.connect_from(2);
        rig.place("short", &[b's'; 16 * 1024]);
        rig.send(&other, b"GET /short\n");
        assert!(other.heard().len() > 16 * 1024, "{mode:?}");
    }
}

#[test]
fn uploads_of_one_client_together_keep_its_rate() {
    for mode in Mode::all() {
        let mut rig = limited(Mode { window: usize::MAX, ..mode }, |l| {
            l.live.client_upload_bytes_per_s = RATE;
            l.fixed.dirty_bytes_max = 1 << 40;
        });
        let peers: Vec<Peer> = (0..5).map(|_| rig.connect_from(1)).collect();
        for (n, peer) in peers.iter().enumerate() {
            rig.arrive(peer, format!("PUT {} /{n}\n", 4 << 20).as_bytes());
            rig.arrive(peer, &vec![b'u'; 4 << 20]);
        }
        rig.turn();
        for _ in 0..2000 {
            rig.pass(millis(5));
        }
        let sum = rig.counters().bytes_in as f64;
        assert!((sum - RATE as f64 * 10.0).abs() <= TOLERANCE, "{sum} bytes in 10 s, {mode:?}");
        let shares: Vec<f64> = peers.iter().map(|peer| (4 << 20) as f64 - rig.unreceived(peer) as f64).collect();
        assert!(jain(&shares) > 0.95, "{shares:?}, {mode:?}");
    }
}

#[test]
fn small_files_count_for_the_rate_of_their_client_as_well() {
    let mut rig = limited(Mode::PLAIN, |l| {
        (l.live.client_upload_bytes_per_s, l.live.client_download_bytes_per_s) = (64 * 1024, 64 * 1024);
    });
    rig.place("small", &[b's'; 4096]);
    let peers: Vec<Peer> = (0..4).map(|_| rig.connect_from(1)).collect();
    let put = [b"PUT 4096 /new\n".as_slice(), &[b'n'; 4096]].concat();
    for (n, peer) in peers.iter().enumerate() {
        rig.arrive(peer, &if n % 2 == 0 { b"GET /small\n".repeat(200) } else { put.repeat(200) });
    }
    for _ in 0..1000 {
        rig.pass(millis(10));
    }
    let (received, sent) = (rig.counters().bytes_in as f64, rig.counters().bytes_out as f64);
    for bytes in [received, sent] {
        assert!((bytes - 640.0 * 1024.0).abs() < 64.0 * 1024.0 / 2.0, "{received} bytes received, {sent} sent");
    }
    assert_eq!(rig.counters().failed, 0);
}

#[test]
fn small_files_that_are_sent_one_by_one_count_for_the_rate_of_their_client_as_well() {
    let mut rig = limited(Mode::PLAIN, |l| l.live.client_upload_bytes_per_s = 64 * 1024);
    let peer = rig.connect_from(1);
    let put = [b"PUT 4096 /new\n".as_slice(), &[b'n'; 4096]].concat();
    let mut begun = 0;
    for _ in 0..1000 {
        if peer.heard().iter().filter(|byte| **byte == b'\n').count() == begun {
            rig.send(&peer, &put);
            begun += 1;
        }
        rig.pass(millis(10));
    }
    let received = rig.counters().bytes_in as f64;
    assert!((received - 640.0 * 1024.0).abs() < 64.0 * 1024.0 / 2.0, "{received} bytes received");
}

#[test]
fn a_transfer_that_waits_for_the_rate_of_its_client_is_not_slow() {
    let mut rig = limited(Mode::PLAIN, |l| {
        (l.live.client_upload_bytes_per_s, l.live.client_download_bytes_per_s) = (1000, 1000);
        (l.live.rate_bytes_per_s_min, l.fixed.slots, l.live.contention_wait) = (900, 4, Duration::from_secs(1));
        l.fixed.per_address_percent = 100;
    });
    rig.place("long", &[b'l'; 200_000]);
    let peers: Vec<Peer> = (0..8).map(|_| rig.connect_from(1)).collect();
    for (n, peer) in peers.iter().enumerate() {
        rig.arrive(peer, if n % 2 == 0 { b"GET /long\n" } else { b"PUT 200000 /up\n" });
        rig.arrive(peer, &[b'u'; 100_000]);
    }
    for _ in 0..300 {
        rig.pass(Duration::from_secs(1));
    }
    assert!(peers.iter().all(|peer| !peer.is_closed()), "{:?}", rig.counters().closed);
    let sent = rig.counters().bytes_out;
    assert!((300_000..=320_000).contains(&sent), "{sent}");
}

#[test]
fn a_request_beyond_the_rate_is_refused_with_the_time_to_come_back() {
    let mut rig = limited(Mode::PLAIN, |l| l.live.client_requests_per_s = 4);
    rig.place("x", b"x");
    let (one, other) = (rig.connect_from(1), rig.connect_from(2));
    rig.send(&one, &b"STAT /x\n".repeat(5));
    let reply = String::from_utf8(one.heard()).expect("text");
    let refused = reply.lines().last().expect("a line");
    assert_eq!(reply.matches("OK ").count(), 4, "{reply}");
    assert!(refused.starts_with("ERR 429 retry="), "{refused}");
    let seconds: u64 = refused["ERR 429 retry=".len()..].split(' ').next().expect("a word").parse().expect("a number");
    assert!((1..=2).contains(&seconds), "250 ms, and up to a second more");
    rig.send(&other, b"STAT /x\n");
    assert!(other.heard().starts_with(b"OK "), "another client");
    rig.pass(Duration::from_secs(seconds));
    rig.send(&one, b"STAT /x\n");
    assert!(String::from_utf8_lossy(&one.heard()).lines().last().expect("a line").starts_with("OK "), "it was true");
}

#[test]
fn http_is_answered_429_with_retry_after() {
    let listening = Listening::new(Kind::Http, &[("allow-host".into(), "*".into())], 0).expect("it listens");
    let limits = Limits::default().with(|l| l.live.client_requests_per_s = 1);
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    rig.place("x", b"x");
    let peer = rig.connect_from(1);
    rig.send(&peer, &b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
    let reply = String::from_utf8(peer.heard()).expect("text");
    let refusal = &reply[reply.find("HTTP/1.1 429 Too Many Requests\r\n").expect("a refusal")..];
    let after = refusal.split("Retry-After: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    assert!(matches!(after, Some("1" | "2" | "3")), "{refusal}");
    assert!(!peer.is_closed());
}

#[test]
fn uploads_of_one_client_are_bounded_and_one_that_ends_makes_room() {
    let mut rig = limited(Mode::PLAIN, |l| l.live.client_uploads_max = 2);
    let upload = |rig: &mut Rig, host: u8, name: &str| {
        let peer = rig.connect_from(host);
        rig.send(&peer, format!("PUT 100000 /{name}\n").as_bytes());
        peer
    };
    let (one, _two) = (upload(&mut rig, 1, "a"), upload(&mut rig, 1, "b"));
    let refused = upload(&mut rig, 1, "c");
    assert!(refused.heard().starts_with(b"ERR 429 retry="), "{:?}", String::from_utf8_lossy(&refused.heard()));
    assert!(upload(&mut rig, 2, "d").heard().is_empty(), "another client");
    rig.cut(&one);
    assert!(upload(&mut rig, 1, "e").heard().is_empty(), "there is room again");
}

#[test]
fn connections_of_one_address_are_bounded() {
    let mut rig = limited(Mode::PLAIN, |l| (l.live.client_connections_max, l.fixed.turned_away_max) = (2, 0));
    let peers: Vec<Peer> = (0..3).map(|_| rig.connect_from(1)).collect();
    assert_eq!([0, 1, 2].map(|n| peers[n].is_closed()), [false, false, true]);
    assert!(!rig.connect_from(2).is_closed());
}

#[test]
fn a_client_of_an_older_system_waits_instead_of_being_refused() {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("it listens");
    let limits = Limits::default().with(|l| l.live.client_requests_per_s = 1);
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let peers: Vec<Peer> = (0..4).map(|_| rig.connect_from(1)).collect();
    for (n, peer) in peers.iter().enumerate() {
        rig.send(peer, format!("file-{n} 3").as_bytes());
        rig.send(peer, b"abc");
        rig.finish(peer);
    }
    for stored in 1..=4 {
        assert_eq!(rig.names().len(), stored, "one a second");
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.counters().failed, 0);
}

fn ruled(rules: &str, change: impl FnOnce(&mut Limits)) -> Rig {
    let access = Access::with_rules(file::parse(rules).expect("rules").into(), false);
    Rig::new(Mode::PLAIN, Limits::default().with(change), access)
}

/// Bytes that each hears in ten seconds.
fn heard_in_ten_seconds(rig: &mut Rig, peers: &[Peer], name: &str) -> Vec<f64> {
    for peer in peers {
        rig.arrive(peer, format!("GET /{name}\n").as_bytes());
    }
    for _ in 0..1000 {
        rig.pass(millis(10));
    }
    heard(peers)
}

#[test]
fn a_rule_bounds_the_rate_of_each_client_under_its_prefix_and_nowhere_else() {
    let mut rig = ruled("allow @ r /\nallow @ r /slow/ rate=1M", |_| {});
    for name in ["slow/long", "long"] {
        rig.place(name, &vec![b'l'; 16 << 20]);
    }
    let peers: Vec<Peer> = [1, 1, 2].map(|host| rig.connect_from(host)).into();
    let shares = heard_in_ten_seconds(&mut rig, &peers, "slow/long");
    assert!((shares[0] + shares[1] - RATE as f64 * 10.0).abs() < TOLERANCE, "two of one address: {shares:?}");
    assert!((shares[2] - RATE as f64 * 10.0).abs() < TOLERANCE, "{shares:?}");
    let free = [rig.connect_from(1)];
    assert!(heard_in_ten_seconds(&mut rig, &free, "long")[0] >= (16 << 20) as f64, "no rule for it");
}

#[test]
fn the_rate_of_a_rule_is_part_of_the_rate_of_its_client() {
    let mut rig = ruled("allow @ r / rate=1M", |l| l.live.client_download_bytes_per_s = RATE / 2);
    rig.place("long", &vec![b'l'; 16 << 20]);
    let peers: Vec<Peer> = (0..3).map(|_| rig.connect_from(1)).collect();
    let sum: f64 = heard_in_ten_seconds(&mut rig, &peers, "long").iter().sum();
    assert!((sum - RATE as f64 * 5.0).abs() < TOLERANCE, "{sum}");
}

#[test]
fn a_request_that_waited_too_long_leaves_the_wait_queue_of_its_client_and_not_that_of_the_next_request() {
    let rules = entries(&["anna", "bob"], "allow anna rlcw /\nallow bob rlcw /");
    let access = Access::with_rules(file::parse(&rules).expect("rules").into(), false);
    let limits = Limits::default().with(|l| {
        (l.fixed.slots, l.fixed.per_address_percent, l.live.slot_timeout) = (2, 50, Duration::from_secs(4));
    });
    let listening = Listening::new(Kind::Http, &[("allow-host".into(), "*".into())], 0).expect("it listens");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, access);
    rig.place("pub/x", b"x");
    let head =
        |name: &str, line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {name}{TOKEN}\r\n");
    let (upload, peer) = (rig.connect_from(1), rig.connect_from(1));
    rig.send(&upload, format!("{}Content-Length: 100000\r\n\r\n", head("anna", "PUT /up")).as_bytes());
    let waits = head("anna", "GET /pub/");
    let next = head("bob", "PUT /next");
    rig.send(&peer, format!("{waits}\r\n{next}Content-Length: 5\r\n\r\nhello").as_bytes());
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (1, 1));
    for _ in 0..5 {
        rig.send(&upload, b"u");
        rig.pass(Duration::from_secs(1));
    }
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(heard.starts_with("HTTP/1.1 429 ") && heard.contains("HTTP/1.1 201 "), "{heard}");
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (1, 0));
    rig.cut(&upload);
    assert_eq!((rig.counters().slots_used, rig.counters().slots_waiting), (0, 0));
}

#[test]
fn an_upload_ends_where_it_began_to_count_though_the_table_of_clients_is_full() {
    let mut rig = ruled("allow @ rcw / rate=1M", |l| (l.fixed.client_groups_max, l.live.client_uploads_max) = (1, 1));
    let peers: Vec<Peer> = (1..4).map(|host| rig.connect_from(host)).collect();
    let begin = |rig: &mut Rig, n: usize| {
        rig.send(&peers[n], format!("PUT 5 /up{n}\n").as_bytes());
        peers[n].heard().is_empty()
    };
    assert!(begin(&mut rig, 0) && begin(&mut rig, 1));
    rig.send(&peers[0], b"hello");
    assert!(!begin(&mut rig, 2), "it is one client with the second");
    rig.send(&peers[1], b"hello");
    assert!(peers[..2].iter().all(|peer| peer.heard().starts_with(b"OK ")));
}

#[test]
fn prefixes_with_rates_of_their_own_do_not_multiply_the_share_of_a_client() {
    let rules: String = "abcd".chars().map(|dir| format!("allow @ r /{dir}/ rate=1G\n")).collect();
    let mut rig = ruled(&format!("allow @ r /\n{rules}"), |l| {
        (l.fixed.turn_bytes, l.fixed.turn_bytes_shared, l.fixed.turn_bytes_client) = (TURN, TURN, CLIENT);
        (l.fixed.turn_bytes_max, l.fixed.turn_bytes_min, l.fixed.read_buffer_bytes) = (TURN, 512, TURN);
    });
    let names = ["a/long", "b/long", "c/long", "d/long", "long"];
    let peers: Vec<Peer> = [1, 1, 1, 1, 2].into_iter().map(|host| rig.connect_from(host)).collect();
    for (peer, name) in peers.iter().zip(names) {
        rig.place(name, &[b'l'; LONG]);
        rig.arrive(peer, format!("GET /{name}\n").as_bytes());
    }
    for _ in 0..300 {
        rig.skip(millis(1));
        rig.turn();
    }
    let heard = heard(&peers);
    let share = heard[4] / heard.iter().sum::<f64>();
    assert!(share >= 0.45, "{share}: {heard:?}");
}
