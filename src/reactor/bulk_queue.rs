//! The queue of bulk transfers that are ready: deficit round robin between client groups, first come first served
//! within one. A client with many connections gets no more of the loop than one with a single connection.
//!
//! With one group alone, nothing is shared out: what is queued runs until the bytes of the turn are spent. Where there
//! are several, a turn is one round: each gets `turn_bytes_client`, and what it missed in the last rounds. Turns
//! stay that short for a while after a group has left: it may only wait until its client has read.

use std::time::{Duration, Instant};

use crate::fair_queue::FairQueue;
use crate::ids::{ConnId, GroupId};

/// Rounds that a group which had nothing ready gets later: a socket that was full takes no more than that at once.
const ROUNDS_KEPT: u64 = 8;
/// A group that has nothing ready is expected back within this time.
const SHARED_FOR: Duration = Duration::from_millis(10);
/// Accounts that are kept while nothing is queued at all.
const ACCOUNTS_KEPT: usize = 64;

/// The bytes of one group.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Bytes that it may still move; negative where its last transfer moved more than was left.
    deficit: i64,
    /// The last round in which it was given bytes.
    round: u64,
}

#[derive(Debug)]
pub(super) struct BulkQueue {
    ready: FairQueue<ConnId>,
    /// By group. The account of a group that is gone is used by the next one with its number.
    accounts: Vec<Account>,
    /// Bytes of a group in a round.
    quantum: i64,
    round: u64,
    shared_until: Option<Instant>,
}

/// A transfer that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The number of its group.
    pub group: usize,
    pub id: ConnId,
    /// Bytes that it may move.
    pub most: usize,
}

impl BulkQueue {
    /// Most bytes of one group, for the accounting of memory.
    pub(super) const ACCOUNT_BYTES: usize = 2 * size_of::<Account>();

    pub(super) fn new(quantum: usize) -> Self {
        let quantum = i64::try_from(quantum).unwrap_or(i64::MAX / 16);
        Self { ready: FairQueue::new(), accounts: Vec::new(), quantum, round: 0, shared_until: None }
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn push(&mut self, group: GroupId, id: ConnId) {
        if self.accounts.len() <= group.index() {
            self.accounts.resize(group.index() + 1, Account::default());
        }
        self.ready.push(group.index(), id);
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.ready.clients() > 1 {
            self.shared_until = Some(now + SHARED_FOR);
        }
        self.shared_until = self.shared_until.filter(|until| now < *until);
        self.round += 1;
        if self.shared_until.is_none() && self.ready.len() == 0 && self.accounts.capacity() > ACCOUNTS_KEPT {
            // The crowd is gone. Each group begins as a new one, which differs by a few rounds.
            self.accounts = Vec::new();
        }
    }

    /// The next transfer of this turn; `None` if each group has had its bytes.
    pub(super) fn next(&mut self) -> Option<Next> {
        loop {
            let group = self.ready.turn()?;
            let account = &mut self.accounts[group];
            let most = match self.shared_until {
                None => usize::MAX,
                Some(_) if account.round != self.round => {
                    let rounds = i64::try_from((self.round - account.round).min(ROUNDS_KEPT)).unwrap_or(1);
                    let most = self.quantum.saturating_mul(rounds);
                    account.deficit = account.deficit.saturating_add(most).min(ROUNDS_KEPT as i64 * self.quantum);
                    account.round = self.round;
                    continue;
                }
                Some(_) if account.deficit <= 0 => {
                    self.ready.pass();
                    // All of them have had theirs once one comes by again.
                    let next = self.ready.turn().map(|group| self.accounts[group].round);
                    if next == Some(self.round) {
                        return None;
                    }
                    continue;
                }
                Some(_) => usize::try_from(account.deficit).unwrap_or(usize::MAX),
            };
            return Some(Next { group, id: self.ready.take()?, most });
        }
    }

    /// A transfer has moved this many bytes.
    pub(super) fn charge(&mut self, group: usize, bytes: u64) {
        if self.shared_until.is_some() {
            let deficit = &mut self.accounts[group].deficit;
            *deficit = deficit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::groups::{Groups, Who};
    use crate::ids::ClientAddress;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn a_crowd_leaves_no_memory() {
        let now = Instant::now();
        let (mut groups, mut queue) = (Groups::new(&Limits::default(), now), BulkQueue::new(1));
        for n in 0..200 {
            let group = groups.join(Who::Address(ClientAddress::of(([192, 0, 2, n], 1).into())), now);
            for slot in 0..50 {
                queue.push(group, ConnId::new(u32::from(n) * 50 + slot, 0));
            }
        }
        let mut ran = 0;
        while queue.len() > 0 {
            queue.begin(now);
            while let Some(next) = queue.next() {
                queue.charge(next.group, 1);
                ran += 1;
            }
        }
        assert_eq!(ran, 200 * 50);
        queue.begin(now + SHARED_FOR);
        assert_eq!(queue.accounts.capacity(), 0);
    }
}
