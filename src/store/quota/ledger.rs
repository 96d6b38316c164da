//! The books under their lock, what an upload holds of them, and the guard of a change.
//!
//! Without a quota nothing here locks or allocates. The lock is held for a few look-ups, so the loop may take it; no
//! other lock is taken meanwhile but that of one holding.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::{Fixed, Quota};
use crate::error::{Failure, StoreError};
use crate::object::{Key, Usage};
use crate::store::fs::resolve::join;
use crate::store::fs::stat::DirId;
use crate::store::mutex::lock;
use crate::store::quota::books::Books;
use crate::store::quota::entries::{AccountId, Charges, End};

/// An upload that does not hold all of its length holds this number of bytes more at a time.
const STEP: u64 = 1024 * 1024;
/// Least time between two counts of one prefix.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const FILE_LOCKS: usize = 256;
/// Memory for what one upload holds, for the accounting.
pub const HOLDING_BYTES: usize = size_of::<Holding>() + 16 * size_of::<(u64, u64)>() + 64;

/// All quotas of a store.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// False while there is none: then nothing is locked.
    is_used: AtomicBool,
    books: Mutex<Books>,
    /// Each for some of all files.
    files: [Mutex<()>; FILE_LOCKS],
    hasher: RandomState,
    /// Time between two counts of one prefix.
    pub(crate) interval: Duration,
}

/// What one upload holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    quotas: Arc<Quotas>,
    charges: Mutex<Charges>,
    /// Its upload may have this many bytes without holding more.
    covered: AtomicU64,
}

/// A change of one or two names. Dropped before it is done, it has failed.
#[derive(Debug)]
pub(crate) struct Changing<'a> {
    quotas: &'a Quotas,
    numbers: [Option<u64>; 2],
    holding: Option<&'a Holding>,
    end: End,
}

/// A directory is being moved, or removed with its content, until this is dropped. It is not counted meanwhile.
#[derive(Debug)]
pub(crate) struct MovingDir {
    quotas: Arc<Quotas>,
    number: u64,
}

/// What a tree of files that is being made holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct TreeHolding {
    quotas: Arc<Quotas>,
    key: Key,
    charges: Charges,
}

const fn refused(failure: Failure) -> StoreError {
    StoreError::refused(failure, "quota")
}

impl Quotas {
    pub(crate) fn new(limits: &Fixed) -> Arc<Self> {
        let interval = limits.quota_count_interval.max(INTERVAL_MIN);
        let files = std::array::from_fn(|_| Mutex::default());
        let (is_used, books, hasher) = (AtomicBool::new(false), Mutex::default(), RandomState::new());
        Arc::new(Self { is_used, books, files, hasher, interval })
    }

    /// These hold from now on.
    pub(crate) fn set(&self, quotas: &[Quota], now: Instant) {
        let mut books = lock(&self.books);
        books.set(quotas, now);
        self.is_used.store(!quotas.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// From the look at these files to the end of their changes. Requests know them by other paths once a directory above
    /// them was moved, so a lock of the path is not enough for what is counted to be what is changed.
    pub(crate) fn lock_files(&self, files: &[(DirId, &[u8])]) -> Vec<MutexGuard<'_, ()>> {
        if !self.is_used() {
            return Vec::new();
        }
        let mut locks: Vec<_> = files.iter().map(|file| self.hasher.hash_one(file) as usize % FILE_LOCKS).collect();
        // In one order everywhere: two moves never wait for each other.
        locks.sort_unstable();
        locks.dedup();
        locks.into_iter().map(|at| lock(&self.files[at])).collect()
    }

    /// Holds what an upload of this length will take, or refuses it; `None` where there is no quota. `parts`: what the
    /// uploads hold that it is concatenated from.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        key: &Key,
        len: Option<u64>,
        parts: &[Arc<Holding>],
    ) -> Result<Option<Arc<Holding>>, StoreError> {
        if !self.is_used() {
            return Ok(None);
        }
        // Without a length, a quota that is full is reported at once.
        let (mut books, mut charges, bytes) = (self.books(), Charges::new(), len.unwrap_or(1));
        books.reserve(key.as_str(), bytes, &mut charges, &sum(parts)).map_err(refused)?;
        Ok(self.holding(charges, bytes))
    }

    /// The same for an upload that outlives its connection: one that does not fit is refused, and one that does holds
    /// only what comes. What is announced and never sent must not keep the quota from others.
    pub(crate) fn announce(
        self: &Arc<Self>,
        key: &Key,
        len: Option<u64>,
        parts: &[Arc<Holding>],
    ) -> Result<Option<Arc<Holding>>, StoreError> {
        if !parts.is_empty() {
            return self.reserve(key, len, parts); // all of it has come
        }
        drop(self.reserve(key, len, parts)?);
        self.reserve(key, None, parts)
    }

