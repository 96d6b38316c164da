//! Never stale: a change of a file that ended before the last byte of a request was sent is seen by
//! that request, however the change was made, while the server is busy with others
//! that ask for the same file.
//!
//! The head of each request is sent in two halves, and the change falls between them: the server may
//! be waiting for the rest, or just waking up, or in the middle of a turn. Which of these it was is left
//! to chance, but for the last test, which is in memory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};
use filewharf::object::Durability;
use tempfile::TempDir;

use support::StopOnDrop;
use support::client::{Client, PATIENCE, Running};
use support::rig::{Mode, Rig};

/// How often each kind of change is tried.
const TIMES: u32 = 600;
const NAME: &str = "a/b/file";

/// A version of the file: 4 KiB, which are kept in memory, or 40 KiB, for which the file is kept
/// open. Every part of it tells which one it is.
fn version(n: u32) -> Vec<u8> {
    format!("{n:08}").repeat(if (n / 8).is_multiple_of(2) { 512 } else { 5120 }).into_bytes()
}

/// Writes over what is there.
fn write_over(path: &Path, n: u32) {
    let mut file = OpenOptions::new().write(true).open(path).expect("a file");
    file.write_all(&version(n)).expect("room");
    file.set_len(version(n).len() as u64).expect("shorter");
}

// Each brings version `n` about in the directory, and returns what stands there then.

fn replace(root: &Path, n: u32) -> Option<Vec<u8>> {
    fs::write(root.join("new"), version(n)).expect("room");
    fs::rename(root.join("new"), root.join(NAME)).expect("a rename");
    Some(version(n))
}

fn write_in_place(root: &Path, n: u32) -> Option<Vec<u8>> {
    write_over(&root.join(NAME), n);
    Some(version(n))
}

/// Its directory is not watched.
fn write_by_another_name(root: &Path, n: u32) -> Option<Vec<u8>> {
    let other = root.join("other");
    if n == 1 {
        fs::hard_link(root.join(NAME), &other).expect("a second name");
    }
    write_over(&other, n);
    Some(version(n))
}

fn delete(root: &Path, n: u32) -> Option<Vec<u8>> {
    if n % 2 == 1 {
        fs::remove_file(root.join(NAME)).expect("a file");
        return None;
    }
    fs::write(root.join(NAME), version(n)).expect("room");
    Some(version(n))
}

fn cut_short(root: &Path, n: u32) -> Option<Vec<u8>> {
    if n % 2 == 1 {
        File::options().write(true).open(root.join(NAME)).expect("a file").set_len(8).expect("shorter");
        return Some(fs::read(root.join(NAME)).expect("a file"));
    }
    fs::write(root.join(NAME), version(n)).expect("room");
    Some(version(n))
}

fn move_an_ancestor(root: &Path, n: u32) -> Option<Vec<u8>> {
    fs::create_dir_all(root.join("spare/b")).expect("a folder");
    fs::write(root.join("spare/b/file"), version(n)).expect("room");
    fs::rename(root.join("a"), root.join("old")).expect("a rename");
    fs::rename(root.join("spare"), root.join("a")).expect("a rename");
    fs::remove_dir_all(root.join("old")).expect("removed");
    Some(version(n))
}

/// Links are not followed, so there is nothing after one.
fn put_a_link_in_the_way(root: &Path, n: u32) -> Option<Vec<u8>> {
    if n % 2 == 1 {
        fs::rename(root.join("a"), root.join("hidden")).expect("a rename");
        symlink("hidden", root.join("a")).expect("a link");
        return None;
    }
    fs::remove_file(root.join("a")).expect("a link");
    fs::rename(root.join("hidden"), root.join("a")).expect("a rename");
    Some(fs::read(root.join(NAME)).expect("a file"))
}

/// Asks for the file again and again until `stop` is set, and does not look at the answers.
fn ask_on_and_on(address: SocketAddr, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        while !stop.load(Ordering::Relaxed) {
            let asked = stream.write_all(format!("GET /{NAME}\n").as_bytes());
            // It is reset when a file is cut short while it is being sent.
            if asked.is_err() || matches!(stream.read(&mut buffer), Ok(0) | Err(_)) {
                break;
            }
        }
    }
}

