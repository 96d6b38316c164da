//! Listings in another order than that of bytes: each is made in steps of a few milliseconds, between which other jobs
//! have their turns.

use crate::error::StoreError;
use crate::ids::{GroupId, OpId};
use crate::object::Listing;
use crate::platform::Outcome;
use crate::store::fs::sorted::SortedPage;
use crate::store::mutex::lock;
use crate::store::pool::jobs::{Finished, Job, Reply};
use crate::store::pool::shared::Pool;
use crate::store::pool::sortings::Sorting;
use crate::store::pool::workers::WorkQueue;

impl Pool {
    /// Begins a listing, now or when another has ended.
    pub(crate) fn begin_sorting(&self, id: OpId, client: Option<GroupId>, page: Result<SortedPage, StoreError>) {
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.completions.push(Finished { id, result: Err(error), chunk: None }),
        };
        let dir = self.dir_hash(self.fs.mounts.of(page.path()).unwrap_or(page.path()));
        let begun = lock(&self.sortings).begin(Box::new(Sorting { id, client, dir, page }));
        if let Some(sorting) = begun {
            self.sort(sorting);
        }
    }

    /// A step of a listing.
    pub(crate) fn sort(&self, mut sorting: Box<Sorting>) {
        match sorting.page.step(&self.fs) {
            Ok(None) => self.push_sorting(sorting),
            Ok(Some(listing)) => self.end_sorting(&sorting, Ok(listing)),
            Err(error) => self.end_sorting(&sorting, Err(error)),
        }
    }

    fn push_sorting(&self, sorting: Box<Sorting>) {
        let (client, dir) = (sorting.client, Some(sorting.dir));
        self.queues.push_of(WorkQueue::List, client, dir, Job::Sort(sorting));
    }

    fn end_sorting(&self, sorting: &Sorting, result: Result<Listing, StoreError>) {
        let result = result.map(|listing| Reply::Plain(Outcome::Listed(listing)));
        self.completions.push(Finished { id: sorting.id, result, chunk: None });
        let next = lock(&self.sortings).end(sorting.dir);
        if let Some(next) = next {
            self.push_sorting(next);
        }
    }
}
