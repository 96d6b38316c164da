//! What the built binary reports to systemd, and the listeners that it hands over.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rustix::process::Signal;

use support::client::{Client, PATIENCE};

use crate::program::{run_by_shell, try_by_shell, try_with_listener};

/// Everything up to a message that has this line.
fn reported(socket: &UnixDatagram, line: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut message = [0; 1024];
        let len = socket.recv(&mut message).expect("a report in time");
        all.push(String::from_utf8(message[..len].to_vec()).expect("text"));
        if all.iter().any(|text| text.lines().any(|there| there == line)) {
            return all;
        }
    }
}

#[test]
fn the_start_the_load_a_reload_and_the_end_are_reported_to_systemd() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes an option");
    let (root, config) = (dir.path().join("root"), dir.path().join("config"));
    std::fs::write(&config, "idle-timeout 30\n").expect("a file");
    let first = format!("export NOTIFY_SOCKET='{}' WATCHDOG_USEC=200000", path.display());
    let options = ["--config", config.to_str().expect("text")];
    let mut program = try_by_shell(&root, &first, &options, Stdio::null()).expect("the server starts");
    assert_eq!(reported(&socket, "READY=1").last().map(String::as_str), Some("READY=1"));
    let mut client = program.client();
    client.expect("PING", "OK 0");
    reported(&socket, "STATUS=1 connections, 0 transfers, the store is good");
    for _ in 0..3 {
        reported(&socket, "WATCHDOG=1");
    }
    program.signal(Signal::HUP);
    let all = reported(&socket, "READY=1");
    let at = all.iter().position(|text| text.starts_with("RELOADING=1\nMONOTONIC_USEC=")).expect("it says so first");
    assert!(at + 1 < all.len());
    client.send("PUT 10 /file\nhalf ");
    reported(&socket, "STATUS=1 connections, 1 transfers, the store is good");
    program.signal(Signal::TERM);
    reported(&socket, "STOPPING=1");
    client.send("done.");
    assert!(client.line().starts_with("OK 0 "));
    drop(client);
    assert_eq!(program.wait(), Some(0));
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes an option");
    let first = format!("export NOTIFY_SOCKET='{}' WATCHDOG_PID=1 WATCHDOG_USEC=40000", path.display());
    let program = run_by_shell(&dir.path().join("root"), &first);
    let mut client = program.client();
    client.expect("PING", "OK 0");
    let all = reported(&socket, "STATUS=1 connections, 0 transfers, the store is good");
    assert!(!all.iter().any(|text| text.contains("WATCHDOG")), "it is that of another process: {all:?}");
}

#[test]
fn a_listener_of_systemd_serves_what_connected_before_the_start() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut early = Client::over(TcpStream::connect(address).expect("the kernel accepts"));
    early.send("PING\n");
    let mut program =
        try_with_listener(&listener, dir.path(), &["--listen", &address.to_string()]).expect("the server starts");
    assert_eq!(program.address(), address);
    assert_eq!(early.line(), "OK 0");
    drop(early);
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    // It stays open for the next one.
    let mut later = Client::over(TcpStream::connect(address).expect("the kernel accepts"));
    later.send("PING\n");
    let program =
        try_with_listener(&listener, dir.path(), &["--listen", &address.to_string()]).expect("the server starts");
    assert_eq!(later.line(), "OK 0");
    program.client().expect("PING", "OK 0");
}

#[test]
fn a_listener_of_systemd_that_nothing_would_serve_is_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let refused = try_with_listener(&listener, dir.path(), &["--listen", "127.0.0.1:0"]);
    assert!(refused.is_err_and(|status| status.contains("exit status: 1")));
}
