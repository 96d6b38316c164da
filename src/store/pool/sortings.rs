//! Which listings in another order than that of bytes are under way: what they hold is bounded by how many these are.

use std::collections::VecDeque;

use crate::ids::{GroupId, OpId};
use crate::store::fs::sorted::SortedPage;
use crate::store::pool::workers::DirHash;

/// A listing that is being made for a connection.
#[derive(Debug)]
pub(crate) struct Sorting {
    pub(crate) id: OpId,
    pub(crate) client: Option<GroupId>,
    /// The directory, or the mount that it is in.
    pub(crate) dir: DirHash,
    pub(crate) page: SortedPage,
}

/// The listings that are under way, and those that wait until one of these has ended.
#[derive(Debug)]
pub(crate) struct Sortings {
    max: usize,
    under_way: Vec<DirHash>,
    waiting: VecDeque<Box<Sorting>>,
}

impl Sortings {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, under_way: Vec::new(), waiting: VecDeque::new() }
    }

    /// One directory does not use all places: it may be on a disk that hangs.
    fn may_begin(&self, dir: DirHash) -> bool {
        let of_dir = self.under_way.iter().filter(|under_way| **under_way == dir).count();
        self.under_way.len() < self.max && of_dir < (self.max - 1).max(1)
    }

    /// The listing, if it may begin at once.
    pub(crate) fn begin(&mut self, sorting: Box<Sorting>) -> Option<Box<Sorting>> {
        if !self.may_begin(sorting.dir) {
            self.waiting.push_back(sorting);
            return None;
        }
        self.under_way.push(sorting.dir);
        Some(sorting)
    }

    /// One of this directory has ended: the listing that begins in its place.
    pub(crate) fn end(&mut self, dir: DirHash) -> Option<Box<Sorting>> {
        let at = self.under_way.iter().position(|under_way| *under_way == dir)?;
        self.under_way.swap_remove(at);
        let next = self.waiting.iter().position(|sorting| self.may_begin(sorting.dir))?;
        let next = self.waiting.remove(next)?;
        self.under_way.push(next.dir);
        Some(next)
    }
}
