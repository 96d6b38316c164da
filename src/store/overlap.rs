//! What another generation of this server needs of the store while both run.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use crate::store::pool::shared::Pool;
use crate::store::staging::dirs::StageDirs;

/// A store that another generation may share from now on. Does not keep it open.
#[derive(Clone, Debug)]
pub struct Overlap(Weak<Pool>);

impl Overlap {
    pub(crate) fn of(pool: &Arc<Pool>) -> Self {
        Self(Arc::downgrade(pool))
    }

    /// False once the store is closed.
    pub fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// True if any server that is set to it may share the root.
    pub fn is_with_all(&self) -> bool {
        self.0.upgrade().is_some_and(|pool| pool.fs.sharing.is_always())
    }

    /// From now on each change excludes other generations; waits for those that do not. Returns the locks on the root and
    /// on what is mounted in it, for the other one to hold as well.
    pub fn begin(&self) -> io::Result<Vec<OwnedFd>> {
        let Some(pool) = self.0.upgrade() else { return Ok(Vec::new()) };
        pool.fs.sharing.begin();
        let mounted = pool.mounted.all();
        let volumes = mounted.iter().map(|(_, volume)| volume).chain([&pool.volume]);
        volumes.filter_map(|volume| volume.stage_dirs()).filter_map(|dirs| StageDirs::lock(dirs).transpose()).collect()
    }

    /// No other generation runs.
    pub fn end(&self) {
        if let Some(pool) = self.0.upgrade() {
            pool.fs.sharing.end();
        }
    }
}
