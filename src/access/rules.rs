//! The rules of an access file: the rights of each caller at each name. A pure decision by names; never asks what is stored there.
//!
//! The longest prefix that has a rule decides, also if it is for another caller. Within it the rights of the caller and those
//! of anybody add up. A caller that no rule there is for has no rights.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Bound;

use sha2::{Digest as _, Sha256};

use crate::access::caller::{Caller, Identity, Proof};
use crate::access::link::{KeyDigest, Link, LinkError};
use crate::access::names::{folded, parent};
use crate::access::password::{Decision, Finding, PasswordCheck, Passwords, Verdict};
use crate::access::rights::Rights;
use crate::config::{Networks, Quota, QuotaUnit};
use crate::object::Key;

/// The rules and credentials of an access file. Shared by all that hold it, and replaced as a whole.
#[derive(Debug, Default)]
pub struct Rules {
    /// By the folded prefix: of names that a file system may take for one, at most one has rules.
    pub(super) prefixes: BTreeMap<Box<str>, Prefix>,
    pub(super) credentials: Credentials,
    /// True if a rule bounds a rate.
    pub(super) has_rates: bool,
}

/// The rules of one prefix.
#[derive(Debug)]
pub(super) struct Prefix {
    /// As it was written.
    pub exact: Box<str>,
    /// Bytes that may be stored under it.
    pub quota: Option<u64>,
    /// Files that may be there.
    pub names_max: Option<u64>,
    pub grants: Vec<Grant>,
}

/// One `allow`.
#[derive(Debug)]
pub struct Grant {
    /// `None`: anybody.
    pub name: Option<Box<str>>,
    pub rights: Rights,
    /// Only for clients in these networks.
    pub from: Option<Networks>,
    /// Bytes of one upload at most.
    pub max_size: Option<u64>,
    /// Bytes per second each way, of each client.
    pub rate: Option<u64>,
}

/// What proves a name.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// By what they prove; what is shown is hashed before it is looked up, so that the time of the look-up tells
    /// nothing of it.
    pub proofs: HashMap<Proof, Credential>,
    pub passwords: Passwords,
    /// What a correct password proves.
    pub users: HashMap<Box<str>, Proof>,
    /// Names that a trusted proxy may give.
    pub proxied: HashMap<Box<str>, Credential>,
    pub keys: HashMap<Box<str>, LinkKey>,
    /// The id of the first key of the file, which signs the links that callers ask for.
    pub signing_key: Option<Box<str>>,
    pub has_certificates: bool,
    /// Names that an entry proves.
    pub names: HashSet<Box<str>>,
}

/// A name, ready to be handed out, and until when.
#[derive(Debug)]
pub struct Credential {
    pub caller: Caller,
    /// Seconds since 1970.
    pub expires_s: Option<u64>,
}

/// A file system may take the front of a name for that of another rule than it has: no caller has rights there.
struct Misspelled;

/// What came of a user and a password that were shown.
#[derive(Debug)]
pub enum Admission {
    Caller(Caller),
    Wrong,
    /// Not known before the password is checked.
    Check(Box<PasswordCheck>),
    /// Too many passwords are being checked.
    Busy,
    /// As [`Finding::TooManyGuesses`].
    TooManyGuesses(u32),
}

/// A key that signs links.
pub struct LinkKey {
    pub id: Box<str>,
    pub secret: Box<[u8]>,
    /// What a link proves that it has signed.
    pub digest: KeyDigest,
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkKey({})", self.id)
    }
}

impl Rules {
    /// What a caller at this address may do with this name.
    pub fn rights(&self, caller: &Caller, from: IpAddr, key: &Key) -> Rights {
        self.grants(caller, from, key).fold(self.link_rights(caller, key), |rights, grant| rights | grant.rights)
    }

    /// What a link gives at this name: as a rule for its prefix would. So a rule under that decides there instead.
    fn link_rights(&self, caller: &Caller, key: &Key) -> Rights {
        let Some(link) = caller.link().filter(|link| link.covers(key) && self.knows(caller)) else {
            return Rights::NONE;
        };
        match self.deciding(key) {
            Ok(Some(prefix)) if prefix.exact.len() > link.prefix.as_str().len() => Rights::NONE,
            Ok(_) => link.rights,
            Err(Misspelled) => Rights::NONE,
        }
    }

