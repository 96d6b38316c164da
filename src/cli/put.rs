//! `filewharf put`: local files, directories and standard input go to a server.
//!
//! Symbolic links are followed, as by `scp -r`; a link that leads back to a directory it lies in is
//! left out with a warning.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::common::{Args, CONNECTION, End, PARALLEL, QUIET, Run, UsageError, Worker};
use super::flag::Flag;
use super::pool;
use super::usage::Usage;
use crate::client::{Address, ClientError, ErrorKind, RemotePath, as_dir};
use crate::wire::key;

pub(super) static USAGE: Usage<Args> = Usage {
    name: "put",
    about: "Send files to a server",
    line: "[OPTIONS] FILE... HOST:PORT[/FOLDER/][NAME]",
    operand: (
        "FILE... HOST:PORT[/FOLDER/][NAME]",
        "Local files, or - for standard input; then HOST[:PORT][/folder/] they go to, the top folder if none is \
         given, or the new name of one file",
    ),
    operands: 1..=usize::MAX,
    flags: &[
        (
            "Options",
            &[
                Flag::text(
                    "name",
                    "NAME",
                    "Store under this name in the folder; for one FILE or standard input only",
                    |args, text| {
                        args.name = Some(text.to_owned());
                        Ok(())
                    },
                ),
                Flag::switch("recursive", "Send folders with everything in them", |args: &mut Args| {
                    args.recursive = true;
                })
                .or('r'),
                PARALLEL,
                QUIET,
            ],
        ),
        CONNECTION,
    ],
    hints: &[],
    notes: "Examples:
  filewharf put notes.txt photo.jpg 127.0.0.1:7070/inbox/
  filewharf put --recursive folder 127.0.0.1:7070
  filewharf put photo.jpg 127.0.0.1:7070/inbox/renamed.jpg
  tar c folder | filewharf put - 127.0.0.1:7070/backup/folder.tar

One FILE and a target without a final slash: into the target if it is a folder, else this is the
new name. With several files, --name or a final slash the target is a folder. Files keep their
names, missing folders are made, a folder x becomes /inbox/x/. File modes are not kept. The
port is 7070 if none is given. What fails does not keep the rest from being sent.",
};

/// One thing to be done on the server.
#[derive(Debug)]
enum Job {
    /// Send a local file.
    File { local: PathBuf, path: String, size: u64, is_regular: bool },
    /// Make a directory that would not come into being by its files.
    Dir { path: String },
}

pub(super) fn run(args: &Args) -> Result<End, UsageError> {
    let mut files = args.operands.clone();
    let target = files.pop().filter(|_| !files.is_empty());
    let target = target.ok_or_else(|| UsageError("put needs FILE... and then HOST:PORT/folder/".to_owned()))?;
    let target = RemotePath::parse(&target.to_string_lossy()).map_err(UsageError)?;
    let takes_stdin = files.iter().any(|file| file.as_os_str() == "-");
    if args.name.is_some() && files.len() > 1 {
        return Err(UsageError("--name is for one FILE only".to_owned()));
    }
    let is_dir = files.len() > 1 || args.name.is_some() || target.path.ends_with('/');
    if takes_stdin && (files.len() > 1 || is_dir && args.name.is_none()) {
        return Err(UsageError(
            "standard input (-) goes alone, and needs --name NAME or HOST:PORT/folder/name".to_owned(),
        ));
    }
    if let Some(name) = &args.name {
        key::component(name).map_err(|failure| UsageError(format!("--name {name}: {failure}")))?;
        if name.contains('/') {
            return Err(UsageError(format!("--name {name}: a name has no /")));
        }
    }
    let run = Run::new(args)?;
    let address = &target.address;
    run.reporter.show(!takes_stdin);
    let Some((dir, name)) = destination(&run, &files, &target, is_dir, args.name.as_deref()) else {
        return Ok(run.end());
    };
    if takes_stdin {
        run.reporter.expect(0);
        let path = format!("{dir}{}", name.unwrap_or_default());
        let mut progress = run.reporter.start(&path, 0);
        let sent = Worker::new(&run)
            .run_on(address, |client| client.put(&path, &mut io::stdin().lock(), None, None, &mut progress));
        if sent.is_some() {
            run.reporter.done();
        }
    } else {
        pool::run(
            &run,
            |submit| {
                let mut walk = Walk { run: &run, recursive: args.recursive, submit, ancestors: Vec::new() };
                for file in &files {
                    walk.argument(file, name, &dir);
                }
            },
            |worker, job| send(worker, address, job),
        );
    }
    Ok(run.end())
}

