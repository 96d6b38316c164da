//! The order of operations on one name: changes happen one at a time, in the order in which their requests were
//! complete, and no reader sees a name while a change of it is accepted in full but not visible yet.
//!
//! A commit waits for the disk. A GET that arrives meanwhile, on any connection, must not be answered with
//! the version before: it is parked here until the change is done. Bookkeeping only; the reactor submits what
//! is released.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use crate::command::{Names, Whole};
use crate::ids::OpId;
use crate::object::Key;
use crate::platform::Op;
use crate::upload::UploadRef;

/// Which names are claimed for a change, and which operations wait for that.
///
/// A claim waits in the queue of each of its names at once, so claims hold their names in order of arrival,
/// and two of them never wait for each other.
#[derive(Debug, Default)]
pub(super) struct NameLocks {
    names: BTreeMap<Key, Queue>,
    /// Each operation has at most one change under way; that of an upload begins before its last operation.
    claims: BTreeMap<OpId, Claim>,
    /// Listings and locks that wait, and how many changes were complete when they were requested.
    listings: BTreeMap<OpId, u64>,
    /// How many changes have been complete so far.
    completed: u64,
    /// Claims without a number.
    opening: usize,
    /// Operations that need not wait any longer; the reactor submits them.
    released: VecDeque<(OpId, Op)>,
}

