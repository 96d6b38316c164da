//! Bad links, in network namespaces of their own: slow, lossy, in tiny segments, dead. And peers
//! that know no manners, beside one that works and must continue.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::outside::{Cable, run};
use crate::server::{Served, dir};
use crate::wire::{Expects, Framing, Reply, Talker, Wire};
use support::StopOnDrop;
use support::client::{Client, assert_same, content, staged, wait_until};

/// A server on one end of a cable.
fn served(cable: &Cable, root: &std::path::Path, options: &[&str]) -> Served {
    let before = ["ip", "netns", "exec", &cable.server];
    Served::run_by(&before, root, &[&["--listen", "10.201.0.1:0"], options].concat())
}

/// Up and down over the cable, every byte the same.
fn moves(cable: &Cable, server: &Served, len: usize, what: &str) {
    let (address, bytes, began) = (server.address(), content(len as u64, len), Instant::now());
    cable.as_client(|| {
        let mut client = Client::connect(address);
        client.put("/file", &bytes);
        assert_same(&client.get("/file"), &bytes, what);
        let (_, error) = {
            client.finish();
            client.rest()
        };
        assert!(error.is_none(), "{what}: {error:?}");
        let mut http = Talker::new(Wire::Http, address);
        let reply = http.ask(Wire::Http.upload("/chunked", &bytes, Framing::Chunks), Expects::Body);
        assert!(matches!(reply, Reply::Served(_)), "{what}: {}", reply.words());
        assert_same(&http.fetch("/chunked"), &bytes, what);
    });
    println!("links: {what}: {len} bytes both ways, in the line protocol and in HTTP, in {:.2?}", began.elapsed());
}

// covers: bytes-cut-anywhere lossy-link
#[test]
#[ignore = "needs root, iproute2, iptables and a release build"]
fn every_byte_arrives_over_links_that_are_slow_lossy_or_cut_small() {
    let cable = Cable::lay();
    let root = dir();
    cable.retry_every_second();
    // Where the system cannot do that, a segment may be lost so often that it comes minutes later.
    let options = ["--stall-timeout", "600", "--rate-window", "600", "--head-timeout", "600", "--idle-timeout", "600"];
    let server = served(&cable, root.path(), &options);
    moves(&cable, &server, 4 << 20, "a good link");
    for side in [&cable.server, &cable.client] {
        Cable::on(
            side,
            &["tc", "qdisc", "add", "dev", "wire", "root", "tbf", "rate", "8mbit", "burst", "16kb", "latency", "100ms"],
        );
    }
    moves(&cable, &server, 1 << 20, "8 Mbit/s");
    for side in [&cable.server, &cable.client] {
        Cable::on(side, &["tc", "qdisc", "del", "dev", "wire", "root"]);
    }
    for (percent, probability) in [(5, "0.05"), (20, "0.20")] {
        let lose = |verb| {
            for side in [&cable.server, &cable.client] {
                let words = ["iptables-legacy", verb, "INPUT", "-i", "wire", "-m", "statistic", "--mode", "random"];
                Cable::on(side, &[&words[..], &["--probability", probability, "-j", "DROP"]].concat());
            }
        };
        lose("-A");
        moves(&cable, &server, if percent == 5 { 1 << 20 } else { 100_000 }, &format!("{percent} % lost each way"));
        lose("-D");
    }
    let words = ["iptables-legacy", "-A", "OUTPUT", "-p", "tcp", "--syn", "-j", "TCPMSS", "--set-mss", "100"];
    Cable::on(&cable.client, &words);
    moves(&cable, &server, 300_000, "segments of 100 bytes");
    server.wait_until_asleep();
    assert_eq!(server.end(), Some(0));
}