    /// The same for an upload that is there already, whether the quota permits it or not. `held`: what it holds by now.
    pub(crate) fn recover(self: &Arc<Self>, key: &Key, bytes: u64, held: Option<Arc<Holding>>) -> Option<Arc<Holding>> {
        if !self.is_used() {
            return held;
        }
        let mut books = self.books();
        let Some(held) = held else {
            let mut charges = Charges::new();
            books.recover(key.as_str(), bytes, &mut charges);
            return self.holding(charges, bytes);
        };
        books.recover(key.as_str(), bytes, &mut lock(&held.charges));
        held.covered.fetch_max(bytes, Ordering::Relaxed);
        Some(Arc::clone(&held))
    }

    /// For a tree that will have this name.
    pub(crate) const fn holding_tree(self: Arc<Self>, key: Key) -> TreeHolding {
        TreeHolding { quotas: self, key, charges: Charges::new() }
    }

    fn holding(self: &Arc<Self>, charges: Charges, bytes: u64) -> Option<Arc<Holding>> {
        let (quotas, covered) = (Arc::clone(self), AtomicU64::new(bytes));
        (!charges.is_empty()).then(|| Arc::new(Holding { quotas, charges: Mutex::new(charges), covered }))
    }

    /// A file is about to get this name, of `after` bytes in place of one of `before`.
    pub(crate) fn storing<'a>(
        &'a self,
        key: &Key,
        (before, after): (Option<u64>, u64),
        holding: Option<&'a Holding>,
        parts: &[Arc<Holding>],
    ) -> Result<Option<Changing<'a>>, StoreError> {
        if !self.is_used() {
            return Ok(None);
        }
        let mut books = self.books();
        let mut none = Charges::new();
        let mut held = holding.map(|holding| lock(&holding.charges));
        let charges = held.as_deref_mut().unwrap_or(&mut none);
        let number = books.begin_store(key.as_str(), (before, after), charges, &sum(parts)).map_err(refused)?;
        Ok(self.changing([number, None], holding))
    }

    /// A file of this many bytes is about to be removed.
    pub(crate) fn removing(&self, key: &Key, before: u64) -> Option<Changing<'_>> {
        if !self.is_used() {
            return None;
        }
        let number = self.books().begin_remove(key.as_str(), before);
        self.changing([number, None], None)
    }

    /// A file of `bytes` is about to be moved, over one of `replaced`.
    pub(crate) fn moving(
        &self,
        (from, to): (&Key, &Key),
        (bytes, replaced): (u64, Option<u64>),
    ) -> Result<Option<Changing<'_>>, StoreError> {
        if !self.is_used() {
            return Ok(None);
        }
        let numbers = self.books().begin_move((from.as_str(), to.as_str()), (bytes, replaced)).map_err(refused)?;
        Ok(self.changing(numbers, None))
    }

    /// A directory is about to be moved.
    pub(crate) fn moving_dir(self: &Arc<Self>, from: &Key, to: &Key) -> Result<Option<MovingDir>, StoreError> {
        if !self.is_used() {
            return Ok(None);
        }
        let begun = self.books().begin_move_dir(from.as_str(), to.as_str()).map_err(refused)?;
        Ok(begun.map(|number| MovingDir { quotas: Arc::clone(self), number }))
    }

    /// What has this name is about to be moved to the trash. Quotas that are set later count it as well.
    pub(crate) fn removing_dir(self: &Arc<Self>, key: &Key) -> Result<MovingDir, StoreError> {
        let number = self.books().begin_remove_dir(key.as_str()).map_err(refused)?;
        Ok(MovingDir { quotas: Arc::clone(self), number })
    }

    /// What earlier processes have left in the trash is about to be removed.
    pub(crate) fn removing_left(self: &Arc<Self>) -> MovingDir {
        MovingDir { number: self.books().begin_remove_left(), quotas: Arc::clone(self) }
    }

    /// The quota of bytes that has the least left for a name, and how much of it is taken.
    pub(crate) fn usage(&self, key: &Key) -> Result<Option<Usage>, StoreError> {
        if !self.is_used() {
            return Ok(None);
        }
        self.books().usage(key.as_str()).map_err(refused)
    }

    /// Refuses new directories under a quota until its first count has ended.
    pub(crate) fn check_counted(&self, path: &str) -> Result<(), StoreError> {
        if self.is_used() { self.books().check_counted(path).map_err(refused) } else { Ok(()) }
    }

    /// A directory is about to be made.
    pub(crate) fn making_dir(&self, above: &str, name: &str) {
        if self.is_used() {
            self.books().made_dir(&join(above, name));
        }
    }

    fn changing<'a>(&'a self, numbers: [Option<u64>; 2], holding: Option<&'a Holding>) -> Option<Changing<'a>> {
        let is_any = numbers.iter().any(Option::is_some);
        is_any.then(|| Changing { quotas: self, numbers, holding, end: End::Failed })
    }
}

