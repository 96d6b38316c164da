//! Other file systems inside the served directory.

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

/// All that a client copies of the directory, which it says is complete.
fn copied(server: &Served) -> tempfile::TempDir {
    let to = dir();
    let from = format!("{}/", server.address());
    let got = Command::new(binary()).args(["get", "-r", &from, &text(to.path())]).output().expect("it runs");
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    to
}

/// Mounts of any kind, those that are made and ended while the server runs included.
// covers: mounts-inside
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

// covers: hanging-mount-inside
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
    // Of more directories than there are disk workers.
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

/// Each mount has a reserved directory of its own, which ends with the use of it.
// covers: mounts-inside
#[test]
#[ignore = "needs root and a release build"]
fn what_is_mounted_inside_the_root_is_written_to_and_can_be_unmounted_soon_after() {
    const LARGE: usize = 3 << 20;
    for options in [&["--sandbox", "require"][..], &["--portable"], &["--durability", "none"]] {
        let (root, outside) = (dir(), dir());
        fs::create_dir(root.path().join("bound")).expect("a folder");
        let vol = Inside::tmpfs(&root.path().join("vol"));
        let nested = Inside::tmpfs(&vol.0.join("nested"));
        let bound = Inside::bind(outside.path(), &root.path().join("bound"));
        let mounts = [&vol.0, &nested.0, &bound.0];
        let server = Served::start(root.path(), options);
        for (n, dir) in ["/vol", "/vol/nested", "/bound", ""].into_iter().enumerate() {
            for wire in Wire::BOTH {
                let mut talker = Talker::new(wire, server.address());
                for (name, len) in [("small", 100), ("large", LARGE), ("new/er/file", 5000)] {
                    let (path, bytes) = (format!("{dir}/{wire:?}/{name}"), content(n as u64, len));
                    talker.put(&path, &bytes);
                    talker.put(&path, &bytes);
                    assert_same(&talker.fetch(&path), &bytes, &path);
                }
            }
            let mut client = server.client();
            client.expect(&format!("MKDIR {dir}/made/"), "OK 0");
            client.expect(&format!("RENAME {dir}/Line/small\t{dir}/made/moved"), "OK 0");
            client.expect(&format!("DELETE {dir}/Http/small"), "OK 0");
        }
        for mount in mounts {
            assert!(mount.join(".filewharf/staging").exists(), "{mount:?}");
            assert!(fs::read(mount.join("made/moved")).is_ok_and(|bytes| bytes.len() == 100));
        }
        let mut client = server.client();
        for (from, to) in [
            ("/vol/made/moved", "/x"),
            ("/made/moved", "/vol/x"),
            ("/vol/made/moved", "/bound/x"),
            ("/vol/nested", "/vol/x"),
            ("/vol", "/x"),
            ("/made/moved", "/vol"),
        ] {
            let line = client.ask(&format!("RENAME {from}\t{to}"));
            assert!(line.starts_with("ERR 409 "), "{from} {to}: {line}");
        }
        assert!(client.ask("DELETE /bound").starts_with("ERR 409 "));
        assert!(client.ask("GET /vol/.filewharf/LOCK").starts_with("ERR 403 "));
        assert!(!list(&server, "/vol").contains(".filewharf"));
        drop(client);
        // A client that sends in parts, and another process that was cut off in the middle of that.
        let file = outside.path().join("sent");
        fs::write(&file, content(9, LARGE)).expect("a file");
        let to = format!("{}/vol/sent", server.address());
        let put = Command::new(binary()).args(["put", &text(&file), &to]).output().expect("it runs");
        assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
        assert_same(&Talker::new(Wire::Http, server.address()).fetch("/vol/sent"), &content(9, LARGE), "in parts");
        let copy = copied(&server);
        assert_same(&fs::read(copy.path().join("vol/sent")).expect("a file"), &content(9, LARGE), "copied");
        wait_until("nothing is open there", || try_run(&["umount", &text(&nested.0)]).is_ok());
        assert!(fs::read_dir(bound.0.join(".filewharf/staging")).is_ok_and(|names| names.count() <= 1));
        assert_eq!(server.end(), Some(0));
        for mount in [&vol.0, &bound.0] {
            assert_eq!(fs::read_dir(mount.join(".filewharf/staging")).expect("a folder").count(), 0);
        }
    }
}

