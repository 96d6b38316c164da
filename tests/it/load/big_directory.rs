//! A directory with 100,000 files: every name is found, page by page, in HTTP, while the server's
//! memory stays small and its loop is never held up.
//!
//! `cargo test --release --test it -- --ignored --nocapture big_directory`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the figures of a slow check are for people, and wall time is one of them"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::client::PATIENCE;
use support::server::Program;
use support::{figures, process};

const FILES: usize = 100_000;
/// More than this per listed name would mean that the directory is held, and not a page of it.
const MEMORY_KIB_MAX: u64 = 8 * 1024;

/// One request on one connection, answered and closed: the head, the content, and the time until
/// the first byte of the answer.
fn get(server: &Program, target: &str, accept: &str) -> (String, String, Duration) {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let began = Instant::now();
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut reply = vec![0; 1];
    stream.read_exact(&mut reply).expect("an answer in time");
    let first = began.elapsed();
    stream.read_to_end(&mut reply).expect("the whole answer");
    let reply = String::from_utf8(reply).expect("text");
    let (head, content) = reply.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    (head.to_owned(), content.to_owned(), first)
}

/// A sample of `/.filewharf/metrics`.
fn metric(server: &Program, name: &str) -> f64 {
    let (_, text, _) = get(server, "/.filewharf/metrics", "*/*");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// The query in `Link: <…>; rel="next"`, which is relative to the directory.
fn next(head: &str) -> Option<String> {
    let line = head.lines().find_map(|line| line.strip_prefix("Link: <"))?;
    Some(line.split_once(">; rel=\"next\"").expect("the next page").0.to_owned())
}

// covers: long-listing
#[test]
#[ignore = "makes 100,000 files; prints figures of a release build"]
fn every_name_of_a_directory_with_a_hundred_thousand_files_is_found_in_bounded_memory() {
    let root = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let dir = root.path().join("many");
    fs::create_dir(&dir).expect("a folder");
    for n in 0..FILES {
        fs::write(dir.join(format!("file number {n:06}.txt")), b"").expect("room for a name");
    }
    let server = Program::start(&[], env!("CARGO_BIN_EXE_filewharf"), root.path(), &[]);
    let (_, page, first_page) = get(&server, "/many/", "text/html");
    assert!(page.contains("file number 000000.txt"), "the first name is on the page");
    let before = process::status(server.pid(), "VmRSS:");

    let (mut names, mut firsts, began) = (Vec::new(), Vec::new(), Instant::now());
    let mut target = Some("/many/".to_owned());
    while let Some(here) = target.take() {
        let (head, content, first) = get(&server, &here, "application/x-ndjson");
        firsts.push(first);
        names.extend(content.lines().map(|line| {
            let name = line.strip_prefix("{\"name\":\"").and_then(|rest| rest.split_once('"'));
            name.unwrap_or_else(|| panic!("{line}")).0.to_owned()
        }));
        target = next(&head).map(|query| format!("/many/{query}"));
    }
    let took = began.elapsed();
    assert_eq!(names.len(), FILES, "every name once");
    assert!(names.is_sorted_by(|one, other| one < other), "in byte order");

    let (after, highest) = (process::status(server.pid(), "VmRSS:"), process::status(server.pid(), "VmHWM:"));
    let turn_ms = metric(&server, "filewharf_turn_longest_seconds") * 1000.0;
    let times = figures::Spread::new(firsts);
    println!("big folder: first byte of the page for people {first_page:.1?}; of each page of names {times}");
    println!("big folder: {FILES} names in {took:.1?}; RSS {before} KiB, then {after}, at most {highest}");
    println!("big folder: longest turn {turn_ms:.2} ms");
    assert!(after < before + MEMORY_KIB_MAX, "{after} KiB, from {before}");
}
