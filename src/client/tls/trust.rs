//! The certificates that a client trusts: files and the system's roots made into a configuration, and the check of the
//! certificate of a server. Never opens a connection.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::options::TlsOptions;
use crate::client::error::ErrorKind;
use crate::wire::line::hex;

#[cfg(feature = "tls-aws-lc-rs")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(not(feature = "tls-aws-lc-rs"))]
use rustls::crypto::ring as provider;

/// What connections over TLS have in common. Clones share it, so that the files are read once, and sessions resumed.
#[derive(Clone, Debug, Default)]
pub struct Tls(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    options: TlsOptions,
    /// An error is the text of [`ErrorKind::Tls`].
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// Files are read when they are needed first.
    pub fn new(options: TlsOptions) -> Self {
        Self(Arc::new(Shared { options, config: OnceLock::new() }))
    }

    /// Reads the files now.
    pub fn load(&self) -> Result<(), ErrorKind> {
        self.config().map(drop)
    }

    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, ErrorKind> {
        let config = self.0.config.get_or_init(|| configure(&self.0.options).map(Arc::new));
        config.clone().map_err(ErrorKind::Tls)
    }
}

fn configure(options: &TlsOptions) -> Result<ClientConfig, String> {
    let cryptography = Arc::new(provider::default_provider());
    let verifier = Arc::new(Verifier::new(options, &cryptography)?);
    let builder = ClientConfig::builder_with_provider(cryptography);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match (&options.certificate, &options.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| named(key, format_args!("no private key that is not encrypted (PEM): {error}")))?;
            let with = builder.with_client_auth_cert(certificates(certificate)?, secret);
            with.map_err(|error| named(certificate, format_args!("not usable with {}: {error}", key.display())))
        }
        _ => Err("a certificate and its key are given together: --cert FILE --key FILE".to_owned()),
    }
}

fn named(file: &Path, why: impl fmt::Display) -> String {
    format!("{}: {why}", file.display())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| named(file, error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match all {
        Ok(all) if all.is_empty() => Err(named(file, "there is no certificate in it (PEM)")),
        Ok(all) => Ok(all),
        Err(error) => Err(named(file, error)),
    }
}

/// The authorities of the system, or those of the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn of_system() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) if found.certs.is_empty() => Err(format!("cannot read the system's certificates: {error}")),
        None if found.certs.is_empty() => {
            Err("this system has no certificates of authorities; name a file of them: --ca FILE".to_owned())
        }
        _ => Ok(found.certs),
    }
}

/// How the certificate of a server is checked.
#[derive(Debug)]
enum Rule {
    /// By its fingerprint alone.
    Fingerprint([u8; 32]),
    /// By its name, its dates and its authority. `own`: the certificates that the user named.
    Chain { check: Arc<WebPkiServerVerifier>, own: Vec<CertificateDer<'static>> },
}

#[derive(Debug)]
struct Verifier {
    rule: Rule,
    cryptography: Arc<CryptoProvider>,
}

/// The server has another certificate than the one with the fingerprint that the user gave.
#[derive(Debug)]
pub(super) struct OtherFingerprint([u8; 32]);

impl fmt::Display for OtherFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fingerprint of the server's certificate is another: sha256:{}", hex(&self.0))
    }
}

impl std::error::Error for OtherFingerprint {}

/// The certificate of the server is not trusted. Its fingerprint, with which it would be.
#[derive(Debug)]
pub(super) struct Untrusted {
    pub(super) why: CertificateError,
    pub(super) fingerprint: String,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for Untrusted {}

impl Verifier {
    fn new(options: &TlsOptions, cryptography: &Arc<CryptoProvider>) -> Result<Self, String> {
        let rule = match (options.fingerprint, &options.ca) {
            (Some(fingerprint), _) => Rule::Fingerprint(fingerprint),
            (None, Some(file)) => {
                let own = certificates(file)?;
                let mut roots = RootCertStore::empty();
                for certificate in &own {
                    roots.add(certificate.clone()).map_err(|error| named(file, error))?;
                }
                Rule::Chain { check: chain(roots, cryptography)?, own }
            }
            (None, None) => {
                let mut roots = RootCertStore::empty();
                // Some systems have certificates among them that cannot be parsed.
                roots.add_parsable_certificates(of_system()?);
                Rule::Chain { check: chain(roots, cryptography)?, own: Vec::new() }
            }
        };
        Ok(Self { rule, cryptography: Arc::clone(cryptography) })
    }
}

fn chain(roots: RootCertStore, cryptography: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(cryptography));
    builder.build().map_err(|error| error.to_string())
}

/// True if all that is wrong with a certificate is that it is also one of an authority, as `openssl req -x509` makes
/// them. Its dates have been checked before.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else { return false };
    matches!(why.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.rule {
            Rule::Fingerprint(wanted) => {
                let fingerprint: [u8; 32] = Sha256::digest(certificate).into();
                if fingerprint == *wanted {
                    return Ok(ServerCertVerified::assertion());
                }
                Err(CertificateError::Other(OtherError(Arc::new(OtherFingerprint(fingerprint)))).into())
            }
            Rule::Chain { check, own } => match check.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                Err(error) if is_authority(&error) && own.contains(certificate) => {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
                        .map(|()| ServerCertVerified::assertion())
                }
                result => result,
            }
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(why) => {
                    let fingerprint = format!("sha256:{}", hex(&Sha256::digest(certificate)));
                    CertificateError::Other(OtherError(Arc::new(Untrusted { why, fingerprint }))).into()
                }
                other => other,
            }),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.cryptography.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.cryptography.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.cryptography.signature_verification_algorithms.supported_schemes()
    }
}
