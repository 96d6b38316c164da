use super::*;
use crate::command::{LockRights, Whole};
use crate::dav_locks::{DavLock, Scope};
use crate::ids::{ClientAddress, ConnId};
use crate::object::{Details, ExpectedKind, MissingParents, Precondition};
use crate::order::Order;

fn key(text: &str) -> Key {
    Key::checked(text)
}

fn id(n: u32) -> OpId {
    ConnId::new(n, 0).into()
}

fn rename(from: &str, to: &str) -> Op {
    Op::Run(Whole::Rename {
        from: key(from),
        to: key(to),
        precondition: Precondition::None,
        parents: MissingParents::Make,
        replaces_dir: false,
        len_max: None,
    })
}

fn delete(text: &str) -> Op {
    Op::Run(Whole::Delete {
        key: key(text),
        is_recursive: false,
        expected_kind: ExpectedKind::Either,
        precondition: Precondition::None,
    })
}

fn list(text: &str) -> Op {
    Op::List {
        key: key(text),
        recursive: false,
        after: None,
        limit: 1,
        bytes_max: 1,
        details: Details::default(),
        hides: None,
        order: Order::default(),
    }
}

fn released(locks: &NameLocks) -> Vec<OpId> {
    locks.released.iter().map(|(id, _)| *id).collect()
}

#[test]
fn readers_wait_for_the_change_before_them_and_go_before_the_next() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a/x")).is_some());
    assert!(locks.acquire(id(2), Op::Run(Whole::Stat { key: key("a/x") })).is_none());
    assert!(locks.acquire(id(3), list("a")).is_none());
    assert!(locks.acquire(id(4), delete("a/x")).is_none());
    assert!(locks.acquire(id(5), Op::Open { key: key("a/x") }).is_none());
    assert!(locks.acquire(id(6), Op::Open { key: key("a/y") }).is_some());
    assert!(locks.acquire(id(7), list("")).is_some(), "the change is not directly inside");
    locks.release(id(1));
    assert_eq!(released(&locks), [id(2), id(3), id(4)]);
    locks.released.clear();
    locks.release(id(4));
    assert_eq!(released(&locks), [id(5)]);
    assert!(locks.is_idle());
}

#[test]
fn an_announced_change_holds_readers_back_and_passes_itself() {
    let mut locks = NameLocks::default();
    locks.announce(id(1), &key("a"));
    locks.announce(id(1), &key("a"));
    locks.announce(id(2), &key("a"));
    assert!(locks.acquire(id(3), Op::Run(Whole::Stat { key: key("a") })).is_none());
    assert!(locks.acquire(id(2), delete("a")).is_none());
    assert!(locks.acquire(id(1), delete("a")).is_some());
    locks.release(id(1));
    assert_eq!(released(&locks), [id(2)], "the reader came after both");
    locks.release(id(2));
    assert_eq!(released(&locks), [id(2), id(3)]);
    assert!(locks.is_idle());
}

#[test]
fn changes_happen_in_the_order_in_which_they_were_announced() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a")).is_some());
    locks.announce(id(2), &key("a"));
    locks.announce(id(3), &key("a"));
    assert!(locks.acquire(id(4), delete("a")).is_none());
    locks.release(id(1));
    assert!(locks.released.is_empty(), "the next is announced, and has writes under way");
    assert!(locks.acquire(id(3), delete("a")).is_none());
    assert!(locks.acquire(id(2), delete("a")).is_some());
    locks.release(id(2));
    locks.release(id(3));
    locks.release(id(4));
    assert_eq!(released(&locks), [id(3), id(4)]);
    assert!(locks.is_idle());
}

#[test]
fn an_announced_change_that_fails_lets_the_others_go() {
    for (fails, left) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
        let mut locks = NameLocks::default();
        for n in [1, 2, 3] {
            locks.announce(id(n), &key("a"));
        }
        locks.release(id(fails));
        for n in left {
            assert_eq!(locks.acquire(id(n), delete("a")).is_some(), n == left[0]);
        }
        locks.release(id(left[0]));
        assert_eq!(released(&locks), [id(left[1])]);
        locks.release(id(left[1]));
        assert!(locks.is_idle());
    }
}

