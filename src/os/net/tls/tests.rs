//! A session against a client of rustls, over a socket in memory that takes and gives as little as it likes.

mod lent;
mod sessions;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};
use support::tls::{client, config};
use tempfile::TempDir;

use super::session::AHEAD_BYTES_MAX;
use super::*;
use crate::platform::ClientCertificate;
use crate::platform::Handshake;

/// The server's end of a connection.
#[derive(Debug)]
struct Socket {
    incoming: VecDeque<u8>,
    has_ended: bool,
    /// Most that one read gives.
    read_max: usize,
    outgoing: Vec<u8>,
    /// What it takes until the client reads.
    window: usize,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            incoming: VecDeque::new(),
            has_ended: false,
            read_max: usize::MAX,
            outgoing: Vec::new(),
            window: usize::MAX,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(self.read_max).min(self.incoming.len());
        if n == 0 && !buf.is_empty() && !self.has_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.incoming.read(&mut buf[..n])
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(self.window.saturating_sub(self.outgoing.len()));
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.outgoing.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server's session and its client.
struct Pair {
    session: TlsSession,
    socket: Socket,
    client: ClientConnection,
}

struct Server {
    acceptor: Acceptor,
    dir: TempDir,
}

impl Server {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        make_self_signed(dir.path(), vec!["localhost".to_owned()], process::unix_time()).expect("a certificate");
        let files = TlsFiles { self_signed: Some(dir.path().to_owned()), ..TlsFiles::default() };
        Self { acceptor: Acceptor::open(files, None).expect("the files that were made"), dir }
    }

    fn pair(&self, config: &Arc<ClientConfig>) -> Pair {
        let session = self.acceptor.accept(true, &[]);
        Pair { session, socket: Socket::default(), client: client(config) }
    }

    fn connected(&self) -> Pair {
        let mut pair = self.pair(&config());
        pair.shake_hands();
        pair
    }
}

impl Pair {
    /// What the client has to send.
    fn up(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("memory takes it");
        }
        bytes
    }

    /// The client reads what was sent.
    fn down(&mut self) {
        assert!(self.heard().is_empty(), "content that is not looked at");
    }

    /// The client reads what was sent: the content of that.
    fn heard(&mut self) -> Vec<u8> {
        let sent = std::mem::take(&mut self.socket.outgoing);
        let mut rest = &sent[..];
        let mut heard = Vec::new();
        let mut part = [0; 1024];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("memory gives it");
            self.client.process_new_packets().expect("records of the server");
            while let Ok(n @ 1..) = self.client.reader().read(&mut part) {
                heard.extend_from_slice(&part[..n]);
            }
        }
        heard
    }

    fn shake(&mut self) -> Handshake {
        loop {
            match self.shake_without_key() {
                Handshake::NeedsKey => self.session.lend().use_key(),
                state => return state,
            }
        }
    }

    fn shake_hands(&mut self) {
        loop {
            let up = self.up();
            self.socket.incoming.extend(up);
            let state = self.shake();
            self.down();
            if state == Handshake::Done && !self.client.is_handshaking() {
                return;
            }
            assert!(matches!(state, Handshake::Waits | Handshake::Done), "{state:?}");
        }
    }

    fn says(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).expect("rustls takes it");
        let up = self.up();
        self.socket.incoming.extend(up);
    }

    /// Receives as the loop does: again only if something is held, or something has come.
    fn recv(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let mut buf = vec![0; most];
        loop {
            match self.session.recv(&mut self.socket, &mut buf) {
                Ok(0) => return Ok(received),
                Ok(n) => received.extend_from_slice(&buf[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
                Err(error) if received.is_empty() => return Err(error),
                Err(_) => return Ok(received),
            }
            if !self.session.holds_input() {
                assert!(self.socket.incoming.is_empty(), "the socket has more, and nothing tells");
                return Ok(received);
            }
        }
    }
}

fn content(len: usize) -> Vec<u8> {
    support::client::content(7, len)
}

#[test]
fn a_handshake_ends_at_every_split_of_what_the_client_sends() {
    let server = Server::new();
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let config = Arc::new(support::tls::versions(versions));
        for split in (1..600).step_by(7).chain([1, 5, 6, 9]) {
            let mut pair = server.pair(&config);
            while pair.client.is_handshaking() || pair.session.holds_output() {
                let up = pair.up();
                let (first, rest) = up.split_at(split.min(up.len()));
                for part in [first, rest] {
                    pair.socket.incoming.extend(part);
                    pair.shake();
                }
                pair.down();
            }
            pair.says(b"GET / HTTP/1.1\r\n\r\n");
            let up = pair.up();
            pair.socket.incoming.extend(up);
            assert_eq!(pair.shake(), Handshake::Done, "split at {split}");
            assert_eq!(pair.recv(1 << 16).expect("content"), b"GET / HTTP/1.1\r\n\r\n");
        }
    }
}

