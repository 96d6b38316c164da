//! Passwords of the access file: their argon2id hashes (RFC 9106), and which ones are known to be right.
//!
//! A hash is never computed here on the loop: [`Passwords::decide`] answers from what is known, or hands out a
//! [`PasswordCheck`] for the worker that has the memory. No password is kept, and a wrong one is not remembered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::ids::ClientAddress;
use crate::wire::range::decimal;

/// Most memory that a hash may take, in KiB: one worker has it once.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;
const SALT_LEN_MAX: usize = 64;
const HASH_LEN_MAX: usize = 64;
/// What `filewharf passwd` takes: the parameters that OWASP recommends, and 20 ms of a core.
const DEFAULT_KIB: u32 = 19_456;
const DEFAULT_PASSES: u32 = 2;

/// HMAC-SHA256 of a user, the hash of its password and a password, under a key that no other process has.
type Tag = [u8; 32];

/// One argon2id hash with its parameters.
#[derive(Clone)]
pub struct PasswordHash {
    params: Params,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl PasswordHash {
    /// Reads `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('$');
        let mut next = || parts.next().unwrap_or_default();
        if !next().is_empty() || next() != "argon2id" {
            return Err("the hash does not begin with $argon2id$");
        }
        if next() != "v=19" {
            return Err("the version of the hash is not v=19");
        }
        let mut numbers = next().split(',');
        let mut number = |name: &str, max: u32| {
            let digits = numbers.next()?.strip_prefix(name)?.strip_prefix('=')?;
            decimal(digits).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= max)
        };
        let memory = number("m", MEMORY_KIB_MAX).ok_or("m= is not a number up to 262144 (KiB)")?;
        let passes = number("t", PASSES_MAX).ok_or("t= is not a number up to 16")?;
        let lanes = number("p", LANES_MAX).ok_or("p= is not a number up to 16")?;
        if numbers.next().is_some() {
            return Err("the hash has parameters beside m, t and p");
        }
        let salt = Base64Unpadded::decode_vec(next()).map_err(|_| "the salt is not base64 without padding")?;
        let hash = Base64Unpadded::decode_vec(next()).map_err(|_| "the hash is not base64 without padding")?;
        if parts.next().is_some() {
            return Err("there is text after the hash");
        }
        if !(argon2::MIN_SALT_LEN..=SALT_LEN_MAX).contains(&salt.len()) {
            return Err("the salt does not have 8 to 64 bytes");
        }
        if !(16..=HASH_LEN_MAX).contains(&hash.len()) {
            return Err("the hash does not have 16 to 64 bytes");
        }
        let params = Params::new(memory, passes, lanes, Some(hash.len()))
            .map_err(|_| "m, t or p is too small: t and p are at least 1, and m at least 8 times p")?;
        Ok(Self { params, salt: salt.into(), hash: hash.into() })
    }

    /// The hash of a new password.
    pub fn of(password: &[u8], salt: [u8; 16]) -> Self {
        let params = Params::new(DEFAULT_KIB, DEFAULT_PASSES, 1, Some(32)).expect("these parameters are valid");
        let mut made = Self { params, salt: salt.into(), hash: [0; 32].into() };
        made.hash = made.compute(password, &mut WorkMemory::default()).expect("salt and lengths are valid");
        made
    }

    /// Memory that a check takes, in bytes.
    pub fn memory(&self) -> usize {
        self.params.block_count() * Block::SIZE
    }

    fn compute(&self, password: &[u8], memory: &mut WorkMemory) -> Option<Box<[u8]>> {
        let mut hash = vec![0; self.hash.len()].into_boxed_slice();
        let blocks = memory.blocks(self.params.block_count());
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
            .hash_password_into_with_memory(password, &self.salt, &mut hash, blocks)
            .ok()?;
        Some(hash)
    }

    /// True if this is the password. Takes tens of milliseconds.
    pub fn matches(&self, password: &[u8], memory: &mut WorkMemory) -> bool {
        self.compute(password, memory).is_some_and(|hash| self.hash.ct_eq(&hash).into())
    }
}

/// As [`PasswordHash::parse`] reads it.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, passes, lanes) = (self.params.m_cost(), self.params.t_cost(), self.params.p_cost());
        let [salt, hash] = [&self.salt, &self.hash].map(|bytes| Base64Unpadded::encode_string(bytes));
        write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash in a log could be guessed at.
        f.debug_struct("PasswordHash").finish_non_exhaustive()
    }
}

/// The memory of argon2id, for one check after the other.
#[derive(Debug, Default)]
pub struct WorkMemory(Vec<Block>);

impl WorkMemory {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0 = Vec::new(); // before the new one: never both
            self.0.resize(count, Block::new());
        }
        &mut self.0[..count]
    }
}

/// One password for the worker to check. The password is overwritten when this is dropped.
#[derive(Clone)]
pub struct PasswordCheck {
    /// The client that has shown it.
    pub client: ClientAddress,
    tag: Tag,
    password: Zeroizing<Box<[u8]>>,
    hash: Arc<PasswordHash>,
    /// False for a user that does not exist: the check takes as long, and fails.
    is_known: bool,
}

impl PasswordCheck {
    /// Computes the hash, which takes tens of milliseconds.
    pub fn run(&self, memory: &mut WorkMemory) -> Verdict {
        let is_equal = self.hash.matches(&self.password, memory);
        self.verdict(if is_equal & self.is_known { Finding::Right } else { Finding::Wrong })
    }

