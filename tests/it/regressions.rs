//! Defects that were found by reading, each with the events that showed it, in virtual time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::StopOnDrop;
use support::client::{Running, wait_until};
use support::rig::{Damage, Mode, Rig};

fn name_size(mode: Mode, limits: Limits) -> Rig {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
    Rig::speaking(listening, mode, limits, Access::default())
}

/// A reader of the counters kept the last facts from being published, and an idle server had no
/// next turn in which to do it.
#[test]
fn facts_do_not_stay_old_because_they_are_read() {
    let server = Running::start();
    let (handle, over) = (server.handle(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::hint::black_box(handle.counters());
            }
        });
        for round in 1..=300 {
            server.client().expect("PING", "OK 0");
            wait_until("the end is counted", || {
                let counters = handle.counters();
                counters.open == 0 && counters.accepted == round
            });
        }
    });
}

/// What came behind the end of a conversation was held on the account of a slot that was never given
/// back any more.
#[test]
fn bytes_behind_the_end_of_a_conversation_keep_no_slot() {
    let mut rig = name_size(Mode::PLAIN, Limits::default());
    for _ in 0..3 {
        let peer = rig.connect();
        rig.send(&peer, b"a 5hello");
        // The silence that ends the file is noticed in the turn in which more bytes come.
        rig.skip(Duration::from_millis(1100));
        rig.send_in_turn(&peer, &[b'x'; 9000]);
        rig.pass(Duration::from_secs(100));
        assert!(peer.is_gone());
    }
    assert_eq!((rig.counters().slots_used, rig.counters().open), (0, 0));
}

/// The name under which an upload was announced stayed blocked when it was stored under another.
#[test]
fn an_upload_that_ends_under_another_name_lets_the_first_one_go() {
    let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
    let mut rig = name_size(mode, Limits::default().with(|l| l.chunks_per_slot = 64));
    let cut = rig.connect();
    let mut bytes = b"a 50000\n".to_vec();
    bytes.extend([b'x'; 20_000]);
    rig.send_hurried(&cut, [bytes.as_slice(), b"y", b"z"], true);
    assert_eq!(rig.names(), ["a.part"]);
    let next = rig.connect();
    rig.send_hurried(&next, [b"a 5hello".as_slice()], true);
    rig.pass(Duration::from_secs(5));
    assert!(next.is_gone());
    assert_eq!(rig.file("a"), Some(b"hello".to_vec()));
}

/// A process that was stopped for a while, or a machine that was, ended everybody whose deadline
/// had passed meanwhile, though all that they owed had come.
#[test]
fn deadlines_that_passed_while_the_loop_did_not_run_wait_for_what_came_meanwhile() {
    let limits = Limits::default().with(|l| l.head_timeout = Duration::from_secs(5));
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    let (prompt, silent) = (rig.connect(), rig.connect());
    rig.send(&prompt, b"PI");
    rig.send(&silent, b"PI");
    rig.skip(Duration::from_secs(60));
    rig.send(&prompt, b"NG\n");
    assert_eq!(prompt.heard(), b"OK 0\n");
    assert!(silent.heard().starts_with(b"ERR 408 "));
}

