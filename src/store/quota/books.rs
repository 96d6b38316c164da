//! The numbers of all quotas, of bytes or of names: those stored, those of changes under way, and those that uploads hold. Pure: it locks
//! nothing and touches no file.
//!
//! What is stored under a prefix never grows over its quota by a change of this process: all that may still come is
//! counted before, in one step for all quotas on the way up.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::config::{Quota, QuotaUnit};
use crate::error::Failure;
use crate::object::Usage;
use crate::store::quota::cursor::{Cursor, Next};
use crate::store::quota::entries::{AccountId, Change, Charges, Moving, held};

/// Time until a count that was given up begins again; twice that after each.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_DOUBLINGS: u32 = 8;

/// The quota of one prefix.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) prefix: Box<str>,
    pub(crate) unit: QuotaUnit,
    pub(crate) max: u64,
    /// `None` until what is there was counted.
    pub(crate) stored: Option<u64>,
    /// Of changes under way that store something.
    pub(crate) pending: u64,
    /// Held for uploads.
    pub(crate) reserved: u64,
    /// Directories that were moved within it.
    pub(crate) moves: u64,
    /// Directories in it that are being moved, or removed with their content.
    pub(crate) moving: usize,
    /// When it is counted again.
    due: Instant,
    /// Counts in a row that were given up.
    given_up: u32,
}

impl Account {
    /// Refuses what would be stored besides.
    fn admit(&self, bytes: u64) -> Result<(), Failure> {
        let Some(stored) = self.stored else { return Err(Failure::Counting) };
        let all = [self.pending, self.reserved, bytes].iter().fold(stored, |sum, part| sum.saturating_add(*part));
        if all > self.max { Err(Failure::OverQuota) } else { Ok(()) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    by_prefix: HashMap<Box<str>, Vec<AccountId>>,
    /// Of accounts, changes and counts.
    last_number: u64,
    pub(crate) changes: Vec<Change>,
    /// Directories that are being moved, or removed with their content, by number.
    pub(crate) moving: HashMap<u64, Moving>,
    /// How often other quotas were set.
    pub(crate) sets: u64,
    pub(crate) cursor: Option<Cursor>,
}

/// What a count has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) prefix: Box<str>,
    pub(crate) unit: QuotaUnit,
    pub(crate) max: u64,
    pub(crate) before: Option<u64>,
    pub(crate) now: u64,
}

/// The count was given up: a directory was moved, or other quotas hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GivenUp;

/// What follows after a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Dir(String),
    Counted(Counted),
}

impl Books {
    pub(crate) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// These quotas hold from now on. Of a prefix that had one, the numbers stay.
    pub(crate) fn set(&mut self, quotas: &[Quota], now: Instant) {
        let is_of = |quota: &Quota, account: &Account| (&quota.prefix, quota.unit) == (&account.prefix, account.unit);
        self.accounts.retain(|_, account| quotas.iter().any(|quota| is_of(quota, account)));
        for quota in quotas {
            if let Some(account) = self.accounts.values_mut().find(|account| is_of(quota, account)) {
                account.max = quota.max;
                continue;
            }
            let id = self.number();
            let Quota { prefix, unit, max } = quota.clone();
            let moving = self.add_to_moving(id, &prefix);
            let account = Account {
                prefix,
                unit,
                max,
                stored: None,
                pending: 0,
                reserved: 0,
                moves: 0,
                moving,
                due: now,
                given_up: 0,
            };
            self.accounts.insert(id, account);
        }
        self.by_prefix.clear();
        for (id, account) in &self.accounts {
            self.by_prefix.entry(Box::clone(&account.prefix)).or_default().push(*id);
        }
        // A change under way does not know of the new ones.
        self.sets += 1;
        self.give_up_count();
    }

    /// The accounts of all prefixes that a path is under, itself included.
    pub(crate) fn covering(&self, path: &str) -> Vec<AccountId> {
        let mut found = Vec::new();
        let mut front = Some(path);
        while let Some(prefix) = front {
            found.extend(self.by_prefix.get(prefix).into_iter().flatten());
            let above = || prefix.rsplit_once('/').map_or("", |(above, _)| above);
            front = (!prefix.is_empty()).then(above);
        }
        found
    }

    /// Those of them that count bytes. An upload holds no name before it gets it.
    fn covering_bytes(&self, path: &str) -> impl Iterator<Item = AccountId> {
        self.covering(path).into_iter().filter(|id| self.accounts[id].unit == QuotaUnit::Bytes)
    }

