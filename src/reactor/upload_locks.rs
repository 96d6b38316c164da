//! Which connection is attached to which upload: at most one, so that no byte of an older request is written behind the
//! back of a newer one.
//!
//! A newer request takes over: the older connection is asked to, saves what it has received, and detaches; the newer
//! waits for that. Of several that wait, the newest continues. Bookkeeping only; the reactor does what is noted here.

use std::collections::BTreeMap;

use crate::ids::ConnId;
use crate::platform::Op;
use crate::upload::{Inquiry, UploadId};

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
    hold: Hold,
    /// Waits until `conn` lets go.
    next: Option<(ConnId, Op)>,
}

/// How far a connection is with its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Its operation is at the store: there is nothing yet that it could detach from.
    Opening,
    /// The same; it is asked as soon as it is attached.
    OpeningForAnother,
    Attached,
}

/// What the reactor is to do.
#[derive(Debug)]
pub(super) enum Due {
    /// The connection is to detach from its upload.
    Supersede(ConnId),
    /// The operation may run.
    Submit(ConnId, Op),
    /// The operation will not run: a newer request continued with the upload.
    Refuse(ConnId),
}

impl Due {
    /// A newer request than the one that waits here continues with the upload. A question changes nothing, and is
    /// answered with what is safe by now.
    fn overtaken(older: ConnId, op: Op) -> Self {
        match op {
            Op::FindUpload { .. } => Self::Submit(older, op),
            _ => Self::Refuse(older),
        }
    }
}

impl UploadLocks {
    /// The upload that only one connection may be attached to while `op` runs.
    pub(super) const fn upload_of(op: &Op) -> Option<UploadId> {
        match op {
            Op::OpenUpload { upload, .. } => upload.id(),
            Op::RemoveUpload { id } | Op::FindUpload { id, inquiry: Inquiry::Final } => Some(*id),
            _ => None,
        }
    }

    /// Returns `op` if it may run now.
    pub(super) fn acquire(&mut self, conn: ConnId, id: UploadId, op: Op) -> Option<Op> {
        // A connection decodes a request only when nothing of the one before is at the store.
        if let Some(before) = self.held.get(&conn).copied().filter(|before| *before != id) {
            self.release(conn, before);
        }
        match self.uploads.get_mut(&id) {
            None => {
                self.attach(conn, id, Hold::Opening);
                Some(op)
            }
            // Its request before this one ended in this very turn.
            Some(holder) if holder.conn == conn => {
                holder.hold = Hold::Opening;
                self.due.extend(holder.next.take().map(|(older, op)| Due::overtaken(older, op)));
                Some(op)
            }
            // A question does not hold up a removal that waits: it is answered with what is safe by now.
            Some(Holder { next: Some((_, Op::RemoveUpload { .. })), .. }) if matches!(op, Op::FindUpload { .. }) => {
                Some(op)
            }
            Some(holder) => {
                match holder.next.replace((conn, op)) {
                    Some((older, op)) => self.due.push(Due::overtaken(older, op)),
                    None => self.due.extend(holder.supersede()),
                }
                None
            }
        }
    }

    /// `conn` will ask for this upload once it may.
    pub(super) fn announce(&mut self, conn: ConnId, id: UploadId) {
        if let Some(holder) = self.uploads.get_mut(&id)
            && holder.conn != conn
            && holder.next.is_none()
        {
            self.due.extend(holder.supersede());
        }
    }

    /// Another server waits for this upload.
    pub(super) fn is_wanted_elsewhere(&mut self, id: UploadId) {
        if let Some(holder) = self.uploads.get_mut(&id)
            && holder.next.is_none()
        {
            self.due.extend(holder.supersede());
        }
    }

    fn attach(&mut self, conn: ConnId, id: UploadId, hold: Hold) {
        self.uploads.insert(id, Holder { conn, hold, next: None });
        self.held.insert(conn, id);
    }

    /// A connection was driven, and is attached to this upload; `has_ops` as for the session.
    pub(super) fn driven(&mut self, conn: ConnId, attached_to: Option<UploadId>, has_ops: bool) {
        match (self.held.get(&conn).copied(), attached_to) {
            (Some(held), Some(id)) if held == id => {
                let holder = self.uploads.get_mut(&held);
                self.due.extend(holder.and_then(Holder::attached));
            }
            (held, Some(id)) => {
                held.into_iter().for_each(|held| self.release(conn, held));
                // The store has just made it.
                self.attach(conn, id, Hold::Attached);
            }
            (Some(held), None) if !has_ops => self.release(conn, held),
            _ => {}
        }
    }

    fn release(&mut self, conn: ConnId, id: UploadId) {
        self.held.remove(&conn);
        let Some(Holder { next, .. }) = self.uploads.remove(&id) else { return };
        if let Some((next, op)) = next {
            self.attach(next, id, Hold::Opening);
            self.due.push(Due::Submit(next, op));
        }
    }

