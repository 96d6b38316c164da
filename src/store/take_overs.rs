//! Operations on uploads that another server of the directory is attached to: tried again until it has left the upload,
//! for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::ids::{GroupId, OpId};
use crate::platform::Op;

/// For how long an operation is tried. The other server looks every second at least, and has to save what it has
/// received.
const WITHIN: Duration = Duration::from_secs(4);
/// Time between two tries.
const INTERVAL: Duration = Duration::from_millis(100);

/// An operation for another try, and why this one failed.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) op: Op,
    pub(crate) client: Option<GroupId>,
    pub(crate) error: StoreError,
}

#[derive(Debug)]
struct TakeOver {
    until: Instant,
    at: Instant,
    /// `None` while it is tried.
    wanted: Option<Wanted>,
}

/// Each connection waits for one upload at most.
#[derive(Debug)]
pub(crate) struct TakeOvers {
    waiting: HashMap<OpId, TakeOver>,
    pub(crate) within: Duration,
}

impl Default for TakeOvers {
    fn default() -> Self {
        Self { waiting: HashMap::new(), within: WITHIN }
    }
}

impl TakeOvers {
    /// The error of an operation that has waited for long enough; the others wait for [`Self::pop_due`].
    pub(crate) fn wait(&mut self, id: OpId, wanted: Wanted, now: Instant) -> Option<StoreError> {
        let until = self.waiting.remove(&id).map_or(now + self.within, |waited| waited.until);
        if now >= until {
            return Some(wanted.error);
        }
        self.waiting.insert(id, TakeOver { until, at: now + INTERVAL, wanted: Some(wanted) });
        None
    }

    /// An operation of this connection has ended.
    pub(crate) fn ended(&mut self, id: OpId) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&id);
        }
    }

    /// When the next one is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.waiting.values().filter(|one| one.wanted.is_some()).map(|one| one.at).min()
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(OpId, Wanted)> {
        let due = self.waiting.iter_mut().filter(|(_, one)| one.wanted.is_some() && one.at <= now);
        let (id, one) = due.min_by_key(|(id, one)| (one.at, **id))?;
        Some((*id, one.wanted.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use crate::ids::ConnId;
    use crate::platform::Permit;
    use crate::upload::UploadId;

    fn wanted() -> Wanted {
        let error = StoreError::refused(Failure::Locked, "flock part");
        Wanted { op: Op::RemoveUpload { id: UploadId([1; 16]), permit: Permit::default() }, client: None, error }
    }

    #[test]
    fn an_operation_is_tried_again_until_its_time_is_over() {
        let (mut all, conn, began) = (TakeOvers::default(), OpId::from(ConnId::new(1, 0)), crate::os::process::clock());
        let (mut now, mut tries) = (began, 0);
        while all.wait(conn, wanted(), now).is_none() {
            assert!(all.pop_due(now).is_none(), "not at once");
            now = all.next_at().expect("it waits");
            assert!(all.pop_due(now).is_some_and(|(due, _)| due == conn));
            assert_eq!((all.next_at(), all.pop_due(now).is_none()), (None, true), "it is at a worker");
            tries += 1;
        }
        assert!(all.waiting.is_empty() && now >= began + WITHIN && tries > 10, "{tries}");
    }

    #[test]
    fn one_that_has_ended_waits_no_more() {
        let (mut all, now) = (TakeOvers::default(), crate::os::process::clock());
        let [one, other] = [1, 2].map(|n| OpId::from(ConnId::new(n, 0)));
        assert!(all.wait(one, wanted(), now).is_none() && all.wait(other, wanted(), now).is_none());
        all.ended(one);
        assert!(all.pop_due(now + INTERVAL).is_some_and(|(due, _)| due == other));
        all.ended(other);
        assert!(all.waiting.is_empty());
    }
}
