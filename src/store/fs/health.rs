//! Whether uploads can be stored: how many failed inside, one behind the other.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use crate::error::Failure;

/// So many commits that fail inside, with none between that succeeds, are a failure of the store.
const COMMITS_MAX: u32 = 3;

/// Failures inside since the last success.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: AtomicU32,
    probing: AtomicBool,
}

const fn is_inside(failure: Failure) -> bool {
    matches!(failure, Failure::Internal | Failure::Unavailable)
}

impl Failures {
    /// Whether the store counts as failing.
    pub(crate) fn are_many(&self) -> bool {
        self.in_a_row.load(Relaxed) >= COMMITS_MAX
    }

    /// A commit has ended. A refusal says nothing about the store.
    pub(crate) fn of_commit(&self, failure: Option<Failure>) {
        match failure {
            // A load costs less than a store, and one is nearly always enough.
            None if self.in_a_row.load(Relaxed) == 0 => {}
            None => self.in_a_row.store(0, Relaxed),
            Some(failure) if is_inside(failure) => {
                let _ = self.in_a_row.fetch_update(Relaxed, Relaxed, |n| n.checked_add(1));
            }
            Some(_) => {}
        }
    }

    /// No staging file could be made.
    pub(crate) fn of_staging(&self, failure: Failure) {
        if is_inside(failure) {
            self.in_a_row.fetch_max(COMMITS_MAX, Relaxed);
        }
    }

    /// True if no probe is under way: then the caller starts one.
    pub(crate) fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Relaxed)
    }

    /// The probe has ended.
    pub(crate) fn probed(&self, stores: bool) {
        if stores {
            self.in_a_row.store(0, Relaxed);
        }
        self.probing.store(false, Relaxed);
    }
}
