//! `filewharf get`: files and directories of a server come here.
//!
//! Names in a listing are the server's word and never trusted: one that is not a plain component
//! is refused, so nothing is written outside the directory that was meant.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::common::{Args, CONNECTION, End, Misuse, PARALLEL, QUIET, Run, Worker};
use super::flag::Flag;
use super::pool;
use super::usage::Usage;
use crate::client::{Address, Dir, Place, as_dir, printable};

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
enum Dest {
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
const LATE_MAX: usize = 10_000;

pub(super) fn run(args: &Args) -> Result<End, Misuse> {
    let (places, dest) = understand(args.operands.clone())?;
    let dest = settle(dest, places.len(), args.recursive)?;
    let run = Run::new(args)?;
    run.screen.show(true);
    if matches!(dest, Dest::Stdout) {
        let mut worker = Worker::new(&run);
        for place in &places {
            run.screen.expect(0);
            let mut meter = run.screen.follow(&place.path, 0);
            let out = &mut io::stdout().lock();
            if worker.with(&place.address, |client| client.get_stream(&place.path, out, &mut meter)).is_none() {
                break; // what comes after a gap is not what was asked for
            }
            run.screen.done();
        }
        return Ok(run.end());
    }
    let mut search = Search { worker: Worker::new(&run), recursive: args.recursive, late: Vec::new() };
    pool::run(&run, |hand_out| places.iter().for_each(|place| search.top(place, &dest, hand_out)), fetch);
    // Their names may be those of parts that were in use until now. The shorter comes first: its
    // own part may have the name of a longer.
    search.late.sort_by_key(|job| job.local.shown().len());
    let mut worker = Worker::new(&run);
    search.late.drain(..).for_each(|job| fetch(&mut worker, job));
    Ok(run.end())
}

/// Tells the places from the destination.
fn understand(mut arguments: Vec<PathBuf>) -> Result<(Vec<Place>, PathBuf), Misuse> {
    let is_dest = |last: &PathBuf| last.to_str().is_none_or(|last| !Place::is_spelled_out(last));
    let dest = if arguments.len() > 1 { arguments.pop_if(|last| is_dest(last)) } else { None };
    let places = arguments.iter().map(|argument| match argument.to_str() {
        Some(text) => Place::parse(text).map_err(Misuse),
        None => Err(Misuse(format!("{}: is not UTF-8", argument.display()))),
    });
    Ok((places.collect::<Result<_, _>>()?, dest.unwrap_or_else(|| PathBuf::from("."))))
}

/// Decides by what is there how DEST is meant.
fn settle(dest: PathBuf, places: usize, recursive: bool) -> Result<Dest, Misuse> {
    if dest.as_os_str() == "-" {
        return if recursive {
            Err(Misuse("a folder cannot go to standard output".to_owned()))
        } else {
            Ok(Dest::Stdout)
        };
    }
    let is_meant = dest.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_meant || dest.is_dir() {
        let made = if is_meant { fs::create_dir_all(&dest) } else { Ok(()) };
        let opened = made.and_then(|()| Dir::open(&dest));
        return opened
            .map(|dir| Dest::Into(Arc::new(dir)))
            .map_err(|error| Misuse(format!("{}: {error}", dest.display())));
    }
    if places > 1 {
        return Err(Misuse(format!("{}: is no folder, and there are several files for it", dest.display())));
    }
    Ok(Dest::As(dest))
}

/// Finds what is to be fetched.
struct Search<'a> {
    worker: Worker<'a>,
    recursive: bool,
    /// Files whose names look like those of parts: they come when no other file is under way.
    late: Vec<Job>,
}

/// A directory of a tree, of which only one page is held.
struct Level {
    path: String,
    /// Directories that the page named and that are still to be fetched, the last one first.
    dirs: Vec<String>,
    /// The page to be asked for when these are done, and behind which name it begins.
    next: Option<Option<String>>,
}