#[test]
fn the_private_key_is_not_used_before_it_may_be() {
    let server = Server::new();
    let mut pair = server.pair(&config());
    let up = pair.up();
    pair.socket.incoming.extend(up);
    for _ in 0..3 {
        let state = pair.shake_without_key();
        assert_eq!((state, pair.socket.outgoing.len()), (Handshake::NeedsKey, 0));
    }
    assert_eq!(pair.shake(), Handshake::Waits);
    assert!(!pair.socket.outgoing.is_empty());
}

impl Pair {
    /// Until the private key is to be used.
    fn needs_key(&mut self) {
        let up = self.up();
        self.socket.incoming.extend(up);
        assert_eq!(self.shake_without_key(), Handshake::NeedsKey);
    }

    fn shake_without_key(&mut self) -> Handshake {
        self.session.handshake(&mut self.socket).expect("the socket works")
    }
}

#[test]
fn bytes_that_were_read_before_the_session_began_belong_to_it() {
    let server = Server::new();
    for len in [1, 5, 100, usize::MAX] {
        let mut pair = server.pair(&config());
        let up = pair.up();
        let (before, rest) = up.split_at(len.min(up.len()));
        pair.session = server.acceptor.accept(false, before);
        pair.socket.incoming.extend(rest);
        pair.shake_hands();
        pair.says(b"PING\n");
        assert_eq!(pair.recv(100).expect("content"), b"PING\n");
    }
}

#[test]
fn content_is_received_whole_at_every_cut_of_its_records_and_with_every_buffer() {
    let server = Server::new();
    for (len, step) in [(1, 1), (100, 1), (16 * 1024, 997), (50_000, 3989)] {
        let content = content(len);
        for most in [1, 100, 5000, 25_000, 60_000, 300_000] {
            if len / most > 2000 {
                continue;
            }
            let mut pair = server.connected();
            pair.says(&content);
            let all = std::mem::take(&mut pair.socket.incoming);
            for cut in (0..=all.len()).step_by(step) {
                let mut pair = server.connected();
                pair.says(&content);
                let all: Vec<u8> = std::mem::take(&mut pair.socket.incoming).into();
                pair.socket.incoming.extend(&all[..cut.min(all.len())]);
                let mut received = pair.recv(most).expect("content");
                pair.socket.incoming.extend(&all[cut.min(all.len())..]);
                received.extend(pair.recv(most).expect("content"));
                assert!(received == content, "{len} bytes cut at {cut}, {most} at a time");
                if most < 1000 && cut > 50 {
                    break;
                }
            }
        }
    }
}