/// The end of the stream was taken for the end of the content while bytes before it were still
/// held: the disk had not kept up when they came, and did so again when the end came. Found by the
/// simulator.
#[test]
fn what_is_held_for_a_slow_disk_belongs_to_the_upload_that_its_stream_ends() {
    let content = b"0123456789 0123456789 0123456789";
    let framed = |bytes: &str| format!("{:<64}{bytes}", bytes.len());
    let put = format!("{}{:<64}", framed("PUT 32 /a.txt"), 32);
    // A text so long goes into its file as it comes.
    let text = format!("{:<64}{}", 6032, "x".repeat(6000));
    let inbox = [("inbox".to_owned(), "in".to_owned())];
    for (kind, options, name, front) in [
        (Kind::NameChoice, &[][..], "a.txt", "a.txt:PUT"),
        (Kind::Menu, &[], "a.jpg", "sendimagea.jpg"),
        (Kind::LengthPrefix, &[], "a.txt", &put),
        (Kind::LengthPrefix, &inbox, "in/0-000001-127.0.0.1-50851.txt", &text),
    ] {
        let listening = Listening::new(kind, options, 0).expect("good options");
        let limits = Limits::default().with(|l| {
            l.chunk_bytes = 16;
            l.chunks_per_slot = 2;
        });
        let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
        let mut rig = Rig::speaking(listening, mode, limits, Access::default());
        let peer = rig.connect();
        rig.send(&peer, front.as_bytes());
        rig.pass(Duration::from_millis(50));
        rig.hold_completions(true);
        // In two pieces: after the first the dialect has said that it has seen everything.
        rig.send_in_turn(&peer, &content[..3]);
        rig.send_in_turn(&peer, &content[3..]);
        rig.lags(false);
        rig.finish_in_turn(&peer);
        rig.hold_completions(false);
        assert!(!peer.is_reset(), "{kind}");
        assert!(rig.file(name).is_some_and(|file| file.ends_with(content)), "{kind}");
    }
}

/// The rest of a message must not be taken for the next one where its file was refused half-way.
#[test]
fn what_is_left_of_a_message_is_thrown_away_with_its_file() {
    let listening = Listening::new(Kind::LengthPrefix, &[], 0).expect("no options");
    let limits = Limits::default().with(|l| l.chunk_bytes = 16);
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, format!("{:<64}PUT 40 /x{:<64}0123456789", 9, 40).as_bytes());
    rig.damage(Damage::Full);
    rig.send(&peer, b"0123456789");
    rig.send(&peer, format!("01234567890123456789{:<64}PING", 4).as_bytes());
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(heard.contains("ERR 507 ") && heard.ends_with("OK 0") && !peer.is_closed(), "{heard}");
}

/// A client that is told nothing takes a plain end for success. Found by the simulator.
// covers: R1
#[test]
fn a_connection_that_is_turned_away_without_a_reply_sees_a_reset() {
    let limits = Limits::default().with(|l| l.connections_max = 1);
    for kind in [Kind::Menu, Kind::NameChoice, Kind::NameSize, Kind::Pickle] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let first = rig.connect();
        let second = rig.connect();
        assert!(second.is_gone() && second.is_reset(), "{kind}");
        assert!(!first.is_gone(), "{kind}");
        assert_eq!(rig.counters().turned_away, 1, "{kind}");
    }
    let mut rig = Rig::new(Mode::PLAIN, limits, Access::default());
    let _first = rig.connect();
    let second = rig.connect();
    assert!(second.is_gone() && !second.is_reset() && second.heard().starts_with(b"ERR 429 "));
}