impl Search<'_> {
    /// A place that was named on the command line.
    fn top(&mut self, place: &Place, dest: &Dest, hand_out: &mut dyn FnMut(Job)) {
        let mut size = 0;
        if self.recursive {
            let Some(stat) = self.worker.with(&place.address, |client| client.stat(&place.path)) else { return };
            if stat.dir {
                return self.top_dir(place, dest, hand_out);
            }
            size = stat.size;
        }
        let local = match (dest, place.name()) {
            (Dest::As(local), _) if !place.path.ends_with('/') => Local::Named(local.clone()),
            (Dest::Into(base), Some(name)) if !place.path.ends_with('/') => {
                Local::Beneath { base: Arc::clone(base), dir: String::new(), name: name.to_owned() }
            }
            (Dest::Stdout, _) => return,
            _ => {
                let words = format!("{}{}: is a folder; use --recursive", place.address, place.path);
                return self.worker.run.screen.failed_with(words);
            }
        };
        let job = Job { address: place.address.clone(), path: place.path.clone(), local, size };
        file(self.worker.run, &mut self.late, job, hand_out);
    }

    fn top_dir(&mut self, place: &Place, dest: &Dest, hand_out: &mut dyn FnMut(Job)) {
        let (base, name) = match dest {
            Dest::As(local) => match fs::create_dir_all(local).and_then(|()| Dir::open(local)) {
                Ok(dir) => (Arc::new(dir), ""),
                Err(error) => return self.worker.run.screen.failed_with(format!("{}: {error}", local.display())),
            },
            Dest::Into(base) => (Arc::clone(base), place.name().unwrap_or("")),
            Dest::Stdout => return,
        };
        self.tree(place, &base, name, hand_out);
    }

    /// A directory with everything in it, to `name` beneath `base`. Entries are handed out as the pages come;
    /// of each directory on the way down one page is held, so that no server can fill the memory.
    fn tree(&mut self, place: &Place, base: &Arc<Dir>, name: &str, hand_out: &mut dyn FnMut(Job)) {
        let run = self.worker.run;
        let root = as_dir(&place.path);
        let mut levels = vec![Level { path: root.clone(), dirs: Vec::new(), next: Some(None) }];
        while let Some(level) = levels.last_mut() {
            if let Some(dir) = level.dirs.pop() {
                // A path that is too deep is refused before it is asked for.
                let path = format!("{}{dir}/", level.path);
                levels.push(Level { path, dirs: Vec::new(), next: Some(None) });
                continue;
            }
            let Some(after) = level.next.take() else {
                levels.pop();
                continue;
            };
            let local = format!("{name}/{}", &level.path[root.len()..]).trim_start_matches('/').to_owned();
            // Also a directory without files is made.
            if after.is_none()
                && let Err(error) = base.make(&local)
            {
                run.screen.failed_with(format!("{}: {error}", printable(&local)));
                continue;
            }
            let page = self.worker.with(&place.address, |client| client.page(&level.path, after.as_deref()));
            let Some(page) = page else { continue };
            level.next = page.next.map(Some);
            for entry in page.entries {
                let entry = match entry {
                    Ok(entry) if entry.is_safe() => entry,
                    Ok(entry) => {
                        let (address, path) = (&place.address, &level.path);
                        let words = format!("{address}{path}: the server lists the name {:?}, refused", entry.name);
                        run.screen.failed_with(words);
                        continue;
                    }
                    Err(trouble) => {
                        run.screen.failed(&trouble.at(&place.address, &level.path));
                        continue;
                    }
                };
                if entry.dir {
                    level.dirs.push(entry.name);
                    continue;
                }
                let path = format!("{}{}", level.path, entry.name);
                let local = Local::Beneath { base: Arc::clone(base), dir: local.clone(), name: entry.name };
                let job = Job { address: place.address.clone(), path, local, size: entry.size };
                file(run, &mut self.late, job, hand_out);
            }
            level.dirs.reverse();
        }
    }
}

/// Hands a file out, now or late.
fn file(run: &Run, late: &mut Vec<Job>, job: Job, hand_out: &mut dyn FnMut(Job)) {
    if !job.path.ends_with(".part") && !job.path.ends_with(".part.etag") {
        run.screen.expect(job.size);
        hand_out(job);
    } else if late.len() < LATE_MAX {
        run.screen.expect(job.size);
        late.push(job);
    } else {
        let Job { address, path, .. } = job;
        run.screen.failed_with(format!("{address}{path}: left out, the {LATE_MAX} files before it end in .part too"));
    }
}

/// Does one job.
fn fetch(worker: &mut Worker<'_>, job: Job) {
    let screen = &worker.run.screen;
    let mut meter = screen.follow(&job.path, job.size);
    let failed = |error| screen.failed_with(format!("{}: {error}", job.local.shown()));
    let done = match &job.local {
        Local::Named(local) => match special(local) {
            Ok(None) => worker.try_with(&job.address, |client| client.get_file(&job.path, local, &mut meter)),
            Ok(Some(mut device)) => {
                worker.try_with(&job.address, |client| client.get_stream(&job.path, &mut device, &mut meter))
            }
            Err(error) => return failed(error),
        },
        Local::Beneath { base, dir, name } => match base.make(dir) {
            Ok(dir) => worker
                .try_with(&job.address, |client| client.get_file_in(&job.path, &dir, OsStr::new(name), &mut meter)),
            Err(error) => return failed(error),
        },
    };
    match done {
        Some(Ok(_)) => screen.done(),
        Some(Err(error)) if error.trouble.code() == Some(409) => {
            screen.failed_with(format!("{}{}: is a folder; use --recursive", job.address, job.path));
        }
        Some(Err(error)) => worker.fail(&job.address, &error),
        None => {}
    }
}

impl Local {
    fn shown(&self) -> String {
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
