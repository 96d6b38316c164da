//! Long messages after a 64-byte length: they stream into the inbox, are never held, and are kept
//! whole or not at all. Too long for a transcript that is cut at every place.

use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::rig::{Mode, Rig};

const GREETING: &str = "13                                                              Hello Client!";

fn rig(mode: Mode, limits: Limits) -> Rig {
    let options = [("inbox".to_owned(), "kept".to_owned())];
    let listening = Listening::new(Kind::LengthPrefix, &options, 1_700_000_000).expect("good options");
    Rig::speaking(listening, mode, limits, Access::default())
}

fn message(text: &str, len: usize) -> Vec<u8> {
    format!("{len:<64}{text}").into_bytes()
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn name(number: u32) -> String {
    format!("kept/1700000000-{number:06}-127.0.0.1-50851.txt")
}

/// Sends `wire` in pieces of `cut` bytes, lets a silence pass, and says what was heard and kept.
fn converse(mode: Mode, cut: usize, limits: &Limits, wire: &[u8]) -> (String, Vec<Option<Vec<u8>>>) {
    let mut rig = rig(mode, limits.clone());
    let peer = rig.connect();
    wire.chunks(cut).for_each(|piece| rig.send(&peer, piece));
    rig.pass(Duration::from_millis(250));
    rig.send(&peer, b"");
    rig.finish(&peer);
    rig.pass(Duration::from_secs(20));
    assert!(peer.is_gone());
    assert_eq!((rig.open_files(), rig.counters().slots_used), (0, 0));
    let kept = (1..=rig.names().len() as u32 + 1).map(|number| rig.file(&name(number))).collect();
    (String::from_utf8(peer.heard()).expect("text"), kept)
}

fn every_way(limits: &Limits, wire: &[u8], heard: &str, kept: &[&str]) {
    for mode in Mode::all() {
        for cut in [wire.len(), 1000, 67, 64, 7] {
            let (said, files) = converse(mode, cut, limits, wire);
            assert_eq!(said, heard, "{mode:?}, pieces of {cut}");
            let files: Vec<_> = files.into_iter().flatten().collect();
            assert!(
                files.iter().map(Vec::as_slice).eq(kept.iter().map(|text| text.as_bytes())),
                "{mode:?}, pieces of {cut}: {:?}",
                files.iter().map(Vec::len).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_long_message_streams_into_the_inbox() {
    let long = format!("{}Hello Server!{}", "x".repeat(3000), "y".repeat(3000));
    let wire = [message(&long, long.len()), message("next", 4)].concat();
    every_way(&Limits::default(), &wire, GREETING, &[&long, "next"]);
}

#[test]
fn a_long_message_may_count_its_characters() {
    for text in ["ü".repeat(5000), format!("{}{}", "€".repeat(4200), "z".repeat(77))] {
        for len in [chars(&text), text.len()] {
            let wire = [message(&text, len), message("next", 4)].concat();
            every_way(&Limits::default(), &wire, "", &[&text, "next"]);
        }
    }
}

#[test]
fn a_message_that_becomes_too_long_to_hold_continues_in_a_file() {
    let text = format!("Hello Server!{}", "ü".repeat(4000));
    for len in [chars(&text), text.len()] {
        let wire = [message(&text, len), message("next", 4)].concat();
        every_way(&Limits::default(), &wire, GREETING, &[&text, "next"]);
    }
}

#[test]
fn a_silence_ends_a_long_message_in_doubt() {
    // Its missing character might begin a header.
    let text = format!("{}ü7", "x".repeat(5000));
    every_way(&Limits::default(), &message(&text, chars(&text)), "", &[&text]);
    every_way(&Limits::default(), &message(&text, text.len()), "", &[&text]);
    let text = format!("{}ü", "x".repeat(5000));
    every_way(&Limits::default(), &message(&text, text.len()), "", &[&text]);
}

#[test]
fn a_message_that_cannot_be_kept_is_read_to_its_end() {
    let limits = Limits::default().with(|l| l.live.request_bytes_max = 4500);
    let long = "Hello Server!".repeat(1000);
    let wire = [message(&long, long.len()), message("Hello Server!", 13)].concat();
    let heard = format!("{}{GREETING}", String::from_utf8(message("ERROR too large", 15)).expect("text"));
    every_way(&limits, &wire, &heard, &["Hello Server!"]);
}

// covers: stream-ends-in-upload
#[test]
fn a_long_message_that_is_cut_off_is_not_kept() {
    let wire = message(&"x".repeat(5000), 5001);
    let error = "ERROR the connection ended in the middle of a message";
    let heard = String::from_utf8(message(error, error.len())).expect("text");
    every_way(&Limits::default(), &wire, &heard, &[]);
}
