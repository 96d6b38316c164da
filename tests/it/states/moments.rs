//! Limits at their last moment, and how long the loop sleeps until then, in virtual time: one step
//! before a limit nothing has happened, at the limit it has.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::wire::line::LINE_LEN_MAX;

use support::rig::{Mode, Peer, Rig};

const STEP: Duration = Duration::from_millis(1);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn limits() -> Limits {
    Limits::default().with(|l| {
        l.chunk_bytes = 16;
        l.head_timeout = seconds(5);
        l.idle_timeout = seconds(300);
        l.stall_timeout = seconds(60);
        l.linger_timeout = seconds(2);
        l.drain_timeout = seconds(100);
        l.discard_bytes_max = 100;
    })
}

fn rig() -> Rig {
    Rig::new(Mode::PLAIN, limits(), Access::default())
}

fn speaking(kind: Kind) -> Rig {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    Rig::speaking(listening, Mode::PLAIN, limits(), Access::default())
}

fn said(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

/// One that asks for a file and has not acknowledged all of what is said before it.
fn not_acknowledged() -> (Rig, Peer) {
    let mut rig = speaking(Kind::NameChoice);
    rig.place("c.txt", b"hello");
    let peer = rig.connect();
    peer.acknowledges_all_but(1);
    rig.send(&peer, b"1c.txt:GET");
    (rig, peer)
}

#[test]
fn a_client_that_never_acknowledges_the_output_is_reset_when_the_time_is_over() {
    let (mut rig, peer) = not_acknowledged();
    assert_eq!(said(&peer), "Done");
    rig.pass(seconds(60) - STEP);
    assert_eq!((said(&peer).as_str(), peer.is_closed()), ("Done", false));
    // It is looked at every five milliseconds.
    rig.pass(Duration::from_millis(5));
    assert!(peer.is_gone() && peer.is_reset());
    assert_eq!((rig.open_files(), rig.counters().failed), (0, 1));
}

#[test]
fn a_client_that_acknowledges_late_is_checked_again() {
    let (mut rig, peer) = not_acknowledged();
    assert_eq!(rig.sleep(), Some(Duration::from_millis(5)), "no event will say so");
    for _ in 0..3 {
        rig.pass(Duration::from_millis(5));
        assert_eq!(said(&peer), "Done");
    }
    peer.acknowledges_all_but(0);
    rig.pass(Duration::from_millis(5));
    rig.send(&peer, b"");
    assert_eq!(said(&peer), "Donehello");
}

#[test]
fn a_drained_connection_is_closed_at_once_only_if_it_has_been_silent_for_long() {
    for (silence, lingers) in [(seconds(2) - STEP, true), (seconds(2), false)] {
        let mut rig = rig();
        let peer = rig.connect();
        rig.send(&peer, b"PING\n");
        rig.pass(silence);
        rig.drain();
        assert!(peer.is_closed());
        assert_eq!(peer.is_gone(), !lingers, "after {silence:?}");
    }
}

#[test]
fn a_refused_body_is_thrown_away_up_to_its_limit() {
    for (len, goes_on) in [(100, true), (101, false)] {
        let mut rig = rig();
        let peer = rig.connect();
        rig.send(&peer, format!("PUT {len} /../x\n{}PING\n", "a".repeat(len)).as_bytes());
        assert!(said(&peer).starts_with("ERR 400 "));
        assert_eq!((said(&peer).ends_with("\nOK 0\n"), peer.is_closed()), (goes_on, !goes_on), "{len} bytes");
    }
}

#[test]
fn a_stop_counts_what_it_cut_off() {
    let mut rig = rig();
    rig.place("x", &[b'a'; 100]);
    let [_idle, busy, half, lingers, discards] = [0; 5].map(|_| rig.connect());
    rig.send(&busy, b"PUT 100 /y\nabc");
    rig.send(&half, b"GET /");
    rig.send(&lingers, b"nonsense\n");
    rig.send(&discards, b"PUT 100 /../x\nabc");
    rig.stop_in_turn();
    assert!(busy.is_reset());
    assert_eq!(rig.end().cut_off, 1, "an upload, and nothing that was over or had not begun");
}

#[test]
fn a_first_line_of_whatever_protocol_may_be_as_long_as_a_line_is() {
    let mut rig = speaking(Kind::Auto);
    let peer = rig.connect();
    rig.send(&peer, &[b'x'; LINE_LEN_MAX]);
    assert_eq!(said(&peer), "");
    rig.send(&peer, b"x");
    assert!(said(&peer).starts_with("ERR 400 ") && peer.is_closed(), "{}", said(&peer));
}

#[test]
fn the_loop_that_overslept_by_more_than_a_second_looks_at_what_came_first() {
    for (late, heard) in [(seconds(1), "ERR 408 "), (seconds(1) + STEP, "OK 0\n")] {
        let mut rig = rig();
        let peer = rig.connect();
        rig.send(&peer, b"PI");
        rig.skip(seconds(5) + late);
        rig.send_in_turn(&peer, b"NG\n");
        rig.send(&peer, b"");
        assert!(said(&peer).starts_with(heard), "{late:?} late: {}", said(&peer));
    }
}

#[test]
fn a_loop_that_overslept_catches_up_within_sixteen_turns() {
    let mut rig = rig();
    let (busy, silent) = (rig.connect(), rig.connect());
    rig.send(&silent, b"PI");
    rig.skip(seconds(60));
    for turn in 1..=16 {
        rig.send_in_turn(&busy, b"PING\n");
        assert!(!silent.is_closed(), "turn {turn}");
    }
    rig.send_in_turn(&busy, b"PING\n");
    assert!(silent.is_closed() && said(&silent).starts_with("ERR 408 "));
}

#[test]
fn the_loop_sleeps_until_the_next_deadline() {
    let mut rig = Rig::new(Mode::PLAIN, limits().with(|l| l.drain_grace = seconds(7)), Access::default());
    assert_eq!(rig.sleep(), None);
    let idle = rig.connect();
    assert_eq!(rig.sleep(), Some(seconds(300)));
    rig.pass(seconds(100));
    assert_eq!(rig.sleep(), Some(seconds(200)));
    rig.exhaust(true);
    let _waits = rig.connect();
    assert_eq!(rig.sleep(), Some(limits().accept_retry));
    rig.exhaust(false);
    rig.pass(limits().accept_retry);
    assert_eq!(rig.sleep(), Some(seconds(200) - limits().accept_retry));
    let busy = rig.connect();
    rig.send(&busy, b"PUT 1000 /x\nabc");
    assert_eq!(rig.sleep(), Some(limits().rate_window));
    rig.drain();
    assert_eq!(rig.sleep(), Some(seconds(7)), "the end of the grace");
    rig.pass(seconds(7));
    assert_eq!(rig.sleep(), Some(limits().rate_window - seconds(7)));
    assert!(!idle.is_closed());
}

#[test]
fn a_drain_waits_for_no_transfer_longer_than_its_time() {
    let limits = limits().with(|l| {
        l.drain_grace = seconds(7);
        l.rate_bytes_per_s_min = 0;
    });
    let mut rig = Rig::new(Mode::PLAIN, limits.with(|l| l.stall_timeout = seconds(1000)), Access::default());
    let busy = rig.connect();
    rig.send(&busy, b"PUT 1000 /x\nabc");
    rig.drain();
    rig.pass(seconds(107) - STEP);
    assert!(!busy.is_gone());
    rig.pass(STEP);
    assert!(busy.is_gone() && busy.is_reset());
}

#[test]
fn an_interrupted_call_is_made_again() {
    let mut rig = rig();
    rig.place("x", b"hello");
    let peer = rig.connect();
    for interruptions in 1..4 {
        peer.interrupts(interruptions);
        let before = peer.heard().len();
        rig.send(&peer, b"GET /x\n");
        assert!(peer.heard()[before..].ends_with(b"\nhello") && !peer.is_closed());
    }
}

/// What `sends` are heard and stored as, where an upload may have so many bytes.
fn uploads(kind: Kind, limits: &Limits, pieces: &[&[u8]]) -> (Rig, Peer) {
    let listening = Listening::new(kind, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
    let peer = rig.connect();
    for piece in pieces {
        rig.send(&peer, piece);
    }
    rig.finish(&peer);
    (rig, peer)
}

#[test]
fn an_upload_whose_size_comes_first_may_be_as_long_as_uploads_may() {
    // Held as a whole, and streamed.
    for (chunk_bytes, most) in [(4096, 100), (16, 6000)] {
        let limits = limits().with(|l| {
            l.chunk_bytes = chunk_bytes;
            l.request_bytes_max = most as u64;
        });
        for (len, is_stored) in [(most - 1, true), (most, true), (most + 1, false)] {
            let upload = format!("a {len}{}", "x".repeat(len));
            let (mut rig, peer) = uploads(Kind::NameSize, &limits, &[upload.as_bytes()]);
            assert!(peer.is_closed());
            assert_eq!((rig.names().len(), peer.is_reset()), (usize::from(is_stored), !is_stored), "{len} bytes");
        }
    }
}

#[test]
fn a_name_that_a_directory_has_may_go_on_behind_its_blank() {
    let mut rig = speaking(Kind::NameSize);
    rig.place("a/x", b"");
    let peer = rig.connect();
    rig.send(&peer, format!("a 1 6000{}", "x".repeat(6000)).as_bytes());
    rig.finish(&peer);
    assert_eq!(rig.names(), ["a 1", "a/x"]);
}

#[test]
fn a_small_upload_that_does_not_fit_a_head_is_streamed() {
    let limits = limits().with(|l| {
        l.chunk_bytes = 8192;
        l.head_len_max = 4096;
    });
    let upload = format!("a 5000{}", "x".repeat(5000));
    for first in 4090..=4100 {
        let (front, rest) = upload.as_bytes().split_at(first);
        let (mut rig, _) = uploads(Kind::NameSize, &limits, &[front, rest]);
        assert_eq!(rig.names(), ["a"], "cut at {first}");
    }
}

#[test]
fn a_message_of_an_upload_may_be_as_long_as_uploads_may() {
    for (len, is_stored) in [(100, true), (101, false)] {
        let limits = limits().with(|l| l.request_bytes_max = 100);
        let message = format!("(dp0\nVput\nVx\nsVdata\nV{}\ns.", "a".repeat(len));
        let (mut rig, _) = uploads(Kind::Pickle, &limits, &[message.as_bytes()]);
        assert_eq!(rig.file("x").is_some(), is_stored, "{len} bytes");
    }
}

#[test]
fn a_message_that_brings_a_file_may_be_as_long_as_messages_may() {
    let mut longest = 0;
    for len in 100..200 {
        let limits = limits().with(|l| l.message_bytes_max = 200);
        let mut rig = Rig::speaking(
            Listening::new(Kind::Pickle, &[], 0).expect("no options"),
            Mode::PLAIN,
            limits,
            Access::default(),
        );
        rig.place("x", &vec![b'a'; len]);
        let peer = rig.connect();
        let greeting = peer.heard().len();
        rig.send(&peer, b"(dp0\nVget\nVx\ns.");
        let heard = peer.heard();
        if heard.windows(100).any(|bytes| bytes.iter().all(|byte| *byte == b'a')) {
            longest = longest.max(heard.len() - greeting);
        }
    }
    assert_eq!(longest, 200);
}

fn message(text: &[u8]) -> Vec<u8> {
    [format!("{:<64}", text.len()).as_bytes(), text].concat()
}

#[test]
fn a_message_steps_over_a_hundred_names_that_are_taken() {
    let options = [("inbox".to_owned(), "in".to_owned())];
    let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
    for number in 1..=101 {
        rig.place(&format!("in/0-{number:06}-127.0.0.1-50851.txt"), b"");
    }
    let peer = rig.connect();
    rig.send(&peer, &message(b"hello"));
    assert_eq!(rig.names().len(), 101, "and gives up");
    assert!(said(&peer).contains("ERROR "), "{}", said(&peer));
    rig.send(&peer, &message(b"hello"));
    assert_eq!(rig.file("in/0-000102-127.0.0.1-50851.txt"), Some(b"hello".to_vec()));
}

#[test]
fn a_choice_may_fill_a_packet() {
    for (len, waits) in [(1024, true), (1025, false)] {
        let listening =
            Listening::new(Kind::Menu, &[("list".to_owned(), "choose".to_owned())], 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
        rig.place("x.txt", b"hello");
        let peer = rig.connect();
        rig.send(&peer, b"receivetext");
        let before = peer.heard().len();
        rig.send(&peer, &vec![b'x'; len]);
        assert_eq!(peer.heard().len() == before, waits, "{len} bytes");
    }
}

#[test]
fn a_list_to_choose_from_fills_a_packet_and_no_more() {
    // 205 names of three bytes and what stands between them are a packet; 171 of four are one too many.
    for (width, listed, len) in [(3, 205, 1024), (4, 170, 1019)] {
        let listening =
            Listening::new(Kind::Menu, &[("list".to_owned(), "choose".to_owned())], 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
        for number in 0..250 {
            rig.place(&format!("{number:0width$}.txt"), b"");
        }
        let peer = rig.connect();
        rig.send(&peer, b"receivetext");
        assert_eq!((said(&peer).split_whitespace().count(), peer.heard().len()), (listed, len));
    }
}

#[test]
fn the_newest_file_is_the_one_that_is_received() {
    let mut rig = speaking(Kind::Menu);
    for (name, mtime) in [("a.jpg", 5), ("b.jpg", 9), ("c.jpg", 7)] {
        rig.place_of(name, name.as_bytes(), mtime);
    }
    let peer = rig.connect();
    rig.send(&peer, b"receiveimage");
    assert_eq!(said(&peer), "b.jpg");
}

/// Its header may count bytes or characters, which only what comes behind would tell.
#[test]
fn a_long_text_in_doubt_ends_in_silence_or_with_its_stream() {
    let text = format!("ü{}", "a".repeat(5998));
    for ends in [false, true] {
        let options = [("inbox".to_owned(), "in".to_owned())];
        let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, &message(text.as_bytes()));
        if ends {
            rig.finish(&peer);
        } else {
            rig.pass(Duration::from_millis(199));
            assert_eq!(rig.names(), [""; 0]);
            rig.pass(STEP);
        }
        assert_eq!(rig.file("in/0-000001-127.0.0.1-50851.txt"), Some(text.clone().into_bytes()));
        assert_eq!(peer.is_closed(), ends);
    }
}

/// The kernel took much at once and asks for no more for a while, but it passes on enough.
#[test]
fn a_client_that_reads_what_the_kernel_holds_is_not_too_slow() {
    let mode = Mode { window: 1000, ..Mode::PLAIN };
    let limits = limits().with(|l| {
        l.rate_bytes_per_s_min = 10;
        l.rate_window = seconds(20);
    });
    let mut rig = Rig::new(mode, limits, Access::default());
    rig.place("x", &[b'a'; 5000]);
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /x\n");
    for left in [800, 600, 400, 200, 0] {
        peer.acknowledges_all_but(left);
        rig.pass(seconds(20));
        assert!(!peer.is_gone(), "{left} bytes left");
    }
    rig.pass(seconds(20));
    assert!(peer.is_reset());
}

#[test]
fn a_client_that_does_not_read_is_too_slow_whatever_the_disk_does() {
    let mode = Mode { held: true, deferred: true, lags: false, window: 40 };
    let limits = limits().with(|l| {
        l.rate_bytes_per_s_min = 10;
        l.rate_window = seconds(20);
    });
    let mut rig = Rig::new(mode, limits, Access::default());
    rig.place("x", &[b'a'; 5000]);
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send_unread(&peer, b"GET /x\n");
    rig.complete_in_turn();
    assert_eq!(peer.heard().len(), 40, "a part of the head");
    rig.pass(seconds(20));
    assert!(peer.is_reset());
}

/// What follows a long text that could not be kept is a message of its own.
#[test]
fn a_text_that_fails_when_it_is_over_takes_nothing_with_it() {
    let options = [("inbox".to_owned(), "in".to_owned())];
    let listening = Listening::new(Kind::LengthPrefix, &options, 0).expect("good options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
    let peer = rig.connect();
    let text = message(&[b'a'; 6000]);
    rig.send(&peer, &text[..5900]);
    rig.place("in/0-000001-127.0.0.1-50851.txt", b"of somebody else");
    rig.send(&peer, &text[5900..]);
    assert!(said(&peer).contains("ERROR "), "{}", said(&peer));
    rig.send(&peer, &message(b"Hello Server!"));
    assert!(said(&peer).ends_with("Hello Client!") && !peer.is_closed(), "{}", said(&peer));
}

#[test]
fn the_digest_of_a_long_file_is_the_one_of_all_its_bytes() {
    let mut rig = rig();
    rig.place("x", &[b'a'; 100_000]);
    let peer = rig.connect();
    rig.send(&peer, b"GET trailer=sha256 /x\n");
    let digest = "sha256=6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee\n";
    assert!(peer.heard().ends_with(digest.as_bytes()), "{}", &said(&peer)[100_000..]);
}

/// What comes while our own disk is at work may have come late because of that.
#[test]
fn no_silence_ends_a_content_while_the_disk_is_at_work() {
    let listening = Listening::new(Kind::Menu, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode { deferred: true, ..Mode::PLAIN }, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"sendtext");
    rig.send(&peer, b"a.txt");
    rig.pass(seconds(1));
    rig.hold_completions(true);
    // The store asks for a write-back every five bytes, and this one does not end.
    rig.send(&peer, b"hello");
    rig.pass(seconds(2));
    rig.send(&peer, b" you");
    rig.hold_completions(false);
    rig.pass(seconds(2));
    assert_eq!(rig.file("a.txt"), Some(b"hello you".to_vec()), "{}", said(&peer));
}

#[test]
fn a_client_that_reads_no_reply_is_reset_and_not_taken_for_silent() {
    let limits = limits().with(|l| l.idle_timeout = seconds(30));
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode { window: 3, ..Mode::PLAIN }, limits, Access::default());
    let peer = rig.connect();
    rig.pass(seconds(60) - STEP);
    assert!(!peer.is_gone());
    rig.pass(STEP);
    assert!(peer.is_reset() && peer.heard().len() == 3);
}

#[test]
fn a_pause_before_a_file_in_memory_keeps_no_slot() {
    let listening = Listening::new(Kind::Menu, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits().with(|l| l.slots = 1), Access::default());
    rig.place("b.jpg", b"content");
    let [first, second] = [0; 2].map(|_| rig.connect());
    for peer in [&first, &second] {
        peer.acknowledges_all_but(1);
        rig.send(peer, b"receiveimage");
        assert_eq!(said(peer), "b.jpg");
    }
}

#[test]
fn a_name_is_waited_for_from_when_its_count_was_taken() {
    let limits = limits().with(|l| l.head_timeout = seconds(300));
    let listening = Listening::new(Kind::NameChoice, &[], 0).expect("no options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"1");
    // Only now is it sure that no second digit follows.
    rig.pass(Duration::from_millis(20));
    rig.pass(seconds(10) - STEP);
    assert!(!peer.is_closed());
    rig.pass(STEP);
    assert!(peer.is_closed());
}

/// Where the client speaks first, its connection may be reported with its first bytes; otherwise it must not.
#[test]
fn a_dialect_that_speaks_first_does_not_wait_for_its_client() {
    for kind in Kind::ALL {
        let mut rig = speaking(kind);
        let peer = rig.connect();
        rig.pass(seconds(30));
        let speaks = !peer.heard().is_empty();
        assert!(!speaks || !kind.traits().client_speaks_first, "{kind}");
    }
    assert!([Kind::Auto, Kind::Line, Kind::Http].into_iter().all(|kind| kind.traits().client_speaks_first));
}

#[test]
fn a_drain_waits_for_a_client_that_has_not_read_its_reply() {
    let mut rig = Rig::new(Mode { window: 3, ..Mode::PLAIN }, limits(), Access::default());
    let peer = rig.connect();
    rig.send_unread(&peer, b"PING\n");
    rig.pass(seconds(2));
    rig.drain();
    assert!(!peer.is_closed());
    rig.read(&peer, 3);
    assert!(said(&peer) == "OK 0\n" && peer.is_closed());
}

#[test]
fn an_upload_that_comes_once_its_connection_is_given_up_is_reset_where_a_plain_end_means_success() {
    let name_quiet = seconds(10);
    let limits = limits().with(|l| l.head_timeout = seconds(60));
    for (kind, early, late, drains) in [
        (Kind::NameSize, "", "late 5", true),
        (Kind::NameChoice, "", "late:PUT", true),
        (Kind::NameChoice, "", "late:PUT", false),
        (Kind::NameChoice, "la", "te:PUT", false),
        (Kind::Menu, "", "sendimagelate.jpg", true),
        (Kind::Menu, "sendimage", "late.jpg", true),
    ] {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits.clone(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, early.as_bytes());
        if drains {
            rig.drain();
        } else {
            rig.pass(name_quiet);
        }
        assert!(peer.is_closed() && !peer.is_gone(), "{kind:?} {early}: it is given up");
        rig.send(&peer, late.as_bytes());
        rig.send(&peer, b"\xFF2345");
        rig.finish(&peer);
        assert!(peer.is_gone() && peer.is_reset(), "{kind:?} {early}");
    }
}
