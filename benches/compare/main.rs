//! Compares filewharf, in HTTP and in its own protocol, with the file servers that are installed and
//! with a bare loop that shows the lower bound: CPU time, memory, waiting times and fairness for the same
//! work over loopback, on the same file system, in alternating rounds.
//!
//! `cargo bench --bench compare [-- WORDS]` does the works that have one of the words in their name,
//! prints tables, and writes `table.md`, `tls.md` and `plot.svg` to `target/compare`; `-- --keep` does all of
//! them and puts these where `benches/README.md` shows them. `-- --short` does one round of a twentieth of each work,
//! to see that all of them still run. The server is pinned to the first core, the client
//! to the second, congestion control to cubic; no server syncs. Only the ratios of one run
//! mean anything; their spread over the rounds is printed. A server that needs too long for a round is
//! killed and left out of the work; the program fails if that is one of our own or the bare loop.
//!
//! Files are served from the directory of builds or from `FILEWHARF_CHECK_DIR`; uploads are measured a
//! second time in memory (`/dev/shm`). `FILEWHARF_OTHER=PROGRAM` compares with another build alone, for
//! what a change costs. `FILEWHARF_ROUNDS` says how often (5). What is not installed or
//! cannot be done is left out, with a word.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures with the clock and reports to people"
)]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::AtomicBool;

mod cold;
mod extent;
mod ftp;
mod idle;
mod limit;
mod mix;
mod place;
mod results;
mod rounds;
mod slow;
mod tls;
mod works;

use extent::Extent;
use place::{FOLDER, Place};
use support::Wire;
use support::peers::{Congestion, Missing, Peer, Role, interrupted};
use support::table::{self, Measured};
use works::{Kind, WORKS, Work};

/// Each with the names of the same server of another build, which is started twice.
const OWN: [(&str, Wire, [&str; 2]); 2] = [
    ("filewharf-http", Wire::Http, ["other-http", "other-http-again"]),
    ("filewharf-line", Wire::Line, ["other-line", "other-line-again"]),
];
/// Names the program of another build, to be compared with instead of all others. Its second start shows how far
/// two starts of one program differ, which is no difference of the builds.
const OTHER_BUILD: &str = "FILEWHARF_OTHER";
/// With a line in the log for every request; only for small requests, where that can be seen.
const LOGGING: &str = "filewharf-log";
const LIMIT: &str = "bare-loop";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/seed.py");
/// The argument with which `benches/README.md` gets the results.
const KEEP: &str = "--keep";
/// The argument for one round of a part of each work.
const SHORT: &str = "--short";

/// Every server that can be had for a work, started on the first core; each missing one is reported once.
fn start(of: &Work, place: &Place, reported: &mut Vec<String>) -> Vec<Peer> {
    let (root, work) = (&place.root, &place.work);
    let binary = env!("CARGO_BIN_EXE_filewharf");
    if let Kind::Tls(tls) = of.kind {
        let (peers, missing) = tls.start(place, binary, std::env::var(OTHER_BUILD).ok());
        missing.into_iter().for_each(|Missing(why)| report(why, reported));
        return peers;
    }
    let own = |name, wire, binary: &str| Peer::filewharf(name, wire, binary, &place.own(name));
    let mut peers: Vec<Peer> = OWN.iter().map(|(name, wire, _)| own(name, *wire, binary)).collect();
    if let Ok(other) = std::env::var(OTHER_BUILD) {
        for (at, (_, wire, [first, again])) in OWN.into_iter().enumerate() {
            peers[at].baseline = Some(first);
            let (mut reference, mut repeated) = (own(first, wire, &other), own(again, wire, &other));
            reference.role = Role::Peer;
            repeated.baseline = Some(first);
            peers.extend([reference, repeated]);
        }
        return peers;
    }
    peers.push(Peer::logging(LOGGING, binary, &place.own(LOGGING), work));
    let others = [
        Peer::lighttpd(root, work),
        Peer::nginx(root, work),
        Peer::vsftpd(root, FOLDER, work),
        Peer::python(SCRIPT, root),
    ];
    for other in others {
        match other {
            Ok(peer) => peers.push(peer),
            Err(Missing(why)) => report(why, reported),
        }
    }
    let program = std::env::current_exe().expect("this program has a file");
    peers.push(Peer::limit(LIMIT, &program, limit::ARGUMENT, root));
    peers
}

