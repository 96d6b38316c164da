//! The states of a session: their table, and in virtual time every deadline, a drain in every
//! state, an end of the stream at every byte.

mod moments;
mod order_of_changes;
mod registration;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::session::state::Name;

use support::rig::{Damage, Mode, Peer, Rig};

const TABLE: &str = "\
AwaitHeader -> Verifying AwaitSlot Opening Executing ReceivingBody Committing Pausing Discarding SendingReply Done
Verifying -> AwaitHeader Done
AwaitSlot -> AwaitHeader Opening Executing ReceivingBody Saving Committing SendingBody Pausing Discarding SendingReply Done
Opening -> AwaitHeader AwaitSlot Executing ReceivingBody Saving SendingBody Pausing Discarding SendingReply Done
Executing -> AwaitHeader AwaitSlot Opening Executing ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
ReceivingBody -> AwaitHeader AwaitSlot FinishingWrites Saving Pausing Discarding SendingReply Done
FinishingWrites -> AwaitHeader Saving Committing Pausing SendingReply Done
Committing -> AwaitHeader AwaitSlot Opening Executing ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Saving -> AwaitHeader Executing Pausing Discarding SendingReply Done
SendingBody -> AwaitHeader AwaitSlot SendingBody Pausing SendingReply Done
SendingPart -> AwaitSlot Executing Done
Pausing -> AwaitHeader AwaitSlot Opening Executing ReceivingBody Committing SendingBody SendingPart Pausing Discarding SendingReply Done
Discarding -> AwaitHeader SendingReply Done
SendingReply -> Lingering Done
Lingering -> Done
Done ->
";

#[test]
fn the_table_of_states_is_as_written_here() {
    let mut table = String::new();
    for name in Name::ALL {
        let followers: String = name.followers().iter().map(|follower| format!(" {follower:?}")).collect();
        writeln!(table, "{name:?} ->{followers}").expect("a string takes it");
    }
    assert_eq!(table, TABLE, "a change of the table is a change of the design: think, then change both");
}

#[test]
fn the_diagram_in_the_docs_shows_every_state_and_only_transitions_of_the_table() {
    let docs = include_str!("../../src/session/mod.rs");
    let state = |word: &str| Name::ALL.into_iter().find(|name| format!("{name:?}") == word);
    let mut shown = BTreeSet::new();
    for line in docs.lines().filter(|line| line.starts_with("//!") && line.contains('▶')) {
        let states: Vec<Name> = line.split('▶').filter_map(|part| part.split_whitespace().find_map(state)).collect();
        assert_eq!(states.len(), line.matches('▶').count() + 1, "a state that is none: {line}");
        for pair in states.windows(2) {
            assert!(pair[0].followers().contains(&pair[1]), "{:?} never becomes {:?}: {line}", pair[0], pair[1]);
        }
        shown.extend(states);
    }
    assert_eq!(shown.into_iter().collect::<Vec<_>>(), Name::ALL);
}

fn reachable(from: Name) -> BTreeSet<Name> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        next.extend(name.followers().iter().filter(|follower| seen.insert(**follower)));
    }
    seen
}

#[test]
fn every_state_is_reached_and_ends_in_done_which_nothing_leaves() {
    let from_start = reachable(Name::AwaitHeader);
    for name in Name::ALL {
        assert!(from_start.contains(&name), "{name:?} is never reached");
        assert!(name == Name::Done || name.followers().contains(&Name::Done), "{name:?}: the peer may vanish");
    }
    assert_eq!(Name::Done.followers(), []);
}

fn limits() -> Limits {
    let second = Duration::from_secs;
    Limits::default().with(|l| {
        l.slots = 1;
        l.chunk_bytes = 16;
        l.chunks_per_slot = 4;
        l.head_timeout = second(30);
        l.idle_timeout = second(300);
        l.stall_timeout = second(60);
        l.slot_timeout = second(40);
        l.linger_timeout = second(2);
        l.rate_window = second(20);
        l.rate_bytes_per_s_min = 10;
        l.drain_timeout = second(100);
    })
}

