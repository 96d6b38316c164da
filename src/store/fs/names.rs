//! Names of a directory in their order, kept so that a walk through its pages reads the directory a
//! bounded number of times, and not once for each page.
//!
//! A window holds names only: what stands at them is looked up when a page is made. It is used while
//! the directory has the times that it had when it was read. Two changes within one tick of the file
//! system's clock leave the same time, so a window is kept only if the directory had been at rest for
//! longer than that when the read began: then every later change is seen by its time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use crate::config::Fixed;
use crate::order::Order;
use crate::store::fs::stat::DirId;
use crate::store::mutex::lock;

/// Longer than a tick of the kernel's clock, by which files get their times.
const TICK: Duration = Duration::from_millis(50);
/// The same where times are whole seconds, or every other second.
const COARSE_TICK: Duration = Duration::from_secs(3);

/// When a directory was changed last: equal while no name came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    changed: (i64, u32),
    modified: (i64, u32),
}

impl Times {
    #[allow(clippy::unnecessary_cast, reason = "the width of these fields differs between systems")]
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos = |ns: i128| u32::try_from(ns).unwrap_or(0);
        Self {
            changed: (stat.st_ctime as i64, nanos(i128::from(stat.st_ctime_nsec))),
            modified: (stat.st_mtime as i64, nanos(i128::from(stat.st_mtime_nsec))),
        }
    }

    /// Whether a change from `now` on is certain to give other times.
    pub(crate) fn are_past(self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        [self.changed, self.modified].into_iter().all(|(seconds, nanos)| {
            let tick = if nanos == 0 { COARSE_TICK } else { TICK };
            u64::try_from(seconds).map_or(true, |seconds| Duration::new(seconds, nanos) + tick < now)
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    text: usize,
    names: usize,
    kept: usize,
}

impl Bounds {
    pub(crate) const fn of(limits: &Fixed) -> Self {
        let bytes = limits.list_window_bytes;
        Self { text: bytes / 2, names: bytes / 4 / size_of::<u32>(), kept: limits.list_kept_bytes_max }
    }

    /// Memory of the names.
    pub(crate) const fn bytes(&self) -> usize {
        2 * self.text
    }

    /// For names that are not kept for pages.
    pub(crate) const fn of_bytes(bytes: usize) -> Self {
        Self { text: bytes / 2, names: bytes / 4 / size_of::<u32>(), kept: 0 }
    }
}

/// What the directory itself tells of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    File,
    Dir,
    /// A link, or not known.
    Other,
}

/// The smallest names of those that were offered, as many as the bounds allow.
#[derive(Debug)]
pub(crate) struct Gather {
    names: Names,
    bounds: Bounds,
    /// The smallest name that was left out: no greater one may come in, or there would be a gap.
    bar: Option<Box<[u8]>>,
    /// Names that no protocol can carry.
    unlisted: u64,
}

impl Gather {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { names: Names::default(), bounds, bar: None, unlisted: 0 }
    }

    /// There is a name that no protocol can carry.
    pub(crate) fn count_unlisted(&mut self) {
        self.unlisted += 1;
    }

    pub(crate) const fn unlisted(&self) -> u64 {
        self.unlisted
    }

    pub(crate) fn offer(&mut self, name: &str) {
        self.offer_as(name, Type::Other);
    }

    pub(crate) fn offer_as(&mut self, name: &str, kind: Type) {
        self.offer_key(name.as_bytes(), kind);
    }

    /// Offers a name by its key in another order.
    pub(crate) fn offer_key(&mut self, name: &[u8], kind: Type) {
        if self.bar.as_deref().is_some_and(|bar| name >= bar) {
            return;
        }
        while self.is_full_for(name) && self.names.at.len() > 1 {
            self.halve();
            if self.bar.as_deref().is_some_and(|bar| name >= bar) {
                return;
            }
        }
        self.names.push(name, kind);
    }

    fn is_full_for(&self, name: &[u8]) -> bool {
        let Names { text, at } = &self.names;
        text.len() + LEN_BYTES + name.len() > self.bounds.text || at.len() >= self.bounds.names
    }

    /// Keeps the smaller half, so that the work for each name stays small whatever their order.
    fn halve(&mut self) {
        self.names.sort();
        let half = self.names.at.len() / 2;
        self.bar = Some(self.names.get(half).into());
        self.names.truncate(half);
    }

    /// The names in order, and whether those were all.
    pub(crate) fn finish(mut self) -> (Names, bool) {
        self.names.sort();
        self.names.text.shrink_to_fit();
        self.names.at.shrink_to_fit();
        (self.names, self.bar.is_none())
    }
}

/// Bytes of the length before each name.
const LEN_BYTES: usize = size_of::<u16>();
/// Beside the length, in its high bits: the type of the name.
const TYPE_SHIFT: u32 = 14;

/// Names without an allocation for each.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Each name after its length.
    text: Vec<u8>,
    /// Where in `text` each begins.
    at: Vec<u32>,
}

