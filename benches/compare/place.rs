//! Where files are served from: a directory on each file system that takes part, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::works::SERVED;
use support::{Content, process};

/// The name of the served directory.
pub const FOLDER: &str = "root";
/// What is in memory on most machines.
const MEMORY: &str = "/dev/shm";

/// A directory for the servers on one file system. Removed when dropped.
pub struct Place {
    /// The kind of its file system, as `mount` tells it.
    pub kind: String,
    /// What is served.
    pub root: PathBuf,
    /// For the servers' own files.
    pub work: PathBuf,
    _dir: TempDir,
}

impl Place {
    /// Under `FILEWHARF_CHECK_DIR`, or else in the directory of builds, with all that is fetched.
    pub fn first() -> Self {
        let place = Self::new(process::dir(env!("CARGO_TARGET_TMPDIR")));
        for served in SERVED {
            let content = Content::new(served.len, served.len).bytes();
            fs::write(place.root.join(served.name), content).expect("room for a file");
        }
        place
    }

    /// In memory, for uploads; `None` where that is not to be had, or where `first` is.
    pub fn in_memory(first: &Self) -> Option<Self> {
        let there = kind(Path::new(MEMORY)) == "tmpfs" && first.kind != "tmpfs";
        let dir = if there { tempfile::tempdir_in(MEMORY).ok() } else { None };
        dir.map(Self::new)
    }

    /// A directory with the same files for one of our servers, which locks what it serves. They are hard
    /// links, so that all servers read the same pages of the cache.
    pub fn own(&self, server: &str) -> PathBuf {
        let own = self.root.with_file_name(format!("{FOLDER}-{server}"));
        if fs::create_dir(&own).is_ok() {
            for served in SERVED {
                // There are none where only uploads are measured.
                let _ = fs::hard_link(self.root.join(served.name), own.join(served.name));
            }
        }
        own
    }

    fn new(dir: TempDir) -> Self {
        let (root, work) = (dir.path().join(FOLDER), dir.path().join("work"));
        fs::create_dir(&root).expect("a folder");
        fs::create_dir(&work).expect("a folder");
        Self { kind: kind(dir.path()), root, work, _dir: dir }
    }
}

/// The kind of file system that a directory is on: that of the longest mount point above it.
fn kind(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // Of two on the same point the later one is seen, and that is what `max_by_key` returns.
    let above = mounts.filter(|(point, _)| dir.starts_with(point)).max_by_key(|(point, _)| point.len());
    above.map_or("unknown", |(_, kind)| kind).to_owned()
}
