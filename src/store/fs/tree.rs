//! One page of all names under a directory, in byte order component by component: each directory comes before what is
//! in it.
//!
//! Nothing is kept from one page to the next but the windows of `names`: a page begins at the directory that the name
//! before it leads to, and opens those above when it comes back to them. It ends early where it has taken long, and
//! before a mount: the next page then waits on the account of that.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError};
use crate::object::{Entry, Listing};
use crate::os::process::clock;
use crate::store::fs::errno;
use crate::store::fs::list::{PageOf, cost, page};
use crate::store::fs::names::Window;
use crate::store::fs::resolve::join;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat;
use crate::wire::key::{self, DEPTH_MAX, KEY_LEN_MAX, UNNAMED};

/// A page that has a name ends after this time: other listings wait as long. Tests say where pages end.
const STEP: Duration = Duration::from_millis(if cfg!(test) { 60_000 } else { 10 });

const NO_SUCH_AFTER: Failure = Failure::Malformed("after= is not a name as a recursive listing has them");

/// A directory on the way from the top to the present name.
struct Level {
    path: String,
    /// The name in it that was passed last.
    after: Box<str>,
    open: Option<(OwnedFd, Arc<Window>)>,
}

/// The page that is being made.
struct Tree<'a> {
    fs: &'a FileSystem,
    page_of: &'a PageOf<'a>,
    /// Bytes of each path before the name that is shown.
    prefix: usize,
    /// The mount in which the page began.
    mount: Option<String>,
    /// Those above the present directory, and that.
    levels: Vec<Level>,
    entries: Vec<Entry>,
    bytes: usize,
    unlisted: u64,
    /// Of those that count for the page only if something is shown after them.
    unlisted_ahead: u64,
    end: Instant,
}

/// What follows in a directory.
enum Found {
    /// This directory is shown, and what is in it follows.
    Dir(String),
    /// Nothing of its window.
    None,
    /// A name for which the page has no place.
    Left,
}

fn depth(path: &str) -> usize {
    path.split('/').count()
}

/// The directory that a page begins in, if all on the way to it are directories.
pub(crate) fn first_dir(path: &str, after: Option<&str>) -> String {
    after.map_or_else(|| path.to_owned(), |after| join(path, after.trim_end_matches('/')))
}

impl Level {
    fn new(path: String) -> Self {
        Self { path, after: "".into(), open: None }
    }
}

impl FileSystem {
    /// As [`FileSystem::list`], of all that is under the directory.
    pub(crate) fn list_tree(&self, path: &str, page_of: &PageOf<'_>) -> Result<Listing, StoreError> {
        self.health.check_readable()?;
        let mut tree = Tree {
            fs: self,
            page_of,
            prefix: if path.is_empty() { 0 } else { path.len() + 1 },
            mount: self.mounts.of(&first_dir(path, page_of.after)).map(str::to_owned),
            levels: vec![Level::new(path.to_owned())],
            entries: Vec::new(),
            bytes: 0,
            unlisted: 0,
            unlisted_ahead: 0,
            end: clock() + STEP,
        };
        if let Some(after) = page_of.after {
            tree.go_after(after.trim_end_matches('/'))?;
        }
        let mut is_over = false;
        while !is_over && !tree.levels.is_empty() {
            is_over = tree.advance()?;
        }
        let unlisted = tree.unlisted + if is_over { 0 } else { tree.unlisted_ahead };
        Ok(page(tree.entries, is_over, unlisted))
    }
}

