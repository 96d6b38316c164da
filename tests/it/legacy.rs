//! The dialects of the older systems against clients in Python that behave as the originals did:
//! one suite for each dialect, and two hundred clients of each at once in one server process.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use support::process;

/// Each dialect with its clients.
const DIALECTS: [(&str, &str); 5] = [
    ("name-size", "name_size.py"),
    ("length-prefix", "length_prefix.py"),
    ("menu", "menu.py"),
    ("pickle", "pickle.py"),
    ("name-choice", "name_choice.py"),
];

/// A server process that listens in each of these dialects; killed when dropped.
struct Served {
    child: Child,
    dir: tempfile::TempDir,
    ports: Vec<String>,
}

impl Served {
    fn start(dialects: &[&str]) -> Self {
        let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_filewharf"));
        // A thousand at once are more than there are slots, and a disk may take long for each.
        command.arg("serve").arg(dir.path().join("files")).args(["--slot-timeout", "900"]);
        for dialect in dialects {
            command.args(["--listen", &format!("{dialect}@127.0.0.1:0")]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the built binary can be run");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().take(dialects.len());
        let ports = lines.map(|line| {
            let line = line.expect("a line for each listener");
            let (address, _) = line.rsplit_once(" (").expect("listening on ADDR (DIALECT)");
            address.rsplit_once(':').expect("a port").1.to_owned()
        });
        let ports = ports.collect();
        Self { child, dir, ports }
    }

    /// Runs the clients of a dialect against the listener at this place.
    fn clients(&self, place: usize, script: &str, words: &[&str]) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy").join(script);
        let mut command = Command::new("python3");
        command.arg(script).args(["127.0.0.1", &self.ports[place]]).arg(self.dir.path().join("files")).args(words);
        command.spawn().expect("python3 can be run")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let (began, before) = (Instant::now(), process::cpu(served.child.id()));
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
        (process::cpu(served.child.id()) - before).as_secs_f64(),
        process::status(served.child.id(), "VmRSS:"),
        process::status(served.child.id(), "Threads:"),
    );
    assert!(failed.is_empty(), "{failed:?}");
}
