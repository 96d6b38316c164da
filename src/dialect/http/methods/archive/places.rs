//! How many archives the connections of one listener may have at once, and the memory of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::wire::http::archive_query::{FORM_LEN_MAX, Format};
use crate::wire::key::KEY_LEN_MAX;

/// Most archives of a listener at once.
const ARCHIVES_MAX: usize = 64;
/// Most of them that are zips: each keeps its entries until its end.
const ZIPS_MAX: usize = 8;
/// Bytes of these entries.
pub(super) const ENTRIES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Names of one page of the listing that an archive is made from.
pub(super) const PAGE_NAMES: usize = 16;
/// The least that is sent in one part, if more follows.
pub(super) const PART_BYTES: usize = 16 * 1024;

/// The archives under way.
#[derive(Debug, Default)]
pub(crate) struct Archives {
    all: AtomicUsize,
    zips: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    archives: Arc<Archives>,
    format: Format,
}

impl Archives {
    /// Memory of all of them: a page of names, a selection, a part; and the entries of zips.
    pub(crate) const BYTES_MAX: usize = ARCHIVES_MAX
        * (PAGE_NAMES * (KEY_LEN_MAX + 128) + 2 * FORM_LEN_MAX + 4 * PART_BYTES)
        + ZIPS_MAX * ENTRIES_BYTES_MAX;

    /// `None` if there are as many as there may be.
    pub(super) fn take(self: &Arc<Self>, format: Format) -> Option<Place> {
        let place = |count: &AtomicUsize, max| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then_some(now + 1)).is_ok()
        };
        if !place(&self.all, ARCHIVES_MAX) {
            return None;
        }
        if format == Format::Zip && !place(&self.zips, ZIPS_MAX) {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place { archives: Arc::clone(self), format })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.archives.all.fetch_sub(1, Ordering::Relaxed);
        if self.format == Format::Zip {
            self.archives.zips.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eight_zips_at_once_and_more_tars() {
        let archives = Arc::new(Archives::default());
        let mut zips: Vec<_> = (0..ZIPS_MAX).map(|_| archives.take(Format::Zip).expect("a place")).collect();
        assert!(archives.take(Format::Zip).is_none());
        zips.pop();
        zips.push(archives.take(Format::Zip).expect("a place again"));
        let tars: Vec<_> = std::iter::from_fn(|| archives.take(Format::Tar)).collect();
        assert_eq!(tars.len(), ARCHIVES_MAX - ZIPS_MAX);
        drop((zips, tars));
        assert_eq!([&archives.all, &archives.zips].map(|count| count.load(Ordering::Relaxed)), [0, 0]);
    }
}