impl Tree<'_> {
    /// Continues after this path, whether anything is there or not.
    fn go_after(&mut self, after: &str) -> Result<(), StoreError> {
        key::relative(after).map_err(|_| StoreError::refused(NO_SUCH_AFTER, "after"))?;
        for name in after.split('/') {
            let Some(level) = self.levels.last_mut() else { return Ok(()) };
            level.after = name.into();
            let path = join(&level.path, name);
            if !self.is_entered(&path) {
                return Ok(());
            }
            self.levels.push(Level::new(path));
        }
        Ok(())
    }

    /// Opens the present directory, or shows what follows in it. True if the page is over and names are left.
    fn advance(&mut self) -> Result<bool, StoreError> {
        let Some(mut level) = self.levels.pop() else { return Ok(false) };
        let Some((dir, window)) = level.open.take() else { return self.open(level) };
        match self.show(&mut level, &dir, &window)? {
            Found::Left => return Ok(true),
            Found::Dir(path) => {
                level.open = Some((dir, window));
                self.levels.extend([level, Level::new(path)]);
            }
            Found::None => {
                if let Some(last) = window.next() {
                    level.after = last.into();
                    self.levels.push(level);
                }
            }
        }
        Ok(false)
    }

    fn open(&mut self, mut level: Level) -> Result<bool, StoreError> {
        let mount = self.fs.mounts.of(&level.path);
        if mount.is_some() && mount != self.mount.as_deref() && !self.entries.is_empty() {
            return Ok(true);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (is_new, is_top) = (level.after.is_empty(), self.levels.is_empty());
        let dir = match self.fs.open_under(&level.path, flags, self.fs.links) {
            Ok(dir) => dir,
            Err(Errno::NOTDIR) if is_top => return Err(self.fs.not_a_dir(&level.path)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !is_top => return Ok(false),
            // It was shown as what cannot be looked at, or is now.
            Err(Errno::ACCESS | Errno::PERM | Errno::XDEV) if is_new && !is_top => {
                let shown = self.entries.last_mut().filter(|entry| *entry.name == level.path[self.prefix..]);
                shown.into_iter().for_each(|entry| entry.node = None);
                return Ok(false);
            }
            Err(errno) => return Err(errno::reading("open folder", &level.path, errno)),
        };
        if self.is_loop(&dir) {
            return Ok(false);
        }
        let window = self.fs.window(dir.as_fd(), &level.path, &level.after)?;
        if is_new && !self.is_hidden(&join(&level.path, UNNAMED)) {
            self.unlisted_ahead += window.unlisted;
        }
        level.open = Some((dir, window));
        self.levels.push(level);
        self.close_above();
        Ok(false)
    }

    /// True if a link has led to a directory that is above it.
    fn is_loop(&self, dir: &OwnedFd) -> bool {
        let is_same = |level: &Level| {
            let above = self.fs.stat_under(&level.path, true);
            above.is_ok_and(|above| fstat(dir).is_ok_and(|dir| stat::id(&above) == stat::id(&dir)))
        };
        self.fs.links && self.levels.iter().any(is_same)
    }

    /// Closes directories that are farther above than one window has memory for: these are opened again.
    fn close_above(&mut self) {
        let mut left = self.fs.windows.bounds.bytes();
        for level in self.levels.iter_mut().rev().skip(1) {
            let bytes = level.open.as_ref().map_or(0, |(_, window)| window.names.bytes());
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => level.open = None,
            }
        }
    }

    /// Shows the names of a window, until one is a directory that is entered.
    fn show(&mut self, level: &mut Level, dir: &OwnedFd, window: &Window) -> Result<Found, StoreError> {
        let PageOf { limit, bytes_max, details, .. } = *self.page_of;
        let after = Box::clone(&level.after);
        for (name, kind) in window.names_after(&after) {
            let path = join(&level.path, name);
            if self.is_hidden(&path) {
                continue;
            }
            if path.len() > KEY_LEN_MAX {
                self.unlisted_ahead += 1;
                continue;
            }
            let Some((stat, mut entry)) = self.fs.entry(dir.as_fd(), &level.path, name, kind)? else { continue };
            self.fs.add_details((dir.as_fd(), &level.path), stat.as_ref(), &mut entry, details);
            entry.name = path[self.prefix..].into();
            self.bytes += cost(&entry, details);
            let is_full = self.entries.len() >= limit.max(1) || self.bytes > bytes_max || clock() >= self.end;
            if is_full && !self.entries.is_empty() {
                return Ok(Found::Left);
            }
            let is_dir = entry.is_dir;
            self.entries.push(entry);
            self.unlisted += std::mem::take(&mut self.unlisted_ahead);
            // What is in it would be deeper than a path may be, and counts as one name.
            self.unlisted += u64::from(is_dir && depth(&path) >= DEPTH_MAX);
            level.after = name.into();
            if is_dir && self.is_entered(&path) {
                return Ok(Found::Dir(path));
            }
        }
        Ok(Found::None)
    }

    fn is_hidden(&self, path: &str) -> bool {
        self.page_of.hides.is_some_and(|hides| hides.hides(&path[self.prefix..]))
    }

    /// True for a directory that the caller may list, and with names in it that a protocol can carry.
    fn is_entered(&self, path: &str) -> bool {
        depth(path) < DEPTH_MAX && !self.is_hidden(path) && !self.is_hidden(&format!("{path}/"))
    }
}
