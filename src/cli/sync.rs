//! `filewharf sync`: makes a directory on a server equal to a local one, or the other way round, by a plan that is made
//! first.
//!
//! What is decided is in `client::sync`; here are the two listings, the words for each change, and the order of the stages.

mod change;
mod download;
mod listing;
mod sides;
mod upload;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::args::{self, Args, CHECKSUM, CONNECTION, EXCLUDE, INCLUDE, PARALLEL, PERMS, QUIET, UsageError};
use super::flag::{Flag, Value::*};
use super::pool;
use super::reporter::Transfer;
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::sync::{
    Change, Draft, Hash, MOVED_MAX, Merge, Plan, PlanError, Rules, Sink, Stage, Totals, Walk, compare, digest,
};
use crate::client::{Dir, Equality, RemotePath};
use crate::config::unit::{bytes, whole_number};

use change::{Form, Printer};
use download::Download;
use listing::Listed;
use sides::Sides;
use upload::Upload;

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "sync",
        about: "Make a folder equal to another, one of them on a server",
        line: "[OPTIONS] SRC DEST",
        operand: (
            "SRC DEST",
            "The folder that is copied, and the one that becomes equal to it; one is HOST[:PORT]/folder",
        ),
        operands: 2..=2,
        hints: &[
            ("-r", "sync, which takes everything in the folders in any case"),
            ("-a", "sync, which takes everything in the folders and keeps times in any case"),
            ("--recursive", "sync, which takes everything in the folders in any case"),
            ("--update", "sync, which leaves out what is there already in any case"),
        ],
        notes: "Examples:
  filewharf sync photos 127.0.0.1:7070/photos
  filewharf sync --dry-run --delete photos 127.0.0.1:7070/photos
  filewharf sync --delete --exclude '*.tmp' 127.0.0.1:7070/photos photos

DEST becomes equal to SRC, whether it exists or not and with or without slashes at the ends. Files
with the same size and time are left out; a file that was moved is moved or copied at DEST, and not
sent. What SRC does not have stays, without --delete. Symbolic links, devices and names in
/.filewharf/ are left alone on both sides, and so is what is excluded. When it was cut off, the same
command resumes. Write tls://HOST:PORT for a server that speaks TLS. Exit code 0: DEST is equal, 1:
something failed, 2: wrong usage, 130: ended by Ctrl-C.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "delete",
                    Switch(|args: &mut Args| args.delete = true),
                    "Remove what SRC does not have, after everything else has succeeded",
                ),
                Flag::new(
                    "max-delete",
                    Text("N", |args, text| {
                        args.max_delete = Some(whole_number(text, (0, u64::MAX))?);
                        Ok(())
                    }),
                    "With --delete: remove nothing if more than this number of files and folders would be removed",
                ),
                CHECKSUM,
                PERMS,
                EXCLUDE,
                INCLUDE,
                Flag::new(
                    "dry-run",
                    Switch(|args: &mut Args| args.dry_run = true),
                    "Change nothing: print each change that would be made, as --itemize does",
                )
                .or('n'),
                Flag::new("itemize", Switch(|args: &mut Args| args.itemize = true), "Print each change, one line each")
                    .or('i'),
                Flag::new(
                    "json",
                    Switch(|args: &mut Args| args.json = true),
                    "Print each change as a JSON object in a line, and at the end one with the counts",
                ),
                Flag::new(
                    "bwlimit",
                    Text("BYTES", |args, text| {
                        let rate = bytes(text).filter(|rate| *rate > 0);
                        args.bwlimit = Some(rate.ok_or("is not a number of bytes such as 500K or 2M")?);
                        Ok(())
                    }),
                    "Send or fetch at most this much in a second, over all connections",
                ),
                PARALLEL,
                QUIET,
            ],
        ),
        CONNECTION,
    ],
};

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let [source, dest] = &args.operands[..] else { return Err(UsageError("sync needs SRC and DEST".to_owned())) };
    let is_remote = |operand: &Path| operand.to_str().is_some_and(RemotePath::is_explicit);
    let (remote, local, is_upload) = match (is_remote(source), is_remote(dest)) {
        (false, true) => (dest, source, true),
        (true, false) => (source, dest, false),
        (true, true) => {
            return Err(UsageError("SRC and DEST are both on servers: one must be a local folder".to_owned()));
        }
        (false, false) => {
            return Err(UsageError("neither SRC nor DEST is on a server: write HOST:PORT/folder for one".to_owned()));
        }
    };
    if args.max_delete.is_some() && !args.delete {
        return Err(UsageError("--max-delete is for --delete".to_owned()));
    }
    let remote = args::remote(&remote.to_string_lossy())?;
    let base = remote.path.trim_end_matches('/').to_owned();
    let run = Run::new(args, Some(Transfer::Sync))?;
    let equality = args.update.unwrap_or(Equality::SizeAndTime);
    let sync = Sides { remote, base, local: local.clone(), is_upload, equality, args, run: &run };
    let mut found = Found { sync: &sync, unchanged: 0, skipped: 0 };
    let plan = match sync.plan(&mut found) {
        Ok(plan) => plan,
        Err(PlanError::Server(error)) => {
            Worker::new(&run).fail(&sync.remote.address, &error);
            return Ok(run.reporter.finish());
        }
        Err(error) => {
            run.reporter.failed_text(error);
            return Ok(run.reporter.finish());
        }
    };
    if found.skipped > 0 {
        run.reporter.warn(format!("{} left alone: links, devices and reserved names", found.skipped));
    }
    let (unchanged, skipped) = (found.unchanged, found.skipped);
    let form = match (args.json, args.itemize || args.dry_run) {
        (true, _) => Form::Json,
        (false, true) => Form::Text,
        (false, false) => Form::None,
    };
    let mut printer = Printer::new(form, is_upload, &run.reporter);
    sync.execute(plan, &mut printer);
    let is_done = run.reporter.finish();
    printer.finish(unchanged, skipped, is_done);
    Ok(is_done)
}

