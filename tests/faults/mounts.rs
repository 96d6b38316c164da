//! Other file systems inside the served folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::outside::{run, text, try_run};
use crate::remote::Remote;
use crate::server::{Served, binary, dir};
use crate::wire::{Expects, Reply, Talker, Wire};
use support::client::{assert_same, content, wait_until};

/// Something mounted at a path. Unmounted when dropped.
struct Inside(PathBuf);

impl Inside {
    fn tmpfs(point: &Path) -> Self {
        fs::create_dir_all(point).expect("a folder");
        run(&["mount", "-t", "tmpfs", "-o", "size=64M", "filewharf-faults", &text(point)]);
        Self(point.to_owned())
    }

    fn bind(source: &Path, point: &Path) -> Self {
        run(&["mount", "--bind", &text(source), &text(point)]);
        Self(point.to_owned())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = try_run(&["umount", "-l", &text(&self.0)]);
    }
}

fn list(server: &Served, dir: &str) -> String {
    let mut client = server.client();
    client.send(format!("LIST {dir}\n"));
    let head = client.line();
    let len = head.split(' ').nth(1).and_then(|len| len.parse().ok());
    String::from_utf8(client.bytes(len.unwrap_or_else(|| panic!("{head}")))).expect("text")
}

/// All that a client copies of the folder, which it says is complete.
fn copied(server: &Served) -> tempfile::TempDir {
    let to = dir();
    let from = format!("{}/", server.address());
    let got = Command::new(binary()).args(["get", "-r", &from, &text(to.path())]).output().expect("it runs");
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    to
}

/// Mounts of any kind, those that are made and ended while the server runs included.
// covers: S5
#[test]
#[ignore = "needs root and a release build"]
fn what_is_mounted_inside_the_root_is_read_like_the_rest() {
    const LARGE: usize = 3 << 20;
    for options in [&["--sandbox", "require"][..], &["--portable"]] {
        let (root, outside) = (dir(), dir());
        fs::write(outside.path().join("file"), "bound").expect("a file");
        fs::write(outside.path().join("one"), "one file").expect("a file");
        for name in ["bound", "later", "late file", "system"] {
            fs::create_dir(root.path().join(name)).expect("a folder");
        }
        fs::write(root.path().join("single"), "below").expect("a file");
        let vol = Inside::tmpfs(&root.path().join("vol"));
        fs::create_dir(vol.0.join("sub")).expect("a folder");
        fs::write(vol.0.join("sub/large"), content(1, LARGE)).expect("a file");
        let nested = Inside::tmpfs(&vol.0.join("nested"));
        fs::write(nested.0.join("deep"), "deep").expect("a file");
        let _bound = Inside::bind(outside.path(), &root.path().join("bound"));
        let _single = Inside::bind(&outside.path().join("one"), &root.path().join("single"));
        run(&["mount", "-t", "proc", "proc", &text(&root.path().join("system"))]);
        let system = Inside(root.path().join("system"));
        let server = Served::start(root.path(), options);
        let base = server.descriptors_at_rest();
        let later = Inside::tmpfs(&root.path().join("later"));
        fs::write(later.0.join("new"), "new").expect("a file");
        wait_until("it is found", || server.client().ask("GET /later/new").starts_with("OK 3"));
        for wire in Wire::BOTH {
            let mut talker = Talker::new(wire, server.address());
            assert_same(&talker.fetch("/vol/sub/large"), &content(1, LARGE), "a large file");
            for (path, bytes) in
                [("/vol/nested/deep", "deep"), ("/bound/file", "bound"), ("/single", "one file"), ("/later/new", "new")]
            {
                assert_same(&talker.fetch(path), bytes.as_bytes(), path);
            }
            for path in ["/system/self/environ", "/system/version"] {
                assert_eq!(talker.ask(wire.get(path), Expects::Body), Reply::Refused(404), "{path}");
            }
        }
        let mut client = server.client();
        assert!(client.ask("STAT /vol/sub/large").starts_with("OK "));
        assert!(client.ask("STAT /vol").starts_with("OK "));
        assert_eq!(client.ask("GET /vol/none").split(' ').nth(1), Some("404"));
        drop(client);
        let names = |listing: &str| -> Vec<String> {
            listing.lines().filter_map(|line| Some(line.split_once(' ')?.1.rsplit(' ').next()?.to_owned())).collect()
        };
        let listed = list(&server, "/");
        for name in ["vol/", "bound/", "single", "later/"] {
            assert!(listed.lines().any(|line| line.ends_with(&format!(" {name}"))), "{name}: {listed}");
        }
        assert_eq!(names(&list(&server, "/vol")), ["nested/", "sub/"]);
        assert_eq!(names(&list(&server, "/vol/nested")), ["deep"]);
        // Nothing is held open: it can be unmounted, and what it hid is there again.
        server.assert_back_to(base, "after reading");
        run(&["umount", &text(&later.0)]);
        assert_eq!(server.client().ask("GET /later/new").split(' ').nth(1), Some("404"));
        drop(system);
        fs::remove_dir(root.path().join("system")).expect("it is empty");
        let copy = copied(&server);
        assert_same(&fs::read(copy.path().join("vol/sub/large")).expect("a file"), &content(1, LARGE), "copied");
        assert_eq!(fs::read(copy.path().join("vol/nested/deep")).expect("a file"), b"deep");
        assert_eq!(server.end(), Some(0));
    }
}

