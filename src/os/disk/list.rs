//! One page of a folder, in byte order of names, in memory bounded by the page.
//!
//! The whole folder is read for each page, but only the names of the page are kept. What does not
//! exist for peers (links, fifos, devices, staging, odd names) is never listed.

use std::collections::BinaryHeap;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};
use rustix::io::Errno;

use super::fault;
use super::meta::{self, Kind};
use super::shared::Disk;
use crate::error::{Failure, StoreError};
use crate::object::{Entry, Listing, Node};
use crate::wire::key::{has_control, is_reserved};

/// What an entry takes on the wire and in memory besides its name, roughly.
const ENTRY_COST: usize = 96;

/// The smallest names seen so far, within the bounds of a page.
struct Page {
    names: BinaryHeap<Box<str>>,
    cost: usize,
    limit: usize,
    cost_max: usize,
    /// The smallest name left out: nothing behind it may come in, or there would be a gap.
    bar: Option<Box<str>>,
    more: bool,
}

impl Page {
    fn new(limit: usize, cost_max: usize) -> Self {
        Self { names: BinaryHeap::new(), cost: 0, limit, cost_max, bar: None, more: false }
    }

    /// Would it be kept? Asked first, so that most names of a large folder cost no memory.
    fn wants(&mut self, name: &str) -> bool {
        let wanted = self.limit > 0 && self.bar.as_deref().is_none_or(|bar| name < bar);
        self.more |= !wanted;
        wanted
    }

    fn add(&mut self, name: &str) {
        self.cost += cost(name);
        self.names.push(name.into());
        while self.names.len() > self.limit || (self.cost > self.cost_max && self.names.len() > 1) {
            let Some(last) = self.names.pop() else { return };
            self.cost -= cost(&last);
            self.more = true;
            self.bar = Some(last);
        }
    }
}

fn cost(name: &str) -> usize {
    name.len() + ENTRY_COST
}

impl Disk {
    /// Names behind `after`, at most `limit`, together at most about `bytes_max` bytes.
    pub(super) fn list(
        &self,
        path: &str,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Listing, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let folder = match self.open_beneath(path, flags, self.links) {
            Ok(folder) => folder,
            Err(Errno::NOTDIR) => return Err(self.not_a_folder(path)),
            Err(errno) => return Err(fault::reading("open folder", path, errno)),
        };
        let mut dir = Dir::new(folder).map_err(|e| fault::broken("getdents", path, e))?;
        let mut after: Option<Box<str>> = after.map(Into::into);
        loop {
            let page = self.page(&mut dir, path, after.as_deref(), Page::new(limit, bytes_max))?;
            let (names, more) = (page.names.into_sorted_vec(), page.more);
            let mut entries = Vec::with_capacity(names.len());
            for name in &names {
                if let Some(node) = self.entry(&dir, path, name)? {
                    entries.push(Entry { name: name.clone(), node });
                }
            }
            // A peer goes on behind the last name of a page, so an empty one must be the end: if
            // all of it vanished meanwhile, take the next.
            match names.into_iter().next_back() {
                Some(last) if more && entries.is_empty() => after = Some(last),
                _ => return Ok(Listing { entries, more }),
            }
            dir.rewind();
        }
    }

    fn page(&self, dir: &mut Dir, path: &str, after: Option<&str>, mut page: Page) -> Result<Page, StoreError> {
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|e| fault::broken("getdents", path, e))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let hidden = matches!(name, "." | "..") || is_reserved(name.as_bytes()) || has_control(name);
            if hidden || after.is_some_and(|after| name <= after) {
                continue;
            }
            let listed = match entry.file_type() {
                FileType::RegularFile | FileType::Directory => true,
                FileType::Unknown => self.entry(dir, path, name)?.is_some(),
                FileType::Symlink if self.links => self.entry(dir, path, name)?.is_some(),
                _ => false,
            };
            if listed && page.wants(name) {
                page.add(name);
            }
        }
        Ok(page)
    }

    /// What stands at a name of the folder; `None` for what is not listed, or is gone.
    fn entry(&self, dir: &Dir, path: &str, name: &str) -> Result<Option<Node>, StoreError> {
        let fd = dir.fd().map_err(|e| fault::broken("dirfd", path, e))?;
        match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if meta::kind(&stat) == Kind::Other => {
                if !self.links || FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Ok(None);
                }
                // From the root: a link in a folder may point anywhere inside.
                let whole = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                Ok(self.stat_beneath(&whole, true).ok().and_then(|stat| meta::node(&stat)))
            }
            Ok(stat) => Ok(meta::node(&stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(fault::reading("fstatat", path, errno)),
        }
    }

    fn not_a_folder(&self, path: &str) -> StoreError {
        match self.stat_beneath(path, self.links) {
            Ok(stat) if meta::kind(&stat) == Kind::File => {
                StoreError::refused(Failure::Conflict("that is a file"), "open folder")
            }
            _ => StoreError::refused(Failure::NotFound, "open folder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_is_the_beginning_of_the_sorted_names_and_tells_if_it_is_not_all(
            names in proptest::collection::btree_set("[a-c]{1,9}", 0..40),
            seed in any::<u64>(), limit in 1_usize..20, cost_max in 90_usize..1500,
        ) {
            let mut shuffled: Vec<_> = names.iter().collect();
            shuffled.sort_by_key(|name| name.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)));
            let mut page = Page::new(limit, cost_max);
            for name in shuffled {
                if page.wants(name) { page.add(name); }
            }
            let more = page.more;
            let got = page.names.into_sorted_vec();
            prop_assert!(got.len() <= limit);
            prop_assert!(got.len() <= 1 || got.iter().map(|n| cost(n)).sum::<usize>() <= cost_max);
            prop_assert_eq!(more, got.len() < names.len());
            prop_assert!(names.is_empty() || !got.is_empty());
            // As many as fit.
            let next = names.iter().take(got.len() + 1).map(|n| cost(n)).sum::<usize>();
            prop_assert!(!more || got.len() == limit || next > cost_max);
            for (got, want) in got.iter().zip(&names) { prop_assert_eq!(&**got, want.as_str()); }
        }
    }
}
