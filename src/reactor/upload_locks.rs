//! Which connection is attached to which upload: at most one, so that no byte of an older request is written behind the
//! back of a newer one.
//!
//! A newer request takes over: the older connection is asked to, saves what it has received, and detaches; the newer
//! waits for that. Of several that wait, the newest continues. A request that its permit does not allow is refused, and
//! ends no other; while the name of the upload is not known here, it waits.
//!
//! Bookkeeping only; the reactor does what is noted here.

use std::collections::{BTreeMap, VecDeque};

use crate::error::StoreError;
use crate::ids::ConnId;
use crate::object::Key;
use crate::platform::{Op, Permit};
use crate::upload::{Inquiry, TAKEN_OVER, UploadId};

#[derive(Debug, Default)]
pub(super) struct UploadLocks {
    uploads: BTreeMap<UploadId, Holder>,
    /// Each connection holds one at most.
    held: BTreeMap<ConnId, UploadId>,
    due: Vec<Due>,
}

#[derive(Debug)]
struct Holder {
    conn: ConnId,
    /// The name of the upload, once the connection is attached. Before, its operation is at the store: it has nothing yet
    /// to detach from.
    key: Option<Key>,
    /// Wait until `conn` is attached, to be decided about then; or the one that waits until it is detached.
    waiting: VecDeque<(ConnId, Op)>,
    /// Wait for a slot since before `conn` was attached: at most one for each place of a connection.
    announced: BTreeMap<usize, Permit>,
}

/// What the reactor is to do.
#[derive(Debug)]
pub(super) enum Due {
    /// The connection is to detach from its upload.
    Supersede(ConnId),
    /// The operation may run.
    Submit(ConnId, Op),
    /// The operation will not run.
    Refuse(ConnId, StoreError),
}

impl Due {
    /// A newer request than the one that waits here continues with the upload. A question changes nothing, and is
    /// answered with what is safe by now.
    fn overtaken(older: ConnId, op: Op) -> Self {
        match op {
            Op::FindUpload { .. } => Self::Submit(older, op),
            _ => Self::Refuse(older, StoreError::refused(TAKEN_OVER, "superseded")),
        }
    }
}

impl UploadLocks {
    /// The upload that only one connection may be attached to while `op` runs.
    pub(super) const fn upload_of(op: &Op) -> Option<UploadId> {
        match op {
            Op::OpenUpload { upload, .. } => upload.id(),
            Op::RemoveUpload { id, .. } | Op::FindUpload { id, inquiry: Inquiry::Final, .. } => Some(*id),
            _ => None,
        }
    }

    /// Returns `op` if it may run now.
    pub(super) fn acquire(&mut self, conn: ConnId, id: UploadId, op: Op) -> Option<Op> {
        // A connection decodes a request only when nothing of the one before is at the store.
        if let Some(before) = self.held.get(&conn).copied() {
            self.release(conn, before);
        }
        let Some(holder) = self.uploads.get_mut(&id) else {
            self.attach(conn, id, None);
            return Some(op);
        };
        // A question does not hold up a removal that waits: it is answered with what is safe by now.
        if let (Some((_, Op::RemoveUpload { .. })), Op::FindUpload { .. }) = (holder.waiting.back(), &op) {
            return Some(op);
        }
        match &holder.key {
            None => holder.waiting.push_back((conn, op)),
            Some(key) => self.due.push(match check_permit(&op, key) {
                Err(error) => Due::Refuse(conn, error),
                Ok(()) => {
                    let older = holder.waiting.pop_front();
                    holder.waiting.push_back((conn, op));
                    older.map_or(Due::Supersede(holder.conn), |(older, op)| Due::overtaken(older, op))
                }
            }),
        }
        None
    }

    /// `conn` will ask for this upload once it may.
    pub(super) fn announce(&mut self, conn: ConnId, id: UploadId, permit: Permit) {
        if let Some(holder) = self.uploads.get_mut(&id)
            && holder.conn != conn
        {
            holder.announced.insert(conn.slot(), permit);
            self.due.extend(holder.heed_announced());
        }
    }

    /// Another server waits for this upload.
    pub(super) fn is_wanted_elsewhere(&mut self, id: UploadId) {
        if let Some(holder) = self.uploads.get_mut(&id) {
            holder.announced.insert(holder.conn.slot(), Permit::default());
            self.due.extend(holder.heed_announced());
        }
    }

    fn attach(&mut self, conn: ConnId, id: UploadId, key: Option<Key>) {
        let (waiting, announced) = (VecDeque::new(), BTreeMap::new());
        self.uploads.insert(id, Holder { conn, key, waiting, announced });
        self.held.insert(conn, id);
    }

