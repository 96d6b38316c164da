//! Requests race, and in every order: nothing leaves the root, nothing that was acknowledged is
//! missing, and of two that exclude each other one is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use filewharf::object::Durability;
use tempfile::TempDir;

use support::StopOnDrop;
use support::client::{Running, assert_same, content, visible};

/// How often each race is run.
const TIMES: u64 = 300;

fn server(portable: bool) -> Running {
    Running::with(|builder| builder.portable(portable).durability(Durability::Written))
}

/// One request of HTTP on a connection of its own, and all that is said.
fn http(server: &Running, head: &str, body: &[u8]) -> String {
    let mut client = server.client();
    let len = if head.starts_with("PUT ") { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    client.send(format!("{head}\r\nHost: localhost\r\nConnection: close\r\n{len}\r\n"));
    client.send_in_vain(body);
    client.last_words()
}

/// Puts a directory and a link that leads out in each other's place, again and again. A system without
/// such an exchange does it in two steps.
fn swap(root: &Path, stop: &AtomicBool) {
    let (dir, link, aside) = (root.join("d"), root.join("link"), root.join("aside"));
    while !stop.load(Ordering::Relaxed) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            if renameat_with(CWD, &dir, CWD, &link, RenameFlags::EXCHANGE).is_ok() {
                continue;
            }
        }
        // An upload may have made a directory meanwhile.
        let _ = fs::rename(&dir, &aside);
        let _ = fs::rename(&link, &dir);
        let _ = fs::rename(&aside, &link);
    }
}

// covers: others-change-names
#[test]
fn a_directory_that_becomes_a_link_in_the_middle_of_a_request_leads_to_nothing_outside() {
    for portable in [false, true] {
        let (server, outside) = (server(portable), TempDir::new().expect("a temporary folder"));
        fs::write(outside.path().join("secret"), "from outside").expect("a file");
        fs::create_dir(server.path("d")).expect("a folder");
        fs::write(server.path("d/secret"), "from inside").expect("a file");
        fs::write(server.path("own"), "own").expect("a file");
        symlink(outside.path(), server.path("link")).expect("a link");
        let (stop, root) = (AtomicBool::new(false), server.path(""));
        let (mut inside, mut refused) = (0, 0);
        thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| swap(&root, &stop));
            let mut client = server.client();
            for n in 0..TIMES {
                let mut said = String::new();
                for request in [
                    "GET /d/secret",
                    "LIST /d/",
                    "STAT /d/secret",
                    "MKDIR /d/made/",
                    "RENAME /own\t/d/own",
                    "RENAME /d/own\t/own",
                    "DELETE /d/secret",
                ] {
                    let line = client.ask(request);
                    if let Some(len) = line.strip_prefix("OK ").and_then(|rest| rest.split(' ').next()) {
                        said += &String::from_utf8(client.bytes(len.parse().expect("a size"))).expect("text");
                    }
                    refused += u64::from(line.starts_with("ERR 4"));
                    assert!(line.starts_with("OK ") || line.starts_with("ERR 4"), "{request}: {line}");
                }
                for (path, len) in [("/d/new", 3), ("/d/deep/new", 100_000), ("/d/secret", 11)] {
                    let bytes = if len == 11 { b"from inside".to_vec() } else { content(n, len) };
                    let line = client.try_put(path, &bytes);
                    inside += u64::from(line.starts_with("OK "));
                    assert!(line.starts_with("OK ") || line.starts_with("ERR 4"), "PUT {path}: {line}");
                }
                said += &http(&server, "GET /d/secret HTTP/1.1", b"");
                said += &http(&server, "PUT /d/other HTTP/1.1", b"x");
                said += &http(&server, "GET /d/ HTTP/1.1\r\nAccept: application/json", b"");
                said += &http(&server, "DELETE /d/other HTTP/1.1", b"");
                assert!(!said.contains("from outside"), "round {n}, portable: {portable}");
            }
        });
        assert_eq!(visible(outside.path()), ["secret"], "something was made outside of the root");
        let secret = fs::read(outside.path().join("secret")).expect("still there");
        assert_eq!(secret, b"from outside", "changed outside of the root");
        assert!(inside > 0 && refused > 0, "there was no race: {inside} stored, {refused} refused");
        server.wait_until_quiet();
    }
}

