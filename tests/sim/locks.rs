//! What was said of the locks of WebDAV: while one stands, no change without its token is made, in any dialect.

use std::collections::BTreeMap;

/// How long before its time a lock may be over: clients know it in seconds.
const ROUNDING_US: u64 = 2_000_000;

/// One lock that was answered, and that its holder has not asked to end.
#[derive(Debug)]
struct Standing {
    key: String,
    /// When the answer was heard, in the order of all that is said.
    answered: u64,
    /// It stands until then for certain.
    until_us: u64,
}

/// By their tokens.
#[derive(Debug, Default)]
pub struct Locks {
    standing: BTreeMap<String, Standing>,
    pub now_us: u64,
}

impl Locks {
    /// A lock was granted or renewed: when it was requested, and for how many seconds.
    pub fn granted(&mut self, token: &str, key: &str, answered: u64, requested_us: u64, seconds: u64) {
        let until_us = (requested_us + seconds * 1_000_000).saturating_sub(ROUNDING_US);
        let lock =
            self.standing.entry(token.to_owned()).or_insert(Standing { key: key.to_owned(), answered, until_us });
        // A renewal may shorten it.
        lock.until_us = until_us;
    }

    /// It may be over from now on: its holder ends it, or what it is for, or gives it another time.
    pub fn may_end(&mut self, token: &str) {
        self.standing.remove(token);
    }

    /// The power was cut, and nothing was promised.
    pub fn forget(&mut self) {
        self.standing.clear();
    }

    /// The token of a lock that was answered before this change was requested, and stands.
    pub fn against(&self, key: &str, requested: u64) -> Option<&str> {
        let mut all = self.standing.iter();
        let stands = |lock: &Standing| lock.key == key && lock.answered < requested && self.now_us < lock.until_us;
        all.find(|(_, lock)| stands(lock)).map(|(token, _)| &**token)
    }
}