    /// Bytes that one upload of this name may have; `None`: no bound here.
    pub fn upload_len_max(&self, caller: &Caller, from: IpAddr, key: &Key) -> Option<u64> {
        let uploads = |grant: &&Grant| grant.rights.has(Rights::CREATE) || grant.rights.has(Rights::REPLACE);
        let link = self.link_rights(caller, key);
        if link.has(Rights::CREATE) || link.has(Rights::REPLACE) {
            return None;
        }
        let mut len_max = Some(0);
        for grant in self.grants(caller, from, key).filter(uploads) {
            len_max = len_max.zip(grant.max_size).map(|(one, other)| one.max(other));
        }
        len_max
    }

    /// Bytes per second that each client may move each way under the prefix, which is returned as well; `None`: no
    /// bound here.
    pub fn rate(&self, caller: &Caller, from: IpAddr, key: &Key) -> Option<(&str, u64)> {
        if !self.has_rates {
            return None;
        }
        let prefix = self.deciding(key).ok().flatten()?;
        let rate = if self.link_rights(caller, key).is_none() {
            most_generous(self.grants(caller, from, key))
        } else {
            // The user that made the link is not known: it may be any of these.
            most_generous(prefix.grants.iter())
        }?;
        (rate > 0).then_some((&*prefix.exact, rate))
    }

    /// The rights at the nearest name above that has any, of a caller with none at this name nor under it. A name that does not
    /// exist is answered by them: so is this one, or the answer would tell that it has a rule.
    pub(super) fn rights_above(&self, caller: &Caller, from: IpAddr, key: &Key) -> Rights {
        if self.any_under(caller, from, key, |rights| !rights.is_none()) {
            return Rights::NONE; // a listing shows it
        }
        let above = std::iter::successors(parent(key.as_str()), |name| parent(name));
        let rights = above.map(|name| self.rights(caller, from, &Key::checked(name)));
        rights.into_iter().find(|rights| !rights.is_none()).unwrap_or(Rights::NONE)
    }

    /// True if one prefix decides for both names.
    pub(super) fn is_same_prefix(&self, one: &Key, other: &Key) -> bool {
        let prefix = |key| self.deciding(key).ok().flatten().map(|prefix| &*prefix.exact);
        prefix(one) == prefix(other)
    }

    /// The rules that apply.
    fn grants<'a>(&'a self, caller: &'a Caller, from: IpAddr, key: &Key) -> impl Iterator<Item = &'a Grant> {
        let applies = move |grant: &&Grant| grant.from.as_ref().is_none_or(|networks| networks.contain(from));
        self.grants_to(caller, key).filter(applies)
    }

    /// The rules for a caller, wherever it is.
    pub(super) fn grants_to<'a>(&'a self, caller: &'a Caller, key: &Key) -> impl Iterator<Item = &'a Grant> {
        let knows = self.knows(caller);
        let grants = self.deciding(key).ok().flatten().map_or(&[][..], |prefix| &prefix.grants);
        grants.iter().filter(move |grant| match &grant.name {
            None => true,
            Some(name) => knows && caller.name() == Some(&**name),
        })
    }

    /// The longest prefix with a rule.
    fn deciding(&self, key: &Key) -> Result<Option<&Prefix>, Misspelled> {
        let whole = folded(key.as_str());
        if !key.is_root() && whole.split('/').any(str::is_empty) {
            return Err(Misspelled); // such a file system has no name of dots and blanks only
        }
        let mut longest = None;
        let (mut exact, mut fold) = (Some(key.as_str()), Some(&*whole));
        while let (Some(name), Some(folded)) = (exact, fold) {
            if let Some(prefix) = self.prefixes.get(folded) {
                if &*prefix.exact != name {
                    return Err(Misspelled);
                }
                longest = longest.or(Some(prefix));
            }
            // Both have as many components.
            exact = parent(name);
            fold = if exact.is_some() { Some(parent(folded).unwrap_or_default()) } else { None };
        }
        Ok(longest)
    }

    /// The prefixes from this one on, in order.
    fn from(&self, front: &str) -> impl Iterator<Item = (&Box<str>, &Prefix)> {
        self.prefixes.range::<str, _>((Bound::Included(front), Bound::Unbounded))
    }

    /// True if a rule is for exactly this name.
    pub fn is_prefix(&self, name: &str) -> bool {
        self.prefixes.get(&*folded(name)).is_some_and(|prefix| &*prefix.exact == name)
    }

