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
    busy: BTreeMap<Key, VecDeque<(ConnId, Op)>>,
    changing: BTreeMap<ConnId, (Key, Option<Key>)>,
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
    /// most one change under way.
    pub(super) fn enter(&mut self, conn: ConnId, op: Op) -> Option<Op> {
        let blocker = match touches(&op) {
            Touches::Nothing => None,
            Touches::Reads(key) => self.busy.contains_key(key).then(|| key.clone()),
            Touches::Lists(folder) => self.change_inside(folder),
            Touches::Changes(key, None) if self.changing.get(&conn).is_some_and(|(own, _)| own == key) => None,
            Touches::Changes(key, other) => {
                let first = [Some(key), other].into_iter().flatten().find(|key| self.busy.contains_key(key)).cloned();
                if first.is_none() {
                    let other = other.filter(|other| *other != key).cloned();
                    self.busy.insert(key.clone(), VecDeque::new());
                    self.busy.extend(other.clone().map(|other| (other, VecDeque::new())));
                    self.changing.insert(conn, (key.clone(), other));
                }
                first
            }
        };
        match blocker.and_then(|key| self.busy.get_mut(&key)) {
            Some(waiting) => {
                waiting.push_back((conn, op));
                None
            }
            None => Some(op),
        }
    }

    /// The whole body of a change of `key` has come, though its last writes may still be under way:
    /// readers wait from here on. Where another change holds the name, they wait for that one.
    pub(super) fn announce(&mut self, conn: ConnId, key: &Key) {
        if !self.busy.contains_key(key) && !self.changing.contains_key(&conn) {
            self.busy.insert(key.clone(), VecDeque::new());
            self.changing.insert(conn, (key.clone(), None));
        }
    }

    /// A name directly inside `folder` that is being changed.
    fn change_inside(&self, folder: &Key) -> Option<Key> {
        if self.busy.is_empty() {
            return None;
        }
        // Every name below the folder begins with it; the root is before all of them.
        self.busy
            .range(folder.clone()..)
            .map(|(key, _)| key)
            .take_while(|key| key.as_str().starts_with(folder.as_str()))
            .find(|key| key.parent() == folder.as_str())
            .cloned()
    }

    /// The change of `conn`, if it had one, is done: hands out those who may go on, in order.
    pub(super) fn leave(&mut self, conn: ConnId, out: &mut VecDeque<(ConnId, Op)>) {
        let Some((key, other)) = self.changing.remove(&conn) else { return };
        for key in [Some(key), other].into_iter().flatten() {
            let Some(mut waiting) = self.busy.remove(&key) else { continue };
            while let Some((conn, op)) = waiting.pop_front() {
                out.extend(self.enter(conn, op).map(|op| (conn, op)));
                // The next change of this name is under way: the others keep their places.
                if let Some(queue) = self.busy.get_mut(&key) {
                    queue.append(&mut waiting);
                }
            }
        }
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.busy.is_empty() && self.changing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Precondition;

    fn key(text: &str) -> Key {
        Key::checked(text)
    }

    fn id(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    fn delete(text: &str) -> Op {
        Op::Delete { key: key(text), precondition: Precondition::None }
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
        assert!(gate.enter(id(1), delete("a/x")).is_some());
        assert!(gate.enter(id(2), Op::Stat { key: key("a/x") }).is_none());
        assert!(gate.enter(id(3), list("a")).is_none());
        assert!(gate.enter(id(4), delete("a/x")).is_none());
        assert!(gate.enter(id(5), Op::Open { key: key("a/x") }).is_none());
        assert!(gate.enter(id(6), Op::Open { key: key("a/y") }).is_some());
        assert!(gate.enter(id(7), list("")).is_some(), "the change is not directly inside");
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
        assert!(gate.enter(id(3), Op::Stat { key: key("a") }).is_none());
        assert!(gate.enter(id(2), delete("a")).is_none());
        assert!(gate.enter(id(1), delete("a")).is_some());
        gate.leave(id(1), &mut out);
        assert_eq!(who(&out), [id(3), id(2)]);
        gate.leave(id(2), &mut out);
        assert!(gate.is_idle());
    }

    #[test]
    fn a_rename_holds_both_of_its_names() {
        let (mut gate, mut out) = (Gate::default(), VecDeque::new());
        let rename = |from, to| Op::Rename { from: key(from), to: key(to), precondition: Precondition::None };
        assert!(gate.enter(id(1), rename("a", "b")).is_some());
        assert!(gate.enter(id(2), rename("c", "b")).is_none());
        assert!(gate.enter(id(3), delete("a")).is_none());
        assert!(gate.enter(id(4), list("")).is_none());
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
        assert!(gate.enter(id(1), rename).is_some());
        assert!(gate.enter(id(2), delete("ab/x")).is_some());
        assert!(gate.enter(id(3), list("a")).is_some(), "ab/x is not inside a");
        gate.leave(id(1), &mut out);
        gate.leave(id(2), &mut out);
        assert!(gate.is_idle() && out.is_empty());
    }
}
