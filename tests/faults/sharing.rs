//! Two servers on one directory: a counter that clients of both increase by compare-and-swap.
//!
//! The control is the same servers where one has a file system of its own over the lock files, in a mount
//! namespace of its own: then both lock, but not the same files. In both, each rename is delayed, so that
//! what may come between the look at a name and its rename does.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outside::{Mounted, Strace, Target, text};
use crate::server::Served;
use support::client::value;

const CLIENTS: usize = 8;
const INCREMENTS: u64 = 500;
/// Options of strace: each rename begins 2 ms later.
const TRACED: &str = "trace=renameat,renameat2";
const DELAYED: &str = "inject=renameat,renameat2:delay_enter=2000";

/// Mounts a file system in memory at `$0`, then becomes what follows.
const ALONE: &str = r#"mount -t tmpfs filewharf-faults "$0" && exec "$@""#;

/// How many of the acknowledged increments are lost, and how many were refused.
fn lost(servers: &[Served; 2]) -> (u64, u64) {
    let counter = "/folder/counter";
    servers[0].client().put(counter, b"0");
    let delayed = ["-e", TRACED, "-e", DELAYED].map(str::to_owned);
    let tracers = servers.each_ref().map(|server| Strace::attach(Target::Process(server.pid()), &delayed));
    let (stored, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for server in servers.iter().cycle().take(CLIENTS) {
            scope.spawn(|| {
                let mut client = server.client();
                while stored.load(Relaxed) < INCREMENTS {
                    let (line, body) = client.fetch(&format!("GET {counter}"));
                    let count: u64 = String::from_utf8(body).expect("text").parse().expect("a number");
                    let etag = value(&line, "etag").expect("an ETag");
                    let reply = client.try_put(&format!("if={etag} {counter}"), (count + 1).to_string().as_bytes());
                    let told = if reply.starts_with("OK ") { &stored } else { &refused };
                    assert!(reply.starts_with("OK ") || reply.starts_with("ERR 412 "), "{reply}");
                    told.fetch_add(1, Relaxed);
                }
            });
        }
    });
    servers.iter().for_each(Served::wait_until_asleep);
    drop(tracers);
    let count = String::from_utf8(servers[1].client().get(counter)).expect("text").parse::<u64>().expect("a number");
    (stored.load(Relaxed) - count, refused.load(Relaxed))
}

fn is_never_lost_but_without_common_locks(disk: &Mounted, what: &str) {
    let root = disk.path().join("served");
    let start = |before: &[&str]| Served::behind(before, &root, &["--shared"]);
    let servers = [start(&[]), start(&[])];
    let (lost_with, refused) = lost(&servers);
    println!("sharing: {what}: {lost_with} of {INCREMENTS} increments lost, {refused} refused");
    assert_eq!(lost_with, 0);
    let [first, second] = servers;
    assert_eq!(second.end(), Some(0));

    let locks = root.join(".filewharf/locks");
    assert!(fs::read_dir(&locks).is_ok_and(|mut locks| locks.next().is_some()), "both have locked");
    let servers = [first, start(&["unshare", "-m", "sh", "-c", ALONE, &text(&locks)])];
    let (lost_without, _) = lost(&servers);
    println!("sharing: {what}: {lost_without} of {INCREMENTS} lost without common locks");
    assert!(lost_without > 0, "the test shows nothing");
}

// covers: K11
#[test]
#[ignore = "needs root, strace and a release build"]
fn in_memory_two_servers_lose_no_increment_of_a_counter() {
    is_never_lost_but_without_common_locks(&Mounted::tmpfs("size=16M"), "tmpfs");
}

// covers: K11
#[test]
#[ignore = "needs root, strace, loop devices, e2fsprogs and a release build"]
fn on_a_disk_two_servers_lose_no_increment_of_a_counter() {
    is_never_lost_but_without_common_locks(&Mounted::image(64, &["mkfs.ext4", "-q"], ""), "ext4");
}
