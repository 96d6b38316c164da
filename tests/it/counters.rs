//! The facts for the operator: that they follow what happens, in virtual time, and that other
//! threads see them. That gauges changed in place agree with a count of the connections is checked
//! by the reactor itself after every turn of every test.

use std::sync::atomic::{AtomicBool, Ordering};

use support::StopOnDrop;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::counters::{Counters, Queued};
use filewharf::dialect::{Kind, Listening};
use filewharf::error::{CloseReason, Failure};
use filewharf::session::state::Name;
use filewharf::wire::metrics;

use support::client::{Running, wait_until};
use support::rig::{Mode, Peer, Rig, STARTED_S};

/// Nothing ends in the turn in which it began.
const SLOW: Mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
/// What one turn takes in these tests.
const TURN: Duration = Duration::from_millis(3);

const STATES: usize = Counters::STATES.len();
const KINDS: usize = Counters::DIALECTS_MAX;

fn limits() -> Limits {
    Limits::default().with(|l| {
        l.fixed.slots = 1;
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 4;
    })
}

/// What the connections do, one name for each of them.
fn doing(rig: &Rig) -> Vec<Name> {
    let states = Name::ALL.into_iter().zip(rig.counters().states);
    states.flat_map(|(name, count)| (0..count).map(move |_| name)).collect()
}

/// Sends something, then gives the server turn after turn until it waits for us again. What its
/// only connection did at the end of each turn, repetitions left out.
fn path(rig: &mut Rig, peer: &Peer, bytes: &[u8]) -> Vec<Name> {
    let mut path = Vec::new();
    let mut rest = bytes;
    for _ in 0..100 {
        rig.skip(TURN);
        rig.send_in_turn(peer, std::mem::take(&mut rest));
        path.extend(doing(rig));
        path.dedup();
        if path.last() == Some(&Name::AwaitHeader) {
            return path;
        }
    }
    panic!("it never waits for us again: {path:?}");
}

#[test]
fn the_words_of_the_states_are_their_names() {
    for (name, word) in Name::ALL.into_iter().zip(Counters::STATES) {
        assert_eq!(Counters::STATES[name as usize], word);
        let parts = word.split('-').map(|part| part[..1].to_uppercase() + &part[1..]);
        assert_eq!(parts.collect::<String>(), format!("{name:?}"));
    }
}

#[test]
fn a_connection_is_counted_in_each_state_it_passes_through() {
    let mut rig = Rig::new(SLOW, limits(), Access::default());
    let peer = rig.connect();
    assert_eq!(doing(&rig), [Name::AwaitHeader]);
    let put = [b"PUT 40 /x\n".as_slice(), &[b'x'; 40]].concat();
    assert_eq!(
        path(&mut rig, &peer, &put),
        [Name::Opening, Name::FinishingWrites, Name::Committing, Name::AwaitHeader],
        "{:?}",
        rig.counters()
    );
    assert_eq!(path(&mut rig, &peer, b"STAT /x\n"), [Name::Executing, Name::AwaitHeader]);
    rig.send(&peer, b"PUT 40 /y\n12345");
    assert_eq!((doing(&rig), rig.counters().slots_used), (vec![Name::ReceivingBody], 1));
    let other = rig.connect();
    rig.send(&other, b"PUT 40 /y\n12345");
    assert_eq!((doing(&rig), rig.counters().slots_waiting), (vec![Name::AwaitSlot, Name::ReceivingBody], 1));
    rig.finish(&peer);
    rig.finish(&other);
    rig.pass(limits().live.linger_timeout);
    let counters = rig.counters();
    assert_eq!((counters.open, counters.states, counters.dialects), (0, [0; STATES], [0; KINDS]));
    assert_eq!((counters.slots, counters.slots_used, counters.slots_waiting), (1, 0, 0));
}

