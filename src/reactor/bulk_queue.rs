//! The queue of bulk transfers that are ready: deficit round robin between client groups, first come first served
//! within one. A client with many connections gets no more of the loop than one with a single connection.
//!
//! With one group alone, nothing is shared out: what is queued runs until the bytes of the turn are spent. Where there
//! are several, a turn is one round: each gets `Limits::turn_bytes_client`, and what it missed in the last rounds. Turns
//! stay that short for a while after a group has left: it may only wait until its client has read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::{ConnId, GroupId};

/// Rounds that a group which had nothing ready gets later: a socket that was full takes no more than that at once.
const ROUNDS_KEPT: u64 = 8;
/// A group that has nothing ready is expected back within this time.
const SHARED_FOR: Duration = Duration::from_millis(10);
/// Places that a group keeps which has nothing ready.
const READY_KEPT: usize = 4;
/// Groups that are kept while nothing is queued at all.
const FLOWS_KEPT: usize = 64;

/// The transfers of one group.
#[derive(Debug, Default)]
struct Flow {
    ready: VecDeque<ConnId>,
    /// Bytes that it may still move; negative where its last transfer moved more than was left.
    deficit: i64,
    /// The last round in which it was given bytes.
    round: u64,
}

#[derive(Debug, Default)]
pub(super) struct BulkQueue {
    /// By group. The place of a group that is gone is used by the next one, with what is queued there.
    flows: Vec<Flow>,
    /// Those with something ready, the next one first.
    active: VecDeque<GroupId>,
    len: usize,
    /// Bytes of a group in a round.
    quantum: i64,
    round: u64,
    shared_until: Option<Instant>,
}

/// A transfer that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub group: GroupId,
    pub id: ConnId,
    /// Bytes that it may move.
    pub most: usize,
}

impl BulkQueue {
    /// Most bytes of one group, for the accounting of memory.
    pub(super) const FLOW_BYTES: usize = 2 * size_of::<Flow>() + READY_KEPT * size_of::<ConnId>();

    pub(super) fn new(quantum: usize) -> Self {
        Self { quantum: i64::try_from(quantum).unwrap_or(i64::MAX / 16), ..Self::default() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, group: GroupId, id: ConnId) {
        if self.flows.len() <= group.index() {
            self.flows.resize_with(group.index() + 1, Flow::default);
        }
        let flow = &mut self.flows[group.index()];
        if flow.ready.is_empty() {
            self.active.push_back(group);
        }
        flow.ready.push_back(id);
        self.len += 1;
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.active.len() > 1 {
            self.shared_until = Some(now + SHARED_FOR);
        }
        self.shared_until = self.shared_until.filter(|until| now < *until);
        self.round += 1;
        if self.shared_until.is_none() && self.active.is_empty() && self.flows.capacity() > FLOWS_KEPT {
            // The crowd is gone. Each group begins as a new one, which differs by a few rounds.
            (self.flows, self.active) = (Vec::new(), VecDeque::new());
        }
    }

    /// The next transfer of this turn; `None` if each group has had its bytes.
    pub(super) fn next(&mut self) -> Option<Next> {
        loop {
            let group = *self.active.front()?;
            let flow = &mut self.flows[group.index()];
            let most = match self.shared_until {
                None => usize::MAX,
                Some(_) if flow.round != self.round => {
                    let rounds = i64::try_from((self.round - flow.round).min(ROUNDS_KEPT)).unwrap_or(1);
                    let most = self.quantum.saturating_mul(rounds);
                    flow.deficit = flow.deficit.saturating_add(most).min(ROUNDS_KEPT as i64 * self.quantum);
                    flow.round = self.round;
                    continue;
                }
                Some(_) if flow.deficit <= 0 => {
                    self.active.rotate_left(1);
                    // All of them have had theirs once one comes by again.
                    let next = self.active.front().map(|group| self.flows[group.index()].round);
                    if next == Some(self.round) {
                        return None;
                    }
                    continue;
                }
                Some(_) => usize::try_from(flow.deficit).unwrap_or(usize::MAX),
            };
            let id = flow.ready.pop_front()?;
            self.len -= 1;
            if flow.ready.is_empty() {
                self.active.pop_front();
                flow.ready.shrink_to(READY_KEPT);
            }
            return Some(Next { group, id, most });
        }
    }

    /// A transfer has moved so many bytes.
    pub(super) fn charge(&mut self, group: GroupId, bytes: u64) {
        if self.shared_until.is_some() {
            let flow = &mut self.flows[group.index()];
            flow.deficit = flow.deficit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
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
    fn a_crowd_leaves_no_memory_behind() {
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
        assert!(queue.flows.iter().all(|flow| flow.ready.capacity() <= READY_KEPT));
        queue.begin(now + SHARED_FOR);
        assert_eq!((queue.flows.capacity(), queue.active.capacity()), (0, 0));
    }
}
