//! Opening, looking at and reading files, on a worker or from the loop.
//!
//! Only regular files are read; a fifo is opened without waiting for its other end and refused.
//! Nothing here changes anything.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, Stat, fstat};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::buffer::Chunk;
use crate::error::{Failure, StoreError};
use crate::object::{Etag, Meta, Node};
use crate::platform::{ReadNow, Source};
use crate::store::fs::caps::{Pages, pages_of};
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::{self, Kind};
use crate::store::mutex::lock;

/// How long a range counts as being in memory after it was seen there.
const WARM_FOR: Duration = Duration::from_secs(1);
/// Most that one warming reads: it keeps a worker for some milliseconds on a slow disk.
const WARM_MAX: usize = 1024 * 1024;
/// Memory of one worker for warming.
pub(crate) const SCRATCH: usize = 256 * 1024;

/// A file open for reading: one version, whatever happens to its name.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: OwnedFd,
    path: Box<str>,
    version: Version,
    pages: Pages,
    /// It is on this machine: a call for it waits for no other.
    is_inline: bool,
    /// What was in memory last, and when that was seen. Only the loop looks.
    warm: Mutex<Option<(Range<u64>, Instant)>>,
    /// The file system has no `sendfile`: copy instead.
    copied: AtomicBool,
}

/// What changes with the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    len: u64,
    mtime: (i64, u64),
    /// It also changes with the names of the file.
    ctime: (i64, u64),
    links: u64,
}

impl Version {
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "their types differ between systems")]
    fn of(stat: &Stat) -> Self {
        Self {
            len: stat::len(stat),
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            links: stat.st_nlink as u64,
        }
    }
}

fn open_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

impl FileSystem {
    pub(crate) fn open_file(&self, path: &str) -> Result<(OpenFile, Meta, Source), StoreError> {
        self.health.check_readable()?;
        let (file, stat, source) = self.opened(path, self.open_under(path, open_flags(), self.links))?;
        let meta = stat::meta(&stat);
        Ok((file, Meta { sha256: self.digest(path, &stat, &meta), ..meta }, source))
    }

    /// The same if that does not wait for a disk.
    pub(crate) fn open_now(&self, path: &str) -> Option<Result<(OpenFile, Meta, Source), StoreError>> {
        let fd = self.open_cached(path, open_flags(), self.links)?;
        Some(match self.opened(path, fd) {
            Ok((file, stat, source)) => {
                let meta = stat::meta(&stat);
                Ok((file, Meta { sha256: self.digests.find_now(&stat, &meta)?, ..meta }, source))
            }
            Err(error) => Err(error),
        })
    }

    fn opened(&self, path: &str, fd: Result<OwnedFd, Errno>) -> Result<(OpenFile, Stat, Source), StoreError> {
        let fd = fd.map_err(|e| errno::reading("open", path, e))?;
        let stat = fstat(&fd).map_err(|e| errno::reading("fstat", path, e))?;
        match stat::kind(&stat) {
            Kind::File => {}
            Kind::Dir => return Err(StoreError::refused(Failure::Conflict("that is a folder"), "open")),
            Kind::Other => return Err(StoreError::refused(Failure::NotFound, "open")),
        }
        let (is_inline, pages) = match self.mounts.of(path) {
            Some(_) => self.mounted_pages(&fd),
            None if stat::len(&stat) == 0 => (self.caps.inline, self.pages_known()),
            None => (self.caps.inline, self.pages(&fd)),
        };
        let source = match pages {
            Pages::Memory | Pages::Told => Source::Direct,
            Pages::Unknown => Source::Held,
        };
        Ok((
            OpenFile {
                fd,
                path: path.into(),
                version: Version::of(&stat),
                pages,
                is_inline,
                warm: Mutex::default(),
                copied: AtomicBool::new(false),
            },
            stat,
            source,
        ))
    }

    /// Whether calls for a file of another file system wait for no other machine, and where its pages are.
    fn mounted_pages(&self, file: &OwnedFd) -> (bool, Pages) {
        let is_inline = self.caps.openat2 && linux::is_on_this_machine(file.as_fd());
        let pages = match is_inline {
            false => Pages::Unknown,
            true if linux::is_memory(file.as_fd()) => Pages::Memory,
            true => pages_of(file.as_fd()).unwrap_or(Pages::Unknown),
        };
        (is_inline, pages)
    }

