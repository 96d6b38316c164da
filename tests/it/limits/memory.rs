//! Memory: what uploads hold, what idle connections hold, and what is promised at the start.

use super::{MOST, limits, rig};
use filewharf::Server;
use filewharf::access::{Access, file};
use filewharf::buffer::Outbox;
use filewharf::config::{Limits, SHORT_REPLY_BYTES};
use filewharf::dialect::{Kind, Listening};
use filewharf::ids::FileId;
use filewharf::os::net::TcpConnection;
use filewharf::platform::Op;
use filewharf::reactor::Reactor;
use filewharf::server::Ceiling;
use filewharf::server::platform::OsPlatform;
use filewharf::session::Session;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use support::rig::{Mode, Peer, Rig};

#[test]
fn an_upload_is_as_large_as_the_limit_and_no_larger() {
    for (len, taken) in [(MOST, true), (MOST + 1, false)] {
        for (kind, head) in [
            (Kind::Line, format!("PUT {len} /x\n")),
            (Kind::Http, format!("PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n")),
        ] {
            let listening = Listening::new(kind, &[], 0).expect("no options");
            let limits = limits().with(|l| l.live.request_bytes_max = MOST as u64);
            let mut rig = Rig::speaking(listening, Mode::PLAIN, limits, Access::default());
            let peer = rig.connect();
            rig.send(&peer, &[head.as_bytes(), &vec![b'a'; len]].concat());
            assert_eq!(rig.file("x").is_some(), taken, "{len} bytes: {}", peer.heard().escape_ascii());
        }
    }
}

#[test]
fn an_upload_is_at_most_two_windows_ahead_of_the_disk() {
    let mode = Mode { deferred: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 40 /x\n");
    rig.hold_completions(true);
    for n in 1..=40 {
        rig.send_in_turn(&peer, b"a");
        // The store asks for a write-back every five bytes, and none of them ends.
        assert_eq!(rig.counters().bytes_in, n.min(10));
    }
    rig.pass(Duration::from_secs(1000));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"OK 0 "), "it was our own disk: {}", peer.heard().escape_ascii());
    assert_eq!(rig.file("x"), Some(vec![b'a'; 40]));
}

#[test]
fn an_upload_to_a_slow_disk_holds_the_chunks_of_its_slot() {
    let mode = Mode { deferred: true, lags: true, ..Mode::PLAIN };
    let mut rig = Rig::new(mode, limits(), Access::default());
    let peer = rig.connect();
    rig.send(&peer, b"PUT 500 /x\n");
    rig.hold_completions(true);
    rig.send(&peer, &[b'a'; 500]);
    assert_eq!(rig.counters().bytes_in, 4 * 16);
    rig.pass(Duration::from_secs(1000));
    rig.hold_completions(false);
    assert!(peer.heard().starts_with(b"OK 0 "), "it was our own disk: {}", peer.heard().escape_ascii());
    assert_eq!(rig.file("x"), Some(vec![b'a'; 500]));
}

#[test]
fn an_idle_connection_holds_nothing() {
    for mode in Mode::all() {
        let mut rig = Rig::new(mode, limits(), Access::default());
        rig.place("there", &[b'b'; 200]);
        let peers: Vec<Peer> = (0..3).map(|_| rig.connect()).collect();
        for says in ["PING\n", "PUT 3 /x\nabc", "PUT 30 /y\n012345678901234567890123456789", "GET /there\n", "LIST /\n"]
        {
            for peer in &peers {
                rig.send(peer, says.as_bytes());
            }
            assert_eq!(rig.content_bytes(&limits()), 0, "{says:?} ({mode:?})");
        }
    }
}

#[test]
fn the_memory_that_is_promised_counts_what_a_connection_is_made_of() {
    let entry = Reactor::<OsPlatform>::entry_bytes();
    let parts = size_of::<Session>() + size_of::<TcpConnection>();
    assert!((parts..2 * parts).contains(&entry), "{entry} for {parts}");
    // Each idle connection keeps as much.
    assert!(entry <= 232, "{entry}");
    let mut ops = VecDeque::new();
    ops.push_back(Op::Close { file: FileId(1) });
    let work = Session::WORK_BYTES;
    let room = size_of::<Outbox>() + ops.capacity() * size_of::<Op>();
    assert!((room..room + 960).contains(&work), "{work} for {room}");
    let (less, more) = (Limits::default().fixed, Limits::default().with(|l| l.fixed.connections_max = 20_000).fixed);
    let each = (Ceiling::of(&more, false).total() - Ceiling::of(&less, false).total()) / 10_000;
    assert!(each >= entry + work + less.head_len_max + 2 * less.reply_bytes_max, "{each}");
}

