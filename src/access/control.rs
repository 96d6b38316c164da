//! The access control of one server: everything is permitted, or what a secret permits, or what an access file says.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::caller::{Caller, ClientCertificate, Identity};
use crate::access::rights::Rights;
use crate::access::rules::Rules;
use crate::object::Key;

/// The access control of a server.
#[derive(Clone, Default)]
pub struct Access {
    pub(super) mode: Mode,
    read_only: bool,
}

#[derive(Clone, Default)]
pub(super) enum Mode {
    /// Anybody may do everything.
    #[default]
    Open,
    Secrets(Arc<Secrets>),
    Rules(Arc<Rules>),
}

pub(super) struct Secrets {
    full: Box<[u8]>,
    read: Option<Box<[u8]>>,
    full_caller: Caller,
    read_caller: Caller,
}

impl Access {
    /// `secret`: asked of every client of a dialect that can carry one. `read_only`: no change is
    /// accepted.
    pub fn new(secret: Option<Vec<u8>>, read_only: bool) -> Self {
        Self::with_secrets(secret, None, read_only)
    }

    /// The same; the second secret permits reading only. It needs the first.
    pub fn with_secrets(full: Option<Vec<u8>>, read: Option<Vec<u8>>, read_only: bool) -> Self {
        let mode = full.map_or(Mode::Open, |full| {
            Mode::Secrets(Arc::new(Secrets {
                full: full.into(),
                read: read.map(Vec::into_boxed_slice),
                full_caller: Identity::Secret.into(),
                read_caller: Identity::ReadSecret.into(),
            }))
        });
        Self { mode, read_only }
    }

    /// By the rules of an access file.
    pub const fn with_rules(rules: Arc<Rules>, read_only: bool) -> Self {
        Self { mode: Mode::Rules(rules), read_only }
    }

    /// Other rules hold from now on. Only for a server that has rules.
    pub fn replace_rules(&mut self, rules: Arc<Rules>) {
        debug_assert!(self.rules().is_some(), "a server without an access file reads none again");
        self.mode = Mode::Rules(rules);
    }

    /// True if a client of a dialect that can carry a secret must show one with every request.
    pub const fn needs_secret(&self) -> bool {
        matches!(self.mode, Mode::Secrets(_))
    }

    /// True if clients may show credentials.
    pub const fn takes_credentials(&self) -> bool {
        !matches!(self.mode, Mode::Open)
    }

    /// True if a client that proves nothing is served, be it only somewhere.
    pub fn serves_anybody(&self) -> bool {
        match &self.mode {
            Mode::Open => true,
            Mode::Secrets(_) => false,
            Mode::Rules(rules) => rules.has_public(),
        }
    }

    /// The rules of the access file, if there is one.
    pub const fn rules(&self) -> Option<&Arc<Rules>> {
        if let Mode::Rules(rules) = &self.mode { Some(rules) } else { None }
    }

    /// The caller with this secret or token; `None` if it is wrong. Takes the same time wherever the first difference is.
    pub fn admit(&self, offered: &[u8], now_s: u64) -> Option<Caller> {
        match &self.mode {
            Mode::Open => Some(Caller::ANYBODY),
            Mode::Secrets(secrets) => secrets.admit(offered),
            Mode::Rules(rules) => rules.token(offered, now_s),
        }
    }

    /// The user that a trusted proxy has logged in; `None` if the access file does not permit that.
    pub fn named_by_proxy(&self, name: &str, now_s: u64) -> Option<Caller> {
        self.rules()?.named_by_proxy(name, now_s)
    }

    /// True if a certificate of a client may prove a name.
    pub fn takes_certificates(&self) -> bool {
        self.rules().is_some_and(|rules| rules.has_certificates())
    }

    /// The caller with this certificate; anybody if it has expired or is not in the access file. A connection, and a
    /// session that is resumed, may outlast the certificate.
    pub fn certified(&self, certificate: &ClientCertificate, now_s: u64) -> Caller {
        let rules = self.rules().filter(|_| now_s < certificate.expires_s);
        rules.and_then(|rules| rules.certificate(certificate.sha256, now_s)).unwrap_or_default()
    }

    /// True if a caller that was proved before may still begin a request.
    pub fn is_current(&self, caller: &Caller, now_s: u64) -> bool {
        match &self.mode {
            Mode::Open | Mode::Secrets(_) => true,
            Mode::Rules(rules) => rules.is_current(caller, now_s),
        }
    }

    /// True if every change is refused.
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What a caller at this address may do with this name.
    pub fn rights(&self, caller: &Caller, from: IpAddr, key: &Key) -> Rights {
        let rights = match &self.mode {
            Mode::Open => Rights::ALL,
            Mode::Secrets(_) if caller.identity() == Some(&Identity::ReadSecret) => READING,
            // A client of a dialect that cannot carry a secret.
            Mode::Secrets(_) => Rights::ALL,
            Mode::Rules(rules) => rules.rights(caller, from, key),
        };
        if self.read_only { rights.and(READING) } else { rights }
    }
}

const READING: Rights = Rights::READ.with(Rights::LIST);

impl Secrets {
    fn admit(&self, offered: &[u8]) -> Option<Caller> {
        let is = |secret: &[u8]| bool::from(subtle::ConstantTimeEq::ct_eq(secret, offered));
        if is(&self.full) {
            return Some(self.full_caller.clone());
        }
        self.read.as_deref().is_some_and(is).then(|| self.read_caller.clone())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret itself must never reach a log.
        f.debug_struct("Access")
            .field("needs_secret", &self.needs_secret())
            .field("has_rules", &self.rules().is_some())
            .field("read_only", &self.read_only)
            .finish()
    }
}