    /// The digest of a file, as the table of the root knows it: that says nothing about other file systems.
    pub(crate) fn digest(&self, path: &str, stat: &Stat, meta: &Meta) -> Option<[u8; 32]> {
        if self.mounts.of(path).is_some() { None } else { self.digests.find(stat, meta) }
    }

    pub(crate) fn stat(&self, path: &str) -> Result<Node, StoreError> {
        self.health.check_readable()?;
        let (stat, node) = found(path, self.stat_under(path, self.links))?;
        Ok(match node {
            Node::File(meta) => Node::File(Meta { sha256: self.digest(path, &stat, &meta), ..meta }),
            dir @ Node::Dir { .. } => dir,
        })
    }

    /// The same if that does not wait for a disk.
    pub(crate) fn stat_now(&self, path: &str) -> Option<Result<Node, StoreError>> {
        Some(match found(path, self.stat_cached(path, self.links)?) {
            Ok((stat, Node::File(meta))) => {
                Ok(Node::File(Meta { sha256: self.digests.find_now(&stat, &meta)?, ..meta }))
            }
            Ok((_, dir)) => Ok(dir),
            Err(error) => Err(error),
        })
    }

    /// Reads from the loop. With `trusted` the range was brought into memory a moment ago, so
    /// waiting is all but impossible, and giving up again could continue for ever.
    pub(crate) fn read_now(
        &self,
        file: &OpenFile,
        offset: u64,
        buf: &mut [u8],
        trusted: bool,
    ) -> Result<ReadNow, StoreError> {
        if file.pages == Pages::Unknown {
            return Ok(ReadNow::Cold);
        }
        if file.pages == Pages::Told {
            match linux::pread_cached(file.fd.as_fd(), buf, offset) {
                Ok(0) if buf.is_empty() || file.len()? <= offset => return Ok(ReadNow::Bytes(0)),
                Ok(n) if n > 0 => return Ok(ReadNow::Bytes(n)),
                // A 0 before the end means "would wait" on some kernels.
                Ok(_) | Err(Errno::AGAIN) if !trusted => return Ok(ReadNow::Cold),
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(errno) => return Err(file.failed("preadv2", errno)),
            }
        }
        let n = retry_on_intr(|| pread(&file.fd, &mut *buf, offset)).map_err(|e| file.failed("pread", e))?;
        Ok(ReadNow::Bytes(n))
    }

    /// How much of a window can be sent without waiting: `None` when its first or last byte is
    /// not in memory, 0 when the file ends before it. `len` is not 0.
    pub(crate) fn sendable(&self, file: &OpenFile, offset: u64, len: usize) -> Result<Option<usize>, StoreError> {
        if file.pages == Pages::Memory {
            return Ok(Some(len));
        }
        let mut len = len as u64;
        for at in [offset, offset.saturating_add(len - 1)] {
            match linux::pread_cached(file.fd.as_fd(), &mut [0], at) {
                Ok(1) => {}
                // The end, or on some kernels "would wait".
                Ok(_) => match file.len()? {
                    end if end <= at => len = end.saturating_sub(offset),
                    _ => return Ok(None),
                },
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(file.failed("preadv2", errno)),
            }
            if len == 0 {
                break;
            }
        }
        Ok(Some(usize::try_from(len).unwrap_or(usize::MAX)))
    }

    /// Refuses what was read of an open file if that may not be of one version.
    pub(crate) fn check_version(&self, file: &OpenFile) -> Result<(), StoreError> {
        let changed = StoreError::refused(Failure::Internal, "the file was changed while it was sent");
        if self.is_as_opened(file) { Ok(()) } else { Err(changed) }
    }

    /// True if the content of a file is what it was when it was opened; false if that cannot be known.
    pub(crate) fn is_as_opened(&self, file: &OpenFile) -> bool {
        let (before, Ok(stat)) = (file.version, fstat(&file.fd)) else { return false };
        let now = Version::of(&stat);
        let is_same = Version { ctime: before.ctime, links: before.links, ..now } == before;
        // A change of its names explains a new ctime: one was added or removed, or it was renamed.
        is_same && (now.ctime == before.ctime || now.links != before.links || self.is_renamed(file))
    }

