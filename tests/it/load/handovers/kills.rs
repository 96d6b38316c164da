//! `kill -9` of the old or the new process at any moment of a hand-over, under uploads that are durable once they are
//! acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use support::StopOnDrop;
use support::client::{content, wait_until};
use support::content::Random;
use support::server::without_settings;

use super::clients::{Client, Pace, Place, Tally};
use super::{Site, binary, number};

const WRITERS: usize = 24;
const NAMES: usize = 8;
const LEN_MAX: u64 = 50_000;
/// Until the new process serves, about.
const START: Duration = Duration::from_millis(60);
const AFTER: Duration = Duration::from_secs(1);

/// A process that may not have begun to serve.
struct Process {
    child: Child,
    /// A word once it listens everywhere, and the end once it has ended.
    said: Receiver<()>,
    listens: bool,
}

impl Process {
    fn start(site: &Site) -> Self {
        let mut command = without_settings(&binary());
        command.arg("serve").arg(site.root()).args(site.options("--takeover"));
        let mut child = command.stdout(Stdio::piped()).stderr(site.log()).spawn().expect("it can be run");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (say, said) = channel();
        let listeners = site.listeners.len();
        thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok).take_while(|line| line.starts_with("listening on "));
            if lines.take(listeners).count() == listeners {
                let _ = say.send(());
            }
        });
        Self { child, said, listens: false }
    }

    /// Waits until it listens or has ended. True if it listens.
    fn settles(&mut self) -> bool {
        self.listens = self.listens || self.said.recv().is_ok();
        self.listens && !self.has_ended()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a writer knows of a file: the content that was acknowledged last, and what it has sent since.
#[derive(Default)]
struct Versions {
    acknowledged: Option<Vec<u8>>,
    since: Vec<Vec<u8>>,
}

type Sent = BTreeMap<String, Versions>;

/// Stores files until the end; a connection that fails is one that was killed.
fn write(n: usize, place: &Place, tally: &Tally, acknowledged: &AtomicU64, ends: &AtomicBool) -> Sent {
    let mut client = Client::new(place.clone(), tally);
    let (mut sent, mut random) = (Sent::new(), Random::new(n as u64 + 1));
    while !ends.load(Relaxed) {
        let name = format!("kept/{n}-{}", random.below(NAMES as u64));
        let bytes = content(random.next(), usize::try_from(random.below(LEN_MAX)).expect("small"));
        let versions = sent.entry(name.clone()).or_default();
        versions.since.push(bytes.clone());
        let len = bytes.len();
        let stored = if n.is_multiple_of(2) {
            client.line(&format!("PUT {len} /{name}\n"), &bytes, Pace::FULL, Pace::FULL)
        } else {
            let head = format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n");
            client.http(&head, &bytes, Pace::FULL, Pace::FULL)
        };
        match stored {
            Ok(reply) => {
                let is_good = reply.head.contains("stored=durable") || reply.head.starts_with("HTTP/1.1 20");
                assert!(is_good, "{}", reply.head);
                acknowledged.fetch_add(1, Relaxed);
                *versions = Versions { acknowledged: Some(bytes), since: Vec::new() };
            }
            Err(_) => {
                client.close();
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    sent
}

/// True if a short request at each listener is answered.
fn answers(places: &[Place]) -> bool {
    let tally = Tally::default();
    let mut asked = places.iter().map(|place| {
        let ping = || Client::new(place.clone(), &tally).line("PING\n", &[], Pace::FULL, Pace::FULL);
        // A connection that the killed process had accepted ends.
        (0..3).any(|_| ping().is_ok_and(|reply| reply.head == "OK 0"))
    });
    asked.all(|is_served| is_served)
}

#[derive(Debug, Default)]
struct Seen {
    old: usize,
    new: usize,
    before_ready: usize,
    /// The new one was killed, and the old one had ended before.
    had_ended: usize,
    /// The old one was killed, and the new one found an address that was still in use.
    was_closing: usize,
    slowest: Duration,
}

/// One hand-over in which one process is killed: the one that serves then.
fn round(site: &Site, mut old: Process, places: &[Place], random: &mut Random, seen: &mut Seen) -> Process {
    let mut new = Process::start(site);
    let kills_new = random.below(2) == 0;
    let span = if random.below(3) == 0 { AFTER } else { START };
    thread::sleep(span * u32::try_from(random.below(1000)).expect("small") / 1000);
    new.listens = new.said.try_recv().is_ok();
    seen.before_ready += usize::from(!new.listens);
    let killed = if kills_new { &mut new } else { &mut old };
    killed.kill();
    *(if kills_new { &mut seen.new } else { &mut seen.old }) += 1;
    let began = Instant::now();
    let mut left = if kills_new { old } else { new };
    if !left.settles() || !answers(places) {
        wait_until("a process without listeners ends", || left.has_ended());
        // It had handed over before, and nothing else was left to do.
        let words = site.last_words();
        // It was killed before it had passed on anything, and its files are closed one after the other.
        let is_closing = words.contains("Address already in use") || words.contains("another server");
        assert!(kills_new || is_closing, "the new process does not start without the old one: {words}");
        *(if kills_new { &mut seen.had_ended } else { &mut seen.was_closing }) += 1;
        left = Process::start(site);
        assert!(left.settles() && answers(places), "a server starts where none is");
    }
    seen.slowest = seen.slowest.max(began.elapsed());
    left
}

#[test]
#[ignore = "needs minutes and a release build; prints figures"]
fn two_hundred_kills_in_hand_overs_lose_neither_an_acknowledged_file_nor_a_listener() {
    let kills = number("HANDOVER_KILLS", 200);
    let seed = number("FILEWHARF_SEED", 1);
    println!("handovers: FILEWHARF_SEED={seed}");
    let mut random = Random::new(seed as u64);
    let (site, mut first) = Site::start();
    let places = site.places(&first);
    let places = [places.plain, places.tls, places.unix];
    first.kill();
    let (tally, acknowledged, ends, mut seen) =
        (Tally::default(), AtomicU64::new(0), AtomicBool::new(false), Seen::default());
    let mut present = Process::start(&site);
    assert!(present.settles());
    let began = Instant::now();
    let (sent, mut present): (Vec<Sent>, _) = thread::scope(|scope| {
        let stop = StopOnDrop(&ends);
        let (tally, acknowledged, ends, places) = (&tally, &acknowledged, &ends, &places);
        let write = |n: usize| scope.spawn(move || write(n, &places[n % 3], tally, acknowledged, ends));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        for _ in 0..kills {
            present = round(&site, present, places, &mut random, &mut seen);
        }
        drop(stop);
        (writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect(), present)
    });
    println!("handovers: {kills} kills in {:.0} s: {seen:?}", began.elapsed().as_secs_f64());
    let mut files = 0;
    for (name, versions) in sent.iter().flatten() {
        let there = fs::read(site.root().join(name)).ok();
        let is_known =
            there == versions.acknowledged || there.as_ref().is_some_and(|bytes| versions.since.contains(bytes));
        files += usize::from(there.is_some());
        assert!(is_known, "{name} is lost or torn: {:?} bytes", there.map(|bytes| bytes.len()));
    }
    println!("handovers: {} acknowledged, {files} files whole", acknowledged.load(Relaxed));
    // The next process sweeps what those have left that were killed last.
    let mut last = Process::start(&site);
    assert!(last.settles());
    wait_until("the older one ends", || present.has_ended());
    wait_until("what others have left is swept", || {
        fs::read_dir(site.root().join(".filewharf/staging")).expect("it is there").count() == 1
    });
    let mut present = last;
    rustix::process::kill_process(rustix::process::Pid::from_child(&present.child), rustix::process::Signal::TERM)
        .expect("it runs");
    wait_until("it ends", || present.has_ended());
    site.assert_clean();
}
