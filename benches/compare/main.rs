//! filewharf, in HTTP and in its own protocol, beside lighttpd (mod_webdav) and nginx (DAV), over
//! loopback: server CPU time of all threads for the same work, on the same file system, in
//! alternating rounds; and what 9,000 idle connections cost each.
//!
//! `cargo bench --bench compare [-- WORDS]` runs what has one of the words in its name. The server
//! is pinned to the first core, the client to the second, congestion control to cubic; nothing is
//! synced by anybody. Only the ratios of one run mean anything. `FILEWHARF_CHECK_DIR` chooses the
//! file system, `FILEWHARF_ROUNDS` how often. What is not installed is left out, with a word.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures with the clock and reports to people"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod idle;
#[path = "../support/mod.rs"]
mod support;

use support::driver::Loss;
use support::peers::{Congestion, Peer, interrupted};
use support::{Content, Driver, Task, driver, figures, process};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;
const SMALL: u64 = 4096;
const NAMES: usize = 500;

/// The same work for everybody.
struct Work {
    name: &'static str,
    connections: usize,
    each: usize,
    task: fn(&str, usize) -> Task,
}

const WORKS: [Work; 7] = [
    Work {
        name: "get 1 GiB, one stream",
        connections: 1,
        each: 1,
        task: |_, _| Task::Drain { path: "/big".to_owned(), len: GIB },
    },
    Work {
        name: "put 1 GiB, one stream",
        connections: 1,
        each: 1,
        task: |who, _| Task::Put { path: format!("/big-{}", who.replace(' ', "-")), content: Content::new(1, GIB) },
    },
    Work {
        name: "get 1 MiB, 16 connections",
        connections: 16,
        each: 100,
        task: |_, _| Task::Drain { path: "/medium".to_owned(), len: MIB },
    },
    Work {
        name: "get 64 KiB, 64 connections",
        connections: 64,
        each: 100,
        task: |_, _| Task::Drain { path: "/page".to_owned(), len: PAGE },
    },
    Work {
        name: "get 4 KiB, 1,024 connections",
        connections: 1024,
        each: 40,
        task: |_, _| Task::Drain { path: "/small".to_owned(), len: SMALL },
    },
    Work {
        name: "get 4 KiB, 64 connections",
        connections: 64,
        each: 500,
        task: |_, _| Task::Drain { path: "/small".to_owned(), len: SMALL },
    },
    Work {
        name: "put 4 KiB, 64 connections, 500 names",
        connections: 64,
        each: 100,
        task: |who, n| Task::Put {
            path: format!("/small-{}-{}", who.replace(' ', "-"), n % NAMES),
            content: Content::new(2, SMALL),
        },
    },
];

/// One peer's figures: CPU and wall time of every round.
#[derive(Default)]
struct Column {
    cpu: Vec<Duration>,
    wall: Vec<Duration>,
}

fn round(peer: &Peer, work: &Work, root: &Path, column: &mut Column) {
    let _ = fs::remove_file(root.join(format!("big-{}", peer.name.replace(' ', "-"))));
    let mut clients = Driver::connect(peer.address, work.connections, peer.wire, Loss::Panics);
    let before = peer.cpu();
    let outcome = clients.run(driver::each(work.each, |at, n| (work.task)(peer.name, at * work.each + n)));
    column.cpu.push(peer.cpu() - before);
    column.wall.push(outcome.elapsed);
    assert_eq!(outcome.done, (work.connections * work.each) as u64);
}

fn compare(work: &Work, peers: &[Peer], root: &Path, rounds: usize, interrupted: &AtomicBool) {
    let mut columns: Vec<Column> = peers.iter().map(|_| Column::default()).collect();
    for peer in peers {
        round(peer, work, root, &mut Column::default()); // warms caches
    }
    for _ in 0..rounds {
        for (peer, column) in peers.iter().zip(&mut columns) {
            if interrupted.load(Ordering::Relaxed) {
                println!("compare: interrupted");
                return;
            }
            round(peer, work, root, column);
        }
    }
    println!("{}:", work.name);
    let requests = (work.connections * work.each) as u32;
    let spreads: Vec<_> =
        columns.into_iter().map(|c| (figures::Spread::new(c.cpu), figures::Spread::new(c.wall))).collect();
    let best = |of: fn(&figures::Spread) -> Duration| {
        peers.iter().zip(&spreads).filter(|(peer, _)| !peer.is_own()).map(|(_, (cpu, _))| of(cpu)).min()
    };
    for (peer, (cpu, wall)) in peers.iter().zip(&spreads) {
        let per = |time: Duration| time / requests;
        println!(
            "  {:14} cpu min {:9.1?} median {:9.1?} max {:9.1?}   wall min {:9.1?} median {:9.1?}",
            peer.name,
            per(cpu.least()),
            per(cpu.median()),
            per(cpu.permille(1000)),
            per(wall.least()),
            per(wall.median())
        );
    }
    if let (Some(least), Some(median)) = (best(figures::Spread::least), best(figures::Spread::median)) {
        for (peer, (own, _)) in peers.iter().zip(&spreads).filter(|(peer, _)| peer.is_own()) {
            println!(
                "  ratio of {} to the better peer: {:.2} (min), {:.2} (median)",
                peer.name,
                own.least().as_secs_f64() / least.as_secs_f64(),
                own.median().as_secs_f64() / median.as_secs_f64()
            );
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
    let interrupted = interrupted();
    let _congestion = Congestion::cubic();
    let folder = process::folder(env!("CARGO_TARGET_TMPDIR"));
    let (root, work) = (folder.path().join("root"), folder.path().join("work"));
    fs::create_dir(&root).expect("a folder");
    fs::create_dir(&work).expect("a folder");
    fs::write(root.join("small"), Content::new(3, SMALL).bytes()).expect("room for a file");
    fs::write(root.join("big"), Content::new(4, GIB).bytes()).expect("room for 1 GiB");
    fs::write(root.join("medium"), Content::new(5, MIB).bytes()).expect("room for a file");
    fs::write(root.join("page"), Content::new(6, PAGE).bytes()).expect("room for a file");
    let binary = env!("CARGO_BIN_EXE_filewharf");
    let mut peers = Vec::from(Peer::filewharf(binary, &root));
    peers.push(Peer::logging(binary, &root, &work));
    peers.extend(Peer::lighttpd(&root, &work));
    peers.extend(Peer::nginx(&root, &work));
    if words.is_empty() || words.iter().any(|word| idle::NAME.contains(word.as_str())) {
        idle::measure(&peers);
    }
    for work in &WORKS {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        if words.is_empty() || words.iter().any(|word| work.name.contains(word.as_str())) {
            compare(work, &peers, &root, rounds, &interrupted);
        }
    }
}
