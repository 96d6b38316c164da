//! Changes of names under way: what they store counts from before the system call, what they remove until after it.

use std::collections::HashSet;

use crate::error::Failure;
use crate::store::fs::walk::Place;
use crate::store::quota::books::Books;
use crate::store::quota::cursor::{Cursor, Seen};
use crate::store::quota::entries::{AccountId, Change, Charges, End, Moving, Origin, Part, held, may_be_under};

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Books {
    /// A file of `after` bytes is about to get this name, in place of one of `before`; `charges`: what is held for it.
    /// `None` if there is no quota here.
    pub(crate) fn begin_store(
        &mut self,
        path: &str,
        (before, after): (Option<u64>, u64),
        charges: &mut Charges,
        credit: &Charges,
    ) -> Result<Option<u64>, Failure> {
        let covering = self.covering(path);
        for id in &covering {
            self.admit_store(*id, (Some(after), before), (held(charges, *id), held(credit, *id)))?;
        }
        let pending = |id| self.accounts[&id].unit.of(Some(after));
        let parts = covering.into_iter().map(|id| Part { account: id, pending: pending(id), own: held(charges, id) });
        let parts: Vec<_> = parts.collect();
        self.release(charges);
        Ok(self.begin(path, (before, Some(after)), parts))
    }

    /// A file of this many bytes is about to lose its name.
    pub(crate) fn begin_remove(&mut self, path: &str, before: u64) -> Option<u64> {
        let parts = self.covering(path).into_iter().map(|account| Part { account, pending: 0, own: 0 });
        let parts: Vec<_> = parts.collect();
        self.begin(path, (Some(before), None), parts)
    }

    /// A file of `bytes` is about to be moved over one of `replaced`.
    pub(crate) fn begin_move(
        &mut self,
        (from, to): (&str, &str),
        (bytes, replaced): (u64, Option<u64>),
    ) -> Result<[Option<u64>; 2], Failure> {
        let (source, target) = (self.covering(from), self.covering(to));
        // Of those that have both names, only what is replaced changes.
        let gains = |id: &AccountId| !source.contains(id);
        for id in target.iter().filter(|id| gains(id)) {
            self.admit_store(*id, (Some(bytes), replaced), (0, 0))?;
        }
        let parts = |ids: &[AccountId], pending: &dyn Fn(&AccountId) -> u64| -> Vec<Part> {
            ids.iter().map(|id| Part { account: *id, pending: pending(id), own: 0 }).collect()
        };
        let arriving = parts(&target, &|id| if gains(id) { self.accounts[id].unit.of(Some(bytes)) } else { 0 });
        let leaving = parts(&source, &|_| 0);
        Ok([self.begin(to, (replaced, Some(bytes)), arriving), self.begin(from, (Some(bytes), None), leaving)])
    }

    fn begin(&mut self, path: &str, (before, after): (Option<u64>, Option<u64>), parts: Vec<Part>) -> Option<u64> {
        if parts.is_empty() {
            return None;
        }
        for part in &parts {
            if let Some(account) = self.accounts.get_mut(&part.account) {
                account.pending = account.pending.saturating_add(part.pending);
            }
        }
        let ((dir, name), moves) = (split(path), self.moves(&parts));
        let (dir, name, number) = (Place::of(dir), name.into(), self.number());
        let mut change = Change { number, dir, name, before, after, parts, moves, counted_by: None };
        let cursor = self.cursor.as_ref().filter(|cursor| change.is_charged_to(cursor.account));
        let is_counted = |cursor: &&Cursor| cursor.seen(&change.dir, &change.name) == Seen::Passed;
        change.counted_by = cursor.filter(is_counted).map(|cursor| cursor.number);
        self.changes.push(change);
        Some(number)
    }

    /// The change has ended. One that failed gives back what its upload had held.
    pub(crate) fn end(&mut self, number: u64, end: End, charges: &mut Charges) {
        let Some(at) = self.changes.iter().position(|change| change.number == number) else { return };
        let change = self.changes.swap_remove(at);
        let mut own = Charges::new();
        for part in &change.parts {
            let Some(account) = self.accounts.get_mut(&part.account) else { continue };
            account.pending = account.pending.saturating_sub(part.pending);
            match end {
                End::Done => {
                    let [before, after] = [change.before, change.after].map(|len| account.unit.of(len));
                    let add = |stored: u64| stored.saturating_add(after).saturating_sub(before);
                    account.stored = account.stored.map(add);
                }
                End::Failed if part.own > 0 => own.push((part.account, part.own)),
                End::Failed => {}
            }
        }
        self.charge(&own, charges);
        self.count_change(&change, end);
    }

    /// Tells the count under way.
    fn count_change(&mut self, change: &Change, end: End) {
        let is_elsewhere = change.moves != self.moves(&change.parts);
        let Some(cursor) = &mut self.cursor else { return };
        if is_elsewhere {
            // Its name may be another by now, or under a prefix that it does not know of.
            self.give_up_count();
            return;
        }
        if !change.is_charged_to(cursor.account) {
            return;
        }
        let now = if end == End::Done { change.after } else { change.before };
        if change.counted_by == Some(cursor.number) {
            let [now, before] = [now, change.before].map(|len| i128::from(cursor.unit.of(len)));
            cursor.counted += now - before;
            return;
        }
        match cursor.seen(&change.dir, &change.name) {
            // The count has left it to the change, or has found no such name.
            Seen::Passed => cursor.add(now),
            Seen::Now => cursor.disturb(),
            Seen::Ahead if now.is_some() => cursor.note_file(&change.dir, &change.name),
            Seen::Ahead => {}
        }
    }

    /// Grows with each move of a directory that may have moved a name with these parts, and with other quotas.
    fn moves(&self, parts: &[Part]) -> u64 {
        let accounts = parts.iter().filter_map(|part| self.accounts.get(&part.account));
        self.sets + accounts.map(|account| account.moves).sum::<u64>()
    }

    /// Refuses new directories until the first count has ended, since enough of them make it begin again.
    pub(crate) fn check_counted(&self, path: &str) -> Result<(), Failure> {
        let is_counted = |id: &AccountId| self.accounts[id].stored.is_some();
        if self.covering(path).iter().all(is_counted) { Ok(()) } else { Err(Failure::Counting) }
    }

    /// A directory was made.
    pub(crate) fn made_dir(&mut self, path: &str) {
        let covering = self.covering(path);
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| covering.contains(&cursor.account)) else { return };
        if !cursor.note_dir(path) {
            self.give_up_count();
        }
    }

    /// A directory is about to be moved. `None` if that concerns no quota.
    pub(crate) fn begin_move_dir(&mut self, from: &str, to: &str) -> Result<Option<u64>, Failure> {
        let (source, target) = (self.covering(from), self.covering(to));
        if source.iter().any(|id| !target.contains(id)) || target.iter().any(|id| !source.contains(id)) {
            return Err(Failure::Conflict("a folder cannot move into a quota or out of one"));
        }
        self.check_counted(from)?;
        Ok(if source.is_empty() { None } else { Some(self.begin_moving(source, Origin::Within)) })
    }

    /// A directory is about to be moved out of reach, where it counts until its files are removed.
    pub(crate) fn begin_remove_dir(&mut self, path: &str) -> Result<u64, Failure> {
        self.check_counted(path)?;
        Ok(self.begin_moving(self.covering(path), Origin::Removed(path.into())))
    }

    /// What earlier processes have left in the trash is about to be removed.
    pub(crate) fn begin_remove_left(&mut self) -> u64 {
        self.begin_moving(self.accounts.keys().copied().collect(), Origin::Unknown)
    }

    fn begin_moving(&mut self, within: Vec<AccountId>, origin: Origin) -> u64 {
        for id in &within {
            if let Some(account) = self.accounts.get_mut(id) {
                account.moving += 1;
            }
        }
        self.give_up_count_of(&within);
        let number = self.number();
        self.moving.insert(number, Moving { within, origin });
        number
    }

    /// A new account waits for what was removed under its prefix: the number of these removals.
    pub(crate) fn add_to_moving(&mut self, id: AccountId, prefix: &str) -> usize {
        let is_under =
            |path: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let concerned = self.moving.values_mut().filter(|moving| match &moving.origin {
            Origin::Within => false,
            Origin::Removed(path) => prefix.is_empty() || is_under(path),
            Origin::Unknown => true,
        });
        concerned.map(|moving| moving.within.push(id)).count()
    }

    /// The accounts that what has this mark may count for; all without a mark.
    pub(crate) fn marked(&self, mark: Option<&str>) -> impl Iterator<Item = AccountId> {
        let accounts = self.accounts.iter();
        accounts
            .filter(move |(_, account)| mark.is_none_or(|mark| may_be_under(&account.prefix, mark)))
            .map(|(id, _)| *id)
    }

    /// Of the accounts there were at `began`, only `kept` are concerned.
    pub(crate) fn narrow(&mut self, number: u64, began: u64, kept: &HashSet<AccountId>) {
        let Some(moving) = self.moving.get_mut(&number) else { return };
        for id in moving.within.extract_if(.., |id| *id < began && !kept.contains(id)) {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.moving -= 1;
            }
        }
    }

    pub(crate) fn end_moving(&mut self, number: u64) {
        let Some(Moving { within, .. }) = self.moving.remove(&number) else { return };
        for id in &within {
            if let Some(account) = self.accounts.get_mut(id) {
                account.moving -= 1;
                account.moves += 1;
            }
        }
        self.give_up_count_of(&within);
    }

    /// A file of this length is gone that was in such a directory.
    pub(crate) fn removed(&mut self, number: u64, len: u64) {
        for id in self.moving.get(&number).into_iter().flat_map(|moving| &moving.within) {
            if let Some(account) = self.accounts.get_mut(id) {
                let bytes = account.unit.of(Some(len));
                account.stored = account.stored.map(|stored| stored.saturating_sub(bytes));
            }
        }
    }

    /// Where a directory is in the order of the count changes, and all that is in it.
    fn give_up_count_of(&mut self, accounts: &[AccountId]) {
        if self.cursor.as_ref().is_some_and(|cursor| accounts.contains(&cursor.account)) {
            self.give_up_count();
        }
    }
}
