//! What a server with TLS begins with, and how it is read again.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::error::ServerError;
use super::listen::Listen;
use super::reload::{Apply, Reload, Reloads};
use crate::config::TlsFiles;
use crate::os::net::tls::{Acceptor, make_self_signed};
use crate::os::{net, process};
use crate::wire::key::RESERVED;

/// The keys of tickets, where servers share them.
const TICKETS: &str = "TICKETS";
/// Addresses of interfaces in a certificate that the server makes itself, at most.
const INTERFACES_MAX: usize = 64;
const WITHOUT_LISTENER: &str = "there is a certificate, and no address is encrypted: write ?tls after one";

/// What listeners with TLS show their clients; `None` if there are none. `root`: the directory, where other servers
/// share it.
pub(super) fn open(
    files: &TlsFiles,
    listens: &[Listen],
    root: Option<&Path>,
) -> Result<Option<Arc<Acceptor>>, ServerError> {
    if listens.iter().all(|listen| !listen.is_tls) {
        let is_unused = *files != TlsFiles::default();
        return if is_unused { Err(ServerError::tls(WITHOUT_LISTENER)) } else { Ok(None) };
    }
    if let Some(dir) = files.self_signed.as_ref().filter(|_| files.certificate.is_none()) {
        let named = named(files, listens);
        let all = [&named[..], &known_as(listens)].concat();
        let own = make_self_signed(dir, all, process::unix_time()).map_err(ServerError::tls)?;
        let (dir, fingerprint) = (dir.display(), own.fingerprint());
        log::info!(
            "TLS: clients trust the certificate in {dir} with --ca {dir}/cert.pem, or --fingerprint {fingerprint}"
        );
        let missing: Vec<_> = named.into_iter().filter(|name| !own.covers(name)).collect();
        if !missing.is_empty() {
            log::warn!(
                "TLS: the certificate in {dir} is not for {}: remove the folder to have another one made",
                missing.join(", ")
            );
        }
    }
    let tickets = root.map(|root| root.join(RESERVED).join(TICKETS));
    Acceptor::open(files.clone(), tickets).map(|acceptor| Some(Arc::new(acceptor))).map_err(ServerError::tls)
}

/// Reads the files, as [`open`] does, and makes none.
#[cfg(feature = "config")]
pub(super) fn check(files: &TlsFiles, listens: &[Listen]) -> Result<(), ServerError> {
    let is_made_later = files.self_signed.as_ref().is_some_and(|dir| !dir.join(TlsFiles::CERTIFICATE_NAME).exists());
    match listens.iter().any(|listen| listen.is_tls) {
        true if is_made_later => Ok(()),
        true => Acceptor::open(files.clone(), None).map(drop).map_err(ServerError::tls),
        false if *files != TlsFiles::default() => Err(ServerError::tls(WITHOUT_LISTENER)),
        false => Ok(()),
    }
}

/// Reads the files again, for connections that begin from then on, and looks at the keys of tickets that servers share.
pub(super) fn read_again(acceptor: &Arc<Acceptor>, reloads: &mut Reloads) {
    reloads.push(Box::new(Certificates(Arc::clone(acceptor))));
    if acceptor.shares_tickets() {
        let acceptor = Arc::clone(acceptor);
        let mut fails = false;
        reloads.look(move || {
            let refreshed = acceptor.refresh_tickets();
            // The first of several failures says all.
            if let (Err(error), false) = (&refreshed, fails) {
                log::warn!("TLS: sessions are not resumed at other servers: {RESERVED}/{TICKETS}: {error}");
            }
            fails = refreshed.is_err();
        });
    }
}

struct Certificates(Arc<Acceptor>);

impl Reload for Certificates {
    fn read(&mut self) -> Result<Apply<'_>, String> {
        let apply = self.0.reload().map_err(|error| format!("TLS: {error}"))?;
        Ok(Box::new(move |_| {
            apply();
            "TLS: read the certificate and its key again".to_owned()
        }))
    }
}

/// Where connections are encrypted.
fn ips(listens: &[Listen]) -> impl Iterator<Item = IpAddr> {
    let listened = listens.iter().filter(|listen| listen.is_tls);
    listened.filter_map(|listen| net::resolve(&listen.address).ok()?.socket_addr()).map(|address| address.ip())
}

/// The names and addresses that the operator gave.
fn named(files: &TlsFiles, listens: &[Listen]) -> Vec<String> {
    ips(listens).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()).chain(files.names.iter().cloned()).collect()
}

/// What clients may call this machine besides: where every address is listened on, by each of them.
fn known_as(listens: &[Listen]) -> Vec<String> {
    let mut names = vec![process::machine_name()];
    names.retain(|name| !name.is_empty() && name.is_ascii());
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if ips(listens).any(|ip| ip.is_unspecified()) {
        names.extend(net::of_interfaces().into_iter().take(INTERFACES_MAX).map(|ip| ip.to_string()));
    }
    names
}
