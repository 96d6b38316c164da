//! What takes more than one connection of the `name-choice` dialect, or shows only in the
//! counters.

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::platform::Counters;
use std::time::Duration;

use support::rig::{Mode, Rig};

fn rig(mode: Mode) -> Rig {
    let listening = Listening::new(Kind::NameChoice, &[], 1_700_000_000).expect("good options");
    Rig::speaking(listening, mode, Limits::default(), Access::default())
}

fn answered(counters: &Counters, word: &str) -> u64 {
    let place = Counters::REQUESTS.iter().position(|known| *known == word).expect("a kind of request");
    counters.requests[place]
}

/// One client with a count; what it heard.
fn ask(rig: &mut Rig, request: &[u8], content: &[u8]) -> Vec<u8> {
    let peer = rig.connect();
    rig.send(&peer, request);
    rig.pass(Duration::from_millis(100));
    rig.send(&peer, content);
    rig.finish(&peer);
    assert!(peer.is_gone(), "{}", request.escape_ascii());
    peer.heard()
}

#[test]
fn a_request_that_ends_with_its_connection_is_counted() {
    for mode in Mode::all() {
        let mut rig = rig(mode);
        assert_eq!(ask(&mut rig, b"2c.txt:PUT", b"hello"), b"Done");
        assert_eq!(ask(&mut rig, b"2c.txt:GET", b""), b"Donehello");
        assert_eq!(ask(&mut rig, b"c.txt:GET", b""), b"hello");
        let counters = rig.counters();
        assert_eq!((answered(&counters, "put"), answered(&counters, "get"), counters.failed), (1, 2, 0), "{mode:?}");
        assert_eq!(ask(&mut rig, b"1d.txt:GET", b""), b"DoneFile not found. Try again.");
        assert_eq!(ask(&mut rig, b"1c.txt:PUT", b"File not found. Try again."), b"Done");
        assert_eq!(ask(&mut rig, b"1c.txt:Put", b""), b"Done");
        let counters = rig.counters();
        assert_eq!((answered(&counters, "put"), answered(&counters, "get"), counters.failed), (1, 2, 3), "{mode:?}");
        assert_eq!(rig.file("c.txt").as_deref(), Some(&b"hello"[..]));
        assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0), "{mode:?}");
    }
}

#[test]
fn twelve_clients_of_one_run_store_twelve_files() {
    let mut rig = rig(Mode::PLAIN);
    let first = rig.connect();
    rig.send(&first, b"12");
    rig.pass(Duration::from_millis(50));
    rig.send(&first, b"0.txt:PUT");
    rig.send(&first, b"0");
    rig.finish(&first);
    for n in 1..12 {
        assert_eq!(ask(&mut rig, format!("12{n}.txt:put").as_bytes(), n.to_string().as_bytes()), b"Done");
    }
    for n in 0..12 {
        assert_eq!(rig.file(&format!("{n}.txt")), Some(n.to_string().into_bytes()));
    }
    assert_eq!(rig.names().len(), 12);
}

#[test]
fn a_silent_upload_keeps_no_client_waiting() {
    let mut rig = rig(Mode::PLAIN);
    let (silent, half) = (rig.connect(), rig.connect());
    rig.send(&silent, b"3c.txt:PUT");
    rig.send(&half, b"3c.t");
    assert_eq!(ask(&mut rig, b"3c.txt:PUT", b"hello"), b"Done");
    assert!(!silent.is_closed() && !half.is_closed());
    rig.pass(Duration::from_secs(120));
    // The server has closed its half by then; and all of it when the client has not closed either.
    rig.pass(Duration::from_secs(5));
    assert!(silent.is_reset() && half.is_gone());
    assert_eq!(rig.file("c.txt").as_deref(), Some(&b"hello"[..]));
    assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
}
