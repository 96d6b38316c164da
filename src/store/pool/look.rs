//! A look at the path of the root, once a second, and at what other servers of the directory have left.
//!
//! All names are resolved from an open directory, so that another program that moves or replaces it is not followed:
//! its files would be served, and its place written to, though its path leads elsewhere. While it does, nothing is
//! read or changed. As soon as there is a directory again, that is served: what is staged, kept and locked in the
//! reserved directory is then in the new one; uploads that had begun before end up in it too.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::os::process::clock;
use crate::store::fs::errno::TARGET;
use crate::store::fs::root::{RootAt, Unfit};
use crate::store::mutex::lock;
use crate::store::pool::jobs::Job;
use crate::store::pool::shared::Pool;
use crate::store::pool::workers::WorkQueue;
use crate::store::staging::dirs::Sweep;
use crate::store::volume::Volume;

impl Pool {
    pub(crate) fn look(&self) {
        match self.fs.look_at_root() {
            RootAt::Here => {
                self.look_at_mounts();
                if self.fs.health.set_gone(false) {
                    log::warn!(target: TARGET, "the served folder is at its path again");
                }
            }
            RootAt::Elsewhere if self.fs.health.set_gone(true) => {
                log::error!(
                    target: TARGET,
                    "the served folder is not at its path any more: nothing is read or stored until a folder is there"
                );
            }
            // Only now, so that the loop has seen in between that the root is gone.
            RootAt::Elsewhere => self.take_successor(),
            RootAt::Unknown => {}
        }
        if self.volume.stage_dirs().is_some() {
            self.fs.look_elsewhere();
            if self.fs.sharing.take_ended() {
                self.sweep();
            }
            self.look_for_wanted(&self.volume);
        }
    }

    /// Finds the uploads that another server of the directory wants, for the loop.
    pub(crate) fn look_for_wanted(&self, volume: &Volume) {
        if !self.fs.is_shared() {
            return;
        }
        let uploads = &volume.resumable;
        uploads.is_attached.store(lock(&uploads.index).has_attached(), Ordering::Relaxed);
        let wanted = uploads.wanted();
        if !wanted.is_empty() {
            lock(&self.wanted).extend(wanted);
            self.completions.wake();
        }
    }

    /// Serves the directory that has the path of the root now, if there is one.
    fn take_successor(&self) {
        match self.settle_in_successor() {
            Ok(()) => {
                *lock(&self.unfit) = None;
                self.fs.health.set_gone(false);
                log::warn!(target: TARGET, "another folder is at the path of the served one, and is served from now on");
            }
            Err(Unfit::Errno(Errno::NOENT)) => {}
            Err(unfit) => {
                // Once for each reason.
                if lock(&self.unfit).replace(unfit) != Some(unfit) {
                    log::error!(
                        target: TARGET,
                        "another folder is at the path of the served one, and a restart is needed to serve it: {unfit}"
                    );
                }
            }
        }
    }

    /// Has what dead processes have left in the reserved directory removed.
    pub(crate) fn sweep(&self) {
        let Some(dirs) = self.volume.stage_dirs() else { return };
        match Sweep::beside(&dirs.current(), &self.volume.names.quotas) {
            Ok(sweep) => self.queues.push(WorkQueue::Sync, Job::Sweep(sweep, None)),
            Err((site, cause)) => log::warn!(target: TARGET, "leftovers are not swept: {site}: {cause}"),
        }
    }

    fn settle_in_successor(&self) -> Result<(), Unfit> {
        let root = self.fs.open_successor()?;
        let volume = &self.volume;
        if let Some(dirs) = volume.stage_dirs() {
            dirs.renew(root.fd.as_fd(), &dirs.current()).map_err(|(_, errno)| Unfit::Errno(errno))?;
            volume.resumable.forget_any_folder();
            // Those that are in the new one, if any, expire.
            volume.resumable.is_used.store(true, Ordering::Relaxed);
            self.sweep();
        }
        self.fs.set_root(root);
        volume.names.put_back();
        if volume.names.quotas.is_used() {
            volume.names.quotas.books().make_due(clock());
            self.queues.push(WorkQueue::List, Job::Count(None));
        }
        Ok(())
    }
}