    /// True if a file is known to be at another path than the one by which it was opened. Asks the kernel only, no disk.
    fn is_renamed(&self, file: &OpenFile) -> bool {
        let (root, path) = (linux::path_of(self.root().fd.as_fd()), linux::path_of(file.fd.as_fd()));
        let (Ok(root), Ok(path)) = (root, path) else { return false };
        let root = root.strip_suffix(b"/").unwrap_or(&root);
        let name = path.strip_prefix(root).and_then(|path| path.strip_prefix(b"/"));
        name != Some(file.path.as_bytes())
    }
}

fn found(path: &str, stat: Result<Stat, Errno>) -> Result<(Stat, Node), StoreError> {
    let stat = stat.map_err(|e| errno::reading("stat", path, e))?;
    let node = stat::node(&stat).ok_or(StoreError::refused(Failure::NotFound, "stat"))?;
    Ok((stat, node))
}

impl OpenFile {
    pub(crate) const fn is_inline(&self) -> bool {
        self.is_inline
    }

    pub(crate) fn sends_directly(&self) -> bool {
        !self.copied.load(Relaxed)
    }

    pub(crate) fn refuse_sendfile(&self) {
        self.copied.store(true, Relaxed);
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// This range was found in memory, or brought there, just now; neighbours grow together.
    pub(crate) fn warmed(&self, mut range: Range<u64>, now: Instant) {
        let mut warm = lock(&self.warm);
        if let Some((before, _)) = &*warm
            && (before.start..=before.end).contains(&range.start)
        {
            range.start = before.start;
        }
        *warm = Some((range, now));
    }

    /// How far the range around `offset` was in memory a moment ago.
    pub(crate) fn warm_until(&self, offset: u64, now: Instant) -> Option<u64> {
        let warm = lock(&self.warm);
        let (range, at) = warm.as_ref()?;
        (range.contains(&offset) && now.saturating_duration_since(*at) < WARM_FOR).then_some(range.end)
    }

    pub(crate) fn len(&self) -> Result<u64, StoreError> {
        fstat(&self.fd).map(|stat| stat::len(&stat)).map_err(|e| self.failed("fstat", e))
    }

    /// As it is now.
    pub(crate) fn etag(&self) -> Result<Etag, StoreError> {
        fstat(&self.fd).map(|stat| stat::etag(&stat)).map_err(|e| self.failed("fstat", e))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const fn len_at_first(&self) -> u64 {
        self.version.len
    }

    /// Its descriptor, if it has lost its last name and is longer than `len`: closing it frees its blocks.
    pub(crate) fn into_nameless(self, len: u64) -> Option<OwnedFd> {
        let frees = self.version.len > len && fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0);
        frees.then_some(self.fd)
    }

    /// Reads up to `len` bytes after what the chunk holds.
    pub(crate) fn fill(&self, offset: u64, len: usize, chunk: &mut Chunk) -> Result<(), StoreError> {
        let mut done = 0;
        loop {
            let space = chunk.space(len - done);
            if space.is_empty() {
                break;
            }
            match retry_on_intr(|| pread(&self.fd, &mut *space, offset + done as u64)) {
                Ok(0) => break,
                Ok(n) => {
                    chunk.commit(n);
                    done += n;
                }
                Err(errno) => return Err(self.failed("pread", errno)),
            }
        }
        Ok(())
    }

    /// Reads a range only so that it is in memory; returns where that ended.
    pub(crate) fn warm(&self, offset: u64, len: usize, scratch: &mut Vec<u8>) -> Result<u64, StoreError> {
        scratch.resize(SCRATCH, 0);
        let end = offset.saturating_add(len.min(WARM_MAX) as u64);
        let mut at = offset;
        while at < end {
            let step = usize::try_from(end - at).unwrap_or(SCRATCH).min(SCRATCH);
            match retry_on_intr(|| pread(&self.fd, &mut scratch[..step], at)) {
                Ok(0) => break,
                Ok(n) => at += n as u64,
                Err(errno) => return Err(self.failed("pread", errno)),
            }
        }
        Ok(at)
    }

    pub(crate) fn failed(&self, site: &'static str, errno: Errno) -> StoreError {
        errno::broken(site, &self.path, errno)
    }
}

/// What of `content` is after `offset`.
pub(crate) fn tail(content: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|at| content.get(at..)).unwrap_or_default()
}