// covers: file-against-directory
#[test]
fn of_a_file_and_a_directory_of_one_name_one_is_stored_and_the_other_refused() {
    for portable in [false, true] {
        let server = server(portable);
        let (mut one, mut other) = (server.client(), server.client());
        for n in 0..TIMES {
            // Small ones are stored in one piece, large ones by way of a staging file.
            let size = if n % 2 == 0 { 10 } else { 100_000 };
            one.send([format!("PUT {size} /{n}\n").as_bytes(), &content(n, size)].concat());
            other.send([format!("PUT {size} /{n}/{n}\n").as_bytes(), &content(n + 1, size)].concat());
            let said = [one.line(), other.line()];
            let stored = [0, 1].map(|place: usize| said[place].starts_with("OK "));
            assert!(stored[0] != stored[1], "{said:?}");
            let (path, seed) = if stored[0] { (format!("{n}"), n) } else { (format!("{n}/{n}"), n + 1) };
            assert_same(&fs::read(server.path(&path)).expect("it was stored"), &content(seed, size), &path);
            assert!(said.iter().any(|line| line.starts_with("ERR 409 ")), "{said:?}");
        }
        drop((one, other));
        server.wait_until_quiet();
    }
}

// covers: directory-removed-under-upload
#[test]
fn a_directory_is_not_removed_from_under_an_upload_that_was_acknowledged() {
    for portable in [false, true] {
        let server = server(portable);
        let (mut writer, mut remover) = (server.client(), server.client());
        for n in 0..TIMES {
            let size = if n % 2 == 0 { 10 } else { 100_000 };
            writer.expect("MKDIR /folder/", "OK 0");
            writer.send([format!("PUT {size} /folder/file\n").as_bytes(), &content(n, size)].concat());
            remover.send("DELETE /folder\n");
            let (stored, removed) = (writer.line(), remover.line());
            let refused = stored.starts_with("ERR 404 ") || stored.starts_with("ERR 409 ");
            assert!(stored.starts_with("OK ") || refused, "{stored}");
            assert!(removed.starts_with("OK ") || removed.starts_with("ERR 409 "), "{removed}");
            if stored.starts_with("OK ") {
                let file = fs::read(server.path("folder/file")).unwrap_or_else(|e| panic!("{e}: {stored}, {removed}"));
                assert_same(&file, &content(n, size), "acknowledged");
                writer.expect("DELETE /folder/file", "OK 0");
            } else {
                assert!(!server.path("folder/file").exists(), "{stored}");
            }
        }
        drop((writer, remover));
        server.wait_until_quiet();
    }
}

// covers: conditional-replaces
#[test]
fn of_many_clients_that_replace_the_version_they_have_seen_one_succeeds() {
    let server = server(false);
    let mut etag = server.client().put("/file", b"first");
    let mut clients: Vec<_> = (0..6).map(|_| server.client()).collect();
    for n in 0..TIMES / 3 {
        for (client, seed) in clients.iter_mut().zip(0..) {
            // Every other one speaks HTTP, once.
            let bytes = content(n * 10 + seed, 40);
            let head = if seed % 2 == 0 {
                format!("PUT 40 if={etag} /file\n")
            } else {
                *client = server.client();
                let conditions = format!("Host: localhost\r\nIf-Match: \"{etag}\"\r\nContent-Length: 40");
                format!("PUT /file HTTP/1.1\r\n{conditions}\r\nConnection: close\r\n\r\n")
            };
            client.send([head.as_bytes(), &bytes].concat());
        }
        let mut winners = Vec::new();
        for (client, seed) in clients.iter_mut().zip(0..) {
            let line = if seed % 2 == 0 { client.line() } else { client.last_words() };
            if line.starts_with("OK 0 ") || line.starts_with("HTTP/1.1 204 ") {
                winners.push(n * 10 + seed);
            } else {
                assert!(line.starts_with("ERR 412 ") || line.starts_with("HTTP/1.1 412 "), "{line}");
            }
        }
        assert_eq!(winners.len(), 1, "each lost update is told");
        let mut reader = server.client();
        let (line, bytes) = reader.fetch("GET /file");
        assert_same(&bytes, &content(winners[0], 40), "the winner's");
        etag = support::client::value(&line, "etag").expect("an etag");
    }
    drop(clients);
    server.wait_until_quiet();
}