fn create(text: &str) -> Op {
    Op::Create(crate::command::Put::new(key(text), None))
}

#[test]
fn an_upload_that_is_being_opened_holds_back_later_changes_and_no_reader() {
    for completes in [true, false] {
        let mut locks = NameLocks::default();
        assert!(locks.acquire(id(1), create("a")).is_some());
        assert!(locks.acquire(id(2), create("a")).is_some());
        assert!(locks.acquire(id(3), Op::Run(Whole::Stat { key: key("a") })).is_some());
        assert!(locks.acquire(id(3), list("")).is_some());
        assert!(locks.acquire(id(2), delete("a")).is_none(), "its body has come, the first may have too");
        assert!(locks.acquire(id(4), Op::Run(Whole::Stat { key: key("a") })).is_none());
        assert!(locks.acquire(id(5), list("")).is_none());
        locks.op_ended(id(1));
        assert!(locks.is_opening(id(1)) && !locks.is_opening(id(2)));
        if completes {
            locks.announce(id(1), &key("a"));
            assert!(locks.released.is_empty() && !locks.is_opening(id(1)));
            assert!(locks.acquire(id(1), delete("a")).is_some());
            locks.op_ended(id(1));
        } else {
            locks.release(id(1));
        }
        assert_eq!(released(&locks), [id(2)]);
        locks.op_ended(id(2));
        assert_eq!(released(&locks), [id(2), id(4), id(5)]);
        assert!(locks.is_idle());
    }
}

#[test]
fn a_reader_never_waits_for_the_claim_of_its_own_connection() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a")).is_some());
    assert!(locks.acquire(id(2), Op::Run(Whole::Stat { key: key("a") })).is_none());
    assert!(locks.acquire(id(1), Op::Run(Whole::Stat { key: key("a") })).is_some());
    assert_eq!(released(&locks), [id(2)]);
    assert!(locks.is_idle());
}

#[test]
fn a_change_that_turns_out_to_be_of_another_name_lets_the_first_go() {
    let mut locks = NameLocks::default();
    locks.announce(id(1), &key("a"));
    assert!(locks.acquire(id(2), Op::Run(Whole::Stat { key: key("a") })).is_none());
    assert!(locks.acquire(id(1), delete("a.part")).is_some());
    assert_eq!(released(&locks), [id(2)]);
    locks.release(id(1));
    assert!(locks.is_idle());
}

#[test]
fn a_listing_waits_only_for_changes_that_were_there_before_it() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a")).is_some());
    assert!(locks.acquire(id(2), list("")).is_none());
    assert!(locks.acquire(id(3), delete("b")).is_some());
    locks.release(id(1));
    assert_eq!(released(&locks), [id(2)], "b began after the listing came");
    locks.release(id(3));
    assert!(locks.is_idle());
}

#[test]
fn a_rename_holds_both_of_its_names() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), rename("a", "b")).is_some());
    assert!(locks.acquire(id(2), rename("c", "b")).is_none());
    assert!(locks.acquire(id(3), delete("a")).is_none());
    assert!(locks.acquire(id(4), list("")).is_none());
    locks.release(id(1));
    assert_eq!(released(&locks), [id(3), id(2)]);
    locks.release(id(3));
    locks.release(id(2));
    assert_eq!(released(&locks), [id(3), id(2), id(4)]);
    assert!(locks.is_idle());
}

#[test]
fn a_rename_has_its_place_among_the_changes_of_both_of_its_names() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a")).is_some());
    assert!(locks.acquire(id(2), rename("a", "b")).is_none());
    assert!(locks.acquire(id(3), rename("b", "a")).is_none());
    assert!(locks.acquire(id(4), delete("b")).is_none(), "b is to be replaced first");
    locks.release(id(1));
    locks.release(id(2));
    locks.release(id(3));
    locks.release(id(4));
    assert_eq!(released(&locks), [id(2), id(3), id(4)]);
    assert!(locks.is_idle());
}

