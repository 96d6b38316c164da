//! The real program as a process of its own, and what can be seen of it from outside.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::wire::{Talker, Wire};
use support::client::{PATIENCE, staged, wait_until};
use support::server::Program;

/// The program under test: the one built beside this, or another one that `FILEWHARF_BINARY` names.
pub fn binary() -> String {
    std::env::var("FILEWHARF_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_filewharf").to_owned())
}

/// A server process. Killed when dropped; its log is kept until then.
pub struct Served {
    program: Program,
    pub root: PathBuf,
    log: tempfile::NamedTempFile,
}

impl Deref for Served {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Served {
    /// On a directory, with more options.
    pub fn start(root: &Path, options: &[&str]) -> Self {
        Self::run_by(&[], root, options)
    }

    /// The same, run by another command that in the end becomes the server.
    pub fn run_by(before: &[&str], root: &Path, options: &[&str]) -> Self {
        Self::try_start(before, root, options).unwrap_or_else(|log| panic!("the server did not start: {log}"))
    }

    /// The same; its log if it ends instead of listening.
    pub fn try_start(before: &[&str], root: &Path, options: &[&str]) -> Result<Self, String> {
        let log = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file for the log");
        let sink = log.reopen().expect("the log can be opened again");
        let program = Program::try_start(before, &binary(), root, options, sink.into());
        let program = program.map_err(|said| said + &fs::read_to_string(log.path()).unwrap_or_default())?;
        Ok(Self { program, root: root.to_owned(), log })
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log is text")
    }

    /// Open descriptors, but for those of files that are kept open to be served again: at most one
    /// for each name.
    pub fn descriptors(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> Vec<PathBuf> {
        let (mut kept, own) = (BTreeSet::new(), self.root.join(".filewharf"));
        let all = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server lives");
        let mut open: Vec<PathBuf> = all.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        let is_served = |path: &Path| path.starts_with(&self.root) && !path.starts_with(&own) && !path.is_dir();
        open.retain(|path| !is_served(path) || !kept.insert(path.clone()));
        open
    }

    /// The same once no connection is open and no disk worker at work.
    pub fn descriptors_at_rest(&self) -> usize {
        self.descriptors_at_rest_says(self.address())
    }

    /// The same of a server that speaks HTTP at this address. It is asked: from outside, one that waits
    /// for the disk, for a core or for the end of a connection looks like one that is at rest.
    pub fn descriptors_at_rest_says(&self, http: SocketAddr) -> usize {
        let (mut asking, mut descriptors) = (Talker::new(Wire::Http, http), 0);
        wait_until("a server at rest", || {
            let metrics = String::from_utf8(asking.fetch("/.filewharf/metrics")).expect("text");
            let sum = |name: &str| -> u64 {
                let samples = metrics.lines().filter(|line| line.starts_with(name));
                samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
            };
            let none = (sum("filewharf_store_operations "), sum("filewharf_dialect_connections{")) == (0, 1);
            // A worker that has reported its result may still hold what it is about to close, and a sweep the directory
            // of all staging directories.
            let stagings = self.root.join(".filewharf/staging");
            let sweeps = self.open().iter().filter(|path| **path == stagings).count() > 1;
            let rests = none && !sweeps && self.is_asleep();
            // Only the connection that asks is open.
            descriptors = self.descriptors() - 1;
            rests
        });
        descriptors
    }

    /// Waits until every thread sleeps, and not only between two calls: a tracer that detaches in
    /// the middle of a call leaves a wrong result after.
    pub fn wait_until_asleep(&self) {
        wait_until("the server sleeps", || self.is_asleep());
    }

    /// True if every thread sleeps, each time it is looked at.
    pub fn is_asleep(&self) -> bool {
        let sleeps = |(tid, _): (u32, String)| {
            let stat = fs::read_to_string(format!("/proc/{}/task/{tid}/stat", self.pid())).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
        };
        (0..3).all(|_| {
            // Not only between two steps of its work.
            std::thread::park_timeout(Duration::from_millis(1));
            self.threads().into_iter().all(sleeps)
        })
    }

    /// Its threads: id and name.
    pub fn threads(&self) -> Vec<(u32, String)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten();
        let name = |task: &Path| fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned();
        let id = |task: &Path| task.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        tasks.filter_map(Result::ok).filter_map(|task| Some((id(&task.path())?, name(&task.path())))).collect()
    }

    /// The one of this name, which it gives itself: that may come after the server says that it listens.
    pub fn thread(&self, wanted: &str) -> u32 {
        let mut id = None;
        wait_until("a thread of this name", || {
            id = self.threads().into_iter().find_map(|(id, name)| (name == wanted).then_some(id));
            id.is_some()
        });
        id.expect("it was waited for")
    }

    /// Drains; the exit code.
    pub fn end(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until no connection, file or upload is open any more, as at the beginning, and nothing is
    /// left in staging: what is given up is closed first, then removed.
    #[track_caller]
    pub fn assert_back_to(&self, descriptors: usize, what: &str) {
        let until = Instant::now() + PATIENCE;
        while self.descriptors() != descriptors || !staged(&self.root).is_empty() {
            let (open, left) = (self.open(), staged(&self.root));
            assert!(Instant::now() < until, "{what}: not {descriptors} descriptors but {open:?}; in staging {left:?}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Waits until leftovers are swept: only the directory of this process is there, and its lock.
    #[track_caller]
    pub fn wait_until_swept(&self) {
        wait_until("leftovers are swept", || self.is_swept());
    }

    /// True if nothing is left to sweep.
    pub fn is_swept(&self) -> bool {
        let dirs = fs::read_dir(self.root.join(".filewharf/staging")).expect("a staging folder");
        dirs.count() == 1 && staged(&self.root).is_empty()
    }

    /// The same while clients upload: the directories of the dead are gone.
    #[track_caller]
    pub fn wait_until_only_own_staging(&self) {
        wait_until("folders of dead processes are swept", || {
            let dirs = fs::read_dir(self.root.join(".filewharf/staging")).expect("a staging folder");
            dirs.count() == 1
        });
    }

    /// A client is served, in every way.
    #[track_caller]
    pub fn assert_serves(&self) {
        let mut client = self.client();
        client.put("/still here", b"still here");
        assert_eq!(client.get("/still here"), b"still here");
        client.expect("DELETE /still here", "OK 0");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(3000);
            eprintln!("the end of the server's log:\n{}", String::from_utf8_lossy(&log.as_bytes()[tail..]));
        }
    }
}

/// A directory for one test on the disk of the build, which is a real one.
pub fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}