// covers: slot-used-again
#[test]
fn a_connection_that_has_ended_is_counted_until_the_store_lets_it_go() {
    let mut rig = Rig::new(SLOW, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 40 /x\n12345");
    rig.stop_in_turn();
    let counters = rig.counters();
    assert_eq!((doing(&rig), counters.open), (vec![Name::Done], 1));
    assert_eq!((counters.closed[CloseReason::Stopped as usize], counters.queued.in_flight), (1, 1));
    rig.pass(TURN);
    let counters = rig.counters();
    assert_eq!((doing(&rig), counters.open), (vec![], 0));
    assert_eq!(counters.closed[CloseReason::Stopped as usize], 1);
}

#[test]
fn commits_are_timed_from_the_last_byte_to_the_acknowledgement() {
    // A small upload is stored in one operation, a large one is written, then committed.
    for (size, turns) in [(5, 1), (40, 2)] {
        let mut rig = Rig::new(SLOW, limits(), Access::default());
        let peer = rig.connect();
        rig.send(&peer, format!("PUT {size} /x\n").as_bytes());
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.counters().commit_time.count(), 0);
        path(&mut rig, &peer, &vec![b'x'; size]);
        let commits = rig.counters().commit_time;
        assert_eq!((commits.count(), commits.sum()), (1, turns * TURN), "{size}");
        // One that fails is not acknowledged.
        rig.send(&peer, b"PUT 5 if=absent /x\nabcde");
        assert!(peer.heard().ends_with(b"\n") && rig.counters().failed == 1);
        assert_eq!(rig.counters().commit_time.count(), 1);
    }
}

#[test]
fn requests_are_counted_by_kind_and_outcome() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::new(None, true));
    let peer = rig.connect();
    rig.send(&peer, b"GET /none\nSTAT /none\nSTAT /\nDELETE /x\nGET /none\nWHAT\n");
    let counters = rig.counters();
    let failed = |kind: &str, failure: Failure| {
        let row = Counters::REQUESTS.iter().position(|known| *known == kind).unwrap_or(Counters::REQUESTS.len());
        counters.failures[row][failure.number()]
    };
    assert_eq!(failed("get", Failure::NotFound), 2);
    assert_eq!(failed("stat", Failure::NotFound), 1);
    assert_eq!(failed("delete", Failure::Denied("")), 1);
    assert_eq!(failed("unknown", Failure::Malformed("")), 1);
    assert_eq!(counters.failures.as_flattened().iter().sum::<u64>(), counters.failed);
    assert_eq!((counters.failed, counters.requests.iter().sum::<u64>()), (5, 1));
}

#[test]
fn what_is_spoken_is_counted_for_every_dialect() {
    for kind in Kind::ALL {
        let listening = Listening::new(kind, &[], 0).expect("no options");
        let mut rig = Rig::speaking(listening, Mode::PLAIN, limits(), Access::default());
        let peers = [rig.connect(), rig.connect()];
        let counters = rig.counters();
        assert_eq!((counters.open, counters.dialects.iter().sum::<u64>()), (2, 2), "{kind}");
        if kind != Kind::Auto {
            assert_eq!(counters.dialects[kind as usize], 2, "{kind}");
        }
        peers.iter().for_each(|peer| rig.finish(peer));
        rig.pass(limits().live.linger_timeout);
        assert_eq!(rig.counters().dialects, [0; KINDS], "{kind}");
    }
}

#[test]
fn the_start_and_the_time_since_are_known() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    rig.pass(Duration::from_millis(61_500));
    let counters = rig.counters();
    assert_eq!((counters.started_s, counters.uptime_ms), (STARTED_S, 61_500));
    assert_eq!(counters.turn_time.count(), counters.turns);
}