/// The directory that files go to, and the name of the one file if it is not its own. `None` if that cannot be
/// found out, which has been told.
fn destination<'a>(
    run: &Run,
    files: &[PathBuf],
    target: &'a RemotePath,
    is_dir: bool,
    name: Option<&'a str>,
) -> Option<(String, Option<&'a str>)> {
    let whole = || Some((as_dir(&target.path), name));
    // A directory goes into the target whatever is there.
    if is_dir || files.iter().any(|file| file.is_dir()) {
        return whole();
    }
    let mut worker = Worker::new(run);
    match worker.try_on(&target.address, |client| client.stat(&target.path))? {
        Ok(stat) if stat.dir && files.iter().any(|file| file.as_os_str() == "-") => {
            let words = format!("{}{}: is a folder; standard input needs --name", target.address, target.path);
            run.reporter.failed_text(words);
            None
        }
        Ok(stat) if stat.dir => whole(),
        Ok(_) | Err(ClientError { kind: ErrorKind::Refused { code: 404 | 409, .. }, .. }) => {
            let (dir, name) = target.path.rsplit_once('/')?;
            Some((format!("{dir}/"), Some(name)))
        }
        Err(error) => {
            worker.fail(&target.address, &error);
            None
        }
    }
}

/// Finds what is to be sent.
struct Walk<'a> {
    run: &'a Run,
    recursive: bool,
    submit: &'a mut dyn FnMut(Job),
    /// Device and inode of the directories from the top down to here.
    ancestors: Vec<(u64, u64)>,
}

impl Walk<'_> {
    /// Something that was named on the command line. A directory without a name of its own, like `.`,
    /// gives its content.
    fn argument(&mut self, file: &Path, name: Option<&str>, dir: &str) {
        let file_name = file.file_name().map(|file_name| file_name.to_str().ok_or(()));
        match (name, file_name) {
            (Some(name), _) | (None, Some(Ok(name))) => self.entry(file, format!("{dir}{name}"), true),
            (None, Some(Err(()))) => self.failed(file, "its name is not UTF-8; use --name"),
            (None, None) => self.entry(file, dir.trim_end_matches('/').to_owned(), true),
        }
    }

    /// A file or a directory. Devices and pipes are sent only if they were named.
    fn entry(&mut self, local: &Path, path: String, is_argument: bool) {
        let facts = match fs::metadata(local) {
            Ok(facts) => facts,
            Err(error) => return self.failed(local, error),
        };
        if facts.is_dir() {
            let id = (facts.dev(), facts.ino());
            if !self.recursive {
                self.failed(local, "is a folder; use --recursive");
            } else if self.ancestors.contains(&id) {
                self.run.reporter.warn(format!("{}: leads back to a folder it lies in, left out", local.display()));
            } else {
                self.ancestors.push(id);
                self.dir(local, &path);
                self.ancestors.pop();
            }
        } else if facts.is_file() || is_argument {
            self.run.reporter.expect(facts.len());
            let (size, is_regular) = (facts.len(), facts.is_file());
            (self.submit)(Job::File { local: local.to_owned(), path, size, is_regular });
        } else {
            self.failed(local, "is neither a file nor a folder");
        }
    }

    /// Everything in a directory; `path` has no slash at its end.
    fn dir(&mut self, local: &Path, path: &str) {
        if let Err(failure) = key::absolute(&as_dir(path)) {
            return self.failed(local, failure);
        }
        let entries = match fs::read_dir(local) {
            Ok(entries) => entries,
            Err(error) => return self.failed(local, error),
        };
        let mut is_empty = true;
        for entry in entries {
            is_empty = false;
            match entry {
                Ok(entry) => match entry.file_name().to_str() {
                    Some(name) => self.entry(&entry.path(), format!("{path}/{name}"), false),
                    None => self.failed(&entry.path(), "its name is not UTF-8"),
                },
                Err(error) => self.failed(local, error),
            }
        }
        if is_empty && !path.is_empty() {
            self.run.reporter.expect(0);
            (self.submit)(Job::Dir { path: path.to_owned() });
        }
    }

    fn failed(&self, local: &Path, why: impl std::fmt::Display) {
        self.run.reporter.failed_text(format!("{}: {why}", local.display()));
    }
}

/// Does one job.
fn send(worker: &mut Worker<'_>, address: &Address, job: Job) {
    let reporter = &worker.run.reporter;
    let done = match job {
        Job::File { local, path, size, is_regular } => {
            let mut progress = reporter.start(&local.to_string_lossy(), size);
            if is_regular {
                worker.run_on(address, |client| client.put_file(&path, &local, &mut progress)).is_some()
            } else {
                match File::open(&local) {
                    Ok(mut stream) => worker
                        .run_on(address, |client| client.put(&path, &mut stream, None, None, &mut progress))
                        .is_some(),
                    Err(error) => {
                        reporter.failed_text(format!("{}: {error}", local.display()));
                        false
                    }
                }
            }
        }
        Job::Dir { path } => worker
            .run_on(address, |client| match client.mkdir(&path) {
                // It may be there already.
                Err(error) if error.kind.code() == Some(409) => match client.stat(&path) {
                    Ok(stat) if stat.dir => Ok(()),
                    _ => Err(error),
                },
                other => other,
            })
            .is_some(),
    };
    if done {
        reporter.done();
    }
}
