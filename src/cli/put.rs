//! `filewharf put`: sends local files, directories and standard input to a server.
//!
//! Symbolic links are followed, as by `scp -r`; a link to a directory that contains it is left out with a warning.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::args::{
    self, Args, CHECKSUM, CONNECTION, DRY_RUN, EXCLUDE, INCLUDE, NO_CLOBBER, PARALLEL, PERMS, QUIET, UPDATE,
    UsageError, shell_word,
};
use super::flag::{Flag, Value::*};
use super::pool;
use super::remote_dir::{Known, RemoteDir};
use super::reporter::Transfer;
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{
    Address, Client, ClientError, Equality, ErrorKind, Options, Progress as _, Request, SMALL_LEN_MAX, as_dir,
    is_stored,
};
use crate::wire::key;

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "put",
        about: "Send files to a server",
        line: "[OPTIONS] FILE... HOST:PORT[/FOLDER/][NAME]",
        operand: (
            "FILE... HOST:PORT[/FOLDER/][NAME]",
            "Local files, or - for standard input; then HOST[:PORT][/folder/] they go to, the top folder if none is \
         given, or the name of the copy",
        ),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf put notes.txt photo.jpg 127.0.0.1:7070/inbox/
  filewharf put --recursive folder 127.0.0.1:7070
  filewharf put --recursive --update folder 127.0.0.1:7070
  filewharf put photo.jpg 127.0.0.1:7070/inbox/renamed.jpg
  filewharf put --recursive folder 127.0.0.1:7070/inbox/copy
  filewharf put --recursive --exclude '*.o' --exclude target/ folder 127.0.0.1:7070
  tar c folder | filewharf put - 127.0.0.1:7070/backup/folder.tar

HOST/PATH is the copy itself, whether it exists or not: of a folder, its content goes into PATH.
HOST/PATH/ takes the copy under its name, and so does HOST/PATH for several files or with --name;
HOST alone is HOST/. Missing folders are made. File modes are not kept. The port is 7070 if none
is given. Write tls://HOST:PORT for a server that speaks TLS. After a failure the rest is sent all
the same. A file of 8 MiB or more with an upload that broke off resumes where it stopped when
the same command is given again, unless the file was changed; tokens of such uploads are kept in
$XDG_STATE_HOME/filewharf, by default ~/.local/state/filewharf. Exit code 0: all is stored, 1:
something failed, 2: wrong usage, 130: ended by Ctrl-C.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "name",
                    Text("NAME", |args, text| {
                        args.name = Some(text.to_owned());
                        Ok(())
                    }),
                    "Store under this name in the folder; for one FILE or standard input only",
                ),
                Flag::new(
                    "recursive",
                    Switch(|args: &mut Args| args.recursive = true),
                    "Send folders with everything in them",
                )
                .or('r'),
                UPDATE,
                CHECKSUM,
                NO_CLOBBER,
                PERMS,
                EXCLUDE,
                INCLUDE,
                DRY_RUN,
                PARALLEL,
                QUIET,
            ],
        ),
        CONNECTION,
    ],
};

#[derive(Debug)]
enum Job {
    File {
        local: PathBuf,
        path: String,
        size: u64,
        known: Known,
    },
    /// An empty directory, which no file creates.
    Dir {
        path: String,
    },
}

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let mut files = args.operands.clone();
    let target = files.pop().filter(|_| !files.is_empty());
    let target = target.ok_or_else(|| UsageError("put needs FILE... and then HOST:PORT/folder/".to_owned()))?;
    let target = args::remote(&target.to_string_lossy())?;
    let takes_stdin = files.iter().any(|file| is_stdin(file));
    if args.name.is_some() && files.len() > 1 {
        return Err(UsageError("--name is for one FILE only".to_owned()));
    }
    let is_dir = files.len() > 1 || args.name.is_some() || target.path.ends_with('/');
    if takes_stdin && (files.len() > 1 || is_dir && args.name.is_none()) {
        let why = "standard input (-) goes alone, and needs --name NAME or HOST:PORT/folder/name";
        return Err(UsageError(why.to_owned()));
    }
    if takes_stdin && args.update.is_some_and(|equality| equality != Equality::Name) {
        return Err(UsageError(
            "standard input (-) cannot be compared with a file: no --update, no --checksum".to_owned(),
        ));
    }
    if let Some(name) = &args.name {
        key::component(name).map_err(|failure| UsageError(format!("--name {name}: {failure}")))?;
        if name.contains('/') {
            return Err(UsageError(format!("--name {name}: a name has no /")));
        }
    }
    let (dir, name) = match target.path.rsplit_once('/').filter(|_| !is_dir) {
        Some((dir, name)) => (format!("{dir}/"), Some(name)),
        None => (as_dir(&target.path), args.name.as_deref()),
    };
    let run = Run::new(args, Some(if takes_stdin { Transfer::FromStdin } else { Transfer::Files }))?;
    if takes_stdin {
        run.reporter.expect(0);
        let path = format!("{dir}{}", name.unwrap_or_default());
        if run.dry_run {
            run.reporter.say(format!("put - -> {}{path}", target.address));
            return Ok(run.reporter.finish());
        }
        let mut progress = run.reporter.start(&path, 0);
        let (mut stdin, mut worker) = (io::stdin().lock(), Worker::new(&run));
        match worker.try_on(&target.address, |client| client.put(&path, &mut stdin, None, None, &mut progress)) {
            Some(Ok(_)) => run.reporter.done(),
            Some(Err(error)) => failed(&mut worker, &target.address, &error, 0),
            None => {}
        }
    } else {
        pool::run(
            &run,
            |submit| {
                let (worker, ancestors) = (Worker::new(&run), Vec::new());
                let mut walk = Walk { worker, address: &target.address, recursive: args.recursive, submit, ancestors };
                for file in &files {
                    walk.argument(file, name, &dir);
                }
            },
            |worker, job, more| send_several(worker, &target.address, job, more),
        );
    }
    Ok(run.reporter.finish())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Finds what is to be sent.