/// A name that is claimed.
#[derive(Debug)]
struct Queue {
    holder: OpId,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
enum Waiter {
    /// The next claim.
    Claim(OpId),
    /// Reads the result of the claims before it.
    Reader(OpId, Op),
}

/// The claim of one change to its names.
#[derive(Debug)]
struct Claim {
    key: Key,
    other: Option<Key>,
    /// Names that other claims hold.
    missing: u8,
    /// Counts changes from the start, once the whole request has been received. `None` is an upload whose staging
    /// file is being made, or the first bytes have not been read. Its body may lie in the kernel already,
    /// complete before those of later claims, which therefore wait. Readers do not: nothing has been accepted yet.
    number: Option<u64>,
    /// The operation, if it waits for the missing names.
    parked: Option<Box<Op>>,
}

/// How an operation uses names.
enum NameUse<'a> {
    None,
    Read(&'a Key),
    /// With all that is under it if that is true.
    List(&'a Key, bool),
    Create(&'a Key),
    /// After the changes that were accepted of it, of what it is in, and of what is in it: of all that is under it if that is
    /// true.
    Lock(&'a Key, bool),
    Change(&'a Key, Option<&'a Key>),
}

fn name_use(op: &Op) -> NameUse<'_> {
    match op {
        Op::Open { key } => NameUse::Read(key),
        Op::BeginCopy(copying) => NameUse::Read(&copying.from),
        Op::List { key, recursive, .. } => NameUse::List(key, *recursive),
        // Its body is not on its way: it is compared with what readers see.
        Op::Create(put) if put.sha256.is_some() => NameUse::Read(&put.key),
        Op::OpenUpload { upload: UploadRef::New(new), .. } if new.put.sha256.is_some() => NameUse::Read(&new.put.key),
        Op::Create(put) => NameUse::Create(&put.key),
        Op::Commit { key, .. } => NameUse::Change(key, None),
        Op::PlaceCopy { copying, .. } => NameUse::Change(&copying.to, None),
        Op::Store { put, .. } => NameUse::Change(&put.key, None),
        Op::Run(Whole::KeepLock { lock, is_renewal: false, .. }) => NameUse::Lock(&lock.key, lock.is_deep),
        Op::Run(whole) => match whole.names() {
            Names::Look(key) => NameUse::Read(key),
            Names::Make(key) => NameUse::Change(key, None),
            Names::Change(key, other) => NameUse::Change(key, other.filter(|other| *other != key)),
        },
        Op::Abort { .. }
        | Op::Checkpoint { .. }
        | Op::Close { .. }
        | Op::Copy { .. }
        | Op::EndPart { .. }
        | Op::FindUpload { .. }
        | Op::Flush { .. }
        | Op::Join { .. }
        | Op::OpenUpload { .. }
        | Op::Read { .. }
        | Op::RemoveUpload { .. }
        | Op::VerifyPassword(_)
        | Op::Warm { .. }
        | Op::Write { .. } => NameUse::None,
    }
}

impl NameLocks {
    /// Returns `op` if it may run now; otherwise it is released once the changes before it are done. If `id`
    /// had claimed names for another change, that claim is released.
    pub(super) fn acquire(&mut self, id: OpId, op: Op) -> Option<Op> {
        let name_use = name_use(&op);
        if let NameUse::None = name_use {
            return Some(op);
        }
        if let Some(claim) = self.claims.get(&id) {
            let is_same = matches!(name_use, NameUse::Change(key, None) if *key == claim.key && claim.other.is_none());
            if !is_same {
                self.release(id);
            }
        }
        let blocker = match name_use {
            NameUse::None => None,
            NameUse::Read(key) => self.changed(key),
            NameUse::Lock(key, is_deep) => self.before(id, |names, requested| {
                let above = names.change_at_or_above(key, requested);
                above.or_else(|| names.change_inside(key, is_deep, requested))
            }),
            NameUse::List(dir, recursive) => {
                self.before(id, |names, requested| names.change_inside(dir, recursive, requested))
            }
            NameUse::Create(key) => {
                self.opening += 1;
                self.claim(id, key, None, None);
                None
            }
            NameUse::Change(key, other) => {
                self.complete(id, key, other);
                let Some(claim) = self.claims.get_mut(&id).filter(|claim| claim.missing > 0) else { return Some(op) };
                claim.parked = Some(Box::new(op));
                return None;
            }
        };
        match blocker.and_then(|key| self.names.get_mut(&key)) {
            Some(queue) => {
                queue.waiting.push_back(Waiter::Reader(id, op));
                None
            }
            None => Some(op),
        }
    }

    /// A change has been received in full: its claim counts for readers from here on.
    fn complete(&mut self, id: OpId, key: &Key, other: Option<&Key>) {
        let number = Some(self.completed + 1);
        match self.claims.get_mut(&id) {
            Some(claim) if claim.number.is_some() => return,
            Some(claim) => {
                self.opening -= 1;
                claim.number = number;
            }
            None => self.claim(id, key, other, number),
        }
        self.completed += 1;
    }

    fn claim(&mut self, id: OpId, key: &Key, other: Option<&Key>, number: Option<u64>) {
        let mut missing = 0;
        for key in [Some(key), other].into_iter().flatten() {
            match self.names.entry(key.clone()) {
                Entry::Occupied(mut queue) => {
                    queue.get_mut().waiting.push_back(Waiter::Claim(id));
                    missing += 1;
                }
                Entry::Vacant(entry) => {
                    entry.insert(Queue { holder: id, waiting: VecDeque::new() });
                }
            }
        }
        let (key, other) = (key.clone(), other.cloned());
        self.claims.insert(id, Claim { key, other, missing, number, parked: None });
    }

    /// The whole body of a change of `key` has been received, though its last writes may still be under way:
    /// its order among the changes of the name is fixed, and readers wait from here on.
    pub(super) fn announce(&mut self, id: OpId, key: &Key) {
        if self.claims.get(&id).is_none_or(|claim| claim.key == *key) {
            self.complete(id, key, None);
        }
    }

    /// True for an upload whose body may be in the kernel, complete, without having been read.
    pub(super) fn is_opening(&self, id: OpId) -> bool {
        // Asked after every drive, and nearly always there is none.
        self.opening > 0 && self.claims.get(&id).is_some_and(|claim| claim.number.is_none())
    }

    fn is_changed_in(&self, queue: &Queue, number_max: u64) -> bool {
        let number = |id| self.claims.get(id).and_then(|claim| claim.number);
        let is_change = |id| number(id).is_some_and(|number| number <= number_max);
        is_change(&queue.holder)
            || queue.waiting.iter().any(|waiter| matches!(waiter, Waiter::Claim(id) if is_change(id)))
    }

    /// This name, if it has a complete change.
    fn changed(&self, key: &Key) -> Option<Key> {
        self.names.get(key).is_some_and(|queue| self.is_changed_in(queue, u64::MAX)).then(|| key.clone())
    }

    /// What `find` finds among the changes that were complete when this was requested; it waits for that.
    fn before(&mut self, id: OpId, find: impl Fn(&Self, u64) -> Option<Key>) -> Option<Key> {
        let requested = *self.listings.entry(id).or_insert(self.completed);
        let blocker = find(self, requested);
        if blocker.is_none() {
            self.listings.remove(&id);
        }
        blocker
    }

    /// This name or one above it, with a complete change of at most this number.
    fn change_at_or_above(&self, key: &Key, number_max: u64) -> Option<Key> {
        let mut key = key.clone();
        loop {
            if self.names.get(&key).is_some_and(|queue| self.is_changed_in(queue, number_max)) {
                return Some(key);
            }
            if key.is_root() {
                return None;
            }
            key = Key::checked(key.parent());
        }
    }

    /// A name inside `dir`, directly unless the listing is recursive, with a complete change of at most this number.
    /// Later ones do not count: otherwise a directory that always changes could never be listed.
    fn change_inside(&self, dir: &Key, recursive: bool, number_max: u64) -> Option<Key> {
        // Every name below the directory begins with it; the root is before all of them.
        self.names
            .range(dir.clone()..)
            .take_while(|(key, _)| key.as_str().starts_with(dir.as_str()))
            .find(|(key, queue)| {
                let parent = key.parent();
                let is_inside = parent == dir.as_str() || recursive && dir.is_above(key);
                is_inside && self.is_changed_in(queue, number_max)
            })
            .map(|(key, _)| key.clone())
    }

    /// The last operation of `id` has ended, and with it its change, if that was complete.
    pub(super) fn op_ended(&mut self, id: OpId) {
        if !self.is_opening(id) {
            self.release(id);
        }
    }

    /// The claim of `id`, if it had one, is over: releases what waited for it, in order.
    pub(super) fn release(&mut self, id: OpId) {
        let Some(claim) = self.claims.remove(&id) else { return };
        self.opening -= usize::from(claim.number.is_none());
        for key in [Some(claim.key), claim.other].into_iter().flatten() {
            let Entry::Occupied(mut queue) = self.names.entry(key) else { continue };
            if queue.get().holder == id {
                let (key, Queue { waiting, .. }) = queue.remove_entry();
                self.hand_on(key, waiting);
            } else {
                queue.get_mut().waiting.retain(|waiter| !matches!(waiter, Waiter::Claim(other) if *other == id));
            }
        }
    }

    /// `key` has no holder any more: releases the operations up to the next claim, which holds it then.
    fn hand_on(&mut self, key: Key, mut waiting: VecDeque<Waiter>) {
        while let Some(next) = waiting.pop_front() {
            match next {
                Waiter::Reader(id, op) => {
                    if let Some(op) = self.acquire(id, op) {
                        self.released.push_back((id, op));
                    }
                }
                Waiter::Claim(holder) => {
                    self.names.insert(key, Queue { holder, waiting });
                    let Some(claim) = self.claims.get_mut(&holder) else { return };
                    claim.missing -= 1;
                    if let Some(op) = claim.parked.take_if(|_| claim.missing == 0) {
                        self.released.push_back((holder, *op));
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// The next operation that need not wait any longer.
    pub(super) fn pop_released(&mut self) -> Option<(OpId, Op)> {
        self.released.pop_front()
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.names.is_empty() && self.claims.is_empty() && self.listings.is_empty() && self.opening == 0
    }
}

#[cfg(test)]
mod tests;