// covers: F22
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn a_mount_inside_the_root_that_does_not_answer_holds_up_only_what_is_in_it() {
    let (holder, source) = (dir(), dir());
    for n in 0..8 {
        let sub = source.path().join(format!("sub{n}"));
        fs::create_dir(&sub).expect("a folder");
        fs::write(sub.join("file"), content(n, 100_000)).expect("a file");
    }
    let remote = Remote::over(source.path(), holder, &[]);
    let root = remote.root().parent().expect("it has one").to_owned();
    fs::write(root.join("file"), content(9, 100_000)).expect("a file");
    let server = Served::start(&root, &[]);
    let fetch = |wire: Wire, path: &str| Talker::new(wire, server.address()).fetch(path);
    assert_same(&fetch(Wire::Http, "/mount/sub0/file"), &content(0, 100_000), "before");
    remote.signal(Signal::STOP);
    // Of more folders than there are disk workers.
    let mut waiting: Vec<_> = (0..8)
        .flat_map(|n| Wire::BOTH.map(|wire| (n, wire)))
        .map(|(n, wire)| {
            let mut talker = Talker::new(wire, server.address());
            talker.send(wire.get(&format!("/mount/sub{n}/file")));
            let mut lists = server.client();
            lists.send(format!("LIST /mount/sub{n}\n"));
            (n, talker, lists)
        })
        .collect();
    for _ in 0..20 {
        server.client().expect("PING", "OK 0");
        for wire in Wire::BOTH {
            assert_same(&fetch(wire, "/file"), &content(9, 100_000), "beside it");
        }
        assert!(list(&server, "/").contains(" file\n"));
    }
    remote.signal(Signal::CONT);
    for (n, talker, lists) in &mut waiting {
        let Reply::Served(body) = talker.hear(Expects::Body) else { panic!("it is answered in the end") };
        assert_same(&body, &content(*n, 100_000), "after it");
        assert!(lists.line().starts_with("OK "));
    }
    drop(waiting);
    remote.signal(Signal::KILL);
    wait_until("it is dead", || fs::metadata(remote.root()).is_err());
    let line = server.client().ask("GET /mount/sub0/file");
    assert!(line.starts_with("ERR 503 ") && line.contains("retry="), "{line}");
    assert_same(&fetch(Wire::Line, "/file"), &content(9, 100_000), "beside a dead one");
    assert_eq!(server.end(), Some(0));
}