#[test]
fn content_is_received_whole_from_a_socket_that_gives_a_few_bytes_at_a_time() {
    let server = Server::new();
    let content = content(100_000);
    for (read_max, most) in [(1, 200_000), (7, 30_000), (5000, 100), (70_000, 300_000), (20_000, 40_000)] {
        let mut pair = server.connected();
        pair.socket.read_max = read_max;
        let mut received = Vec::new();
        for part in content.chunks(40_000) {
            pair.says(part);
            // The loop comes again until the socket is empty.
            while !pair.socket.incoming.is_empty() || pair.session.holds_input() {
                received.extend(pair.recv_some(most));
            }
        }
        assert!(received == content, "{read_max} bytes at a time into {most}");
    }
}

impl Pair {
    /// One `recv` with a short read that an event would have reported to the loop.
    fn recv_some(&mut self, most: usize) -> Vec<u8> {
        let mut buf = vec![0; most];
        let n = self.session.recv(&mut self.socket, &mut buf).unwrap_or(0);
        buf.truncate(n);
        buf
    }
}

#[test]
fn what_the_socket_does_not_take_is_not_reported_as_sent_and_leaves_later() {
    let server = Server::new();
    let content = content(100_000);
    for window in [1, 7, 1000, 16_500, 40_000, 200_000] {
        let mut pair = server.connected();
        let mut sent = 0;
        let mut heard = Vec::new();
        let mut round = 0;
        while heard.len() < content.len() {
            round += 1;
            pair.socket.window = window * if window < 100 { 100 } else { 1 };
            // What is shown again may be less than what was encrypted, or cut elsewhere.
            let shown = &content[sent..content.len().min(sent + 1 + (round * 7919) % 50_000)];
            let (first, second) = shown.split_at(shown.len() / 3);
            if !shown.is_empty() {
                match pair.session.send(&mut pair.socket, &[first, second]) {
                    Ok(n) => sent += n,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        assert!(pair.session.is_full() && pair.session.holds_output());
                    }
                }
            }
            heard.extend(pair.heard());
            assert!(heard.len() + AHEAD_BYTES_MAX >= sent && sent <= heard.len(), "reported, and not in the socket");
            assert!(heard == content[..heard.len()], "window {window}, after {} bytes", heard.len());
        }
    }
}

