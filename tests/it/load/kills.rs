//! `kill -9` in the middle of many uploads, again and again: what was acknowledged is there whole,
//! nothing partial is ever visible, and what the dead process has left is swept.
//!
//! `cargo test --release --test it -- --ignored --nocapture storm`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a kill at a random moment waits for it, and polling is bounded"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use support::client::{PATIENCE, wait_until};
use support::content::Random;
use support::driver::{Loss, Step};
use support::server::Program;
use support::{Content, Driver, Task, Wire, process};

const ROUNDS: u64 = 50;
const CONNECTIONS: usize = 32;
/// Names of each connection: few, so that most uploads replace a file.
const NAMES: u64 = 12;
const LEN_MAX: u64 = 300 << 10;
/// This many uploads are acknowledged before the kill, at most: what a disk does in a round that takes
/// seconds for a sync.
const ROUND_ACKS: u64 = 60;
/// How long after that the kill comes, at most, in milliseconds.
const MOMENT_MS: u64 = 40;

/// What the clients know of one name: every version they sent, and how many of these are
/// acknowledged for sure. Only one connection writes a name, so versions come in their order.
#[derive(Default)]
struct Known {
    sent: Vec<Content>,
    acked: usize,
}

type Names = BTreeMap<String, Known>;

/// Uploads until the server is gone, and counts those that were acknowledged.
fn uploads(clients: &mut Driver, names: &mut Names, random: &mut Random, acked: &AtomicU64) {
    let outcome = clients.run(|step| match step {
        Step::Next(at) => {
            let name = random.below(NAMES);
            let dir = if name.is_multiple_of(3) { "new/deep" } else { "flat" };
            let path = format!("/{dir}/{at}-{name}");
            let content = Content::new(random.next() >> 8, random.below(LEN_MAX + 1));
            names.entry(path.clone()).or_default().sent.push(content);
            Some(Task::Put { path, content })
        }
        Step::Done(_, Task::Put { path, .. }) => {
            let known = names.get_mut(path).expect("it was sent");
            known.acked = known.sent.len();
            acked.fetch_add(1, Relaxed);
            None
        }
        Step::Done(..) => None,
    });
    assert_eq!(outcome.lost, CONNECTIONS, "a killed server has no connections");
}

/// Every visible file is a version that was sent, and none older than the acknowledged one.
fn check(root: &Path, names: &mut Names) -> usize {
    let mut checked = 0;
    for (path, known) in names.iter_mut() {
        let file = root.join(&path[1..]);
        let Ok(bytes) = fs::read(&file) else {
            assert_eq!(known.acked, 0, "{path} was acknowledged and is not there");
            known.sent.clear();
            continue;
        };
        let is = |content: &Content| content.len == bytes.len() as u64 && content.matches(0, &bytes);
        let from = known.acked.saturating_sub(1);
        let version = known.sent[from..].iter().rposition(is);
        let version = version.unwrap_or_else(|| {
            let old = known.sent[..from].iter().any(is);
            panic!("{path}: {} bytes, older than what was acknowledged: {old}; else torn", bytes.len())
        });
        // What is there now is what later rounds must not lose.
        known.sent = vec![known.sent[from + version]];
        known.acked = 1;
        checked += 1;
    }
    checked
}

fn visible(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("the folder can be read");
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if name == "/.filewharf" {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            visible(&entry.path(), &name, found);
        } else {
            found.push(name);
        }
    }
}

/// Waits until only the directory of the process that lives is left, with nothing in it but its lock.
fn wait_until_swept(root: &Path, server: &Program) -> Duration {
    let began = Instant::now();
    let staging = root.join(".filewharf/staging");
    let own = format!("{}-", server.pid());
    loop {
        let names = |dir: &Path| -> Vec<String> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let dirs = names(&staging);
        if let [only] = &dirs[..]
            && only.starts_with(&own)
            && names(&staging.join(only)) == ["LOCK"]
        {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "not swept: {dirs:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

// covers: kill-at-any-call
#[test]
#[ignore = "needs a minute and a release build; prints figures"]
fn what_was_acknowledged_survives_fifty_kills_and_nothing_partial_is_seen() {
    let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let seed = std::env::var("FILEWHARF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("storm: FILEWHARF_SEED={seed}");
    let mut random = Random::new(seed);
    let (mut names, mut acks, mut checked, mut slowest) = (Names::new(), 0, 0, Duration::ZERO);
    for round in 0..ROUNDS {
        let mut server = Program::start(&[], env!("CARGO_BIN_EXE_filewharf"), root.path(), &[]);
        let swept = wait_until_swept(root.path(), &server);
        slowest = slowest.max(swept);
        let mut clients = Driver::connect(server.address(), CONNECTIONS, Wire::Line, Loss::IsExpected);
        let (enough, moment) = (random.below(ROUND_ACKS), Duration::from_millis(random.below(MOMENT_MS)));
        let acked = AtomicU64::new(0);
        let killer = rustix::process::Pid::from_raw(server.pid().cast_signed()).expect("a process");
        thread::scope(|scope| {
            let acked = &acked;
            scope.spawn(move || {
                wait_until("uploads are acknowledged", || acked.load(Relaxed) >= enough);
                thread::sleep(moment);
                rustix::process::kill_process(killer, rustix::process::Signal::KILL).expect("kill -9");
            });
            uploads(&mut clients, &mut names, &mut random, acked);
        });
        acks += acked.load(Relaxed);
        server.kill();
        checked += check(root.path(), &mut names);
        let mut seen = Vec::new();
        visible(root.path(), "", &mut seen);
        for name in seen {
            let known = names.get(&name).is_some_and(|known| !known.sent.is_empty());
            assert!(known, "round {round}: {name} is visible and was never sent");
        }
    }
    let server = Program::start(&[], env!("CARGO_BIN_EXE_filewharf"), root.path(), &[]);
    slowest = slowest.max(wait_until_swept(root.path(), &server));
    println!(
        "storm: {ROUNDS} kills, {acks} uploads acknowledged, {checked} files checked whole, {} names, slowest sweep {slowest:.1?}",
        names.len()
    );
    assert!(acks >= ROUNDS, "too little happened between the kills");
}
