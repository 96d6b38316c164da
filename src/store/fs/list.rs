//! One page of a directory, in byte order of names, in memory bounded by the page and one window.
//!
//! The names come from a [`Window`], which is read once and kept while the directory does not change;
//! what stands at them is looked up for each page. What does not exist for peers (links, fifos,
//! devices, staging, odd names) is never listed.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fstat, statat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{Entry, Listing, Node};
use crate::platform::Hides;
use crate::store::fs::errno;
use crate::store::fs::names::{Gather, Times, Window};
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::{self, Kind};
use crate::wire::key::{has_control, is_reserved};

/// What an entry takes on the wire and in memory besides its name, roughly.
const ENTRY_COST: usize = 96;

/// A digest and a blank on the wire.
const DIGEST_COST: usize = 65;

fn cost(name: &str, digests: bool) -> usize {
    name.len() + ENTRY_COST + if digests { DIGEST_COST } else { 0 }
}

/// Waits for its connection on the account of a transfer slot, so it takes no more than it must.
fn page(mut entries: Vec<Entry>, more: bool) -> Listing {
    entries.shrink_to_fit();
    Listing { entries, more }
}

/// Which page of a directory.
pub(crate) struct PageOf<'a> {
    /// The name before the first.
    pub(crate) after: Option<&'a str>,
    /// Most names.
    pub(crate) limit: usize,
    /// About as many bytes, all names together.
    pub(crate) bytes_max: usize,
    /// With the digests of files.
    pub(crate) digests: bool,
    /// Names that are not shown.
    pub(crate) hides: Option<&'a Hides>,
}

impl FileSystem {
    pub(crate) fn list(&self, path: &str, page_of: &PageOf<'_>) -> Result<Listing, StoreError> {
        let &PageOf { after, limit, bytes_max, digests, hides } = page_of;
        self.health.check_readable()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let dir = match self.open_beneath(path, flags, self.links) {
            Ok(dir) => dir,
            Err(Errno::NOTDIR) => return Err(self.not_a_dir(path)),
            Err(errno) => return Err(errno::reading("open folder", path, errno)),
        };
        let dir = dir.as_fd();
        let mut after: Box<str> = after.unwrap_or_default().into();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let window = self.window(dir, path, &after)?;
            for name in window.behind(&after) {
                if hides.is_some_and(|hides| hides.hides(name)) {
                    continue;
                }
                let Some((stat, mut node)) = self.entry(dir, path, name)? else { continue };
                if let Node::File(meta) = &mut node
                    && digests
                {
                    meta.sha256 = self.digests.find(&stat, meta);
                }
                bytes += cost(name, digests);
                if entries.len() >= limit || (bytes > bytes_max && !entries.is_empty()) {
                    return Ok(page(entries, true));
                }
                entries.push(Entry { name: name.into(), node });
            }
            // A peer goes on behind the last name of a page, so an empty one must be the end.
            match window.next() {
                // Whether more follows is then to be seen from what is shown.
                Some(_) if entries.len() >= limit.max(1) && hides.is_none() => return Ok(page(entries, true)),
                Some(last) => after = last.into(),
                None => return Ok(page(entries, false)),
            }
        }
    }

    /// The names behind `after`, or the first of them: kept from before, or read.
    #[allow(clippy::disallowed_methods, reason = "compared with the times of a directory")]
    fn window(&self, dir: BorrowedFd<'_>, path: &str, after: &str) -> Result<Arc<Window>, StoreError> {
        let look = || fstat(dir).map_err(|e| errno::broken("fstat folder", path, e));
        // Before the times are looked at: what changes from here on gets later ones.
        let now = SystemTime::now();
        let stat = look()?;
        let (id, times) = (stat::id(&stat), Times::of(&stat));
        if let Some(window) = self.windows.find(id, times, after) {
            return Ok(window);
        }
        let mut gather = Gather::new(self.windows.bounds);
        self.gather(dir, path, after, &mut gather)?;
        let (names, complete) = gather.finish();
        let window = Arc::new(Window { dir: id, times, after: after.into(), names, complete });
        // Where other machines make changes, times are told of late.
        if self.caps.local && times.are_past(now) && Times::of(&look()?) == times {
            self.windows.keep(Arc::clone(&window));
        }
        Ok(window)
    }

    /// Offers every name of a directory behind `after` that may be listed.
    fn gather(&self, dir: BorrowedFd<'_>, path: &str, after: &str, names: &mut Gather) -> Result<(), StoreError> {
        self.windows.count_read();
        let mut dir = Dir::read_from(dir).map_err(|e| errno::broken("getdents", path, e))?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|e| errno::broken("getdents", path, e))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let hidden = matches!(name, "." | "..") || is_reserved(name.as_bytes()) || has_control(name);
            let candidate = match entry.file_type() {
                FileType::RegularFile | FileType::Directory | FileType::Unknown => true,
                FileType::Symlink => self.links,
                _ => false,
            };
            if candidate && !hidden && name > after {
                names.offer(name);
            }
        }
        Ok(())
    }

    /// What stands at a name of the directory; `None` for what is not listed, or is gone.
    fn entry(&self, dir: BorrowedFd<'_>, path: &str, name: &str) -> Result<Option<(Stat, Node)>, StoreError> {
        let found = |stat: Stat| stat::node(&stat).map(|node| (stat, node));
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat::kind(&stat) == Kind::Other => {
                if !self.links || FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Ok(None);
                }
                // From the root: a link in a directory may point anywhere inside.
                let whole = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                Ok(self.stat_beneath(&whole, true).ok().and_then(found))
            }
            Ok(stat) => Ok(found(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno::reading("fstatat", path, errno)),
        }
    }

    fn not_a_dir(&self, path: &str) -> StoreError {
        match self.stat_beneath(path, self.links) {
            Ok(stat) if stat::kind(&stat) == Kind::File => {
                StoreError::refused(Failure::Conflict("that is a file"), "open folder")
            }
            _ => StoreError::refused(Failure::NotFound, "open folder"),
        }
    }
}
