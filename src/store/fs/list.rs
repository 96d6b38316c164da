//! One page of a directory, in byte order of names, in memory bounded by the page and one window.
//!
//! The names come from a [`Window`], which is read once and kept while the directory does not change;
//! what stands at them is looked up for each page. What does not exist for peers (links, fifos,
//! devices, staging, odd names) is never listed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, OFlags, Stat, fstat, statat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::error::{Failure, StoreError};
use crate::object::{Details, Entry, Listing, Node};
use crate::order::Order;
use crate::platform::Hides;
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::names::{Gather, Times, Type, Window};
use crate::store::fs::properties;
use crate::store::fs::resolve::join;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::{self, Kind};
use crate::wire::key::{UNNAMED, has_control, is_reserved};

/// What an entry takes on the wire and in memory besides its name, roughly.
const ENTRY_COST: usize = 96;

/// A digest and a blank on the wire.
const DIGEST_COST: usize = 65;

pub(super) fn cost(entry: &Entry, details: Details) -> usize {
    let properties = entry.properties.as_ref().map_or(0, |properties| properties.bytes().len());
    entry.name.len() + ENTRY_COST + if details.digests { DIGEST_COST } else { 0 } + properties
}

/// Waits for its connection on the account of a transfer slot, so it takes no more than it must.
pub(super) fn page(mut entries: Vec<Entry>, more: bool, unlisted: u64) -> Listing {
    entries.shrink_to_fit();
    Listing { entries, more, unlisted, total: None }
}

/// Names looked through for one that is listed.
const LOOKED_THROUGH_MAX: u32 = 1000;

/// A name of a directory.
pub(super) enum Name<'a> {
    Listed(&'a str, Type),
    /// Does not exist for peers.
    Hidden,
    /// No protocol can carry it.
    Unlisted,
}

/// Which page of a directory.
pub(crate) struct PageOf<'a> {
    /// The name before the first.
    pub(crate) after: Option<&'a str>,
    /// Most names.
    pub(crate) limit: usize,
    /// About as many bytes, all names together.
    pub(crate) bytes_max: usize,
    pub(crate) details: Details,
    /// Names that are not shown.
    pub(crate) hides: Option<&'a Hides>,
}

impl FileSystem {
    pub(crate) fn list(&self, path: &str, page_of: &PageOf<'_>) -> Result<Listing, StoreError> {
        let &PageOf { after, limit, bytes_max, details, hides } = page_of;
        self.health.check_readable()?;
        let dir = self.open_listed(path)?;
        let dir = dir.as_fd();
        let mut after: Box<str> = after.unwrap_or_default().into();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        loop {
            let window = self.window(dir, path, &after)?;
            let unlisted = if hides.is_some_and(|hides| hides.hides(UNNAMED)) { 0 } else { window.unlisted };
            for (name, kind) in window.names_after(&after) {
                if hides.is_some_and(|hides| hides.hides(name)) {
                    continue;
                }
                let Some((stat, mut entry)) = self.entry(dir, path, name, kind)? else { continue };
                self.add_details((dir, path), stat.as_ref(), &mut entry, details);
                bytes += cost(&entry, details);
                if entries.len() >= limit || (bytes > bytes_max && !entries.is_empty()) {
                    return Ok(page(entries, true, unlisted));
                }
                entries.push(entry);
            }
            // A peer continues after the last name of a page, so an empty one must be the end.
            match window.next() {
                // Whether more follows is then to be seen from what is shown.
                Some(_) if entries.len() >= limit.max(1) && hides.is_none() => {
                    return Ok(page(entries, true, unlisted));
                }
                Some(last) => after = last.into(),
                None => return Ok(page(entries, false, unlisted)),
            }
        }
    }

