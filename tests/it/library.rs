//! A program that drives the server from a loop of its own, and limits that no server can keep.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use filewharf::server::{LimitError, ServerError};
use filewharf::{Limits, Server};
use rustix::event::{PollFd, PollFlags, poll};

const LONG: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(1);

#[test]
fn a_program_may_drive_the_server_from_a_loop_of_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::builder().root(dir.path()).listen("127.0.0.1:0").build().expect("a server");
    let handle = server.handle();
    let mut client =
        TcpStream::connect(handle.addresses()[0].0.socket_addr().expect("over TCP")).expect("the server listens");
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

/// With poll(2), so that it runs on every system.
#[test]
fn a_program_that_waits_for_its_own_events_too_serves_a_transfer_without_a_tick() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("f"), vec![b'x'; 3_000_000]).expect("a file");
    let mut server = Server::builder().root(dir.path()).listen("127.0.0.1:0").build().expect("a server");
    let address = server.handle().addresses()[0].0.socket_addr().expect("over TCP");
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).expect("the server listens");
        client.write_all(b"GET /f\n").expect("it is sent");
        client.shutdown(Shutdown::Write).expect("it is sent");
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).expect("an answer");
        reply.len()
    });
    let mut turns = 0;
    while !client.is_finished() {
        let wait = server.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        // So that the test ends: the thread of the client does not wake this one.
        let wait = wait.unwrap_or(LONG).min(LONG);
        poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&wait.try_into().expect("short"))).expect("poll(2)");
        assert_eq!(server.turn(Duration::ZERO).expect("the loop runs"), None);
        turns += 1;
    }
    assert!(client.join().expect("it is served") > 3_000_000);
    assert!(turns < 10_000, "{turns} turns: it waits between two events");
}

#[test]
fn what_an_address_is_asked_for_besides_is_read_or_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let build = |address: &str| Server::builder().root(dir.path()).listen(address).build();
    let refused = |address: &str| build(address).err().expect("refused").to_string();
    assert!(build("http@127.0.0.1:0?cors=*").is_ok());
    assert_eq!(refused("127.0.0.1:0?tsl").split(',').next(), Some("auto knows no option \"tsl\""));
    assert!(refused("127.0.0.1:0?tls").contains("speaks TLS"));
    assert!(refused("127.0.0.1").contains("is not ADDR:PORT"));
}

#[test]
fn a_turn_waits_no_longer_than_its_timeout() {
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
    assert_eq!(refused(|limits| limits.live.contention_interval = Duration::ZERO), zero("contention_interval"));
    assert_eq!(refused(|limits| limits.live.accept_retry = Duration::ZERO), zero("accept_retry"));
    assert_eq!(refused(|limits| limits.fixed.slots = usize::MAX / 2), LimitError::Memory);
    assert_eq!(refused(|limits| limits.fixed.slots = 0), LimitError::TooSmall { limit: "slots", value: 0, min: 1 });
    let nothing = LimitError::TooSmall { limit: "upload_sync_bytes", value: 0, min: 1 };
    assert_eq!(
        refused(|limits| limits.live.upload_sync_bytes = 0),
        nothing,
        "one checkpoint after the other, for ever"
    );
    let window = LimitError::TooLarge { limit: "list_window_bytes", value: 9 << 30, max: 4 << 30 };
    assert_eq!(refused(|limits| limits.fixed.list_window_bytes = 9 << 30), window);
    assert_eq!(window.to_string(), "list_window_bytes is 9663676416 but must be at most 4294967296");
}
