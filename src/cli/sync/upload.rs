//! Changes of a directory on the server, each on the condition that what it replaces is what was listed.

use std::collections::HashSet;

use super::sides::{CHANGED, Sides};
use crate::cli::worker::Worker;
use crate::client::sync::{Action, Change};
use crate::client::{
    Client, ClientError, Entry, Equality, ErrorKind, Options, Progress as _, Replaced, Request, SMALL_LEN_MAX, as_dir,
    is_stored,
};

/// How often a file that changes while it is read is sent again.
const CHANGED_MAX: u32 = 5;

/// The server is the destination.
pub(super) struct Upload<'a> {
    pub(super) sides: &'a Sides<'a>,
}

impl Upload<'_> {
    /// Makes a change, and more with it if they are small.
    pub(super) fn apply_several(
        &self,
        worker: &mut Worker<'_>,
        first: Change,
        more: &mut dyn FnMut() -> Option<Change>,
    ) {
        let run = worker.run;
        // New names of files that were changed after they were listed.
        let mut other_contents = HashSet::new();
        let request = |options: &Options, change: &Change| self.request(options, change);
        let mut done = |change: &Change, answer| {
            let is_done = match change.action {
                Action::Send => is_stored(answer),
                Action::Copy | Action::Rename => {
                    let entry = Entry::from_stat(&change.path, &answer.reply);
                    let is_done = is_content(&entry, change) && entry.mtime == change.mtime;
                    if !is_done {
                        other_contents.insert(change.path.clone());
                    }
                    is_done
                }
                _ => true,
            };
            if is_done && change.action == Action::Send {
                run.reporter.start(&change.path, change.size).position(change.size);
            }
            if is_done {
                run.reporter.done();
            }
            is_done
        };
        let left = worker.pipeline(&self.sides.remote.address, first, more, &request, &mut done);
        for change in &left {
            match other_contents.contains(&change.path) {
                true => self.relocate(worker, change, |_| Ok(true)),
                false => self.apply(worker, change),
            }
        }
    }

    /// The request for a small change that one line answers.
    fn request(&self, options: &Options, change: &Change) -> Option<Request> {
        let path = self.sides.remote_path(&change.path);
        match change.action {
            Action::Send if change.size > SMALL_LEN_MAX => None,
            Action::Send => options.small_put(&path, &self.sides.local.join(&change.path), replaced(change)),
            Action::MakeDir => Request::make_dir(&path),
            Action::SetTime => Request::set_time(&path, change.mtime),
            Action::Delete => Request::delete_version(&path, &change.version),
            // To copy a large file takes any time.
            Action::Copy if change.size > SMALL_LEN_MAX => None,
            Action::Copy | Action::Rename => {
                Request::relocate(change.action == Action::Rename, &self.sides.remote_path(&change.from), &path)
            }
            Action::RemoveDir => None,
        }
    }

    pub(super) fn apply(&self, worker: &mut Worker<'_>, change: &Change) {
        let (address, path) = (&self.sides.remote.address, self.sides.remote_path(&change.path));
        let result = match change.action {
            Action::Send => return self.send(worker, change),
            Action::Copy | Action::Rename => return self.relocate(worker, change, |client| self.moved(client, change)),
            Action::MakeDir => worker.try_on(address, |client| client.make_dir(&path).map(drop)),
            Action::SetTime => worker.try_on(address, |client| client.set_time(&path, change.mtime)),
            Action::Delete => worker.try_on(address, |client| client.delete_version(&path, &change.version)),
            Action::RemoveDir => worker.try_on(address, |client| client.delete(&as_dir(&path))),
        };
        let is_removal = matches!(change.action, Action::Delete | Action::RemoveDir);
        let result = result.map(|result| match result {
            Err(error) if is_removal && error.kind.code() == Some(404) => Ok(()),
            result => result,
        });
        self.ended(worker, change, result);
    }

    /// Counts what became of a change.
    fn ended(&self, worker: &Worker<'_>, change: &Change, result: Option<Result<(), ClientError>>) {
        match result {
            Some(Ok(())) => worker.run.reporter.done(),
            Some(Err(error)) if error.kind.code() == Some(412) => {
                worker.run.reporter.failed_text(format!("{}: {CHANGED}", change.path));
            }
            Some(Err(error)) => worker.fail(&self.sides.remote.address, &error),
            None => {}
        }
    }

    fn send(&self, worker: &mut Worker<'_>, change: &Change) {
        let (address, path) = (&self.sides.remote.address, self.sides.remote_path(&change.path));
        let local = self.sides.local.join(&change.path);
        let replaced = replaced(change);
        let mut progress = worker.run.reporter.start(&change.path, change.size);
        let result = worker.try_on(address, |client| {
            let mut tries = 0;
            loop {
                match client.put_file_over(&path, &local, replaced, &mut progress) {
                    Ok(_) => return Ok(()),
                    Err(error) if matches!(error.kind, ErrorKind::SourceChanged) && tries < CHANGED_MAX => tries += 1,
                    // An earlier try has stored it, and its reply was lost.
                    Err(error) if error.kind.code() == Some(412) => {
                        return match client.has_file(&path, &local, Equality::Digest)? {
                            true => Ok(()),
                            false => Err(error),
                        };
                    }
                    Err(error) => return Err(error),
                }
            }
        });
        self.ended(worker, change, result);
    }

    /// Moves or copies a file of the server, which must have the content that it had when it was listed; sends it if not.
    /// `moved` does that, and is true if it did.
    fn relocate(
        &self,
        worker: &mut Worker<'_>,
        change: &Change,
        moved: impl FnOnce(&mut Client) -> Result<bool, ClientError>,
    ) {
        let result = worker.try_on(&self.sides.remote.address, |client| {
            let is_done = moved(client)?;
            self.verified(client, change, is_done)
        });
        match result {
            Some(Ok(false)) => self.send(worker, change),
            other => self.ended(worker, change, other.map(|result| result.map(drop))),
        }
    }

    fn moved(&self, client: &mut Client, change: &Change) -> Result<bool, ClientError> {
        let [from, to] = [&change.from, &change.path].map(|path| self.sides.remote_path(path));
        let is_move = change.action == Action::Rename;
        match if is_move { client.move_to_free(&from, &to) } else { client.copy_to_free(&from, &to) } {
            Ok(()) => Ok(true),
            // 404, 409 and 412 are also what a try gets after an earlier one with a lost reply.
            Err(error) if matches!(error.kind.code(), Some(404 | 409 | 412)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// True if the new name has the content. If it has another, and `is_done`, all is made as it was.
    fn verified(&self, client: &mut Client, change: &Change, is_done: bool) -> Result<bool, ClientError> {
        let [from, to] = [&change.from, &change.path].map(|path| self.sides.remote_path(path));
        let is_move = change.action == Action::Rename;
        let entry = match client.stat_with(&to, true) {
            Ok(entry) => entry,
            Err(error) if error.kind.code() == Some(404) => return Ok(false),
            Err(error) => return Err(error),
        };
        if is_content(&entry, change) {
            if entry.mtime != change.mtime {
                client.set_time(&to, change.mtime)?;
            }
            return Ok(true);
        }
        // It was changed after it was listed: all as it was.
        if is_done && is_move {
            client.move_to_free(&to, &from)?;
        } else if is_done {
            client.delete_version(&to, entry.etag.as_deref().unwrap_or_default())?;
        }
        Ok(false)
    }
}

/// True if it is a file with the content that was listed.
fn is_content(entry: &Entry, change: &Change) -> bool {
    !entry.dir && entry.size == change.size && entry.sha256.is_some() && entry.sha256 == change.sha256
}

/// What a file of the server may replace. Of one that was not moved after all, nothing.
fn replaced(change: &Change) -> Replaced<'_> {
    match change.action {
        Action::Send if !change.version.is_empty() => Replaced::Version(&change.version),
        _ => Replaced::Nothing,
    }
}
