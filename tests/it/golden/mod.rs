//! Golden transcripts: whole conversations, with the client's bytes arriving whole, byte by byte,
//! at every cut, and at random cuts, on every mode of the platform in memory. What the client
//! hears, and what is stored, must not depend on any of that. And on the real platform ([`conformance`]),
//! because memory can lie. "Every" cut is every one where `EVERY_CUT=1` asks for it; else as many as
//! [`CUTS`] says, since a conversation is held once for each.
//!
//! The files in `tests/golden` are written so (escapes, in names too: \n \r \t \0 \\ \xNN). What stands above
//! the first title holds for every conversation of the file:
//!
//! ```text
//! === title                begins a new server
//! @ menu?list=choose       the dialect of the listener
//! @ packets                every `<` line must have left in one send of its own
//! @ every cut              cut everywhere, however many transcripts of HTTP there are
//! @ secret WORD            this is asked of every client
//! @ read-only              no change is taken
//! @ smuggled               [`SMUGGLED`] follows the client's last piece; the server closes, and stores neither that
//!                          nor /f
//! @ not smuggled           takes this back
//! = name content           a file that is there before
//! > bytes                  the client sends; lines in a row are one piece, which may be cut anywhere
//! > EOF                    the client closes its half (it sends nothing more)
//! < bytes                  the client hears
//! < EOF                    the server closes
//! < RESET                  the server closes with a reset
//! ~ 250                    this many milliseconds pass in silence
//! | wait                   what was heard so far must have been heard before the client continues
//! | drain                  the server gets the signal to end
//! | again                  what was heard so far must have been heard; the client comes again, and its old
//!                          connection stays as it is
//! ? name content           a file that must be there at the end
//! ? name -                 a file that must not be there at the end
//! ```
//!
//! HTTP has shorthands for what it says at length: [`shorthand`].

mod conformance;
mod shorthand;
pub mod world;

use std::fs;
use std::path::Path;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use support::client::random;
use support::rig::{Mode, Rig};
use world::{InMemory, World};

/// One conversation.
#[derive(Clone, Default)]
struct Transcript {
    title: String,
    speaks: String,
    access: Access,
    packets: bool,
    every_cut: bool,
    smuggled: bool,
    before: Vec<(String, Vec<u8>)>,
    steps: Vec<Step>,
    after: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Finish,
    Hear(Vec<u8>),
    Closed,
    Reset,
    Pass(Duration),
    Wait,
    Drain,
    Again,
}

/// HTTP's conversations are long, and there are many: each is cut at this many places.
const CUTS_OF_HTTP: usize = 12;
/// At how many places, evenly, all others are cut.
const CUTS: usize = 16;

/// A request that must never be answered: the bytes before it can be read in two ways.
const SMUGGLED: &[u8] = b"PUT /hidden HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nh";

impl Transcript {
    /// Writes `@ smuggled` out.
    fn completed(mut self) -> Self {
        if self.smuggled {
            let last =
                self.steps.iter_mut().rev().find_map(|step| if let Step::Send(b) = step { Some(b) } else { None });
            last.expect("the client sends something").extend(SMUGGLED);
            self.steps.push(Step::Closed);
            self.after.extend([("f".to_owned(), None), ("hidden".to_owned(), None)]);
        }
        self
    }

    /// One page of a listing holds as much as a slot does: with seven bytes that is one name.
    fn lists(&self) -> bool {
        let shows = |words: &[u8]| {
            self.steps
                .iter()
                .any(|step| matches!(step, Step::Send(bytes) if bytes.windows(words.len()).any(|w| w == words)))
        };
        shows(b"LIST ") || shows(b"Accept: application/")
    }

    fn speaks_http(&self) -> bool {
        self.speaks.starts_with("http") || self.speaks.starts_with("auto")
    }

