//! `filewharf sync` beside an `rsync` daemon: small files, the same again without changes, after moves, and a large file,
//! both ways, in rounds of shuffled order, over loopback and over a link of 20 ms that loses 1 %.
//!
//! `cargo test --release --test it -- --ignored --nocapture beside_rsync`
//!
//! `FILEWHARF_ROUNDS` (3), `SYNC_FILES` (10,000) and `SYNC_LARGE_MIB` (4,096, if the disk has eight times as much; 16 over the
//! link) set the sizes, `FILEWHARF_CHECK_DIR` the file system, `LINK_CONGESTION` (reno, or bbr) how the link is shared. Nothing is removed between small runs: ext4 looks at each
//! inode that was freed in the last minute before it gives one out, which would be most of the time measured.
#![allow(clippy::print_stdout, reason = "the figures of a slow check are for people")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::client::wait_until;
use support::content::Random;
use support::figures::median;
use support::process;
use support::server::Program;

use crate::program::BINARY;

const DIRS: u64 = 100;
const MOVED: usize = 1000;
const LINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/load/beside_rsync/link.py");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Rsync,
    RsyncFsync,
    SyncNone,
    SyncDurable,
}

use Tool::{Rsync, RsyncFsync, SyncDurable, SyncNone};

impl Tool {
    /// What is compared with what: the one that syncs with the one that syncs.
    fn peer(self, is_upload: bool) -> Self {
        if self == SyncDurable && is_upload { RsyncFsync } else { Rsync }
    }

    fn is_rsync(self) -> bool {
        matches!(self, Rsync | RsyncFsync)
    }

    /// The client syncs nothing that it fetches, so the durability of the server does not matter then.
    fn all(is_upload: bool) -> &'static [Self] {
        if is_upload { &[Rsync, RsyncFsync, SyncNone, SyncDurable] } else { &[Rsync, RsyncFsync, SyncDurable] }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    New,
    Again,
    Moved,
    Large,
}

/// One run: seconds, and bytes on the wire in both directions.
#[derive(Clone, Copy)]
struct Figure {
    wall: f64,
    client: f64,
    server: f64,
    sent: f64,
}

/// Killed when dropped.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // The link removes its namespaces at the end of its input.
        drop(self.0.stdin.take());
        if self.0.stdout.is_none() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Where the two sides run.
struct Place {
    name: &'static str,
    /// What runs a command on the side of the server, and of the client.
    sides: [Vec<String>; 2],
    ip: &'static str,
    _link: Option<Helper>,
}

impl Place {
    fn loopback() -> Self {
        Self { name: "loopback", sides: [Vec::new(), Vec::new()], ip: "127.0.0.1", _link: None }
    }

