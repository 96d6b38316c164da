//! The certificate, its key and the authorities of clients: read from PEM files and checked, or made at the first
//! start. Every error names the file. Never holds a key longer than it takes to make the configuration.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use crate::config::TlsFiles;
use crate::time::Utc;

use super::tickets::{TicketSecrets, Ticketer};

#[cfg(feature = "tls-aws-lc-rs")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(not(feature = "tls-aws-lc-rs"))]
use rustls::crypto::ring as provider;

/// Tickets that a client gets with each handshake of TLS 1.3: browsers and curl use one connection after another.
const TICKETS: usize = 2;

/// Why a server cannot speak TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read or written.
    File(PathBuf, io::Error),
    /// A file has not what it should have.
    Content(PathBuf, String),
    /// Neither of the files is given.
    Missing(&'static str),
    /// The cryptography fails.
    Cryptography(String),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Content(path, what) => write!(f, "{}: {what}", path.display()),
            Self::Missing(flag) => write!(f, "a listener speaks TLS, and {flag} is not given"),
            Self::Cryptography(error) => write!(f, "cannot set up TLS: {error}"),
        }
    }
}

impl std::error::Error for IdentityError {}

fn failed(error: impl fmt::Display) -> IdentityError {
    IdentityError::Cryptography(error.to_string())
}

fn content(path: &Path, error: impl fmt::Display) -> IdentityError {
    IdentityError::Content(path.to_owned(), error.to_string())
}

/// The keys of the tickets with which clients resume their sessions. Where servers do not share them, rustls makes new
/// ones every six hours.
#[derive(Clone)]
pub(super) struct Tickets {
    keys: Arc<dyn ProducesTickets>,
    /// Those that have verified the clients in them.
    authorities: Vec<CertificateDer<'static>>,
}

/// What the files have, ready for use.
pub(super) struct Identity {
    pub config: ServerConfig,
    pub tickets: Tickets,
    /// `None` if clients are not asked for certificates.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tickets {
    /// Those of `before`, so that a reload does not end the sessions of all clients, unless a client in them might
    /// no longer be one.
    fn new(
        authorities: Vec<CertificateDer<'static>>,
        before: Option<Self>,
        shared: Option<&Arc<TicketSecrets>>,
    ) -> Result<Self, IdentityError> {
        match (before, shared) {
            (Some(before), _) if before.authorities == authorities => Ok(before),
            (_, Some(secrets)) => {
                Ok(Self { keys: Arc::new(Ticketer::new(Arc::clone(secrets), &authorities)), authorities })
            }
            (_, None) => Ok(Self { keys: provider::Ticketer::new().map_err(failed)?, authorities }),
        }
    }
}

/// Reads what the files have into a configuration. `before`: the tickets of the one that it replaces.
pub(super) fn read(
    files: &TlsFiles,
    before: Option<Tickets>,
    shared: Option<&Arc<TicketSecrets>>,
) -> Result<Identity, IdentityError> {
    let certificate = files.certificate_path().ok_or(IdentityError::Missing("--tls-cert"))?;
    let key = files.key_path().ok_or(IdentityError::Missing("--tls-key"))?;
    let chain = certificates(&certificate)?;
    let secret = private_key(&key)?;
    let cryptography = Arc::new(preferring_short_keys());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&cryptography));
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let authorities = files.client_ca.as_deref().map_or(Ok(Vec::new()), certificates)?;
    let mut verifier = None;
    if let Some(path) = &files.client_ca {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| content(path, error))?;
        }
        let made = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), cryptography);
        verifier = Some(made.allow_unauthenticated().build().map_err(|error| content(path, error))?);
    }
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => content(&key, format_args!("not the key of {}", certificate.display())),
        error => content(&certificate, error),
    })?;
    // What is resumed is in the hands of the clients: it costs no memory here.
    let tickets = Tickets::new(authorities, before, shared)?;
    config.ticketer = Arc::clone(&tickets.keys);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.ignore_client_order = true;
    Ok(Identity { config, tickets, verifier })
}

/// All suites are strong; those with AES-128 take less time for the same content than those with AES-256.
fn preferring_short_keys() -> CryptoProvider {
    let mut cryptography = provider::default_provider();
    // Stable: everything else stays in its order.
    cryptography.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    cryptography
}

