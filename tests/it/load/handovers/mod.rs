//! Hand-over again and again while clients of all dialects are served: none meets a fault. And `kill -9` of either
//! process at any moment of a hand-over: nothing acknowledged is lost, and no listener.
//!
//! `cargo test --release --test it -- --ignored --nocapture handovers`
//!
//! `HANDOVERS`, `HANDOVER_TRANSFERS`, `HANDOVER_OPEN` and `HANDOVER_KILLS` say how many there are.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "clients that are slow on purpose wait, and the figures of a slow check are for people"
)]

mod clients;
mod gap;
mod kills;
mod programs;
mod transfers;

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{content, wait_until};
use support::content::Random;
use support::figures::Spread;
use support::server::Program;
use support::{StopOnDrop, process, tls};

use clients::{FAULTS, Fault, Place, Tally};
use transfers::{BIG_LEN, Places, SMALL_LEN, Worker};

use crate::program::BINARY;

/// Each with its clients, in Python.
const LEGACY: [(&str, &str); 5] = [
    ("name-size", "name_size.py"),
    ("length-prefix", "length_prefix.py"),
    ("menu", "menu.py"),
    ("pickle", "pickle.py"),
    ("name-choice", "name_choice.py"),
];
/// Listeners before theirs.
const LEGACY_FROM: usize = 3;
const STACK: usize = 512 << 10;
/// Processes of one server at a time, at most.
const GENERATIONS_MAX: usize = 4;
/// Connections of one thread that keeps them open.
const OPEN_OF_THREAD: usize = 250;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The program built with this, or another that `FILEWHARF_BINARY` names.
fn binary() -> String {
    std::env::var("FILEWHARF_BINARY").unwrap_or_else(|_| BINARY.to_owned())
}

/// A directory that is served by one process after another, at the same addresses.
struct Site {
    dir: tempfile::TempDir,
    listeners: Vec<String>,
}

impl Site {
    /// Starts the first process, too.
    fn start() -> (Self, Program) {
        let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
        tls::Identity::own("localhost").write(dir.path());
        let unix = format!("unix:{}", dir.path().join("socket").display());
        let mut listeners = vec!["127.0.0.1:0".to_owned(), "127.0.0.1:0?tls".to_owned(), unix];
        listeners.extend(LEGACY.map(|(dialect, _)| format!("{dialect}@127.0.0.1:0")));
        let mut site = Self { dir, listeners };
        transfers::fill(&site.root());
        let first = site.run("--control");
        for (listener, address) in site.listeners.iter_mut().zip(&first.addresses) {
            *listener = listener.replace("127.0.0.1:0", &address.to_string());
        }
        (site, first)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn log(&self) -> File {
        let path = self.dir.path().join("log");
        OpenOptions::new().create(true).append(true).open(path).expect("a file")
    }

    /// The last line of the log that is no request.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("log")).expect("a log");
        log.lines().rfind(|line| !line.contains("::transfer]")).unwrap_or_default().to_owned()
    }