struct Walk<'a> {
    /// Lists the directories of the server that are to be updated.
    worker: Worker<'a>,
    address: &'a Address,
    recursive: bool,
    submit: &'a mut dyn FnMut(Job),
    /// Device and inode of the directories from the argument down to here.
    ancestors: Vec<(u64, u64)>,
}

/// A directory that is to be sent, and what the server has in its place.
struct LocalDir {
    local: PathBuf,
    /// Without a slash at its end.
    path: String,
    id: (u64, u64),
    known: Known,
}

impl Walk<'_> {
    /// A file of the command line. A directory without a name of its own, like `.`, gives its content.
    fn argument(&mut self, file: &Path, name: Option<&str>, dir: &str) {
        let path = match (name, file.file_name().map(OsStr::to_str)) {
            (Some(name), _) | (None, Some(Some(name))) => format!("{dir}{name}"),
            (None, Some(None)) => return self.failed(file, "its name is not UTF-8; use --name"),
            (None, None) => dir.trim_end_matches('/').to_owned(),
        };
        // A directory is what the patterns are about, and always taken.
        let own_name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if !file.is_dir() && !self.worker.run.filter.takes(own_name, None, false) {
            return;
        }
        if let Some(dir) = self.entry(file, path, true, Known::Unknown) {
            let source_len = dir.path.len();
            self.dir(dir, source_len);
        }
    }

    /// A file, which is submitted, or a directory, which is returned. Devices and pipes are sent only if they are
    /// arguments.
    fn entry(&mut self, local: &Path, path: String, is_argument: bool, known: Known) -> Option<LocalDir> {
        let metadata = match fs::metadata(local) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.failed(local, error);
                return None;
            }
        };
        if metadata.is_dir() {
            let id = (metadata.dev(), metadata.ino());
            if !self.recursive {
                self.failed(local, "is a folder; use --recursive");
            } else if self.ancestors.contains(&id) {
                let reporter = &self.worker.run.reporter;
                reporter.warn(format!("{}: leads back to a folder it lies in, left out", local.display()));
            } else {
                return Some(LocalDir { local: local.to_owned(), path, id, known });
            }
        } else if metadata.is_file() || is_argument {
            self.worker.run.reporter.expect(metadata.len());
            (self.submit)(Job::File { local: local.to_owned(), path, size: metadata.len(), known });
        } else {
            self.failed(local, "is neither a file nor a folder");
        }
        None
    }

    /// The content of a directory. Its directories come last, when nothing of its listing is held any more. `source_len` is
    /// the length of the path of the argument, below which the paths of patterns begin.
    fn dir(&mut self, dir: LocalDir, source_len: usize) {
        let LocalDir { local, path, id, known } = dir;
        if let Err(failure) = key::absolute(&as_dir(&path)) {
            return self.failed(&local, failure);
        }
        let entries = match fs::read_dir(&local) {
            Ok(entries) => entries,
            Err(error) => return self.failed(&local, error),
        };
        self.ancestors.push(id);
        let is_there = matches!(&known, Known::Present(entry) if entry.dir);
        // A plan says what is in the way, too.
        let equality = self.worker.run.update.or(self.worker.run.dry_run.then_some(Equality::Name));
        let mut remote = match (equality, known) {
            (None, _) => RemoteDir::unknown(),
            (Some(_), Known::Absent) => RemoteDir::absent(),
            (Some(equality), _) => RemoteDir::list(&mut self.worker, self.address, &as_dir(&path), equality),
        };
        let (mut is_empty, mut dirs) = (true, Vec::new());
        for entry in entries {
            match entry {
                Ok(entry) => match entry.file_name().to_str() {
                    Some(name) => {
                        let path = format!("{path}/{name}");
                        let is_dir = entry.path().is_dir();
                        if self.worker.run.filter.takes(name, Some(&path[source_len + 1..]), is_dir) {
                            is_empty = false;
                            dirs.extend(self.entry(&entry.path(), path, false, remote.take(name)));
                        }
                    }
                    None => self.failed(&entry.path(), "its name is not UTF-8"),
                },
                Err(error) => self.failed(&local, error),
            }
        }
        drop(remote);
        for dir in dirs {
            self.dir(dir, source_len);
        }
        self.ancestors.pop();
        if is_empty && !is_there && !path.is_empty() {
            self.worker.run.reporter.expect(0);
            (self.submit)(Job::Dir { path });
        }
    }

    fn failed(&self, local: &Path, why: impl std::fmt::Display) {
        self.worker.run.reporter.failed_text(format!("{}: {why}", local.display()));
    }
}