    fn slow_link() -> Self {
        let name = format!("fw{}", std::process::id());
        let mut link = Command::new("python3");
        link.args([LINK, &name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut link = Helper(link.spawn().expect("python3 can be run"));
        let mut said = String::new();
        BufReader::new(link.0.stdout.as_mut().expect("a pipe")).read_line(&mut said).expect("text");
        assert_eq!(said, "ready\n", "there is no link");
        let side = |side| ["ip", "netns", "exec", &format!("{name}-{side}")].map(str::to_owned).to_vec();
        Self { name: "20 ms, 1 % lost", sides: [side("server"), side("client")], ip: "10.201.0.1", _link: Some(link) }
    }

    fn on(&self, side: usize, words: &[&str]) -> Command {
        let mut words = self.sides[side].iter().map(String::as_str).chain(words.iter().copied());
        let mut command = Command::new(words.next().expect("a command"));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Bytes that the client's side of the link has sent and received.
    fn bytes(&self) -> f64 {
        let counters = ["rx", "tx"].map(|way| format!("/sys/class/net/wire/statistics/{way}_bytes"));
        let shown = self.on(1, &["cat", &counters[0], &counters[1]]).stderr(Stdio::null()).output();
        let text = String::from_utf8(shown.expect("cat can be run").stdout).expect("text");
        text.lines().filter_map(|line| line.parse::<f64>().ok()).sum()
    }
}

/// CPU time of a process: its own and that of children that were waited for, or of these only.
fn cpu(pid: u32, skip_own: bool) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields = text.rsplit(')').next().expect("fields").split_whitespace();
    let ticks: u64 =
        fields.skip(11).take(4).skip(2 * usize::from(skip_own)).filter_map(|it| it.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

struct Bench {
    dir: PathBuf,
    place: Place,
    rsync: Helper,
    rsync_port: u16,
    programs: [Program; 2],
    /// What is copied.
    small: PathBuf,
    large: PathBuf,
    figures: BTreeMap<(bool, Work, Tool), Vec<Figure>>,
}

impl Bench {
    fn new(dir: &Path, place: Place, files: u64, large_mib: u64) -> Self {
        let (small, large) = (dir.join("small"), dir.join("large"));
        make_small(&small, files);
        make_large(&large, large_mib);
        for root in ["rsync", "none", "durable"] {
            fs::create_dir_all(dir.join(root).join("large")).expect("a folder");
            fs::hard_link(large.join("file"), dir.join(root).join("large/file")).expect("a link");
        }
        let conf = dir.join("rsyncd.conf");
        let words = format!("use chroot = no\nuid = 0\ngid = 0\n[m]\npath = {}/rsync\nread only = no\n", dir.display());
        fs::write(&conf, words).expect("a file");
        let rsync_port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let (config, port) = (format!("--config={}", conf.display()), format!("--port={rsync_port}"));
        let mut daemon = place.on(0, &["rsync", "--daemon", "--no-detach", &config, &port]);
        let rsync = Helper(daemon.stdout(Stdio::null()).spawn().expect("rsync can be run"));
        let url = format!("rsync://{}:{rsync_port}/", place.ip);
        wait_until("rsync listens", || {
            let output = place.on(1, &["rsync", &url]).output().expect("rsync can be run");
            output.status.success()
        });
        let before: Vec<&str> = place.sides[0].iter().map(String::as_str).collect();
        let listen = format!("{}:0", place.ip);
        let programs = ["none", "durable"].map(|durability| {
            let flags = ["--quiet", "--durability", durability, "--listen", &listen];
            Program::try_start(&before, BINARY, &dir.join(durability), &flags, Stdio::inherit()).expect("it starts")
        });
        Self { dir: dir.to_owned(), place, rsync, rsync_port, programs, small, large, figures: BTreeMap::new() }
    }

    /// Makes `name` on the server equal to `local`, or the other way round.
    fn command(&self, tool: Tool, is_upload: bool, local: &Path, name: &str) -> Command {
        let (url, local) = match tool {
            Rsync | RsyncFsync => {
                (format!("rsync://{}:{}/m/{name}/", self.place.ip, self.rsync_port), format!("{}/", local.display()))
            }
            _ => (
                format!("{}/{name}", self.programs[usize::from(tool == SyncDurable)].address()),
                local.display().to_string(),
            ),
        };
        let words: &[&str] = match tool {
            Rsync => &["rsync", "-rt", "--delete"],
            RsyncFsync => &["rsync", "-rt", "--delete", "--fsync"],
            _ => &[BINARY, "sync", "--quiet", "--delete"],
        };
        let operands = if is_upload { [local.as_str(), &url] } else { [url.as_str(), &local] };
        self.place.on(1, &[words, &operands].concat())
    }

    fn run(&self, tool: Tool, is_upload: bool, local: &Path, name: &str) -> Figure {
        rustix::fs::sync();
        let server = match tool {
            Rsync | RsyncFsync => self.rsync.0.id(),
            _ => self.programs[usize::from(tool == SyncDurable)].pid(),
        };
        let mut command = self.command(tool, is_upload, local, name);
        let (sent, own, others) = (self.place.bytes(), cpu(std::process::id(), true), cpu(server, false));
        let began = Instant::now();
        let status = command.status().expect("it can be run");
        let wall = began.elapsed().as_secs_f64();
        assert!(status.success(), "{command:?}: {status}");
        let client = cpu(std::process::id(), true) - own;
        // A process of the daemon for each connection, which may end after the client.
        wait_until("the daemon is at rest", || !tool.is_rsync() || process::family(server).len() == 1);
        Figure { wall, client, server: cpu(server, false) - others, sent: self.place.bytes() - sent }
    }

    fn measure(&mut self, is_upload: bool, round: u64) {
        let mut random = Random::new(round * 2 + u64::from(is_upload));
        for work in [Work::New, Work::Again, Work::Moved, Work::Large] {
            if work == Work::Moved {
                self.rename_some(round, is_upload);
            }
            let mut tools = Tool::all(is_upload).to_vec();
            (1..tools.len()).rev().for_each(|n| tools.swap(n, random.below(n as u64 + 1) as usize));
            for tool in tools {
                let new = format!("{}{round}-{tool:?}", if is_upload { "up" } else { "down" });
                let figure = match (work, is_upload) {
                    (Work::Large, true) => self.run(tool, true, &self.large, &new.replace("up", "large")),
                    (Work::Large, false) => self.run(tool, false, &self.dir.join("fetched"), "large"),
                    (_, true) => self.run(tool, true, &self.small, &new),
                    (_, false) => {
                        let name = format!("source-{}", tool.is_rsync());
                        let brings = if tool.is_rsync() { Rsync } else { SyncDurable };
                        if work != Work::Again {
                            self.run(brings, true, &self.small, &name);
                        }
                        self.run(tool, false, &self.dir.join(&new), &name)
                    }
                };
                if work == Work::Large {
                    let roots =
                        ["rsync", "none", "durable"].map(|root| self.dir.join(root).join(new.replace("up", "large")));
                    roots.iter().chain([&self.dir.join("fetched")]).for_each(|dir| drop(fs::remove_dir_all(dir)));
                }
                self.figures.entry((is_upload, work, tool)).or_default().push(figure);
            }
        }
    }

    /// Moves files of the source into other directories.
    fn rename_some(&self, round: u64, is_upload: bool) {
        let dirs = fs::read_dir(&self.small).expect("a folder").map(|it| it.expect("an entry").path());
        let mut all: Vec<PathBuf> =
            dirs.flat_map(|dir| fs::read_dir(dir).expect("a folder")).map(|it| it.expect("an entry").path()).collect();
        all.sort();
        let step = (all.len() / MOVED).max(1);
        for (n, old) in all.iter().step_by(step).take(MOVED).enumerate() {
            let new = self.small.join(format!("{:02}/moved{round}-{is_upload}-{n}", (n as u64 * 7) % DIRS));
            fs::rename(old, new).expect("renamed");
        }
    }

    fn print(&self) {
        println!("| {} | wall | client CPU | server CPU | wire | wall / peer | CPU / peer |", self.place.name);
        println!("|---|---|---|---|---|---|---|");
        for ((is_upload, work, tool), figures) in &self.figures {
            let of = |figure: fn(&Figure) -> f64| median(&figures.iter().map(figure).collect::<Vec<_>>());
            let peers = &self.figures[&(*is_upload, *work, tool.peer(*is_upload))];
            let ratio = |figure: fn(&Figure) -> f64| {
                let mut all: Vec<f64> =
                    figures.iter().zip(peers).map(|(own, peer)| figure(own) / figure(peer)).collect();
                all.sort_by(f64::total_cmp);
                format!("{:.2} ({:.2}-{:.2})", median(&all), all[0], all[all.len() - 1])
            };
            println!(
                "| {} {work:?} {tool:?} | {:.2} s | {:.2} s | {:.2} s | {:.1} MB | {} | {} |",
                if *is_upload { "up" } else { "down" },
                of(|it| it.wall),
                of(|it| it.client),
                of(|it| it.server),
                of(|it| it.sent) / 1e6,
                ratio(|it| it.wall),
                ratio(|it| it.client + it.server),
            );
        }
    }
}

/// Files of 200 to 8,000 bytes, with times in the past.
fn make_small(root: &Path, files: u64) {
    let mut random = Random::new(1);
    (0..DIRS).for_each(|n| fs::create_dir_all(root.join(format!("{n:02}"))).expect("a folder"));
    for n in 0..files {
        let bytes = support::client::content(n, 200 + random.below(7801) as usize);
        let mut file = fs::File::create(root.join(format!("{:02}/file{n}", n % DIRS))).expect("a file");
        file.write_all(&bytes).expect("written");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + n)).expect("a time");
    }
}

fn make_large(root: &Path, mebibytes: u64) {
    fs::create_dir(root).expect("a folder");
    let mut file = fs::File::create(root.join("file")).expect("a file");
    for n in 0..mebibytes {
        file.write_all(&support::client::content(n, 1 << 20)).expect("space");
    }
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("a time");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn compare(place: Place, large_mib: u64) {
    let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let large = setting("SYNC_LARGE_MIB", large_mib).min(large_mib);
    let mut bench = Bench::new(dir.path(), place, setting("SYNC_FILES", 10_000), large);
    for round in 0..setting("FILEWHARF_ROUNDS", 3) {
        bench.measure(true, round);
        bench.measure(false, round);
        bench.print();
    }
}

#[test]
#[ignore = "needs root, rsync and a release build; prints figures"]
fn sync_beside_rsync_over_loopback() {
    let free = rustix::fs::statvfs(env!("CARGO_TARGET_TMPDIR")).expect("a file system");
    compare(Place::loopback(), (free.f_bavail * free.f_frsize / (8 << 20)).min(4096));
}

#[test]
#[ignore = "needs root, rsync, iproute2, python3 and a release build; prints figures"]
fn sync_beside_rsync_over_a_slow_link() {
    compare(Place::slow_link(), 16);
}
