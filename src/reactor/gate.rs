//! Order where order matters: changes of a name happen one at a time, in the order in which they had
//! come in full, and nobody reads a name whose change has been accepted in full but is not visible yet.
//!
//! A commit waits for the disk. A GET that arrives meanwhile, on any connection, must not be shown
//! the version before: it is parked here until the change is done. Purely bookkeeping; the reactor
//! submits what comes out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use crate::ids::ConnId;
use crate::object::Key;
use crate::platform::Op;

/// Which names are claimed for a change, and what waits for that.
///
/// A claim waits in the queue of each of its names at once, so claims hold their names in the order in
/// which they came, whatever they wait for, and two of them never wait for each other.
#[derive(Debug, Default)]
pub(super) struct Gate {
    names: BTreeMap<Key, Queue>,
    /// A connection has at most one change under way.
    claims: BTreeMap<ConnId, Claim>,
    /// Listings that wait, and how many changes had begun when they came.
    listing: BTreeMap<ConnId, u64>,
    /// How many changes have begun.
    begun: u64,
    /// Claims in [`Stage::Opening`].
    opening: usize,
}

/// A name that is claimed.
#[derive(Debug)]
struct Queue {
    /// The first claim.
    holder: ConnId,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
enum Waiting {
    /// The next claim.
    Claim(ConnId),
    /// Reads what the claims before it leave.
    Reader(ConnId, Op),
}

/// The place of one change in the queues of its names.
#[derive(Debug)]
struct Claim {
    key: Key,
    other: Option<Key>,
    /// Names that other claims hold.
    missing: u8,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// An upload whose staging file is being made, or whose first bytes have not been read. Its body may
    /// lie in the kernel already, complete before those of later claims, which therefore wait. Readers
    /// do not: nothing has been accepted yet.
    Opening,
    /// All of the request is here.
    Complete {
        /// Which change it is, counted from the start.
        number: u64,
        /// The operation, if it waits.
        parked: Option<Box<Op>>,
    },
}

/// What an operation does to names.
enum Touches<'a> {
    Nothing,
    Reads(&'a Key),
    Lists(&'a Key),
    Opens(&'a Key),
    Changes(&'a Key, Option<&'a Key>),
}

fn touches(op: &Op) -> Touches<'_> {
    match op {
        Op::Open { key } | Op::Stat { key } => Touches::Reads(key),
        Op::List { key, .. } => Touches::Lists(key),
        Op::Create(put) => Touches::Opens(&put.key),
        Op::Commit { key, .. } | Op::Delete { key, .. } => Touches::Changes(key, None),
        Op::Store { put, .. } => Touches::Changes(&put.key, None),
        Op::Rename { from, to, .. } => Touches::Changes(from, Some(to).filter(|to| *to != from)),
        Op::Abort { .. }
        | Op::Close { .. }
        | Op::Flush { .. }
        | Op::MakeDir { .. }
        | Op::Read { .. }
        | Op::Warm { .. }
        | Op::Write { .. } => Touches::Nothing,
    }
}

impl Gate {
    /// Lets `op` through, or parks it until the changes before it are done. `out` gets the operations that
    /// need not wait for this connection any more: what it claimed before was another change.
    pub(super) fn enter(&mut self, conn: ConnId, op: Op, out: &mut VecDeque<(ConnId, Op)>) -> Option<Op> {
        let touches = touches(&op);
        if let Touches::Nothing = touches {
            return Some(op);
        }
        if let Some(claim) = self.claims.get(&conn) {
            let goes_on = matches!(touches, Touches::Changes(key, None) if *key == claim.key && claim.other.is_none());
            if !goes_on {
                self.leave(conn, out);
            }
        }
        let blocker = match touches {
            Touches::Nothing => None,
            Touches::Reads(key) => {
                self.names.get(key).is_some_and(|queue| self.is_changed_in(queue, u64::MAX)).then(|| key.clone())
            }
            Touches::Lists(dir) => {
                let came = *self.listing.entry(conn).or_insert(self.begun);
                let blocker = self.change_inside(dir, came);
                if blocker.is_none() {
                    self.listing.remove(&conn);
                }
                blocker
            }
            Touches::Opens(key) => {
                self.opening += 1;
                self.claim(conn, key, None, Stage::Opening);
                None
            }
            Touches::Changes(key, other) => {
                self.complete(conn, key, other);
                return match self.claims.get_mut(&conn) {
                    Some(Claim { missing: 1.., stage: Stage::Complete { parked, .. }, .. }) => {
                        *parked = Some(Box::new(op));
                        None
                    }
                    _ => Some(op),
                };
            }
        };
        match blocker.and_then(|key| self.names.get_mut(&key)) {
            Some(queue) => {
                queue.waiting.push_back(Waiting::Reader(conn, op));
                None
            }
            None => Some(op),
        }
    }

    /// A change has come in full: its claim counts for readers from here on.
    fn complete(&mut self, conn: ConnId, key: &Key, other: Option<&Key>) {
        match self.claims.get_mut(&conn) {
            Some(Claim { stage: Stage::Complete { .. }, .. }) => {}
            Some(Claim { stage, .. }) => {
                self.begun += 1;
                self.opening -= 1;
                *stage = Stage::Complete { number: self.begun, parked: None };
            }
            None => {
                self.begun += 1;
                self.claim(conn, key, other, Stage::Complete { number: self.begun, parked: None });
            }
        }
    }

    fn claim(&mut self, conn: ConnId, key: &Key, other: Option<&Key>, stage: Stage) {
        let mut missing = 0;
        for key in [Some(key), other].into_iter().flatten() {
            match self.names.entry(key.clone()) {
                Entry::Occupied(mut queue) => {
                    queue.get_mut().waiting.push_back(Waiting::Claim(conn));
                    missing += 1;
                }
                Entry::Vacant(place) => {
                    place.insert(Queue { holder: conn, waiting: VecDeque::new() });
                }
            }
        }
        self.claims.insert(conn, Claim { key: key.clone(), other: other.cloned(), missing, stage });
    }

    /// The whole body of a change of `key` has come, though its last writes may still be under way:
    /// it has its place among the changes of the name, and readers wait from here on.
    pub(super) fn announce(&mut self, conn: ConnId, key: &Key) {
        if self.claims.get(&conn).is_none_or(|claim| claim.key == *key) {
            self.complete(conn, key, None);
        }
    }

    /// True for an upload whose body may be in the kernel, complete, without having been read.
    pub(super) fn is_opening(&self, conn: ConnId) -> bool {
        // Looked at after every slice of a turn, and nearly always there is none.
        self.opening > 0 && self.claims.get(&conn).is_some_and(|claim| matches!(claim.stage, Stage::Opening))
    }

    fn is_changed_in(&self, queue: &Queue, then: u64) -> bool {
        let is_change = |conn| match self.claims.get(conn) {
            Some(Claim { stage: Stage::Complete { number, .. }, .. }) => *number <= then,
            _ => false,
        };
        is_change(&queue.holder)
            || queue.waiting.iter().any(|waiting| matches!(waiting, Waiting::Claim(conn) if is_change(conn)))
    }

    /// A name directly inside `dir` whose change had begun by then. Younger ones do not count:
    /// a directory that is never at rest could never be listed.
    fn change_inside(&self, dir: &Key, then: u64) -> Option<Key> {
        // Every name below the directory begins with it; the root is before all of them.
        self.names
            .range(dir.clone()..)
            .take_while(|(key, _)| key.as_str().starts_with(dir.as_str()))
            .find(|(key, queue)| key.parent() == dir.as_str() && self.is_changed_in(queue, then))
            .map(|(key, _)| key.clone())
    }

    /// The last operation of `conn` has ended, and with it its change if all of that had come.
    pub(super) fn ended(&mut self, conn: ConnId, out: &mut VecDeque<(ConnId, Op)>) {
        if !self.is_opening(conn) {
            self.leave(conn, out);
        }
    }

    /// The claim of `conn`, if it had one, is over: hands out those who may go on, in order.
    pub(super) fn leave(&mut self, conn: ConnId, out: &mut VecDeque<(ConnId, Op)>) {
        let Some(claim) = self.claims.remove(&conn) else { return };
        if let Stage::Opening = claim.stage {
            self.opening -= 1;
        }
        for key in [Some(claim.key), claim.other].into_iter().flatten() {
            let Entry::Occupied(mut queue) = self.names.entry(key) else { continue };
            if queue.get().holder == conn {
                let (key, Queue { waiting, .. }) = queue.remove_entry();
                self.hand_on(key, waiting, out);
            } else {
                queue.get_mut().waiting.retain(|waiting| !matches!(waiting, Waiting::Claim(other) if *other == conn));
            }
        }
    }

    /// Nobody holds `key` any more: those who wait go on, up to the next claim.
    fn hand_on(&mut self, key: Key, mut waiting: VecDeque<Waiting>, out: &mut VecDeque<(ConnId, Op)>) {
        while let Some(next) = waiting.pop_front() {
            match next {
                Waiting::Reader(conn, op) => {
                    if let Some(op) = self.enter(conn, op, out) {
                        out.push_back((conn, op));
                    }
                }
                Waiting::Claim(holder) => {
                    self.names.insert(key, Queue { holder, waiting });
                    let Some(claim) = self.claims.get_mut(&holder) else { return };
                    claim.missing -= 1;
                    if claim.missing == 0
                        && let Stage::Complete { parked, .. } = &mut claim.stage
                        && let Some(op) = parked.take()
                    {
                        out.push_back((holder, *op));
                    }
                    return;
                }
            }
        }
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.names.is_empty() && self.claims.is_empty() && self.listing.is_empty() && self.opening == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ExpectedKind, Precondition};

    fn key(text: &str) -> Key {
        Key::checked(text)
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn delete(text: &str) -> Op {
        Op::Delete { key: key(text), expected_kind: ExpectedKind::Either, precondition: Precondition::None }
    }

    fn list(text: &str) -> Op {
        Op::List { key: key(text), after: None, limit: 1, bytes_max: 1 }
    }

    fn who(out: &VecDeque<(ConnId, Op)>) -> Vec<ConnId> {
        out.iter().map(|(conn, _)| *conn).collect()
    }

    #[test]
    fn readers_wait_for_the_change_before_them_and_go_before_the_next() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        assert!(gate.enter(id(1), delete("a/x"), &mut out).is_some());
        assert!(gate.enter(id(2), Op::Stat { key: key("a/x") }, &mut out).is_none());
        assert!(gate.enter(id(3), list("a"), &mut out).is_none());
        assert!(gate.enter(id(4), delete("a/x"), &mut out).is_none());
        assert!(gate.enter(id(5), Op::Open { key: key("a/x") }, &mut out).is_none());
        assert!(gate.enter(id(6), Op::Open { key: key("a/y") }, &mut out).is_some());
        assert!(gate.enter(id(7), list(""), &mut out).is_some(), "the change is not directly inside");
        gate.leave(id(1), &mut out);
        assert_eq!(who(&out), [id(2), id(3), id(4)]);
        out.clear();
        gate.leave(id(4), &mut out);
        assert_eq!(who(&out), [id(5)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn an_announced_change_holds_readers_back_and_passes_itself() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        gate.announce(id(1), &key("a"));
        gate.announce(id(1), &key("a"));
        gate.announce(id(2), &key("a"));
        assert!(gate.enter(id(3), Op::Stat { key: key("a") }, &mut out).is_none());
        assert!(gate.enter(id(2), delete("a"), &mut out).is_none());
        assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
        gate.leave(id(1), &mut out);
        assert_eq!(who(&out), [id(2)], "the reader came after both");
        gate.leave(id(2), &mut out);
        assert_eq!(who(&out), [id(2), id(3)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn changes_happen_in_the_order_in_which_they_were_announced() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
        gate.announce(id(2), &key("a"));
        gate.announce(id(3), &key("a"));
        assert!(gate.enter(id(4), delete("a"), &mut out).is_none());
        gate.leave(id(1), &mut out);
        assert!(out.is_empty(), "the next is announced, and has writes under way");
        assert!(gate.enter(id(3), delete("a"), &mut out).is_none());
        assert!(gate.enter(id(2), delete("a"), &mut out).is_some());
        gate.leave(id(2), &mut out);
        gate.leave(id(3), &mut out);
        gate.leave(id(4), &mut out);
        assert_eq!(who(&out), [id(3), id(4)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn an_announced_change_that_fails_lets_the_others_go() {
        for (fails, left) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
            let (mut gate, mut out) = (Gate::default(), VecDeque::new());
            for n in [1, 2, 3] {
                gate.announce(id(n), &key("a"));
            }
            gate.leave(id(fails), &mut out);
            for n in left {
                assert_eq!(gate.enter(id(n), delete("a"), &mut out).is_some(), n == left[0]);
            }
            gate.leave(id(left[0]), &mut out);
            assert_eq!(who(&out), [id(left[1])]);
            gate.leave(id(left[1]), &mut out);
            assert!(gate.is_idle());
        }
    }

    fn create(text: &str) -> Op {
        Op::Create(crate::command::Put::new(key(text), None))
    }

    #[test]
    fn an_upload_that_is_being_opened_holds_back_later_changes_and_no_reader() {
        for completes in [true, false] {
            let (mut gate, mut out) = (Gate::default(), VecDeque::new());
            assert!(gate.enter(id(1), create("a"), &mut out).is_some());
            assert!(gate.enter(id(2), create("a"), &mut out).is_some());
            assert!(gate.enter(id(3), Op::Stat { key: key("a") }, &mut out).is_some());
            assert!(gate.enter(id(3), list(""), &mut out).is_some());
            assert!(gate.enter(id(2), delete("a"), &mut out).is_none(), "its body has come, the first may have too");
            assert!(gate.enter(id(4), Op::Stat { key: key("a") }, &mut out).is_none());
            assert!(gate.enter(id(5), list(""), &mut out).is_none());
            gate.ended(id(1), &mut out);
            assert!(gate.is_opening(id(1)) && !gate.is_opening(id(2)));
            if completes {
                gate.announce(id(1), &key("a"));
                assert!(out.is_empty() && !gate.is_opening(id(1)));
                assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
                gate.ended(id(1), &mut out);
            } else {
                gate.leave(id(1), &mut out);
            }
            assert_eq!(who(&out), [id(2)]);
            gate.ended(id(2), &mut out);
            assert_eq!(who(&out), [id(2), id(4), id(5)]);
            assert!(gate.is_idle());
        }
    }

    #[test]
    fn a_reader_never_waits_for_the_claim_of_its_own_connection() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
        assert!(gate.enter(id(2), Op::Stat { key: key("a") }, &mut out).is_none());
        assert!(gate.enter(id(1), Op::Stat { key: key("a") }, &mut out).is_some());
        assert_eq!(who(&out), [id(2)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_change_that_turns_out_to_be_of_another_name_lets_the_first_go() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        gate.announce(id(1), &key("a"));
        assert!(gate.enter(id(2), Op::Stat { key: key("a") }, &mut out).is_none());
        assert!(gate.enter(id(1), delete("a.part"), &mut out).is_some());
        assert_eq!(who(&out), [id(2)]);
        gate.leave(id(1), &mut out);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_listing_waits_only_for_changes_that_were_there_before_it() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
        assert!(gate.enter(id(2), list(""), &mut out).is_none());
        assert!(gate.enter(id(3), delete("b"), &mut out).is_some());
        gate.leave(id(1), &mut out);
        assert_eq!(who(&out), [id(2)], "b began after the listing came");
        gate.leave(id(3), &mut out);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_rename_holds_both_of_its_names() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        let rename = |from, to| Op::Rename { from: key(from), to: key(to), precondition: Precondition::None };
        assert!(gate.enter(id(1), rename("a", "b"), &mut out).is_some());
        assert!(gate.enter(id(2), rename("c", "b"), &mut out).is_none());
        assert!(gate.enter(id(3), delete("a"), &mut out).is_none());
        assert!(gate.enter(id(4), list(""), &mut out).is_none());
        gate.leave(id(1), &mut out);
        assert_eq!(who(&out), [id(3), id(2)]);
        gate.leave(id(3), &mut out);
        gate.leave(id(2), &mut out);
        assert_eq!(who(&out), [id(3), id(2), id(4)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_rename_has_its_place_among_the_changes_of_both_of_its_names() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        let rename = |from, to| Op::Rename { from: key(from), to: key(to), precondition: Precondition::None };
        assert!(gate.enter(id(1), delete("a"), &mut out).is_some());
        assert!(gate.enter(id(2), rename("a", "b"), &mut out).is_none());
        assert!(gate.enter(id(3), rename("b", "a"), &mut out).is_none());
        assert!(gate.enter(id(4), delete("b"), &mut out).is_none(), "b is to be replaced first");
        gate.leave(id(1), &mut out);
        gate.leave(id(2), &mut out);
        gate.leave(id(3), &mut out);
        gate.leave(id(4), &mut out);
        assert_eq!(who(&out), [id(2), id(3), id(4)]);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_rename_onto_itself_and_a_list_of_a_prefix_do_no_harm() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        let rename = Op::Rename { from: key("a"), to: key("a"), precondition: Precondition::None };
        assert!(gate.enter(id(1), rename, &mut out).is_some());
        assert!(gate.enter(id(2), delete("ab/x"), &mut out).is_some());
        assert!(gate.enter(id(3), list("a"), &mut out).is_some(), "ab/x is not inside a");
        gate.leave(id(1), &mut out);
        gate.leave(id(2), &mut out);
        assert!(gate.is_idle() && out.is_empty());
    }
}
