//! The access file: one entry a line. Reads the text of it into [`Rules`], or says which line is wrong and why; never
//! opens a file.
//!
//! ```text
//! user  NAME  $argon2id$…          expires=2027-01-31      # a name that a password proves
//! user  NAME  proxy                expires=2027-01-31      # … a trusted proxy, which has asked for one
//! token NAME  sha256:HEX           expires=2027-01-31      # … a token, of which this is the SHA-256
//! cert  NAME  sha256:HEX           expires=2027-01-31      # … a client certificate
//! key   ID    base64:…                                     # signs links
//! allow NAME  rlcwd  /a/dir/    max-size=2G rate=20M from=10.0.0.0/8
//! allow @     r      "/with blanks/"  quota=50G max-names=10000   # of all that is stored there
//! ```

use std::collections::BTreeSet;
use std::fmt;

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use crate::access::caller::{Identity, Proof};
use crate::access::link::digest_of;
use crate::access::names::{folded, parent};
use crate::access::password::PasswordHash;
use crate::access::rights::Rights;
use crate::access::rules::{Credential, Grant, LinkKey, Prefix, Rules};
use crate::config::unit;
use crate::time::Utc;
use crate::wire::key;
use crate::wire::line::fingerprint;
use crate::wire::range::decimal;

/// Longest file, in bytes.
pub const FILE_LEN_MAX: usize = 256 << 10;
/// Longest name of a caller or a key, in bytes.
pub const NAME_LEN_MAX: usize = 64;
/// Most entries.
pub const ENTRIES_MAX: usize = 4096;
/// Most prefixes with a quota.
pub const QUOTAS_MAX: usize = 256;
/// Most memory of the rules of one file, in bytes: their text, and tables that are at most half empty.
pub const RULES_BYTES_MAX: usize = 3 * FILE_LEN_MAX + ENTRIES_MAX * 512;
/// Shortest and longest key that signs links, in bytes.
const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=64;

/// What is wrong with an access file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Counted from 1; 0 if it is about the file as a whole.
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "{line}: {}", self.reason),
        }
    }
}

/// Reads the text of an access file.
pub fn parse(text: &str) -> Result<Rules, FileError> {
    let whole = |reason: String| FileError { line: 0, reason };
    if text.len() > FILE_LEN_MAX {
        return Err(whole(format!("is longer than {FILE_LEN_MAX} bytes")));
    }
    let mut reading = Reading::default();
    let mut entries = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let at = |reason: String| FileError { line, reason };
        let words = words(text).map_err(|reason| at(reason.to_owned()))?;
        if words.is_empty() {
            continue;
        }
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(at(format!("there are more than {ENTRIES_MAX} entries")));
        }
        reading.entry(&words, line).map_err(at)?;
    }
    reading.finish()
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    rules: Rules,
    /// The lines of the rules, with their names and prefixes, to be checked when all is known.
    allows: Vec<(usize, Option<Box<str>>, Box<str>)>,
    /// The prefixes with a quota.
    quotas: BTreeSet<Box<str>>,
}

type Reason = String;

impl Reading {
    fn entry(&mut self, words: &[&str], line: usize) -> Result<(), Reason> {
        match *words {
            ["user", name, "proxy", ref options @ ..] => self.proxied(name, options),
            ["user", name, hash, ref options @ ..] => self.user(name, hash, options),
            ["token", name, hash, ref options @ ..] => self.credential(name, Proof::Token(digest(hash)?), options),
            ["cert", name, hash, ref options @ ..] => {
                self.rules.credentials.has_certificates = true;
                self.credential(name, Proof::Certificate(digest(hash)?), options)
            }
            ["key", id, secret] => self.key(id, secret),
            ["allow", name, rights, prefix, ref options @ ..] => self.allow(name, rights, prefix, options, line),
            ["user", ..] => Err("write: user NAME HASH [expires=DAY], or user NAME proxy [expires=DAY]".to_owned()),
            ["token" | "cert", ..] => Err(format!("write: {} NAME sha256:HEX [expires=DAY]", words[0])),
            ["key", ..] => Err("write: key ID base64:SECRET".to_owned()),
            ["allow", ..] => {
                Err("write: allow NAME RIGHTS /PREFIX/ [max-size=BYTES] [quota=BYTES] [max-names=N] [rate=BYTES] [from=NETWORK,…]"
                    .to_owned())
            }
            _ => Err(format!("{:?} is none of user, token, cert, key and allow", words[0])),
        }
    }