#[test]
fn other_threads_see_the_facts_of_a_real_server() {
    let unix_time = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let before = unix_time();
    let server = Running::limited(|limits| limits.fixed.slots = 9);
    let mut client = server.client();
    client.put("/small", b"small");
    client.put("/large", &vec![b'x'; 1 << 20]);
    client.expect("GET /none", "ERR 404 ");
    wait_until("everything is counted", || server.counters().failed == 1);
    let counters = server.counters();
    assert!((before..=unix_time()).contains(&counters.started_s), "{}", counters.started_s);
    assert_eq!((counters.slots, counters.open, counters.states[Name::AwaitHeader as usize]), (9, 1, 1));
    assert_eq!(counters.turn_time.count(), counters.turns);
    let commits = counters.commit_time;
    assert_eq!(commits.count(), 2);
    assert!(commits.sum() > Duration::ZERO, "nothing is durable in no time");
    drop(client);
    server.wait_until_quiet();
    let counters = server.counters();
    assert_eq!((counters.queued, counters.log_dropped), (Queued::default(), 0));
    let mut text = String::new();
    (0..metrics::PIECES).for_each(|piece| metrics::write(&counters, piece, &mut text));
    assert!(text.contains("\nfilewharf_requests_total{kind=\"put\",outcome=\"ok\"} 2\n"), "{text}");
}

// covers: spurious-events
#[test]
fn an_event_for_a_connection_that_has_gone_does_not_reach_the_next_one_at_its_place() {
    let mut rig = Rig::new(Mode::PLAIN, limits(), Access::default());
    let gone = rig.connect();
    rig.finish(&gone);
    assert!(gone.is_gone());
    let next = rig.connect();
    rig.send_in_turn(&gone, b"");
    assert_eq!(rig.counters().stale_events, 1);
    rig.send(&next, b"PING\n");
    assert_eq!((next.heard(), rig.counters().stale_events), (b"OK 0\n".to_vec(), 1));
}

#[test]
fn bytes_of_contents_are_counted_in_both_directions_however_they_go() {
    for mode in Mode::all() {
        let mut rig = Rig::new(mode, limits(), Access::default());
        let peer = rig.connect();
        for len in [10, 60] {
            let before = rig.counters();
            rig.send(&peer, format!("PUT {len} /x\n{}", "a".repeat(len)).as_bytes());
            rig.send(&peer, b"GET /x\nGET trailer=sha256 /x\n");
            let after = rig.counters();
            let moved = (after.bytes_in - before.bytes_in, after.bytes_out - before.bytes_out);
            assert_eq!(moved, (len as u64, 2 * len as u64), "{mode:?}");
        }
    }
}

// covers: reset-in-commit
#[test]
fn an_upload_that_is_stored_after_its_connection_was_cut_counts_as_stored() {
    let mut rig = Rig::new(SLOW, limits(), Access::default());
    let peer = rig.connect();
    rig.hold_completions(true);
    rig.send(&peer, b"PUT 5 /x\nhello");
    assert_eq!(doing(&rig), [Name::Committing]);
    rig.stop_in_turn();
    assert!(peer.is_gone());
    rig.hold_completions(false);
    assert_eq!(rig.file("x").as_deref(), Some(&b"hello"[..]));
    let counters = rig.counters();
    assert_eq!((counters.requests.iter().sum::<u64>(), counters.failed), (1, 0));
}

#[test]
fn an_upload_that_breaks_off_with_its_connection_counts_as_failed_and_one_that_is_at_the_disk_does_not() {
    for (sent, stored) in [(&b"PUT 5 /x\nhel"[..], false), (b"PUT 5 /x\nhello", true)] {
        let mut rig = Rig::new(SLOW, limits(), Access::default());
        let peer = rig.connect();
        rig.hold_completions(true);
        rig.send(&peer, sent);
        rig.cut(&peer);
        rig.hold_completions(false);
        rig.send(&peer, b"");
        let counters = rig.counters();
        assert_eq!(rig.file("x").is_some(), stored);
        assert_eq!((counters.requests.iter().sum::<u64>(), counters.failed), if stored { (1, 0) } else { (0, 1) });
    }
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
