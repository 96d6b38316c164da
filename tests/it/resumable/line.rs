//! Uploads that can be resumed, on a real disk, by `resume=` of the line protocol: cut off, taken over, expired.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use support::client::{Client, Running, assert_same, content, limits, random, sha256, value, wait_until};
use support::server::Program;

use crate::program;

const LEN: usize = 3_000_000;
/// As options of the program: what a kill loses, and where a checkpoint must have been.
const SYNC: usize = 64 * 1024;
const CUTS: usize = 24;

/// Names in the directory of uploads besides its clock.
fn kept(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root.join(".filewharf/uploads")).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> = names.map(|name| name.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "CLOCK");
    names.sort();
    names
}

/// Begins a part: how many bytes are safe.
fn go(client: &mut Client, request: &str) -> usize {
    client.send(format!("{request}\n"));
    let line = client.line();
    let offset = line.strip_prefix("GO ").unwrap_or_else(|| panic!("{line:?}"));
    offset.parse().expect("an offset")
}

/// The safe bytes of an upload, asked by another connection.
fn safe(client: &mut Client, path: &str) -> usize {
    let line = client.ask(&format!("STAT resume=token {path}"));
    value(&line, "offset").and_then(|offset| offset.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

#[test]
fn an_upload_cut_by_clients_that_vanish_and_servers_that_are_killed_loses_no_safe_byte() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sync = SYNC.to_string();
    let start = || program::start(dir.path(), &["--upload-sync", &sync]);
    let content = content(7, LEN);
    let request = format!("PUT {LEN} resume=token sha256={} /a/b", sha256(&content));
    let (mut server, mut state, mut told) = (start(), 1, 0);
    for cut in 0..CUTS {
        let mut client = server.client();
        let offset = go(&mut client, &request);
        assert!(offset >= told, "{offset} bytes are safe, {told} were");
        told = offset;
        let end = (offset + random(&mut state) as usize % (2 * LEN / CUTS)).min(LEN - 1);
        client.send(&content[offset..end]);
        match cut % 4 {
            // All that has come is made safe at once.
            0 => {
                drop(client);
                let mut other = server.client();
                wait_until("all of the part is safe", || safe(&mut other, "/a/b") == end);
                told = end;
            }
            1 => client.reset(),
            // It hangs, and is taken over in the next round.
            2 => std::mem::forget(client),
            _ => {
                let mut other = server.client();
                // A checkpoint is due at each `SYNC` bytes, and a second one may wait for the first.
                wait_until("a checkpoint", || {
                    told = safe(&mut other, "/a/b");
                    told + 2 * SYNC >= end
                });
                drop(server);
                server = start();
                assert!(safe(&mut server.client(), "/a/b") >= told, "a kill takes nothing back");
            }
        }
    }
    let mut client = server.client();
    let offset = go(&mut client, &request);
    assert!(offset >= told);
    client.send(&content[offset..]);
    let stored = client.line();
    assert!(stored.starts_with("OK 0 etag="), "{stored}");
    assert_same(&client.get("/a/b"), &content, "the file");
    // A client that has not heard of it.
    assert_eq!(go(&mut client, &request), LEN);
    assert_eq!(client.line(), stored);
    let [only] = &kept(dir.path())[..] else { panic!("{:?}", kept(dir.path())) };
    assert!(only.ends_with(".info"), "only the record of its end is left: {only}");
    server.end();
}

#[test]
fn a_newer_request_takes_an_upload_over_from_one_that_hangs() {
    let server = Running::start();
    let content = content(8, 100_000);
    let request = "PUT 100000 resume=token /taken/over";
    let mut older = server.client();
    assert_eq!(go(&mut older, request), 0);
    older.send(&content[..60_000]);
    wait_until("the bytes have come", || server.counters().bytes_in >= 60_000);
    let mut newer = server.client();
    assert_eq!(go(&mut newer, request), 60_000, "what had come is safe");
    assert!(older.line().starts_with("ERR 409 "));
    newer.send(&content[60_000..]);
    assert!(newer.line().starts_with("OK 0 "));
    assert_same(&newer.get("/taken/over"), &content, "the file");
}

#[test]
fn an_upload_to_which_nothing_is_added_expires_and_is_gone_then_forgotten() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Running::on(dir.path(), |builder| {
        builder.limits(limits().with(|limits| limits.fixed.upload_expiry = Duration::from_secs(1)))
    });
    let mut client = server.client();
    assert_eq!(go(&mut client, "PUT 10 resume=token /f"), 0);
    client.send("five ");
    drop(client);
    let stat = |code: &str| server.client().ask("STAT resume=token /f").starts_with(code);
    wait_until("it is gone", || stat("ERR 410 "));
    assert_eq!(kept(dir.path()).len(), 1, "its bytes are gone");
    wait_until("it is forgotten", || stat("ERR 404 "));
    wait_until("nothing is left", || kept(dir.path()).is_empty());
    let mut client = server.client();
    assert_eq!(go(&mut client, "PUT 10 resume=token /f"), 0);
    client.send("five five ");
    assert!(client.line().starts_with("OK 0 "));
}

#[test]
fn one_address_keeps_half_of_all_uploads_at_most() {
    let server = Running::limited(|limits| limits.fixed.uploads_kept_max = 4);
    let mut client = server.client();
    for n in 0..2 {
        let mut one = server.client();
        assert_eq!(go(&mut one, &format!("PUT 10 resume=token /{n}")), 0);
        drop(one);
        wait_until("it is kept", || client.ask(&format!("STAT resume=token /{n}")).starts_with("OK 0 offset=0 "));
    }
    let refused = client.ask("PUT 10 resume=token /2");
    assert!(refused.starts_with("ERR 429 "), "{refused}");
    client.put("/plain", b"goes on");
    assert_eq!(go(&mut client, "PUT 10 resume=token /1"), 0, "and so does one that is kept");
    client.send("ten bytes.");
    assert!(client.line().starts_with("OK 0 "));
    assert_eq!(go(&mut client, "PUT 10 resume=token /2"), 0, "there is place again");
    client.send("ten bytes.");
    assert!(client.line().starts_with("OK 0 "));
}