/// A mode in which nothing ends at once: every state is really waited in.
const SLOW: Mode = Mode { deferred: true, held: true, lags: true, window: usize::MAX };

fn modes() -> [Mode; 3] {
    [Mode::PLAIN, SLOW, Mode { deferred: true, ..Mode::PLAIN }]
}

fn rig(mode: Mode) -> Rig {
    Rig::new(mode, limits(), Access::default())
}

fn said(peer: &Peer) -> String {
    String::from_utf8_lossy(&peer.heard()).into_owned()
}

/// Nothing is left of any connection.
#[track_caller]
fn assert_clean(rig: &mut Rig) {
    let counters = rig.counters();
    assert_eq!((counters.slots_used, counters.slots_waiting), (0, 0), "a slot leaks");
    assert_eq!(rig.open_files(), 0, "a file stays open");
}

/// What has been sent is answered so after `seconds`, and not a second before.
#[track_caller]
fn ends_after(mode: Mode, sends: &str, seconds: u64, reply: &str) {
    let mut rig = rig(mode);
    let peer = rig.connect();
    rig.send(&peer, sends.as_bytes());
    rig.pass(Duration::from_secs(seconds - 1));
    assert!(!peer.is_closed(), "{sends:?} ({mode:?}): too early");
    rig.pass(Duration::from_secs(1));
    assert!(peer.is_closed() && said(&peer).starts_with(reply), "{sends:?} ({mode:?}): {}", said(&peer));
    if !peer.is_reset() && reply.contains("ERR") {
        // What it is still sending must not turn our last words into a reset.
        rig.pass(limits().linger_timeout / 2);
        assert!(!peer.is_gone(), "{sends:?} ({mode:?}): has no time to read");
    }
    rig.pass(limits().linger_timeout);
    assert!(peer.is_gone(), "{sends:?} ({mode:?}): stays");
    assert_clean(&mut rig);
}

// covers: N10 N16
#[test]
fn every_wait_for_the_peer_has_its_deadline() {
    for mode in modes() {
        ends_after(mode, "", 300, "");
        ends_after(mode, "PING\n", 300, "OK 0\n");
        ends_after(mode, "GET /x", 30, "ERR 408 ");
        ends_after(mode, "PING\nP", 30, "OK 0\nERR 408 ");
        // Nothing at all comes: at the end of the first window the rate is too low.
        ends_after(mode, "PUT 10 /x\n12345", 20, "ERR 408 ");
        ends_after(mode, "PUT 1000 /x\n12345", 20, "ERR 408 ");
        ends_after(mode, "PUT * /x\n5\n12", 20, "ERR 408 ");
        ends_after(mode, "PUT 1000 /../x\n12345", 60, "ERR 400 ");
    }
}

// covers: H3 R6
#[test]
fn a_trickle_pushes_no_deadline_back() {
    for mode in modes() {
        for (begin, windows, reply) in
            [("PUT 1000 /x\n", 20, "ERR 408 "), ("PUT 9 /x\n", 20, "ERR 408 "), ("", 30, "ERR 408 ")]
        {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, begin.as_bytes());
            for second in 0..windows {
                assert!(!peer.is_closed(), "{begin:?} after {second} s: {}", said(&peer));
                // Few enough not to complete a body of nine.
                rig.send(&peer, if second % 4 == 0 { b"a" } else { b"" });
                rig.pass(Duration::from_secs(1));
            }
            assert!(said(&peer).starts_with(reply), "{begin:?}: {}", said(&peer));
            rig.pass(limits().linger_timeout);
            assert!(peer.is_gone());
            assert_clean(&mut rig);
        }
    }
}