/// Says once why a server is missing.
fn report(why: String, reported: &mut Vec<String>) {
    if !reported.contains(&why) {
        println!("compare: {why}");
        reported.push(why);
    }
}

/// What is chosen: the works, each with the places where it is done and its name in the tables.
fn chosen<'a>(words: &[String], places: &'a [Place]) -> Vec<(&'static Work, &'a Place, String)> {
    let all = WORKS.iter().flat_map(|work| {
        let places = places.iter().enumerate().filter(|(at, _)| *at == 0 || work.only_uploads());
        places.map(move |(at, place)| match at {
            0 => (work, place, work.name.to_owned()),
            _ => (work, place, format!("{}, {}", work.name, place.kind)),
        })
    });
    all.filter(|(_, _, title)| words.is_empty() || words.iter().any(|word| title.contains(word))).collect()
}

/// Does what is chosen and prints its tables; `Err` has what was done before an interruption.
fn compare(
    words: &[String],
    rounds: usize,
    extent: Extent,
    interrupted: &AtomicBool,
) -> Result<Vec<Measured>, Vec<Measured>> {
    let _congestion = Congestion::cubic();
    let first = Place::first();
    let in_memory = Place::in_memory(&first);
    let places: Vec<Place> = [first].into_iter().chain(in_memory).collect();
    let mut reported = Vec::new();
    let mut all = Vec::new();
    for (work, place, title) in chosen(words, &places) {
        if let Some(why) = work.forbidden(&place.root) {
            println!("compare: {title} left out: {why}");
            continue;
        }
        let peers = start(work, place, &mut reported);
        let Some(measured) = rounds::measure(work, title, rounds, extent, &peers, interrupted) else {
            println!("compare: interrupted");
            return Err(all);
        };
        println!("{}", table::text(&measured));
        all.push(measured);
    }
    println!("slower than the best peer:\n{}", table::slower(&all));
    Ok(all)
}

/// Our own servers and the bare loop, which may not fail in any work. Another file server may: thousands of slow
/// readers are more than some can serve.
fn failed(all: &[Measured]) -> bool {
    let rows = all.iter().flat_map(|measured| &measured.rows);
    rows.filter(|row| row.role != Role::Peer).any(|row| row.rounds.is_err())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, root, ..] = &arguments[..]
        && argument == limit::ARGUMENT
    {
        limit::serve(Path::new(root));
        return ExitCode::SUCCESS;
    }
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if !has("--bench") {
        return ExitCode::SUCCESS; // `cargo test` starts benches too
    }
    let (keep, short) = (has(KEEP), has(SHORT));
    let words: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect();
    if keep && (short || !words.is_empty()) {
        println!("compare: only a whole run of all works can be kept");
        return ExitCode::FAILURE;
    }
    let rounds = std::env::var("FILEWHARF_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let extent = if short { Extent::SHORT } else { Extent::WHOLE };
    let pinned =
        Command::new("taskset").args(["-pc", "1", &std::process::id().to_string()]).stdout(Stdio::null()).status();
    if !pinned.is_ok_and(|status| status.success()) {
        println!("compare: cannot pin to a core, so nothing is measured");
        return ExitCode::SUCCESS;
    }
    let compared = compare(&words, rounds, extent, &interrupted());
    let whole = compared.is_ok();
    let (Ok(all) | Err(all)) = compared;
    if keep && whole {
        results::keep(&all);
    } else {
        results::write(&all);
    }
    if failed(&all) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