fn ask(client: &mut Client, change: impl FnOnce() -> Option<Vec<u8>>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    client.send("GET /a/b");
    let wanted = change();
    client.send("/file\n");
    let line = client.line();
    let len = line.strip_prefix("OK ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(len.is_some() || line.starts_with("ERR 404 "), "{line}");
    (len.map(|len| client.bytes(len)), wanted)
}

fn the_old_content_is_never_served(mut change: impl FnMut(&Path, u32) -> Option<Vec<u8>>, server: &Running) {
    let root = server.path("");
    fs::create_dir_all(root.join("a/b")).expect("a folder");
    fs::write(root.join(NAME), version(0)).expect("room");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| ask_on_and_on(server.address(), &stop));
        }
        let mut client = server.client();
        let mut stale = 0;
        for n in 1..=TIMES {
            let (got, wanted) = ask(&mut client, || change(&root, n));
            stale += u32::from(got != wanted);
            // So that it is kept again before it changes again: the first time its directories may be
            // new too.
            for _ in 0..3 {
                ask(&mut client, || None);
            }
        }
        assert_eq!(stale, 0, "stale replies, of {TIMES}");
    });
}

/// In memory where that can be had: to replace a file thousands of times, while other tests sync,
/// takes a disk minutes, and says nothing more.
fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn server(dir: &TempDir) -> Running {
    Running::on(dir.path(), |builder| {
        // A change may take long where the disk is busy, and half a head waits for it.
        let limits = Limits::default().with(|l| l.live.head_timeout = 10 * PATIENCE);
        builder.limits(limits).durability(Durability::Written)
    })
}

#[test]
fn a_file_that_was_replaced_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(replace, &server(&dir));
}

#[test]
fn a_write_in_place_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(write_in_place, &server(&dir));
}

#[test]
fn a_write_by_another_name_of_the_file_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(write_by_another_name, &server(&dir));
}

#[test]
fn a_deletion_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(delete, &server(&dir));
}

#[test]
fn a_file_that_was_cut_short_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(cut_short, &server(&dir));
}

#[test]
fn a_directory_in_another_ones_place_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(move_an_ancestor, &server(&dir));
}

// covers: others-change-names
#[test]
fn a_link_in_the_way_is_seen() {
    let dir = dir();
    the_old_content_is_never_served(put_a_link_in_the_way, &server(&dir));
}

// covers: reads-beside-replaces
#[test]
fn an_upload_to_this_server_is_seen() {
    let dir = dir();
    let server = server(&dir);
    let mut writer = server.client();
    let upload = |_: &Path, n| {
        writer.put(&format!("/{NAME}"), &version(n));
        Some(version(n))
    };
    the_old_content_is_never_served(upload, &server);
}

/// More clients than the server receives from before it answers the first: the last of them are received
/// late in the turn, after others were served from what is remembered of the file.
// covers: reads-beside-replaces
#[test]
fn a_change_before_the_last_byte_is_seen_however_late_in_a_turn_that_is_received() {
    const CROWD: usize = 130;
    let requests = [(Kind::Line, "GET /file\n"), (Kind::Http, "GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")];
    for mode in Mode::all().filter(|mode| mode.window == usize::MAX && !mode.lags) {
        for (kind, request) in requests {
            for late in [0, 1, 64, CROWD - 3, CROWD - 2, CROWD - 1] {
                let listening = Listening::new(kind, &[], 0).expect("no options");
                let mut rig = Rig::speaking(listening, mode, Limits::default(), Access::default());
                rig.place("file", b"before");
                let peers: Vec<_> = (0..CROWD).map(|_| rig.connect()).collect();
                for peer in &peers[..3] {
                    rig.send(peer, request.as_bytes());
                }
                let heard = peers[0].heard().len();
                for (n, peer) in peers.iter().enumerate() {
                    let changes = (n == late).then_some(("file", b"change".as_slice()));
                    rig.send_later(peer, request.as_bytes(), changes);
                }
                rig.turn();
                let before = peers[1].heard().ends_with(b"before") && peers[1].heard().len() > heard;
                let is_late = before && !peers[late].heard().is_empty();
                assert!(is_late == (late >= 128) || mode.deferred, "{late}: not as early or late in a turn as thought");
                rig.send(&peers[late], b"");
                let said = peers[late].heard();
                assert!(said.ends_with(b"change"), "{mode:?}, {late}: {}", said.escape_ascii());
            }
        }
    }
}