#[test]
fn a_client_that_is_fast_enough_may_take_as_long_as_it_takes() {
    for mode in modes() {
        let mut rig = rig(mode);
        let peer = rig.connect();
        rig.send(&peer, b"PUT 3000 /x\n");
        for _ in 0..300 {
            rig.send(&peer, &[b'a'; 10]);
            rig.pass(Duration::from_millis(900));
        }
        assert!(said(&peer).starts_with("OK 0 "), "{}", said(&peer));
        assert_eq!(rig.file("x").map(|bytes| bytes.len()), Some(3000));
        assert_clean(&mut rig);
    }
}

// covers: N12
#[test]
fn a_peer_that_does_not_read_is_reset_in_the_middle_of_a_body() {
    for (deferred, held) in [(false, false), (true, false), (true, true)] {
        let mut rig = rig(Mode { deferred, held, lags: false, window: 40 });
        let writer = rig.connect();
        rig.send(&writer, &[b"PUT 1000 /x\n", &[b'a'; 1000][..]].concat());
        let peer = rig.connect();
        rig.send_unread(&peer, b"GET /x\n");
        rig.pass(Duration::from_secs(19));
        assert!(!peer.is_closed());
        rig.pass(Duration::from_secs(1));
        assert!(peer.is_gone() && peer.is_reset(), "half a body must not look whole");
        assert_clean(&mut rig);
    }
}

// covers: N16
#[test]
fn a_peer_that_does_not_read_its_replies_is_reset() {
    let mut rig = rig(Mode { window: 4, ..Mode::PLAIN });
    let peer = rig.connect();
    rig.send_unread(&peer, b"PING\nPING\nPING\n");
    rig.pass(Duration::from_secs(59));
    assert!(!peer.is_closed());
    rig.pass(Duration::from_secs(1));
    assert!(peer.is_gone() && peer.is_reset());
    assert_clean(&mut rig);
}

#[test]
fn a_request_that_waits_for_a_slot_is_told_busy_at_its_deadline_or_served_before() {
    for mode in modes() {
        for leaves in [false, true] {
            let mut rig = Rig::new(mode, limits().with(|l| l.rate_bytes_per_s_min = 0), Access::default());
            let holder = rig.connect();
            rig.send(&holder, b"PUT 100 /held\n12345");
            let peer = rig.connect();
            rig.send(&peer, b"PUT 3 /x\nabcPING\n");
            assert_eq!(rig.counters().slots_waiting, 1);
            rig.pass(Duration::from_secs(39));
            assert_eq!(said(&peer), "");
            if leaves {
                rig.finish(&holder);
                assert!(said(&peer).starts_with("OK 0 etag=") && said(&peer).ends_with("OK 0\n"), "{}", said(&peer));
            } else {
                rig.pass(Duration::from_secs(1));
                assert!(said(&peer).starts_with("ERR 429 retry=1 "), "{}", said(&peer));
                assert!(said(&peer).ends_with("\nOK 0\n"), "the conversation goes on: {}", said(&peer));
                rig.finish(&holder);
            }
            rig.pass(limits().linger_timeout);
            assert_clean(&mut rig);
        }
    }
}

// covers: L1
#[test]
fn a_drain_in_any_state_lets_it_finish_and_ends() {
    // What has been sent when the drain begins, what comes after it, what is heard, what is stored.
    let cases: [(&str, &str, &str, bool); 9] = [
        ("", "", "", false),
        ("", "PING\n", "", false),
        ("PING\n", "", "OK 0\n", false),
        ("GET /no", "ne\n", "ERR 503 retry=5 ", false),
        ("PUT 5 /x\n12", "345", "OK 0 etag=", true),
        ("PUT 40 /x\n12", "34567890123456789012345678901234567890", "OK 0 etag=", true),
        ("PUT * /x\n3\n12", "30\n", "OK 0 etag=", true),
        (
            "PUT 5 /x\n12",
            "345PUT 3 /y\nabc",
            "OK 0 etag=00000000000000000000000000000001 stored=durable\nERR 503 ",
            true,
        ),
        ("PUT 3 /../x\n12", "3", "ERR 400 ", false),
    ];
    for mode in modes() {
        for (before, after, heard, stored) in cases {
            let mut rig = rig(mode);
            let peer = rig.connect();
            rig.send(&peer, before.as_bytes());
            rig.drain();
            rig.send(&peer, after.as_bytes());
            rig.pass(limits().linger_timeout);
            rig.pass(limits().linger_timeout);
            let said = said(&peer);
            assert!(said.starts_with(heard), "{before:?} ({mode:?}): {said:?}");
            assert!(peer.is_gone(), "{before:?} ({mode:?}): stays");
            assert_eq!(rig.file("x").is_some(), stored, "{before:?} ({mode:?})");
            assert!(rig.file("y").is_none());
            assert_clean(&mut rig);
            assert!(rig.has_ended(), "{before:?} ({mode:?}): the server goes on");
        }
    }
}

