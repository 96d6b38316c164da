//! Uploads in parts while the disk fails or the server dies: what was said to be safe stays, the client gets the
//! reason why it cannot continue, others are served, and the upload is resumed as soon as the disk permits.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;

use crate::calls::{ONE_OF_EACH, calls_of};
use crate::disks::while_full;
use crate::kills::dies;
use crate::outside::{Mounted, Strace, Target, run, text};
use crate::server::{Served, dir};
use crate::wire::{Expects, Reply, Talker, Wire};
use support::client::{PATIENCE, assert_same, content, sha256};

/// Syncs after each 64 KiB.
const OPTIONS: [&str; 6] = [ONE_OF_EACH[0], ONE_OF_EACH[1], ONE_OF_EACH[2], ONE_OF_EACH[3], "--upload-sync", "65536"];
const LEN: usize = 300_000;
const HALF: usize = 170_000;

/// One upload, as its client knows it.
struct Upload {
    name: String,
    content: Vec<u8>,
    /// The greatest offset that the server has sent.
    told: usize,
    is_stored: bool,
    /// The codes that it was refused with.
    codes: Vec<u16>,
}

impl Upload {
    fn new(n: usize, len: usize) -> Self {
        let (name, content) = (format!("parts/{n}"), content(n as u64, len));
        Self { name, content, told: 0, is_stored: false, codes: Vec::new() }
    }

    /// Sends what is missing up to `end` on a connection of its own, and half-closes; what becomes of the server
    /// meanwhile is not asked.
    fn send(&mut self, address: SocketAddr, end: usize) {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
        let mut line = || lines.next().and_then(Result::ok).unwrap_or_default();
        let (len, digest) = (self.content.len(), sha256(&self.content));
        let head = format!("PUT {len} resume=token{} sha256={digest} /{}\n", &self.name[6..], self.name);
        if (&stream).write_all(head.as_bytes()).is_err() {
            return;
        }
        let go = line();
        let Some(offset) = go.strip_prefix("GO ").map(|offset| offset.parse().expect("an offset")) else {
            return self.refused(&go);
        };
        self.safe(offset);
        // A reply, if there is one, gives the reason.
        let _ = (&stream).write_all(&self.content[offset.min(end)..end]);
        let _ = stream.shutdown(Shutdown::Write);
        let told = line();
        self.is_stored |= told.starts_with("OK 0 ");
        if end == len || !told.starts_with("ERR 400 ") {
            self.refused(&told);
        }
    }

