//! Links that break, replies that are lost, and servers that are killed: a client continues from
//! where the server says, and what is stored is what was sent.

use std::fs;
use std::thread;

use super::cutting_proxy::Break::{self, Connection, Reply, Server};
use super::{Bench, Client};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 64 * MIB + 4321;
/// What may be lost with one break: bytes that no buffer of the kernel has handed on, on both sides of
/// the link, and those of which no part has been made durable.
const IN_FLIGHT: u64 = 10 * MIB;
const NOT_DURABLE: u64 = 2 * MIB;

const CUTS: [(u64, Break); 3] = [(16 * MIB, Connection), (32 * MIB, Connection), (48 * MIB + 7, Connection)];
const KILLS: [(u64, Break); 3] = [(16 * MIB, Server), (32 * MIB, Server), (48 * MIB + 11, Server)];
/// The second is the one that says the end.
const LOST: [(u64, Break); 2] = [(2 * MIB, Reply), (SIZE - 100, Reply)];

/// Sends a file while this breaks; each client in one piece and in several.
fn survives(client: Client, breaks: &[(u64, Break)]) {
    // Parts are made durable often, so that a kill loses little.
    let bench = Bench::new(&["--upload-sync", "1M"]);
    for chunk in [None, Some("chunk=10000000")] {
        let bytes = bench.file("f", SIZE);
        bench.link.plan(breaks.iter().copied());
        let words: Vec<&str> = ["file=f"].into_iter().chain(chunk).collect();
        let report = bench.run(client, &words);
        report.succeeded(1);
        bench.assert_stored("f", &bytes);
        // It continued from where the server was, and did not start again.
        let again = bench.link.sent() - SIZE;
        assert!(again < breaks.len() as u64 * (IN_FLIGHT + NOT_DURABLE), "{again} bytes were sent again: {report:#?}");
        assert!(report.count("POST") <= 1, "it started again: {report:#?}");
        fs::remove_file(bench.served("f")).expect("it is there");
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_resumes_when_connections_are_cut() {
    survives(Client::TusJs, &CUTS);
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn tus_js_resumes_when_the_server_is_killed() {
    survives(Client::TusJs, &KILLS);
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn uppy_resumes_when_connections_are_cut() {
    survives(Client::Uppy, &CUTS);
}

#[test]
#[ignore = "needs node, npm and a registry"]
fn uppy_resumes_when_the_server_is_killed() {
    survives(Client::Uppy, &KILLS);
}

#[test]
#[ignore = "needs python3, pip and a registry"]
fn tuspy_resumes_when_connections_are_cut() {
    survives(Client::TusPy, &CUTS);
}

#[test]
#[ignore = "needs python3, pip and a registry"]
fn tuspy_resumes_when_the_server_is_killed() {
    survives(Client::TusPy, &KILLS);
}

/// Every part continues by itself.
#[test]
#[ignore = "needs node, npm and a registry"]
fn parallel_parts_survive_cuts_and_kills() {
    let bench = Bench::new(&["--upload-sync", "1M"]);
    for parallel in ["parallel=4", "parallel=2"] {
        for breaks in [CUTS, KILLS] {
            let bytes = bench.file("f", SIZE);
            bench.link.plan(breaks);
            let report = bench.run(Client::TusJs, &["file=f", parallel]);
            report.succeeded(1);
            bench.assert_stored("f", &bytes);
            let again = bench.link.sent() - SIZE;
            // A kill ends all parts at once.
            assert!(again < 4 * breaks.len() as u64 * (IN_FLIGHT + NOT_DURABLE), "{again} bytes again: {report:#?}");
            println!("{parallel}, {breaks:?}: {again} bytes were sent again");
            fs::remove_file(bench.served("f")).expect("it is there");
        }
    }
    bench.link.end();
}

/// The server answers a client that asks again about what it had acknowledged.
#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn a_reply_that_is_lost_is_found_again() {
    let bench = Bench::new(&[]);
    for client in [Client::TusJs, Client::Uppy, Client::TusPy] {
        let bytes = bench.file("f", SIZE);
        bench.link.plan(LOST);
        let report = bench.run(client, &["file=f", "chunk=5000000"]);
        report.succeeded(1);
        bench.assert_stored("f", &bytes);
        assert!(bench.link.sent() < SIZE + IN_FLIGHT, "{} bytes: {report:#?}", bench.link.sent());
        fs::remove_file(bench.served("f")).expect("it is there");
    }
    bench.link.end();
}

#[test]
#[ignore = "needs node, npm, python3, pip and a registry"]
fn another_process_resumes_what_one_gave_up() {
    let bench = Bench::new(&[]);
    let bytes = bench.file("f", 5_000_000);
    for (first, second) in
        [(Client::TusJs, Client::TusPy), (Client::TusPy, Client::TusJs), (Client::TusJs, Client::TusJs)]
    {
        let report = bench.run(first, &["file=f", "chunk=1000000", "stop=3000000"]);
        let url = report.stopped.clone().unwrap_or_else(|| panic!("{report:#?}"));
        assert!(!bench.served("f").exists(), "a part is never visible");
        let report = bench.run(second, &["file=f", "chunk=1000000", &format!("url={url}")]);
        report.succeeded(1);
        assert_eq!(report.count("POST"), 0, "{report:#?}");
        assert!(report.count("PATCH") <= 3, "{report:#?}");
        bench.assert_stored("f", &bytes);
        fs::remove_file(bench.served("f")).expect("it is there");
    }
    bench.link.end();
}

/// Four at once over one link that breaks again and again.
#[test]
#[ignore = "needs node, npm and a registry"]
fn four_files_at_once_survive_cuts_and_kills() {
    let bench = Bench::new(&["--upload-sync", "1M"]);
    for client in [Client::TusJs, Client::Uppy] {
        let files = ["a", "b", "c", "d"].map(|name| (name, bench.file(name, SIZE / 4 + name.len() as u64)));
        bench.link.plan([(9 * MIB, Connection), (18 * MIB, Server), (27 * MIB, Connection), (45 * MIB, Server)]);
        let report = bench.run(client, &["file=a", "file=b", "file=c", "file=d"]);
        report.succeeded(4);
        for (name, bytes) in &files {
            bench.assert_stored(name, bytes);
            fs::remove_file(bench.served(name)).expect("it is there");
        }
        let _ = bench.link.sent();
    }
    bench.link.end();
}

/// Each ends the other's requests, until one of them is done; the other finds that it is.
#[test]
#[ignore = "needs node, npm and a registry"]
fn two_processes_at_one_upload_store_it_once() {
    let bench = Bench::new(&[]);
    for chunk in ["chunk=1000000", "chunk=40000000"] {
        let bytes = bench.file("f", 32 * MIB + 1);
        let report = bench.run(Client::TusJs, &["file=f", "chunk=500000", "stop=500000"]);
        let url = report.stopped.clone().unwrap_or_else(|| panic!("{report:#?}"));
        let url = format!("url={url}");
        let send = || bench.run(Client::TusJs, &["file=f", chunk, &url]);
        let reports = thread::scope(|scope| {
            let other = scope.spawn(send);
            [send(), other.join().expect("it ends")]
        });
        // One may have lost so often that it gave up: it says so.
        assert!(reports.iter().any(|report| report.successes.len() == 1), "{reports:#?}");
        assert!(reports.iter().all(|report| report.count("POST") == 0), "{reports:#?}");
        bench.assert_stored("f", &bytes);
        fs::remove_file(bench.served("f")).expect("it is there");
    }
    bench.link.end();
}