#[test]
fn a_server_that_drains_listens_as_long_as_it_was_told_to() {
    let mut rig = Rig::new(Mode::PLAIN, limits().with(|l| l.drain_grace = Duration::from_secs(5)), Access::default());
    rig.drain();
    rig.pass(Duration::from_secs(4));
    assert!(!rig.has_ended());
    let late = rig.connect();
    rig.send(&late, b"GET /x\n");
    assert!(said(&late).starts_with("ERR 503 retry=5 "), "{}", said(&late));
    rig.finish(&late);
    assert!(!rig.has_ended(), "others may come");
    rig.pass(Duration::from_secs(1));
    assert!(rig.has_ended());
}

#[test]
fn a_server_that_drains_takes_no_new_client_while_transfers_end() {
    let mut rig = rig(Mode::PLAIN);
    let (busy, idle) = (rig.connect(), rig.connect());
    rig.send(&busy, b"PUT 5 /x\nhel");
    rig.drain();
    let late = rig.connect();
    rig.send(&late, b"GET /x\n");
    assert_eq!((said(&late), rig.counters().open), (String::new(), 2));
    assert!(!idle.is_closed(), "it would be told why");
    rig.send(&busy, b"lo");
    assert!(said(&busy).starts_with("OK 0 "));
    rig.pass(limits().linger_timeout);
    rig.pass(limits().linger_timeout);
    assert!(idle.is_gone() && rig.has_ended());
}

#[test]
fn a_drain_does_not_wait_for_clients_that_only_read_the_last_reply() {
    let mut rig = rig(Mode::PLAIN);
    let (idle, lingers) = (rig.connect(), rig.connect());
    rig.pass(limits().linger_timeout);
    rig.send(&lingers, b"nonsense\n");
    assert!(lingers.is_closed() && !lingers.is_gone());
    rig.drain();
    assert!(idle.is_gone() && !lingers.is_gone());
}

// covers: F7
#[test]
fn a_file_that_cannot_be_sent_whole_ends_in_a_reset() {
    for damage in [Damage::Short(90), Damage::Unreadable] {
        for mode in [Mode { window: 40, ..Mode::PLAIN }, Mode { held: true, deferred: true, lags: false, window: 40 }] {
            let mut rig = rig(mode);
            rig.place("x", &[b'a'; 200]);
            let peer = rig.connect();
            rig.send_unread(&peer, b"GET /x\n");
            assert!(peer.heard().starts_with(b"OK 200 "));
            rig.damage(damage);
            rig.send(&peer, b"");
            assert!(peer.is_reset() && peer.is_gone(), "{damage:?} ({mode:?})");
            assert_clean(&mut rig);
            assert_eq!(rig.counters().failed, 1);
        }
    }
}

#[test]
fn a_download_that_needs_no_memory_waits_for_no_slot() {
    let mut rig = rig(Mode::PLAIN);
    rig.place("x", b"hello");
    let holder = rig.connect();
    rig.send(&holder, b"PUT 100 /held\n12345");
    assert_eq!(rig.counters().slots_used, 1);
    let peer = rig.connect();
    rig.send(&peer, b"GET /x\n");
    assert!(said(&peer).ends_with("\nhello"), "{}", said(&peer));
}