    /// The quota of bytes that has the least left for `path`, and how much of it is taken.
    pub(crate) fn usage(&self, path: &str) -> Result<Option<Usage>, Failure> {
        let usage = |id| {
            let Account { stored, pending, reserved, max, .. } = &self.accounts[&id];
            let stored = stored.ok_or(Failure::Counting)?;
            Ok(Usage { max: *max, used: stored.saturating_add(*pending).saturating_add(*reserved) })
        };
        let all: Vec<_> = self.covering_bytes(path).map(usage).collect::<Result<_, Failure>>()?;
        Ok(all.into_iter().min_by_key(|usage| usage.max.saturating_sub(usage.used)))
    }

    /// Raises what an upload holds for `path` to `bytes`, or to what is missing of that in `credit`; or refuses it, and
    /// changes nothing.
    pub(crate) fn reserve(
        &mut self,
        path: &str,
        bytes: u64,
        charges: &mut Charges,
        credit: &Charges,
    ) -> Result<(), Failure> {
        let missing = |id| bytes.saturating_sub(held(charges, id)).saturating_sub(held(credit, id));
        let wanted: Charges = self.covering_bytes(path).map(|id| (id, missing(id))).collect();
        for (id, bytes) in &wanted {
            let account = &self.accounts[id];
            match *bytes {
                0 if account.stored.is_some() => {}
                bytes => account.admit(bytes)?,
            }
        }
        self.charge(&wanted, charges);
        Ok(())
    }

    /// The same for what is there already, whether a quota permits it or not.
    pub(crate) fn recover(&mut self, path: &str, bytes: u64, charges: &mut Charges) {
        let missing = |id| (id, bytes.saturating_sub(held(charges, id)));
        let wanted: Charges = self.covering_bytes(path).map(missing).collect();
        self.charge(&wanted, charges);
    }

    /// Raises what is held to `bytes` in each account, or refuses it, and changes nothing.
    pub(crate) fn grow(&mut self, bytes: u64, charges: &mut Charges) -> Result<(), Failure> {
        let wanted = self.admit_more(bytes, charges)?;
        self.charge(&wanted, charges);
        Ok(())
    }

    /// What is missing in each account of `bytes`, or a refusal.
    pub(crate) fn admit_more(&self, bytes: u64, charges: &Charges) -> Result<Charges, Failure> {
        let missing = charges.iter().map(|(id, held)| (*id, bytes.saturating_sub(*held)));
        let wanted: Charges = missing.filter(|(id, bytes)| *bytes > 0 && self.accounts.contains_key(id)).collect();
        for (id, bytes) in &wanted {
            self.accounts[id].admit(*bytes)?;
        }
        Ok(wanted)
    }

    pub(crate) fn charge(&mut self, wanted: &Charges, charges: &mut Charges) {
        for (id, bytes) in wanted {
            let Some(account) = self.accounts.get_mut(id) else { continue };
            account.reserved = account.reserved.saturating_add(*bytes);
            match charges.iter_mut().find(|(held, _)| held == id) {
                Some((_, held)) => *held = held.saturating_add(*bytes),
                None => charges.push((*id, *bytes)),
            }
        }
    }

    /// Holds another file of a tree that is made for `path`, or refuses it.
    pub(crate) fn hold_file(&mut self, path: &str, len: u64, charges: &mut Charges) -> Result<(), Failure> {
        let wanted = |id| (id, self.accounts[&id].unit.of(Some(len)));
        let wanted: Charges = self.covering(path).into_iter().map(wanted).collect();
        for (id, amount) in &wanted {
            self.accounts[id].admit(*amount)?;
        }
        self.charge(&wanted, charges);
        Ok(())
    }