#[test]
fn no_more_than_two_records_are_encrypted_ahead_of_the_socket() {
    let server = Server::new();
    let content = content(1 << 20);
    let mut pair = server.connected();
    pair.socket.window = 0;
    for _ in 0..10 {
        let error = pair.session.send(&mut pair.socket, &[&content]).expect_err("the socket is full");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    pair.socket.window = usize::MAX;
    let error = pair.session.finish(&mut pair.socket);
    assert!(error.is_ok());
    assert_eq!(pair.heard().len(), AHEAD_BYTES_MAX);
}

#[test]
fn an_end_is_one_only_if_the_encryption_ends_with_it() {
    let server = Server::new();
    for said in [&b""[..], b"half of it"] {
        let mut pair = server.connected();
        pair.says(said);
        pair.client.send_close_notify();
        pair.says(b"");
        let mut buf = [0; 100];
        if !said.is_empty() {
            let n = pair.session.recv(&mut pair.socket, &mut buf).expect("content");
            assert_eq!((&buf[..n], pair.session.holds_input()), (said, true));
        }
        for _ in 0..2 {
            assert_eq!(pair.session.recv(&mut pair.socket, &mut buf).expect("an end"), 0);
        }
        // The other direction continues.
        assert_eq!(pair.session.send(&mut pair.socket, &[b"reply"]).expect("the socket takes it"), 5);
        assert_eq!(pair.heard(), b"reply");

        for size in [100, 100_000] {
            let mut pair = server.connected();
            pair.says(said);
            pair.socket.has_ended = true;
            let mut buf = vec![0; size];
            if !said.is_empty() {
                assert_eq!(pair.session.recv(&mut pair.socket, &mut buf).expect("content"), said.len());
                assert!(!pair.session.holds_input(), "a short read tells of the rest");
            }
            let error = pair.session.recv(&mut pair.socket, &mut buf).expect_err("it was cut off");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}

#[test]
fn the_end_of_ours_leaves_when_the_socket_takes_it() {
    let server = Server::new();
    let mut pair = server.connected();
    pair.socket.window = 10;
    let error = pair.session.finish(&mut pair.socket).expect_err("the socket is full");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    pair.down();
    pair.socket.window = usize::MAX;
    pair.session.finish(&mut pair.socket).expect("the socket takes it");
    pair.down();
    assert_eq!(pair.client.reader().read(&mut [0; 10]).expect("an end"), 0);
    pair.session.finish(&mut pair.socket).expect("once is enough");
    assert!(pair.socket.outgoing.is_empty());
}

#[test]
fn a_record_that_was_changed_is_an_error_after_what_came_before_it() {
    let server = Server::new();
    let mut pair = server.connected();
    pair.says(b"good");
    let good = pair.socket.incoming.len();
    pair.says(b"bad");
    pair.socket.incoming[good + 7] ^= 1;
    let mut buf = vec![0; 100_000];
    assert_eq!(pair.session.recv(&mut pair.socket, &mut buf).expect("content"), 4);
    assert!(pair.session.holds_input());
    let error = pair.session.recv(&mut pair.socket, &mut buf).expect_err("it was changed");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(!pair.socket.outgoing.is_empty(), "the client gets an alert");
}

#[test]
fn a_client_without_tls_is_refused_and_one_of_http_is_answered() {
    let server = Server::new();
    let alert = b"\x15\x03\x01\x00\x02\x02\x0a";
    for (says, begin, answered) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"HTTP/1.1 400 "[..], true),
        (b"PING\n", alert, false),
        (b"\0\0\0\0", alert, false),
        (b"\x16\x03\x01\x00\x05hello", b"", false),
        (b"", b"", false),
    ] {
        let mut pair = server.pair(&config());
        pair.socket.incoming.extend(says);
        pair.socket.has_ended = true;
        let Handshake::Failed { reason, is_answered } = pair.shake() else { panic!("{says:?} is no handshake") };
        assert_eq!((is_answered, reason.is_empty()), (answered, says.is_empty()));
        let sent = pair.socket.outgoing;
        assert!(sent.starts_with(begin) && sent.is_empty() == begin.is_empty(), "{says:?} is answered {sent:?}");
    }
}

#[test]
fn a_client_of_another_protocol_gets_an_alert_after_the_first_message_of_the_server() {
    let server = Server::new();
    let mut speaks = ClientConfig::clone(&config());
    speaks.alpn_protocols = vec![b"h2".to_vec()];
    let mut pair = server.pair(&Arc::new(speaks));
    let up = pair.up();
    pair.socket.incoming.extend(up);
    let Handshake::Failed { is_answered: true, .. } = pair.shake() else { panic!("there is no protocol in common") };
    let sent = std::mem::take(&mut pair.socket.outgoing);
    let mut rest = &sent[..];
    while !rest.is_empty() {
        pair.client.read_tls(&mut rest).expect("memory gives it");
    }
    let told = pair.client.process_new_packets().expect_err("an alert");
    assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol));
}

#[test]
fn a_first_message_without_end_is_refused_before_it_is_large() {
    let server = Server::new();
    let mut pair = server.pair(&config());
    // Records of a message that is said to have sixteen megabytes.
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x4000 - 4]].concat();
    let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut given = 0;
    pair.socket.incoming.extend(record);
    loop {
        match pair.session.handshake(&mut pair.socket) {
            Ok(Handshake::Waits) => {
                given += more.len();
                assert!(given < 200_000, "it takes all of it");
                pair.socket.incoming.extend(&more);
            }
            Ok(Handshake::NeedsKey) => pair.session.lend().use_key(),
            Ok(Handshake::Failed { .. }) | Err(_) => break,
            state => panic!("{state:?}"),
        }
    }
}
