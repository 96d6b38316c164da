//! The program with an access file: how it starts, and how a hangup changes its rules while it runs.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use base64ct::{Base64, Encoding as _};
use filewharf::access::password::PasswordHash;
use rustix::process::Signal;

use crate::access::{TOKEN, entries};
use crate::program::{logging, run, run_in, start, stderr};
use support::client::{Client, wait_until};
use support::process;

fn write(file: &Path, allows: &str) {
    fs::write(file, entries(&["anna"], allows)).expect("a file");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a mode");
}

/// Every file under a directory, as a text.
fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.display().to_string()] });
    found.collect()
}

#[test]
fn a_hangup_changes_the_rules_of_uploads_under_way_and_a_mistake_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, root) = (dir.path().join("access"), dir.path().join("served"));
    write(&file, "allow anna rcw /\nallow @ r /");
    let options = ["--quiet", "--access", &file.to_string_lossy()];
    let (program, log) = logging(&root, &options, Stdio::piped());
    let mut log = BufReader::new(log.expect("a pipe")).lines().map(|line| line.expect("a line"));
    let mut anna = program.client();
    anna.expect(&format!("AUTH anna{TOKEN}"), "OK 0");
    anna.put("/f", b"content");
    anna.send("PUT 10 /g\nhalf ");
    let asks = |request: &str| program.client().ask(request);
    assert!(asks("GET /f").starts_with("OK 7 ") && asks("DELETE /f").starts_with("ERR 401 "));

    // A mistake in the last line: all of the file is as it was before.
    write(&file, "allow anna - /\nallow @ x /");
    program.signal(Signal::HUP);
    let told = log.find(|line| line.contains("access:3: ")).expect("what is wrong");
    assert!(told.contains("stays in effect"), "{told}");
    assert!(asks("GET /f").starts_with("OK 7 "));
    write(&file, "allow anna r /\nallow @ l /");
    program.signal(Signal::HUP);
    wait_until("other rules", || asks("LIST /").starts_with("OK "));
    assert!(asks("GET /f").starts_with("ERR 401 "));
    anna.send("done.");
    assert!(anna.line().starts_with("ERR 403 "));
    assert!(anna.ask("GET /f").starts_with("OK 7 "));
    drop(anna);

    let left: Vec<_> =
        files(&root).into_iter().filter(|name| name.contains("/staging/") || name.ends_with("/g")).collect();
    assert!(
        left.iter().all(|name| !name.ends_with("/g") && fs::metadata(name).is_ok_and(|meta| meta.len() == 0)),
        "{left:?}"
    );
    program.end();
}

#[test]
fn a_server_does_not_start_with_rules_that_are_wrong() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, secret) = (dir.path().join("access"), dir.path().join("secret"));
    let (file_name, secret_name) = (file.display().to_string(), secret.display().to_string());
    fs::write(&secret, "open sesame").expect("a file");
    let root = dir.path().join("served").display().to_string();
    let starts = |options: &[&str]| {
        let output = run(&[&["serve", &root, "--quiet", "--listen", "127.0.0.1:0"], options].concat());
        (output.status.code(), stderr(&output))
    };
    write(&file, "allow @ r /\nallow bob r /");
    let (code, told) = starts(&["--access", &file_name]);
    assert!(code == Some(1) && told.contains(&format!("{file_name}:3: no user, token or cert has")), "{told}");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("a mode");
    let (code, told) = starts(&["--access", &file_name]);
    assert!(code == Some(1) && told.contains("chmod 640"), "{told}");
    for options in [
        &["--access", &file_name, "--token-file", &secret_name][..],
        &["--read-token-file", &secret_name],
        &["--access", &file_name, "--read-token-file", &secret_name],
    ] {
        assert_eq!(starts(options).0, Some(2), "{options:?}");
    }
}

