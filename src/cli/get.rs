//! `filewharf get`: downloads files and directories.
//!
//! The names in a listing are not trusted: one that is not a plain component is refused, so nothing is written outside
//! the destination.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{
    self, Args, CHECKSUM, CONNECTION, DRY_RUN, EXCLUDE, INCLUDE, NO_CLOBBER, PARALLEL, PERMS, QUIET, UPDATE, UsageError,
};
use super::expand::expand;
use super::flag::{Flag, Value::*};
use super::pool;
use super::reporter::Transfer;
use super::usage::{Command, Usage};
use super::worker::{Run, Worker};
use crate::client::{
    Answer, Dir, Entry, Equality, ErrorKind, Options, PageOptions, Progress as _, RemotePath, Target, as_dir,
    keep_small, printable, small_get,
};

pub(super) static USAGE: Usage<Args> = Usage {
    command: Command {
        name: "get",
        about: "Fetch files from a server",
        line: "[OPTIONS] HOST:PORT/PATH... [DEST]",
        operand: (
            "HOST:PORT/PATH... [DEST]",
            "HOST[:PORT]/path of the files, where * ? [a-z] in names, quoted, match several; then where they go",
        ),
        operands: 1..=usize::MAX,
        hints: &[],
        notes: "Examples:
  filewharf get 127.0.0.1:7070/inbox/photo.jpg
  filewharf get 127.0.0.1:7070/inbox/photo.jpg copy.jpg
  filewharf get 127.0.0.1:7070/a.txt 127.0.0.1:7070/b.txt folder/
  filewharf get --recursive --update 127.0.0.1:7070/inbox copy
  filewharf get '127.0.0.1:7070/logs/*.gz' .
  filewharf get -r --include '*/' --include '*.jpg' --exclude '*' 127.0.0.1:7070/inbox pictures
  filewharf get 127.0.0.1:7070/backup/folder.tar - | tar x

The last argument is DEST unless it looks like HOST:PORT/path. DEST is the copy itself, whether it
exists or not: of a folder, its content goes into DEST. DEST/ takes the copy under its name, and
so does DEST for several files; it is made if missing. Without DEST the copy goes into the current
folder. - is standard output. While a file comes it is DEST.part, with its version and the digests
of what is already there in DEST.part.etag; a later get continues from there. The port is 7070 if
none is given. Write tls://HOST:PORT for a server that speaks TLS. After a failure the rest is
fetched all the same. Names of the server are used under DEST only, where no link is followed;
folders are fetched 64 deep. Exit code 0: all is there, 1: something failed, 2: wrong usage, 130:
ended by Ctrl-C.",
    },
    flags: &[
        (
            "Options",
            &[
                Flag::new(
                    "recursive",
                    Switch(|args: &mut Args| args.recursive = true),
                    "Fetch folders with everything in them",
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

/// Where the files go.
#[derive(Debug)]
enum Destination {
    /// Into this directory, under their names.
    Into(Arc<Base>),
    /// The only file becomes this one.
    As(PathBuf),
}

#[derive(Debug)]
struct Job {
    remote: RemotePath,
    local: Local,
    /// What the server answered about the file, if it was asked.
    entry: Option<Entry>,
}

/// The local name of a file.
#[derive(Debug)]
enum Local {
    /// Given by the user: links are followed to devices and pipes.
    Named(PathBuf),
    /// It may come from the server: no link under `base` is followed.
    Under { base: Arc<Base>, dir: String, name: String },
}

/// The directory that takes what comes.
#[derive(Debug)]
struct Base {
    path: PathBuf,
    /// `None` in a plan, for one that is missing.
    dir: Option<Dir>,
}

impl Base {
    /// Opens a directory; makes one that is missing, but not for a plan.
    fn open(path: &Path, dry_run: bool) -> io::Result<Arc<Self>> {
        let dir = match dry_run {
            true => Dir::open(path).ok(),
            false => {
                fs::create_dir_all(path)?;
                Some(Dir::open(path)?)
            }
        };
        Ok(Arc::new(Self { path: path.to_owned(), dir }))
    }

    /// A directory in it, which is made if missing.
    fn make(&self, names: &str) -> io::Result<Dir> {
        self.dir.as_ref().ok_or(io::ErrorKind::NotFound)?.make(names)
    }

    /// A directory in it, if it is there.
    fn find(&self, names: &str) -> io::Result<Dir> {
        self.dir.as_ref().ok_or(io::ErrorKind::NotFound)?.find(names)
    }
}

const IS_DIR: &str = "is a folder; use --recursive";
/// How many files named like parts are kept for the end.
const DEFERRED_MAX: usize = 10_000;

pub(super) fn run(args: &Args) -> Result<bool, UsageError> {
    let (remotes, dest) = parse_operands(args.operands.clone())?;
    if dest.as_os_str() == "-" {
        return to_stdout(args, remotes);
    }
    let run = Run::new(args, Some(Transfer::Files))?;
    let several = remotes.len() > 1;
    let mut worker = Worker::new(&run);
    let (remotes, had_pattern) = expand(&mut worker, remotes);
    let dest = match several || had_pattern || is_dir_by_name(&dest) {
        true => match Base::open(&dest, run.dry_run) {
            Ok(base) => Destination::Into(base),
            Err(error) => {
                run.reporter.failed_text(format!("{}: {error}", dest.display()));
                return Ok(run.reporter.finish());
            }
        },
        false => Destination::As(dest),
    };
    let mut walk = Walk { worker, recursive: args.recursive, deferred: Vec::new() };
    let find = |submit: &mut dyn FnMut(Job)| remotes.iter().for_each(|remote| walk.argument(remote, &dest, submit));
    pool::run(&run, find, download_several);
    // Their names may be those of parts that were in use until now. The shorter comes first: its
    // own part may have the name of a longer.
    walk.deferred.sort_by_key(|job| job.local.to_string().len());
    let mut worker = Worker::new(&run);
    walk.deferred.drain(..).for_each(|job| download(&mut worker, job));
    Ok(run.reporter.finish())
}

pub(super) fn to_stdout(args: &Args, remotes: Vec<RemotePath>) -> Result<bool, UsageError> {
    if args.recursive {
        return Err(UsageError("a folder cannot go to standard output".to_owned()));
    }
    if args.update.is_some() {
        return Err(UsageError(
            "standard output (-) has nothing to compare with: no --update, no --checksum".to_owned(),
        ));
    }
    if args.dry_run {
        return Err(UsageError("standard output (-) has nothing that changes: no --dry-run".to_owned()));
    }
    let run = Run::new(args, Some(Transfer::ToStdout))?;
    let mut worker = Worker::new(&run);
    for remote in expand(&mut worker, remotes).0 {
        run.reporter.expect(0);
        let mut progress = run.reporter.start(&remote.path, 0);
        let mut out = io::stdout().lock();
        if !worker.complete_on(&remote.address, |client| client.get_stream(&remote.path, &mut out, &mut progress)) {
            break; // what follows a gap is of no use
        }
    }
    Ok(run.reporter.finish())
}

/// Separates the remote files from the destination.
fn parse_operands(mut operands: Vec<PathBuf>) -> Result<(Vec<RemotePath>, PathBuf), UsageError> {
    let is_dest = |last: &PathBuf| last.to_str().is_none_or(|last| !RemotePath::is_explicit(last));
    let dest = if operands.len() > 1 { operands.pop_if(|last| is_dest(last)) } else { None };
    let remotes = operands.iter().map(|operand| match operand.to_str() {
        Some(text) => args::remote(text),
        None => Err(UsageError(format!("{}: is not UTF-8", operand.display()))),
    });
    Ok((remotes.collect::<Result<_, _>>()?, dest.unwrap_or_else(|| PathBuf::from("."))))
}

/// True for a path that is a directory whatever exists: one that ends in a slash, `.` or `..`.
fn is_dir_by_name(path: &Path) -> bool {
    matches!(path.as_os_str().as_encoded_bytes().rsplit(|byte| *byte == b'/').next(), Some(b"" | b"." | b".."))
}

/// Finds what is to be downloaded.
struct Walk<'a> {
    worker: Worker<'a>,
    recursive: bool,
    /// Files named like parts: they are fetched when no other file is being written.
    deferred: Vec<Job>,
}

/// A directory that is being walked, of which one page is held.
struct OpenDir {
    path: String,
    /// Directories of the page that are still to be walked, the last one first.
    dirs: Vec<String>,
    /// The next page to request, by the name after which it begins.
    next: Option<Option<String>>,
}

impl OpenDir {
    fn new(path: String) -> Self {
        Self { path, dirs: Vec::new(), next: Some(None) }
    }
}

impl Walk<'_> {
    /// A file or directory of the command line.
    fn argument(&mut self, remote: &RemotePath, dest: &Destination, submit: &mut dyn FnMut(Job)) {
        let mut entry = None;
        let (run, update) = (self.worker.run, self.worker.run.update);
        if self.recursive || update.is_some() || run.dry_run {
            let digest = update.is_some_and(Equality::needs_digest);
            let found = self.worker.run_on(&remote.address, |client| client.stat_with(&remote.path, digest));
            let Some(found) = found else { return };
            entry = Some(found);
        }
        let is_dir = entry.as_ref().is_some_and(|entry| entry.dir);
        // A directory is what the patterns are about, and always taken.
        if !is_dir && !run.filter.takes(remote.name().unwrap_or_default(), None, false) {
            return;
        }
        if self.recursive && is_dir {
            let (base, name) = match dest {
                Destination::Into(base) => (Arc::clone(base), remote.name().unwrap_or_default()),
                Destination::As(local) => match Base::open(local, run.dry_run) {
                    Ok(dir) => (dir, ""),
                    Err(error) => return self.failed(local.display(), error),
                },
            };
            return self.dir(remote, &base, name, submit);
        }
        let local = match (dest, remote.name()) {
            (Destination::As(local), _) => Local::Named(local.clone()),
            (Destination::Into(base), Some(name)) => {
                Local::Under { base: Arc::clone(base), dir: String::new(), name: name.to_owned() }
            }
            (Destination::Into(_), None) => return self.failed(remote, IS_DIR),
        };
        if is_dir || remote.path.ends_with('/') {
            return self.failed(remote, IS_DIR);
        }
        self.file(Job { remote: remote.clone(), local, entry }, submit);
    }

    /// A directory with all its content, to `name` under `base`. Entries are submitted as the pages come; of each
    /// directory on the way down one page is held, so that memory is bounded whatever the server sends.
    fn dir(&mut self, remote: &RemotePath, base: &Arc<Base>, name: &str, submit: &mut dyn FnMut(Job)) {
        let root = as_dir(&remote.path);
        let run = self.worker.run;
        let digests = run.update.is_some_and(Equality::needs_digest);
        let options = PageOptions { digests, ..PageOptions::default() };
        let mut open_dirs = vec![OpenDir::new(root.clone())];
        while let Some(open_dir) = open_dirs.last_mut() {
            if let Some(dir) = open_dir.dirs.pop() {
                // A path that is too deep is refused before it is sent.
                let path = format!("{}{dir}/", open_dir.path);
                open_dirs.push(OpenDir::new(path));
                continue;
            }
            let Some(after) = open_dir.next.take() else {
                open_dirs.pop();
                continue;
            };
            let local = format!("{name}/{}", &open_dir.path[root.len()..]).trim_start_matches('/').to_owned();
            // A directory without files is created too.
            if after.is_none() {
                match (base.find(&local), run.dry_run) {
                    (Err(_), true) => {
                        run.reporter.say(format!("mkdir {}/", base.path.join(local.trim_end_matches('/')).display()));
                    }
                    (_, true) => {}
                    (_, false) => {
                        if let Err(error) = base.make(&local) {
                            self.failed(printable(&local), error);
                            continue;
                        }
                    }
                }
            }
            let here = |path: String| RemotePath { address: remote.address.clone(), path };
            let page =
                self.worker.run_on(&remote.address, |client| client.page(&open_dir.path, after.as_deref(), options));
            let Some(page) = page else { continue };
            open_dir.next = page.next.map(Some);
            let below = open_dir.path[root.len()..].to_owned();
            for entry in page.entries {
                match entry {
                    Ok(entry) if !entry.is_safe() => {
                        let why = format!("the server lists the name {:?}, refused", entry.name);
                        self.failed(here(open_dir.path.clone()), why);
                    }
                    Ok(entry) if !run.filter.takes(&entry.name, Some(&format!("{below}{}", entry.name)), entry.dir) => {
                    }
                    Ok(entry) if entry.dir => open_dir.dirs.push(entry.name),
                    Ok(entry) => {
                        let remote = here(format!("{}{}", open_dir.path, entry.name));
                        let local =
                            Local::Under { base: Arc::clone(base), dir: local.clone(), name: entry.name.clone() };
                        self.file(Job { remote, local, entry: Some(entry) }, submit);
                    }
                    Err(kind) => self.worker.run.reporter.failed(&kind.at(&remote.address, &open_dir.path)),
                }
            }
            open_dir.dirs.reverse();
        }
    }

    /// Submits a file, or defers it.
    fn file(&mut self, job: Job, submit: &mut dyn FnMut(Job)) {
        let is_deferred = job.remote.path.ends_with(".part") || job.remote.path.ends_with(".part.etag");
        if is_deferred && self.deferred.len() == DEFERRED_MAX {
            let why = format!("left out, the {DEFERRED_MAX} files before it end in .part too");
            return self.failed(job.remote, why);
        }
        self.worker.run.reporter.expect(job.entry.as_ref().map_or(0, |entry| entry.size));
        if is_deferred { self.deferred.push(job) } else { submit(job) }
    }

    fn failed(&self, file: impl Display, why: impl Display) {
        self.worker.run.reporter.failed_text(format!("{file}: {why}"));
    }
}

/// Fetches a file, and more with it if they are small.
fn download_several(worker: &mut Worker<'_>, first: Job, more: &mut dyn FnMut() -> Option<Job>) {
    let run = worker.run;
    let address = first.remote.address.clone();
    // What is compared goes one by one; whether a file can be executed is not in the listing.
    let is_plain = !run.dry_run && !run.keeps_perms() && run.update.is_none();
    let request = |_: &Options, job: &Job| match (&job.local, &job.entry) {
        (Local::Under { .. }, Some(entry)) if is_plain && job.remote.address == address => {
            small_get(&job.remote.path, entry.size)
        }
        _ => None,
    };
    let mut done = |job: &Job, answer: Answer| {
        let Local::Under { base, dir, name } = &job.local else { return false };
        let Ok(dir) = base.make(dir) else { return false };
        let target = Target { dir: &dir, name: OsStr::new(name), part_suffix: ".part", permits: &|| Ok(()) };
        let is_kept = keep_small(&target, &answer, false, true);
        if is_kept {
            let size = job.entry.as_ref().map_or(0, |entry| entry.size);
            run.reporter.start(&job.remote.path, size).position(answer.body.len() as u64);
            run.reporter.done();
        }
        is_kept
    };
    let left = worker.pipeline(&address, first, more, &request, &mut done);
    left.into_iter().for_each(|job| download(worker, job));
}

fn download(worker: &mut Worker<'_>, job: Job) {
    let Job { remote, local, entry } = job;
    let reporter = &worker.run.reporter;
    let size = entry.as_ref().map_or(0, |entry| entry.size);
    if let (Some(equality), Some(entry)) = (worker.run.update, &entry)
        && local.has(entry, equality)
    {
        return reporter.unchanged(size);
    }
    if worker.run.dry_run {
        match local.path() {
            path if path.is_dir() => reporter.failed_text(taken(&remote, &local)),
            path => {
                reporter.say(format!("get {remote} -> {}", path.display()));
                reporter.done();
            }
        }
        return;
    }
    let mut progress = reporter.start(&remote.path, size);
    let result = match &local {
        Local::Named(path) => open_special(path).map(|device| {
            worker.try_on(&remote.address, |client| match device {
                Some(mut device) => client.get_stream(&remote.path, &mut device, &mut progress),
                None => client.get_file(&remote.path, path, &mut progress),
            })
        }),
        Local::Under { base, dir, name } => base.make(dir).map(|dir| {
            let name = OsStr::new(name);
            worker.try_on(&remote.address, |client| client.get_file_in(&remote.path, &dir, name, &mut progress))
        }),
    };
    match result {
        Ok(Some(Ok(_))) => reporter.done(),
        Ok(Some(Err(error))) if error.kind.code() == Some(409) => reporter.failed_text(format!("{remote}: {IS_DIR}")),
        Ok(Some(Err(error)))
            if worker.run.keeps_existing() && has_local_kind(&error.kind, io::ErrorKind::AlreadyExists) =>
        {
            reporter.unchanged(size);
        }
        Ok(Some(Err(error))) if has_local_kind(&error.kind, io::ErrorKind::IsADirectory) => {
            reporter.failed_text(taken(&remote, &local));
        }
        Ok(Some(Err(error))) => worker.fail(&remote.address, &error),
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => reporter.failed_text(taken(&remote, &local)),
        Err(error) => reporter.failed_text(format!("{local}: {error}")),
    }
}

fn taken(remote: &RemotePath, local: &Local) -> String {
    format!("{remote}: {local} is a folder here: write {local}/ to put the file into it, or use --recursive")
}

fn has_local_kind(kind: &ErrorKind, wanted: io::ErrorKind) -> bool {
    matches!(kind, ErrorKind::LocalFile { source, .. } if source.kind() == wanted)
}

impl Local {
    fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::Under { base, dir, name } => base.path.join(dir).join(name),
        }
    }

    /// True if the file is there already and equal.
    fn has(&self, entry: &Entry, equality: Equality) -> bool {
        match self {
            Self::Named(path) => {
                let dir = Dir::open(path.parent().unwrap_or(Path::new("")));
                path.file_name().zip(dir.ok()).is_some_and(|(name, dir)| dir.has_equal(name, entry, equality))
            }
            Self::Under { base, dir, name } => {
                base.find(dir).is_ok_and(|dir| dir.has_equal(OsStr::new(name), entry, equality))
            }
        }
    }
}

impl Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(path) => path.display().fmt(f),
            Self::Under { dir, name, .. } => write!(f, "{dir}{name}"),
        }
    }
}

/// Opens a device or a pipe, which is written to instead of being replaced. An error for a directory.
fn open_special(local: &Path) -> io::Result<Option<fs::File>> {
    match fs::metadata(local) {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => OpenOptions::new().write(true).open(local).map(Some),
        _ => Ok(None),
    }
}
