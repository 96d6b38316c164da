//! Two servers on one directory: a counter that clients of both increase by compare-and-swap.
//!
//! The control is the same servers where one has a file system of its own over the lock files, in a mount
//! namespace of its own: then both lock, but not the same files. In both, each rename is delayed, so that
//! what may come between the look at a name and its rename does.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outside::{Mounted, Strace, Target, text};
use crate::remote::Remote;
use crate::server::{Served, dir};
use support::client::{assert_same, content, value, wait_until};

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
    let start = |before: &[&str]| Served::run_by(before, &root, &["--shared"]);
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

// covers: shared-directory
#[test]
#[ignore = "needs root, strace and a release build"]
fn in_memory_two_servers_lose_no_increment_of_a_counter() {
    is_never_lost_but_without_common_locks(&Mounted::tmpfs("size=16M"), "tmpfs");
}

// covers: shared-directory
#[test]
#[ignore = "needs root, strace, loop devices, e2fsprogs and a release build"]
fn on_a_disk_two_servers_lose_no_increment_of_a_counter() {
    is_never_lost_but_without_common_locks(&Mounted::image(64, &["mkfs.ext4", "-q"], ""), "ext4");
}

/// Two mounts of one directory through processes, each of which remembers what was read through it, as two machines do.
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn servers_of_machines_that_remember_what_they_have_read_agree_on_the_offset_of_an_upload() {
    const LEN: usize = 30_000;
    const PARTS: usize = 6;
    let served = dir();
    let remembering = "kernel_cache,attr_timeout=0,entry_timeout=0";
    let options = ["--enable-lock-forwarding", "--multithreaded", "-o", remembering];
    let mounts = [(); 2].map(|()| Remote::over(served.path(), dir(), &options));
    let servers = mounts.each_ref().map(|mount| Served::start(&mount.root(), &["--shared"]));
    let content = content(1, LEN);
    for (part, bytes) in content.chunks(LEN / PARTS).enumerate() {
        let (mut client, offset) = (servers[part % 2].client(), part * bytes.len());
        assert_eq!(client.ask(&format!("PUT {LEN} resume=token /f")), format!("GO {offset}"));
        client.send(bytes);
        if part == PARTS - 1 {
            assert!(client.line().starts_with("OK 0 "));
            continue;
        }
        drop(client);
        let told = format!("OK 0 offset={} ", offset + bytes.len());
        for server in &servers {
            wait_until("both tell the offset", || server.client().ask("STAT resume=token /f").starts_with(&told));
        }
    }
    servers.iter().for_each(|server| assert_same(&server.client().get("/f"), &content, "the file"));
}

/// Two mounts that remember names and what stands at them for longer than the test runs: the mounts of some network file
/// systems do so for a second.
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn what_a_machine_remembers_of_a_name_lets_no_second_change_of_the_same_version_win() {
    let served = dir();
    let options = ["--enable-lock-forwarding", "--multithreaded", "-o", "attr_timeout=60,entry_timeout=60"];
    let mounts = [(); 2].map(|()| Remote::over(served.path(), dir(), &options));
    let servers = mounts.each_ref().map(|mount| Served::start(&mount.root(), &["--shared"]));
    servers[0].client().put("/f", b"0");
    for n in 0..20 {
        let seen = servers.each_ref().map(|server| value(&server.client().ask("STAT /f"), "etag").expect("an ETag"));
        let [one, other] = [n % 2, 1 - n % 2];
        let put = |at: usize| servers[at].client().try_put(&format!("if={} /f", seen[at]), b"1");
        let (first, second) = (put(one), put(other));
        let both = first.starts_with("OK ") && second.starts_with("OK ");
        assert!(!both, "both have replaced {seen:?}");
        // What is true now is learned by a change without a condition.
        servers[one].client().put("/f", b"0");
        servers[other].client().put("/f", b"0");
    }
}
