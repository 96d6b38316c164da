//! Disks that are full, read-only, frozen, slow, shut down, or out of inodes. Real file systems,
//! each small and of its own.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::calls::ONE_OF_EACH;
use crate::outside::{Mounted, Strace, Target, run, text, try_run};
use crate::server::{Served, dir};
use crate::wire::{Expects, Framing, Reply, Talker, Wire};
use support::client::{assert_same, content, staged, visible, wait_until};

/// Uploads of every size that may meet the end of the disk at another call.
const LENGTHS: [usize; 6] = [1, 4000, 60_000, 300_000, 2 << 20, 6 << 20];

/// Fills what is left, but for about `leave` bytes, and calls `full` meanwhile.
pub fn while_full<T>(disk: &Mounted, leave: u64, full: impl FnOnce() -> T) -> T {
    let ballast = disk.path().join("ballast");
    let file = fs::File::create(&ballast).expect("room for a name");
    // A file system cannot hand out its very last blocks in one piece.
    let (mut taken, mut piece) = (0_u64, 1 << 26);
    while piece >= 4096 {
        match rustix::fs::fallocate(file.as_fd(), rustix::fs::FallocateFlags::empty(), taken, piece) {
            Ok(()) => taken += piece,
            Err(_) => piece /= 2,
        }
    }
    file.set_len(taken - leave).expect("it shrinks");
    let result = full();
    fs::remove_file(ballast).expect("it goes");
    result
}

/// On a disk with less room than the upload: 507 or stored whole, the old file stays, nothing is
/// left over, reading continues, and all is well once there is room again.
fn is_full_and_recovers(disk: &Mounted) {
    let root = disk.path().join("served");
    let server = Served::start(&root, &[]);
    server.client().put("/old", &content(1, 5000));
    let base = server.descriptors_at_rest();
    let (mut told, mut stored, mut kept) = (0, 0, 0);
    for leave in [0, 5000, 100_000, 1 << 20] {
        while_full(disk, leave, || {
            for (n, len) in LENGTHS.into_iter().enumerate() {
                for (path, framing, wire) in [
                    ("/old", Framing::Length, Wire::Line),
                    ("/old", Framing::Length, Wire::Http),
                    ("/new/folder/file", Framing::Length, Wire::Line),
                    ("/chunked", Framing::Chunks, Wire::Line),
                    ("/chunked", Framing::Chunks, Wire::Http),
                ] {
                    let before = fs::read(root.join(&path[1..])).ok();
                    let bytes = content(n as u64 + leave, len);
                    let mut client = Talker::new(wire, server.address());
                    let reply = client.ask(wire.upload(path, &bytes, framing), Expects::Body);
                    let after = fs::read(root.join(&path[1..])).ok();
                    if matches!(reply, Reply::Served(_)) {
                        stored += 1;
                        assert_same(&after.expect("it was stored"), &bytes, path);
                        server.client().put("/old", &content(1, 5000).split_off(4999));
                        server.client().expect(&format!("DELETE {path}"), "OK 0");
                        continue;
                    }
                    told += 1;
                    // A large body may continue while the answer is on its way, and then meets a reset.
                    let is_cut = matches!(reply, Reply::Cut { .. }) && len > 1 << 20;
                    assert!(reply == Reply::Refused(507) || is_cut, "{wire:?} {path}: {}", reply.words());
                    assert_eq!(before.map(|b| b.len()), after.map(|b| b.len()), "{path} was touched");
                    if client.is_kept() && len < 1 << 20 {
                        // The body that was refused is not taken for a request.
                        kept += 1;
                        client.fetch("/old");
                    }
                }
            }
        });
    }
    println!("disks: full: {told} told so, {kept} of them went on after that, {stored} fitted");
    assert!(told > 10 && kept > 5, "it was never full, or no conversation went on");
    server.assert_back_to(base, "a full disk");
    server.client().put("/large", &content(2, 1 << 20));
    assert_same(&server.client().get("/large"), &content(2, 1 << 20), "there is room again");
    server.assert_serves();
    assert_eq!(server.end(), Some(0), "a full disk is no broken promise");
    assert_eq!(staged(&root), Vec::<PathBuf>::new());
}