    /// True if a rule is for a name strictly under this one, however it is spelled.
    pub fn has_rule_under(&self, key: &Key) -> bool {
        let mut front = folded(key.as_str());
        if !key.is_root() {
            front.push('/');
        }
        let mut after = self.from(&front).map(|(prefix, _)| prefix);
        after.find(|prefix| !prefix.is_empty()).is_some_and(|prefix| prefix.starts_with(&front))
    }

    /// True if the caller may list a directory, or if it may list one under it and has proved a name: the listing then
    /// has only the names on the way there.
    pub fn may_list(&self, caller: &Caller, from: IpAddr, key: &Key) -> bool {
        let may_list = |rights: Rights| rights.has(Rights::LIST);
        may_list(self.rights(caller, from, key))
            || caller.name().is_some() && self.any_under(caller, from, key, may_list)
    }

    /// True if a listing shows this name to the caller: it has a right there, or under.
    pub fn shows(&self, caller: &Caller, from: IpAddr, key: &Key) -> bool {
        let has_any = |rights: Rights| !rights.is_none();
        has_any(self.rights(caller, from, key)) || self.any_under(caller, from, key, has_any)
    }

    /// True if a listing of the directory that has this name shows it to the caller.
    pub fn lists(&self, caller: &Caller, from: IpAddr, key: &Key) -> bool {
        if self.rights(caller, from, &Key::checked(key.parent())).has(Rights::LIST) {
            self.shows(caller, from, key)
        } else {
            self.may_list(caller, from, key)
        }
    }

    /// True if the caller has such rights at a prefix strictly under this name.
    fn any_under(&self, caller: &Caller, from: IpAddr, key: &Key, is_such: impl Fn(Rights) -> bool) -> bool {
        let exact = if key.is_root() { String::new() } else { format!("{}/", key.as_str()) };
        let front = folded(&exact);
        let under = self.from(&front).take_while(|(prefix, _)| prefix.starts_with(&front));
        let mut exactly = under.map(|(_, prefix)| &prefix.exact).filter(|name| name.starts_with(&exact));
        exactly.any(|name| !name.is_empty() && is_such(self.rights(caller, from, &Key::checked(name))))
    }

    /// True if what proved the caller is still in the file, though it may have expired.
    pub fn knows(&self, caller: &Caller) -> bool {
        match caller.identity() {
            None => true,
            Some(Identity::Secret | Identity::ReadSecret) => false,
            Some(Identity::Link { link, key }) => self.link_key(&link.key_id).is_some_and(|known| known.digest == *key),
            Some(Identity::Named { name, proof: Proof::Proxy }) => self.credentials.proxied.contains_key(name),
            Some(Identity::Named { name, proof }) => {
                self.credentials.proofs.get(proof).is_some_and(|credential| credential.caller.name() == Some(&**name))
            }
        }
    }

    /// True if the caller may begin a request now: what proved it is in the file and has not expired.
    pub fn is_current(&self, caller: &Caller, now_s: u64) -> bool {
        match caller.identity() {
            Some(Identity::Named { proof, .. }) if *proof != Proof::Proxy => {
                let credential = self.credentials.proofs.get(proof);
                self.knows(caller) && credential.is_some_and(|credential| credential.is_valid(now_s))
            }
            Some(Identity::Link { link, .. }) => self.knows(caller) && now_s < link.expires_s,
            _ => self.knows(caller),
        }
    }

    /// The caller with this token.
    pub fn token(&self, shown: &[u8], now_s: u64) -> Option<Caller> {
        self.proved(Proof::Token(Sha256::digest(shown).into()), now_s)
    }

    /// The caller with the client certificate of this SHA-256.
    pub fn certificate(&self, fingerprint: [u8; 32], now_s: u64) -> Option<Caller> {
        self.proved(Proof::Certificate(fingerprint), now_s)
    }

    /// The caller that this proves.
    pub fn proved(&self, proof: Proof, now_s: u64) -> Option<Caller> {
        let credential = self.credentials.proofs.get(&proof)?;
        credential.is_valid(now_s).then(|| credential.caller.clone())
    }

    /// The user of this name that a trusted proxy has identified, if the file permits that. A name that only a token,
    /// a certificate or a password proves is another, though a user of the proxy may have the same.
    pub fn named_by_proxy(&self, name: &str, now_s: u64) -> Option<Caller> {
        let credential = self.credentials.proxied.get(name)?;
        credential.is_valid(now_s).then(|| credential.caller.clone())
    }