#[test]
fn the_client_logs_in_as_a_user_with_the_password_of_the_environment() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let access = dir.path().join("access");
    let hash = PasswordHash::of("säsame 1".as_bytes(), [7; 16]);
    write(&access, &format!("user anna {hash}\nallow anna rlcw /"));
    let program = start(&dir.path().join("served"), &["--access", &access.display().to_string()]);
    let file = dir.path().join("f").display().to_string();
    fs::write(&file, "content").expect("a file");
    let remote = format!("{}/", program.address());
    let as_user = |user: &str, password: &str, more: &[&str]| {
        // Nothing reads the token where there is a user.
        let environment = [("FILEWHARF_PASSWORD", password), ("FILEWHARF_TOKEN", "a token")];
        let output = run_in(&environment, &[&["put", &file, &remote, "--user", user], more].concat());
        (output.status.code(), stderr(&output))
    };
    assert_eq!(as_user("anna", "säsame 1", &[]).0, Some(0));
    assert_eq!(fs::read(dir.path().join("served/f")).expect("stored"), b"content");
    for (user, password) in [("anna", "sesame 1"), ("ben", "säsame 1")] {
        let (code, told) = as_user(user, password, &[]);
        assert!(code == Some(1) && told.contains("the secret is wrong or has expired"), "{told}");
    }
    for (user, password, more, wanted) in [
        ("anna:secret", "secret", &[][..], "FILEWHARF_PASSWORD"),
        ("anna", "s\ncret", &[], "control characters"),
        ("anna", "secret", &["--token-file", &file], "--user"),
    ] {
        let (code, told) = as_user(user, password, more);
        assert!(code == Some(2) && told.contains(wanted), "{told}");
    }
    program.end();
}

#[test]
fn a_second_secret_permits_reading_only() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("secret of {name}")).expect("a file");
        path.display().to_string()
    };
    let options = ["--token-file", &file("all"), "--read-token-file", &file("reading")];
    let program = start(&dir.path().join("served"), &options);
    let mut all = program.client();
    all.expect("AUTH secret of all", "OK 0");
    all.put("/f", b"content");
    let mut reader = program.client();
    reader.expect("AUTH secret of reading", "OK 0");
    assert_eq!(reader.get("/f"), b"content");
    for request in ["DELETE /f", "MKDIR /d", "RENAME /f\t/g", "PUT 0 /h"] {
        assert!(reader.ask(request).starts_with("ERR 403 "), "{request}");
    }
    assert!(all.ask("DELETE /f").starts_with("OK "));
    assert!(program.client().ask("LIST /").starts_with("ERR 401 "));
    drop((all, reader));
    program.end();
}

#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_password_checks_and_of_long_messages_is_given_back_at_once() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("access");
    write(&file, &format!("user anna {}\nallow anna rlcw /\nallow @ rc /", PasswordHash::of(b"right", [7; 16])));
    let listens = ["--listen", "http@127.0.0.1:0", "--listen", "pickle@127.0.0.1:0"];
    let program = start(&dir.path().join("served"), &[&["--access", &file.to_string_lossy()], &listens[..]].concat());
    let memory = || process::bytes(program.pid(), "RssAnon:");
    let at_first = memory();
    for n in 0..4 {
        let mut client = program.client();
        let credentials = Base64::encode_string(format!("anna:wrong{n}").as_bytes());
        client.send(format!("GET /f HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"));
        assert!(client.line().starts_with("HTTP/1.1 401 "));
        assert!(memory() < at_first + 8 * MIB, "a check of 19 MiB leaves {} bytes", memory() - at_first);
    }

    // A text of 900,000 bytes that is not complete.
    let message = [&b"\x80\x02X"[..], &900_000_u32.to_le_bytes(), &[b'x'; 899_000]].concat();
    for _ in 0..3 {
        let clients = (0..16).map(|_| {
            let mut client = Client::connect(program.addresses[1]);
            client.send(&message);
            client
        });
        let clients: Vec<_> = clients.collect();
        wait_until("messages are held", || memory() > at_first + 12 * MIB);
        drop(clients);
        wait_until("their memory is free", || memory() < at_first + 4 * MIB);
    }
    program.end();
}