#[test]
fn the_memory_that_is_promised_counts_what_is_spoken() {
    // One each: a process that another test starts may have the lock of the first for a moment.
    let folder = || tempfile::tempdir().expect("a temporary folder");
    let [line, http, pickle] = [Kind::Line, Kind::Http, Kind::Pickle].map(|kind| {
        let dir = folder();
        let server = Server::builder().root(dir.path()).listen_as(kind, "127.0.0.1:0").build();
        server.expect("a server").ceiling()
    });
    assert!(http.shared > line.shared + 1024, "what is kept of files that are asked for often");
    assert_eq!(http.slot, line.slot);
    let dir = folder();
    let tls = Server::builder().root(dir.path()).tls_self_signed(dir.path());
    let tls = tls.listen_at("line@127.0.0.1:0?tls".parse().expect("an address")).build();
    let tls = tls.expect("a server").ceiling();
    assert!(tls.connection > line.connection + 64 * 1024 && tls.shared > line.shared, "records");
    assert!(pickle.slot >= 2 * Limits::default().fixed.message_bytes_max && pickle.slot > line.slot, "whole messages");
}

/// A server with one slot and clients that have small receive buffers, where anybody may upload to `/drop/` and see
/// nothing there.
fn slow_readers() -> Rig {
    let rules = "key k base64:AAAAAAAAAAAAAAAAAAAAAA==\nallow @ c /drop\nallow @ rl /";
    let access = Access::with_rules(Arc::new(file::parse(rules).expect("rules")), false);
    let listening = Listening::new(Kind::Http, &[], 0).expect("no options");
    Rig::speaking(listening, Mode { window: 1000, ..Mode::PLAIN }, one_slot(), access)
}

fn one_slot() -> Limits {
    Limits::default().with(|l| l.fixed.slots = 1)
}

#[test]
fn a_scrape_and_the_page_of_a_drop_box_hold_a_part_and_no_slot_when_they_are_read_slowly() {
    let mut rig = slow_readers();
    for (path, parts_min) in [("/.filewharf/metrics", 5), ("/drop/", 15)] {
        let peer = rig.connect();
        rig.send_unread(&peer, format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n").as_bytes());
        let mut parts = 0;
        while rig.content_bytes(&one_slot()) > 0 {
            assert_eq!(rig.counters().slots_used, 0);
            let bytes = rig.content_bytes(&one_slot());
            assert!(bytes <= SHORT_REPLY_BYTES, "{path}: {bytes}");
            parts += 1;
            rig.read(&peer, 1000);
        }
        assert!(parts >= parts_min && peer.heard().ends_with(b"\n\r\n0\r\n\r\n"), "{path}: {parts}");
    }
}

#[test]
fn the_page_of_a_drop_box_ends_when_the_rules_change_it_on_its_way() {
    let mut rig = slow_readers();
    let peer = rig.connect();
    rig.send_unread(&peer, b"GET /drop/ HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
    rig.replace_rules(file::parse("allow @ cdw /drop\nallow @ rl /").expect("rules"));
    while !peer.is_gone() && rig.content_bytes(&one_slot()) > 0 {
        rig.read(&peer, 1000);
    }
    assert!(peer.is_reset() && !peer.heard().ends_with(b"0\r\n\r\n"));
}

#[test]
#[cfg(feature = "webdav")]
fn a_long_reply_that_is_not_sent_in_parts_needs_a_slot() {
    let mut rig = slow_readers();
    rig.place("f", b"content");
    let (first, second) = (rig.connect(), rig.connect());
    let names: String = (0..100).map(|n| format!("<x:n{n}/>")).collect();
    let namespace = "urn:".to_owned() + &"x".repeat(146);
    let body = format!("<propfind xmlns='DAV:' xmlns:x='{namespace}'><prop>{names}</prop></propfind>");
    let len = body.len();
    let asked = format!("PROPFIND /f HTTP/1.1\r\nHost: x\r\nDepth: 0\r\nContent-Length: {len}\r\n\r\n{body}");
    rig.send_unread(&first, asked.as_bytes());
    assert_eq!(rig.counters().slots_used, 1);
    rig.send_unread(&second, asked.as_bytes());
    assert!(second.is_gone() && second.heard().is_empty(), "it would be on nobody's account");
    let mut bytes = rig.content_bytes(&one_slot());
    while bytes > 0 {
        let is_short = bytes <= SHORT_REPLY_BYTES + one_slot().fixed.reply_bytes_max;
        assert!(is_short || rig.counters().slots_used == 1, "{bytes} bytes without a slot");
        rig.read(&first, 1000);
        bytes = rig.content_bytes(&one_slot());
    }
    assert_eq!(rig.counters().slots_used, 0);
    assert!(first.heard().ends_with(b"</D:multistatus>") || first.heard().ends_with(b"multistatus>\n"));
}

#[test]
fn a_part_of_a_head_costs_what_it_holds() {
    let mut rig = rig(limits());
    let peer = rig.connect();
    rig.send(&peer, b"PI");
    assert_eq!(rig.content_bytes(&limits()), 2);
}