    pub(super) fn open_listed(&self, path: &str) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match self.open_under(path, flags, self.links) {
            Ok(dir) => Ok(dir),
            Err(Errno::NOTDIR) => Err(self.not_a_dir(path)),
            Err(errno) => Err(errno::reading("open folder", path, errno)),
        }
    }

    /// True if nothing in a directory is listed, though it may not be empty; false if that takes long to find out.
    pub(crate) fn lists_nothing(&self, path: &str) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = self.open_under(path, flags, false).and_then(Dir::new);
        let is_listed = |entry: Result<DirEntry, Errno>| match entry {
            Ok(entry) => matches!(self.name_of(&entry), Name::Listed(..)),
            Err(_) => true,
        };
        dir.is_ok_and(|names| !names.zip(0..).any(|(entry, nth)| nth == LOOKED_THROUGH_MAX || is_listed(entry)))
    }

    /// The names after `after`, or the first of them: kept from before, or read.
    #[allow(clippy::disallowed_methods, reason = "compared with the times of a directory")]
    pub(super) fn window(&self, dir: BorrowedFd<'_>, path: &str, after: &str) -> Result<Arc<Window>, StoreError> {
        // Before the times are looked at: what changes from here on gets later ones.
        let now = SystemTime::now();
        let stat = fstat(dir).map_err(|e| errno::broken("fstat folder", path, e))?;
        let (id, times) = (stat::id(&stat), Times::of(&stat));
        if let Some(window) = self.windows.find(id, times, &Order::default(), after.as_bytes()) {
            return Ok(window);
        }
        let mut gather = Gather::new(self.windows.bounds);
        self.gather(dir, path, after, &mut gather)?;
        let unlisted = gather.unlisted();
        let (names, complete) = gather.finish();
        let (order, after) = (Order::default(), after.as_bytes().into());
        let window = Arc::new(Window { dir: id, times, order, after, names, complete, unlisted, total: None });
        self.keep(dir, path, now, &window)?;
        Ok(window)
    }

    /// Keeps a window for the next pages, if a later change of the directory is certain to be seen by its times.
    pub(super) fn keep(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        begun: SystemTime,
        window: &Arc<Window>,
    ) -> Result<(), StoreError> {
        // Where other machines make changes, times are reported late.
        let is_local = if self.mounts.of(path).is_some() { linux::is_local(dir) } else { self.caps.local };
        if is_local && window.times.are_past(begun) {
            let stat = fstat(dir).map_err(|e| errno::broken("fstat folder", path, e))?;
            if Times::of(&stat) == window.times {
                self.windows.keep(Arc::clone(window));
            }
        }
        Ok(())
    }

    /// Offers every name of a directory after `after` that may be listed.
    fn gather(&self, dir: BorrowedFd<'_>, path: &str, after: &str, names: &mut Gather) -> Result<(), StoreError> {
        let mut dir = self.names_from_first(dir, path)?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(|e| errno::broken("getdents", path, e))?;
            match self.name_of(&entry) {
                Name::Listed(name, kind) if name > after => names.offer_as(name, kind),
                Name::Listed(..) | Name::Hidden => {}
                Name::Unlisted => names.count_unlisted(),
            }
        }
        Ok(())
    }

    /// The names of an open directory, from the first one.
    pub(super) fn names_from_first(&self, dir: BorrowedFd<'_>, path: &str) -> Result<Dir, StoreError> {
        self.windows.count_read();
        // Not opened again: that takes the permission to search it, and its names can be read without.
        let dir = fcntl_dupfd_cloexec(dir, 0).and_then(Dir::new);
        let mut dir = dir.map_err(|e| errno::broken("dup", path, e))?;
        dir.rewind();
        Ok(dir)
    }

    /// What a listing does with an entry of a directory.
    pub(super) fn name_of<'a>(&self, entry: &'a DirEntry) -> Name<'a> {
        let kind = match entry.file_type() {
            FileType::RegularFile => Type::File,
            FileType::Directory => Type::Dir,
            FileType::Unknown => Type::Other,
            FileType::Symlink if self.links => Type::Other,
            _ => return Name::Hidden,
        };
        match entry.file_name().to_str() {
            Ok(name) if matches!(name, "." | "..") || is_reserved(name.as_bytes()) => Name::Hidden,
            Ok(name) if !has_control(name) => Name::Listed(name, kind),
            _ => Name::Unlisted,
        }
    }

    /// What stands at a name of the directory; `None` for what is not listed, or is gone. What is mounted there is not
    /// looked at: another machine or process may have to answer.
    pub(super) fn entry(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        name: &str,
        kind: Type,
    ) -> Result<Option<(Option<Stat>, Entry)>, StoreError> {
        let found = |stat: Stat| stat::node(&stat).map(|node| (Some(stat), Entry::new(name, node)));
        let looked_at = match kind {
            Type::Dir | Type::Other if self.caps.openat2 => linux::look_at(dir, name),
            _ => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        match looked_at {
            Ok(stat) if stat::kind(&stat) == Kind::Other => {
                if !self.links || FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Ok(None);
                }
                // From the root: a link in a directory may point anywhere inside.
                Ok(self.stat_under(&join(path, name), true).ok().and_then(found))
            }
            Ok(stat) => Ok(found(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno::reading("fstatat", path, errno)),
            Err(errno) => {
                log::debug!(target: errno::TARGET, "not looked at: path={path:?} name={name:?} cause={errno}");
                Ok(Some((
                    None,
                    Entry { name: name.into(), is_dir: kind == Type::Dir, node: None, rank: 0, properties: None },
                )))
            }
        }
    }

    /// What is asked for besides about a name of the directory that has this path.
    pub(super) fn add_details(
        &self,
        (dir, path): (BorrowedFd<'_>, &str),
        stat: Option<&Stat>,
        entry: &mut Entry,
        details: Details,
    ) {
        let Some(stat) = stat else { return };
        if let (true, Some(Node::File(meta))) = (details.digests, &mut entry.node) {
            meta.sha256 = self.digest(path, stat, meta);
        }
        if details.properties {
            entry.properties = properties::at((dir, &entry.name)).ok().flatten();
        }
    }

    pub(super) fn not_a_dir(&self, path: &str) -> StoreError {
        match self.stat_under(path, self.links) {
            Ok(stat) if stat::kind(&stat) == Kind::File => {
                StoreError::refused(Failure::Conflict("that is a file"), "open folder")
            }
            _ => StoreError::refused(Failure::NotFound, "open folder"),
        }
    }
}
