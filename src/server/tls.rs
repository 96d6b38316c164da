//! What a server with TLS begins with, and how it is read again.

use std::sync::Arc;

use super::error::ServerError;
use super::listen::Listen;
use crate::config::TlsFiles;
use crate::os::net::tls::{Acceptor, make_self_signed};
use crate::os::{net, process};

const WITHOUT_LISTENER: &str = "there is a certificate, and no address is encrypted: write ?tls after one";

/// What listeners with TLS show their clients; `None` if there are none.
pub(super) fn open(files: &TlsFiles, listens: &[Listen]) -> Result<Option<Arc<Acceptor>>, ServerError> {
    if listens.iter().all(|listen| !listen.is_tls) {
        let is_unused = *files != TlsFiles::default();
        return if is_unused { Err(ServerError::tls(WITHOUT_LISTENER)) } else { Ok(None) };
    }
    if let Some(dir) = files.self_signed.as_ref().filter(|_| files.certificate.is_none()) {
        let fingerprint = make_self_signed(dir, names(listens)).map_err(ServerError::tls)?;
        log::info!("TLS: the certificate in {} has the SHA-256 fingerprint {fingerprint}", dir.display());
    }
    Acceptor::open(files.clone()).map(|acceptor| Some(Arc::new(acceptor))).map_err(ServerError::tls)
}

/// Reads the files again, for connections that begin from then on.
pub(super) fn read_again(acceptor: &Arc<Acceptor>) -> impl FnMut() -> Result<String, String> + Send + 'static {
    let acceptor = Arc::clone(acceptor);
    move || match acceptor.reload() {
        Ok(()) => Ok("TLS: read the certificate and its key again".to_owned()),
        Err(error) => Err(format!("TLS: {error}")),
    }
}

/// What clients may call this machine.
fn names(listens: &[Listen]) -> Vec<String> {
    let mut names = vec![process::machine_name()];
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let addresses = listens.iter().filter_map(|listen| net::resolve(&listen.address).ok());
    let named = addresses.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    names.extend(named.map(|ip| ip.to_string()));
    names.retain(|name| !name.is_empty() && name.is_ascii());
    names.sort();
    names.dedup();
    names
}