impl Names {
    fn push(&mut self, name: &[u8], kind: Type) {
        // No file system has longer names, nor are the bounds larger.
        let (Ok(len), Ok(at)) = (u16::try_from(name.len()), u32::try_from(self.text.len())) else { return };
        let len = len | (kind as u16) << TYPE_SHIFT;
        self.at.push(at);
        self.text.extend_from_slice(&len.to_ne_bytes());
        self.text.extend_from_slice(name);
    }

    fn get(&self, index: usize) -> &[u8] {
        name_at(&self.text, self.at[index])
    }

    fn sort(&mut self) {
        let text = &self.text;
        self.at.sort_unstable_by(|one, other| name_at(text, *one).cmp(name_at(text, *other)));
    }

    /// Keeps the first `len` names, in any order, without another buffer.
    fn truncate(&mut self, len: usize) {
        self.at.truncate(len);
        self.at.sort_unstable();
        let mut end = 0;
        for at in &mut self.at {
            let from = *at as usize;
            let size = LEN_BYTES + name_at(&self.text, *at).len();
            self.text.copy_within(from..from + size, end);
            *at = u32::try_from(end).unwrap_or(u32::MAX);
            end += size;
        }
        self.text.truncate(end);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.capacity() + self.at.capacity() * size_of::<u32>()
    }

    /// Those after this one.
    pub(crate) fn names_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.typed_after(after).map(|(name, _)| name)
    }

    /// The same, with their types.
    fn typed_after<'a>(&'a self, after: &str) -> impl Iterator<Item = (&'a str, Type)> + use<'a> {
        self.keys_after(after.as_bytes()).filter_map(|(name, kind)| Some((str::from_utf8(name).ok()?, kind)))
    }

    /// The keys after this one, with the types of their names.
    fn keys_after<'a>(&'a self, after: &[u8]) -> impl Iterator<Item = (&'a [u8], Type)> + use<'a> {
        let start = self.at.partition_point(|at| name_at(&self.text, *at) <= after);
        self.at[start..].iter().map(|at| (name_at(&self.text, *at), type_at(&self.text, *at)))
    }

    fn last_key(&self) -> Option<&[u8]> {
        self.at.last().map(|at| name_at(&self.text, *at))
    }

    pub(crate) fn last(&self) -> Option<&str> {
        str::from_utf8(self.last_key()?).ok()
    }
}

fn name_at(text: &[u8], at: u32) -> &[u8] {
    let (len, rest) = text[at as usize..].split_at(LEN_BYTES);
    &rest[..usize::from(u16::from_ne_bytes([len[0], len[1]]) & !(3 << TYPE_SHIFT))]
}

fn type_at(text: &[u8], at: u32) -> Type {
    let len = &text[at as usize..];
    match u16::from_ne_bytes([len[0], len[1]]) >> TYPE_SHIFT {
        0 => Type::File,
        1 => Type::Dir,
        _ => Type::Other,
    }
}

/// A part of a directory: every name after `after` up to its last one.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) dir: DirId,
    pub(crate) times: Times,
    /// But for the order by bytes, keys stand in place of the names.
    pub(crate) order: Order,
    /// Empty for the beginning.
    pub(crate) after: Box<[u8]>,
    pub(crate) names: Names,
    /// Whether no name follows.
    pub(crate) complete: bool,
    /// How many names of the whole directory no protocol can carry.
    pub(crate) unlisted: u64,
    /// Names of the whole directory in this order, where they were counted.
    pub(crate) total: Option<u64>,
}

impl Window {
    /// Its names after this one.
    pub(crate) fn names_after(&self, after: &str) -> impl Iterator<Item = (&str, Type)> {
        self.names.typed_after(after)
    }

    /// The name after which the directory continues.
    pub(crate) fn next(&self) -> Option<&str> {
        if self.complete { None } else { self.names.last() }
    }

    /// Its keys after this one.
    pub(crate) fn keys_after(&self, after: &[u8]) -> impl Iterator<Item = (&[u8], Type)> {
        self.names.keys_after(after)
    }

    /// The key after which the directory continues.
    pub(crate) fn next_key(&self) -> Option<&[u8]> {
        if self.complete { None } else { self.names.last_key() }
    }

    fn serves(&self, after: &[u8]) -> bool {
        *self.after <= *after && (self.complete || self.names.last_key().is_some_and(|last| after < last))
    }

    fn bytes(&self) -> usize {
        self.names.bytes() + self.order.filter.as_ref().map_or(0, |filter| filter.len())
    }
}

/// Windows kept for the next pages, the latest used first.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) bounds: Bounds,
    kept: Mutex<VecDeque<Arc<Window>>>,
    /// How often a directory was read, for tests.
    pub(crate) reads: AtomicU64,
}

/// More windows than this are not worth looking through.
const WINDOWS_MAX: usize = 64;

impl Windows {
    pub(crate) fn new(limits: &Fixed) -> Self {
        Self { bounds: Bounds::of(limits), kept: Mutex::default(), reads: AtomicU64::new(0) }
    }

