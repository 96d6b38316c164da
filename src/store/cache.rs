//! Small files that are requested repeatedly, cached while they are known to be fresh: the smallest in memory,
//! larger ones open. Without the copies in memory, a GET of 4 KiB costs 13 % more.
//!
//! Never stale: a look-up first reads the events of the kernel, unless nothing was
//! received, no operation has ended and no turn has begun since that was read the last time. So it
//! was read after the last byte of the request was received, and a rename, a replacement, a deletion
//! or a write that ended before a request was complete is seen by that request, whatever program made it.
//!
//! * Watched are each cached file (so that writes through another hard link are seen too) and every
//!   directory on the way to it from the root. The directories are watched before the file is opened, and
//!   the file before its content is read: no change falls in between.
//! * What escapes a watch (stores through a mapping; see inotify(7)) is seen within
//!   `Fixed::cache_age_max`, when the file is opened and read again.
//! * Where events are lost or a directory moves, everything is forgotten.
//!
//! Never caches a file at its first request. One that is cached open and then deleted takes
//! room on the disk until the next request or the end of the server: so they are few, and not large.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::config::Fixed;
use crate::object::Meta;
use crate::platform::ReadNow;
use crate::store::fs::errno::TARGET;
use crate::store::fs::inotify::{Event, Watch, WatchId};
use crate::store::fs::read::OpenFile;
use crate::store::fs::resolve::{join, look_flags};
use crate::store::fs::root::FileSystem;

/// Names remembered as asked for lately, by their hash.
const ASKED_LEN: usize = 4096;
/// Memory of one cached file besides its content and three copies of its name, in bytes: entries of
/// the two tables at their worst load, and what the allocator adds.
const ENTRY_BYTES: usize = 512;

/// How the content of a file is cached.
#[derive(Debug)]
pub(crate) enum Content {
    /// In memory: below some pages, to copy them costs less than another call.
    Bytes(Arc<[u8]>),
    Open(Arc<OpenFile>),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Open(_) => 0,
        }
    }
}

#[derive(Debug)]
struct CachedFile {
    content: Content,
    meta: Meta,
    watch: WatchId,
    read: Instant,
}

#[derive(Debug)]
enum Watched {
    File(Box<str>),
    /// A directory by its path; the root has an empty one.
    Dir(Box<str>),
}

#[derive(Debug)]
pub(crate) struct FileCache {
    /// Events were read since the last request was received.
    is_current: bool,
    watch: Watch,
    known: Known,
    files_max: usize,
    bytes_max: usize,
    file_bytes_max: u64,
    open_max: usize,
    open_bytes_max: u64,
    age_max: Duration,
    /// Direct-mapped by one half of the hash of a requested name; holds the other half.
    asked: Box<[u32]>,
    hasher: RandomState,
    swept: Instant,
}

/// What an event can take away.
#[derive(Debug, Default)]
struct Known {
    files: HashMap<Box<str>, CachedFile>,
    dirs: HashSet<Box<str>>,
    watched: HashMap<WatchId, Watched>,
    /// Watches of files that are not cached any more.
    unwatched: Vec<WatchId>,
    bytes: usize,
    open: usize,
}

fn cost(path: &str, len: usize) -> usize {
    len + 3 * path.len() + ENTRY_BYTES
}

impl FileCache {
    /// Keeps nothing yet; `None` if the limits say so, or the kernel does not tell of changes.
    pub(crate) fn new(limits: &Fixed, now: Instant) -> Option<Self> {
        if limits.cache_files_max == 0 {
            return None;
        }
        let watch = Watch::new();
        let watch = watch.inspect_err(|errno| log::info!(target: TARGET, "no file is kept in memory: {errno}")).ok()?;
        Some(Self {
            is_current: false,
            watch,
            known: Known::default(),
            files_max: limits.cache_files_max,
            bytes_max: limits.cache_bytes_max,
            file_bytes_max: limits.cache_file_bytes_max as u64,
            open_max: limits.cache_open_max,
            open_bytes_max: limits.cache_open_bytes_max,
            age_max: limits.cache_age_max,
            asked: vec![0; ASKED_LEN].into_boxed_slice(),
            hasher: RandomState::new(),
            swept: now,
        })
    }

