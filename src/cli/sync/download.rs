//! Changes of a local directory, each on the condition that what it replaces is what was listed. No link is followed.

use std::ffi::OsStr;
use std::io;
use std::time::{Duration, SystemTime};

use super::listing::{open_in, split};
use super::sides::{CHANGED, PART_SUFFIX, Sides};
use crate::cli::worker::Worker;
use crate::client::sync::{Action, Change, version_in};
use crate::client::{Answer, Dir, Options, Progress as _, Target, keep_small, small_get};

/// A directory of this machine is the destination.
pub(super) struct Download<'a> {
    pub(super) sides: &'a Sides<'a>,
    pub(super) dir: Dir,
}

impl Download<'_> {
    /// Makes a change, and more with it if they are small.
    pub(super) fn apply_several(
        &self,
        worker: &mut Worker<'_>,
        first: Change,
        more: &mut dyn FnMut() -> Option<Change>,
    ) {
        let run = worker.run;
        let request = |_: &Options, change: &Change| match change.action {
            Action::Send => small_get(&self.sides.remote_path(&change.path), change.size),
            _ => None,
        };
        // The files of a directory follow each other.
        let mut open: Option<(String, Dir)> = None;
        let mut done = |change: &Change, answer: Answer| {
            let (parent, name) = split(&change.path);
            if open.as_ref().is_none_or(|(path, _)| path != parent) {
                open = self.dir.make(parent).ok().map(|dir| (parent.to_owned(), dir));
            }
            let Some((_, dir)) = &open else { return false };
            let permits = || permits(dir, OsStr::new(name), change);
            let target = Target { dir, name: OsStr::new(name), part_suffix: PART_SUFFIX, permits: &permits };
            let is_kept = keep_small(&target, &answer, change.executable, true);
            if is_kept {
                run.reporter.start(&change.path, change.size).position(answer.body.len() as u64);
                run.reporter.done();
            }
            is_kept
        };
        let left = worker.pipeline(&self.sides.remote.address, first, more, &request, &mut done);
        left.iter().for_each(|change| self.apply(worker, change));
    }

    pub(super) fn apply(&self, worker: &mut Worker<'_>, change: &Change) {
        let (parent, name) = split(&change.path);
        let name = OsStr::new(name);
        let result = match change.action {
            Action::MakeDir => self.dir.make(&change.path).map(drop),
            Action::Send => return self.fetch(worker, change),
            Action::SetTime => self.set_time(change),
            Action::Delete => self.removed(parent, |dir| {
                let version = version_in(dir, name)?;
                if version.is_empty() || version == change.version { dir.remove(name) } else { Err(changed()) }
            }),
            Action::RemoveDir => self.removed(parent, |dir| dir.remove_dir(name)),
            Action::Copy | Action::Rename => match self.relocate(change) {
                Err(_) => return self.fetch(worker, change),
                done => done,
            },
        };
        match result {
            Ok(()) => worker.run.reporter.done(),
            Err(error) => self.failed(change, &error),
        }
    }

    fn failed(&self, change: &Change, error: &io::Error) {
        let path = self.sides.local.join(&change.path);
        self.sides.run.reporter.failed_text(format!("{}: {error}", path.display()));
    }

    /// Runs `remove` in a directory, which may be gone.
    fn removed(&self, parent: &str, remove: impl FnOnce(&Dir) -> io::Result<()>) -> io::Result<()> {
        match self.dir.find(parent) {
            Ok(dir) => remove(&dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn fetch(&self, worker: &mut Worker<'_>, change: &Change) {
        let (address, path) = (&self.sides.remote.address, self.sides.remote_path(&change.path));
        let (parent, name) = split(&change.path);
        let name = OsStr::new(name);
        let dir = match self.dir.make(parent) {
            Ok(dir) => dir,
            Err(error) => return self.failed(change, &error),
        };
        let permits = || permits(&dir, name, change);
        if let Err(error) = permits() {
            return self.failed(change, &error);
        }
        let target = Target { dir: &dir, name, part_suffix: PART_SUFFIX, permits: &permits };
        let mut progress = worker.run.reporter.start(&change.path, change.size);
        match worker.try_on(address, |client| client.get_to(&path, &target, &mut progress)) {
            Some(Ok(_)) => worker.run.reporter.done(),
            Some(Err(error)) => worker.fail(address, &error),
            None => {}
        }
    }

    /// Moves a file of the destination that has the content already.
    fn relocate(&self, change: &Change) -> io::Result<()> {
        let ((old_parent, old), (new_parent, new)) = (split(&change.from), split(&change.path));
        let from = self.dir.find(old_parent)?;
        if version_in(&from, OsStr::new(old))? != change.version {
            return Err(changed());
        }
        from.move_to_free(OsStr::new(old), &self.dir.make(new_parent)?, OsStr::new(new))?;
        self.set_time(change)
    }

    fn set_time(&self, change: &Change) -> io::Result<()> {
        let distance = Duration::from_secs(change.mtime.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time = if change.mtime < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
        let time = time.ok_or(io::ErrorKind::InvalidInput)?;
        open_in(&self.dir, &change.path)?.set_modified(time)
    }
}

/// An error if what is there may not be replaced.
fn permits(dir: &Dir, name: &OsStr, change: &Change) -> io::Result<()> {
    // Of one that was not moved after all, the version is that of the file that has the content.
    let replaced = if change.action == Action::Send { change.version.as_str() } else { "" };
    if version_in(dir, name)? == replaced { Ok(()) } else { Err(changed()) }
}

fn changed() -> io::Error {
    io::Error::other(CHANGED)
}