// covers: full-disk
#[test]
#[ignore = "needs root and a release build"]
fn a_small_file_system_in_memory_fills_up_and_recovers() {
    is_full_and_recovers(&Mounted::tmpfs("size=8M"));
}

// covers: full-disk short-calls
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn a_small_disk_fills_up_and_recovers() {
    is_full_and_recovers(&Mounted::image(32, &["mkfs.ext4", "-q", "-m", "0"], ""));
}

// covers: no-inodes
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn a_disk_without_inodes_says_that_it_is_full_and_recovers() {
    for disk in [Mounted::image(16, &["mkfs.ext4", "-q", "-N", "32"], ""), Mounted::tmpfs("size=8M,nr_inodes=24")] {
        let server = Served::start(&disk.path().join("served"), &[]);
        let mut client = server.client();
        let mut said = String::new();
        let stored = (0..100).take_while(|n| {
            said = client.try_put(&format!("/file{n}"), b"x");
            said.starts_with("OK ")
        });
        let stored = stored.count();
        assert!(stored < 100 && said.starts_with("ERR 507 "), "{stored}: {said}");
        let mut http = Talker::new(Wire::Http, server.address());
        let reply = http.ask(Wire::Http.upload("/file", b"x", Framing::Length), Expects::Body);
        assert_eq!((reply, http.is_kept()), (Reply::Refused(507), true));
        assert_eq!(http.fetch("/file0"), b"x", "on the same connection");
        client.expect("MKDIR /folder/", "ERR 507 ");
        for n in 0..stored.min(3) {
            client.expect(&format!("DELETE /file{n}"), "OK 0");
        }
        client.put("/file0", b"there is an inode again");
        drop(client);
        assert_eq!(server.end(), Some(0));
    }
}

/// Only btrfs counts what one directory holds here: other quotas need kernels that keep them.
// covers: quota-used-up
#[test]
#[ignore = "needs root, loop devices, btrfs-progs and a release build"]
fn a_quota_that_is_used_up_is_reported_as_a_full_disk() {
    let disk = Mounted::image(256, &["mkfs.btrfs", "-q"], "");
    let (mount, root) = (text(disk.path()), text(&disk.path().join("served")));
    run(&["btrfs", "quota", "enable", &mount]);
    run(&["btrfs", "subvolume", "create", &root]);
    run(&["btrfs", "qgroup", "limit", "4M", &root]);
    let server = Served::start(disk.path().join("served").as_path(), &[]);
    let mut told = 0;
    for n in 0..40_u64 {
        let wire = Wire::BOTH[n as usize % 2];
        let mut client = Talker::new(wire, server.address());
        let upload = wire.upload(&format!("/file{n}"), &content(n, 300_000), Framing::Length);
        match client.ask(upload, Expects::Body) {
            Reply::Served(_) => {
                assert_same(&client.fetch(&format!("/file{n}")), &content(n, 300_000), "within the quota");
            }
            reply => {
                assert_eq!(reply, Reply::Refused(507), "{wire:?}");
                told += 1;
            }
        }
    }
    println!("disks: quota: {told} of 40 told so");
    assert!(told > 20, "the quota did not bite");
    run(&["btrfs", "qgroup", "limit", "none", &root]);
    server.assert_serves();
    assert_eq!(server.end(), Some(0));
}

