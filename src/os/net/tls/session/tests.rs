//! Handshakes in memory: a client that is asked for another first message.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::TlsSession;
use crate::platform::Handshake;

/// Both directions of a connection, seen from the server.
#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.to_server.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.to_server.read(buf) }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.to_client.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that has only the second group of the client's, and the client.
fn peers() -> (TlsSession, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let provider = CryptoProvider { kx_groups: vec![ring::kx_group::SECP256R1], ..ring::default_provider() };
    let server = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = server.expect("versions").with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("an authority");
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let client = client.with_safe_default_protocol_versions().expect("versions");
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let client = ClientConnection::new(client, ServerName::try_from("localhost").expect("a name"));
    (TlsSession::new(Arc::new(server.expect("a pair")), None, &[]), client.expect("a client"))
}

fn send(client: &mut ClientConnection, pipe: &mut Pipe) {
    while client.wants_read() && !pipe.to_client.is_empty() {
        client.read_tls(&mut pipe.to_client).expect("bytes");
        client.process_new_packets().expect("a handshake");
    }
    while client.wants_write() {
        client.write_tls(&mut pipe.to_server).expect("memory");
    }
}

#[test]
fn a_client_that_is_asked_for_another_first_message_waits_for_the_key_again_at_every_split() {
    let mut len = 1;
    let mut split = 0;
    while split < len {
        let ((mut server, mut client), mut pipe) = (peers(), Pipe::default());
        send(&mut client, &mut pipe);
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::NeedsKey)));
        server.use_key().expect("a handshake");
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::Waits)));
        send(&mut client, &mut pipe);
        len = pipe.to_server.len();
        let rest = pipe.to_server.split_off(split);
        if split > 0 {
            assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::NeedsKey)), "{split}");
            server.use_key().expect("a handshake");
            assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::Waits)), "{split}");
        }
        assert!(pipe.to_client.is_empty(), "{split}");
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::Waits)), "{split}");
        pipe.to_server = rest;
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::NeedsKey)), "{split}");
        assert!(pipe.to_client.is_empty(), "{split}");
        server.use_key().expect("a handshake");
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::Waits)), "{split}");
        send(&mut client, &mut pipe);
        assert!(matches!(server.handshake(&mut pipe), Ok(Handshake::Done)), "{split}");
        split += 1;
    }
    assert!(len > 100, "{len}");
}
