//! The dialects of the older systems against clients in Python that behave as the originals did:
//! one suite for each dialect, and two hundred clients of each at once in one server process.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use support::process;
use support::server::Program;

use crate::program;

/// Each dialect with its clients.
const DIALECTS: [(&str, &str); 5] = [
    ("name-size", "name_size.py"),
    ("length-prefix", "length_prefix.py"),
    ("menu", "menu.py"),
    ("pickle", "pickle.py"),
    ("name-choice", "name_choice.py"),
];

/// A server process that listens in each of these dialects.
struct Served {
    program: Program,
    dir: tempfile::TempDir,
}

impl Served {
    fn start(dialects: &[&str]) -> Self {
        let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
        let log = File::create(dir.path().join("log")).expect("a log");
        let listeners: Vec<String> = dialects.iter().map(|dialect| format!("{dialect}@127.0.0.1:0")).collect();
        // A thousand at once are more than there are slots, and a disk may take long for each.
        let mut options = vec!["--slot-timeout", "900"];
        options.extend(listeners.iter().flat_map(|listener| ["--listen", listener]));
        let (program, _) = program::logging(&dir.path().join("files"), &options, log.into());
        Self { program, dir }
    }

    /// Runs the clients of a dialect against the listener at this place.
    fn clients(&self, place: usize, script: &str, words: &[&str]) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy").join(script);
        let mut command = Command::new("python3");
        command
            .arg(script)
            .args(["127.0.0.1", &self.program.addresses[place].port().to_string()])
            .arg(self.dir.path().join("files"))
            .args(words);
        command.spawn().expect("python3 can be run")
    }
}

#[test]
#[ignore = "needs python3"]
fn the_clients_of_each_older_system_are_served_as_they_are() {
    for (dialect, script) in DIALECTS {
        println!("== {dialect}");
        let served = Served::start(&[dialect]);
        let status = served.clients(0, script, &[]).wait().expect("the clients end");
        assert!(status.success(), "{dialect}: {status}");
    }
}

#[test]
#[ignore = "needs python3 and a release build; prints figures"]
fn two_hundred_clients_of_each_older_system_are_served_at_once() {
    let served = Served::start(&DIALECTS.map(|(dialect, _)| dialect));
    let (began, before) = (Instant::now(), process::cpu(served.program.pid()));
    let all = (0..).zip(DIALECTS).map(|(place, (_, script))| served.clients(place, script, &["crowd"]));
    let all: Vec<Child> = all.collect();
    let mut failed = Vec::new();
    for (mut clients, (dialect, _)) in all.into_iter().zip(DIALECTS) {
        if !clients.wait().expect("the clients end").success() {
            failed.push(dialect);
        }
    }
    println!(
        "legacy: 1,000 clients at once (200 of each of five dialects): {:.2} s, server CPU {:.3} s, RSS {} KiB, {} threads",
        began.elapsed().as_secs_f64(),
        (process::cpu(served.program.pid()) - before).as_secs_f64(),
        process::status(served.program.pid(), "VmRSS:"),
        process::status(served.program.pid(), "Threads:"),
    );
    assert!(failed.is_empty(), "{failed:?}");
}
