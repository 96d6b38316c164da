//! Encrypted connections over loopback, with rustls as the client: handshakes, certificates, ends of streams, and
//! what goes wrong. That encrypted connections serve as others do, `served` shows in all its tests.

mod certificates;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use filewharf::dialect::Kind;
use filewharf::server::{Builder, Listen, Server};
use support::client::{PATIENCE, Running, assert_same, content, limits, wait_until};
use support::tls::rustls::{self, ClientConfig, HandshakeKind, ProtocolVersion};
use support::tls::{Authority, Identity, TlsStream, config, connect, showing, versions};
use tempfile::TempDir;

use crate::program::logging;
use crate::served::with_identity;

/// A server with this as its first listener.
fn serving(listen: &str, change: impl FnOnce(Builder) -> Builder) -> Running {
    let listen: Listen = listen.parse().expect("an address");
    Running::with(|builder| {
        let builder = if listen.is_tls { with_identity(builder) } else { builder };
        change(builder).listen_at(listen)
    })
}

fn http() -> Running {
    serving("http@127.0.0.1:0?tls", |builder| builder)
}

/// Sends a request and reads the head of the reply.
fn ask(stream: &mut TlsStream, request: &str, body: &[u8]) -> String {
    stream.write_all(request.as_bytes()).expect("the server reads");
    stream.write_all(body).expect("the server reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head in time");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

fn get(stream: &mut TlsStream, path: &str, more: &str) -> Vec<u8> {
    let head = ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"), b"");
    let len = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; len.and_then(|len| len.parse().ok()).unwrap_or_else(|| panic!("a length: {head}"))];
    stream.read_exact(&mut body).expect("a body in time");
    body
}

fn put(stream: &mut TlsStream, path: &str, body: &[u8]) {
    let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let head = ask(stream, &head, body);
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
}

#[test]
fn files_of_every_size_go_both_ways_in_both_versions_on_one_connection() {
    let server = http();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = connect(server.address(), &Arc::new(versions(&[version])));
        for len in [0, 1, 5000, 16_384, 16_385, 1 << 20, 64 << 20] {
            let bytes = content(len as u64, len);
            put(&mut stream, "/f", &bytes);
            assert_same(&get(&mut stream, "/f", ""), &bytes, "all of it");
            if len > 10 {
                let range = get(&mut stream, "/f", &format!("Range: bytes=3-{}\r\n", len - 2));
                assert_same(&range, &bytes[3..len - 1], "a part");
            }
        }
        assert_eq!(stream.conn.protocol_version().map(|known| known == version.version), Some(true));
        assert_eq!(stream.conn.alpn_protocol(), None, "the client offers none");
    }
}

#[test]
fn a_slow_reader_gets_everything_and_delays_no_other() {
    let server = http();
    let bytes = content(1, 30 << 20);
    fs::write(server.path("big"), &bytes).expect("the folder is there");
    fs::write(server.path("small"), b"small").expect("the folder is there");
    let mut slow = connect(server.address(), &config());
    slow.write_all(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    let mut sent = 0;
    wait_until("a full socket", || {
        let mut other = connect(server.address(), &config());
        assert_eq!(get(&mut other, "/small", ""), b"small");
        let before = std::mem::replace(&mut sent, server.counters().bytes_out);
        sent > 100_000 && sent - before <= 10
    });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        slow.read_exact(&mut byte).expect("a head in time");
        head.push(byte[0]);
    }
    let mut heard = vec![0; bytes.len()];
    let (slowly, rest) = heard.split_at_mut(200_000);
    for part in slowly.chunks_mut(777) {
        slow.read_exact(part).expect("more in time");
    }
    slow.read_exact(rest).expect("more in time");
    assert_same(&heard, &bytes, "all of it");
}

#[test]
fn what_every_dialect_answers_is_the_same_encrypted() {
    let speak = |kind: Kind, tls: bool, says: &[u8]| {
        let query = if tls { "?tls" } else { "" };
        let server = serving(&format!("{kind}@127.0.0.1:0{query}"), |builder| builder);
        let mut client = server.client();
        client.send(says);
        client.finish();
        let (heard, error) = client.rest();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        // A port, and a date.
        let stable = heard.lines().filter(|line| !line.starts_with("Date: ") && kind.name() != "pickle");
        (stable.collect::<Vec<_>>().join("\n"), error.is_some())
    };
    for kind in Kind::ALL {
        for says in [&b"PING\n"[..], b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"x.txt:GET", b"1\n", b""] {
            assert_eq!(speak(kind, true, says), speak(kind, false, says), "{kind}: {}", says.escape_ascii());
        }
    }
}

