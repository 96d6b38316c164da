//! File systems of other machines: what was opened there has become stale, or the other end is away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::calls::ONE_OF_EACH;
use crate::outside::{Strace, Target, text, try_run};
use crate::server::{Served, dir};
use crate::wire::{Expects, Framing, Reply, Talker, Wire};
use support::client::{assert_same, content, staged, wait_until};

/// What the kernel says of a descriptor after its server was restarted, or has ended.
const ERRORS: [&str; 2] = ["ESTALE", "ENOTCONN"];

/// Lets a call fail, counted in each thread.
fn inject(server: &Served, call: &str, errno: &str, when: &str) -> Strace {
    let inject = format!("inject={call}:error={errno}:when={when}");
    Strace::attach(Target::Process(server.pid()), &["-e".into(), format!("trace={call}"), "-e".into(), inject])
}

/// Ends the injection; true if there was one.
fn end(server: &Served, strace: Strace) -> bool {
    server.wait_until_asleep();
    strace.detach().contains("(INJECTED)")
}

fn ask(server: &Served, wire: Wire, request: impl AsRef<[u8]>) -> Reply {
    Talker::new(wire, server.address()).ask(request, Expects::Body)
}

fn health(server: &Served) -> Reply {
    ask(server, Wire::Http, Wire::Http.get("/.filewharf/health"))
}

// covers: remote-disk
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_stale_directory_is_reported_as_unavailable_and_served_again_without_a_restart() {
    let root = dir();
    fs::create_dir(root.path().join("folder")).expect("a folder");
    for name in ["read", "gone", "from"] {
        fs::write(root.path().join("folder").join(name), content(1, 5000)).expect("a file");
    }
    let server = Served::start(root.path(), &ONE_OF_EACH);
    server.assert_serves();
    let base = server.descriptors_at_rest();
    for errno in ERRORS {
        let strace = inject(&server, "openat2", errno, "1+");
        let requests =
            ["GET /folder/read", "STAT /folder/read", "LIST /folder/", "DELETE /folder/gone", "MKDIR /folder/made/"];
        for request in requests.into_iter().chain(["RENAME /folder/from\t/folder/to", "PUT 1 /folder/new\nx"]) {
            let line = server.client().ask(request);
            assert!(line.starts_with("ERR 503 ") && line.contains("retry="), "{errno}: {request}: {line}");
        }
        let mut client = server.client();
        client.send(Wire::Http.get("/folder/read"));
        let head: Vec<String> = std::iter::repeat_with(|| client.line()).take_while(|line| line != "\r").collect();
        assert!(head[0].starts_with("HTTP/1.1 503 "), "{errno}: {head:?}");
        assert!(head.iter().any(|line| line.starts_with("Retry-After: ")), "{errno}: {head:?}");
        drop(client);
        for len in [10, 300_000] {
            for wire in Wire::BOTH {
                let reply = ask(&server, wire, wire.upload("/folder/new", &content(2, len), Framing::Length));
                assert_eq!(reply, Reply::Refused(503), "{errno}: {wire:?}: {len} bytes");
            }
        }
        assert_eq!(health(&server), Reply::Refused(503), "{errno}: no upload was stored");
        assert!(end(&server, strace), "{errno}: it did not happen");
        wait_until("health recovers by itself", || matches!(health(&server), Reply::Served(_)));
        for wire in Wire::BOTH {
            let mut talker = Talker::new(wire, server.address());
            assert_same(&talker.fetch("/folder/read"), &content(1, 5000), errno);
            talker.put("/folder/new", &content(3, 300_000));
        }
        server.client().expect("DELETE /folder/new", "OK 0");
        server.assert_back_to(base, errno);
    }
    assert_eq!(server.end(), Some(0), "nothing of this is a failure of the disk");
}

// covers: remote-disk
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_stale_staging_directory_is_made_again_and_until_then_health_says_so() {
    for errno in ERRORS {
        let root = dir();
        let server = Served::start(root.path(), &ONE_OF_EACH);
        server.wait_until_swept();
        let stagings = || fs::read_dir(root.path().join(".filewharf/staging")).expect("a folder").count();
        let strace = inject(&server, "openat", errno, "1");
        // Not both under one name: each thread meets the error once, and then it would be the file that is replaced.
        for (wire, path) in Wire::BOTH.into_iter().zip(["/file", "/other"]) {
            Talker::new(wire, server.address()).put(path, &content(1, 300_000));
        }
        assert!(end(&server, strace), "{errno}: it did not happen");
        assert!(stagings() > 1, "{errno}: there is a new one");
        let strace = inject(&server, "openat", errno, "1+");
        for wire in Wire::BOTH {
            let reply = ask(&server, wire, wire.upload("/new", &content(2, 300_000), Framing::Length));
            assert_eq!(reply, Reply::Refused(503), "{errno}: {wire:?}");
        }
        assert_eq!(health(&server), Reply::Refused(503), "{errno}: nothing can be staged");
        assert_same(
            &Talker::new(Wire::Http, server.address()).fetch("/file"),
            &content(1, 300_000),
            "reading continues",
        );
        assert!(end(&server, strace), "{errno}: it did not happen");
        wait_until("health recovers by itself", || matches!(health(&server), Reply::Served(_)));
        Talker::new(Wire::Line, server.address()).put("/new", &content(2, 300_000));
        assert!(staged(root.path()).is_empty(), "{errno}");
        assert_eq!(server.end(), Some(0));
        Served::start(root.path(), &ONE_OF_EACH).wait_until_swept();
    }
}