    fn options(&self, flag: &str) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let files = ["--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem"), flag, &path("control")];
        let fixed = [
            "--idle-timeout",
            "5",
            "--per-address",
            "100",
            "--max-connections",
            "12000",
            "--slots",
            "2048",
            "--slot-timeout",
            "300",
            "--max-uploads",
            "8192",
        ];
        let options = files.into_iter().chain(fixed).map(str::to_owned);
        let listeners = self.listeners.iter().flat_map(|listener| ["--listen".to_owned(), listener.clone()]);
        options.chain(listeners).collect()
    }

    fn run(&self, flag: &str) -> Program {
        let options = self.options(flag);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Program::try_start(&[], &binary(), &self.root(), &options, self.log().into()).expect("it starts")
    }

    fn places(&self, program: &Program) -> Places {
        let at = |place: usize| Place::Tcp(program.addresses[place]);
        Places {
            plain: at(0),
            tls: Place::Tls(program.addresses[1], tls::config()),
            unix: Place::Unix(self.dir.path().join("socket")),
            name_size: at(LEGACY_FROM),
        }
    }

    /// Nothing is left of transfers and of what was replaced.
    fn assert_clean(&self) {
        let mut left = Vec::new();
        for dir in ["staging", "trash", "uploads"] {
            files_under(&self.root().join(".filewharf").join(dir), &mut left);
        }
        // What is known of a complete upload is kept for a client that asks.
        left.retain(|path| !path.ends_with("LOCK") && !path.ends_with("CLOCK") && path.extension().is_none());
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

fn files_under(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true => files_under(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

/// The processes of a server, and what was seen of them.
struct Generations<'a> {
    site: &'a Site,
    present: Program,
    /// Older ones, and when the next was started.
    older: Vec<(Program, Instant)>,
    starts: Vec<Duration>,
    lives: Vec<Duration>,
    memory_max: u64,
}

impl<'a> Generations<'a> {
    fn new(site: &'a Site, present: Program) -> Self {
        Self { site, present, older: Vec::new(), starts: Vec::new(), lives: Vec::new(), memory_max: 0 }
    }

    /// Notices those that have ended, which must be well.
    fn look(&mut self) {
        let pids = self.older.iter().map(|(program, _)| program.pid()).chain([self.present.pid()]);
        self.memory_max = self.memory_max.max(pids.map(|pid| process::bytes(pid, "RssAnon:")).sum());
        self.older.retain_mut(|(program, since)| {
            let has_ended = program.has_ended();
            if has_ended {
                assert_eq!(program.wait(), Some(0));
                self.lives.push(since.elapsed());
            }
            !has_ended
        });
    }

    fn hand_over(&mut self) {
        wait_until("an older process ends", || {
            self.look();
            self.older.len() + 1 < GENERATIONS_MAX
        });
        let began = Instant::now();
        let next = self.site.run("--takeover");
        self.starts.push(began.elapsed());
        assert!(!self.present.has_ended() || self.present.wait() == Some(0));
        self.older.push((std::mem::replace(&mut self.present, next), began));
    }

    /// Ends all. Only the last needs a signal.
    fn end(mut self) {
        wait_until("older processes end", || {
            self.look();
            self.older.is_empty()
        });
        self.present.end();
        println!("handovers: start to listening: {}", Spread::new(self.starts));
        println!("handovers: older processes lived: {}", Spread::new(self.lives));
        println!("handovers: memory of all processes together: at most {} KiB (RssAnon)", self.memory_max >> 10);
    }
}

/// Runs the clients of an older system, two hundred at a time, until the end: how often.
fn legacy(site: &Site, addresses: &[SocketAddr], nth: usize, tally: &Tally, ends: &AtomicBool) -> usize {
    let (dialect, script) = LEGACY[nth];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy").join(script);
    let port = addresses[LEGACY_FROM + nth].port().to_string();
    let mut runs = 0;
    while !ends.load(Relaxed) {
        let mut command = Command::new("python3");
        command.arg(&script).args(["127.0.0.1", &port]).arg(site.root()).arg("crowd");
        let output = command.output().expect("python3 can be run");
        if !output.status.success() {
            tally.fault(Fault::Wrong, || format!("{dialect}: {}", String::from_utf8_lossy(&output.stdout)));
        }
        runs += 1;
    }
    runs
}

#[test]
#[ignore = "needs python3, 20,000 descriptors, minutes and a release build; prints figures"]
fn no_client_meets_a_fault_in_a_hundred_hand_overs() {
    let (hand_overs, running) = (number("HANDOVERS", 100), number("HANDOVER_TRANSFERS", 1000));
    let open = number("HANDOVER_OPEN", 5000);
    if !process::permits(running + open + 3000, "handovers") {
        return;
    }
    let (site, first) = Site::start();
    let (root, places, addresses) = (site.root(), site.places(&first), first.addresses.clone());
    let files = [content(1, BIG_LEN), content(2, SMALL_LEN)];
    let (tally, ends) = (Tally::default(), AtomicBool::new(false));
    let began = Instant::now();
    let (generations, legacy_runs) = thread::scope(|scope| {
        let stop = StopOnDrop(&ends);
        let (tally, ends, places, site, root, addresses) = (&tally, &ends, &places, &site, &*root, &*addresses);
        let files = files.each_ref().map(|file| &file[..]);
        for n in 0..running {
            let work = move || Worker::new(n, places, tally, root, files).run(ends);
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).expect("a thread");
        }
        for nth in 0..open.div_ceil(OPEN_OF_THREAD) {
            let count = OPEN_OF_THREAD.min(open - nth * OPEN_OF_THREAD);
            scope.spawn(move || transfers::keep_open(count, places, tally, ends));
        }
        let legacy = [0, 1, 2, 3, 4].map(|nth| scope.spawn(move || legacy(site, addresses, nth, tally, ends)));
        wait_until("the clients have begun", || tally.transfers.load(Relaxed) >= running as u64);
        let mut generations = Generations::new(site, first);
        let (mut least, mut random) = (u64::MAX, Random::new(1));
        for nth in 1..=hand_overs {
            thread::sleep(Duration::from_millis(random.below(1000)));
            least = least.min(tally.running.load(Relaxed));
            generations.hand_over();
            if nth % 10 == 0 {
                println!("handovers: {nth}, {FAULTS:?}: {:?}", tally.faults());
            }
        }
        println!("handovers: at least {least} transfers were under way, and {open} connections open");
        drop(stop);
        (generations, legacy.map(|thread| thread.join().expect("no client panics")))
    });
    let [transfers, requests, reopened, asked_again, locked] =
        [&tally.transfers, &tally.requests, &tally.reopened, &tally.asked_again, &tally.locked]
            .map(|count| count.load(Relaxed));
    println!(
        "handovers: {hand_overs} in {:.0} s; {transfers} transfers, {requests} requests, {reopened} connections opened \
         after others, {asked_again} requests sent again after the end of a line connection, {locked} after 423; \
         200 clients of each of {:?} ran {legacy_runs:?} times",
        began.elapsed().as_secs_f64(),
        LEGACY.map(|(dialect, _)| dialect),
    );
    println!("handovers: {FAULTS:?}: {:?}", tally.faults());
    tally.assert_none();
    generations.end();
    site.assert_clean();
}