/// What is found beside changes.
struct Found<'a> {
    sync: &'a Sides<'a>,
    unchanged: u64,
    skipped: u64,
}

impl Sink for Found<'_> {
    fn problem(&mut self, path: &str, why: &str) {
        self.sync.run.reporter.failed_text(format!("{path}: {why}"));
    }

    fn skipped(&mut self) {
        self.skipped += 1;
    }

    fn unchanged(&mut self) {
        self.unchanged += 1;
    }
}

impl Sides<'_> {
    /// Compares both sides.
    fn plan(&self, found: &mut Found<'_>) -> Result<Plan, PlanError> {
        let mut worker = Worker::new(self.run);
        let remote = self.remote_dir(&mut worker)?;
        let is_local_there = self.has_local_dir()?;
        let tree = is_local_there.then(|| Dir::open(&self.local)).transpose();
        let tree = tree.map_err(|error| PlanError::Local(self.local.clone(), error))?;
        let hash = |path: &str| digest(&listing::open_in(tree.as_ref()?, path).ok()?);
        let takes = |path: &str, is_dir: bool| self.takes(path, is_dir);
        let walk = is_local_there.then(|| Walk::new(&self.local, &takes)).transpose()?;
        let walk = walk.into_iter().flatten().map(|item| self.local_item(item));
        let mut draft = Draft::new(MOVED_MAX);
        let is_missing = if self.is_upload { remote.is_none() } else { !is_local_there };
        if is_missing {
            draft.make_root()?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let mut rule_hash = hash;
        let rules = Rules {
            is_upload: self.is_upload,
            equality: self.equality,
            deletes: self.args.delete,
            now: i64::try_from(now).unwrap_or(i64::MAX),
            hash: &mut rule_hash,
        };
        let merge = Merge::new(rules, &mut draft, found);
        let mut listed = remote.map(|client| Listed::new(self, client));
        compare(merge, walk, listed.as_mut(), self.args.perms)?;
        let mut hash = hash;
        let hash: &mut Hash<'_> = &mut hash;
        Ok(draft.finish(self.is_upload, self.is_upload, hash)?)
    }

    /// Makes all changes, stage by stage.
    fn execute(&self, mut plan: Plan, printer: &mut Printer<'_>) {
        let reporter = &self.run.reporter;
        let Totals { changes, bytes, deleted, .. } = plan.totals;
        if let Some(max) = self.args.max_delete.filter(|max| deleted > *max) {
            reporter
                .failed_text(format!("{deleted} would be removed, more than --max-delete {max}: nothing is removed"));
        } else if deleted > 0 && reporter.has_failed() {
            reporter.warn("nothing is removed, because of what has failed");
        }
        reporter.expect_all(changes, bytes);
        let target = match self.target(changes) {
            Ok(target) => target,
            Err(error) => return reporter.failed_text(format!("{}: {error}", self.local.display())),
        };
        for stage in Stage::ALL {
            if stage.needs_success() && reporter.has_failed() {
                continue;
            }
            let changes = match plan.changes(stage) {
                Ok(changes) => changes,
                Err(error) => return reporter.failed_text(format!("the plan cannot be read: {error}")),
            };
            let mut printed = changes.map_while(|change| match change {
                Ok(change) => {
                    printer.print(&change);
                    Some(change)
                }
                Err(error) => {
                    reporter.failed_text(format!("the plan cannot be read: {error}"));
                    None
                }
            });
            match &target {
                // In this order, each after those in it.
                Some(target) if stage == Stage::RemovedDirs => {
                    let mut worker = Worker::new(self.run);
                    printed.for_each(|change| target.apply(&mut worker, &change));
                }
                Some(target) => pool::run(
                    self.run,
                    |submit| printed.for_each(submit),
                    |worker, change, more| target.apply_several(worker, change, more),
                ),
                None => printed.by_ref().for_each(|_| reporter.done()),
            }
        }
    }

    /// What makes the changes; `None` if nothing is to be changed.
    fn target(&self, changes: u64) -> io::Result<Option<Target<'_>>> {
        if self.run.dry_run || changes == 0 {
            return Ok(None);
        }
        if self.is_upload {
            return Ok(Some(Target::Upload(Upload { sides: self })));
        }
        fs::create_dir_all(&self.local)?;
        Ok(Some(Target::Download(Download { sides: self, dir: Dir::open(&self.local)? })))
    }
}

/// The side that is changed.
enum Target<'a> {
    Upload(Upload<'a>),
    Download(Download<'a>),
}

impl Target<'_> {
    /// Makes a change, and perhaps more of them.
    fn apply_several(&self, worker: &mut Worker<'_>, change: Change, more: &mut dyn FnMut() -> Option<Change>) {
        match self {
            Self::Upload(upload) => upload.apply_several(worker, change, more),
            Self::Download(download) => download.apply_several(worker, change, more),
        }
    }

    fn apply(&self, worker: &mut Worker<'_>, change: &Change) {
        match self {
            Self::Upload(upload) => upload.apply(worker, change),
            Self::Download(download) => download.apply(worker, change),
        }
    }
}