/// The answer was always one of the line protocol, which `wget` stored as the file.
#[test]
fn a_client_that_is_turned_away_is_told_so_in_the_protocol_of_its_first_line() {
    let limits = Limits::default().with(|l| l.connections_max = 1);
    let http = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n";
    for (kind, says, wanted) in [
        (Kind::Auto, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", http),
        (Kind::Auto, "\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n", http),
        (Kind::Auto, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", http),
        (Kind::Auto, "GET /x\n", "ERR 429 retry=1 "),
        (Kind::Auto, "PUT 3 /x\nabc", "ERR 429 retry=1 "),
        (Kind::Http, "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", http),
    ] {
        for mode in Mode::all() {
            let listening = Listening::new(kind, &[], 0).expect("no options");
            let mut rig = Rig::speaking(listening, mode, limits.clone(), Access::default());
            let _first = rig.connect();
            let late = rig.connect();
            for byte in says.bytes() {
                rig.send(&late, &[byte]);
            }
            let heard = String::from_utf8_lossy(&late.heard()).into_owned();
            assert!(heard.starts_with(wanted) && late.is_closed() && !late.is_reset(), "{says:?}: {heard}");
            rig.finish(&late);
            assert!(late.is_gone() && rig.file("x").is_none());
            assert_eq!((rig.counters().turned_away, rig.counters().open), (1, 1));
        }
    }
}

#[test]
fn a_client_that_is_turned_away_and_sends_no_line_is_closed_soon() {
    let limits = Limits::default().with(|l| l.connections_max = 1);
    let most = limits.turned_away_timeout;
    for (says, wanted) in [("", ""), ("GET /", "HTTP/1.1 429 "), ("PI", "ERR 429 ")] {
        let listening = Listening::new(Kind::Auto, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let _first = rig.connect();
        let late = rig.connect();
        rig.send(&late, says.as_bytes());
        rig.pass(most - Duration::from_millis(1));
        assert!(!late.is_closed());
        rig.pass(Duration::from_millis(1));
        assert!(late.is_closed() && late.heard().starts_with(wanted.as_bytes()), "{}", late.heard().escape_ascii());
        assert_eq!(late.heard().is_empty(), wanted.is_empty());
    }
}

#[test]
fn so_many_are_heard_when_they_are_turned_away_and_the_others_are_reset() {
    let limits = Limits::default().with(|l| {
        l.connections_max = 1;
        l.turned_away_max = 3;
    });
    let listening = Listening::new(Kind::Auto, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let first = rig.connect();
    let late: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    assert_eq!(late.iter().filter(|peer| peer.is_reset()).count(), 7);
    rig.send(&first, b"PING\n");
    assert_eq!(first.heard(), b"OK 0\n");
    late.iter().take(3).for_each(|peer| rig.finish(peer));
    assert_eq!(rig.counters().open, 1);
}

/// The same for a connection that was accepted and cannot be registered.
#[test]
fn a_connection_that_cannot_be_registered_sees_a_reset() {
    for kind in [Kind::Menu, Kind::NameChoice, Kind::NameSize, Kind::Pickle, Kind::Line] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
        rig.watches_no_connection();
        let peer = rig.connect();
        assert!(peer.is_gone() && peer.is_reset(), "{kind}");
        assert_eq!(rig.counters().open, 0, "{kind}");
    }
}

/// A first line that might have become HTTP and was longer than any head was refused, and then
/// looked at and refused again without end: few bytes asked, and the answer never ended.
#[test]
fn a_first_line_that_is_too_long_for_everything_is_refused_once() {
    for head_len_max in [4096, 8192] {
        let limits = Limits::default().with(|l| l.head_len_max = head_len_max);
        let server = Running::with(|builder| builder.limits(limits));
        for begin in ["GET /", "POST http://x/", "GET x", "", " "] {
            let mut peer = TcpStream::connect(server.handle().addresses()[0].0).expect("listening");
            // One line, and behind it what must not be taken for a request.
            let says = format!("{begin}{}\nPING\n", "a".repeat(2 * head_len_max));
            peer.write_all(says.as_bytes()).expect("it is read");
            let mut heard = String::new();
            (&peer).take(10_000).read_to_string(&mut heard).expect("text");
            assert!(heard.starts_with("ERR 400 "), "{begin}: {heard}");
            assert_eq!(heard.lines().count(), 1, "{begin}: {heard}");
        }
    }
}

/// An upload had been refused, and removing its staging file took the disk longer than a message
/// may stop half-way: the peer was told that it is too slow, unasked, and let go. Found by the
/// simulator.
#[test]
fn a_disk_that_takes_long_to_remove_a_staging_file_ends_no_client() {
    let mode = Mode { deferred: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, Limits::default().with(|l| l.chunk_bytes = 16), Access::default());
    let peer = rig.connect();
    let wrong = "0".repeat(64);
    rig.send(&peer, format!("PUT 20 sha256={wrong} /a\n0123456789012345678").as_bytes());
    rig.hold_completions(true);
    rig.send_in_turn(&peer, b"9");
    rig.pass(Duration::from_secs(100));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"ERR 422 ") && !peer.is_closed());
    rig.send(&peer, b"PING\n");
    assert!(peer.heard().ends_with(b"\nOK 0\n"));
    assert_eq!(peer.heard().iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
}