    /// The current content of a file, if it is cached.
    pub(crate) fn get(&mut self, path: &str, now: Instant) -> Option<(&Content, Meta)> {
        if self.known.watched.is_empty() {
            return None;
        }
        if !self.is_current {
            self.read_events();
            self.is_current = true;
        }
        let cached = self.known.files.get(path)?;
        (now.saturating_duration_since(cached.read) < self.age_max).then_some((&cached.content, cached.meta))
    }

    /// A request may have been received since the events were read, or a change may have ended.
    pub(crate) fn invalidate(&mut self) {
        self.is_current = false;
    }

    /// Drops what the kernel has reported as changed.
    fn read_events(&mut self) {
        let known = &mut self.known;
        let mut all = false;
        self.watch.drain(|event| all |= known.apply_event(event));
        if all {
            self.clear();
        }
        for watch in self.known.unwatched.drain(..) {
            self.watch.remove(watch);
        }
    }

    /// A file was opened that is not cached, or for too long: caches it if that is worth it.
    pub(crate) fn opened(&mut self, fs: &FileSystem, path: &str, file: &Arc<OpenFile>, meta: &Meta, now: Instant) {
        let len_max =
            if self.open_max == 0 { self.file_bytes_max } else { self.file_bytes_max.max(self.open_bytes_max) };
        if self.files_max == 0 || meta.len > len_max || !self.is_asked_for_again(path) {
            return;
        }
        let cached = match self.watch_parents(fs, path) {
            Ok(true) => self.insert(fs, path, file, meta, now),
            other => other.map(drop),
        };
        if let Err(errno @ (Errno::NOSPC | Errno::NOENT | Errno::NOMEM)) = cached {
            log::warn!(target: TARGET, "no more files are kept in memory: the kernel does not watch them: {errno}");
            // What is cached is watched, and may stay until it changes or is too old.
            self.files_max = 0;
        }
    }

    /// True from the second request for a name on: files that are asked for once must not cost a watch.
    fn is_asked_for_again(&mut self, path: &str) -> bool {
        let hash = self.hasher.hash_one(path);
        let place = &mut self.asked[usize::try_from(hash).unwrap_or(0) % ASKED_LEN];
        let rest = (hash >> 32) as u32;
        std::mem::replace(place, rest) == rest
    }

    /// True if every directory above the file was watched before it was opened. Those that were not are
    /// watched from now on.
    fn watch_parents(&mut self, fs: &FileSystem, path: &str) -> Result<bool, Errno> {
        let ends = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        let mut all = true;
        for end in std::iter::once(0).chain(ends) {
            let dir = &path[..end];
            if self.known.dirs.contains(dir) {
                continue;
            }
            all = false;
            if self.known.dirs.len() >= self.files_max {
                self.clear();
                break;
            }
            // From the root on, and each before the one below it is opened: so what is renamed
            // meanwhile is told of.
            let Some(Ok(open)) = fs.open_cached(dir, look_flags() | OFlags::DIRECTORY, false) else { break };
            let id = self.watch.add_dir(open.as_fd())?;
            self.known.dirs.insert(dir.into());
            self.known.watched.insert(id, Watched::Dir(dir.into()));
        }
        Ok(all)
    }

    fn insert(
        &mut self,
        fs: &FileSystem,
        path: &str,
        file: &Arc<OpenFile>,
        meta: &Meta,
        now: Instant,
    ) -> Result<(), Errno> {
        let in_memory = usize::try_from(meta.len).ok().filter(|_| meta.len <= self.file_bytes_max);
        let cost = cost(path, in_memory.unwrap_or(0));
        let old = self.known.take(path);
        if !self.make_space(cost, usize::from(in_memory.is_none()), now) {
            old.into_iter().for_each(|old| self.watch.remove(old));
            return Ok(());
        }
        let added = self.watch.add_file(file.fd().as_fd());
        if let Some(old) = old.filter(|old| added != Ok(*old)) {
            self.watch.remove(old);
        }
        let watch = added?;
        if self.known.watched.contains_key(&watch) {
            return Ok(()); // it is cached by another of its names
        }
        let content = match in_memory {
            Some(len) => whole(fs, file, len, meta).map(Content::Bytes),
            None => is_still(file, meta).then(|| Content::Open(Arc::clone(file))),
        };
        match content {
            Some(content) => {
                self.known.bytes += cost;
                self.known.open += usize::from(in_memory.is_none());
                self.known.watched.insert(watch, Watched::File(path.into()));
                self.known.files.insert(path.into(), CachedFile { content, meta: *meta, watch, read: now });
            }
            None => self.watch.remove(watch),
        }
        Ok(())
    }

