//! The certificate of a client: what it proves, and until when.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error};
use sha2::{Digest as _, Sha256};

use crate::platform::ClientCertificate;

/// True if the first of these certificates is valid at this time, and so are those of the authorities in between.
pub(super) fn is_valid(chain: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier, now: UnixTime) -> bool {
    verify(chain, verifier, now).is_ok()
}

/// What a server knows of the first of these certificates. `None` if it is none that the verifier accepts at any time.
pub(super) fn known(chain: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier) -> Option<ClientCertificate> {
    // At a time when no certificate is valid, the verifier says when this one ended, before it verifies a signature.
    let never = UnixTime::since_unix_epoch(Duration::MAX);
    let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
        verify(chain, verifier, never)
    else {
        return None;
    };
    let sha256 = Sha256::digest(chain.first()?).into();
    // It is valid at that second.
    Some(ClientCertificate { sha256, expires_s: not_after.as_secs().saturating_add(1) })
}

fn verify(chain: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier, now: UnixTime) -> Result<(), Error> {
    let (first, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    verifier.verify_client_cert(first, between, now).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::crypto::ring;
    use rustls::server::WebPkiClientVerifier;
    use support::tls::{Authority, rcgen};

    use super::*;

    /// Valid from 2020 to the first second of this year.
    fn until(year: i32) -> impl FnOnce(&mut rcgen::CertificateParams) {
        move |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        }
    }

    #[test]
    fn a_certificate_ends_with_its_own_time_and_with_that_of_an_authority_in_between() {
        let root = Authority::new("root");
        let mut roots = RootCertStore::empty();
        roots.add(root.der()).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().expect("a verifier");
        let between = root.signs_authority("between", until(2040));
        let at = |second: u64| UnixTime::since_unix_epoch(Duration::from_secs(second));
        let (in_2030, in_2040) = (1_893_456_000, 2_208_988_800);
        for (leaf, shown, ends_s, known_s) in [
            (root.signs_with("box", until(2030)), vec![], in_2030, in_2030),
            (between.signs_with("box", until(2030)), vec![between.der()], in_2030, in_2030),
            (between.signs_with("box", until(2050)), vec![between.der()], in_2040, 2_524_608_000),
        ] {
            let chain = [vec![leaf.certificate.der().clone()], shown].concat();
            let is_valid = |second| is_valid(&chain, &*verifier, at(second));
            assert!(is_valid(ends_s) && !is_valid(ends_s + 1) && !is_valid(0), "{ends_s}");
            let sha256 = Sha256::digest(&chain[0]).into();
            assert_eq!(known(&chain, &*verifier), Some(ClientCertificate { sha256, expires_s: known_s + 1 }));
        }
        let unknown = between.signs("box").certificate.der().clone();
        assert!(!is_valid(&[unknown], &*verifier, at(in_2030)), "the authority in between is not shown");
        assert_eq!(known(&[], &*verifier), None);
    }
}
