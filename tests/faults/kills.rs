//! The server dies at every system call of a whole conversation, and of its own recovery.
//!
//! `strace` kills it before the n-th call of a name, thread by thread. What had been acknowledged
//! is there afterwards, everything else is as before or complete, and the next start sweeps what
//! was left, as often as it takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::calls::{ONE_OF_EACH, sites};
use crate::outside::{Strace, Target};
use crate::script::{Refusal, all_served, check, converse, prepare};
use crate::server::{Served, binary, dir};
use crate::wire::{Reply, Wire};
use support::client::{content, staged};

/// Calls before which it makes no difference when the server dies.
const IDLE: [&str; 5] = ["brk", "epoll_wait", "futex", "getrusage", "restart_syscall"];

// covers: no-memory kill-at-any-call crash-after-acknowledgement ends-itself panic
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_server_that_dies_at_any_call_loses_nothing_it_acknowledged_and_shows_nothing_torn() {
    dies_at_any_call(Wire::Line);
}

// covers: kill-at-any-call
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_server_that_dies_at_any_call_loses_nothing_it_acknowledged_in_http() {
    dies_at_any_call(Wire::Http);
}

fn dies_at_any_call(wire: Wire) {
    let root = dir();
    let mut server = Served::start(root.path(), &ONE_OF_EACH);
    server.wait_until_swept();
    let calls = sites(&server, wire);
    let (mut kills, mut acked, mut left) = (0, 0, 0);
    for (thread, _, call, _) in &calls {
        if IDLE.contains(&call.as_str()) {
            continue;
        }
        for nth in 1.. {
            prepare(root.path());
            let id = server.thread(thread);
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let strace =
                Strace::attach(Target::Thread(id), &["-e".into(), format!("trace={call}"), "-e".into(), inject]);
            let told = converse(wire, server.address());
            let what = format!("killed at {call} #{nth} in {thread}");
            // Its last call may come only after the last reply; that of the log comes even later, perhaps
            // while the tracer detaches.
            let survives = all_served(&told) && !dies(&mut server);
            drop(strace);
            if survives && !server.has_ended() {
                break;
            }
            server.kill();
            kills += 1;
            acked += told.iter().filter(|(_, reply)| matches!(reply, Reply::Served(_))).count();
            left += staged(root.path()).len();
            check(root.path(), wire, &told, Refusal::MayBeVisible, &what);
            server = Served::start(root.path(), &ONE_OF_EACH);
            server.wait_until_swept();
            check(root.path(), wire, &told, Refusal::MayBeVisible, &format!("{what}, and started again"));
        }
    }
    println!(
        "kills: {wire:?}: {kills} places to die, {acked} replies before them, {left} staging files left and swept"
    );
    assert!(kills > 100 && left > 0, "the walk has missed the interesting calls");
    server.assert_serves();
    assert_eq!(server.end(), Some(0));
}

