//! One page of a directory in another order than that of bytes, or of the names that a filter leaves, made in steps.
//!
//! As in byte order, a window has the first names after a place, as keys of that order, and is kept for the next page
//! while the directory has the times that it had. Where what stands at the names decides the order, that may change
//! without a trace in the times: then the first page always reads the directory, and later ones have the order that was
//! found. What is at a name is looked up for each page.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Dir, fstat};

use crate::error::{Failure, StoreError};
use crate::object::{Details, Entry, Key, Listing};
use crate::order::{By, Order};
use crate::os::process::clock;
use crate::platform::Hides;
use crate::store::fs::errno;
use crate::store::fs::list::{Name, cost, page};
use crate::store::fs::names::{Gather, Times, Type, Window};
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::{self, DirId};
use crate::wire::key::UNNAMED;

/// A step ends after this time: other listings and reads wait as long.
const STEP: Duration = Duration::from_millis(10);
/// Names between two looks at the clock.
const NAMES_AT_ONCE: usize = 64;

const NO_SUCH_AFTER: Failure = Failure::Malformed("after= is not from the Link of a listing in this order");

/// The page that is being made.
#[derive(Debug)]
pub(crate) struct SortedPage {
    key: Key,
    order: Order,
    /// The place after which the next name is.
    after: Vec<u8>,
    /// A window that was kept may be used.
    takes_kept: bool,
    limit: usize,
    bytes_max: usize,
    hides: Option<Hides>,
    entries: Vec<Entry>,
    bytes: usize,
    /// The next window, while it is being made.
    reading: Option<Box<Reading>>,
}

/// A directory of which some names were read.
#[derive(Debug)]
struct Reading {
    dir: OwnedFd,
    names: Dir,
    gather: Gather,
    total: u64,
    id: DirId,
    times: Times,
    begun: SystemTime,
}

/// Where the next names are from.
enum Source {
    Kept(OwnedFd, Arc<Window>),
    Directory(Box<Reading>),
}

impl SortedPage {
    pub(crate) fn new(
        key: Key,
        order: Order,
        after: Option<&str>,
        (limit, bytes_max): (usize, usize),
        hides: Option<Hides>,
    ) -> Result<Self, StoreError> {
        let takes_kept = after.is_some() || !order.is_by_content();
        let place = after.map_or(Some(Vec::new()), |after| order.place(after));
        let after = place.ok_or(StoreError::refused(NO_SUCH_AFTER, "after"))?;
        let (entries, bytes, reading) = (Vec::new(), 0, None);
        Ok(Self { key, order, after, takes_kept, limit: limit.max(1), bytes_max, hides, entries, bytes, reading })
    }

    pub(crate) fn path(&self) -> &str {
        self.key.as_str()
    }

