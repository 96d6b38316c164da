//! Several servers on one directory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use filewharf::Server;
use filewharf::object::Durability;

use support::client::{Running, value};

/// Fewest increments of the counter.
const INCREMENTS: u64 = 400;

/// Each increment reads the counter and stores the next number if the version is still the one that was read.
#[test]
fn a_counter_that_several_servers_compare_and_swap_loses_no_increment() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
    let start = || Running::on(dir.path(), |builder| builder.shared(true).durability(Durability::Written));
    let servers = [start(), start(), start()];
    servers[0].client().put("/counter", b"0");
    let (stored, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for server in servers.iter().chain(&servers) {
            scope.spawn(|| {
                let mut client = server.client();
                while stored.load(Relaxed) < INCREMENTS {
                    let (line, body) = client.fetch("GET /counter");
                    let count: u64 = String::from_utf8(body).expect("text").parse().expect("a number");
                    let etag = value(&line, "etag").expect("an ETag");
                    let reply = client.try_put(&format!("if={etag} /counter"), (count + 1).to_string().as_bytes());
                    let told = if reply.starts_with("OK ") { &stored } else { &refused };
                    assert!(reply.starts_with("OK ") || reply.starts_with("ERR 412 "), "{reply}");
                    told.fetch_add(1, Relaxed);
                }
            });
        }
    });
    let count: u64 = String::from_utf8(servers[1].client().get("/counter")).expect("text").parse().expect("a number");
    assert_eq!(count, stored.load(Relaxed), "increments lost; {} were refused", refused.load(Relaxed));
}

// covers: shared-directory
#[test]
fn a_second_server_says_why_it_does_not_start() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let first = Running::on(dir.path(), |builder| builder);
    for shared in [false, true] {
        let second = Server::builder().root(dir.path()).listen("127.0.0.1:0").shared(shared).build();
        let error = second.err().expect("an error").to_string();
        assert!(error.contains("another server has the folder") && error.contains("--shared"), "{error}");
    }
    first.assert_serves();
    Running::on(dir.path(), |builder| builder.read_only(true)).client().expect("PING", "OK 0");
}