/// Has it been killed? Not if it has nothing more to do.
pub fn dies(server: &mut Served) -> bool {
    loop {
        if server.has_ended() {
            return true;
        }
        if server.is_swept() && server.is_asleep() {
            return server.has_ended();
        }
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

/// What a dead process leaves: its directory, a lock that is not held, and staging files.
fn leave_dead(root: &Path) {
    for owner in ["4000001-1", "4000002-1"] {
        let dir = root.join(".filewharf/staging").join(owner);
        fs::create_dir_all(&dir).expect("a folder");
        for name in ["LOCK", "0", "1", "2"] {
            fs::write(dir.join(name), name).expect("a file");
        }
    }
}

// covers: leftovers-at-start
#[test]
#[ignore = "needs a release build; prints figures"]
fn a_start_beside_ten_thousand_leftovers_serves_at_once_and_sweeps_them() {
    let root = dir();
    let dead = root.path().join(".filewharf/staging/4000001-1");
    fs::create_dir_all(&dead).expect("a folder");
    for name in (0..10_000).map(|n| n.to_string()).chain(["LOCK".to_owned()]) {
        fs::write(dead.join(name), "left").expect("a file");
    }
    let began = std::time::Instant::now();
    let server = Served::start(root.path(), &[]);
    server.assert_serves();
    let served = began.elapsed();
    server.wait_until_swept();
    println!(
        "kills: beside 10,000 leftovers: the first client was served in {served:.2?}, all swept in {:.2?}",
        began.elapsed()
    );
    assert_eq!(server.end(), Some(0));
}

/// Calls of a start and of the sweep after it that the dynamic loader does not make as well.
const OF_A_START: [&str; 12] = [
    "mkdirat",
    "flock",
    "openat2",
    "pwrite64",
    "renameat2",
    "renameat",
    "fallocate",
    "unlinkat",
    "getdents64",
    "listen",
    "epoll_ctl",
    "newfstatat",
];

// covers: crash-in-sweep
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_recovery_that_dies_at_any_call_is_taken_up_by_the_next() {
    let root = dir();
    fs::write(root.path().join("kept"), content(1, 1000)).expect("a file");
    let mut kills = 0;
    for call in OF_A_START {
        let before = kills;
        for nth in 1.. {
            leave_dead(root.path());
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            // `-D`: the child is the server, and strace a stranger beside it.
            let strace =
                ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            if let Ok(mut server) = Served::try_start(&strace, root.path(), &ONE_OF_EACH)
                && !dies(&mut server)
            {
                server.wait_until_swept();
                break;
            }
            kills += 1;
            let server = Served::start(root.path(), &ONE_OF_EACH);
            server.wait_until_swept();
            assert_eq!(fs::read(root.path().join("kept")).expect("the file"), content(1, 1000), "{call} #{nth}");
        }
        println!("kills: {call}: {} while starting and sweeping", kills - before);
    }
    println!("kills: {kills} places to die while starting and sweeping");
    assert!(kills > 30, "the walk has missed the interesting calls");
}

/// What makes a start fail must be said in one line, or be done without.
// covers: no-threads
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_start_that_cannot_succeed_says_why_and_leaves_nothing_half_started() {
    let root = dir();
    let (mut refused, mut served) = (0, 0);
    for (call, error) in [
        ("socket", "EMFILE"),
        ("bind", "EADDRINUSE"),
        ("listen", "EADDRINUSE"),
        ("setsockopt", "ENOMEM"),
        ("epoll_create1", "EMFILE"),
        ("eventfd2", "ENFILE"),
        ("clone3", "EAGAIN"),
        ("socketpair", "EMFILE"),
        ("mkdirat", "ENOSPC"),
        ("mkdirat", "EROFS"),
        ("mkdirat", "EACCES"),
        ("flock", "ENOLCK"),
        ("renameat2", "EINVAL"),
        ("fallocate", "EOPNOTSUPP"),
        ("pwrite64", "ENOSPC"),
        ("prlimit64", "EPERM"),
    ] {
        for nth in 1.. {
            let inject = format!("inject={call}:error={error}:when={nth}");
            let trace = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
            let out = crate::outside::text(trace.path());
            let strace = ["strace", "-D", "-f", "-qq", "-o", &out, "-e", &format!("trace={call}"), "-e", &inject];
            let started = Served::try_start(&strace, root.path(), &ONE_OF_EACH);
            let happened = || fs::read_to_string(trace.path()).is_ok_and(|text| text.contains("(INJECTED)"));
            let what = format!("{error} of {call} #{nth}");
            match started {
                Ok(server) => {
                    server.client().expect("PING", "OK 0");
                    if !happened() {
                        break;
                    }
                    served += 1;
                    assert_eq!(server.end(), Some(0), "{what}");
                }
                Err(said) => {
                    refused += 1;
                    let why = said.contains("exit status: 1: filewharf: ") || said.contains("\nfilewharf: ");
                    assert!(said.starts_with("exit status: 1") && why && !said.contains("panicked"), "{what}: {said}");
                    assert_eq!(staged(root.path()), Vec::<std::path::PathBuf>::new(), "{what}");
                }
            }
        }
    }
    // What a sweep could not have a look at is swept by the next.
    let server = Served::start(root.path(), &ONE_OF_EACH);
    server.wait_until_swept();
    server.assert_serves();
    println!("start: {refused} refused with a reason, {served} did without");
    assert!(refused > 10 && served > 3, "the walk has missed the interesting calls");
}

/// A directory that the dead made, and did not sync, looks like an old one to the next.
#[test]
#[ignore = "needs root, strace and a release build"]
fn what_a_dead_process_may_not_have_synced_is_synced_before_a_client_is_served() {
    let root = dir();
    for (left, error, syncs) in [(false, "", false), (true, "", true), (true, ":error=EIO", true)] {
        if left {
            leave_dead(root.path());
        }
        let trace = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
        let (out, inject) = (crate::outside::text(trace.path()), format!("inject=syncfs{error}"));
        let mut strace = vec!["strace", "-D", "-f", "-qq", "-o", &out, "-e", "trace=syncfs,listen"];
        if !error.is_empty() {
            strace.extend(["-e", &inject]);
        }
        let started = Served::try_start(&strace, root.path(), &[]);
        let trace = fs::read_to_string(trace.path()).expect("text");
        assert_eq!(trace.contains("syncfs("), syncs, "{trace}");
        match started {
            Ok(server) => {
                server.wait_until_swept();
                assert!(error.is_empty());
                assert_eq!(server.end(), Some(0));
            }
            Err(said) => assert!(!error.is_empty() && said.contains("cannot sync what another"), "{said}"),
        }
    }
}

/// A log that cannot be written is nothing a client may notice.
// covers: log-not-read
#[test]
#[ignore = "needs a release build"]
fn a_log_that_is_full_or_gone_stops_no_client() {
    let root = dir();
    for sink in ["/dev/full", "closed"] {
        let mut command = Command::new(binary());
        command.arg("serve").arg(root.path()).args(["-vv", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        if sink == "closed" {
            command.stderr(Stdio::piped());
        } else {
            command.stderr(fs::OpenOptions::new().write(true).open(sink).expect("a device"));
        }
        let mut child = command.spawn().expect("the built binary can be run");
        drop(child.stderr.take());
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
        let address = line.split(' ').nth(2).and_then(|address| address.parse().ok()).expect("an address");
        for _ in 0..50 {
            let mut client = support::client::Client::connect(address);
            client.put("/file", &content(1, 1000));
            assert_eq!(client.get("/file"), content(1, 1000), "{sink}");
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
            .expect("it lives");
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{sink}");
    }
}
