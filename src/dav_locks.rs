//! The locks of WebDAV (RFC 4918 §6, §7): what binds changes of a name. A lock binds the writes of every dialect, so they are asked
//! where an operation passes to the store. Never reads a clock and never waits.
//!
//! Bounded by number, by memory and for each client, since a client may lock what it has never seen.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::error::Failure;
use crate::ids::{ClientAddress, ConnId};
use crate::object::Key;

/// Most locks, bytes of what they hold, and locks of one client.
pub const LOCKS_MAX: usize = 10_000;
pub const LOCKS_BYTES_MAX: usize = 4 * 1024 * 1024;
const LOCKS_PER_CLIENT: usize = LOCKS_MAX / 10;
/// Most shared locks that bind one name: each is looked at for a write, and shown in a listing.
const SHARED_MAX: usize = 16;
/// What a lock takes besides its texts, roughly.
const LOCK_BYTES: usize = 384;
/// Longest time of a lock, in seconds.
pub const TIMEOUT_S_MAX: u64 = 3600;
/// Most bytes that its owner may be described with.
pub const OWNER_LEN_MAX: usize = 2048;

/// Names a lock, and is the proof of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockToken(pub [u8; 16]);

const SCHEME: &str = "opaquelocktoken:";

impl LockToken {
    /// The one of this number of a process, of which `secret` is not known to others.
    pub fn of(secret: &[u8; 16], number: u64) -> Self {
        let digest = Sha256::new().chain_update(secret).chain_update(number.to_be_bytes()).finalize();
        let mut token = [0; 16];
        token.copy_from_slice(&digest[..16]);
        Self(token)
    }

    /// As a client shows it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let (mut digits, uuid) = (0, text.strip_prefix(SCHEME)?);
        for (place, c) in uuid.char_indices() {
            match (place, c) {
                (8 | 13 | 18 | 23, '-') => {}
                (8 | 13 | 18 | 23, _) => return None,
                (_, c) if digits < 32 => {
                    let digit = u8::try_from(c.to_digit(16)?).ok()?;
                    bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
                    digits += 1;
                }
                _ => return None,
            }
        }
        (digits == 32).then_some(Self(bytes))
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        for (place, byte) in self.0.iter().enumerate() {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Exclusive,
    Shared,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavLock {
    pub token: LockToken,
    /// Its root.
    pub key: Key,
    pub scope: Scope,
    /// With all that is under its root.
    pub is_deep: bool,
    /// What the client says of its owner, in XML; empty if nothing.
    pub owner: Box<str>,
    /// The name that the client has proved; empty if none. The token is of no use to others.
    pub user: Box<str>,
    /// Seconds since 1970.
    pub expires_s: u64,
}

impl DavLock {
    fn bytes(&self) -> usize {
        LOCK_BYTES + 2 * self.key.as_str().len() + self.owner.len() + self.user.len()
    }

    /// True if this is a lock of what has this name.
    pub fn covers(&self, key: &Key) -> bool {
        self.key == *key || self.is_deep && self.key.is_above(key)
    }
}

/// What is about to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub key: &'a Key,
    /// The name may be made or removed, and not only what it stands for be changed.
    pub is_of_name: bool,
    /// With all that is under it.
    pub is_deep: bool,
}

/// Why a lock is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The root of the lock that is in its way.
    Conflict(Key),
    Full,
}

#[derive(Debug)]
struct Kept {
    lock: DavLock,
    client: ClientAddress,
}

/// What an operation of the store makes durable.
#[derive(Debug)]
enum UnderWay {
    Grant,
    /// A new time of a lock; with the time before.
    Renewal(u64),
}

/// What a request is about to change, and the locks it has shown: for a process that does not know all locks.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As in [`Change`]: the name, whether the name itself is changed, and all below.
    changes: Vec<(Key, bool, bool)>,
    tokens: Box<[LockToken]>,
    user: Box<str>,
}