    /// True if a connection may have to be reported: see [`UploadLocks::driven`].
    pub(super) fn holds(&self, conn: ConnId) -> bool {
        !self.held.is_empty() && self.held.contains_key(&conn)
    }

    pub(super) fn take_due(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.due)
    }
}

impl Holder {
    /// Another connection waits.
    fn supersede(&mut self) -> Option<Due> {
        match self.hold {
            Hold::Attached => Some(Due::Supersede(self.conn)),
            Hold::Opening | Hold::OpeningForAnother => {
                self.hold = Hold::OpeningForAnother;
                None
            }
        }
    }

    /// The connection is attached.
    fn attached(&mut self) -> Option<Due> {
        let was = std::mem::replace(&mut self.hold, Hold::Attached);
        (was == Hold::OpeningForAnother).then_some(Due::Supersede(self.conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: UploadId = UploadId([7; 16]);
    const OTHER: UploadId = UploadId([8; 16]);

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn remove(id: UploadId) -> Op {
        Op::RemoveUpload { id }
    }

    #[test]
    fn a_request_that_waits_for_a_slot_detaches_the_older_connection_already() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        locks.announce(conn(2), OTHER);
        locks.announce(conn(1), ID);
        assert!(locks.take_due().is_empty());
        locks.announce(conn(2), ID);
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
    }

    #[test]
    fn a_newer_request_waits_until_the_older_connection_is_detached() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(2), OTHER, remove(OTHER)).is_some(), "another upload");
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
        locks.driven(conn(1), Some(ID), false);
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
        locks.driven(conn(1), Some(ID), false);
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
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(_), Due::Refuse(second)] if second == conn(2)));
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(newest, _)] if newest == conn(3)));
    }

    #[test]
    fn a_connection_that_is_still_opening_its_upload_is_asked_to_detach_once_it_is_attached() {
        for announces in [false, true] {
            let mut locks = UploadLocks::default();
            assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
            if announces {
                locks.announce(conn(2), ID);
            } else {
                assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
            }
            locks.driven(conn(1), None, true);
            assert!(locks.take_due().is_empty(), "it has nothing to detach from yet");
            locks.driven(conn(1), Some(ID), false);
            assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
            locks.driven(conn(1), Some(ID), false);
            assert!(locks.take_due().is_empty(), "it was asked already");
        }
    }

    #[test]
    fn a_connection_does_not_wait_for_itself() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
        assert!(locks.take_due().is_empty());
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        assert!(locks.acquire(conn(1), ID, remove(ID)).is_some());
        assert!(matches!(locks.take_due()[..], [Due::Refuse(older)] if older == conn(2)));
    }

    #[test]
    fn a_connection_holds_one_upload_at_most() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        locks.take_due();
        assert!(locks.acquire(conn(1), OTHER, remove(OTHER)).is_some());
        assert!(matches!(locks.take_due()[..], [Due::Submit(next, _)] if next == conn(2)));
        locks.driven(conn(2), None, false);
        locks.driven(conn(1), Some(ID), false);
        locks.driven(conn(1), None, false);
        assert!(locks.uploads.is_empty() && locks.held.is_empty());
    }

    #[test]
    fn a_question_does_not_keep_a_cancelled_upload_from_being_removed() {
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(2), ID, remove(ID)).is_none());
        locks.take_due();
        assert!(locks.acquire(conn(3), ID, Op::FindUpload { id: ID, inquiry: Inquiry::Final }).is_some());
        assert!(locks.take_due().is_empty());
        locks.driven(conn(3), None, false);
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(cancels, _)] if cancels == conn(2)));
        locks.driven(conn(2), None, false);
        assert!(locks.uploads.is_empty() && locks.held.is_empty());
    }

    #[test]
    fn a_question_ends_the_older_request_and_is_answered_even_if_a_newer_one_continues() {
        let find = |inquiry| Op::FindUpload { id: ID, inquiry };
        assert_eq!(UploadLocks::upload_of(&find(Inquiry::Aside)), None, "it needs nothing to end");
        assert_eq!(UploadLocks::upload_of(&find(Inquiry::Final)), Some(ID));
        let mut locks = UploadLocks::default();
        locks.driven(conn(1), Some(ID), false);
        assert!(locks.acquire(conn(2), ID, find(Inquiry::Final)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Supersede(older)] if older == conn(1)));
        assert!(locks.acquire(conn(3), ID, remove(ID)).is_none());
        assert!(matches!(locks.take_due()[..], [Due::Submit(asks, _)] if asks == conn(2)));
        locks.driven(conn(2), None, false);
        locks.driven(conn(1), None, false);
        assert!(matches!(locks.take_due()[..], [Due::Submit(newest, _)] if newest == conn(3)));
    }
}
