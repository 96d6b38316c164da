//! Whether other servers may change the directory now: those that are set to share it, or, during a hand-over, another
//! generation of this server. Knows neither their number nor how to reach them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use rustix::fs::fstat;

use crate::store::fs::stat::{self, DirId};
use crate::store::mutex::lock;

/// With whom the directory is shared, for all file systems under the root.
#[derive(Debug)]
pub struct Sharing {
    /// The operator said so.
    always: bool,
    /// Another generation of this server runs.
    overlaps: AtomicBool,
    /// One has ended, and may have left something behind.
    has_ended: AtomicBool,
    /// A newer one serves new connections.
    is_superseded: AtomicBool,
    /// Held for reading by each change that excludes no other server.
    alone: RwLock<()>,
    /// Locks that an older generation has passed on, until they are taken.
    inherited: Mutex<Vec<OwnedFd>>,
}

impl Sharing {
    pub(crate) fn new(always: bool) -> Self {
        let [overlaps, has_ended, is_superseded] = [(); 3].map(|()| AtomicBool::new(false));
        Self { always, overlaps, has_ended, is_superseded, alone: RwLock::default(), inherited: Mutex::default() }
    }

    /// An older generation runs, and has passed on these locks.
    pub fn inherit(self, locks: Vec<OwnedFd>) -> Self {
        Self { overlaps: AtomicBool::new(true), inherited: Mutex::new(locks), ..self }
    }

    /// The inherited lock on this file.
    pub(crate) fn take_inherited(&self, file: DirId) -> Option<OwnedFd> {
        let mut inherited = lock(&self.inherited);
        let place = inherited.iter().position(|held| fstat(held).is_ok_and(|stat| stat::id(&stat) == file))?;
        Some(inherited.swap_remove(place))
    }

    pub(crate) fn is_always(&self) -> bool {
        self.always
    }

    pub(crate) fn is_on(&self) -> bool {
        self.always || self.overlaps.load(Ordering::SeqCst)
    }

    /// Keeps [`Self::begin`] from returning until the result is dropped. `None` where others must be excluded already.
    pub(crate) fn change_alone(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let guard = self.alone.try_read().ok()?;
        // After it is locked: before that, `begin` would not wait for this change.
        (!self.is_on()).then_some(guard)
    }

    /// Another generation may change the directory once this has returned: waits for the changes that exclude none.
    pub fn begin(&self) {
        self.overlaps.store(true, Ordering::SeqCst);
        drop(self.alone.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// No other generation runs any more.
    pub fn end(&self) {
        self.overlaps.store(false, Ordering::SeqCst);
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// True once after each [`Self::end`].
    pub(crate) fn take_ended(&self) -> bool {
        self.has_ended.swap(false, Ordering::Relaxed)
    }

    /// Says whether a newer generation does from now on what one alone must do: expire uploads, for one.
    pub(crate) fn set_superseded(&self, is_superseded: bool) {
        self.is_superseded.store(is_superseded, Ordering::Relaxed);
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.is_superseded.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn another_generation_waits_for_the_changes_that_exclude_none_and_later_ones_exclude_it() {
        let sharing = Sharing::new(false);
        let (say, said) = channel();
        std::thread::scope(|scope| {
            let change = sharing.change_alone().expect("nothing else runs");
            scope.spawn(|| {
                sharing.begin();
                say.send(()).expect("the test runs");
            });
            while !sharing.is_on() {
                std::hint::spin_loop();
            }
            assert!(sharing.change_alone().is_none());
            assert!(said.try_recv().is_err(), "the change is under way");
            drop(change);
            said.recv().expect("it goes on");
        });
        sharing.end();
        assert!(sharing.change_alone().is_some());
    }

    #[test]
    fn servers_that_share_always_never_change_anything_alone() {
        let sharing = Sharing::new(true);
        sharing.begin();
        sharing.end();
        assert!(sharing.is_on() && sharing.change_alone().is_none());
    }
}