    /// A connection was driven, and is attached to this upload; `has_ops`: while it has operations of its own.
    pub(super) fn driven(&mut self, conn: ConnId, attached_to: Option<(UploadId, Option<&Key>)>, has_ops: bool) {
        match (self.held.get(&conn).copied(), attached_to) {
            (Some(held), Some((id, key))) if held == id => {
                if let (Some(holder), Some(key)) = (self.uploads.get_mut(&id), key)
                    && holder.key.is_none()
                {
                    holder.key = Some(key.clone());
                    self.decide(id);
                }
            }
            (held, Some((id, key))) => {
                held.into_iter().for_each(|held| self.release(conn, held));
                // The store has just made it.
                self.attach(conn, id, key.cloned());
            }
            (Some(held), None) if !has_ops => self.release(conn, held),
            _ => {}
        }
    }

    /// The connection is attached: decides about the requests that came before.
    fn decide(&mut self, id: UploadId) {
        let waiting = self.uploads.get_mut(&id).map(|holder| std::mem::take(&mut holder.waiting));
        for (conn, op) in waiting.into_iter().flatten() {
            let op = self.acquire(conn, id, op);
            self.due.extend(op.map(|op| Due::Submit(conn, op)));
        }
        self.due.extend(self.uploads.get_mut(&id).and_then(Holder::heed_announced));
    }

    fn release(&mut self, conn: ConnId, id: UploadId) {
        self.held.remove(&conn);
        let Some(mut holder) = self.uploads.remove(&id) else { return };
        if let Some((next, op)) = holder.waiting.pop_front() {
            self.uploads.insert(id, Holder { conn: next, key: None, ..holder });
            self.held.insert(next, id);
            self.due.push(Due::Submit(next, op));
        }
    }

    /// True if a connection may have to be reported: see [`UploadLocks::driven`].
    pub(super) fn holds(&self, conn: ConnId) -> bool {
        !self.held.is_empty() && self.held.contains_key(&conn)
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn take_due(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.due)
    }
}

impl Holder {
    /// Detaches the connection for a permitted request that waits for a slot, if it does not detach for another.
    fn heed_announced(&mut self) -> Option<Due> {
        let key = self.key.as_ref()?;
        let announced = std::mem::take(&mut self.announced);
        let is_wanted = announced.into_values().any(|permit| permit.check(key, None).is_ok());
        (is_wanted && self.waiting.is_empty()).then_some(Due::Supersede(self.conn))
    }
}