/// A directory that another process serves to the kernel. That process can be stopped, like a machine that does
/// not answer. Unmounted when dropped.
pub struct Remote {
    dir: TempDir,
    process: Child,
}

impl Remote {
    fn mount() -> Self {
        let dir = dir();
        let served = dir.path().join("behind");
        fs::create_dir(&served).expect("a folder");
        Self::over(&served, dir, &[])
    }

    /// Mounts `served` in `dir`.
    pub fn over(served: &Path, dir: TempDir, options: &[&str]) -> Self {
        let mount = dir.path().join("mount");
        fs::create_dir(&mount).expect("a folder");
        let mut command = Command::new("bindfs");
        let process = command.arg("-f").args(options).args([served, &mount]).spawn().expect("bindfs can be run");
        let remote = Self { dir, process };
        wait_until("it is mounted", || try_run(&["mountpoint", "-q", &text(&remote.root())]).is_ok());
        remote
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it lives");
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = try_run(&["umount", "-l", &text(&self.root())]);
    }
}

// covers: remote-disk
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn a_mount_that_does_not_answer_holds_up_only_what_waits_for_it() {
    const LARGE: usize = 16 << 20;
    let remote = Remote::mount();
    let server = Served::start(&remote.root(), &[]);
    server.client().put("/file", &content(1, 100_000));
    server.client().put("/large", &content(2, LARGE));
    let begun = |wire: Wire, request: String| {
        let mut client = server.client();
        client.send(request);
        (wire, client)
    };
    // In the middle of a body when it happens.
    let mut downloads: Vec<_> = Wire::BOTH.map(|wire| begun(wire, wire.get("/large"))).into();
    let mut uploads = Wire::BOTH.map(|wire| begun(wire, wire.put(&format!("/{wire:?}"), LARGE)));
    for (_, client) in &mut downloads {
        client.line();
    }
    for (_, client) in &mut uploads {
        client.send(&content(3, LARGE)[..1 << 20]);
    }
    wait_until("both have begun", || staged(&remote.root()).len() == 2);
    remote.signal(Signal::STOP);
    let mut waiting: Vec<_> = (0..10)
        .map(|n| {
            let (wire, mut talker) = (Wire::BOTH[n % 2], Talker::new(Wire::BOTH[n % 2], server.address()));
            talker.send(if n < 6 { wire.get("/file") } else { wire.put(&format!("/new{n}"), 0) });
            talker
        })
        .collect();
    let (_, leaves) = downloads.pop().expect("one of two");
    leaves.reset();
    let [(_, mut continues), (_, gives_up)] = uploads;
    continues.send(&content(3, LARGE)[1 << 20..2 << 20]);
    gives_up.reset();
    for _ in 0..20 {
        server.client().expect("PING", "OK 0");
        assert!(matches!(health(&server), Reply::Served(_)), "the loop runs");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    remote.signal(Signal::CONT);
    for (n, talker) in waiting.iter_mut().enumerate() {
        match talker.hear(Expects::Body) {
            Reply::Served(body) if n < 6 => assert_same(&body, &content(1, 100_000), "after it"),
            reply => assert!(matches!(reply, Reply::Served(_)), "{n}: {}", reply.words()),
        }
    }
    continues.send(&content(3, LARGE)[2 << 20..]);
    assert!(continues.line().starts_with("OK 0 "));
    drop((waiting, downloads, continues));
    wait_until("nothing is left", || staged(&remote.root()).is_empty());
    assert_eq!(server.end(), Some(0));
}

// covers: hanging-mount-inside
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn a_mount_in_a_folder_that_does_not_answer_or_is_dead_holds_up_no_listing() {
    let remote = Remote::mount();
    let server = Served::start(remote.dir.path(), &[]);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for (signal, state) in [(Signal::STOP, "it does not answer"), (Signal::KILL, "it is dead")] {
        remote.signal(signal);
        // More than there are disk workers.
        for client in &mut clients {
            client.send("LIST /\n");
        }
        for client in &mut clients {
            let len = client.line().split(' ').nth(1).and_then(|len| len.parse().ok()).expect("a length");
            let body = String::from_utf8(client.bytes(len)).expect("text");
            assert!(body.contains(" behind/\n") && body.contains("- - - mount/\n"), "{state}: {body}");
        }
        let reply = ask(&server, Wire::Http, Wire::Http.get("/"));
        assert!(
            matches!(&reply, Reply::Served(body) if String::from_utf8_lossy(body).contains("\"mount/\"")),
            "{state}"
        );
    }
    drop(clients);
    assert_eq!(server.end(), Some(0));
}
