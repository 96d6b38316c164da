//! Slow heads, slow bodies and slow reads, each with nine tenths of the connections that the server admits.

use std::time::Instant;

use support::{client::wait_until, process};

use super::{Drip, Hostile, Target, attack, connect, host};

/// Of the 10,000 that the server admits by default.
const CROWD: usize = 9000;
/// The least that a socket takes.
const RECEIVE_BUFFER: usize = 2304;
/// So that all deadlines pass within the check, and no sooner than the crowd was measured.
const DEADLINES: [&str; 10] =
    ["--head-timeout", "8", "--stall-timeout", "8", "--rate-window", "8", "--slot-timeout", "8", "--idle-timeout", "8"];

fn held_off(what: &str, begin: impl Fn(usize) -> Vec<u8> + Send + Sync, drip: Drip) {
    if !process::permits(CROWD + 1000, "hostile") {
        return;
    }
    let target = Target::start(&DEADLINES);
    let address = target.server.address();
    let receive_buffer = matches!(drip, Drip::Reads).then_some(RECEIVE_BUFFER);
    let open = |nth: usize| Hostile::begins(connect(address, host(nth), receive_buffer), &begin(nth), drip);
    attack(&target, what, CROWD, open, |target| {
        // The crowd continues: the server ends each connection of it.
        let began = Instant::now();
        wait_until("the server has closed all of them", || target.files().len() <= target.descriptors);
        println!("hostile: {what}: all closed by the server after {:.1?}", began.elapsed());
    });
    target.assert_nothing_is_left(what);
}

// covers: never-reads reads-byte-by-byte
#[test]
#[ignore = "needs 10,000 descriptors, 20 s and a release build; prints figures"]
fn slow_heads_on_nine_tenths_of_the_connections_hold_up_no_other_client() {
    let begin = |_| b"GET /small HTTP/1.1\r\nHost: localhost\r\nX-A: ".to_vec();
    held_off("slow heads", begin, Drip::Sends(b"a"));
}

#[test]
#[ignore = "needs 10,000 descriptors, 20 s and a release build; prints figures"]
fn slow_bodies_on_nine_tenths_of_the_connections_hold_up_no_other_client() {
    let begin =
        |nth| format!("PUT /up/{nth} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nb").into_bytes();
    held_off("slow bodies", begin, Drip::Sends(b"b"));
}

#[test]
#[ignore = "needs 10,000 descriptors, 20 s and a release build; prints figures"]
fn slow_reads_on_nine_tenths_of_the_connections_hold_up_no_other_client() {
    held_off("slow reads", |_| b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Drip::Reads);
}