    /// The window with the names after `after` in this order, while the directory has these times.
    pub(crate) fn find(&self, dir: DirId, times: Times, order: &Order, after: &[u8]) -> Option<Arc<Window>> {
        let mut kept = lock(&self.kept);
        kept.retain(|window| window.dir != dir || window.times == times);
        let is_it = |window: &Arc<Window>| window.dir == dir && window.order == *order && window.serves(after);
        let index = kept.iter().position(is_it)?;
        let window = kept.remove(index)?;
        kept.push_front(Arc::clone(&window));
        Some(window)
    }

    pub(crate) fn keep(&self, window: Arc<Window>) {
        let mut kept = lock(&self.kept);
        kept.retain(|old| old.dir != window.dir || old.order != window.order || !window.serves(&old.after));
        kept.push_front(window);
        while kept.len() > WINDOWS_MAX || kept.iter().map(|window| window.bytes()).sum::<usize>() > self.bounds.kept {
            kept.pop_back();
        }
    }

    pub(crate) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gathered(names: &[&String], bounds: Bounds) -> (Vec<String>, bool) {
        let mut gather = Gather::new(bounds);
        names.iter().for_each(|name| gather.offer(name));
        assert!(gather.names.text.len() <= bounds.text.max(11) && gather.names.at.len() <= bounds.names);
        let (names, complete) = gather.finish();
        let names = (0..names.at.len()).map(|index| String::from_utf8_lossy(names.get(index)).into_owned());
        (names.collect(), complete)
    }

    proptest! {
        #[test]
        fn a_window_is_the_beginning_of_the_sorted_names_and_tells_if_it_is_not_all(
            names in proptest::collection::btree_set("[a-c]{1,9}", 0..60),
            seed in any::<u64>(), most in 2_usize..20, text in 24_usize..300,
        ) {
            let mut shuffled: Vec<_> = names.iter().collect();
            shuffled.sort_by_key(|name| name.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)));
            let (got, complete) = gathered(&shuffled, Bounds { text, names: most, kept: 0 });
            prop_assert!(got.len() <= most);
            prop_assert_eq!(complete, got.len() == names.len());
            prop_assert!(names.is_empty() || !got.is_empty());
            for (got, want) in got.iter().zip(&names) { prop_assert_eq!(got, want); }
        }
    }

    #[test]
    fn a_window_holds_its_bound_where_the_smaller_half_has_the_long_names() {
        let names = ["aaaaaaaaa", "b", "c", "d", "aaaaaaaab"].map(String::from);
        let (got, complete) = gathered(&names.each_ref(), Bounds { text: 24, names: 19, kept: 0 });
        assert_eq!((got, complete), (vec!["aaaaaaaaa".to_owned(), "aaaaaaaab".to_owned()], false));
    }

    #[test]
    fn times_are_past_once_a_tick_is_over() {
        let times = |nanos| Times { changed: (1000, nanos), modified: (900, 1) };
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        assert!(Times { changed: (1000, 1), modified: (-1, 999_999_999) }.are_past(at(1_000_051)));
        for (nanos, ms, past) in [
            (1, 1_000_000, false),
            (1, 1_000_050, false),
            (1, 1_000_051, true),
            (0, 1_000_051, false),
            (0, 1_003_001, true),
        ] {
            assert_eq!(times(nanos).are_past(at(ms)), past, "{nanos} {ms}");
        }
    }

    #[test]
    fn kept_windows_stay_within_their_bound_and_those_of_other_times_are_dropped() {
        let limits = Fixed { list_kept_bytes_max: 64, ..Fixed::default() };
        let windows = Windows::new(&limits);
        let times = |seconds| Times { changed: (seconds, 1), modified: (1, 1) };
        let window = |dir: u64, seconds, after: &str, name: &str| {
            let mut gather = Gather::new(windows.bounds);
            gather.offer(name);
            let (names, complete) = gather.finish();
            let (times, after) = (times(seconds), after.as_bytes().into());
            let (dir, order) = ((1, dir), Order::default());
            Arc::new(Window { dir, times, order, after, names, complete, unlisted: 0, total: None })
        };
        windows.keep(window(7, 1, "", "a"));
        assert!(
            windows
                .find((1, 7), times(1), &Order::default(), b"")
                .is_some_and(|window| window.names_after("").eq([("a", Type::Other)]))
        );
        assert!(windows.find((1, 8), times(1), &Order::default(), b"").is_none());
        assert!(windows.find((1, 7), times(2), &Order::default(), b"").is_none());
        assert!(
            windows.find((1, 7), times(1), &Order::default(), b"").is_none(),
            "it is of an older version of the directory"
        );
        for dir in 0..50 {
            windows.keep(window(dir, 1, "", "name"));
            let bytes: usize = lock(&windows.kept).iter().map(|window| window.names.bytes()).sum();
            assert!(bytes <= 64, "{bytes}");
        }
        assert!(windows.find((1, 49), times(1), &Order::default(), b"").is_some());
        assert!(windows.find((1, 0), times(1), &Order::default(), b"").is_none());
    }
}