// covers: F16
#[test]
fn no_time_at_our_own_disk_is_a_reader_too_slow() {
    let mut rig = rig(Mode { held: true, deferred: true, ..Mode::PLAIN });
    rig.place("x", &[b'a'; 200]);
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, b"GET /x\n");
    // The file is opened, then read in so many chunks.
    for _ in 0..=200_usize.div_ceil(16) {
        // One chunk at a time comes from the disk, long after the one before has left.
        rig.complete_in_turn();
        rig.pass(Duration::from_secs(100));
    }
    assert!(said(&peer).ends_with(&"a".repeat(200)) && !peer.is_closed(), "{}", said(&peer));
}

/// What waits in the kernel has left the server, and is not read.
#[test]
fn what_the_peer_has_not_acknowledged_has_not_been_read() {
    for (unread, is_reset) in [(0, false), (950, true)] {
        let mut rig = rig(Mode { window: 1000, ..Mode::PLAIN });
        rig.place("x", &[b'a'; 5000]);
        let peer = rig.connect();
        rig.send_unread(&peer, b"GET /x\n");
        peer.acknowledges_all_but(unread);
        rig.pass(Duration::from_secs(20));
        assert_eq!(peer.is_reset(), is_reset, "{unread} bytes");
    }
}

/// A message of the pickle dialect that is longer than any head: it is gathered, and the one slot
/// is kept meanwhile.
fn long_message(content_len: usize) -> Vec<u8> {
    format!("(dp0\nVput\nVx\nsVdata\nV{}\ns.", "a".repeat(content_len)).into_bytes()
}

fn gathering(mode: Mode) -> (Rig, Peer) {
    let listening = Listening::new(Kind::Pickle, &[], 0).expect("no options");
    let limits = limits().with(|l| {
        l.head_len_max = 64;
        l.message_bytes_max = 4096;
    });
    let mut rig = Rig::speaking(listening, mode, limits, Access::default());
    let peer = rig.connect();
    (rig, peer)
}

#[test]
fn a_long_message_is_whole_whatever_pieces_it_comes_in() {
    for mode in modes() {
        for piece_len in [1, 7, 63, 64, 65, 100, 1000] {
            let (mut rig, peer) = gathering(mode);
            for piece in long_message(1000).chunks(piece_len) {
                rig.send(&peer, piece);
            }
            assert_eq!(rig.file("x"), Some(vec![b'a'; 1000]), "in pieces of {piece_len} ({mode:?})");
            // What comes behind it is another message.
            rig.send(&peer, &long_message(10));
            assert_eq!(rig.file("x"), Some(vec![b'a'; 10]), "in pieces of {piece_len} ({mode:?})");
            rig.finish(&peer);
            assert_clean(&mut rig);
        }
    }
}

#[test]
fn a_long_message_may_take_its_time_and_keeps_no_slot_for_ever() {
    for mode in modes() {
        let (mut rig, peer) = gathering(mode);
        rig.send(&peer, &long_message(1000)[..100]);
        assert_eq!(rig.counters().slots_used, 1);
        rig.pass(Duration::from_secs(59));
        assert!(!is_too_slow(&peer), "too early ({mode:?})");
        rig.pass(Duration::from_secs(1));
        assert!(is_too_slow(&peer), "it stopped half-way ({mode:?})");
        rig.pass(Duration::from_secs(1));
        rig.pass(limits().linger_timeout);
        assert!(peer.is_gone());
        assert_clean(&mut rig);

        let (mut rig, peer) = gathering(mode);
        rig.send(&peer, &long_message(1000)[..100]);
        // Five times as long as a silence may be, whatever trickles in.
        for second in 1..=300 {
            assert!(!is_too_slow(&peer), "after {second} s ({mode:?})");
            rig.pass(Duration::from_secs(1));
            if second % 30 == 0 {
                rig.send(&peer, b"a");
            }
        }
        assert!(is_too_slow(&peer), "it keeps its slot ({mode:?})");
    }
}

