//! What a server has in one directory, listed once, so that an update need not ask for each file.

use std::collections::HashMap;

use super::worker::Worker;
use crate::client::{Address, Entry, Equality, PageOptions};

/// Most entries that are held; files after them are asked for one by one.
const ENTRIES_MAX: usize = 100_000;

/// What is known about one name on the server.
#[derive(Debug)]
pub(super) enum Known {
    Present(Entry),
    Absent,
    /// It must be asked for.
    Unknown,
}

/// One directory on the server.
#[derive(Debug)]
pub(super) struct RemoteDir {
    entries: HashMap<String, Entry>,
    /// True if names that are not among the entries are not there.
    is_complete: bool,
}

impl RemoteDir {
    /// A directory of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self { entries: HashMap::new(), is_complete: false }
    }

    /// A directory that is not there.
    pub(super) fn absent() -> Self {
        Self { entries: HashMap::new(), is_complete: true }
    }

    /// Lists a directory. A failure is reported only if all other requests will fail as well.
    pub(super) fn list(worker: &mut Worker<'_>, address: &Address, path: &str, equality: Equality) -> Self {
        let (mut dir, mut after) = (Self::unknown(), None);
        while dir.entries.len() < ENTRIES_MAX && worker.run.can_use(address) {
            let options = PageOptions { digests: equality.needs_digest(), ..PageOptions::default() };
            let page = worker.try_on(address, |client| client.page(path, after.as_deref(), options));
            match page {
                Some(Ok(page)) => {
                    let entries = page.entries.into_iter().filter_map(Result::ok);
                    dir.entries.extend(entries.map(|entry| (entry.name.clone(), entry)));
                    after = page.next;
                    if after.is_none() {
                        dir.is_complete = true;
                        break;
                    }
                }
                Some(Err(error)) if error.kind.code() == Some(404) => return Self::absent(),
                Some(Err(error)) => {
                    if error.kind.affects_server() {
                        worker.fail(address, &error);
                    }
                    break;
                }
                None => break,
            }
        }
        dir
    }

    /// What is known about a name, which is asked for once.
    pub(super) fn take(&mut self, name: &str) -> Known {
        match self.entries.remove(name) {
            Some(entry) => Known::Present(entry),
            None if self.is_complete => Known::Absent,
            None => Known::Unknown,
        }
    }
}