#[test]
fn an_upload_that_ends_with_the_stream_is_not_stored_if_the_encryption_does_not_end() {
    let server = serving("name-choice@127.0.0.1:0?tls", |builder| builder);
    for is_whole in [false, true] {
        let mut stream = connect(server.address(), &config());
        stream.write_all(b"1c.txt:PUT").expect("the server reads");
        let mut done = [0; 4];
        stream.read_exact(&mut done).expect("a reply in time");
        assert_eq!(&done, b"Done");
        stream.write_all(b"the half of it").expect("the server reads");
        if is_whole {
            stream.conn.send_close_notify();
            stream.flush().expect("the server reads");
        }
        stream.sock.shutdown(Shutdown::Write).expect("it is connected");
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert_eq!(end.is_ok(), is_whole, "{end:?}");
        wait_until("an end", || server.counters().open == 0);
        assert_eq!(server.path("c.txt").exists(), is_whole);
    }
}

#[test]
fn a_framed_upload_is_answered_though_the_encryption_does_not_end() {
    let server = http();
    let mut stream = connect(server.address(), &config());
    stream.write_all(b"PUT /f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").expect("it reads");
    stream.sock.shutdown(Shutdown::Write).expect("it is connected");
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    assert!(reply.starts_with(b"HTTP/1.1 201"), "{}", reply.escape_ascii());
    assert_eq!(fs::read(server.path("f")).expect("it is stored"), b"hello");
}

#[test]
fn a_session_is_resumed() {
    let server = http();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(versions(&[version]));
        for wanted in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut stream = connect(server.address(), &config);
            put(&mut stream, "/f", b"x");
            assert_eq!(stream.conn.handshake_kind(), Some(wanted), "{version:?}");
        }
    }
}

#[test]
fn servers_that_share_a_folder_resume_each_others_sessions() {
    let dir = TempDir::new().expect("a temporary folder");
    let start = || {
        Running::on(dir.path(), |builder| {
            with_identity(builder).shared(true).listen_at("http@127.0.0.1:0?tls".parse::<Listen>().expect("an address"))
        })
    };
    let (first, second, config) = (start(), start(), config());
    for (server, wanted) in [(&first, HandshakeKind::Full), (&second, HandshakeKind::Resumed)] {
        let mut stream = connect(server.address(), &config);
        put(&mut stream, "/f", b"x");
        assert_eq!(stream.conn.handshake_kind(), Some(wanted));
    }
    let keys = fs::metadata(dir.path().join(".filewharf/TICKETS")).expect("the keys of tickets");
    assert_eq!(keys.permissions().mode() & 0o777, 0o600);
}

#[test]
fn http_is_agreed_on_by_name_and_other_dialects_have_none() {
    let offering = |name: &str| {
        let mut config = versions(rustls::ALL_VERSIONS);
        config.alpn_protocols = vec![name.as_bytes().to_vec()];
        Arc::new(config)
    };
    for (listen, offered, agreed) in [
        ("http@127.0.0.1:0?tls", "http/1.1", Some(Some(&b"http/1.1"[..]))),
        ("auto@127.0.0.1:0?tls", "http/1.1", Some(Some(&b"http/1.1"[..]))),
        ("http@127.0.0.1:0?tls", "h2", None),
        ("line@127.0.0.1:0?tls", "h2", Some(None)),
    ] {
        let server = serving(listen, |builder| builder);
        let mut stream = connect(server.address(), &offering(offered));
        let done = stream.conn.complete_io(&mut stream.sock);
        assert_eq!(done.is_ok().then(|| stream.conn.alpn_protocol()), agreed, "{listen} {offered}");
    }
}

