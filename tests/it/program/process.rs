//! What happens to a whole process: it is stopped while clients come, it is started again at once, its
//! log is not read.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::program;
use support::client::{assert_same, content, visible, wait_until};
use support::server::Program;

/// One request of HTTP on a connection of its own, and all that is said.
fn http(program: &Program, head: &str) -> String {
    let mut client = program.client();
    client.send(format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    client.last_words()
}

/// They wait in the backlog while the server is stopped, so each has ended when it is accepted.
// covers: ended-before-accept
#[test]
fn connections_that_ended_before_they_were_accepted_cost_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = program::start(dir.path(), &[]);
    program.client().put("/file", b"before");
    program.signal(Signal::STOP);
    for n in 0..60_u64 {
        let mut client = program.client();
        match n % 6 {
            0 => client.reset(),
            1 => drop(client),
            2 => {
                client.send("PUT 100 /file\nhalf");
                client.reset();
            }
            3 => {
                client.send("PUT 100 /file\nhalf");
                drop(client);
            }
            4 => {
                client.send("GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n");
                client.reset();
            }
            _ => {
                client.send([format!("PUT 1000 /whole{n}\n").as_bytes(), &content(n, 1000)].concat());
                drop(client);
            }
        }
    }
    program.signal(Signal::CONT);
    for n in (5..60).step_by(6) {
        let path = dir.path().join(format!("whole{n}"));
        wait_until("what was sent in full is stored", || path.exists());
        assert_same(&fs::read(path).expect("a file"), &content(n, 1000), "nobody waited for the reply");
    }
    let mut client = program.client();
    assert_eq!(client.get("/file"), b"before");
    drop(client);
    wait_until("only who asks is connected", || {
        let metrics = http(&program, "GET /.filewharf/metrics HTTP/1.1");
        let states = metrics.lines().filter_map(|line| line.strip_prefix("filewharf_connections{state="));
        states.filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum::<u64>() == 1
    });
    program.end();
    assert_eq!(visible(dir.path()).len(), 11);
}

/// A server that closes first leaves its address in use by connections that are over.
// covers: address-still-used
#[test]
fn a_server_is_started_again_at_once_on_its_address() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut program = program::start(dir.path(), &[]);
    let address = program.address();
    for n in 0..3 {
        for _ in 0..10 {
            let mut client = program.client();
            client.expect("QUIT", "OK 0");
            client.expect_eof();
        }
        program.client().put("/file", &content(n, 1000));
        program.end();
        program = program::at(dir.path(), address);
        assert_eq!(program.address(), address);
        assert_same(&program.client().get("/file"), &content(n, 1000), "from before");
    }
    program.end();
}

/// A pipe that is never read is full at some time, and a write to it waits for ever.
// covers: log-not-read
#[test]
fn a_log_that_is_not_read_holds_up_neither_the_clients_nor_the_end() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut program, log) = program::logging(dir.path(), &[], Stdio::piped());
    let name = format!("/{}", "n".repeat(200));
    let mut client = program.client();
    client.put(&name, b"");
    for _ in 0..100 {
        client.send(format!("STAT {name}\n").repeat(100));
        for _ in 0..100 {
            assert!(client.line().starts_with("OK 0 "));
        }
    }
    client.put("/file", &content(1, 100_000));
    assert_same(&client.get("/file"), &content(1, 100_000), "beside a log that nobody reads");
    let metrics = http(&program, "GET /.filewharf/metrics HTTP/1.1");
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("filewharf_log_lines_dropped_total "));
    assert!(dropped.is_some_and(|dropped| dropped != "0"), "it was never full: {dropped:?}");
    // An end that logs something, which is not read either.
    client.send("PUT 100 /other\nhalf");
    wait_until("an upload is under way", || {
        http(&program, "GET /.filewharf/metrics HTTP/1.1").contains("\nfilewharf_slots_used 1\n")
    });
    program.signal(Signal::TERM);
    wait_until("it drains", || TcpStream::connect(program.address()).is_err());
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(1), "an upload was cut off");
    drop((client, log));
}