    /// Another number for every title, and the same one in every run.
    fn seed(&self) -> u64 {
        self.title.bytes().fold(1, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()))
    }

    /// In how many ways the world behaves: in all, unless there are too many like it.
    fn modes(&self) -> impl Iterator<Item = Mode> {
        let (first, step) = if self.every_cut || !self.speaks_http() { (0, 1) } else { (self.seed() % 5, 5) };
        Mode::all().skip(first as usize).step_by(step)
    }

    /// Where to cut it in two.
    fn places(&self) -> Vec<usize> {
        let len = self.sent_len();
        if self.every_cut || !self.speaks_http() {
            let step = if std::env::var_os("EVERY_CUT").is_some() { 1 } else { len.div_ceil(CUTS).max(1) };
            return (1 + self.seed() as usize % step..len).step_by(step).collect();
        }
        let mut seed = self.seed();
        let mut places: Vec<usize> =
            (0..CUTS_OF_HTTP).map(|_| (random(&mut seed) % len.max(1) as u64) as usize).filter(|at| *at > 0).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// How many bytes the client sends.
    fn sent_len(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Send(bytes) = step { bytes.len() } else { 0 }).sum()
    }

    fn listening(&self) -> Listening {
        let (kind, query) = self.speaks.split_once('?').unwrap_or((&self.speaks, ""));
        let options: Vec<(String, String)> = (query.split('&').filter(|option| !option.is_empty()))
            .map(|option| option.split_once('=').unwrap_or((option, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let kind: Kind = kind.parse().expect("a dialect");
        Listening::new(kind, &options, 1_700_000_000).expect("good options")
    }
}

fn transcripts(file: &Path, text: &str) -> Vec<Transcript> {
    let mut common = Transcript::default();
    let mut all: Vec<Transcript> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("=== ") {
            all.push(Transcript { title: title.to_owned(), ..common.clone() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let current = all.last_mut().unwrap_or(&mut common);
            let read = line.split_at_checked(2).and_then(|(kind, rest)| read_line(current, kind, rest));
            read.unwrap_or_else(|| panic!("{}, line {}: {line}", file.display(), number + 1));
        }
    }
    all.into_iter().map(Transcript::completed).collect()
}

fn read_line(current: &mut Transcript, kind: &str, rest: &str) -> Option<()> {
    let named = || {
        let (name, content) = rest.split_once(' ').unwrap_or((rest, ""));
        (String::from_utf8(unescape(name)).expect("a name in UTF-8"), content)
    };
    match (kind, rest) {
        ("@ ", "packets") => current.packets = true,
        ("@ ", "every cut") => current.every_cut = true,
        ("@ ", "smuggled") => current.smuggled = true,
        ("@ ", "not smuggled") => current.smuggled = false,
        ("@ ", "read-only") => current.access = Access::new(None, true),
        ("@ ", secret) if secret.starts_with("secret ") => {
            current.access = Access::new(Some(unescape(&secret[7..])), false);
        }
        ("@ ", speaks) => current.speaks = speaks.to_owned(),
        ("= ", _) => current.before.push((named().0, unescape(named().1))),
        ("? ", _) if named().1 == "-" => current.after.push((named().0, None)),
        ("? ", _) => current.after.push((named().0, Some(unescape(named().1)))),
        ("> ", "EOF") => current.steps.push(Step::Finish),
        ("> ", text) => match current.steps.last_mut() {
            Some(Step::Send(bytes)) => bytes.extend(unescape(text)),
            _ => current.steps.push(Step::Send(unescape(text))),
        },
        ("< ", "EOF") => current.steps.push(Step::Closed),
        ("< ", "RESET") => current.steps.push(Step::Reset),
        ("< ", text) if current.speaks_http() => current.steps.push(Step::Hear(unescape(&shorthand::expand(text)))),
        ("< ", text) => current.steps.push(Step::Hear(unescape(text))),
        ("~ ", ms) => current.steps.push(Step::Pass(Duration::from_millis(ms.parse().ok()?))),
        ("| ", "wait") => current.steps.push(Step::Wait),
        ("| ", "drain") => current.steps.push(Step::Drain),
        ("| ", "again") => current.steps.push(Step::Again),
        _ => return None,
    }
    Some(())
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
    Limits::default().with(|l| {
        l.fixed.chunk_bytes = 16;
        l.fixed.chunks_per_slot = 64;
        l.live.request_bytes_max = 1000;
        l.live.discard_bytes_max = 100;
        l.fixed.message_bytes_max = 4096;
    })
}

/// Runs a conversation, the client's bytes cut at `cuts` (offsets into all it sends).
fn run(transcript: &Transcript, mode: Mode, limits: &Limits, cuts: &[usize]) {
    let what = format!("{} ({mode:?}, cut at {cuts:?})", transcript.title);
    let rig = Rig::speaking(transcript.listening(), mode, limits.clone(), transcript.access.clone());
    converse(&what, transcript, &mut InMemory::new(rig, mode), cuts);
}

/// The conversation itself, wherever it is held.
fn converse(what: &str, transcript: &Transcript, world: &mut impl World, cuts: &[usize]) {
    for (name, content) in &transcript.before {
        world.place(name, content);
    }
    world.connect();
    world.send(b"");
    let (mut sent, mut hears) = (0, Vec::new());
    for step in &transcript.steps {
        match step {
            Step::Send(bytes) => {
                send_cut(world, bytes, sent, cuts);
                sent += bytes.len();
            }
            Step::Finish => world.finish(),
            Step::Hear(bytes) => hears.push(bytes.clone()),
            Step::Pass(time) => {
                world.pass(*time);
                world.send(b"");
            }
            Step::Wait => check_heard(what, &world.heard(), &hears),
            Step::Drain => world.drain(),
            Step::Again => {
                check_heard(what, &world.heard(), &hears);
                hears.clear();
                world.connect();
                world.send(b"");
            }
            Step::Closed => assert!(world.is_closed() && !world.is_reset(), "{what}: stays open, or is reset"),
            Step::Reset => assert!(world.is_reset(), "{what}: is not reset"),
        }
    }
    check_heard(what, &world.heard(), &hears);
    if transcript.packets
        && let Some(packets) = world.packets()
    {
        assert!(packets == hears, "{what}\npackets: {packets:?}\n wanted: {hears:?}");
    }
    let last = transcript.steps.iter().rposition(|step| matches!(step, Step::Again)).unwrap_or(0);
    let closes = transcript.steps[last..].iter().any(|step| matches!(step, Step::Closed | Step::Reset));
    assert_eq!(world.is_closed(), closes, "{what}: closed?");
    world.finish();
    // Whatever silence the dialect waits for is over by then.
    world.pass(Duration::from_secs(20));
    assert!(world.is_gone(), "{what}: stays after the client has gone");
    assert_eq!(world.left_open(), 0, "{what}: a file stays open");
    assert_eq!(world.counters().slots_used, 0, "{what}: a slot leaks");
    check_stored(what, transcript, |name| world.file(name));
}

/// Sends `bytes`, which are those from `from` on of everything the client sends.
fn send_cut(world: &mut impl World, bytes: &[u8], from: usize, cuts: &[usize]) {
    let mut at = 0;
    let inside = cuts.iter().filter_map(|cut| cut.checked_sub(from)).filter(|cut| (1..bytes.len()).contains(cut));
    for cut in inside.chain([bytes.len()]) {
        world.send(&bytes[at..cut]);
        at = cut;
    }
}

fn check_heard(what: &str, heard: &[u8], hears: &[Vec<u8>]) {
    let wanted = hears.concat();
    assert!(heard == wanted, "{what}\n heard: {}\nwanted: {}", heard.escape_ascii(), wanted.escape_ascii());
}

fn check_stored(what: &str, transcript: &Transcript, mut stored: impl FnMut(&str) -> Option<Vec<u8>>) {
    for (name, wanted) in &transcript.after {
        let stored = stored(name);
        let shown = stored.as_ref().map(|bytes| bytes.escape_ascii().to_string());
        assert!(stored == *wanted, "{what}: {name} holds {shown:?}");
    }
}

/// The same, when every piece arrives one turn after the one before, however busy the server is.
/// Only where the client waits for nothing and no silence means anything.
fn run_hurried(transcript: &Transcript, mode: Mode, limits: &Limits, cuts: &[usize]) {
    let what = format!("{} ({mode:?}, hurried, cut at {cuts:?})", transcript.title);
    let mut rig = Rig::speaking(transcript.listening(), mode, limits.clone(), transcript.access.clone());
    for (name, content) in &transcript.before {
        rig.place(name, content);
    }
    let peer = rig.connect();
    let (mut sends, mut hears) = (Vec::new(), Vec::new());
    for step in &transcript.steps {
        match step {
            Step::Send(bytes) => sends.extend_from_slice(bytes),
            Step::Hear(bytes) => hears.push(bytes.clone()),
            _ => {}
        }
    }
    let ends: Vec<usize> = cuts.iter().copied().chain([sends.len()]).collect();
    let pieces = [0].iter().chain(cuts).zip(ends).map(|(from, to)| &sends[*from..to]);
    rig.send_hurried(&peer, pieces, transcript.steps.iter().any(|step| matches!(step, Step::Finish)));
    check_heard(&what, &peer.heard(), &hears);
    check_stored(&what, transcript, |name| rig.file(name));
}

#[test]
fn every_conversation_goes_as_written_when_it_arrives_while_the_server_is_busy() {
    let waits = |transcript: &Transcript| {
        transcript.steps.iter().any(|s| matches!(s, Step::Pass(_) | Step::Wait | Step::Drain | Step::Again))
    };
    for transcript in all().iter().filter(|transcript| !waits(transcript)) {
        let len = transcript.sent_len();
        for mode in transcript.modes() {
            run_hurried(transcript, mode, &limits(), &(1..len).collect::<Vec<_>>());
        }
        for cut in transcript.places() {
            for mode in [Mode::PLAIN, Mode { deferred: true, held: true, lags: true, window: usize::MAX }] {
                run_hurried(transcript, mode, &limits(), &[cut]);
            }
        }
    }
}

/// Every dialect's conversations.
fn all() -> Vec<Transcript> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(dir).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort_unstable();
    let all = files.iter().flat_map(|file| transcripts(file, &fs::read_to_string(file).expect("text")));
    let all: Vec<Transcript> = all.collect();
    assert!(all.len() > 100, "only {} conversations are left", all.len());
    all
}

#[test]
fn every_conversation_goes_as_written_when_it_arrives_whole() {
    for transcript in all() {
        for mode in Mode::all() {
            run(&transcript, mode, &limits(), &[]);
        }
    }
}

// covers: bytes-cut-anywhere
#[test]
fn every_conversation_goes_as_written_byte_by_byte() {
    for transcript in all() {
        let cuts: Vec<usize> = (1..transcript.sent_len()).collect();
        for mode in transcript.modes() {
            run(&transcript, mode, &limits(), &cuts);
        }
    }
}

// covers: bytes-cut-anywhere
#[test]
fn every_conversation_goes_as_written_at_every_cut() {
    for transcript in all() {
        for cut in transcript.places() {
            for mode in [Mode::PLAIN, Mode { deferred: true, held: true, lags: true, window: 3 }] {
                run(&transcript, mode, &limits(), &[cut]);
            }
        }
    }
}

#[test]
fn every_conversation_goes_as_written_at_random_cuts() {
    let mut seed = 1_u64;
    for transcript in all() {
        let len = transcript.sent_len().max(1) as u64;
        for mode in transcript.modes() {
            let mut cuts: Vec<usize> = (0..5).map(|_| (random(&mut seed) % len) as usize).collect();
            cuts.sort_unstable();
            cuts.dedup();
            run(&transcript, mode, &limits(), &cuts);
        }
    }
}

#[test]
fn every_conversation_goes_as_written_with_the_smallest_slots() {
    let limits = limits().with(|l| {
        l.fixed.chunk_bytes = 7;
        l.fixed.chunks_per_slot = 2;
    });
    for transcript in all().iter().filter(|transcript| !transcript.lists()) {
        for mode in transcript.modes() {
            run(transcript, mode, &limits, &[]);
        }
    }
}

/// With so short a head nearly every message is gathered on a slot.
#[test]
fn every_message_is_gathered_as_written() {
    let head_timeout = limits().live.head_timeout;
    let limits = limits().with(|l| {
        l.fixed.head_len_max = 16;
        l.fixed.slots = 1;
        l.live.stall_timeout = head_timeout;
    });
    for transcript in all().iter().filter(|transcript| transcript.speaks.starts_with("pickle")) {
        let cuts: Vec<usize> = (1..transcript.sent_len()).collect();
        for mode in transcript.modes() {
            run(transcript, mode, &limits, &[]);
            run(transcript, mode, &limits, &cuts);
        }
    }
}

// covers: transfers-at-full-speed budget-spent
#[test]
fn every_conversation_goes_as_written_on_the_smallest_budget() {
    let limits = limits().with(|l| {
        l.fixed.slots = 1;
        l.fixed.chunk_bytes = 7;
        l.fixed.chunks_per_slot = 1;
        l.fixed.read_buffer_bytes = 1;
        l.fixed.reply_bytes_max = 1;
        l.fixed.turn_bytes = 1;
        l.fixed.turn_bytes_shared = 1;
        l.fixed.turn_bytes_min = 1;
        l.fixed.turn_bytes_max = 1;
        l.fixed.turn_calls = 1;
    });
    // With one byte to a turn nothing leaves in one packet.
    for transcript in all().iter().filter(|transcript| !transcript.lists() && !transcript.packets) {
        let comes_again = transcript.steps.iter().any(|step| matches!(step, Step::Again));
        // The old connection reads nothing any more: its refusal, longer than `reply_bytes_max`, would keep the only slot.
        for mode in transcript.modes().filter(|mode| !comes_again || mode.window == usize::MAX) {
            run(transcript, mode, &limits, &[]);
        }
    }
}
