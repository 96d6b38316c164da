//! A program that drives the server from a loop of its own, and limits that no server can keep.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use filewharf::server::{LimitError, ServerError};
use filewharf::{Limits, Server};

const WAIT: Duration = Duration::from_millis(1);

#[test]
fn a_program_may_drive_the_server_from_a_loop_of_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::builder().root(dir.path()).listen("127.0.0.1:0").build().expect("a server");
    let handle = server.handle();
    let mut client = TcpStream::connect(handle.addresses()[0].0).expect("the server listens");
    client.write_all(b"PING\n").expect("it is sent");
    client.set_nonblocking(true).expect("O_NONBLOCK");
    let mut reply = Vec::new();
    while reply.len() < 5 {
        assert_eq!(server.turn(WAIT).expect("the loop runs"), None);
        let _ = client.read_to_end(&mut reply);
    }
    assert_eq!(reply, b"OK 0\n");
    handle.drain();
    let ended = loop {
        if let Some(ended) = server.turn(WAIT).expect("the loop runs") {
            break ended;
        }
    };
    assert_eq!(ended.cut_off, 0);
    assert_eq!(server.turn(WAIT).expect("nothing is left to do"), Some(ended));
}

#[test]
fn a_turn_waits_no_longer_than_it_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::builder().root(dir.path()).listen("127.0.0.1:0").build().expect("a server");
    let before = server.handle().counters().turns;
    for _ in 0..20 {
        assert_eq!(server.turn(WAIT).expect("the loop runs"), None);
    }
    assert_eq!(server.handle().counters().turns, before + 20);
}

#[test]
fn limits_that_no_server_can_keep_are_refused_and_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let refused = |change: fn(&mut Limits)| {
        let limits = Limits::default().with(change);
        match Server::builder().root(dir.path()).listen("127.0.0.1:0").limits(limits).build() {
            Err(ServerError::Limit(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("accepted"),
        }
    };
    let zero = |limit| LimitError::Zero { limit };
    assert_eq!(refused(|limits| limits.contention_interval = Duration::ZERO), zero("contention_interval"));
    assert_eq!(refused(|limits| limits.accept_retry = Duration::ZERO), zero("accept_retry"));
    assert_eq!(refused(|limits| limits.slots = usize::MAX / 2), LimitError::Memory);
    assert_eq!(refused(|limits| limits.slots = 0), LimitError::TooSmall { limit: "slots", value: 0, min: 1 });
    let nothing = LimitError::TooSmall { limit: "upload_sync_bytes", value: 0, min: 1 };
    assert_eq!(refused(|limits| limits.upload_sync_bytes = 0), nothing, "one checkpoint after the other, for ever");
    let window = LimitError::TooLarge { limit: "list_window_bytes", value: 9 << 30, max: 4 << 30 };
    assert_eq!(refused(|limits| limits.list_window_bytes = 9 << 30), window);
    assert_eq!(window.to_string(), "list_window_bytes is 9663676416 but must be at most 4294967296");
}