fn check_permit(op: &Op, key: &Key) -> Result<(), StoreError> {
    match op {
        Op::OpenUpload { permit, len, .. } => permit.check(key, *len),
        Op::FindUpload { permit, .. } | Op::RemoveUpload { permit, .. } => permit.check(key, None),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, LazyLock};

    use super::*;
    use crate::error::Failure;

    const ID: UploadId = UploadId([7; 16]);
    const OTHER: UploadId = UploadId([8; 16]);

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn here(id: UploadId) -> Option<(UploadId, Option<&'static Key>)> {
        static KEY: LazyLock<Key> = LazyLock::new(|| Key::checked("a"));
        Some((id, Some(&KEY)))
    }

    fn find(inquiry: Inquiry) -> Op {
        Op::FindUpload { id: ID, inquiry, permit: Permit::default() }
    }

    /// One that no name permits.
    fn denied() -> (Op, Permit) {
        let permit = Permit(Some(Arc::new(|_: &Key| Err(Failure::Busy))));
        (Op::RemoveUpload { id: ID, permit: permit.clone() }, permit)
    }

    fn remove(id: UploadId) -> Op {
        Op::RemoveUpload { id, permit: Permit::default() }
    }

    #[test]
    fn a_request_that_waits_for_a_slot_detaches_the_older_connection_already() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        locks.announce(conn(2), OTHER, Permit::default());
        locks.announce(conn(1), ID, Permit::default());
        assert!(locks.take_due().is_empty());
        locks.announce(conn(2), ID, Permit::default());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
    }

    #[test]
    fn a_newer_request_waits_until_the_older_connection_is_detached() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(2), OTHER, remove(OTHER)).is_some(), "another upload");
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
        locks.driven(conn(1), here(ID), false);
        locks.driven(conn(1), None, true);
        assert!(locks.take_due().is_empty(), "its last operation is under way");
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(newer, _)] if newer == conn(3)));
        locks.driven(conn(3), None, false);
        locks.driven(conn(2), None, false);
        assert!(locks.uploads.is_empty() && locks.held.is_empty());
    }

    #[test]
    fn a_connection_leaves_its_upload_for_another_server_unless_it_was_asked_already() {
        let mut locks = UploadLocks::default();
        locks.is_wanted_elsewhere(ID);
        assert!(locks.take_due().is_empty(), "no connection is attached");
        locks.driven(conn(1), here(ID), false);
        locks.is_wanted_elsewhere(ID);
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        locks.take_due();
        locks.is_wanted_elsewhere(ID);
        assert!(locks.take_due().is_empty());
    }

    #[test]
    fn of_several_that_wait_the_newest_continues() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(_), Due::Refuse(second, _)] if second == conn(2)));
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(newest, _)] if newest == conn(3)));
    }

    #[test]
    fn a_connection_that_is_still_opening_its_upload_is_asked_to_detach_once_it_is_attached() {
        for announces in [false, true] {
            let mut locks = UploadLocks::default();
            assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
            if announces {
                locks.announce(conn(2), ID, Permit::default());
            } else {
                assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
            }
            locks.driven(conn(1), None, true);
            assert!(locks.take_due().is_empty(), "it has nothing to detach from yet");
            locks.driven(conn(1), here(ID), false);
            assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
            locks.driven(conn(1), here(ID), false);
            assert!(locks.take_due().is_empty(), "it was asked already");
        }
    }

    #[test]
    fn a_connection_does_not_wait_for_itself() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
        assert!(locks.take_due().is_empty());
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        assert!(locks.acquire(conn(1), ID, remove(ID)).is_none(), "its next one comes after what waits already");
        assert!(matches!(locks.take_due()[..], [Due::Submit(older, _)] if older == conn(2)));
    }

    #[test]
    fn a_connection_holds_one_upload_at_most() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        locks.take_due();
        assert!(locks.acquire(conn(1), OTHER, remove(OTHER)).is_some());
        assert!(matches!(locks.take_due()[..], [Due::Submit(next, _)] if next == conn(2)));
        locks.driven(conn(2), None, false);
        locks.driven(conn(1), here(ID), false);
        locks.driven(conn(1), None, false);
        assert!(locks.uploads.is_empty() && locks.held.is_empty());
    }

    #[test]
    fn a_question_does_not_keep_a_cancelled_upload_from_being_removed() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        locks.take_due();
        assert!(locks.acquire(conn(3), ID, find(Inquiry::Final)).is_some());
        assert!(locks.take_due().is_empty());
        locks.driven(conn(3), None, false);
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(cancels, _)] if cancels == conn(2)));
        locks.driven(conn(2), None, false);
        assert!(locks.uploads.is_empty() && locks.held.is_empty());
    }

    #[test]
    fn a_question_ends_the_older_request_and_is_answered_even_if_a_newer_one_continues() {
        assert_eq!(UploadLocks::upload_of(&find(Inquiry::Aside)), None, "it needs nothing to end");
        assert_eq!(UploadLocks::upload_of(&find(Inquiry::Final)), Some(ID));
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), here(ID), false);
        assert!(locks.acquire(conn(2), ID, find(Inquiry::Final)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Submit(asks, _)] if asks == conn(2)));
        locks.driven(conn(2), None, false);
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(newest, _)] if newest == conn(3)));
    }

    #[test]
    fn what_is_not_permitted_neither_ends_nor_overtakes_another() {
        let mut locks = UploadLocks::default();
        assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
        locks.announce(conn(5), ID, denied().1);
        for n in [2, 3] {
            assert!(locks.acquire(conn(n), ID, denied().0).is_none());
        }
        assert!(locks.take_due().is_empty(), "the name is not known yet");
        locks.driven(conn(1), here(ID), false);
        let is_answered = |due: &Due, n| matches!(due, Due::Refuse(refused, error) if *refused == conn(n) && error.failure == Failure::Busy);
        let due = locks.take_due();
        assert!(due.len() == 2 && is_answered(&due[0], 2) && is_answered(&due[1], 3), "{due:?}");
        assert!(locks.acquire(conn(4), ID, remove(ID)).is_none());
        locks.take_due();
        assert!(locks.acquire(conn(2), ID, denied().0).is_none());
        locks.announce(conn(5), ID, denied().1);
        let due = locks.take_due();
        assert!(due.len() == 1 && is_answered(&due[0], 2), "{due:?}");
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(next, _)] if next == conn(4)));
    }

    #[test]
    fn what_waits_while_none_is_attached_runs_in_its_order() {
        let mut locks = UploadLocks::default();
        assert!(locks.acquire(conn(1), ID, denied().0).is_some(), "the store knows the name");
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        for (before, after) in [(1, 2), (2, 3)] {
            locks.driven(conn(before), None, false);
            assert!(matches!(locks.take_due()[..], [Due::Submit(next, _)] if next == conn(after)));
        }
    }
}
