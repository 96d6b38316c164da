//! Order where order matters: one change of a name at a time, and nobody reads a name whose
//! change has been accepted in full but is not visible yet.
//!
//! A commit waits for the disk. A GET that arrives meanwhile, on any connection, must not be shown
//! the version before: it is parked here until the change is done. Purely bookkeeping; the reactor
//! submits what comes out.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::ConnId;
use crate::object::Key;
use crate::platform::Op;

/// Which names are being changed, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Gate {
    busy: BTreeMap<Key, Change>,
    changing: BTreeMap<ConnId, (Key, Option<Key>)>,
    /// Listings that wait, and how many changes had begun when they came.
    listing: BTreeMap<ConnId, u64>,
    /// How many changes have begun.
    begun: u64,
}

/// A name that is being changed.
#[derive(Debug)]
struct Change {
    /// Which change it is, counted from the start.
    number: u64,
    /// Who waits for its end.
    waiting: VecDeque<(ConnId, Op)>,
}

/// What an operation does to names.
enum Touches<'a> {
    Nothing,
    Reads(&'a Key),
    Lists(&'a Key),
    Changes(&'a Key, Option<&'a Key>),
}

fn touches(op: &Op) -> Touches<'_> {
    match op {
        Op::Open { key } | Op::Stat { key } => Touches::Reads(key),
        Op::List { key, .. } => Touches::Lists(key),
        Op::Commit { key, .. } | Op::Delete { key, .. } => Touches::Changes(key, None),
        Op::Store { put, .. } => Touches::Changes(&put.key, None),
        Op::Rename { from, to, .. } => Touches::Changes(from, Some(to)),
        Op::Abort { .. }
        | Op::Close { .. }
        | Op::Create(_)
        | Op::Flush { .. }
        | Op::MakeFolder { .. }
        | Op::Read { .. }
        | Op::Warm { .. }
        | Op::Write { .. } => Touches::Nothing,
    }
}

impl Gate {
    /// Lets `op` through, or parks it until the change before it is done. One connection has at
    /// most one change under way; `out` gets those who need not wait for it any more because it
    /// turned out to be of another name than was announced.
    pub(super) fn enter(&mut self, conn: ConnId, op: Op, out: &mut VecDeque<(ConnId, Op)>) -> Option<Op> {
        if let Touches::Changes(key, _) = touches(&op)
            && self.changing.get(&conn).is_some_and(|(own, _)| own != key)
        {
            self.leave(conn, out);
        }
        let blocker = match touches(&op) {
            Touches::Nothing => None,
            Touches::Reads(key) => self.busy.contains_key(key).then(|| key.clone()),
            Touches::Lists(folder) => {
                let came = *self.listing.entry(conn).or_insert(self.begun);
                let blocker = self.change_inside(folder, came);
                if blocker.is_none() {
                    self.listing.remove(&conn);
                }
                blocker
            }
            Touches::Changes(key, None) if self.changing.get(&conn).is_some_and(|(own, _)| own == key) => None,
            Touches::Changes(key, other) => {
                let first = [Some(key), other].into_iter().flatten().find(|key| self.busy.contains_key(key)).cloned();
                if first.is_none() {
                    self.begin(conn, key, other.filter(|other| *other != key));
                }
                first
            }
        };
        match blocker.and_then(|key| self.busy.get_mut(&key)) {
            Some(change) => {
                change.waiting.push_back((conn, op));
                None
            }
            None => Some(op),
        }
    }

    fn begin(&mut self, conn: ConnId, key: &Key, other: Option<&Key>) {
        self.begun += 1;
        for key in [Some(key), other].into_iter().flatten() {
            self.busy.insert(key.clone(), Change { number: self.begun, waiting: VecDeque::new() });
        }
        self.changing.insert(conn, (key.clone(), other.cloned()));
    }

    /// The whole body of a change of `key` has come, though its last writes may still be under way:
    /// readers wait from here on. Where another change holds the name, they wait for that one.
    pub(super) fn announce(&mut self, conn: ConnId, key: &Key) {
        if !self.busy.contains_key(key) && !self.changing.contains_key(&conn) {
            self.begin(conn, key, None);
        }
    }

    /// A name directly inside `folder` whose change had begun by then. Younger ones do not count:
    /// a folder that is never at rest could never be listed.
    fn change_inside(&self, folder: &Key, then: u64) -> Option<Key> {
        // Every name below the folder begins with it; the root is before all of them.
        self.busy
            .range(folder.clone()..)
            .take_while(|(key, _)| key.as_str().starts_with(folder.as_str()))
            .find(|(key, change)| key.parent() == folder.as_str() && change.number <= then)
            .map(|(key, _)| key.clone())
    }

    /// The change of `conn`, if it had one, is done: hands out those who may go on, in order.
    pub(super) fn leave(&mut self, conn: ConnId, out: &mut VecDeque<(ConnId, Op)>) {
        let Some((key, other)) = self.changing.remove(&conn) else { return };
        for key in [Some(key), other].into_iter().flatten() {
            let Some(Change { mut waiting, .. }) = self.busy.remove(&key) else { continue };
            while let Some((conn, op)) = waiting.pop_front() {
                if let Some(op) = self.enter(conn, op, out) {
                    out.push_back((conn, op));
                }
                // The next change of this name is under way: the others keep their places.
                if let Some(change) = self.busy.get_mut(&key) {
                    change.waiting.append(&mut waiting);
                }
            }
        }
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.busy.is_empty() && self.changing.is_empty() && self.listing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Meant, Precondition};

    fn key(text: &str) -> Key {
        Key::checked(text)
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn delete(text: &str) -> Op {
        Op::Delete { key: key(text), meant: Meant::Either, precondition: Precondition::None }
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
        assert_eq!(who(&out), [id(3), id(2)]);
        gate.leave(id(2), &mut out);
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
