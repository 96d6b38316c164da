//! Golden transcripts: whole conversations, with the client's bytes arriving whole, byte by byte,
//! at every cut, and at random cuts, on every mode of the platform in memory. What the client
//! hears must not depend on any of that.

use filewharf::config::{Access, Limits};

use crate::rig::{Mode, Rig};

/// One conversation.
struct Transcript {
    title: String,
    sends: Vec<u8>,
    eof: bool,
    hears: Vec<u8>,
    closes: bool,
}

impl Transcript {
    /// One page of a listing holds as much as a slot does: with seven bytes that is one name.
    fn lists(&self) -> bool {
        self.sends.windows(5).any(|window| window == b"LIST ")
    }
}

fn transcripts(text: &str) -> Vec<Transcript> {
    let mut all: Vec<Transcript> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("=== ") {
            let title = title.to_owned();
            all.push(Transcript { title, sends: Vec::new(), eof: false, hears: Vec::new(), closes: false });
        } else if let Some(current) = all.last_mut() {
            match line.split_at_checked(2) {
                Some(("> ", "EOF")) => current.eof = true,
                Some(("< ", "EOF")) => current.closes = true,
                Some(("> ", text)) => current.sends.extend(unescape(text)),
                Some(("< ", text)) => current.hears.extend(unescape(text)),
                None if line.is_empty() => {}
                _ => panic!("line {}: neither sent nor heard: {line}", number + 1),
            }
        }
    }
    all
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (kind, tail) = rest.split_first().expect("a backslash escapes something");
        rest = tail;
        bytes.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let (hex, tail) = rest.split_at(2);
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(hex).expect("hex"), 16).expect("hex")
            }
            other => panic!("unknown escape {}", *other as char),
        });
    }
    bytes
}

/// Small enough that a body of 64 bytes goes through a staging file, chunk by chunk.
fn limits() -> Limits {
    Limits {
        chunk_bytes: 16,
        chunks_per_slot: 64,
        request_bytes_max: 1000,
        discard_bytes_max: 100,
        ..Limits::default()
    }
}

fn run(transcript: &Transcript, mode: Mode, limits: &Limits, cuts: &[usize]) {
    let mut rig = Rig::new(mode, limits.clone(), Access::default());
    let peer = rig.connect();
    let mut from = 0;
    for to in cuts.iter().copied().chain([transcript.sends.len()]) {
        rig.send(&peer, &transcript.sends[from..to]);
        from = to;
    }
    if transcript.eof {
        rig.finish(&peer);
    }
    let heard = peer.heard();
    assert!(
        heard == transcript.hears,
        "{} ({mode:?}, cut at {cuts:?})\n heard: {}\nwanted: {}",
        transcript.title,
        heard.escape_ascii(),
        transcript.hears.escape_ascii()
    );
    assert_eq!(peer.is_closed(), transcript.closes, "{} ({mode:?}, cut at {cuts:?}): closed?", transcript.title);
    assert_eq!(rig.open_files(), 0, "{} ({mode:?}, cut at {cuts:?}): a file stays open", transcript.title);
    rig.finish(&peer);
    assert!(peer.is_gone(), "{} ({mode:?}, cut at {cuts:?}): stays after the client has gone", transcript.title);
    assert_eq!(rig.counters().slots_used, 0, "{}: a slot leaks", transcript.title);
}

/// The same, when every piece arrives one turn after the one before, however busy the server is.
fn run_hurried(transcript: &Transcript, mode: Mode, limits: &Limits, cuts: &[usize]) {
    let mut rig = Rig::new(mode, limits.clone(), Access::default());
    let peer = rig.connect();
    let ends: Vec<usize> = cuts.iter().copied().chain([transcript.sends.len()]).collect();
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let pieces = starts.zip(ends).map(|(from, to)| &transcript.sends[from..to]);
    rig.send_hurried(&peer, pieces, transcript.eof);
    let heard = peer.heard();
    assert!(
        heard == transcript.hears,
        "{} ({mode:?}, hurried, cut at {cuts:?})\n heard: {}\nwanted: {}",
        transcript.title,
        heard.escape_ascii(),
        transcript.hears.escape_ascii()
    );
    assert_eq!(peer.is_closed(), transcript.closes, "{} ({mode:?}, hurried, cut at {cuts:?})", transcript.title);
}

#[test]
fn every_conversation_goes_as_written_when_it_arrives_while_the_server_is_busy() {
    for transcript in line() {
        let len = transcript.sends.len();
        for mode in Mode::all() {
            run_hurried(&transcript, mode, &limits(), &(1..len).collect::<Vec<_>>());
        }
        for cut in 1..len {
            for mode in [Mode::PLAIN, Mode { deferred: true, held: true, lags: true, window: usize::MAX }] {
                run_hurried(&transcript, mode, &limits(), &[cut]);
            }
        }
    }
}

fn line() -> Vec<Transcript> {
    transcripts(include_str!("../golden/line.txt"))
}

#[test]
fn every_conversation_goes_as_written_when_it_arrives_whole() {
    for transcript in line() {
        for mode in Mode::all() {
            run(&transcript, mode, &limits(), &[]);
        }
    }
}

#[test]
fn every_conversation_goes_as_written_byte_by_byte() {
    for transcript in line() {
        let cuts: Vec<usize> = (1..transcript.sends.len()).collect();
        for mode in Mode::all() {
            run(&transcript, mode, &limits(), &cuts);
        }
    }
}

#[test]
fn every_conversation_goes_as_written_at_every_cut() {
    for transcript in line() {
        for cut in 1..transcript.sends.len() {
            for mode in [Mode::PLAIN, Mode { deferred: true, held: true, lags: true, window: 3 }] {
                run(&transcript, mode, &limits(), &[cut]);
            }
        }
    }
}

#[test]
fn every_conversation_goes_as_written_at_random_cuts() {
    let mut seed = 1_u64;
    for transcript in line() {
        for mode in Mode::all() {
            let mut cuts: Vec<usize> =
                (0..5).map(|_| random(&mut seed) as usize % transcript.sends.len().max(1)).collect();
            cuts.sort_unstable();
            run(&transcript, mode, &limits(), &cuts);
        }
    }
}

#[test]
fn every_conversation_goes_as_written_with_the_smallest_slots() {
    let limits = Limits { chunk_bytes: 7, chunks_per_slot: 2, ..limits() };
    for transcript in line().iter().filter(|transcript| !transcript.lists()) {
        for mode in Mode::all() {
            run(transcript, mode, &limits, &[]);
        }
    }
}

#[test]
fn every_conversation_goes_as_written_on_the_smallest_budget() {
    let limits = Limits {
        slots: 1,
        chunk_bytes: 7,
        chunks_per_slot: 1,
        read_buffer_bytes: 1,
        reply_bytes_max: 1,
        turn_bytes: 1,
        turn_bytes_min: 1,
        turn_bytes_max: 1,
        turn_calls: 1,
        ..limits()
    };
    for transcript in line().iter().filter(|transcript| !transcript.lists()) {
        for mode in Mode::all() {
            run(transcript, mode, &limits, &[]);
        }
    }
}

/// A generator of our own, so that a run is the same for ever (xorshift64*).
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
