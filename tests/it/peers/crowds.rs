//! More of them than there is room for: connections, descriptors.

use std::net::TcpStream;

use crate::program;
use support::client::{Client, Running, assert_same, content, wait_until};

/// Descriptors this process may open, both ends of every connection included.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.or(limit.current).map_or(4096, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[test]
fn thousands_of_idle_connections_do_not_disturb_one_that_works() {
    let server = Running::start(); // raises the limit of descriptors
    let count = 2000.min(descriptors().saturating_sub(300) / 6);
    let idle: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(server.address()).expect("room for one more")).collect();
    wait_until("all are accepted", || server.counters().open == count as u64);
    let bytes = content(1, 3 << 20);
    let mut client = server.client();
    for _ in 0..5 {
        client.put("/file", &bytes);
        assert_same(&client.get("/file"), &bytes, "beside idle connections");
    }
    // Facts are published at the end of a turn, and the last bytes may leave before that.
    wait_until("no slot is taken", || server.counters().slots_used == 0);
    assert_eq!(server.counters().open, count as u64 + 1);
    drop((idle, client));
    server.wait_until_quiet();
    server.assert_serves();
}

// covers: too-many-connections
#[test]
fn a_client_beyond_the_limit_is_refused_and_may_come_back() {
    let server = Running::limited(|limits| {
        limits.fixed.connections_max = 10;
        limits.fixed.per_address_percent = 100;
    });
    let mut taken: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for client in &mut taken {
        client.expect("PING", "OK 0");
    }
    for _ in 0..20 {
        let mut late = server.client();
        late.send_in_vain("PING\n");
        let said = late.last_words();
        assert!(said.starts_with("ERR 429 retry=1 "), "{said}");
    }
    wait_until("all are counted", || server.counters().turned_away == 20);
    for client in &mut taken {
        client.put("/file", b"goes on");
    }
    drop(taken);
    server.wait_until_quiet();
    server.assert_serves();
}

/// The server is a process of its own, so that its descriptors can run out without ours.
// covers: no-descriptors-to-accept
#[test]
fn when_descriptors_run_out_the_server_continues_with_those_it_has() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = program::run_by_shell(dir.path(), "ulimit -n 64");
    let mut early = program.client();
    early.put("/file", b"content");
    let crowd: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(program.address()).ok()).collect();
    // Some were turned away, some wait in the backlog; the others work on.
    for _ in 0..5 {
        assert_eq!(early.get("/file"), b"content");
        early.put("/file", b"content");
    }
    drop(crowd);
    wait_until("a new client is served", || {
        let mut late = program.client();
        late.send_in_vain("PING\n");
        late.finish();
        late.last_words() == "OK 0\n"
    });
    let bytes = content(1, 300_000);
    let mut late = program.client();
    late.put("/other", &bytes);
    assert_same(&late.get("/other"), &bytes, "after the crowd");
    drop((early, late));
    program.end();
}
