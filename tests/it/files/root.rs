//! The directory changes or refuses under the server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use filewharf::error::CloseReason;

use support::client::{Running, assert_same, content, visible, wait_until};

/// The directory that was opened at the start is the one that is served, wherever it is.
// covers: root-moved
#[test]
fn a_served_directory_that_is_moved_stays_served_and_what_takes_its_place_is_left_alone() {
    for portable in [false, true] {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let (root, moved) = (outer.path().join("served"), outer.path().join("moved"));
        let server = Running::on(&root, |builder| builder.portable(portable));
        let mut client = server.client();
        client.put("/folder/file", b"content");
        fs::rename(&root, &moved).expect("the folder moves");
        fs::create_dir(&root).expect("another one");
        fs::write(root.join("stranger"), "not ours").expect("a file");
        client.expect("GET /stranger", "ERR 404 ");
        assert_eq!(client.get("/folder/file"), b"content");
        for size in [3, 100_000] {
            client.put("/folder/file", &content(1, size));
            assert_same(&fs::read(moved.join("folder/file")).expect("a file"), &content(1, size), "where it is now");
        }
        client.expect("MKDIR /new/", "OK 0");
        client.expect("DELETE /folder/file", "OK 0");
        assert_eq!(visible(&moved), ["folder", "new"]);
        assert_eq!(visible(&root), ["stranger"]);
        assert!(!root.join(".filewharf").exists());
    }
}

// covers: staging-removed
#[test]
fn a_staging_file_that_is_removed_fails_that_upload_only() {
    let server = Running::start();
    server.client().put("/file", b"the old content");
    let mut client = server.client();
    client.send("PUT 100000 /file\n");
    client.send(content(1, 50_000));
    wait_until("a staging file", || server.staged().len() == 1);
    for file in server.staged() {
        fs::remove_file(file).expect("the file goes");
    }
    client.send(content(2, 50_000));
    let line = client.line();
    assert!(line.starts_with("ERR 5"), "{line}");
    assert_eq!(client.get("/file"), b"the old content");
    drop(client);
    server.assert_serves();
    server.wait_until_quiet();
}

// covers: truncated-while-sent
#[test]
fn a_file_that_shrinks_while_it_is_sent_is_never_padded() {
    let bytes = content(1, 16 << 20);
    for (portable, trailer) in [(false, ""), (true, ""), (false, " trailer=sha256")] {
        let server = Running::with(|builder| builder.portable(portable));
        fs::write(server.path("file"), &bytes).expect("a file");
        let mut client = server.client();
        client.expect(&format!("GET{trailer} /file"), "OK 16777216 ");
        let mut got = client.bytes(1000);
        let file = fs::OpenOptions::new().write(true).open(server.path("file")).expect("the file");
        file.set_len(5000).expect("it shrinks");
        let (rest, error) = client.rest();
        got.extend(rest);
        assert!(got.len() < bytes.len(), "padded to its promised length");
        if portable {
            // Otherwise the kernel sends the pages themselves, and cuts them short while they wait.
            assert_same(&got, &bytes[..got.len()], "what was sent");
        }
        assert!(error.is_some(), "a plain end would look whole to a careless client");
        wait_until("it is counted", || server.closed(CloseReason::SourceFailed) == 1);
        server.assert_serves();
        server.wait_until_quiet();
    }
}

#[test]
fn a_file_cut_after_what_was_sent_ends_its_download_without_delay() {
    let server = Running::limited(|limits| {
        limits.fixed.send_buffer_bytes = 64 << 10;
        limits.live.stall_timeout = Duration::from_secs(20);
    });
    let bytes = content(1, 3 << 20);
    for n in 0..8 {
        fs::write(server.path("file"), &bytes).expect("a file");
        let mut client = server.client();
        client.expect("GET /file", "OK 3145728 ");
        let mut got = client.bytes(1000);
        let file = fs::OpenOptions::new().write(true).open(server.path("file")).expect("the file");
        // Most of these ends are met while the socket has room, of which no event tells then.
        file.set_len((2 << 20) + n * 7000).expect("it shrinks");
        let (rest, error) = client.rest();
        got.extend(rest);
        assert!(got.len() < bytes.len(), "padded to its promised length");
        assert!(error.is_some(), "a plain end would look whole to a careless client");
        assert_eq!(server.closed(CloseReason::TooSlow), 0, "it waited for room that was there");
    }
    wait_until("they are counted", || server.closed(CloseReason::SourceFailed) == 8);
}

#[test]
fn what_may_not_be_read_or_written_is_refused() {
    if rustix::process::geteuid().is_root() {
        return; // root may do everything
    }
    let server = Running::start();
    let mut client = server.client();
    client.put("/file", b"content");
    client.put("/folder/file", b"content");
    fs::set_permissions(server.path("file"), fs::Permissions::from_mode(0o000)).expect("ours");
    fs::set_permissions(server.path("folder"), fs::Permissions::from_mode(0o500)).expect("ours");
    client.expect("GET /file", "ERR 403 ");
    assert!(client.try_put("/folder/new", b"new").starts_with("ERR 403 "));
    client.expect("DELETE /folder/file", "ERR 403 ");
    fs::set_permissions(server.path("folder"), fs::Permissions::from_mode(0o700)).expect("ours");
    drop(client);
    server.assert_serves();
    server.wait_until_quiet();
}

#[test]
fn where_nothing_can_be_staged_clients_and_monitoring_get_errors_and_it_passes() {
    let server = Running::start();
    let mut client = server.client();
    let health = || {
        let mut client = server.client();
        client.send("GET /.filewharf/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.line()
    };
    client.put("/file", b"content");
    assert_eq!(health(), "HTTP/1.1 200 OK\r");
    fs::remove_dir_all(server.path(".filewharf")).expect("a folder");
    fs::write(server.path(".filewharf"), "in the way").expect("a file");
    for size in [3, 100_000] {
        let line = server.client().try_put("/new", &content(1, size));
        assert!(line.starts_with("ERR 503 retry=5 "), "{line}");
    }
    assert_eq!(health(), "HTTP/1.1 503 Service Unavailable\r");
    assert_same(&client.get("/file"), b"content", "reading continues");
    fs::remove_file(server.path(".filewharf")).expect("a file");
    wait_until("a healthy store", || health() == "HTTP/1.1 200 OK\r");
    client.put("/new", b"content");
}