    /// The caller with this password, or what is to be done to find out. `verdict` is that of the check that this asked for
    /// before.
    pub fn password(&self, user: &str, password: &[u8], verdict: Option<&Verdict>, now_s: u64) -> Admission {
        match self.credentials.passwords.decide(user, password, verdict) {
            Decision::Check(check) => Admission::Check(check),
            Decision::Found(Finding::Right) => {
                let proof = self.credentials.users.get(user);
                proof.and_then(|proof| self.proved(*proof, now_s)).map_or(Admission::Wrong, Admission::Caller)
            }
            Decision::Found(Finding::Wrong) => Admission::Wrong,
            Decision::Found(Finding::Busy) => Admission::Busy,
            Decision::Found(Finding::TooManyGuesses(seconds)) => Admission::TooManyGuesses(seconds),
        }
    }

    /// Those of all users.
    pub const fn passwords(&self) -> &Passwords {
        &self.credentials.passwords
    }

    /// Knows the right passwords that are known in `before`: see [`Passwords::keep`].
    pub fn keep_passwords(&mut self, before: &Self) {
        self.credentials.passwords.keep(&before.credentials.passwords);
    }

    /// Makes passwords work: see [`Passwords::set_key`].
    pub const fn set_password_key(&mut self, key: [u8; 32]) {
        self.credentials.passwords.set_key(key);
    }

    /// The holder of this link, the value of the query parameter.
    pub fn link(&self, text: &str, now_s: u64) -> Result<Caller, LinkError> {
        let link = Link::verify(text, |id| self.link_key(id).map(|key| &*key.secret), now_s)?;
        let key = self.link_key(&link.key_id).ok_or(LinkError::Wrong)?.digest;
        Ok(Identity::Link { link: Box::new(link), key }.into())
    }

    /// When what proved a named caller expires; `None` if it does not.
    pub(super) fn expiry_s(&self, caller: &Caller) -> Option<u64> {
        let credential = match caller.identity()? {
            Identity::Named { name, proof: Proof::Proxy } => self.credentials.proxied.get(name),
            Identity::Named { proof, .. } => self.credentials.proofs.get(proof),
            _ => None,
        };
        credential?.expires_s
    }

    /// The key of this id, which signs links.
    pub fn link_key(&self, id: &str) -> Option<&LinkKey> {
        self.credentials.keys.get(id)
    }

    /// The quotas, in the order of their prefixes.
    pub fn quotas(&self) -> Vec<Quota> {
        let of = |prefix: &Prefix| {
            let quota = |unit, max: Option<u64>| Some(Quota { prefix: Box::clone(&prefix.exact), unit, max: max? });
            [quota(QuotaUnit::Bytes, prefix.quota), quota(QuotaUnit::Names, prefix.names_max)]
        };
        self.prefixes.values().flat_map(of).flatten().collect()
    }

    /// Names that an entry proves, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.credentials.names.iter().map(|name| &**name)
    }

    /// A caller of this name, by one of the entries that prove it. For questions about the rules.
    pub fn as_if(&self, name: &str) -> Option<Caller> {
        let Credentials { proofs, proxied, .. } = &self.credentials;
        let callers = proofs.values().chain(proxied.values()).map(|credential| &credential.caller);
        callers.into_iter().find(|caller| caller.name() == Some(name)).cloned()
    }

    /// True if a certificate proves a name.
    pub fn has_certificates(&self) -> bool {
        self.credentials.has_certificates
    }

    /// True if a rule is for anybody.
    pub fn has_public(&self) -> bool {
        self.prefixes.values().flat_map(|prefix| &prefix.grants).any(|grant| grant.name.is_none())
    }
}

/// The largest rate of these rules; `None` if one that gives a right has none.
fn most_generous<'a>(grants: impl Iterator<Item = &'a Grant>) -> Option<u64> {
    let mut rates = grants.filter(|grant| !grant.rights.is_none()).map(|grant| grant.rate);
    rates.try_fold(0, |most: u64, rate| rate.map(|rate| most.max(rate)))
}

impl Credential {
    fn is_valid(&self, now_s: u64) -> bool {
        self.expires_s.is_none_or(|expires_s| now_s < expires_s)
    }
}