    /// True if another file fits. Files that were not asked for lately are dropped for it.
    fn make_space(&mut self, bytes: usize, open: usize, now: Instant) -> bool {
        let full = |known: &Known| {
            known.files.len() >= self.files_max
                || known.bytes + bytes > self.bytes_max
                || known.open + open > self.open_max
        };
        if full(&self.known) && now.saturating_duration_since(self.swept) >= self.age_max {
            self.swept = now;
            let old = |cached: &CachedFile| now.saturating_duration_since(cached.read) >= 2 * self.age_max;
            let paths = self.known.files.iter().filter(|(_, cached)| old(cached)).map(|(path, _)| path.clone());
            for path in paths.collect::<Vec<_>>() {
                if let Some(watch) = self.known.take(&path) {
                    self.watch.remove(watch);
                }
            }
        }
        !full(&self.known)
    }

    /// Forgets all files.
    pub(crate) fn clear(&mut self) {
        let Known { watched, unwatched, .. } = std::mem::take(&mut self.known);
        for watch in watched.into_keys().chain(unwatched) {
            self.watch.remove(watch);
        }
    }
}

#[cfg(test)]
impl FileCache {
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.known.files.contains_key(path)
    }

    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.known.files.len() + self.known.dirs.len(), self.known.watched.len(), "a watch leaks");
        self.known.files.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.known.bytes
    }

    pub(crate) fn open(&self) -> usize {
        self.known.open
    }

    /// Watches there are, as the kernel counts them.
    pub(crate) fn watches(&self) -> usize {
        self.watch.len()
    }

    /// Discards the events, as if the kernel had reported none.
    pub(crate) fn deafen(&mut self) {
        self.watch.drain(|_| {});
    }
}

impl Known {
    /// Drops what an event concerns; true if the caller must drop everything.
    fn apply_event(&mut self, event: Event<'_>) -> bool {
        match event {
            Event::Lost => return true,
            Event::Dir(id) if self.watched.contains_key(&id) => return true,
            Event::Name(id, name) => {
                let Some(Watched::Dir(dir)) = self.watched.get(&id) else { return false };
                // What is not UTF-8 has no key.
                if let Ok(name) = std::str::from_utf8(name) {
                    let watch = self.take(&join(dir, name));
                    self.unwatched.extend(watch);
                }
            }
            Event::Itself(id) | Event::Ended(id) => match self.watched.get(&id) {
                Some(Watched::Dir(_)) => return true,
                Some(Watched::File(path)) => {
                    let path = path.clone();
                    let watch = self.take(&path);
                    self.unwatched.extend(watch);
                }
                None => {}
            },
            Event::Dir(_) => {}
        }
        false
    }

    /// Drops a file; the caller must end its watch.
    fn take(&mut self, path: &str) -> Option<WatchId> {
        let cached = self.files.remove(path)?;
        self.watched.remove(&cached.watch);
        self.bytes -= cost(path, cached.content.len());
        self.open -= usize::from(matches!(cached.content, Content::Open(_)));
        Some(cached.watch)
    }
}

/// All of a file, if it is in memory and still the version that `meta` tells of.
fn whole(fs: &FileSystem, file: &OpenFile, len: usize, meta: &Meta) -> Option<Arc<[u8]>> {
    let mut content = vec![0; len];
    let mut at = 0;
    while at < content.len() {
        match fs.read_now(file, at as u64, &mut content[at..], false) {
            Ok(ReadNow::Bytes(n)) if n > 0 => at += n,
            _ => return None,
        }
    }
    is_still(file, meta).then(|| content.into())
}

/// True while the file is the version described by `meta`.
fn is_still(file: &OpenFile, meta: &Meta) -> bool {
    file.etag().is_ok_and(|now| now == meta.etag)
}