// covers: disk-turns-read-only
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn a_disk_that_becomes_read_only_takes_no_change_and_is_read_on() {
    let disk = Mounted::image(32, &["mkfs.ext4", "-q"], ",errors=remount-ro");
    let server = Served::start(&disk.path().join("served"), &[]);
    let mut client = server.client();
    client.put("/file", &content(1, 100_000));
    // What ext4 does by itself when it finds its own data damaged.
    let device = run(&["findmnt", "-no", "SOURCE", &text(disk.path())]);
    let device = device.trim().trim_start_matches("/dev/");
    fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").expect("the kernel offers it");
    for request in ["DELETE /file", "RENAME /file\t/other", "MKDIR /folder/"] {
        client.expect(request, "ERR 500 ");
    }
    for wire in Wire::BOTH {
        let mut talker = Talker::new(wire, server.address());
        for len in [1, 300_000] {
            let reply = talker.ask(wire.upload("/file", &content(2, len), Framing::Length), Expects::Body);
            assert!(matches!(reply, Reply::Refused(500 | 503)), "{wire:?}: {}", reply.words());
        }
        let reply = talker.ask(wire.delete("/file"), Expects::Body);
        assert!(matches!(reply, Reply::Refused(500 | 503)), "{wire:?}: {}", reply.words());
        assert_same(&talker.fetch("/file"), &content(1, 100_000), "reading continues");
    }
    let health = Talker::new(Wire::Http, server.address()).ask(Wire::Http.get("/.filewharf/health"), Expects::Body);
    assert_eq!(health, Reply::Refused(503), "who asks is told");
    client.expect("LIST /", "OK ");
    drop(client);
    assert_eq!(server.end(), Some(1), "it shows in the exit code");
    let said = Served::try_start(&[], &disk.path().join("served"), &[]).err().expect("it must not start");
    assert!(said.contains("cannot write in the folder"), "{said}");
    let server = Served::start(&disk.path().join("served"), &["--read-only"]);
    assert_same(&server.client().get("/file"), &content(1, 100_000), "served as it is");
}

/// A sync of a file system that has just turned read-only does nothing, and reports success.
#[test]
#[ignore = "needs root, strace, loop devices, mkfs.btrfs and a release build"]
fn a_disk_that_becomes_read_only_while_a_change_waits_for_its_sync_is_not_said_to_have_it() {
    let below = Mounted::tmpfs("size=200M");
    let image = tempfile::tempdir_in(below.path()).expect("a folder");
    let file = image.path().join("image");
    let disk = Mounted::image_in(image, 128, &["mkfs.btrfs", "-q", "-K"], ",nodiscard");
    let server = Served::start(&disk.path().join("served"), &ONE_OF_EACH);
    server.wait_until_swept();
    let mut client = server.client();
    client.put("/file", &content(1, 100));
    let disk_below = fs::OpenOptions::new().write(true).open(file).expect("the disk");
    // All of it has its place in memory, and then no more than that is to be had.
    let keep_len = rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&disk_below, keep_len, 0, 128 << 20).expect("room");
    let options = ["trace=syncfs", "inject=syncfs:delay_enter=3000000"].map(|words| ["-e".into(), words.into()]);
    let strace = Strace::attach(Target::Process(server.pid()), &options.concat());
    client.send("PUT 100 /file\n");
    client.send(content(2, 100));
    let newest = content(2, 100);
    wait_until("it has its name", || fs::read(server.root.join("file")).is_ok_and(|bytes| bytes == newest));
    // Where the super block stands, and its copy: neither can be written any more.
    for at in [64 << 10, 64 << 20] {
        rustix::fs::fallocate(&disk_below, keep_len | rustix::fs::FallocateFlags::PUNCH_HOLE, at, 4096)
            .expect("a hole");
    }
    let used = run(&["findmnt", "-bno", "USED", &text(below.path())]);
    run(&["mount", "-o", &format!("remount,size={}", used.trim()), &text(below.path())]);
    assert!(try_run(&["sync", "--file-system", &text(disk.path())]).is_err(), "somebody meets it first");
    let said = client.line();
    drop(strace);
    assert!(said.starts_with("ERR 500 "), "{said}");
    client.expect("STAT /file", "OK ");
    drop(client);
    assert_eq!(server.end(), Some(1), "it shows in the exit code");
}

