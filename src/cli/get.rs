//! `filewharf get`: files and directories of a server come here.
//!
//! Names in a listing are the server's word and never trusted: one that is not a plain component
//! is refused, so nothing is written outside the directory that was meant.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::common::{Args, CONNECTION, End, PARALLEL, QUIET, Run, UsageError, Worker};
use super::flag::Flag;
use super::pool;
use super::usage::Usage;
use crate::client::{Address, Dir, RemotePath, as_dir, printable};

pub(super) static USAGE: Usage<Args> = Usage {
    name: "get",
    about: "Fetch files from a server",
    line: "[OPTIONS] HOST:PORT/PATH... [DEST]",
    operand: ("HOST:PORT/PATH... [DEST]", "HOST[:PORT]/path of the files, then where they go"),
    operands: 1..=usize::MAX,
    flags: &[
        (
            "Options",
            &[
                Flag::switch("recursive", "Fetch folders with everything in them", |args: &mut Args| {
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
  filewharf get 127.0.0.1:7070/inbox/photo.jpg
  filewharf get 127.0.0.1:7070/a.txt 127.0.0.1:7070/b.txt folder
  filewharf get --recursive 127.0.0.1:7070/inbox/ folder
  filewharf get 127.0.0.1:7070/backup/folder.tar - | tar x

The last argument is DEST unless it looks like HOST:PORT/path; the default is the current folder.
A DEST that is a folder takes the files under their names; DEST ending in / is made if missing.
- is standard output. While a file comes it is DEST.part, with its version and the digests of what
is already there in DEST.part.etag; a later get goes on from there. The port is 7070 if none is
given. What fails does not keep the rest from being fetched. Names of the server are used beneath
DEST only, where no link is followed; folders are fetched 64 deep.",
};

/// Where things go.
#[derive(Debug)]
enum Destination {
    Stdout,
    /// Into this directory, under their names.
    Into(Arc<Dir>),
    /// The one thing becomes this.
    As(PathBuf),
}

/// One file to be fetched.
#[derive(Debug)]
struct Job {
    address: Address,
    path: String,
    local: Local,
    size: u64,
}

/// Where a file goes.
#[derive(Debug)]
enum Local {
    /// The user named it: links are followed to devices and pipes.
    Named(PathBuf),
    /// The server may have named it: no link beneath `base` is followed.
    Beneath { base: Arc<Dir>, dir: String, name: String },
}

/// Most files with names like those of parts that are kept for the end.
const DEFERRED_MAX: usize = 10_000;

pub(super) fn run(args: &Args) -> Result<End, UsageError> {
    let (remotes, dest) = parse_operands(args.operands.clone())?;
    let dest = resolve_destination(dest, remotes.len(), args.recursive)?;
    let run = Run::new(args)?;
    run.reporter.show(true);
    if matches!(dest, Destination::Stdout) {
        let mut worker = Worker::new(&run);
        for remote in &remotes {
            run.reporter.expect(0);
            let mut progress = run.reporter.start(&remote.path, 0);
            let out = &mut io::stdout().lock();
            if worker.run_on(&remote.address, |client| client.get_stream(&remote.path, out, &mut progress)).is_none() {
                break; // what comes after a gap is not what was asked for
            }
            run.reporter.done();
        }
        return Ok(run.end());
    }
    let mut walk = Walk { worker: Worker::new(&run), recursive: args.recursive, deferred: Vec::new() };
    pool::run(&run, |submit| remotes.iter().for_each(|remote| walk.argument(remote, &dest, submit)), download);
    // Their names may be those of parts that were in use until now. The shorter comes first: its
    // own part may have the name of a longer.
    walk.deferred.sort_by_key(|job| job.local.display().len());
    let mut worker = Worker::new(&run);
    walk.deferred.drain(..).for_each(|job| download(&mut worker, job));
    Ok(run.end())
}

/// Tells the places from the destination.
fn parse_operands(mut arguments: Vec<PathBuf>) -> Result<(Vec<RemotePath>, PathBuf), UsageError> {
    let is_dest = |last: &PathBuf| last.to_str().is_none_or(|last| !RemotePath::has_explicit_port(last));
    let dest = if arguments.len() > 1 { arguments.pop_if(|last| is_dest(last)) } else { None };
    let remotes = arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => RemotePath::parse(text).map_err(UsageError),
        None => Err(UsageError(format!("{}: is not UTF-8", argument.display()))),
    });
    Ok((remotes.collect::<Result<_, _>>()?, dest.unwrap_or_else(|| PathBuf::from("."))))
}

/// Decides by what is there how DEST is meant.
fn resolve_destination(dest: PathBuf, remotes: usize, recursive: bool) -> Result<Destination, UsageError> {
    if dest.as_os_str() == "-" {
        return if recursive {
            Err(UsageError("a folder cannot go to standard output".to_owned()))
        } else {
            Ok(Destination::Stdout)
        };
    }
    let is_dir_named = dest.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_dir_named || dest.is_dir() {
        let made = if is_dir_named { fs::create_dir_all(&dest) } else { Ok(()) };
        let opened = made.and_then(|()| Dir::open(&dest));
        return opened
            .map(|dir| Destination::Into(Arc::new(dir)))
            .map_err(|error| UsageError(format!("{}: {error}", dest.display())));
    }
    if remotes > 1 {
        return Err(UsageError(format!("{}: is no folder, and there are several files for it", dest.display())));
    }
    Ok(Destination::As(dest))
}

/// Finds what is to be fetched.
struct Walk<'a> {
    worker: Worker<'a>,
    recursive: bool,
    /// Files whose names look like those of parts: they come when no other file is under way.
    deferred: Vec<Job>,
}

/// A directory of a tree, of which only one page is held.
struct OpenDir {
    path: String,
    /// Directories that the page named and that are still to be fetched, the last one first.
    dirs: Vec<String>,
    /// The page to be asked for when these are done, and behind which name it begins.
    next: Option<Option<String>>,
}

impl Walk<'_> {
    /// A place that was named on the command line.
    fn argument(&mut self, remote: &RemotePath, dest: &Destination, submit: &mut dyn FnMut(Job)) {
        let mut size = 0;
        if self.recursive {
            let Some(stat) = self.worker.run_on(&remote.address, |client| client.stat(&remote.path)) else { return };
            if stat.dir {
                return self.argument_dir(remote, dest, submit);
            }
            size = stat.size;
        }
        let local = match (dest, remote.name()) {
            (Destination::As(local), _) if !remote.path.ends_with('/') => Local::Named(local.clone()),
            (Destination::Into(base), Some(name)) if !remote.path.ends_with('/') => {
                Local::Beneath { base: Arc::clone(base), dir: String::new(), name: name.to_owned() }
            }
            (Destination::Stdout, _) => return,
            _ => {
                let words = format!("{}{}: is a folder; use --recursive", remote.address, remote.path);
                return self.worker.run.reporter.failed_text(words);
            }
        };
        let job = Job { address: remote.address.clone(), path: remote.path.clone(), local, size };
        file(self.worker.run, &mut self.deferred, job, submit);
    }

    fn argument_dir(&mut self, remote: &RemotePath, dest: &Destination, submit: &mut dyn FnMut(Job)) {
        let (base, name) = match dest {
            Destination::As(local) => match fs::create_dir_all(local).and_then(|()| Dir::open(local)) {
                Ok(dir) => (Arc::new(dir), ""),
                Err(error) => return self.worker.run.reporter.failed_text(format!("{}: {error}", local.display())),
            },
            Destination::Into(base) => (Arc::clone(base), remote.name().unwrap_or("")),
            Destination::Stdout => return,
        };
        self.walk_dir(remote, &base, name, submit);
    }

    /// A directory with everything in it, to `name` beneath `base`. Entries are handed out as the pages come;
    /// of each directory on the way down one page is held, so that no server can fill the memory.
    fn walk_dir(&mut self, remote: &RemotePath, base: &Arc<Dir>, name: &str, submit: &mut dyn FnMut(Job)) {
        let run = self.worker.run;
        let root = as_dir(&remote.path);
        let mut open_dirs = vec![OpenDir { path: root.clone(), dirs: Vec::new(), next: Some(None) }];
        while let Some(open_dir) = open_dirs.last_mut() {
            if let Some(dir) = open_dir.dirs.pop() {
                // A path that is too deep is refused before it is asked for.
                let path = format!("{}{dir}/", open_dir.path);
                open_dirs.push(OpenDir { path, dirs: Vec::new(), next: Some(None) });
                continue;
            }
            let Some(after) = open_dir.next.take() else {
                open_dirs.pop();
                continue;
            };
            let local = format!("{name}/{}", &open_dir.path[root.len()..]).trim_start_matches('/').to_owned();
            // Also a directory without files is made.
            if after.is_none()
                && let Err(error) = base.make(&local)
            {
                run.reporter.failed_text(format!("{}: {error}", printable(&local)));
                continue;
            }
            let page = self.worker.run_on(&remote.address, |client| client.page(&open_dir.path, after.as_deref()));
            let Some(page) = page else { continue };
            open_dir.next = page.next.map(Some);
            for entry in page.entries {
                let entry = match entry {
                    Ok(entry) if entry.is_safe() => entry,
                    Ok(entry) => {
                        let (address, path) = (&remote.address, &open_dir.path);
                        let words = format!("{address}{path}: the server lists the name {:?}, refused", entry.name);
                        run.reporter.failed_text(words);
                        continue;
                    }
                    Err(kind) => {
                        run.reporter.failed(&kind.at(&remote.address, &open_dir.path));
                        continue;
                    }
                };
                if entry.dir {
                    open_dir.dirs.push(entry.name);
                    continue;
                }
                let path = format!("{}{}", open_dir.path, entry.name);
                let local = Local::Beneath { base: Arc::clone(base), dir: local.clone(), name: entry.name };
                let job = Job { address: remote.address.clone(), path, local, size: entry.size };
                file(run, &mut self.deferred, job, submit);
            }
            open_dir.dirs.reverse();
        }
    }
}

/// Hands a file out, now or late.
fn file(run: &Run, deferred: &mut Vec<Job>, job: Job, submit: &mut dyn FnMut(Job)) {
    if !job.path.ends_with(".part") && !job.path.ends_with(".part.etag") {
        run.reporter.expect(job.size);
        submit(job);
    } else if deferred.len() < DEFERRED_MAX {
        run.reporter.expect(job.size);
        deferred.push(job);
    } else {
        let Job { address, path, .. } = job;
        run.reporter
            .failed_text(format!("{address}{path}: left out, the {DEFERRED_MAX} files before it end in .part too"));
    }
}

/// Does one job.
fn download(worker: &mut Worker<'_>, job: Job) {
    let reporter = &worker.run.reporter;
    let mut progress = reporter.start(&job.path, job.size);
    let failed = |error| reporter.failed_text(format!("{}: {error}", job.local.display()));
    let done = match &job.local {
        Local::Named(local) => match special(local) {
            Ok(None) => worker.try_on(&job.address, |client| client.get_file(&job.path, local, &mut progress)),
            Ok(Some(mut device)) => {
                worker.try_on(&job.address, |client| client.get_stream(&job.path, &mut device, &mut progress))
            }
            Err(error) => return failed(error),
        },
        Local::Beneath { base, dir, name } => match base.make(dir) {
            Ok(dir) => worker
                .try_on(&job.address, |client| client.get_file_in(&job.path, &dir, OsStr::new(name), &mut progress)),
            Err(error) => return failed(error),
        },
    };
    match done {
        Some(Ok(_)) => reporter.done(),
        Some(Err(error)) if error.kind.code() == Some(409) => {
            reporter.failed_text(format!("{}{}: is a folder; use --recursive", job.address, job.path));
        }
        Some(Err(error)) => worker.fail(&job.address, &error),
        None => {}
    }
}

impl Local {
    fn display(&self) -> String {
        match self {
            Self::Named(local) => local.display().to_string(),
            Self::Beneath { dir, name, .. } => format!("{dir}{name}"),
        }
    }
}

/// Devices and pipes are written to and not replaced; a directory is neither.
fn special(local: &Path) -> io::Result<Option<fs::File>> {
    match fs::metadata(local) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(facts) if !facts.is_file() => OpenOptions::new().write(true).open(local).map(Some),
        _ => Ok(None),
    }
}