    fn user(&mut self, name: &str, hash: &str, options: &[&str]) -> Result<(), Reason> {
        let parsed = PasswordHash::parse(hash)
            .map_err(|why| format!("{why}: a password is kept as $argon2id$…, as filewharf passwd writes it"))?;
        if !self.rules.credentials.passwords.add(name, parsed) {
            return Err(format!("{name} has a password already"));
        }
        let proof =
            Proof::Password(Sha256::new().chain_update(name).chain_update(" ").chain_update(hash).finalize().into());
        self.credential(name, proof, options)?;
        self.rules.credentials.users.insert(name.into(), proof);
        Ok(())
    }

    fn proxied(&mut self, name: &str, options: &[&str]) -> Result<(), Reason> {
        let credential = credential(name, Proof::Proxy, options)?;
        let credentials = &mut self.rules.credentials;
        if credentials.proxied.insert(name.into(), credential).is_some() {
            return Err(format!("{name} may be named by a proxy already"));
        }
        credentials.names.insert(name.into());
        Ok(())
    }

    fn credential(&mut self, name: &str, proof: Proof, options: &[&str]) -> Result<(), Reason> {
        let credential = credential(name, proof, options)?;
        let credentials = &mut self.rules.credentials;
        if credentials.proofs.insert(proof, credential).is_some() {
            return Err("another entry has the same hash".to_owned());
        }
        credentials.names.insert(name.into());
        Ok(())
    }

    fn key(&mut self, id: &str, secret: &str) -> Result<(), Reason> {
        check_name(id)?;
        let wrong = "a key is base64: and 16 to 64 random bytes, for example from: openssl rand -base64 32";
        let text = secret.strip_prefix("base64:").ok_or(wrong)?;
        let secret = Base64::decode_vec(text).ok().filter(|key| KEY_LEN.contains(&key.len())).ok_or(wrong)?;
        let key = LinkKey { id: id.into(), digest: digest_of(&secret), secret: secret.into() };
        self.rules.credentials.signing_key.get_or_insert_with(|| id.into());
        match self.rules.credentials.keys.insert(id.into(), key) {
            None => Ok(()),
            Some(_) => Err(format!("there is a key {id} already")),
        }
    }

    fn allow(&mut self, name: &str, rights: &str, prefix: &str, options: &[&str], line: usize) -> Result<(), Reason> {
        let name = if name == "@" { None } else { Some(name.into()) };
        let rights = Rights::parse(rights)
            .ok_or_else(|| format!("{rights:?} are no rights: write the letters of r l c w d, or - for none"))?;
        let exact = key::absolute(prefix).map_err(|failure| format!("{prefix:?}: {failure}"))?.key;
        let folded = folded(exact.as_str());
        if !exact.is_root() && folded.split('/').any(str::is_empty) {
            return Err(format!("{prefix:?}: a name of dots and blanks only can have no rule"));
        }
        let (mut quota, mut names_max) = (None, None);
        let mut grant = Grant { name: name.clone(), rights, from: None, max_size: None, rate: None };
        for option in options {
            match option.split_once('=') {
                Some(("from", networks)) if grant.from.is_none() => {
                    grant.from = Some(networks.parse().map_err(|error| format!("{option}: {error}"))?);
                }
                Some(("max-size", size)) if grant.max_size.is_none() => grant.max_size = Some(bytes("max-size", size)?),
                Some(("quota", size)) if quota.is_none() => quota = Some(bytes("quota", size)?),
                Some(("max-names", count)) if names_max.is_none() => {
                    let count = decimal(count).ok_or_else(|| format!("{option} is not a number of files"))?;
                    names_max = Some(count);
                }
                Some(("rate", rate)) if grant.rate.is_none() => {
                    let rate = unit::bytes(rate).filter(|rate| *rate > 0);
                    grant.rate =
                        Some(rate.ok_or_else(|| format!("{option} is not a number of bytes per second, such as 20M"))?);
                    self.rules.has_rates = true;
                }
                Some(("from" | "max-size" | "max-names" | "quota" | "rate", _)) => {
                    return Err(format!("{option}: is given twice"));
                }
                _ => {
                    return Err(format!(
                        "{option:?} is no option here, only from=, max-size=, max-names=, quota= and rate="
                    ));
                }
            }
        }
        self.allows.push((line, name, exact.as_str().into()));
        if quota.or(names_max).is_some() {
            self.quotas.insert(exact.as_str().into());
            if self.quotas.len() > QUOTAS_MAX {
                return Err(format!("there are more than {QUOTAS_MAX} prefixes with a quota"));
            }
        }
        let fresh = || Prefix { exact: exact.as_str().into(), quota: None, names_max: None, grants: Vec::new() };
        let there = self.rules.prefixes.entry(folded.into()).or_insert_with(fresh);
        if &*there.exact != exact.as_str() {
            return Err(format!("/{} and {exact} are one name where the file system ignores case", there.exact));
        }
        for (known, given) in [(&mut there.quota, quota), (&mut there.names_max, names_max)] {
            if known.zip(given).is_some_and(|(known, given)| known != given) {
                return Err(format!("{exact} has another quota already: a prefix has one, for all that store there"));
            }
            *known = known.or(given);
        }
        there.grants.push(grant);
        Ok(())
    }