#[test]
fn of_two_servers_on_one_folder_one_at_a_time_writes_an_upload() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let start = || Running::on(dir.path(), |builder| builder.shared(true));
    let [one, other] = [start(), start()];
    let request = "PUT 10 resume=token /f";
    let mut client = one.client();
    assert_eq!(go(&mut client, request), 0);
    client.send("ten ");
    // The first connection is silent, and open: it leaves the upload for the other, with what it has received.
    let mut newer = other.client();
    assert_eq!(go(&mut newer, request), 4);
    let told = client.line();
    assert!(told.starts_with("ERR 409 ") || told.starts_with("ERR 423 "), "{told}");
    drop((client, newer));
    wait_until("it is free", || other.client().ask("STAT resume=token /f").starts_with("OK 0 offset=4 "));
    let mut client = other.client();
    wait_until("it can be resumed", || {
        let line = client.ask(request);
        line == "GO 4"
    });
    client.send("bytes.");
    assert!(client.line().starts_with("OK 0 "));
    assert_eq!(one.client().get("/f"), b"ten bytes.");
    // A store that ends leaves what can be resumed.
    let mut client = one.client();
    assert_eq!(go(&mut client, "PUT 10 resume=token /g"), 0);
    client.send("ten ");
    drop(client);
    wait_until("it is safe", || other.client().ask("STAT resume=token /g").starts_with("OK 0 offset=4 "));
    drop(one);
    assert_eq!(go(&mut other.client(), "PUT 10 resume=token /g"), 4);
}

#[test]
fn a_request_sent_right_after_the_body_continues_with_the_same_token() {
    let server = Running::start();
    let mut client = server.client();
    assert_eq!(go(&mut client, "PUT 5 resume=token /f"), 0);
    client.send("first");
    for _ in 0..3 {
        client.send("PUT 5 resume=token /f\n");
        assert!(client.line().starts_with("OK 0 "));
        assert_eq!(client.line(), "GO 0");
        client.send("other");
    }
    assert!(client.line().starts_with("OK 0 "));
    assert_eq!(client.get("/f"), b"other");
}

#[test]
fn a_request_sent_right_after_the_body_with_another_token_detaches_from_the_first() {
    let server = Running::start();
    let mut client = server.client();
    assert_eq!(go(&mut client, "PUT 5 resume=token /f"), 0);
    client.send("firstPUT 5 resume=token /g\n");
    assert!(client.line().starts_with("OK 0 "));
    assert_eq!(client.line(), "GO 0");
    let mut other = server.client();
    assert_eq!(go(&mut other, "PUT 5 resume=token /f"), 0);
    other.send("other");
    assert!(other.line().starts_with("OK 0 "));
    client.send("again");
    assert!(client.line().starts_with("OK 0 "));
}

/// Begins a part once no other server is attached.
fn go_when_free(server: &Program, request: &str) -> (Client, usize) {
    let mut begun = None;
    wait_until("the upload is free", || {
        let mut client = server.client();
        let line = client.ask(request);
        assert!(line.starts_with("GO ") || line.starts_with("ERR 423 "), "{line}");
        begun = line.strip_prefix("GO ").map(|offset| (client, offset.parse().expect("an offset")));
        begun.is_some()
    });
    begun.expect("it is free")
}

#[test]
fn two_servers_on_one_folder_resume_what_the_other_was_sent_also_if_it_was_killed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sync = SYNC.to_string();
    let start = || program::start(dir.path(), &["--shared", "--upload-sync", &sync]);
    let content = content(9, LEN);
    let request = format!("PUT {LEN} resume=token sha256={} /a/b", sha256(&content));
    let (mut servers, mut state, mut told) = ([start(), start()], 1, 0);
    for cut in 0..CUTS {
        let [one, other] = [cut % 2, 1 - cut % 2];
        let (mut client, offset) = go_when_free(&servers[one], &request);
        assert!(offset >= told, "{offset} bytes are safe, {told} were");
        let end = (offset + random(&mut state) as usize % (2 * LEN / CUTS)).min(LEN - 1);
        client.send(&content[offset..end]);
        wait_until("a checkpoint", || {
            let now = safe(&mut servers[other].client(), "/a/b");
            assert!(now >= told, "{now} bytes are safe, {told} were");
            told = now;
            told + 2 * SYNC >= end
        });
        match cut % 4 {
            0 => drop(client),
            1 => client.reset(),
            // Both are as often the one that is killed.
            _ => servers[one].signal(Signal::KILL),
        }
        if cut % 4 > 1 {
            servers[one] = start();
        }
    }
    let (mut client, offset) = go_when_free(&servers[0], &request);
    assert!(offset >= told);
    client.send(&content[offset..]);
    let stored = client.line();
    assert!(stored.starts_with("OK 0 etag="), "{stored}");
    assert_same(&servers[1].client().get("/a/b"), &content, "the file");
    assert!(servers[1].client().ask("STAT resume=token /a/b").contains(" complete=1"));
    let [only] = &kept(dir.path())[..] else { panic!("{:?}", kept(dir.path())) };
    assert!(only.ends_with(".info"), "only the record of its end is left: {only}");
}
