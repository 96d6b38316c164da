//! Clients with TLS: their configuration, and a tunnel for those that know only sockets. No client here verifies
//! the server: every server of a test makes its own certificate.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::client::PATIENCE;

pub use {rcgen, rustls};

/// A blocking client.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Takes every certificate for good.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// An authority that signs the certificates of clients and servers.
pub struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A certificate and its key.
pub struct Identity {
    pub certificate: rcgen::Certificate,
    pub key: rcgen::KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("random numbers");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// An authority that this one has signed.
    pub fn signs_authority(&self, name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("random numbers");
        Self(rcgen::CertifiedIssuer::signed_by(params, key, &self.0).expect("a certificate"))
    }

    pub fn signs(&self, name: &str) -> Identity {
        self.signs_with(name, |_| {})
    }

    /// The same with something else in it.
    pub fn signs_with(&self, name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Identity {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("random numbers");
        Identity { certificate: params.signed_by(&key, &self.0).expect("a certificate"), key }
    }
}

impl Identity {
    /// Signs itself, as an authority does.
    pub fn own(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("random numbers");
        Self { certificate: params.self_signed(&key).expect("a certificate"), key }
    }

    /// Writes both as `cert.pem` and `key.pem`.
    pub fn write(&self, dir: &std::path::Path) {
        std::fs::write(dir.join("cert.pem"), self.certificate.pem()).expect("the folder is there");
        std::fs::write(dir.join("key.pem"), self.key.serialize_pem()).expect("the folder is there");
    }
}

/// The configuration of a client that shows this.
pub fn showing(identity: &Identity) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("there are cipher suites for these");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.key.serialize_der()).expect("a key");
    let chain = vec![identity.certificate.der().clone()];
    Arc::new(builder.with_client_auth_cert(chain, key).expect("they belong together"))
}

/// The configuration of a client without a certificate, with these versions of the protocol.
pub fn versions(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    of_provider(ring::default_provider(), versions)
}

fn of_provider(provider: CryptoProvider, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).expect("there are cipher suites for these");
    builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting)).with_no_client_auth()
}

/// A client that offers one version, group and cipher suite, so that servers with other preferences do the same for it.
/// It resumes sessions if it `resumes`.
pub fn one_suite(resumes: bool) -> Arc<ClientConfig> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![ring::kx_group::X25519];
    let mut config = of_provider(provider, &[&rustls::version::TLS13]);
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// The configuration of a client without a certificate that offers everything.
pub fn config() -> Arc<ClientConfig> {
    Arc::new(versions(rustls::ALL_VERSIONS))
}

pub fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a configuration that can be used")
}

/// Connects, and leaves the handshake to the first read or write.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    StreamOwned::new(client(config), stream)
}

/// A plain socket; a thread carries its bytes to `address`, encrypted, and back. The ends of both streams are
/// carried as well, each by itself, and so are resets.
pub fn tunnel(address: SocketAddr, config: &Arc<ClientConfig>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (inner, _) = listener.accept().expect("it was connected");
    let far = TcpStream::connect(address).expect("the server listens");
    let tls = client(config);
    std::thread::spawn(move || Tunnel::new(inner, far, tls).run());
    near
}

const PART: usize = 64 * 1024;

struct Tunnel {
    near: TcpStream,
    far: TcpStream,
    tls: ClientConnection,
    /// From the server, and not taken yet.
    down: Vec<u8>,
    near_ended: bool,
    far_ended: bool,
    down_ended: bool,
}

impl Tunnel {
    fn new(near: TcpStream, far: TcpStream, mut tls: ClientConnection) -> Self {
        for socket in [&near, &far] {
            socket.set_nonblocking(true).expect("O_NONBLOCK");
            socket.set_nodelay(true).expect("TCP_NODELAY");
        }
        tls.set_buffer_limit(None);
        Self { near, far, tls, down: Vec::new(), near_ended: false, far_ended: false, down_ended: false }
    }

    /// Until both streams have ended, or one is broken: then the other is reset.
    fn run(mut self) {
        while !(self.near_ended && self.down_ended && !self.tls.wants_write()) {
            let moved = self.move_bytes();
            match moved {
                Ok(true) => {}
                Ok(false) => self.wait(),
                Err(_) => {
                    for socket in [&self.near, &self.far] {
                        let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
                    }
                    return;
                }
            }
        }
    }

    fn wait(&self) {
        let mut near = PollFlags::empty();
        near.set(PollFlags::IN, self.reads_near());
        near.set(PollFlags::OUT, !self.down.is_empty());
        let mut far = PollFlags::empty();
        far.set(PollFlags::IN, self.reads_far());
        far.set(PollFlags::OUT, self.tls.wants_write());
        let mut fds = Vec::new();
        // A socket of which nothing is awaited would be reported again and again once it has ended.
        fds.extend((!near.is_empty()).then(|| PollFd::new(&self.near, near)));
        fds.extend((!far.is_empty()).then(|| PollFd::new(&self.far, far)));
        poll(&mut fds, None).expect("poll");
    }

    fn reads_near(&self) -> bool {
        !self.near_ended && !self.tls.is_handshaking() && !self.tls.wants_write()
    }

    fn reads_far(&self) -> bool {
        !self.far_ended && self.down.len() < PART
    }

    /// False if nothing could be moved.
    fn move_bytes(&mut self) -> io::Result<bool> {
        let mut moved = false;
        if self.reads_near() {
            let mut bytes = vec![0; PART];
            match self.near.read(&mut bytes) {
                Ok(0) => {
                    self.near_ended = true;
                    self.tls.send_close_notify();
                    moved = true;
                }
                Ok(n) => {
                    self.tls.writer().write_all(&bytes[..n])?;
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.far) {
                Ok(_) => moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What the server said before it closed is still to be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe && !self.far_ended => break,
                Err(error) => return Err(error),
            }
        }
        if self.reads_far() {
            match self.tls.read_tls(&mut self.far) {
                Ok(n) => {
                    moved = true;
                    self.far_ended = n == 0;
                    self.tls.process_new_packets().map_err(io::Error::other)?;
                    self.decrypt()?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        while !self.down.is_empty() {
            match self.near.write(&self.down) {
                Ok(n) => {
                    moved = true;
                    self.down.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.far_ended && self.down.is_empty() && !self.down_ended {
            self.down_ended = true;
            let _ = self.near.shutdown(Shutdown::Write);
            moved = true;
        }
        Ok(moved)
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.tls.reader().read(&mut bytes) {
                Ok(0) => {
                    self.far_ended = true;
                    return Ok(());
                }
                Ok(n) => self.down.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // An end that is none: the near end sees a reset.
                Err(error) => return Err(error),
            }
        }
    }
}