/// Whatever names and fields say, a line of the log is one line, and steers no terminal.
// covers: line-ends-in-names
#[test]
fn a_line_of_the_log_is_one_line_whatever_clients_say() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (program, mut log) = program::logging(dir.path(), &["-vv"], Stdio::piped());
    let (reader, all) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = log.as_mut().expect("a pipe").read_to_string(&mut text);
        let _ = reader.send(text);
    });
    let names =
        ["quote\"d", "back\\slash", "\u{202e}txt.exe", "line\u{2028}end", "é", "\u{85}next", "\u{9b}31m", "%0a"];
    let mut client = program.client();
    for name in names {
        client.send(format!("PUT 1 /{name}\nx"));
        let line = client.line();
        assert!(line.starts_with("OK ") || line.starts_with("ERR 400 "), "{name:?}: {line}");
    }
    let mut stored = visible(dir.path()).len();
    for name in ["a\nput peer=1.2.3.4:5 key=\"/forged\" bytes=1 result=ok", "a\x1b[31m", "a\x7f", "a\0"] {
        client = program.client();
        client.send_in_vain(format!("PUT 1 /{name}\nx"));
        client.finish();
        let _ = client.rest();
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let fields = "User-Agent: a\u{1b}[31mb\r\nX: y";
        let said = http(&program, &format!("GET /{escaped}?{escaped} HTTP/1.1\r\n{fields}"));
        assert!(said.starts_with("HTTP/1.1 40"), "{said}");
        let said = http(&program, &format!("PUT /{escaped} HTTP/1.1\r\nContent-Length: 0"));
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    stored += usize::from(dir.path().join("a").exists());
    program.end();
    let text = all.recv_timeout(support::client::PATIENCE).expect("the log ends with the server");
    for line in text.lines() {
        let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!line.contains(steers), "{line:?}");
        let stamp = line.as_bytes();
        let begins = stamp.first() == Some(&b'2') && stamp.get(23) == Some(&b'Z');
        assert!(begins, "not one of ours: {line:?}");
    }
    let puts = text.lines().filter(|line| line.contains(" put peer=127.") && line.contains(" result=ok ")).count();
    assert_eq!(puts, stored, "one line each: {text}");
}

// covers: file-modes
#[test]
fn new_files_and_directories_have_the_modes_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = program::run_by_shell(dir.path(), "umask 027");
    let mut client = program.client();
    for (path, size) in [("made/small", 3), ("made/large", 100_000)] {
        client.put(&format!("/{path}"), &content(1, size));
        let said = http(&program, &format!("PUT /{path}.http HTTP/1.1\r\nContent-Length: 0"));
        assert!(said.starts_with("HTTP/1.1 201 "), "{said}");
    }
    client.expect("MKDIR /folder/", "OK 0");
    let mode = |name: &str| fs::metadata(dir.path().join(name)).expect(name).permissions().mode() & 0o7777;
    for file in ["made/small", "made/large", "made/small.http"] {
        assert_eq!(mode(file), 0o640, "{file}");
    }
    for name in ["made", "folder"] {
        assert_eq!(mode(name), 0o750, "{name}");
    }
    drop(client);
    program.end();
}

/// Every queue that a client can fill is filled, by more clients than there is room for.
// covers: memory-limit
#[test]
#[cfg(target_os = "linux")]
fn memory_stays_within_the_bound_that_is_logged_at_the_start() {
    use std::io::BufRead as _;

    use support::process::status;

    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::write(dir.path().join("large"), content(1, 8 << 20)).expect("a file");
    let limits = ["--slots", "4", "--max-connections", "300", "--per-address", "100", "--hot-bytes", "0"];
    let options = [&limits[..], &["--portable"]].concat();
    let (mut program, log) = program::logging(dir.path(), &options, Stdio::piped());
    let told = std::io::BufReader::new(log.expect("a pipe")).lines().map_while(Result::ok);
    let mut told = told.filter_map(|line| line.split_once("memory: at most ")?.1.split(' ').next()?.parse().ok());
    let promised: u64 = told.next().expect("it is told at the start");
    let before = status(program.pid(), "VmRSS:");
    let (path, body) = ("n".repeat(200), content(2, 100_000));
    let begun: Vec<_> = (0..290)
        .map(|n| {
            let mut client = program.client();
            // A server that has enough of one does not read on.
            client.stream.set_nonblocking(true).expect("a socket takes an option");
            match n % 6 {
                0 => client.send_in_vain(format!("GET /{path}")),
                1 => client.send_in_vain([format!("PUT 10000000 /{n}\n").as_bytes(), &body].concat()),
                2 => client.send_in_vain("GET /large\n".repeat(50)),
                3 => client
                    .send_in_vain(format!("GET /large HTTP/1.1\r\nHost: localhost\r\nX: {path}\r\n\r\n").repeat(50)),
                4 => client.send_in_vain(format!("STAT /{path}\n").repeat(400)),
                _ => client.send_in_vain(format!("PUT /{n} HTTP/1.1\r\nHost: localhost\r\nX: {path}")),
            }
            client
        })
        .collect();
    let mut client = program.client();
    for _ in 0..20 {
        client.expect("PING", "OK 0");
    }
    let grown = status(program.pid(), "VmHWM:").saturating_sub(before);
    println!("process: {grown} KiB more than at the start, promised are {promised} MiB");
    assert!(grown <= promised << 10, "{grown} KiB more than at the start, promised are {promised} MiB");
    let metrics = http(&program, "GET /.filewharf/metrics HTTP/1.1");
    assert!(metrics.contains("\nfilewharf_slots_used 4\n"), "nobody takes a slot");
    drop((begun, client));
    program.signal(Signal::TERM);
    program.signal(Signal::TERM);
    assert!(program.wait().is_some());
}
