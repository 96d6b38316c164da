//! What is known of a server before anything is bound or opened: its addresses, its access control, its memory.

#[cfg(feature = "config")]
use std::path::Path;
use std::sync::Arc;

use super::access_file;
use super::ceiling::Ceiling;
use super::error::{LimitError, ServerError};
use super::limits;
use super::listen::Listen;
#[cfg(feature = "config")]
use super::tls;
use super::{Builder, DEFAULT_ADDRESS, Plan};
use crate::access::{self, Access};
use crate::dialect::{Kind, Listening, OptionError};
#[cfg(feature = "config")]
use crate::os::net;
use crate::os::process;

/// Most listeners of one server.
const LISTENERS_MAX: usize = 64;

impl Builder {
    /// Checks everything that can be checked so far, and reads the access file.
    pub(super) fn plan(&mut self) -> Result<Plan, ServerError> {
        if self.listens.is_empty() {
            self.listens.push(Ok(Listen::new(Kind::Auto, DEFAULT_ADDRESS)));
        }
        let listens = std::mem::take(&mut self.listens).into_iter().collect::<Result<Vec<_>, _>>();
        let listens = listens.map_err(ServerError::Address)?;
        if listens.len() > LISTENERS_MAX {
            return Err(ServerError::TooManyAddresses(LISTENERS_MAX));
        }
        limits::check(&self.limits).map_err(ServerError::Limit)?;
        limits::fit_descriptors(&mut self.limits.fixed);
        let started_s = process::unix_time();
        let speaks = listens.iter().map(|listen| Listening::new(listen.kind, &listen.options, started_s));
        let speaks = speaks.collect::<Result<Vec<_>, _>>().map_err(ServerError::Option)?;
        let mut ceiling = self.ceiling(&listens, &speaks)?;
        let access = self.access_control()?;
        check_users(&access, &speaks)?;
        if let Some(rules) = access.rules() {
            ceiling.add_access(rules, &self.limits.fixed);
        }
        Ok(Plan { listens, speaks, access, ceiling })
    }

    /// Finds out whether a server could be built, as far as that is possible without a change: no address is bound, no
    /// directory opened, no certificate made. Returns the most memory that it could use.
    #[cfg(feature = "config")]
    #[allow(clippy::disallowed_methods, reason = "looks at the directory from outside")]
    pub(crate) fn check(mut self) -> Result<Ceiling, ServerError> {
        let Plan { listens, ceiling, .. } = self.plan()?;
        for Listen { address, kind, socket_file, .. } in &listens {
            let fail = |source| ServerError::Listen { address: address.clone(), kind: *kind, source };
            net::resolve(address).map_err(fail)?;
            net::ids_of(socket_file).map_err(fail)?;
        }
        tls::check(&self.tls, &listens)?;
        let root = &self.root;
        let above = root.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if root.is_dir() || (!self.store.read_only && !root.exists() && above.is_dir()) {
            return Ok(ceiling);
        }
        Err(ServerError::Root(format!("cannot serve {}: it is no folder, and cannot be made", root.display())))
    }

    /// The most memory, but for access control.
    fn ceiling(&self, listens: &[Listen], speaks: &[Listening]) -> Result<Ceiling, ServerError> {
        let mut ceiling =
            Ceiling::of(&self.limits.fixed, speaks.iter().any(|speaks| speaks.kind().traits().holds_messages));
        if listens.iter().any(|listen| listen.is_tls) {
            ceiling.add_tls(&self.limits.fixed);
        }
        let kept = speaks.iter().map(|speaks| speaks.kind().traits().kept_bytes_max).sum();
        ceiling.shared = ceiling.shared.saturating_add(kept);
        if ceiling.total() == usize::MAX { Err(ServerError::Limit(LimitError::Memory)) } else { Ok(ceiling) }
    }

    /// The access control.
    fn access_control(&mut self) -> Result<Access, ServerError> {
        if let Some(text) = self.access_text.take() {
            let rules = access::file::parse(&text).map_err(|error| ServerError::Access(error.to_string()))?;
            return Ok(Access::with_rules(Arc::new(rules), self.store.read_only));
        }
        let (secret, read_secret, read_only) = (self.secret.clone(), self.read_secret.take(), self.store.read_only);
        match (&self.access, &secret, &read_secret) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                Err(ServerError::Access("an access file and a secret exclude each other".to_owned()))
            }
            (Some(file), None, None) => {
                let rules = access_file::read(file).map_err(ServerError::Access)?;
                self.store.checks_passwords = true;
                self.store.quotas = rules.quotas();
                Ok(Access::with_rules(Arc::new(rules), read_only))
            }
            (None, None, Some(_)) => Err(ServerError::Access("a secret for reading needs another for all".to_owned())),
            (None, ..) => Ok(Access::with_secrets(secret, read_secret, read_only)),
        }
    }
}

/// Users that a proxy names are those of the access file.
fn check_users(access: &Access, speaks: &[Listening]) -> Result<(), ServerError> {
    if access.rules().is_some() || !speaks.iter().any(Listening::trusts_users) {
        return Ok(());
    }
    let (option, reason) = ("remote-user".to_owned(), "needs an access file, which has the users");
    Err(ServerError::Option(OptionError::Invalid { option, reason }))
}