    /// Asks how far it is.
    fn ask(&mut self, address: SocketAddr) {
        let Ok(stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let _ = writeln!(&stream, "STAT resume=token{} /{}", &self.name[6..], self.name);
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        // It may have its name though it was refused: what failed came after the rename.
        self.is_stored |= line.contains(" complete=1");
        match line.split(' ').find_map(|word| word.trim().strip_prefix("offset=")) {
            Some(offset) => self.safe(offset.parse().expect("an offset")),
            None => self.refused(&line),
        }
    }

    fn safe(&mut self, offset: usize) {
        assert!(offset >= self.told, "{}: {offset} bytes are safe, {} were", self.name, self.told);
        self.told = offset;
    }

    fn refused(&mut self, line: &str) {
        let code = line.strip_prefix("ERR ").and_then(|rest| rest.get(..3)?.parse().ok());
        // Before anything of it was safe, it may not be there at all.
        self.codes.extend(code.filter(|code: &u16| *code != 404 || self.told > 0));
    }

    /// What a client does that is cut off once, in the middle.
    fn story(&mut self, address: SocketAddr) {
        self.send(address, HALF);
        self.ask(address);
        self.send(address, self.content.len());
        self.ask(address);
    }

    /// The disk is well again.
    #[track_caller]
    fn complete(mut self, server: &Served) {
        self.codes.clear();
        self.ask(server.address());
        if !self.is_stored {
            self.send(server.address(), self.content.len());
        }
        assert!(self.is_stored, "{}: not resumed, but {:?}", self.name, self.codes);
        assert_same(&server.client().get(&format!("/{}", self.name)), &self.content, &self.name);
        server.client().expect(&format!("DELETE /{}", self.name), "OK 0");
    }
}

/// The calls that the store makes for an upload in parts.
const CALLS: [&str; 16] = [
    "openat",
    "openat2",
    "mkdirat",
    "newfstatat",
    "fstat",
    "flock",
    "fallocate",
    "ftruncate",
    "utimensat",
    "pread64",
    "pwrite64",
    "fdatasync",
    "fsync",
    "renameat",
    "renameat2",
    "unlinkat",
];

fn start(root: &Path) -> Served {
    let server = Served::start(root, &OPTIONS);
    server.wait_until_swept();
    server
}

/// Runs `body` for the n-th of each call of each thread, until it says that there was none.
fn at_each_call(server: &mut Served, mut body: impl FnMut(&mut Served, &str, &str, usize) -> bool) {
    let mut first = Upload::new(0, LEN);
    let calls = calls_of(server, |server| first.story(server.address()));
    assert!(first.is_stored && first.codes.is_empty(), "nothing failed");
    for (thread, _, call, _) in calls.iter().filter(|(_, _, call, _)| CALLS.contains(&call.as_str())) {
        for nth in 1.. {
            if !body(server, thread, call, nth) {
                break;
            }
        }
    }
}

/// Has one call of one thread changed by `how` while `body` runs; the trace.
fn injected(server: &mut Served, thread: &str, call: &str, how: &str, body: impl FnOnce(&mut Served)) -> String {
    let id = server.thread(thread);
    let options = ["-e".into(), format!("trace={call}"), "-e".into(), format!("inject={call}:{how}")];
    let strace = Strace::attach(Target::Thread(id), &options);
    body(server);
    strace.detach()
}

fn is_fit(server: &Served) -> bool {
    let health = Talker::new(Wire::Http, server.address()).ask(Wire::Http.get("/.filewharf/health"), Expects::Body);
    matches!(health, Reply::Served(_))
}

// covers: full-disk quota-used-up write-fails file-sync-fails directory-sync-fails
#[test]
#[ignore = "needs root, strace and a release build"]
fn every_call_of_an_upload_in_parts_fails_once_and_no_safe_byte_is_lost() {
    let root = dir();
    let mut server = start(root.path());
    server.client().put("/other", b"other");
    let (mut count, mut restarts, mut told) = (0, 0, 0);
    for error in ["ENOSPC", "EDQUOT", "EIO", "EROFS"] {
        at_each_call(&mut server, |server, thread, call, nth| {
            count += 1;
            let what = format!("{error} of {call} #{nth} in {thread}");
            let mut upload = Upload::new(count, LEN);
            let trace = injected(server, thread, call, &format!("error={error}:when={nth}"), |server| {
                upload.story(server.address());
                server.wait_until_asleep();
            });
            if !trace.contains("(INJECTED)") {
                upload.codes.clear();
                server.client().expect(&format!("DELETE /{}", upload.name), "OK 0");
                return false;
            }
            let permitted: &[u16] = if matches!(error, "ENOSPC" | "EDQUOT") { &[507, 500, 503] } else { &[500, 503] };
            assert!(upload.codes.iter().all(|code| permitted.contains(code)), "{what}: told {:?}", upload.codes);
            told += usize::from(!upload.codes.is_empty());
            assert_eq!(server.client().get("/other"), b"other", "{what}: others are served");
            if is_fit(server) {
                server.assert_serves();
            } else {
                assert!(error == "EIO" || error == "EROFS", "{what}: passes by itself");
                restarts += 1;
                server.kill();
                *server = start(&server.root);
            }
            if upload.is_stored {
                assert_same(&server.client().get(&format!("/{}", upload.name)), &upload.content, &what);
                server.client().expect(&format!("DELETE /{}", upload.name), "OK 0");
            } else {
                upload.complete(server);
            }
            true
        });
    }
    println!("parts: {count} faults injected, {told} told, {restarts} times read-only");
    assert!(told > 50 && restarts > 10, "the walk has missed the interesting calls");
}

// covers: kill-at-any-call
#[test]
#[ignore = "needs root, strace and a release build"]
fn a_server_that_dies_at_any_call_of_an_upload_in_parts_loses_no_safe_byte() {
    let root = dir();
    let mut server = start(root.path());
    let (mut count, mut kills) = (0, 0);
    at_each_call(&mut server, |server, thread, call, nth| {
        count += 1;
        let mut upload = Upload::new(count, LEN);
        injected(server, thread, call, &format!("signal=KILL:when={nth}"), |server| {
            upload.story(server.address());
            // Its last call may come only after the last reply.
            dies(server);
        });
        if !server.has_ended() {
            server.client().expect(&format!("DELETE /{}", upload.name), "OK 0");
            return false;
        }
        kills += 1;
        server.kill();
        *server = start(&server.root);
        if !upload.is_stored {
            upload.complete(server);
        }
        true
    });
    println!("parts: {kills} places to die");
    assert!(kills > 50, "the walk has missed the interesting calls");
    assert_eq!(server.end(), Some(0));
}

/// The disk is full in the middle of an upload; its length is known or not.
fn continues_once_there_is_space(disk: &Mounted) {
    let server = start(&disk.path().join("served"));
    server.client().put("/other", &content(1, 5000));
    let mut known = Upload::new(1, 6 << 20);
    known.send(server.address(), 1 << 20);
    let mut address = server.client();
    address.send("PUT * resume=unknown /unknown\n");
    assert_eq!(address.line(), "GO 0");
    while_full(disk, 1 << 20, || {
        known.send(server.address(), 6 << 20);
        assert!(!known.is_stored && known.codes.iter().all(|code| *code == 507), "{:?}", known.codes);
        known.ask(server.address());
        assert!(known.told >= 1 << 20);
        assert_same(&server.client().get("/other"), &content(1, 5000), "others are served");
        let bytes = content(3, 2 << 20);
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        let _ = stream.write_all(format!("PUT * resume=more /more\n{:x}\n", bytes.len()).as_bytes());
        let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
        assert!(lines.next().and_then(Result::ok).is_none_or(|go| go == "GO 0" || go.starts_with("ERR 507 ")));
        let _ = stream.write_all(&bytes);
        assert!(lines.next().and_then(Result::ok).is_none_or(|said| said.starts_with("ERR 507 ")));
    });
    known.complete(&server);
    server.assert_serves();
    drop(address);
    assert_eq!(server.end(), Some(0), "a full disk is no broken promise");
}

// covers: full-disk
#[test]
#[ignore = "needs root and a release build"]
fn an_upload_in_parts_into_a_full_file_system_in_memory_continues_once_there_is_space() {
    continues_once_there_is_space(&Mounted::tmpfs("size=12M"));
}

// covers: full-disk
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn an_upload_in_parts_into_a_full_disk_continues_once_there_is_space() {
    continues_once_there_is_space(&Mounted::image(32, &["mkfs.ext4", "-q", "-m", "0"], ""));
}

// covers: quota-used-up
#[test]
#[ignore = "needs root, loop devices, btrfs-progs and a release build"]
fn an_upload_in_parts_beyond_a_quota_continues_once_something_else_is_deleted() {
    let disk = Mounted::image(256, &["mkfs.btrfs", "-q"], "");
    let (mount, root) = (text(disk.path()), text(&disk.path().join("served")));
    run(&["btrfs", "quota", "enable", &mount]);
    run(&["btrfs", "subvolume", "create", &root]);
    run(&["btrfs", "qgroup", "limit", "16M", &root]);
    let server = start(Path::new(&root));
    let mut upload = Upload::new(1, 8 << 20);
    upload.send(server.address(), 2 << 20);
    // btrfs frees an extent only once none of it is used: what was reserved for the rest still counts.
    run(&["sync", "--file-system", &mount]);
    server.client().put("/ballast", &content(1, 5 << 20));
    upload.send(server.address(), 8 << 20);
    assert!(!upload.is_stored && upload.codes.iter().all(|code| *code == 507), "{:?}", upload.codes);
    upload.ask(server.address());
    assert!(upload.told >= 2 << 20);
    server.client().expect("DELETE /ballast", "OK 0");
    // So does what was deleted.
    run(&["sync", "--file-system", &mount]);
    upload.complete(&server);
    assert_eq!(server.end(), Some(0));
}

// covers: disk-turns-read-only
#[test]
#[ignore = "needs root, loop devices, e2fsprogs and a release build"]
fn an_upload_in_parts_on_a_disk_that_becomes_read_only_continues_when_that_is_repaired() {
    let disk = Mounted::image(64, &["mkfs.ext4", "-q"], ",errors=remount-ro");
    let server = start(&disk.path().join("served"));
    server.client().put("/other", &content(1, 5000));
    let mut upload = Upload::new(1, 6 << 20);
    upload.send(server.address(), 3 << 20);
    upload.ask(server.address());
    assert_eq!(upload.told, 3 << 20);
    let mut under_way = server.client();
    under_way.send("PUT 6000000 resume=other /under/way\n");
    assert_eq!(under_way.line(), "GO 0");
    under_way.send(content(2, 1_000_000));
    let device = run(&["findmnt", "-no", "SOURCE", &text(disk.path())]);
    let device = device.trim().trim_start_matches("/dev/");
    fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").expect("the kernel offers it");
    upload.send(server.address(), 6 << 20);
    assert!(!upload.is_stored && upload.codes.iter().all(|code| matches!(code, 500 | 503)), "{:?}", upload.codes);
    let _ = under_way.stream.shutdown(Shutdown::Write);
    assert!(under_way.line().starts_with("ERR "), "not a byte of it is lost without a word");
    assert_same(&server.client().get("/other"), &content(1, 5000), "reading continues");
    drop(under_way);
    assert_eq!(server.end(), Some(1), "it shows in the exit code");
    let repaired = disk.cut();
    drop(disk);
    let disk = repaired.mount();
    let server = start(&disk.path().join("served"));
    upload.complete(&server);
    assert_eq!(server.end(), Some(0));
}