/// Peers that vanish without a word, while they send, while they read, and while they wait.
// covers: vanishes-in-upload vanishes-in-download vanishes-in-head
#[test]
#[ignore = "needs root, iproute2, iptables and a release build"]
fn peers_that_vanish_are_given_up_and_leave_nothing() {
    let cable = Cable::lay();
    let root = dir();
    // Clients before and after them are served under the same deadlines, on a machine that may
    // rest for a second.
    let options = ["--stall-timeout", "6", "--idle-timeout", "8", "--head-timeout", "6", "--rate-window", "6"];
    let server = served(&cable, root.path(), &[&options[..], &["--linger-timeout", "1"]].concat());
    let address = server.address();
    std::fs::write(root.path().join("large"), content(1, 32 << 20)).expect("a file");
    let base = cable.as_client(|| server.descriptors_at_rest());
    let lost = cable.as_client(|| {
        (0..60)
            .map(|n| {
                let mut stream = TcpStream::connect(address).expect("the server listens");
                let words = [
                    Wire::Line.put("/up", 1_000_000) + "half",
                    Wire::Http.put("/up", 1_000_000) + "half",
                    Wire::Line.get("/large"),
                    Wire::Http.get("/large"),
                    "GET /lar".to_owned(),
                    String::new(),
                ];
                stream.write_all(words[n % 6].as_bytes()).expect("it is sent");
                stream
            })
            .collect::<Vec<_>>()
    });
    // The answer comes only when every connection before this one has been accepted.
    cable.as_client(|| Client::connect(address).expect("PING", "OK 0"));
    for (chain, way) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
        Cable::on(&cable.client, &["iptables-legacy", "-A", chain, way, "wire", "-j", "DROP"]);
    }
    server.assert_back_to(base, "sixty vanished peers");
    drop(lost);
    println!("links: 60 vanished peers given up");
    Cable::on(&cable.client, &["iptables-legacy", "-F"]);
    moves(&cable, &server, 100_000, "after they vanished");
    assert_eq!(server.end(), Some(0));
}

/// Connections that never get further than their SYN.
// covers: vanishes-in-head
#[test]
#[ignore = "needs root, iproute2, iptables and a release build"]
fn thousands_of_half_open_connections_keep_no_client_out() {
    let cable = Cable::lay();
    let root = dir();
    let server = served(&cable, root.path(), &[]);
    let address = server.address();
    // The client's system never hears the answer to these SYNs, nor says that it is not interested.
    let drop_answers = |verb| {
        let flags = ["--tcp-flags", "SYN,ACK", "SYN,ACK", "-j", "DROP"];
        Cable::on(&cable.client, &[&["iptables-legacy", verb, "INPUT", "-p", "tcp"], &flags[..]].concat());
    };
    drop_answers("-A");
    let pending: Vec<socket2::Socket> = cable.as_client(|| {
        (0..3000)
            .map(|_| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
                socket.set_nonblocking(true).expect("an option");
                // In progress, for ever.
                let _ = socket.connect(&address.into());
                socket
            })
            .collect()
    });
    let half_open = run(&["ip", "netns", "exec", &cable.server, "ss", "-Htn", "state", "syn-recv"]).lines().count();
    println!("links: {} connections begun, {half_open} half open at the server", pending.len());
    assert!(half_open > 0, "none is half open");
    drop_answers("-D");
    moves(&cable, &server, 1 << 20, "beside half-open connections");
    drop(pending);
    assert_eq!(server.end(), Some(0));
}

/// How a client fared that worked while others misbehaved.
#[derive(Default)]
struct Canary {
    /// So often it went up and down.
    times: u64,
    slowest: Duration,
    /// How often it was asked to come again, as all clients are while the disk does not keep up.
    put_off: u64,
}

impl Canary {
    fn work(address: SocketAddr, ended: &AtomicBool) -> Self {
        let (mut canary, mut client) = (Self::default(), Client::connect(address));
        while !ended.load(SeqCst) {
            let (began, bytes) = (Instant::now(), content(canary.times, 20_000));
            canary.until_served("OK 0 etag=", || client.try_put("/canary", &bytes));
            canary.until_served("OK 20000 ", || client.ask("GET /canary"));
            assert_same(&client.bytes(bytes.len()), &bytes, "the canary");
            canary.slowest = canary.slowest.max(began.elapsed());
            canary.times += 1;
        }
        canary
    }