    /// The verdict without a check.
    pub const fn verdict(&self, finding: Finding) -> Verdict {
        Verdict { tag: self.tag, client: self.client, finding }
    }
}

/// For tests of what a dialect asked: true for the same user and password.
impl PartialEq for PasswordCheck {
    fn eq(&self, other: &Self) -> bool {
        self.tag.ct_eq(&other.tag).into()
    }
}

impl Eq for PasswordCheck {}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").finish_non_exhaustive()
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Right,
    Wrong,
    /// There was no check: as many as may wait for the worker are waiting.
    Busy,
    /// There was no check: the client address has shown too many wrong passwords, and may try again in this many
    /// seconds.
    TooManyGuesses(u32),
}

/// What came of a check. Says nothing about any other user or password, nor to any other access file.
#[derive(Clone)]
pub struct Verdict {
    tag: Tag,
    /// As in the check.
    pub client: ClientAddress,
    pub finding: Finding,
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict").field("finding", &self.finding).finish_non_exhaustive()
    }
}

/// What [`Passwords::decide`] knows of a user and a password.
#[derive(Debug)]
pub enum Decision {
    Found(Finding),
    /// Not known yet.
    Check(Box<PasswordCheck>),
}

#[derive(Debug)]
struct KnownHash {
    hash: Arc<PasswordHash>,
    /// Of the text of the hash.
    digest: [u8; 32],
    /// Of the password, once it has been shown and found right. A user has one: so this cache has a bound.
    right: OnceLock<Tag>,
}

/// The passwords of one access file.
#[derive(Default)]
pub struct Passwords {
    /// Random, and used for nothing else. Without it no password is right.
    key: Option<[u8; 32]>,
    users: BTreeMap<Box<str>, KnownHash>,
}

impl Passwords {
    /// A user with this hash. False if there is one of this name already.
    pub fn add(&mut self, user: &str, hash: PasswordHash) -> bool {
        let is_new = !self.users.contains_key(user);
        if is_new {
            let digest = Sha256::digest(hash.to_string()).into();
            self.users.insert(user.into(), KnownHash { hash: Arc::new(hash), digest, right: OnceLock::new() });
        }
        is_new
    }

    /// Without 32 random bytes that nothing else uses, no password is right.
    pub const fn set_key(&mut self, key: [u8; 32]) {
        self.key = Some(key);
    }

    /// Knows the passwords that are known to be right in `before`, of users that have the same hash there.
    pub fn keep(&mut self, before: &Self) {
        self.key = before.key;
        for (user, known) in &self.users {
            let same = before.users.get(user).filter(|old| old.digest == known.digest);
            if let Some(right) = same.and_then(|old| old.right.get()) {
                let _ = known.right.set(*right); // nothing is known yet
            }
        }
    }

    /// True if there is no user: then no password is right.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Memory that the largest check takes, in bytes; at least that of a new hash, as a user may be added later.
    pub fn memory(&self) -> usize {
        let new = DEFAULT_KIB as usize * 1024;
        self.users.values().map(|user| user.hash.memory()).fold(new, usize::max)
    }

    /// Whether this is the password of this user. `verdict` is that of the check that this asked for last, if there
    /// was one.
    pub fn decide(&self, user: &str, password: &[u8], verdict: Option<&Verdict>) -> Decision {
        let known = self.users.get(user);
        let Some((checked, tag)) = known
            .or_else(|| self.stand_in(user))
            .and_then(|checked| Some((checked, self.tag(user, checked, known.is_some(), password)?)))
        else {
            return Decision::Found(Finding::Wrong);
        };
        if known.and_then(|known| known.right.get()).is_some_and(|right| right.ct_eq(&tag).into()) {
            return Decision::Found(Finding::Right);
        }
        if let Some(verdict) = verdict
            && verdict.tag.ct_eq(&tag).into()
        {
            if let (Some(known), Finding::Right) = (known, verdict.finding) {
                // It can only be set already to the same: a hash has one password.
                let _ = known.right.set(tag);
            }
            return Decision::Found(verdict.finding);
        }
        Decision::Check(Box::new(PasswordCheck {
            client: ClientAddress::OTHERS,
            tag,
            password: Zeroizing::new(password.into()),
            hash: Arc::clone(&checked.hash),
            is_known: known.is_some(),
        }))
    }

    /// The user of the hash that is computed in place of that of a user that does not exist: always the same one, so that
    /// the time tells nothing where users have hashes of different cost.
    fn stand_in(&self, user: &str) -> Option<&KnownHash> {
        let tag = self.mac(&[user.as_bytes()])?;
        let number = u64::from_le_bytes(*tag.first_chunk().expect("a tag has more than 8 bytes"));
        self.users.values().nth(usize::try_from(number % (self.users.len().max(1) as u64)).unwrap_or(0))
    }

    /// A verdict about one hash must say nothing about the next one of the same user: the file may be read again
    /// while a password is checked.
    fn tag(&self, user: &str, checked: &KnownHash, is_known: bool, password: &[u8]) -> Option<Tag> {
        self.mac(&[user.as_bytes(), &checked.digest, &[u8::from(is_known)], password])
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Tag> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref()?).expect("HMAC takes keys of every length");
        for part in parts {
            // With the length before each, no others are the same bytes.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Some(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