impl Shown {
    /// `None` where nothing is changed.
    pub fn of(changes: [Option<Change<'_>>; 2], tokens: &[LockToken], user: &str) -> Option<Self> {
        let owned = |change: Change<'_>| (change.key.clone(), change.is_of_name, change.is_deep);
        let changes: Vec<_> = changes.into_iter().flatten().map(owned).collect();
        (!changes.is_empty()).then(|| Self { changes, tokens: tokens.into(), user: user.into() })
    }

    /// Fails if one of these locks is in the way, or if one that was shown is not among them.
    pub fn check(&self, locks: Vec<DavLock>) -> Result<(), Failure> {
        if !self.tokens.iter().all(|token| locks.iter().any(|lock| lock.token == *token)) {
            return Err(Failure::PreconditionFailed);
        }
        let mut all = DavLocks::default();
        all.offer(locks);
        let is_blocked = self.changes.iter().any(|(key, is_of_name, is_deep)| {
            let change = Change { key, is_of_name: *is_of_name, is_deep: *is_deep };
            all.blocks(change, &self.tokens, &self.user).is_some()
        });
        if is_blocked { Err(Failure::Protected) } else { Ok(()) }
    }
}

/// All locks.
#[derive(Debug, Default)]
pub struct DavLocks {
    /// False where another server could change what is locked.
    is_offered: bool,
    by_key: BTreeMap<Key, Vec<Kept>>,
    len: usize,
    bytes: usize,
    /// When the first one expires at the earliest.
    next_expiry_s: Option<u64>,
    /// By the connection that waits for it.
    under_way: BTreeMap<ConnId, (Key, LockToken, UnderWay)>,
}

impl DavLocks {
    /// Locks are granted from now on. `kept`: those there are, whichever process has granted them.
    pub fn offer(&mut self, kept: Vec<DavLock>) {
        *self = Self { is_offered: true, ..Self::default() };
        for lock in kept {
            if self.len < LOCKS_MAX && self.bytes + lock.bytes() <= LOCKS_BYTES_MAX {
                self.insert(lock, ClientAddress::OTHERS);
            }
        }
    }

    pub const fn are_offered(&self) -> bool {
        self.is_offered
    }

    pub fn is_empty(&self) -> bool {
        !cfg!(feature = "webdav") || self.len == 0
    }

    /// The locks of what has this name.
    pub fn covering<'a, 'k>(&'a self, key: &'k Key) -> impl Iterator<Item = &'a DavLock> + use<'a, 'k> {
        self.at_or_above(key).filter(move |lock| lock.covers(key))
    }