    fn until_served(&mut self, expected: &str, mut ask: impl FnMut() -> String) {
        loop {
            let reply = ask();
            if reply.starts_with(expected) {
                return;
            }
            assert!(reply.starts_with("ERR 429 retry="), "the canary was told: {reply}");
            self.put_off += 1;
        }
    }
}

/// Runs `storm` beside a canary, which must keep working; then everything must be as before.
fn beside_a_canary(options: &[&str], what: &str, storm: impl FnOnce(&Served)) {
    let root = dir();
    std::fs::write(root.path().join("large"), content(1, 8 << 20)).expect("a file");
    let server = Served::start(root.path(), options);
    server.assert_serves();
    let base = server.descriptors_at_rest();
    let ended = AtomicBool::new(false);
    let Canary { times, slowest, put_off } = std::thread::scope(|scope| {
        let canary = scope.spawn(|| Canary::work(server.address(), &ended));
        let stop = StopOnDrop(&ended);
        storm(&server);
        drop(stop);
        canary.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    println!(
        "links: {what}: the canary went up and down {times} times, the slowest in {slowest:.2?}, put off {put_off} times"
    );
    server.assert_back_to(base, what);
    assert_eq!(staged(root.path()), Vec::<std::path::PathBuf>::new());
    assert_eq!(server.end(), Some(0), "{what}");
}

fn reset(stream: TcpStream) {
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

// covers: storm-of-resets
#[test]
#[ignore = "needs a release build; prints figures"]
fn a_storm_of_resets_stops_no_other_client() {
    beside_a_canary(&[], "20,000 resets", |server| {
        for n in 0..20_000 {
            let Ok(mut stream) = TcpStream::connect(server.address()) else { continue };
            let wire = Wire::BOTH[n / 4 % 2];
            let words =
                [String::new(), wire.get("/large"), wire.put("/x", 100_000) + "half", wire.put("/y", 3) + "abc"];
            let _ = stream.write_all(words[n % 4].as_bytes());
            reset(stream);
        }
    });
}

// covers: slow-heads slow-bodies
#[test]
#[ignore = "needs 4,000 descriptors and a release build; prints figures"]
fn slow_heads_and_slow_bodies_are_ended_and_stop_no_other_client() {
    filewharf::os::process::raise_descriptor_limit();
    // The canary is under the same deadlines, and must meet them beside all that.
    let timeouts = ["--head-timeout", "8", "--rate-window", "8", "--min-rate", "1K", "--linger-timeout", "0.5"];
    let options = [&timeouts[..], &["--per-address", "100"]].concat();
    beside_a_canary(&options, "1,000 slow heads, 1,000 slow bodies", |server| {
        let begin = |n: usize| {
            let mut stream = TcpStream::connect(server.address()).expect("room for one more");
            if n.is_multiple_of(2) {
                let head = Wire::BOTH[n / 2 % 2].put(&format!("/slow{n}"), 1_000_000);
                stream.write_all(head.as_bytes()).expect("it is sent");
            }
            stream
        };
        let mut slow: Vec<TcpStream> = (0..2000).map(begin).collect();
        // Fifty bytes a second each, also when few are left, until the server has had enough of every one of them.
        let mut next = Instant::now();
        wait_until("all slow ones are ended", || {
            if Instant::now() >= next {
                next = Instant::now() + Duration::from_millis(20);
                slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
            }
            slow.is_empty()
        });
    });
}

/// In HTTP by a status of its own, and then the end: nothing else is taken from such a client.
// covers: endless-head
#[test]
#[ignore = "needs a release build"]
fn a_head_or_a_body_that_is_too_slow_is_answered_408() {
    let root = dir();
    let options = ["--head-timeout", "1", "--stall-timeout", "1", "--linger-timeout", "1"];
    let server = Served::start(root.path(), &options);
    server.assert_serves();
    let base = server.descriptors_at_rest();
    for wire in Wire::BOTH {
        let head = wire.get("/almost");
        for words in [head[..head.len() - 1].to_owned(), wire.put("/almost", 1000) + "half"] {
            let mut talker = Talker::new(wire, server.address());
            assert_eq!(talker.ask(&words, Expects::Body), Reply::Refused(408), "{wire:?}: {words}");
            assert!(wire == Wire::Line || !talker.is_kept(), "who is too slow is told that it is over");
        }
    }
    server.assert_back_to(base, "slow ones");
    assert_eq!(support::client::visible(root.path()), Vec::<String>::new());
    assert_eq!(server.end(), Some(0));
}

// covers: never-reads readers-that-do-not-read
#[test]
#[ignore = "needs a release build; prints figures"]
fn readers_that_do_not_read_are_ended_and_stop_no_other_client() {
    // The canary is under the same deadlines, and must meet them beside all that.
    let options = ["--stall-timeout", "5", "--rate-window", "5", "--send-buffer", "64K"];
    beside_a_canary(&options, "500 readers that do not read", |server| {
        let begin = |n: usize| {
            let mut stream = TcpStream::connect(server.address()).expect("room for one more");
            stream.write_all(Wire::BOTH[n % 2].get("/large").as_bytes()).expect("it is sent");
            stream
        };
        let mut idle: Vec<TcpStream> = (0..500).map(begin).collect();
        for stream in &mut idle {
            // What was on its way still comes, then the reset: never all of it.
            stream.set_read_timeout(Some(support::client::PATIENCE)).expect("a timeout");
        }
        // One that is still waited for would be served after all, now that it is read from.
        wait_until("all are closed", || server.log().matches("key=\"/large\"").count() >= idle.len());
        for stream in &mut idle {
            let mut bytes = Vec::new();
            let ended = stream.read_to_end(&mut bytes);
            let (len, head) = (bytes.len(), bytes[..bytes.len().min(200)].escape_ascii());
            assert!(ended.is_err() && len < 8 << 20, "it must not look whole: {ended:?}, {len} bytes: {head}");
        }
    });
}

/// More clients than descriptors: those accepted are served, the others later.
// covers: no-descriptors-to-accept
#[test]
#[ignore = "needs a release build; prints figures"]
fn a_server_with_few_descriptors_recovers_whenever_some_are_free() {
    let root = dir();
    let limit = ["prlimit", "--nofile=40", "--"];
    // A silent client takes a descriptor at once, and none is accepted after those that are served in the end.
    let server = Served::run_by(&limit, root.path(), &["--idle-timeout", "1", "--accept-defer", "0"]);
    server.assert_serves();
    let base = server.descriptors_at_rest();
    for round in 0..5 {
        let crowd: Vec<_> =
            (0..200).map(|_| TcpStream::connect(server.address()).expect("the backlog takes it")).collect();
        // They send nothing, and make room for others when they are closed.
        let mut served = 0;
        wait_until("somebody is served", || {
            let Ok(mut stream) = TcpStream::connect(server.address()) else { return false };
            let _ = stream.set_read_timeout(Some(support::client::PATIENCE));
            let mut said = [0; 5];
            let ok = stream.write_all(b"PING\n").is_ok() && stream.read_exact(&mut said).is_ok() && &said == b"OK 0\n";
            served += usize::from(ok);
            served == 3
        });
        drop(crowd);
        server.assert_back_to(base, &format!("crowd {round}"));
        server.assert_serves();
    }
    println!("links: five crowds of 200 at 40 descriptors; its log: {} lines", server.log().lines().count());
    assert_eq!(server.end(), Some(0));
}