/// What these hold together.
fn sum(holdings: &[Arc<Holding>]) -> Charges {
    holdings.iter().flat_map(|holding| lock(&holding.charges).clone()).collect()
}

impl Holding {
    /// Refuses an upload that would have this number of `bytes` in the end.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        self.quotas.books().admit_more(bytes, &lock(&self.charges)).map(drop).map_err(refused)
    }

    /// Its upload has this number of bytes, and nothing adds to it: gives back what is held besides.
    pub(crate) fn shrink_to(&self, bytes: u64) {
        self.quotas.books().shrink(bytes, &mut lock(&self.charges));
        self.covered.store(bytes, Ordering::Relaxed);
    }

    /// Holds enough for an upload that has this number of bytes, of `len` if that is known, or refuses more.
    pub(crate) fn cover(&self, bytes: u64, len: Option<u64>) -> Result<(), StoreError> {
        if bytes <= self.covered.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (mut books, mut charges) = (self.quotas.books(), lock(&self.charges));
        let step = bytes.checked_next_multiple_of(STEP).unwrap_or(bytes).min(len.unwrap_or(u64::MAX)).max(bytes);
        let to = match books.grow(step, &mut charges) {
            Ok(()) => step,
            Err(_) => books.grow(bytes, &mut charges).map(|()| bytes).map_err(refused)?,
        };
        self.covered.fetch_max(to, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let charges = self.charges.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.quotas.books().release(charges);
    }
}

impl TreeHolding {
    /// Holds another file of this length, or refuses it.
    pub(crate) fn add(&mut self, len: u64) -> Result<(), StoreError> {
        if !self.quotas.is_used() {
            return Ok(());
        }
        self.quotas.books().hold_file(self.key.as_str(), len, &mut self.charges).map_err(refused)
    }

    /// The tree has its name; `moving` has kept counts away.
    pub(crate) fn is_stored(&mut self, moving: Option<MovingDir>) {
        if !self.charges.is_empty() {
            self.quotas.books().tree_is_stored(&mut self.charges);
        }
        drop(moving);
    }
}

impl Drop for TreeHolding {
    fn drop(&mut self) {
        if !self.charges.is_empty() {
            self.quotas.books().release(&mut self.charges);
        }
    }
}

impl Changing<'_> {
    /// It has happened.
    pub(crate) fn done(mut self) {
        self.end = End::Done;
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let mut books = self.quotas.books();
        let mut none = Charges::new();
        let mut held = self.holding.map(|holding| lock(&holding.charges));
        for number in self.numbers.into_iter().flatten() {
            books.end(number, self.end, held.as_deref_mut().unwrap_or(&mut none));
        }
    }
}

impl MovingDir {
    /// True if a quota may count what is in it.
    pub(crate) fn is_counted(&self) -> bool {
        self.quotas.is_used()
    }

    /// As [`Quotas::lock_files`].
    pub(crate) fn lock_file(&self, dir: DirId, name: &[u8]) -> Vec<MutexGuard<'_, ()>> {
        self.quotas.lock_files(&[(dir, name)])
    }

    /// A file of this length in it is removed.
    pub(crate) fn removed(&self, len: u64) {
        self.quotas.books().removed(self.number, len);
    }

    /// The accounts there are have a lower number than this.
    pub(crate) fn begin_narrowing(&self) -> u64 {
        self.quotas.books().number()
    }

    /// What has this mark may count for these accounts.
    pub(crate) fn note(&self, mark: Option<&str>, kept: &mut HashSet<AccountId>) {
        kept.extend(self.quotas.books().marked(mark));
    }

    /// Only these of the accounts that there were are concerned.
    pub(crate) fn narrow(&self, began: u64, kept: &HashSet<AccountId>) {
        self.quotas.books().narrow(self.number, began, kept);
    }
}

impl Drop for MovingDir {
    fn drop(&mut self) {
        self.quotas.books().end_moving(self.number);
    }
}
