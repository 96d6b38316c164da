//! Small downloads from memory while others wait for a slow disk: whether they wait as well.
//!
//! The disk is made slow for the server's processes by a control group (blkio of cgroup v1), where
//! there is one and it may be used; else the files are cold on a disk as fast as it is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::extent::Extent;
use crate::mix;
use crate::works::{MIB, wire};
use support::driver::{Loss, Outcome, Step};
use support::peers::Peer;
use support::table::Column;
use support::{Content, Driver, Task};

/// The name of this work.
pub const NAME: &str = "get 4 KiB during 8 cold downloads";

pub const COLUMNS: [Column; 5] = mix::columns("cold read");

const FILES: usize = 8;
const LEN: u64 = 8 * MIB;
const READERS: usize = 4;
const TIME: Duration = Duration::from_secs(2);
/// Bytes a second of the slow disk: reading all files takes longer than the small ones are asked for.
const SLOW: u64 = 16 * MIB;

const GROUPS: &str = "/sys/fs/cgroup/blkio";

/// A control group with a slow disk. Its processes go back when it is dropped.
struct SlowDisk(PathBuf);

impl SlowDisk {
    fn of(peer: &Peer) -> Option<Self> {
        let group = PathBuf::from(GROUPS).join(format!("filewharf-compare-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let own = Self(group);
        let device = fs::metadata(&peer.root).ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        fs::write(own.0.join("blkio.throttle.read_bps_device"), format!("{major}:{minor} {SLOW}")).ok()?;
        for pid in peer.processes() {
            fs::write(own.0.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        Some(own)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(PathBuf::from(GROUPS).join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// What forbids it, in words.
pub fn forbidden(root: &Path) -> Option<String> {
    let device = fs::metadata(root).expect("the folder is there").dev();
    // Major number 0: no device stands after it, so nothing is ever cold.
    (rustix::fs::major(device) == 0).then(|| "this file system has no disk".to_owned())
}

/// One round of one server.
pub fn round(peer: &Peer, extent: Extent) -> Vec<f64> {
    let mut readers = Driver::connect(peer.address, READERS, wire(peer), Loss::Panics);
    // What is asked for again is known to the server, if it keeps anything.
    mix::small(&mut readers, Duration::from_millis(20));
    (0..FILES).for_each(|at| make_cold(&peer.root, at));
    let slow = SlowDisk::of(peer);
    if slow.is_none() {
        println!("compare: the disk cannot be made slow, so {NAME} depends on how fast it is");
    }
    let ended = AtomicBool::new(false);
    let (small, cold) = thread::scope(|scope| {
        let cold = scope.spawn(|| cold_reads(peer, &ended));
        thread::sleep(Duration::from_millis(50));
        let small = mix::small(&mut readers, extent.part(TIME));
        ended.store(true, Ordering::Relaxed);
        drop(slow);
        (small, cold.join().expect("the downloads do not panic"))
    });
    let mut row = mix::percentiles(&small);
    row.extend([small.done as f64, cold.bytes as f64]);
    row
}

fn path(at: usize) -> String {
    format!("/cold-{at}")
}

#[allow(clippy::disallowed_methods, reason = "a file of our own, to be forgotten by the cache")]
fn make_cold(root: &Path, at: usize) {
    let path = root.join(&path(at)[1..]);
    if !path.exists() {
        fs::write(&path, Content::new(at as u64, LEN).bytes()).expect("room for a file");
    }
    let file = fs::File::open(&path).expect("it was written");
    file.sync_all().expect("it can be written out");
    fadvise(&file, 0, None, Advice::DontNeed).expect("it is a file");
}

fn cold_reads(peer: &Peer, ended: &AtomicBool) -> Outcome {
    let mut clients = Driver::connect(peer.address, FILES, wire(peer), Loss::Panics);
    let mut given = [false; FILES];
    clients.run(|step| match step {
        Step::Next(at) if !given[at] && !ended.load(Ordering::Relaxed) => {
            given[at] = true;
            Some(Task::Drain { path: path(at), len: LEN })
        }
        _ => None,
    })
}