    /// The locks at this name and at those above it, whatever their depth.
    fn at_or_above<'a>(&'a self, key: &Key) -> impl Iterator<Item = &'a DavLock> + use<'a> {
        let mut next = if self.is_empty() { None } else { Some(key.clone()) };
        let keys = std::iter::from_fn(move || {
            let key = next.take()?;
            next = (!key.is_root()).then(|| Key::checked(key.parent()));
            Some(key)
        });
        keys.filter_map(|key| self.by_key.get(&key)).flatten().map(|held| &held.lock)
    }

    fn under<'a, 'k>(&'a self, key: &'k Key) -> impl Iterator<Item = &'a DavLock> + use<'a, 'k> {
        let after = self.by_key.range::<Key, _>(key..).skip_while(move |(other, _)| *other == key);
        let inside = after.take_while(move |(other, _)| other.as_str().starts_with(key.as_str()));
        inside.filter(move |(other, _)| key.is_above(other)).flat_map(|(_, held)| held.iter().map(|held| &held.lock))
    }

    /// A lock that is in the way of a change; `tokens` were shown by this user.
    pub fn blocks(&self, change: Change<'_>, tokens: &[LockToken], user: &str) -> Option<&DavLock> {
        if self.is_empty() {
            return None;
        }
        let Change { key, is_of_name, is_deep } = change;
        let above = Key::checked(key.parent());
        let is_own = |lock: &DavLock| tokens.contains(&lock.token) && *lock.user == *user;
        let of_dir = self.at_or_above(key).filter(|lock| is_of_name && !key.is_root() && lock.key == above);
        // Of shared locks of one root, any is enough.
        let mut in_the_way = self.covering(key).chain(of_dir);
        let is_passed = |lock: &DavLock| {
            let others = self.by_key.get(&lock.key).into_iter().flatten();
            is_own(lock) || lock.scope == Scope::Shared && others.map(|held| &held.lock).any(is_own)
        };
        let found = in_the_way.find(|lock| !is_passed(lock));
        found.or_else(|| if is_deep { self.under(key).find(|lock| !is_passed(lock)) } else { None })
    }

    /// Grants a lock, which is not durable yet.
    pub fn grant(&mut self, conn: ConnId, lock: DavLock, client: ClientAddress) -> Result<(), Refused> {
        let excludes = |other: &DavLock| lock.scope == Scope::Exclusive || other.scope == Scope::Exclusive;
        let conflict = self.covering(&lock.key).find(|other| excludes(other));
        let conflict =
            conflict.or_else(|| if lock.is_deep { self.under(&lock.key).find(|other| excludes(other)) } else { None });
        if let Some(other) = conflict {
            return Err(Refused::Conflict(other.key.clone()));
        }
        let under = self.under(&lock.key).take(if lock.is_deep { SHARED_MAX } else { 0 });
        let of_name = self.covering(&lock.key).chain(under).take(SHARED_MAX).count();
        let of_client = self.by_key.values().flatten().filter(|held| held.client == client).count();
        let is_full = self.len >= LOCKS_MAX || self.bytes + lock.bytes() > LOCKS_BYTES_MAX;
        if is_full || of_client >= LOCKS_PER_CLIENT || of_name >= SHARED_MAX {
            return Err(Refused::Full);
        }
        self.under_way.insert(conn, (lock.key.clone(), lock.token, UnderWay::Grant));
        self.insert(lock, client);
        Ok(())
    }

    fn insert(&mut self, lock: DavLock, client: ClientAddress) {
        self.len += 1;
        self.bytes += lock.bytes();
        self.next_expiry_s = Some(self.next_expiry_s.map_or(lock.expires_s, |next| next.min(lock.expires_s)));
        self.by_key.entry(lock.key.clone()).or_insert_with(|| Vec::with_capacity(1)).push(Kept { lock, client });
    }

    /// A lock with this token that covers this name, and that this user may use.
    pub fn find(&self, key: &Key, token: LockToken, user: &str) -> Option<&DavLock> {
        self.covering(key).find(|lock| lock.token == token && *lock.user == *user)
    }

    fn held_mut(&mut self, key: &Key, token: LockToken) -> Option<&mut Kept> {
        self.by_key.get_mut(key)?.iter_mut().find(|held| held.lock.token == token)
    }

    /// A lock has another time from now on, which is not durable yet. False if it is gone.
    pub fn renew(&mut self, conn: ConnId, lock: &DavLock) -> bool {
        let Some(held) = self.held_mut(&lock.key, lock.token) else { return false };
        let before = std::mem::replace(&mut held.lock.expires_s, lock.expires_s);
        self.next_expiry_s = self.next_expiry_s.map(|next| next.min(lock.expires_s));
        self.under_way.insert(conn, (lock.key.clone(), lock.token, UnderWay::Renewal(before)));
        true
    }

    /// True while no operation makes a lock durable.
    pub fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The operation of a connection has ended that makes a lock durable, or a new time of one; or any other. Its lock,
    /// if that does not stand now.
    pub fn ended(&mut self, conn: ConnId, is_durable: bool) -> Option<LockToken> {
        let (key, token, under_way) = self.under_way.remove(&conn)?;
        match under_way {
            UnderWay::Grant if !is_durable => {
                self.remove(&key, token);
            }
            UnderWay::Renewal(before) if !is_durable => {
                if let Some(held) = self.held_mut(&key, token) {
                    held.lock.expires_s = before;
                }
            }
            UnderWay::Grant | UnderWay::Renewal(_) => {}
        }
        self.held_mut(&key, token).is_none().then_some(token)
    }

    /// Ends the lock with this token and root.
    pub fn remove(&mut self, key: &Key, token: LockToken) -> Option<DavLock> {
        let all = self.by_key.get_mut(key)?;
        let at = all.iter().position(|held| held.lock.token == token)?;
        let lock = all.swap_remove(at).lock;
        if all.is_empty() {
            self.by_key.remove(key);
        }
        self.len -= 1;
        self.bytes -= lock.bytes();
        Some(lock)
    }

    /// The locks with a root under this name, and with `itself` at it: what they are for is about to be gone.
    pub fn roots(&self, key: &Key, itself: bool) -> Vec<(Key, LockToken)> {
        if self.is_empty() {
            return Vec::new();
        }
        let at = self.by_key.get(key).filter(|_| itself).into_iter().flatten().map(|held| &held.lock);
        at.chain(self.under(key)).map(|lock| (lock.key.clone(), lock.token)).collect()
    }

    /// Ends those that have expired.
    pub fn expire(&mut self, now_s: u64) -> Vec<LockToken> {
        if self.next_expiry_s.is_none_or(|next| next > now_s) {
            return Vec::new();
        }
        let over = self.by_key.values().flatten().filter(|held| held.lock.expires_s <= now_s);
        let over: Vec<_> = over.map(|held| (held.lock.key.clone(), held.lock.token)).collect();
        for (key, token) in &over {
            self.remove(key, *token);
        }
        self.next_expiry_s = self.by_key.values().flatten().map(|held| held.lock.expires_s).min();
        over.into_iter().map(|(_, token)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId::new(1, 1);

    fn key(path: &str) -> Key {
        crate::wire::key::absolute(&format!("/{path}")).expect("a path").key
    }

    fn lock(n: u8, path: &str, scope: Scope, is_deep: bool) -> DavLock {
        let (owner, user) = (Box::default(), "anna".into());
        DavLock { token: LockToken([n; 16]), key: key(path), scope, is_deep, owner, user, expires_s: 100 }
    }

    fn locks(all: &[(u8, &str, Scope, bool)]) -> DavLocks {
        let mut locks = DavLocks::default();
        for (n, path, scope, is_deep) in all {
            let granted = locks.grant(CONN, lock(*n, path, *scope, *is_deep), ClientAddress::OTHERS);
            assert_eq!(granted, Ok(()), "{path}");
            locks.ended(CONN, true);
        }
        locks
    }

    fn blocks(locks: &DavLocks, path: &str, is_of_name: bool, is_deep: bool, tokens: &[u8]) -> bool {
        let (key, tokens) = (key(path), tokens.iter().map(|n| LockToken([*n; 16])).collect::<Vec<_>>());
        locks.blocks(Change { key: &key, is_of_name, is_deep }, &tokens, "anna").is_some()
    }

    #[test]
    fn a_lock_binds_its_root_and_what_is_under_it_if_it_is_deep() {
        let locks = locks(&[(1, "a/b", Scope::Exclusive, true), (2, "c", Scope::Exclusive, false)]);
        for (path, wanted) in
            [("a/b", true), ("a/b/c/d", true), ("a/bc", false), ("a", false), ("c", true), ("c/d", false)]
        {
            assert_eq!(blocks(&locks, path, false, false, &[]), wanted, "{path}");
            assert!(!blocks(&locks, path, false, false, &[1, 2]), "{path}");
        }
        // Names in a directory belong to it, and what is removed goes with all that is in it.
        assert!(blocks(&locks, "c/d", true, false, &[1]) && !blocks(&locks, "c/d/e", true, false, &[]));
        assert!(blocks(&locks, "a", true, true, &[2]) && !blocks(&locks, "a", true, true, &[1]));
        assert!(blocks(&locks, "", false, true, &[1]));
    }

    #[test]
    fn a_token_is_worth_nothing_to_another_user() {
        let locks = locks(&[(1, "a", Scope::Exclusive, false)]);
        let (key, token) = (key("a"), LockToken([1; 16]));
        let change = Change { key: &key, is_of_name: false, is_deep: false };
        assert!(locks.blocks(change, &[token], "bob").is_some() && locks.blocks(change, &[token], "anna").is_none());
        assert!(locks.find(&key, token, "bob").is_none() && locks.find(&key, token, "anna").is_some());
    }

    #[test]
    fn shared_locks_stand_together_and_any_of_them_opens() {
        let mut locks = locks(&[(1, "a", Scope::Shared, true), (2, "a", Scope::Shared, true)]);
        assert!(!blocks(&locks, "a/f", true, false, &[2]) && blocks(&locks, "a/f", true, false, &[3]));
        let exclusive = lock(3, "a/f", Scope::Exclusive, false);
        assert_eq!(locks.grant(CONN, exclusive, ClientAddress::OTHERS), Err(Refused::Conflict(key("a"))));
        let above = lock(3, "", Scope::Exclusive, true);
        assert_eq!(locks.grant(CONN, above.clone(), ClientAddress::OTHERS), Err(Refused::Conflict(key("a"))));
        assert_eq!(locks.grant(CONN, DavLock { is_deep: false, ..above }, ClientAddress::OTHERS), Ok(()));
    }

    #[test]
    fn a_lock_counts_at_once_and_not_if_it_cannot_be_kept() {
        let mut locks = DavLocks::default();
        let granted = locks.grant(CONN, lock(1, "a", Scope::Exclusive, false), ClientAddress::OTHERS);
        assert!(granted.is_ok() && blocks(&locks, "a", false, false, &[]));
        assert_eq!(locks.ended(CONN, false), Some(LockToken([1; 16])));
        assert!(locks.is_empty() && locks.under_way.is_empty() && locks.bytes == 0);
    }

    #[test]
    fn a_lock_ends_with_its_time_its_token_or_what_it_is_for() {
        let mut locks = locks(&[
            (1, "a", Scope::Exclusive, true),
            (2, "b/c", Scope::Exclusive, false),
            (3, "d", Scope::Shared, false),
        ]);
        let longer = DavLock { expires_s: 200, ..lock(3, "d", Scope::Shared, false) };
        assert!(locks.renew(CONN, &longer) && !locks.is_settled());
        assert_eq!(locks.ended(CONN, true), None);
        assert_eq!(locks.roots(&key("b/c"), false), []);
        assert_eq!(locks.roots(&key("b"), true), [(key("b/c"), LockToken([2; 16]))]);
        assert!(locks.remove(&key("b/c"), LockToken([2; 16])).is_some());
        assert_eq!(locks.expire(99), []);
        assert_eq!(locks.expire(100), [LockToken([1; 16])]);
        assert_eq!(locks.expire(199), []);
        assert!(locks.remove(&key("d"), LockToken([3; 16])).is_some() && locks.is_empty() && locks.bytes == 0);
    }

    #[test]
    fn one_client_has_a_share_and_all_have_a_bound() {
        let mut locks = DavLocks::default();
        let mut granted = 0;
        for client in 0..40_u8 {
            let address = ClientAddress::of_ip([10, 0, 0, client].into());
            for n in 0..LOCKS_PER_CLIENT {
                let one = lock(client, &format!("{client}/{n}"), Scope::Exclusive, false);
                if locks.grant(CONN, one, address).is_ok() {
                    locks.ended(CONN, true);
                    granted += 1;
                }
            }
            assert_eq!(locks.grant(CONN, lock(0, "x", Scope::Exclusive, false), address), Err(Refused::Full));
            if granted >= 2 * LOCKS_PER_CLIENT {
                break;
            }
        }
        let long = DavLock { owner: "x".repeat(LOCKS_BYTES_MAX).into(), ..lock(1, "y", Scope::Exclusive, false) };
        let other = ClientAddress::of_ip([10, 0, 1, 1].into());
        assert_eq!(locks.grant(CONN, long, other), Err(Refused::Full));
    }

    #[test]
    fn one_name_has_few_shared_locks() {
        let mut locks = DavLocks::default();
        let mut shared = (0..SHARED_MAX).map(|_| lock(7, "s", Scope::Shared, true));
        assert!(shared.all(|one| locks.grant(CONN, one, ClientAddress::OTHERS).is_ok()));
        for path in ["s", "", "s/t"] {
            let one_more = lock(7, path, Scope::Shared, true);
            assert_eq!(locks.grant(CONN, one_more, ClientAddress::OTHERS), Err(Refused::Full), "{path}");
        }
    }

    #[test]
    fn tokens_are_read_as_they_are_written_and_nothing_else() {
        let token = LockToken([0x1f; 16]);
        let text = token.to_string();
        assert_eq!(text, "opaquelocktoken:1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f");
        assert_eq!(LockToken::parse(&text), Some(token));
        for bad in [
            "",
            "opaquelocktoken:",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace('-', "0"),
            "DAV:no-lock",
        ] {
            assert_eq!(LockToken::parse(bad), None, "{bad}");
        }
    }
}