#[test]
fn a_rename_onto_itself_and_a_list_of_a_prefix_do_no_harm() {
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), rename("a", "a")).is_some());
    assert!(locks.acquire(id(2), delete("ab/x")).is_some());
    assert!(locks.acquire(id(3), list("a")).is_some(), "ab/x is not inside a");
    locks.release(id(1));
    locks.release(id(2));
    assert!(locks.is_idle() && locks.released.is_empty());
}

#[test]
fn a_recursive_listing_waits_for_changes_at_any_depth_and_for_none_beside_it() {
    let recursive = |text: &str| match list(text) {
        Op::List { key, after, limit, bytes_max, details, hides, .. } => {
            Op::List { key, recursive: true, after, limit, bytes_max, details, hides, order: Order::default() }
        }
        other => other,
    };
    let mut locks = NameLocks::default();
    assert!(locks.acquire(id(1), delete("a/b/x")).is_some());
    assert!(locks.acquire(id(2), list("a")).is_some());
    assert!(locks.acquire(id(3), recursive("a")).is_none());
    assert!(locks.acquire(id(4), recursive("")).is_none());
    assert!(locks.acquire(id(5), recursive("a/b/x")).is_some(), "the change is not under it");
    assert!(locks.acquire(id(6), recursive("a/bb")).is_some());
    locks.release(id(1));
    assert_eq!(released(&locks), [id(3), id(4)]);
    assert!(locks.is_idle());
}

#[test]
fn a_lock_waits_for_the_changes_before_it_of_its_name_and_of_what_is_above_and_in_it() {
    let lock = |text: &str, is_deep| {
        let (token, owner, user) = Default::default();
        let lock = DavLock { token, key: key(text), scope: Scope::Exclusive, is_deep, owner, user, expires_s: 1 };
        let rights = LockRights { existing: Ok(()), new: Ok(()) };
        Op::Run(Whole::KeepLock { lock: Box::new(lock), client: ClientAddress::OTHERS, rights, is_renewal: false })
    };
    let make_dir = || Op::Run(Whole::MakeDir { key: key("a/d"), parents: MissingParents::Make });
    type Change<'a> = &'a dyn Fn() -> Op;
    type Locked = (&'static str, bool);
    let rows: [(Change<'_>, [Locked; 3], [Locked; 2]); 4] = [
        (&|| delete("a"), [("a", false), ("a/b", false), ("a/b/c", true)], [("b", true), ("c", false)]),
        (&|| delete("a/b/c"), [("a/b/c", false), ("a/b", false), ("a", true)], [("a", false), ("a/b/d", true)]),
        (&|| rename("b/x", "a/x"), [("a", false), ("b", false), ("", true)], [("a/y", true), ("", false)]),
        (&make_dir, [("a/d", false), ("a", false), ("", true)], [("a/c", true), ("", false)]),
    ];
    for (change, waits, passes) in rows {
        for (name, is_deep) in waits {
            let mut locks = NameLocks::default();
            assert!(locks.acquire(id(1), change()).is_some());
            assert!(locks.acquire(id(2), lock(name, is_deep)).is_none(), "{name}");
            // Changes that come later ask the lock themselves.
            assert!(locks.acquire(id(3), delete("a/z")).is_some());
            locks.release(id(1));
            assert_eq!(released(&locks), [id(2)], "{name}");
            locks.release(id(3));
            assert!(locks.is_idle(), "{name}");
        }
        for (name, is_deep) in passes {
            let mut locks = NameLocks::default();
            assert!(locks.acquire(id(1), change()).is_some());
            assert!(locks.acquire(id(2), lock(name, is_deep)).is_some(), "{name}");
        }
    }
}
