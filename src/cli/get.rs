//! `filewharf get`: files and folders of a server come here.
//!
//! Names in a listing are the server's word and never trusted: one that is not a plain component
//! is refused, so nothing is written outside the folder that was meant.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::common::{Args, CONNECTION, End, Misuse, QUIET, Run, Worker};
use super::pool;
use super::usage::{Flag, Usage};
use crate::client::{Address, Place, as_folder};

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
                Flag::plain("recursive", "Fetch folders with everything in them", |args: &mut Args| {
                    args.recursive = true;
                })
                .or('r'),
                QUIET,
            ],
        ),
        CONNECTION,
    ],
    notes: "Examples:
  filewharf get 127.0.0.1:7070/inbox/photo.jpg
  filewharf get 127.0.0.1:7070/a.txt 127.0.0.1:7070/b.txt folder
  filewharf get --recursive 127.0.0.1:7070/inbox/ folder
  filewharf get 127.0.0.1:7070/backup/folder.tar - | tar x

The last argument is DEST unless it looks like HOST:PORT/path; the default is the current folder.
A DEST that is a folder takes the files under their names; DEST ending in / is made if missing.
- is standard output. While a file comes it is DEST.part, with its version and the digests of what
is already there in DEST.part.etag; a later get goes on from there. The port is 7070 if none is
given. What fails does not keep the rest from being fetched.",
};

/// Where things go.
#[derive(Debug)]
enum Dest {
    Stdout,
    /// Into this folder, under their names.
    Into(PathBuf),
    /// The one thing becomes this.
    As(PathBuf),
}

/// One file to be fetched.
#[derive(Debug)]
struct Job {
    address: Address,
    path: String,
    local: PathBuf,
    size: u64,
}

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
    search.late.sort_by_key(|job| job.local.as_os_str().len());
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
    if dest.is_dir() {
        return Ok(Dest::Into(dest));
    }
    if dest.as_os_str().as_encoded_bytes().ends_with(b"/") {
        fs::create_dir_all(&dest).map_err(|error| Misuse(format!("{}: {error}", dest.display())))?;
        return Ok(Dest::Into(dest));
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

impl Search<'_> {
    /// A place that was named on the command line.
    fn top(&mut self, place: &Place, dest: &Dest, hand_out: &mut dyn FnMut(Job)) {
        let local = match (dest, place.name()) {
            (Dest::As(local), _) => local.clone(),
            (Dest::Into(folder), Some(name)) => folder.join(name),
            (Dest::Into(folder), None) => folder.clone(),
            (Dest::Stdout, _) => return,
        };
        let mut size = 0;
        if self.recursive {
            let Some(stat) = self.worker.with(&place.address, |client| client.stat(&place.path)) else { return };
            if stat.folder {
                return self.tree(&place.address, &place.path, local, hand_out);
            }
            size = stat.size;
        } else if place.path.ends_with('/') {
            let words = format!("{}{}: is a folder; use --recursive", place.address, place.path);
            return self.worker.run.screen.failed_with(words);
        }
        let job = Job { address: place.address.clone(), path: place.path.clone(), local, size };
        file(self.worker.run, &mut self.late, job, hand_out);
    }

    /// A folder with everything in it. Entries are handed out as the pages come.
    fn tree(&mut self, address: &Address, path: &str, local: PathBuf, hand_out: &mut dyn FnMut(Job)) {
        let (run, late) = (self.worker.run, &mut self.late);
        let mut left = vec![(as_folder(path), local)];
        while let Some((path, local)) = left.pop() {
            if let Err(error) = fs::create_dir_all(&local) {
                run.screen.failed_with(format!("{}: {error}", local.display()));
                continue;
            }
            self.worker.with(address, |client| {
                for entry in client.list(&path) {
                    let entry = match entry {
                        Ok(entry) => entry,
                        Err(error) if error.trouble.is_hopeless() => return Err(error),
                        Err(error) => {
                            run.screen.failed(&error);
                            continue;
                        }
                    };
                    let (remote, local) = (format!("{path}{}", entry.name), local.join(&entry.name));
                    if !entry.is_safe() {
                        let words = format!("{address}{path}: the server lists the name {:?}, refused", entry.name);
                        run.screen.failed_with(words);
                    } else if entry.folder {
                        left.push((as_folder(&remote), local));
                    } else {
                        let job = Job { address: address.clone(), path: remote, local, size: entry.size };
                        file(run, late, job, hand_out);
                    }
                }
                Ok(())
            });
        }
    }
}

/// Hands a file out, now or late.
fn file(run: &Run, late: &mut Vec<Job>, job: Job, hand_out: &mut dyn FnMut(Job)) {
    run.screen.expect(job.size);
    if job.path.ends_with(".part") || job.path.ends_with(".part.etag") {
        late.push(job);
    } else {
        hand_out(job);
    }
}

/// Does one job.
fn fetch(worker: &mut Worker<'_>, job: Job) {
    let screen = &worker.run.screen;
    let mut meter = screen.follow(&job.path, job.size);
    let done = match special(&job.local) {
        Ok(None) => worker.try_with(&job.address, |client| client.get_file(&job.path, &job.local, &mut meter)),
        Ok(Some(mut device)) => {
            worker.try_with(&job.address, |client| client.get_stream(&job.path, &mut device, &mut meter))
        }
        Err(error) => return screen.failed_with(format!("{}: {error}", job.local.display())),
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

/// Devices and pipes are written to and not replaced; a folder is neither.
fn special(local: &Path) -> io::Result<Option<fs::File>> {
    match fs::metadata(local) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(facts) if !facts.is_file() => OpenOptions::new().write(true).open(local).map(Some),
        _ => Ok(None),
    }
}
