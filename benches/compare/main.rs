//! filewharf, in HTTP and in its own protocol, beside the file servers that are installed and
//! beside a bare loop that is the limit: CPU time, memory, waiting times and fairness for the same
//! work over loopback, on the same file system, in alternating rounds.
//!
//! `cargo bench --bench compare [-- WORDS]` runs what has one of the words in its name, prints
//! tables, and writes `table.md` and `plot.svg` to `target/compare`. The server is pinned to the
//! first core, the client to the second, congestion control to cubic; nothing is synced by anybody.
//! Only the ratios of one run mean anything: those of each round are told as a spread.
//! `FILEWHARF_CHECK_DIR` chooses the file system, `FILEWHARF_ROUNDS` how often. What is not
//! installed or cannot be done is left out, with a word.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures with the clock and reports to people"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod cold;
mod idle;
mod limit;
mod mix;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod works;

use support::peers::{Congestion, Peer, interrupted};
use support::{Content, Wire, process};
use table::{Measured, Row};
use works::{Setting, WORKS, Work};

const OWN: [(&str, Wire); 2] = [("filewharf-http", Wire::Http), ("filewharf-line", Wire::Line)];
/// With a line in the log for every request; only for small requests, where that can be seen.
const LOGGING: &str = "filewharf-log";
const LIMIT: &str = "bare-loop";
/// The name of the served folder.
const FOLDER: &str = "root";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/compare/seed.py");
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/compare");

/// All rounds of one work; `None` if it was interrupted.
fn measure(work: &Work, setting: &Setting, peers: &[Peer]) -> Option<Measured> {
    let mut peers: Vec<&Peer> = peers.iter().filter(|peer| work.suits(peer)).collect();
    let mut rows: Vec<Row> =
        peers.iter().map(|peer| Row { peer: peer.name, role: peer.role, rounds: Vec::new() }).collect();
    // The first round warms caches and does not count.
    for round in 0..=work.rounds(setting) {
        let mut at = 0;
        while at < peers.len() {
            if setting.interrupted.load(Ordering::Relaxed) {
                return None;
            }
            match catch_unwind(AssertUnwindSafe(|| work.round(setting, peers[at]))) {
                Ok(figures) => {
                    if round > 0 || work.counts_first() {
                        rows[at].rounds.push(figures);
                    }
                    at += 1;
                }
                Err(_) => {
                    println!("compare: {} left out of {}: see above", peers[at].name, work.name);
                    peers.remove(at);
                    rows.remove(at);
                }
            }
        }
    }
    Some(Measured { work: work.name, columns: work.columns, rows })
}

/// Every server that can be had, started on the first core.
fn start(root: &Path, work: &Path) -> Vec<Peer> {
    let binary = env!("CARGO_BIN_EXE_filewharf");
    let mut peers: Vec<Peer> = OWN.iter().map(|(name, wire)| Peer::filewharf(name, *wire, binary, root)).collect();
    peers.push(Peer::logging(LOGGING, binary, root, work));
    peers.extend(Peer::lighttpd(root, work));
    peers.extend(Peer::nginx(root, work));
    peers.extend(Peer::vsftpd(root, FOLDER, work));
    peers.extend(Peer::python(SCRIPT, root));
    let program = std::env::current_exe().expect("this program has a file");
    peers.push(Peer::limit(LIMIT, &program, &[limit::ARGUMENT, &root.display().to_string()]));
    peers
}

fn compare(words: &[&String], rounds: usize, interrupted: Arc<AtomicBool>) {
    let _congestion = Congestion::cubic();
    let folder = process::folder(env!("CARGO_TARGET_TMPDIR"));
    let (root, work) = (folder.path().join(FOLDER), folder.path().join("work"));
    fs::create_dir(&root).expect("a folder");
    fs::create_dir(&work).expect("a folder");
    for (name, len) in works::FILES {
        fs::write(root.join(name), Content::new(len, len).bytes()).expect("room for a file");
    }
    let peers = start(&root, &work);
    let setting = Setting { root, rounds, interrupted };
    let mut all = Vec::new();
    for work in WORKS.iter().filter(|work| words.is_empty() || words.iter().any(|word| work.name.contains(*word))) {
        if let Some(why) = work.forbidden(&setting) {
            println!("compare: {} left out: {why}", work.name);
            continue;
        }
        let Some(measured) = measure(work, &setting, &peers) else {
            println!("compare: interrupted");
            break;
        };
        println!("{}", table::text(&measured));
        all.push(measured);
    }
    println!("behind the best peer:\n{}", table::behind(&all));
    let names: Vec<_> = peers.iter().map(|peer| (peer.name, peer.role)).collect();
    fs::create_dir_all(RESULTS).expect("a folder for the results");
    for (name, text) in [("table.md", table::markdown(&all, &names)), ("plot.svg", table::svg(&all))] {
        fs::write(Path::new(RESULTS).join(name), text).expect("room for the results");
    }
    println!("also in {RESULTS}: table.md, plot.svg");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [argument, root, ..] = &arguments[..]
        && argument == limit::ARGUMENT
    {
        return limit::serve(Path::new(root));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return; // `cargo test` starts benches too
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let rounds = std::env::var("FILEWHARF_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let pinned =
        Command::new("taskset").args(["-pc", "1", &std::process::id().to_string()]).stdout(Stdio::null()).status();
    if !pinned.is_ok_and(|status| status.success()) {
        println!("compare: cannot pin to a core, so nothing is measured");
        return;
    }
    compare(&words, rounds, interrupted());
}
