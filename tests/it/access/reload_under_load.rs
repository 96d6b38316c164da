//! The files of a running server are read again in the middle of a thousand transfers.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;

use rustix::process::Signal;
use support::client::{PATIENCE, assert_same, content};
use support::process;
use support::tls::rustls::ClientConfig;
use support::tls::{Authority, config, connect};

use crate::access::{TOKEN, entries};
use crate::program::logging;

const TRANSFERS: usize = 1000;
const RELOADS: usize = 5;
/// More than the buffers of a socket take: nothing is over before the middle.
const LEN: usize = 1 << 20;
/// What is sent or received before the files are read again.
const BEGIN: usize = 64 << 10;

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Box<dyn Stream> {
    if let Some(tls) = tls {
        return Box::new(connect(address, tls));
    }
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    Box::new(stream)
}

fn head(stream: &mut dyn Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head in time");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// One download or upload, which stands still in its middle until `middle` and then `rest`.
fn transfer(nth: usize, stream: &mut dyn Stream, bytes: &[u8], middle: &Barrier, rest: &Barrier) {
    let fields = format!("Host: localhost\r\nAuthorization: Bearer anna{TOKEN}\r\n");
    if nth.is_multiple_of(2) {
        stream.write_all(format!("GET /f HTTP/1.1\r\n{fields}\r\n").as_bytes()).expect("the server reads");
        assert!(head(stream).starts_with("HTTP/1.1 200 "), "{nth}");
        let mut heard = vec![0; LEN];
        stream.read_exact(&mut heard[..BEGIN]).expect("the begin in time");
        middle.wait();
        rest.wait();
        stream.read_exact(&mut heard[BEGIN..]).expect("the rest in time");
        assert_same(&heard, bytes, &format!("download {nth}"));
    } else {
        let head_of_it = format!("PUT /up/{nth} HTTP/1.1\r\n{fields}Content-Length: {LEN}\r\n\r\n");
        stream.write_all(head_of_it.as_bytes()).expect("the server reads");
        stream.write_all(&bytes[..BEGIN]).expect("the server reads");
        stream.flush().expect("the server reads");
        middle.wait();
        rest.wait();
        stream.write_all(&bytes[BEGIN..]).expect("the server reads");
        assert!(head(stream).starts_with("HTTP/1.1 201 "), "{nth}");
    }
}

fn write_access(file: &Path, round: usize) {
    let names = ["anna", "bob"];
    fs::write(file, entries(&names, &format!("allow anna rlcw /\nallow bob r /{round}\n"))).expect("a file");
    fs::set_permissions(file, Permissions::from_mode(0o600)).expect("a mode");
}

#[test]
#[ignore = "needs a few thousand descriptors and some seconds"]
fn a_thousand_transfers_are_not_broken_by_rules_and_certificates_that_are_read_again() {
    if !process::permits(4 * TRANSFERS, "a thousand transfers") {
        return;
    }
    let dir = process::dir(env!("CARGO_TARGET_TMPDIR"));
    let (root, file) = (dir.path().join("served"), dir.path().join("access"));
    let path = |name: &str| dir.path().join(name).display().to_string();
    let authority = Authority::new("authority");
    authority.signs("localhost").write(dir.path());
    write_access(&file, 0);
    fs::create_dir_all(root.join("up")).expect("a folder");
    let bytes = content(15, LEN);
    fs::write(root.join("f"), &bytes).expect("a file");
    let (access, certificate, key) = (path("access"), path("cert.pem"), path("key.pem"));
    let words = "--durability none --per-address 100 --slots 1100 --send-buffer 64K --recv-buffer 64K \
        --listen http@127.0.0.1:0 --listen http@127.0.0.1:0?tls";
    let files = ["--access", &access, "--tls-cert", &certificate, "--tls-key", &key];
    let options: Vec<&str> = files.into_iter().chain(words.split_whitespace()).collect();
    let (program, log) = logging(&root, &options, Stdio::piped());
    let log = BufReader::new(log.expect("a pipe"));
    let (told, lines) = std::sync::mpsc::channel();
    thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));

    let (middle, rest, tls) = (Barrier::new(TRANSFERS + 1), Barrier::new(TRANSFERS + 1), config());
    thread::scope(|scope| {
        let (middle, rest, tls, bytes) = (&middle, &rest, &tls, &bytes);
        for nth in 0..TRANSFERS {
            let address = program.addresses[nth / 2 % 2];
            let small = thread::Builder::new().stack_size(512 << 10);
            let run = move || {
                let mut stream = open(address, (nth / 2 % 2 == 1).then_some(tls));
                transfer(nth, &mut *stream, bytes, middle, rest);
            };
            small.spawn_scoped(scope, run).expect("a thread");
        }
        middle.wait();
        for round in 1..=RELOADS {
            authority.signs("localhost").write(dir.path());
            write_access(&file, round);
            program.signal(Signal::HUP);
            for _ in 0..2 {
                let line = lines.iter().find(|line| line.contains(" again") || line.contains("stays in effect"));
                let line = line.expect("the server continues");
                assert!(line.contains("read ") && line.contains(" again"), "{line}");
            }
            if round == 2 {
                rest.wait();
            }
        }
    });
    for nth in (1..TRANSFERS).step_by(2) {
        assert_same(&fs::read(root.join(format!("up/{nth}"))).expect("stored"), &bytes, &format!("upload {nth}"));
    }
    drop(lines);
    program.end();
}