// covers: disk-shuts-down
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn a_file_system_that_shuts_down_gives_errors_and_the_server_lives() {
    let disk = Mounted::image(32, &["mkfs.ext4", "-q"], "");
    let server = Served::start(&disk.path().join("served"), &[]);
    server.client().put("/file", &content(1, 100_000));
    let mut under_way = server.client();
    under_way.send("PUT 1000000 /other\n");
    under_way.send(content(2, 500_000));
    wait_until("it is under way", || !staged(&server.root).is_empty());
    // FS_IOC_SHUTDOWN, without a flush of the log: what xfs_io's `shutdown` does.
    run(&[
        "python3",
        "-c",
        "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))",
        &text(disk.path()),
    ]);
    under_way.send_in_vain(content(2, 500_000));
    under_way.finish();
    let said = under_way.last_words();
    assert!(said.is_empty() || said.starts_with("ERR 5"), "{said}");
    for request in ["DELETE /file", "RENAME /file\t/x", "MKDIR /folder/", "PUT 1 /y\nz"] {
        let said = server.client().ask(request);
        assert!(said.starts_with("ERR 5"), "{request}: {said}");
    }
    for wire in Wire::BOTH {
        let mut talker = Talker::new(wire, server.address());
        let reply = talker.ask(wire.upload("/y", b"z", Framing::Length), Expects::Body);
        assert!(matches!(reply, Reply::Refused(500..600)), "{wire:?}: {}", reply.words());
        match talker.ask(wire.get("/file"), Expects::Body) {
            Reply::Served(body) => assert_same(&body, &content(1, 100_000), "what is in memory may be read"),
            Reply::Refused(code) => assert!(code >= 500, "{wire:?}: {code}"),
            Reply::Cut { reset, .. } => assert!(reset, "{wire:?}: it must not look whole"),
        }
    }
    server.client().expect("PING", "OK 0");
    // 1 only if a sync has met it.
    assert!(matches!(server.end(), Some(0 | 1)), "it ends by itself");
}

/// A disk that hangs holds up the requests that need it, and no others.
// covers: hanging-disk
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn a_frozen_disk_holds_up_only_requests_that_need_it() {
    let disk = Mounted::image(64, &["mkfs.ext4", "-q"], "");
    let server =
        Served::start(&disk.path().join("served"), &["--slots", "8", "--per-address", "100", "--slot-timeout", "0.2"]);
    server.client().put("/file", &content(1, 100_000));
    assert_same(&server.client().get("/file"), &content(1, 100_000), "and it is in memory");
    run(&["fsfreeze", "-f", &text(disk.path())]);
    let mut waiting: Vec<_> = (0..20)
        .map(|n| {
            let wire = Wire::BOTH[n as usize % 2];
            let mut client = Talker::new(wire, server.address());
            client.send(wire.upload(&format!("/waits{n}"), &content(n, 1000), Framing::Length));
            client
        })
        .collect();
    for _ in 0..10 {
        for wire in Wire::BOTH {
            let mut client = Talker::new(wire, server.address());
            assert_same(&client.fetch("/file"), &content(1, 100_000), "from memory");
        }
    }
    run(&["fsfreeze", "-u", &text(disk.path())]);
    let (mut stored, mut busy) = (0, 0);
    for (n, client) in (0..).zip(&mut waiting) {
        match client.hear(Expects::Body) {
            Reply::Served(_) => {
                stored += 1;
                assert_same(&server.client().get(&format!("/waits{n}")), &content(n, 1000), "after the thaw");
            }
            reply => {
                assert_eq!(reply, Reply::Refused(429));
                busy += 1;
            }
        }
    }
    println!("disks: frozen: {stored} stored after the thaw, {busy} told that it is busy");
    assert!(stored >= 8, "those with a slot");
    server.assert_serves();
    assert_eq!(visible(&server.root).len(), stored + 1);
}

/// Every sync takes 3 s; deadlines of 2 s do not run while the disk is the slow one. They do run while
/// a client is, and so leave it a moment: its machine may be busy.
// covers: slow-disk
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_slow_disk_delays_uploads_and_cuts_none_off() {
    let root = dir();
    let options = [&ONE_OF_EACH[..], &["--stall-timeout", "2", "--rate-window", "2", "--min-rate", "1G"]].concat();
    let server = Served::start(root.path(), &options);
    server.client().put("/read", &content(9, 50_000));
    let delay = "inject=fdatasync,fsync:delay_enter=3000000".to_owned();
    let strace = Strace::attach(
        Target::Process(server.pid()),
        &["-e".into(), "trace=fdatasync,fsync".into(), "-e".into(), delay],
    );
    std::thread::scope(|scope| {
        for n in 0..6 {
            let mut client = Talker::new(Wire::BOTH[n as usize % 2], server.address());
            scope.spawn(move || client.put(&format!("/slow{n}"), &content(n, 40_000)));
        }
        for n in 0..50 {
            let mut client = Talker::new(Wire::BOTH[n % 2], server.address());
            assert_same(&client.fetch("/read"), &content(9, 50_000), "meanwhile");
        }
    });
    server.wait_until_asleep();
    strace.detach();
    for n in 0..6 {
        assert_same(&server.client().get(&format!("/slow{n}")), &content(n, 40_000), "slow and whole");
    }
    server.assert_serves();
}

