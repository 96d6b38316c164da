//! Whether changes can be stored: read-only, degraded by a failed sync, or failing one after the other.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32};

use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::platform::Health;
use crate::store::fs::errno::TARGET;

/// This many commits that fail inside, with none between that succeeds, are a failure of the store.
const COMMITS_MAX: u32 = 3;

/// Whether changes are accepted, and why not.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    read_only: bool,
    degraded: AtomicBool,
    /// The same for another server of the directory that lives.
    degraded_elsewhere: AtomicBool,
    /// The path of the root does not lead to it.
    gone: AtomicBool,
    /// Commits that failed inside since the last success.
    in_a_row: AtomicU32,
    probing: AtomicBool,
}

const fn is_inside(failure: Failure) -> bool {
    matches!(failure, Failure::Internal | Failure::Unavailable)
}

impl StoreHealth {
    pub(crate) fn new(read_only: bool) -> Self {
        Self { read_only, ..Self::default() }
    }

    pub(crate) fn state(&self) -> Health {
        if self.degraded.load(Acquire) || self.degraded_elsewhere.load(Acquire) {
            Health::Degraded
        } else if self.gone.load(Acquire) {
            Health::Gone
        } else if self.read_only {
            Health::ReadOnly
        } else if self.is_failing() {
            Health::Failing
        } else {
            Health::Good
        }
    }

    /// Refuses a change when none may happen.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match self.state() {
            Health::Good | Health::Failing => Ok(()),
            Health::ReadOnly => Err(StoreError::refused(Failure::Denied("the server is read-only"), "read-only")),
            Health::Degraded => Err(StoreError::refused(Failure::Internal, "degraded")),
            Health::Gone => Err(StoreError::refused(Failure::Unavailable, "gone")),
        }
    }

    /// Refuses a reader while the root is not the one that was opened.
    pub(crate) fn check_readable(&self) -> Result<(), StoreError> {
        if self.is_gone() { Err(StoreError::refused(Failure::Unavailable, "gone")) } else { Ok(()) }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    /// Whether the path of the root leads elsewhere, or nowhere. True if that is news.
    pub(crate) fn set_gone(&self, is: bool) -> bool {
        self.gone.swap(is, AcqRel) != is
    }

    /// From now on no change is accepted: the kernel has marked lost pages as clean, so nothing
    /// it says about later syncs can be believed. True if one was accepted before.
    pub(crate) fn degrade(&self, site: &'static str, cause: Errno) -> bool {
        let was_accepted = !self.degraded.swap(true, AcqRel);
        if was_accepted {
            log::error!(
                target: TARGET,
                "store.degraded site={site} cause={cause}: no change is accepted until a restart, reading continues"
            );
        }
        was_accepted
    }

    /// Whether the disk has failed for another server of the directory that lives.
    pub(crate) fn is_degraded_elsewhere(&self, is: bool) {
        if self.degraded_elsewhere.swap(is, AcqRel) != is && is {
            log::error!(
                target: TARGET,
                "store.degraded: a sync of another server of this folder has failed: no change is accepted until all \
                 that ran then have been restarted, reading continues"
            );
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.in_a_row.load(Relaxed) >= COMMITS_MAX
    }

    /// A commit has ended. A refusal says nothing about the store.
    pub(crate) fn commit_ended(&self, failure: Option<Failure>) {
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

    pub(crate) fn staging_failed(&self, failure: Failure) {
        if is_inside(failure) {
            self.in_a_row.fetch_max(COMMITS_MAX, Relaxed);
        }
    }

    /// True if no probe is under way: then the caller starts one.
    pub(crate) fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Relaxed)
    }

    pub(crate) fn probe_ended(&self, stores: bool) {
        if stores {
            self.in_a_row.store(0, Relaxed);
        }
        self.probing.store(false, Relaxed);
    }
}