/// What a server that died has left in a mount is removed, and an upload in parts resumed, by the next one.
// covers: mounts-inside
#[test]
#[ignore = "needs root and a release build"]
fn what_a_dead_server_has_left_in_a_mount_is_swept_and_its_uploads_resumed() {
    let root = dir();
    let vol = Inside::tmpfs(&root.path().join("vol"));
    let mut server = Served::start(root.path(), &[]);
    let mut client = server.client();
    client.send("PUT 1000000 /vol/cut\nhalf");
    let stagings = || -> usize {
        let dirs = fs::read_dir(vol.0.join(".filewharf/staging")).into_iter().flatten().flatten();
        dirs.map(|dir| fs::read_dir(dir.path()).map_or(0, Iterator::count)).sum()
    };
    wait_until("it is staged", || stagings() == 2);
    let mut talker = server.client();
    talker.send(
        "POST /vol/ HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 6\r\n\
         Upload-Metadata: filename cmVzdW1lZA==\r\nContent-Length: 0\r\n\r\n",
    );
    let head: Vec<String> = std::iter::repeat_with(|| talker.line()).take_while(|line| line != "\r").collect();
    let location = head.iter().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_else(|| panic!("{head:?}"));
    let location = location.trim_end().trim_start_matches("..").to_owned();
    server.kill();
    drop((client, talker, server));
    assert_eq!(stagings(), 2);
    let server = Served::start(root.path(), &[]);
    wait_until("it is swept", || stagings() == 1);
    let mut talker = server.client();
    talker.send(format!(
        "PATCH {location} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 6\r\n\r\nwhole!"
    ));
    let head: Vec<String> = std::iter::repeat_with(|| talker.line()).take_while(|line| line != "\r").collect();
    assert!(head[0].starts_with("HTTP/1.1 204 "), "{location}: {head:?}");
    assert_eq!(fs::read(vol.0.join("resumed")).expect("a file"), b"whole!");
    assert_eq!(server.end(), Some(0));
}

// covers: hanging-mount-inside
#[test]
#[ignore = "needs root, bindfs and a release build"]
fn uploads_into_a_mount_that_does_not_answer_hold_up_no_others() {
    let (holder, source) = (dir(), dir());
    let remote = Remote::over(source.path(), holder, &[]);
    let root = remote.root().parent().expect("it has one").to_owned();
    let server = Served::start(&root, &[]);
    server.client().put("/mount/file", &content(1, 100_000));
    let mut begun = server.client();
    begun.send("PUT 1000000 /mount/begun\n");
    begun.send(&content(2, 1_000_000)[..500_000]);
    wait_until("it has begun", || {
        let dirs = fs::read_dir(source.path().join(".filewharf/staging")).expect("a folder").flatten();
        dirs.flat_map(|dir| fs::read_dir(dir.path()).into_iter().flatten()).count() == 2
    });
    remote.signal(Signal::STOP);
    begun.send(&content(2, 1_000_000)[500_000..700_000]);
    // More than there are workers of any kind.
    let mut waiting: Vec<_> = (0..12)
        .map(|n| {
            let mut client = server.client();
            client.send(match n % 4 {
                0 => format!("PUT 1 /mount/new{n}\nx"),
                1 => format!("MKDIR /mount/made{n}/\n"),
                2 => format!("RENAME /mount/none{n}\t/mount/other\n"),
                _ => format!("DELETE /mount/none{n}\n"),
            });
            client
        })
        .collect();
    for n in 0..20 {
        server.client().expect("PING", "OK 0");
        let path = format!("/own{n}");
        for len in [10, 100_000] {
            server.client().put(&path, &content(n, len));
        }
        server.client().expect(&format!("DELETE {path}"), "OK 0");
        assert!(server.client().ask(&format!("RENAME /mount\t{path}")).starts_with("ERR 409 "));
    }
    remote.signal(Signal::CONT);
    for client in &mut waiting {
        let line = client.line();
        assert!(line.starts_with("OK 0") || line.starts_with("ERR 404 "), "{line}");
    }
    begun.send(&content(2, 1_000_000)[700_000..]);
    assert!(begun.line().starts_with("OK 0 "));
    drop((waiting, begun));
    remote.signal(Signal::KILL);
    wait_until("it is dead", || fs::metadata(remote.root()).is_err());
    let line = server.client().try_put("/mount/late", b"x");
    assert!(line.starts_with("ERR 503 "), "{line}");
    server.client().put("/own", b"x");
    run(&["umount", "-l", &text(&remote.root())]);
    wait_until("what was below is served", || server.client().try_put("/mount/below", b"x").starts_with("OK 0"));
    assert_eq!(fs::read(root.join("mount/below")).expect("a file"), b"x");
    assert_eq!(server.end(), Some(0));
}
