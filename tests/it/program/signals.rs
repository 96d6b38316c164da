//! What signals do to the built binary, and limits of the system that send some.

use std::fs;
#[cfg(target_os = "linux")]
use std::os::{fd::OwnedFd, unix::fs::PermissionsExt as _};
use std::process::Stdio;

use rustix::process::Signal;

use support::client::{Client, wait_until};
use support::process;

use crate::program::{logging, run_by_shell, run_by_shell_logging, start};

// covers: interrupted
#[test]
fn both_signals_drain_and_a_second_one_ends_it_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut program = start(dir.path(), &[]);
        let mut client = program.client();
        client.send("PUT 10 /file\nhalf ");
        client.stream.set_nodelay(true).expect("a socket takes an option");
        let mut idle = program.client();
        idle.expect("PING", "OK 0");
        program.signal(signal);
        wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
        client.send("done.");
        assert!(client.line().starts_with("OK 0 "));
        drop((client, idle));
        assert_eq!(program.wait(), Some(0), "{signal:?}");
        let mut program = start(dir.path(), &[]);
        let mut client = program.client();
        client.send("PUT 10 /file\nhalf ");
        program.client().expect("PING", "OK 0");
        program.signal(signal);
        wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
        program.signal(signal);
        assert_eq!(program.wait(), Some(1), "{signal:?} twice cuts off");
        assert_eq!(fs::read(dir.path().join("file")).expect("the old file"), b"half done.");
    }
}

/// A terminal: what a program has of it, and what closes it.
#[cfg(target_os = "linux")]
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&window).expect("it is ours");
    unlockpt(&window).expect("it is ours");
    let path = ptsname(&window, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    (open(path, flags, Mode::empty()).expect("it can be opened"), window)
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_in_a_terminal_drains_and_its_repetition_cuts_nothing_off() {
    process::can_be_sent(Signal::HUP.as_raw());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (terminal, _window) = terminal();
    let (mut program, _) = logging(dir.path(), &[], terminal.into());
    let mut client = program.client();
    client.send("PUT 10 /file\nhalf ");
    program.client().expect("PING", "OK 0");
    program.signal(Signal::HUP);
    wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
    // A terminal that closes sends one to its foreground group, and its shell another one.
    program.signal(Signal::HUP);
    client.send("done.");
    assert!(client.line().starts_with("OK 0 "));
    drop(client);
    assert_eq!(program.wait(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_window_that_closes_ends_also_a_server_that_has_files_to_read_again() {
    process::can_be_sent(Signal::HUP.as_raw());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let access = dir.path().join("access");
    fs::write(&access, "allow @ r /\n").expect("a file");
    fs::set_permissions(&access, fs::Permissions::from_mode(0o600)).expect("a mode");
    let options = ["--access", &access.to_string_lossy()];
    let (terminal, window) = terminal();
    let (mut program, _) = logging(&dir.path().join("served"), &options, terminal.into());
    program.signal(Signal::HUP);
    program.client().expect("PING", "OK 0");
    drop(window);
    program.signal(Signal::HUP);
    assert_eq!(program.wait(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_never_drains_a_server_with_a_file_of_flags() {
    process::can_be_sent(Signal::HUP.as_raw());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("conf");
    fs::write(&file, "max-size 1K\n").expect("a file");
    let (terminal, window) = terminal();
    let options = ["--config", &file.to_string_lossy()];
    let (program, _) = logging(&dir.path().join("served"), &options, terminal.into());
    let mut client = program.client();
    for len in [1_usize, 2] {
        fs::write(&file, format!("max-size {len}\n")).expect("a file");
        program.signal(Signal::HUP);
        wait_until("the file was read", || {
            let [fits, is_too_long] = [len, len + 1].map(|len| client.try_put("/f", &b"xyz"[..len]));
            fits.starts_with("OK ") && is_too_long.starts_with("ERR 413 ")
        });
    }
    drop(window);
    fs::write(&file, "max-size 0\n").expect("a file");
    program.signal(Signal::HUP);
    wait_until("the file was read", || client.try_put("/f", b"x").starts_with("ERR 413 "));
    program.client().expect("PING", "OK 0");
    drop(client);
    program.end();
}

#[test]
#[cfg(target_os = "linux")]
fn signals_that_ask_nothing_of_a_server_neither_end_nor_drain_it() {
    process::can_be_sent(Signal::HUP.as_raw());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = start(dir.path(), &[]);
    let mut client = program.client();
    client.send("PUT 10 /file\nhalf ");
    for signal in [
        Signal::HUP,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::PIPE,
        Signal::XFSZ,
    ] {
        program.signal(signal);
        program.client().expect("PING", "OK 0");
    }
    client.send("done.");
    assert!(client.line().starts_with("OK 0 "));
    drop(client);
    program.end();
}

#[test]
#[cfg(target_os = "linux")]
fn the_limit_of_cpu_time_drains_and_its_repetition_cuts_nothing_off() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut program = start(dir.path(), &[]);
    let mut client = program.client();
    client.send("PUT 10 /file\nhalf ");
    program.client().expect("PING", "OK 0");
    program.signal(Signal::XCPU);
    wait_until("a closed listener", || std::net::TcpStream::connect(program.address()).is_err());
    program.signal(Signal::XCPU);
    client.send("done.");
    assert!(client.line().starts_with("OK 0 "));
    drop(client);
    assert_eq!(program.wait(), Some(0));
}

/// The first line of the answer to this.
fn answer(mut client: Client, request: impl AsRef<[u8]>) -> String {
    client.send(request);
    client.line()
}

#[test]
fn a_body_beyond_the_limit_on_file_sizes_is_too_large_and_ends_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = run_by_shell(dir.path(), "ulimit -f 64"); // of 512 or 1024 bytes
    let body = "x".repeat(100_000);
    for request in [
        format!("PUT /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!(
            "PUT /f HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
    ] {
        let line = answer(program.client(), request);
        assert!(line.starts_with("HTTP/1.1 413 "), "{line}");
    }
    let line = answer(program.client(), format!("PUT {} /f\n{body}", body.len()));
    assert!(line.starts_with("ERR 413 "), "{line}");
    program.client().put("/f", b"short");
    program.end();
}

#[test]
fn a_file_of_our_own_beyond_the_limit_on_file_sizes_is_a_lack_of_space() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = run_by_shell(dir.path(), "ulimit -f 1");
    let make = "POST /f HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\
                Content-Length: 0\r\n\r\n";
    let line = answer(program.client(), make);
    assert!(line.starts_with("HTTP/1.1 507 "), "{line}");
    program.client().put("/f", b"short");
    program.end();
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_that_is_ignored_from_the_start_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (terminal, _window) = terminal();
    for log in [Stdio::null(), terminal.into()] {
        let program = run_by_shell_logging(dir.path(), "trap '' HUP", log);
        program.signal(Signal::HUP);
        program.client().expect("PING", "OK 0");
        program.end();
    }
}
