//! What the kernel and the file system under the root can do, found out once at start.
//!
//! Everything that is missing has a portable way that is used instead; here it is said so in the
//! log, once, and nowhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::store::fs::errno::TARGET;
use crate::store::fs::linux::{self, Resolve};

/// Where the pages of a file are when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    Memory,
    /// Perhaps on the disk, and the kernel tells which (`RWF_NOWAIT`).
    Told,
    /// Perhaps on the disk, and the kernel does not tell.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// `openat2`; else names are walked one component at a time.
    pub(crate) openat2: bool,
    /// `RESOLVE_CACHED`; else every open goes to a worker.
    pub(crate) cached: bool,
    /// `RENAME_NOREPLACE`; else `linkat` and `unlinkat`.
    pub(crate) noreplace: bool,
    /// Reserving space pays here.
    pub(crate) reserve: bool,
    /// `copy_file_range`; else bytes are read and written.
    pub(crate) copy: bool,
    /// A file can be made without a name and be given one later; else what a directory gives to files is imitated.
    pub(crate) unnamed: bool,
    /// Files may have access control lists.
    pub(crate) acls: bool,
    /// Directories may have quotas of projects.
    pub(crate) projects: bool,
    /// Directories may have security labels.
    pub(crate) labels: bool,
    /// Write-back can be started early.
    pub(crate) write_back: bool,
    /// Every change passes this kernel.
    pub(crate) local: bool,
    /// Calls that do not read a disk may be made on the loop.
    pub(crate) inline: bool,
    /// `None`: not known before a first file was opened.
    pub(crate) pages: Option<Pages>,
}

impl Caps {
    /// Only what every unix has.
    pub(crate) const fn portable() -> Self {
        Self {
            openat2: false,
            cached: false,
            noreplace: false,
            reserve: false,
            copy: false,
            unnamed: false,
            acls: true,
            projects: false,
            labels: false,
            write_back: false,
            local: false,
            inline: true,
            pages: Some(Pages::Unknown),
        }
    }

    /// Tries everything that is to be used later, and says in the log what is missing.
    pub(crate) fn probe(root: BorrowedFd<'_>, inline: bool, stage: Option<BorrowedFd<'_>>) -> Self {
        let opens = |cached| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            linux::open_beneath(root, ".", flags, Resolve { links: false, cached, mounts: false })
        };
        let openat2 = opens(false).is_ok();
        let cached = openat2 && inline && matches!(opens(true), Ok(_) | Err(Errno::AGAIN));
        let memory = linux::is_memory(root);
        let write_back = cfg!(target_os = "linux") && !memory;
        let local = inline && linux::is_local(root);
        let copy = cfg!(target_os = "linux");
        let mut caps = Self { openat2, cached, copy, write_back, local, inline, ..Self::portable() };
        caps.pages = if inline { memory.then_some(Pages::Memory) } else { Some(Pages::Unknown) };
        let mut reserve = true;
        if let Some(stage) = stage
            && let Ok(file) = probe_file(stage)
        {
            caps.noreplace = has_noreplace(stage);
            caps.unnamed = has_unnamed(stage);
            caps.acls = linux::has_acls(root);
            (caps.projects, caps.labels) = (linux::has_projects(root), linux::has_labels(root));
            reserve = !is_missing(linux::reserve(file.as_fd(), 0, 4096).err());
            // Reserving costs more than it brings where there is no disk to lay out.
            caps.reserve = reserve && !memory;
            caps.pages = caps.pages.or_else(|| pages_of(file.as_fd()));
            let _ = unlinkat(stage, PROBE, AtFlags::empty());
        }
        caps.report(stage.is_some(), reserve);
        caps
    }

    fn report(&self, writes: bool, reserve: bool) {
        let missing = [
            (!self.openat2, "no openat2: names are resolved one component at a time"),
            (!self.inline, "a file system of this machine: every call goes to a disk worker"),
            (self.inline && !self.cached, "no RESOLVE_CACHED: every open goes to a disk worker"),
            (writes && !self.noreplace, "no RENAME_NOREPLACE: link and unlink are used instead"),
            (writes && !reserve, "no fallocate: a full disk may show only while writing"),
            (self.inline && self.pages == Some(Pages::Unknown), "no RWF_NOWAIT: every read goes to a disk worker"),
        ];
        let words: Vec<_> = missing.iter().filter(|(is, _)| *is).map(|(_, words)| *words).collect();
        if !words.is_empty() {
            log::info!(target: TARGET, "this system lacks: {}", words.join("; "));
        }
    }
}

const PROBE: &str = "probe";
const PROBE_TO: &str = "probe-to";

fn probe_file(stage: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(stage, PROBE, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::pwrite(&file, b"x", 0)?;
    Ok(file)
}

fn has_noreplace(stage: BorrowedFd<'_>) -> bool {
    let there = linux::rename_noreplace(stage, PROBE, stage, PROBE_TO);
    there.is_ok() && rustix::fs::renameat(stage, PROBE_TO, stage, PROBE).is_ok()
}

fn has_unnamed(stage: BorrowedFd<'_>) -> bool {
    let named = linux::make_unnamed(stage).and_then(|file| linux::name_unnamed(file.as_fd(), stage, PROBE_TO));
    named.is_ok() && unlinkat(stage, PROBE_TO, AtFlags::empty()).is_ok()
}

/// Whether the kernel tells that this file, which has at least one byte, is in memory.
pub(crate) fn pages_of(file: BorrowedFd<'_>) -> Option<Pages> {
    match linux::pread_cached(file, &mut [0], 0) {
        Ok(_) | Err(Errno::AGAIN) => Some(Pages::Told),
        error if is_missing(error.err()) => Some(Pages::Unknown),
        _ => None,
    }
}

fn is_missing(error: Option<Errno>) -> bool {
    error.is_some_and(|errno| matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM))
}