    /// The tree has its name: what was held for it is stored. It is not counted meanwhile.
    pub(crate) fn tree_is_stored(&mut self, charges: &mut Charges) {
        for (id, amount) in charges.drain(..) {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.reserved = account.reserved.saturating_sub(amount);
                account.stored = account.stored.map(|stored| stored.saturating_add(amount));
            }
        }
    }

    /// Gives back what is held above `bytes` in each account.
    pub(crate) fn shrink(&mut self, bytes: u64, charges: &mut Charges) {
        for (id, held) in charges.iter_mut() {
            let surplus = held.saturating_sub(bytes);
            *held -= surplus;
            if let Some(account) = self.accounts.get_mut(id) {
                account.reserved = account.reserved.saturating_sub(surplus);
            }
        }
    }

    /// Gives back all that is held.
    pub(crate) fn release(&mut self, charges: &mut Charges) {
        for (id, bytes) in charges.drain(..) {
            if let Some(account) = self.accounts.get_mut(&id) {
                account.reserved = account.reserved.saturating_sub(bytes);
            }
        }
    }

    /// Refuses to store a file of this length in place of one of the other, of which `own` is held by the upload and
    /// `credit` by those that it is concatenated from.
    pub(crate) fn admit_store(
        &self,
        id: AccountId,
        (after, before): (Option<u64>, Option<u64>),
        (own, credit): (u64, u64),
    ) -> Result<(), Failure> {
        let account = &self.accounts[&id];
        let [bytes, replaced] = [after, before].map(|len| account.unit.of(len));
        if account.unit == QuotaUnit::Names && replaced > 0 {
            return Ok(()); // never two of one name
        }
        let Some(stored) = account.stored else { return Err(Failure::Counting) };
        let missing = bytes.saturating_sub(own).saturating_sub(credit);
        if missing > 0 {
            account.admit(missing)?;
        }
        // What is held may be more than the quota is by now.
        let all = stored.saturating_add(account.pending).saturating_add(bytes);
        if all > account.max.saturating_add(replaced) { Err(Failure::OverQuota) } else { Ok(()) }
    }

    /// As if all counts were due.
    pub(crate) fn make_due(&mut self, now: Instant) {
        self.accounts.values_mut().for_each(|account| account.due = now);
    }

    /// The next count is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.accounts.values().map(|account| account.due).min()
    }

    /// Begins a count that is due: its number, and of which prefix. One at a time.
    pub(crate) fn begin_count(&mut self, now: Instant) -> Option<(u64, Box<str>)> {
        if self.cursor.is_some() {
            return None;
        }
        let due = self.accounts.iter().filter(|(_, account)| account.due <= now && account.moving == 0);
        let (id, _) = due.min_by_key(|(_, account)| (account.stored.is_some(), account.due))?;
        let (id, number) = (*id, self.number());
        let account = self.accounts.get_mut(&id)?;
        account.due = now + RETRY_MIN * (1 << account.given_up.min(RETRY_DOUBLINGS));
        account.given_up += 1;
        let prefix = Box::clone(&account.prefix);
        self.cursor = Some(Cursor::before(&prefix, (id, account.unit), number));
        Some((number, prefix))
    }

    pub(crate) fn give_up_count(&mut self) {
        self.cursor = None;
    }

    /// What the count of this number works with.
    fn count(&mut self, number: u64) -> Result<&mut Cursor, GivenUp> {
        self.cursor.as_mut().filter(|cursor| cursor.number == number).ok_or(GivenUp)
    }

    /// As [`Cursor::next_file`]. A file that is being changed is left to the change.
    pub(crate) fn next_file(
        &mut self,
        number: u64,
        (dir, read): (&str, Option<&str>),
        end: Option<&str>,
    ) -> Result<(Next, bool), GivenUp> {
        let cursor = self.cursor.as_mut().filter(|cursor| cursor.number == number).ok_or(GivenUp)?;
        let next = cursor.next_file(read, end);
        let Next::Look(name) = &next else { return Ok((next, false)) };
        let is_left = self.changes.iter().any(|change| change.is_of(dir, name));
        if is_left {
            cursor.leave_to_change();
        }
        Ok((next, is_left))
    }

    /// As [`Cursor::looked`]; true too if a change has begun meanwhile, to which it is left.
    pub(crate) fn looked(&mut self, number: u64, (dir, name): (&str, &str), len: Option<u64>) -> Result<bool, GivenUp> {
        let cursor = self.cursor.as_mut().filter(|cursor| cursor.number == number).ok_or(GivenUp)?;
        if self.changes.iter().any(|change| change.is_of(dir, name)) {
            cursor.leave_to_change();
            return Ok(true);
        }
        Ok(cursor.looked(len))
    }

    pub(crate) fn files_are_done(&mut self, number: u64) -> Result<(), GivenUp> {
        self.count(number).map(Cursor::files_are_done)
    }

    /// Continues to the next directory, or ends the count.
    pub(crate) fn next_dir(
        &mut self,
        number: u64,
        read: Option<&str>,
        (now, interval): (Instant, Duration),
    ) -> Result<Then, GivenUp> {
        let cursor = self.count(number)?;
        if let Some(path) = cursor.next_dir(read) {
            return Ok(Then::Dir(path));
        }
        let (id, unit, mut counted) = (cursor.account, cursor.unit, cursor.counted);
        self.cursor = None;
        // The cursor has passed these, and what they change counts when they end.
        let is_passed = |change: &&Change| change.is_charged_to(id) && change.counted_by != Some(number);
        counted += self.changes.iter().filter(is_passed).map(|change| i128::from(unit.of(change.before))).sum::<i128>();
        let account = self.accounts.get_mut(&id).ok_or(GivenUp)?;
        let now_stored = u64::try_from(counted.max(0)).unwrap_or(u64::MAX);
        let before = account.stored.replace(now_stored);
        (account.due, account.given_up) = (now + interval, 0);
        let prefix = Box::clone(&account.prefix);
        Ok(Then::Counted(Counted { prefix, unit, max: account.max, before, now: now_stored }))
    }
}
