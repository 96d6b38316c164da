//! The same requests as in `parse` and `session`, this many times and without a clock: for tools that
//! count instructions. See `.ci/instructions`.
//!
//! `counted NAME TIMES`; without a name it lists them.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench ends at the first surprise")]

use std::hint::black_box;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::wire::http::{head, target};
use filewharf::wire::{key, line};

use support::rig::{Mode, Rig};

/// What wrk sends, and a browser's request is some fields longer.
const GET: &[u8] = b"GET /inbox/photo.jpg HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nUser-Agent: counted/1\r\n\r\n";
const GET_LINE: &[u8] = b"GET /inbox/photo.jpg\n";
/// Requests on one connection: the rig keeps every reply.
const EACH: usize = 16;

fn parse_http(times: usize) {
    for _ in 0..times {
        let len = head::end(black_box(GET), 0).unwrap().unwrap();
        let head = head::parse_found(&GET[..len], head::Sender::Client).unwrap();
        black_box(target::path(head.path).unwrap());
    }
}

fn parse_line(times: usize) {
    for _ in 0..times {
        let (text, _) = line::cut(black_box(GET_LINE)).unwrap().unwrap();
        let request = line::request(text).unwrap();
        black_box(key::absolute(request.path).unwrap());
    }
}

fn ask(kind: Kind, times: usize, request: &[u8]) {
    let listening = Listening::new(kind, &[], 0).unwrap();
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), Access::default());
    let first = rig.connect();
    let store: &[u8] = match kind {
        Kind::Http => b"PUT /inbox/photo.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour",
        _ => b"PUT 4 /inbox/photo.jpg\nfour",
    };
    rig.send(&first, store);
    for _ in 0..times / EACH {
        let peer = rig.connect();
        for _ in 0..EACH {
            rig.send(&peer, request);
        }
        assert!(peer.heard().ends_with(b"four"));
        rig.finish(&peer);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let times = arguments.get(1).map_or(0, |times| times.parse().unwrap());
    match arguments.first().map(String::as_str) {
        Some("parse-http-get") => parse_http(times),
        Some("parse-line-get") => parse_line(times),
        Some("session-http-get") => ask(Kind::Http, times, GET),
        Some("session-line-get") => ask(Kind::Line, times, GET_LINE),
        Some("session-line-put") => ask(Kind::Line, times, b"PUT 4 /inbox/photo.jpg\nfourGET /inbox/photo.jpg\n"),
        _ => println!("parse-http-get parse-line-get session-http-get session-line-get session-line-put"),
    }
}
