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
const PATIENCE: Duration = Duration::from_secs(20);

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
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts what is on the device: whatever recovery it needs happens here.
    pub fn new(kind: Kind, device: &Device, at: &Path) -> Result<Self, String> {
        mount(device.node(), at, kind.name(), MountFlags::NOATIME, None)
            .map_err(|e| format!("cannot mount {}: {e}", kind.name()))?;
        let mounted = Self { at: at.to_owned() };
        // Never write to the folder beneath by mistake.
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

impl Drop for Mount {
    fn drop(&mut self) {
        let began = Instant::now();
        // The last descriptor of a killed process may take a moment to go.
        while let Err(errno) = unmount(&self.at, UnmountFlags::empty()) {
            if errno != Errno::BUSY || began.elapsed() > PATIENCE {
                // The next image must not be loaded beneath a mounted file system.
                assert!(thread::panicking(), "{} stays mounted: {errno}", self.at.display());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