/// A reset while the commit is under way does not cancel it.
// covers: reset-in-commit
#[test]
#[ignore = "needs root, strace and a release build"]
fn an_upload_is_stored_although_its_client_resets_during_the_sync() {
    let root = dir();
    let server = Served::start(root.path(), &ONE_OF_EACH);
    server.assert_serves();
    let base = server.descriptors_at_rest();
    let delay = "inject=fdatasync:delay_enter=4000000".to_owned();
    let strace =
        Strace::attach(Target::Process(server.pid()), &["-e".into(), "trace=fdatasync".into(), "-e".into(), delay]);
    for (n, len, wire) in
        [(1, 1000, Wire::Line), (2, 300_000, Wire::Line), (3, 1000, Wire::Http), (4, 300_000, Wire::Http)]
    {
        let mut client = Talker::new(wire, server.address());
        client.send(wire.upload(&format!("/file{n}"), &content(n, len), Framing::Length));
        // The staging file is complete before the sync begins, and there until it has ended.
        wait_until("all has arrived", || {
            staged(root.path()).iter().any(|file| fs::metadata(file).is_ok_and(|file| file.len() == len as u64))
        });
        client.reset();
        wait_until("it is stored", || root.path().join(format!("file{n}")).exists());
        assert_same(&fs::read(root.path().join(format!("file{n}"))).expect("a file"), &content(n, len), "nobody heard");
    }
    server.wait_until_asleep();
    strace.detach();
    server.assert_back_to(base, "resets during commits");
}

// covers: staging-elsewhere
#[test]
#[ignore = "needs root and a release build"]
fn a_staging_directory_on_another_file_system_is_refused_at_the_start() {
    let root = dir();
    let other = root.path().join(".filewharf");
    fs::create_dir(&other).expect("a folder");
    run(&["mount", "-t", "tmpfs", "-o", "size=1M", "filewharf-faults", &text(&other)]);
    let started = Served::try_start(&[], root.path(), &[]);
    run(&["umount", &text(&other)]);
    let said = started.err().expect("it must not start");
    assert!(said.starts_with("exit status: 1") && said.contains("another file system"), "{said}");
}

/// A file can be moved into a directory only if it has the same project, so it has that project from the beginning.
#[test]
#[ignore = "needs root, loop devices, e2fsprogs, xfsprogs and a release build"]
fn files_fall_under_the_project_of_their_directory() {
    let disk = Mounted::image(300, &["mkfs.xfs", "-q"], "");
    for (sandbox, projects) in [("off", [("a", "7"), ("b", "8")]), ("require", [("c", "7"), ("", "9")])] {
        let root = disk.path().join(sandbox);
        for (name, project) in projects {
            let dir = root.join(name);
            fs::create_dir_all(&dir).expect("a folder");
            run(&["chattr", "-p", project, "+P", &text(&dir)]);
        }
        let server = Served::start(&root, &["--sandbox", sandbox]);
        for (name, project) in projects.into_iter().chain([("made", projects[1].1)]) {
            for (file, len) in [("small", 100), ("large", 300_000), ("large", 400_000), ("deep/er/f", 10)] {
                let path = format!("{name}/{file}").trim_start_matches('/').to_owned();
                server.client().put(&format!("/{path}"), &content(1, len));
                let told = run(&["lsattr", "-p", &text(&root.join(&path))]);
                let inherited = projects[1].0.is_empty() || name != "made";
                let expected = if inherited { project } else { "0" };
                assert_eq!(told.split_whitespace().next(), Some(expected), "{sandbox}: {path}: {told}");
            }
        }
        assert_eq!(server.end(), Some(0));
    }
}