fn is_too_slow(peer: &Peer) -> bool {
    said(peer).contains("too slow")
}

// covers: N3
#[test]
fn an_end_at_every_byte_of_a_conversation_leaves_nothing_behind() {
    let conversations = [
        "PUT 5 /x\nabcdeGET /x\nLIST /\nQUIT\n",
        "PUT 40 /x\n0123456789012345678901234567890123456789GET range=1-30 /x\n",
        "PUT * trailer=sha256 /x\n3\nabc0\nsha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        "PUT 3 /../x\nabcDELETE /x\n",
    ];
    for mode in modes() {
        for conversation in conversations {
            let whole = conversation.find("PUT").map_or(0, |_| stored_from(conversation));
            for cut in 0..=conversation.len() {
                let mut rig = rig(mode);
                let peer = rig.connect();
                rig.send(&peer, &conversation.as_bytes()[..cut]);
                rig.finish(&peer);
                assert!(peer.is_gone(), "{conversation:?} ended at {cut} ({mode:?}): stays");
                let stored = rig.file("x").is_some();
                assert_eq!(stored, cut >= whole, "{conversation:?} ended at {cut} ({mode:?})");
                assert_clean(&mut rig);
            }
        }
    }
}

/// After how many bytes the upload at the front of a conversation is complete.
fn stored_from(conversation: &str) -> usize {
    let body = conversation.find('\n').map_or(0, |at| at + 1);
    match &conversation[4..6] {
        "5 " => body + 5,
        "40" => body + 40,
        "* " => conversation.len(),
        _ => usize::MAX,
    }
}

/// At whatever moment a request arrives after the last byte of a body: it is shown that version.
#[test]
fn no_client_reads_an_older_version_than_a_body_accepted_in_full() {
    for mode in Mode::all().filter(|mode| mode.window == usize::MAX) {
        for (size, turns) in [(10, 0), (40, 0), (40, 1), (40, 2), (40, 3), (60, 0), (60, 1), (60, 2), (60, 4)] {
            let mut rig = Rig::new(mode, limits().with(|l| l.slots = 4), Access::default());
            let (writer, reader) = (rig.connect(), rig.connect());
            let put = |byte: u8| [format!("PUT {size} /x\n").as_bytes(), &vec![byte; size]].concat();
            rig.send(&writer, &put(b'1'));
            rig.send_in_turn(&writer, &put(b'2'));
            for _ in 0..turns {
                rig.send_in_turn(&writer, b"");
            }
            let accepted = rig.counters().bytes_in == 2 * size as u64;
            rig.send_in_turn(&reader, b"GET /x\n");
            rig.send(&writer, b"");
            let heard = reader.heard();
            let newest = heard.ends_with(&vec![b'2'; size]);
            assert!(newest || !accepted, "{size} after {turns} ({mode:?}): {}", heard.escape_ascii());
        }
    }
}

/// In some dialects a silence ends the content: but not while we do not listen.
#[test]
fn a_silence_while_our_own_disk_is_at_work_ends_no_upload() {
    let listening = Listening::new(Kind::NameSize, &[], 0).expect("no options");
    let limits = Limits::default().with(|l| {
        l.chunk_bytes = 16;
        l.chunks_per_slot = 4;
        l.rate_bytes_per_s_min = 0;
    });
    let mut rig =
        Rig::speaking(listening, Mode { deferred: true, lags: true, ..Mode::PLAIN }, limits, Access::default());
    let peer = rig.connect();
    rig.send(&peer, &[b"a 50000".as_slice(), &[b'x'; 20_000]].concat());
    rig.hold_completions(true);
    rig.send(&peer, &[b'x'; 100]);
    rig.pass(Duration::from_secs(50));
    rig.hold_completions(false);
    rig.send(&peer, &[b'x'; 29_900]);
    rig.pass(Duration::from_secs(5));
    rig.finish(&peer);
    assert_eq!(rig.names(), ["a"]);
    assert_eq!(rig.file("a").map(|bytes| bytes.len()), Some(50_000));
}