/// Sends a file, and more with it if they are small.
fn send_several(worker: &mut Worker<'_>, address: &Address, first: Job, more: &mut dyn FnMut() -> Option<Job>) {
    let run = worker.run;
    let request = |options: &Options, job: &Job| match job {
        _ if run.dry_run => None,
        Job::File { local, path, size, known } => {
            let is_compared = run.update.is_some() && !matches!(known, Known::Absent);
            let is_small = *size <= SMALL_LEN_MAX && !is_compared;
            if is_small { options.small_put(path, local, options.replaced()) } else { None }
        }
        Job::Dir { path } => Request::make_dir(path),
    };
    let mut done = |job: &Job, answer| match job {
        Job::File { .. } if !is_stored(answer) => false,
        Job::File { local, size, .. } => {
            run.reporter.start(&local.to_string_lossy(), *size).position(*size);
            run.reporter.done();
            true
        }
        Job::Dir { .. } => {
            run.reporter.done();
            true
        }
    };
    let left = worker.pipeline(address, first, more, &request, &mut done);
    left.into_iter().for_each(|job| send(worker, address, job));
}

fn send(worker: &mut Worker<'_>, address: &Address, job: Job) {
    match job {
        Job::File { local, path, size, known } => {
            let mut progress = worker.run.reporter.start(&local.to_string_lossy(), size);
            // A pipe would be read by the comparison.
            let equality = worker.run.update.filter(|_| fs::metadata(&local).is_ok_and(|local| local.is_file()));
            let is_planned = worker.run.dry_run;
            let sent = worker.try_on(address, |client| {
                let is_there = match (equality, &known) {
                    (None, _) | (Some(_), Known::Absent) => false,
                    (Some(equality), Known::Present(entry)) => client.has_listed(&path, entry, &local, equality)?,
                    (Some(equality), Known::Unknown) => client.has_file(&path, &local, equality)?,
                };
                match (is_there, is_planned) {
                    (true, _) => Ok(Outcome::Unchanged),
                    (false, true) => plan(client, &path, known).map(|()| Outcome::Planned),
                    (false, false) => client.put_file(&path, &local, &mut progress).map(|_| Outcome::Sent),
                }
            });
            match sent {
                Some(Ok(Outcome::Sent)) => worker.run.reporter.done(),
                Some(Ok(Outcome::Unchanged)) => worker.run.reporter.unchanged(size),
                Some(Ok(Outcome::Planned)) => {
                    worker.run.reporter.say(format!("put {} -> {address}{path}", local.display()));
                    worker.run.reporter.done();
                }
                Some(Err(error)) => failed(worker, address, &error, size),
                None => {}
            }
        }
        Job::Dir { path } if worker.run.dry_run => {
            worker.run.reporter.say(format!("mkdir {address}{path}/"));
            worker.run.reporter.done();
        }
        Job::Dir { path } => {
            worker.complete_on(address, |client| match client.mkdir(&path) {
                // It may exist already.
                Err(error) if error.kind.code() == Some(409) && client.stat(&path).is_ok_and(|entry| entry.dir) => {
                    Ok(())
                }
                other => other,
            });
        }
    }
}

/// What became of a file.
enum Outcome {
    Sent,
    Unchanged,
    Planned,
}

/// Fails where an upload would: with a directory in the way.
fn plan(client: &mut Client, path: &str, known: Known) -> Result<(), ClientError> {
    let entry = match known {
        Known::Present(entry) => Some(entry),
        Known::Absent => None,
        Known::Unknown => match client.stat(path) {
            Ok(entry) => Some(entry),
            Err(error) if error.kind.code() == Some(404) => None,
            Err(error) => return Err(error),
        },
    };
    match entry.is_some_and(|entry| entry.dir) {
        true => Err(ErrorKind::conflict("a folder has that name").at(client.address(), path)),
        false => Ok(()),
    }
}

/// Reports a failure; for a file with a directory in its way, with the target that puts it into that.
fn failed(worker: &mut Worker<'_>, address: &Address, error: &ClientError, size: u64) {
    if worker.run.keeps_existing() && error.kind.code() == Some(412) {
        return worker.run.reporter.unchanged(size);
    }
    let path = error.path.as_str();
    let is_dir = error.kind.code() == Some(409)
        && matches!(worker.try_on(address, |client| client.stat(path)), Some(Ok(entry)) if entry.dir);
    match is_dir {
        true => {
            let why = "is a folder; to put the file into it, write";
            worker
                .run
                .reporter
                .failed_text(format!("{address}{path}: {why} {}", shell_word(&format!("{address}{path}/"))));
        }
        false => worker.fail(address, error),
    }
}