#[test]
fn a_handshake_that_stalls_is_closed_in_time() {
    let quick = |builder: Builder| builder.limits(limits().with(|l| l.live.head_timeout = Duration::from_millis(50)));
    let server = serving("http@127.0.0.1:0?tls", quick);
    for says in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", &first_message()] {
        let mut stream = TcpStream::connect(server.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.write_all(says).expect("the kernel takes it");
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard);
        assert!(end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{}", says.escape_ascii());
    }
    await_failed(&server, 3);
    let mut stream = connect(server.address(), &config());
    put(&mut stream, "/f", b"x");
}

/// Facts are published at the end of a turn.
fn await_failed(server: &Running, handshakes: u64) {
    wait_until("the facts", || server.counters().handshakes_failed >= handshakes);
    assert_eq!(server.counters().handshakes_failed, handshakes);
}

/// What a client begins with.
fn first_message() -> Vec<u8> {
    let mut bytes = Vec::new();
    support::tls::client(&config()).write_tls(&mut bytes).expect("memory takes it");
    bytes
}

#[test]
fn a_client_without_tls_is_answered_in_http_and_otherwise_reset_after_an_alert() {
    let server = http();
    let speak = |says: &[u8]| {
        let mut client = support::client::Client::connect(server.address());
        client.send(says);
        client.rest()
    };
    let (heard, error) = speak(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let heard = String::from_utf8(heard).expect("text");
    let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https") && error.is_none(), "{heard}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{heard}");
    let (heard, error) = speak(b"PING\n");
    assert!(heard == [21, 3, 1, 0, 2, 2, 10] && error.is_some(), "{heard:?} {error:?}");
    await_failed(&server, 2);
}

#[test]
fn a_client_that_only_looks_whether_the_port_is_open_is_not_counted() {
    let server = http();
    drop(TcpStream::connect(server.address()).expect("it listens"));
    let mut stream = connect(server.address(), &config());
    put(&mut stream, "/f", b"x");
    assert_eq!(server.counters().handshakes_failed, 0);
}

#[test]
fn the_header_of_a_proxy_comes_before_the_handshake() {
    let server = serving("line@127.0.0.1:0?proxy=127.0.0.1/32&tls", |builder| builder);
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 50851 7070\r\n";
    let hello = first_message();
    for split in [0, 1, header.len() - 1, header.len(), header.len() + 1, header.len() + hello.len()] {
        let mut sock = TcpStream::connect(server.address()).expect("it listens");
        sock.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        let mut conn = support::tls::client(&config());
        let mut all = header.to_vec();
        conn.write_tls(&mut all).expect("memory takes it");
        for part in [&all[..split.min(all.len())], &all[split.min(all.len())..]] {
            sock.write_all(part).expect("the server reads");
        }
        let mut stream = rustls::StreamOwned::new(conn, sock);
        stream.write_all(b"PING\nQUIT\n").expect("the server reads");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).expect("an end");
        assert_eq!(heard, "OK 0\nOK 0\n", "split at {split}");
    }
    // Without a header there is no handshake.
    let mut stream = connect(server.address(), &config());
    assert!(stream.conn.complete_io(&mut stream.sock).is_err());
    wait_until("the refusal", || server.counters().unidentified == 1);
}

#[test]
fn many_handshakes_at_once_all_end_well() {
    let server = http();
    let client = config();
    let mut streams: Vec<_> = (0..200).map(|_| connect(server.address(), &client)).collect();
    for stream in &mut streams {
        stream.conn.write_tls(&mut stream.sock).expect("the server reads");
    }
    for (nth, stream) in streams.iter_mut().enumerate() {
        put(stream, &format!("/{nth}"), b"x");
    }
    assert_eq!(streams[0].conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(fs::read_dir(server.path("")).expect("the folder is there").count(), 200 + 1);
}

#[test]
fn clients_that_vanish_while_the_key_is_used_for_them_leave_nothing() {
    let server = http();
    let client = config();
    for _ in 0..10 {
        let mut streams: Vec<_> = (0..50).map(|_| connect(server.address(), &client)).collect();
        for (nth, stream) in streams.iter_mut().enumerate() {
            stream.conn.write_tls(&mut stream.sock).expect("the server reads");
            if nth % 2 == 0 {
                let socket = socket2::SockRef::from(&stream.sock);
                socket.set_linger(Some(Duration::ZERO)).expect("a socket");
            }
        }
    }
    wait_until("the end of all of them", || server.counters().open == 0);
    let mut stream = connect(server.address(), &client);
    put(&mut stream, "/f", b"x");
}