    /// Checks what only the whole file shows.
    fn finish(self) -> Result<Rules, FileError> {
        for (line, name, prefix) in self.allows {
            let wrong = |reason| Err(FileError { line, reason });
            if let Some(name) = name.filter(|name| !self.rules.credentials.names.contains(name)) {
                return wrong(format!("no user, token or cert has the name {name}"));
            }
            let mut front = parent(&prefix);
            while let Some(name) = front {
                if let Some(other) = self.rules.prefixes.get(&*folded(name)).filter(|other| &*other.exact != name) {
                    let other = &other.exact;
                    return wrong(format!("/{other} and /{name} are one name where the file system ignores case"));
                }
                front = parent(name);
            }
        }
        Ok(self.rules)
    }
}

/// The words of a line. One in quotes may have blanks and #; what is after a word that begins with # is a comment.
pub fn words(line: &str) -> Result<Vec<&str>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        if !tail.is_empty() && !tail.starts_with(char::is_whitespace) {
            return Err("a blank is missing after a quote");
        }
        words.push(word);
        rest = tail.trim_start();
    }
    if key::has_control(&line.replace('\t', " ")) { Err("the line has control characters") } else { Ok(words) }
}

fn credential(name: &str, proof: Proof, options: &[&str]) -> Result<Credential, Reason> {
    check_name(name)?;
    let mut expires_s = None;
    for option in options {
        match option.split_once('=') {
            Some(("expires", _)) if expires_s.is_some() => return Err("expires= is given twice".to_owned()),
            Some(("expires", day)) => {
                expires_s = Some(Utc::parse_day(day).ok_or("expires= takes a day such as 2027-01-31")?);
            }
            _ => return Err(format!("{option:?} is no option here, only expires=")),
        }
    }
    Ok(Credential { caller: Identity::Named { name: name.into(), proof }.into(), expires_s })
}

/// True for what may be the name of a caller or a key.
pub fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
    !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.starts_with(['@', '-']) && name.bytes().all(good)
}

fn check_name(name: &str) -> Result<(), Reason> {
    if !is_name(name) {
        return Err(format!(
            "{name:?} is no name: at most {NAME_LEN_MAX} letters, digits and . _ - + @, no @ or - at first"
        ));
    }
    Ok(())
}

/// `sha256:` and 64 hex digits; colons between them, as openssl writes fingerprints, are skipped.
fn digest(text: &str) -> Result<[u8; 32], Reason> {
    let wrong = "write sha256: and 64 hex digits, for example from: printf %s SECRET | sha256sum";
    Ok(text.strip_prefix("sha256:").and_then(fingerprint).ok_or(wrong)?)
}

fn bytes(option: &str, text: &str) -> Result<u64, Reason> {
    unit::bytes(text).ok_or_else(|| format!("{option}={text} is not a number of bytes such as 500M or 2G"))
}