    /// Continues for a short time; the page once it is made.
    pub(crate) fn step(&mut self, fs: &FileSystem) -> Result<Option<Listing>, StoreError> {
        let end = clock() + STEP;
        loop {
            let (dir, window) = match self.reading.take() {
                None => match self.begin(fs)? {
                    Source::Kept(dir, window) => (dir, window),
                    Source::Directory(reading) => {
                        self.reading = Some(reading);
                        continue;
                    }
                },
                Some(mut reading) => {
                    if !self.read(fs, &mut reading, end)? {
                        self.reading = Some(reading);
                        return Ok(None);
                    }
                    self.finish(fs, reading)?
                }
            };
            if let Some(more) = self.show(fs, &dir, &window)? {
                return Ok(Some(self.page(&window, more)));
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "compared with the times of a directory")]
    fn begin(&mut self, fs: &FileSystem) -> Result<Source, StoreError> {
        fs.health.check_readable()?;
        let path = self.key.as_str();
        let dir = fs.open_listed(path)?;
        // Before the times are looked at: what changes from here on gets later ones.
        let begun = SystemTime::now();
        let stat = fstat(&dir).map_err(|e| errno::broken("fstat folder", path, e))?;
        let (id, times) = (stat::id(&stat), Times::of(&stat));
        if self.takes_kept
            && let Some(window) = fs.windows.find(id, times, &self.order, &self.after)
        {
            return Ok(Source::Kept(dir, window));
        }
        let names = fs.names_from_first(dir.as_fd(), path)?;
        let gather = Gather::new(fs.windows.bounds);
        Ok(Source::Directory(Box::new(Reading { dir, names, gather, total: 0, id, times, begun })))
    }

    /// Reads names until `end`. True if there are no more.
    fn read(&self, fs: &FileSystem, reading: &mut Reading, end: Instant) -> Result<bool, StoreError> {
        loop {
            for _ in 0..NAMES_AT_ONCE {
                let Some(entry) = reading.names.read() else { return Ok(true) };
                let entry = entry.map_err(|e| errno::broken("getdents", self.path(), e))?;
                match fs.name_of(&entry) {
                    Name::Listed(name, kind) if self.order.has(name) => {
                        let Some(key) = self.place(fs, &reading.dir, name, kind)? else { continue };
                        reading.total += 1;
                        if key > self.after {
                            reading.gather.offer_key(&key, kind);
                        }
                    }
                    Name::Listed(..) | Name::Hidden => {}
                    Name::Unlisted => reading.gather.count_unlisted(),
                }
            }
            if clock() >= end {
                return Ok(false);
            }
        }
    }

    /// The key of a name; `None` if it is gone, or is not listed.
    fn place(&self, fs: &FileSystem, dir: &OwnedFd, name: &str, kind: Type) -> Result<Option<Vec<u8>>, StoreError> {
        let is_looked_at = self.order.is_by_content() || kind == Type::Other && self.order.by != By::Bytes;
        if !is_looked_at {
            return Ok(Some(self.order.key(name, kind == Type::Dir, 0)));
        }
        let found = fs.entry(dir.as_fd(), self.path(), name, kind)?;
        Ok(found.map(|(_, entry)| self.order.key(name, entry.is_dir, self.order.rank(entry.node.as_ref()))))
    }

    /// All names were read: the window is kept if it may be.
    fn finish(&mut self, fs: &FileSystem, reading: Box<Reading>) -> Result<(OwnedFd, Arc<Window>), StoreError> {
        let Reading { dir, gather, total, id, times, begun, .. } = *reading;
        let unlisted = gather.unlisted();
        let (names, complete) = gather.finish();
        let (order, after) = (self.order.clone(), self.after.as_slice().into());
        let window = Window { dir: id, times, order, after, names, complete, unlisted, total: Some(total) };
        let window = Arc::new(window);
        fs.keep(dir.as_fd(), self.path(), begun, &window)?;
        self.takes_kept = true;
        Ok((dir, window))
    }

    /// Adds the names of a window to the page. True if it is full, false if no name is left, and `None` if another window
    /// follows.
    fn show(&mut self, fs: &FileSystem, dir: &OwnedFd, window: &Window) -> Result<Option<bool>, StoreError> {
        for (key, kind) in window.keys_after(&self.after) {
            let Some((name, rank)) = self.order.name_of(key) else { continue };
            if self.hides.as_ref().is_some_and(|hides| hides.hides(&name)) {
                continue;
            }
            let Some((_, entry)) = fs.entry(dir.as_fd(), self.path(), &name, kind)? else { continue };
            self.bytes += cost(&entry, Details::default());
            if !self.entries.is_empty() && (self.entries.len() >= self.limit || self.bytes > self.bytes_max) {
                return Ok(Some(true));
            }
            self.entries.push(Entry { rank, ..entry });
        }
        match window.next_key() {
            Some(last) => self.after = last.to_vec(),
            None => return Ok(Some(false)),
        }
        // Whether more follows is then to be seen from what is shown.
        let is_full = self.entries.len() >= self.limit && self.hides.is_none();
        Ok(is_full.then_some(true))
    }

    fn page(&mut self, window: &Window, more: bool) -> Listing {
        let hides_unnamed = self.hides.as_ref().is_some_and(|hides| hides.hides(UNNAMED));
        let unlisted = if hides_unnamed { 0 } else { window.unlisted };
        // The number of all would tell how many are hidden.
        let total = window.total.filter(|_| self.hides.is_none());
        Listing { total, ..page(std::mem::take(&mut self.entries), more, unlisted) }
    }
}
