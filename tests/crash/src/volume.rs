//! The file systems that are tried, and a mount of one that never outlives its value.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::device::{Device, run};

/// Longest wait for a file system that is still in use.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Small, so that recovery is quick; not smaller than its mkfs permits.
    pub fn len(self) -> u64 {
        let mebibytes = match self {
            Self::Ext4 | Self::Xfs => 64,
            Self::Btrfs => 128,
        };
        mebibytes << 20
    }

    /// Makes an empty file system.
    pub fn make(self, device: &Device) -> Result<(), String> {
        let options: &[&str] = match self {
            // The size of a block that larger disks get.
            Self::Ext4 => &["-q", "-F", "-b", "4096", "-E", "nodiscard"],
            // Its mkfs wants 300 MiB and a log of 64, most of which every recovery would clear.
            Self::Xfs => &["-q", "-f", "-K", "--unsupported"],
            Self::Btrfs => &["-q", "-f", "-K"],
        };
        let mkfs = format!("mkfs.{}", self.name());
        run(Command::new(mkfs).args(options).arg(device.node())).map(drop)
    }
}

/// A mounted file system.
pub struct Mount<'a> {
    device: &'a Device,
    at: PathBuf,
}

impl<'a> Mount<'a> {
    /// Mounts what is on the device: whatever recovery it needs happens here.
    pub fn new(kind: Kind, device: &'a Device, at: &Path) -> Result<Self, String> {
        // What a child of another thread has before it becomes a server includes the descriptor that held the
        // device for us a moment ago.
        let mount = || mount(device.node(), at, kind.name(), MountFlags::NOATIME, None);
        until(Instant::now(), mount).map_err(|e| format!("cannot mount {}: {e}", kind.name()))?;
        let mounted = Self { device, at: at.to_owned() };
        // Never write to the directory under by mistake.
        let number = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).map_err(|e| e.to_string());
        let above = at.parent().ok_or("a mount point is in a folder")?;
        if number(at)? == number(above)? {
            return Err(format!("{} is not a mount point", at.display()));
        }
        Ok(mounted)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount<'_> {
    /// Does not return before the file system is gone from the kernel: the next image must neither
    /// be loaded under it nor be hidden by it.
    fn drop(&mut self) {
        let began = Instant::now();
        // The last descriptor of a killed process may take a moment to go.
        let unmounted = until(began, || unmount(&self.at, UnmountFlags::empty()));
        let gone = unmounted.and_then(|()| until(began, || self.device.forget_cache()));
        if let Err(errno) = gone {
            assert!(thread::panicking(), "{} stays mounted, here or elsewhere: {errno}", self.at.display());
        }
    }
}

/// Tries again while it is busy.
fn until(began: Instant, mut what: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match what() {
            Err(Errno::BUSY) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(1)),
            result => return result,
        }
    }
}