#[allow(clippy::disallowed_methods, reason = "no peer names this file")]
fn contents(path: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(path).map_err(|error| IdentityError::File(path.to_owned(), error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = contents(path)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| content(path, error))?;
    if all.is_empty() {
        return Err(content(path, "there is no certificate in it (PEM)"));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode() & 0o777);
    if mode & 0o004 != 0 {
        let path = path.display();
        log::warn!("TLS: every user of this machine can read the private key (mode {mode:03o}): chmod 600 {path}");
    }
    PrivateKeyDer::from_pem_slice(&contents(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => content(path, "there is no private key in it that is not encrypted (PEM)"),
        error => content(path, error),
    })
}

/// Days for which a certificate is valid that the server makes itself: the systems of Apple refuse more than 825.
const VALID_DAYS: u64 = 820;
/// Days before its end in which a start makes another one.
const RENEWED_DAYS: u64 = 30;
const DAY_S: u64 = 24 * 3600;

/// A certificate that a server has made itself.
#[derive(Debug)]
pub struct OwnCertificate(CertificateDer<'static>);

/// Makes a key and a certificate that it signs itself in `dir`, for these names and addresses, unless they are there and
/// do not end soon.
pub fn make_self_signed(dir: &Path, mut names: Vec<String>, now_s: u64) -> Result<OwnCertificate, IdentityError> {
    let (path, key) = (dir.join(TlsFiles::CERTIFICATE_NAME), dir.join(TlsFiles::KEY_NAME));
    let first = || certificates(&path).map(|mut all| OwnCertificate(all.swap_remove(0)));
    if path.exists() {
        let before = first()?;
        if !before.has_ended(now_s + RENEWED_DAYS * DAY_S)? {
            return Ok(before);
        }
        log::warn!("TLS: the certificate in {} ends soon: tell clients to trust the new one", dir.display());
        // The certificate goes first and comes last: a start that was cut off in between makes both.
        fs::remove_file(&path).map_err(|error| IdentityError::File(path.clone(), error))?;
    }
    names.sort();
    names.dedup();
    // Another key, and with it another serial number: clients refuse two certificates that have the same.
    let made = rcgen::KeyPair::generate().map_err(failed)?;
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    // The clocks of clients may be late.
    let from_s = now_s.saturating_sub(DAY_S);
    [params.not_before, params.not_after] = [from_s, from_s + VALID_DAYS * DAY_S].map(|at_s| {
        let Utc { year, month, day, .. } = Utc::new(i64::try_from(at_s).unwrap_or(0));
        let number = |number: i64| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(i32::try_from(year.min(9999)).unwrap_or(9999), number(month), number(day))
    });
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "filewharf");
    let signed = params.self_signed(&made).map_err(failed)?;
    fs::create_dir_all(dir).map_err(|error| IdentityError::File(dir.to_owned(), error))?;
    write(&key, made.serialize_pem().as_bytes(), 0o600)?;
    write(&path, signed.pem().as_bytes(), 0o644)?;
    first()
}

impl OwnCertificate {
    /// As clients write it.
    pub fn fingerprint(&self) -> String {
        let digits: String = Sha256::digest(&self.0).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{digits}")
    }

    /// False for a name or an address that it is not for. Names that are no such are not judged.
    pub fn covers(&self, name: &str) -> bool {
        match (ParsedCertificate::try_from(&self.0), ServerName::try_from(name)) {
            (Ok(certificate), Ok(name)) => verify_server_name(&certificate, &name).is_ok(),
            _ => true,
        }
    }

    fn has_ended(&self, at_s: u64) -> Result<bool, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.clone()).map_err(failed)?;
        let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider::default_provider().into());
        let verifier = builder.build().map_err(failed)?;
        use rustls::CertificateError::{Expired, ExpiredContext};
        let (name, at) = (ServerName::from(Ipv4Addr::LOCALHOST), UnixTime::since_unix_epoch(Duration::from_secs(at_s)));
        // Dates are checked before all else.
        let verified = verifier.verify_server_cert(&self.0, &[], &name, &[], at);
        Ok(matches!(verified, Err(rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }))))
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), IdentityError> {
    let part = path.with_extension("pem.part");
    let all = || {
        let _ = fs::remove_file(&part);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    all().map_err(|error| IdentityError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn made(dir: &TempDir, names: &[&str], now_s: u64) -> OwnCertificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        make_self_signed(dir.path(), names, now_s).expect("a certificate")
    }

    #[test]
    fn an_own_certificate_is_for_the_names_it_was_made_for() {
        let dir = TempDir::new().expect("a temporary folder");
        let own = made(&dir, &["files.example", "*.wild.example", "192.0.2.7", "2001:db8::7"], NOW_S);
        for name in ["files.example", "a.wild.example", "192.0.2.7", "2001:db8::7"] {
            assert!(own.covers(name), "{name}");
        }
        for name in ["other.example", "wild.example", "192.0.2.8", "::1", "localhost"] {
            assert!(!own.covers(name), "{name}");
        }
    }

    #[test]
    fn an_own_certificate_is_valid_for_as_long_as_clients_accept_and_made_again_before_its_end() {
        let dir = TempDir::new().expect("a temporary folder");
        let own = made(&dir, &["localhost"], NOW_S);
        let days = |days: u64| NOW_S + days * DAY_S;
        let has_ended = |at_s| own.has_ended(at_s).expect("a certificate");
        assert!(!has_ended(NOW_S) && !has_ended(days(818)) && has_ended(days(820)), "at most 825 days");
        let first = own.fingerprint();
        for (day, is_same) in [(0, true), (780, true), (791, false), (5000, false)] {
            let again = made(&dir, &["localhost"], days(day));
            assert_eq!(again.fingerprint() == first, is_same, "day {day}");
            assert!(!again.has_ended(days(day + 29)).expect("a certificate"), "day {day}");
            let files = TlsFiles { self_signed: Some(dir.path().to_owned()), ..TlsFiles::default() };
            read(&files, None, None).expect("the key is that of the certificate");
        }
    }
}
