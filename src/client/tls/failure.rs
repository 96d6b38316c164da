//! What a failure of a connection over TLS means, and what its user can do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::trust::{OtherFingerprint, Untrusted};
use crate::client::error::{ErrorKind, printable};

/// What a failure of a connection means. What the server or the user must change is no [`ErrorKind::ConnectionLost`]:
/// trying again would not help.
pub fn explain(error: io::Error) -> ErrorKind {
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(Error::AlertReceived(alert)) => match refused(*alert) {
            Some(words) => words.to_owned(),
            None => return ErrorKind::ConnectionLost(error),
        },
        _ => return ErrorKind::ConnectionLost(error),
    };
    ErrorKind::Tls(words)
}

/// The same for a failure of a handshake.
pub(super) fn explain_handshake(error: io::Error) -> ErrorKind {
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => "the server does not speak TLS on this port".to_owned(),
        Some(Error::PeerIncompatible(why)) => {
            format!("the server and this client have no way of TLS in common ({why:?})")
        }
        Some(Error::AlertReceived(alert)) if refused(*alert).is_none() => format!("the server refuses TLS ({alert:?})"),
        _ => return explain(error),
    };
    ErrorKind::Tls(words)
}

/// What the server says about the certificate of the client.
fn refused(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateRequired => {
            Some("the server wants a certificate of the client: --cert FILE --key FILE")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => Some("the server refuses the certificate of this client"),
        _ => None,
    }
}

fn certificate(why: &CertificateError) -> String {
    if let CertificateError::Other(other) = why
        && let Some(Untrusted { why, fingerprint }) = other.0.downcast_ref()
    {
        return format!(
            "{}; if the server tells this fingerprint at its start, trust it with --fingerprint {fingerprint}",
            certificate(why)
        );
    }
    match why {
        CertificateError::UnknownIssuer => "the server's certificate is not trusted: name its file, or that of the \
                                            authority that signed it, with --ca FILE"
            .to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; is the clock of this machine right?".to_owned()
        }
        CertificateError::NotValidForName => "the server's certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // As `DnsName("example.com")`.
            let names: Vec<_> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            let expected = expected.to_str();
            format!("the server's certificate is not for {expected}, but for {}", printable(&names))
        }
        CertificateError::Other(other) if other.0.is::<OtherFingerprint>() => other.0.to_string(),
        other => format!("the server's certificate is refused: {}", printable(&other.to_string())),
    }
}
