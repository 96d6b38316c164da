//! What is mounted inside the root: by its paths, so that it is known before a call whether that may have to wait for
//! another file system.
//!
//! A name is resolved without leaving the file system it begins in. What lies in one that is mounted inside the root is
//! resolved from the mount point, which is opened for each request: a descriptor that stays open would keep the
//! operator from unmounting it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::store::fs::errno::TARGET;
use crate::store::fs::linux;
use crate::store::mutex::lock;
use crate::wire::key::{has_control, is_reserved};

/// Mounts that are served; those that were mounted last are not.
pub(crate) const SERVED_MAX: usize = 1024;
/// Bytes of all their paths together.
const TEXT_MAX: usize = 256 * 1024;
/// Memory of the table, for the accounting: one is read while another is in use.
pub const MOUNTS_BYTES: usize = 2 * (TEXT_MAX + 2 * SERVED_MAX * (size_of::<(Box<str>, u64)>() + 16));
/// Most that is read of the list of all mounts.
const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// File systems that show the system itself, and hold no files to serve.
const OF_THE_SYSTEM: [&str; 22] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// What is mounted inside the root, as far as it is served.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// The list of all mounts, opened before a sandbox forbids that. `None` where there is none.
    list: Option<Mutex<List>>,
    /// Mount points, in the order of their paths, and the kernel's numbers of the mounts.
    served: Mutex<Vec<(Box<str>, u64)>>,
    /// False while there are none: then no request waits for the lock.
    are_any: AtomicBool,
}

#[derive(Debug)]
struct List {
    file: File,
    /// The path of the root when the list was last read.
    root: Option<Box<[u8]>>,
}

impl Mounts {
    /// Of which none is known before the first look.
    pub(crate) fn unknown() -> Self {
        let list = linux::list_of_mounts().map(|fd| Mutex::new(List { file: fd.into(), root: None }));
        Self { list, ..Self::default() }
    }

    /// Reads the list again if anything was mounted or unmounted since. Never waits for what is mounted. The result are
    /// those that were not there before.
    pub(crate) fn look(&self, root: BorrowedFd<'_>) -> Vec<Box<str>> {
        let Some(list) = &self.list else { return Vec::new() };
        let Ok(root) = linux::path_of(root) else { return Vec::new() };
        let mut list = lock(list);
        // Asked in any case: it tells each change once.
        let has_changed = list.has_changed();
        // The rename of a directory in which something is mounted is not reported.
        if !has_changed && list.root.as_ref() == Some(&root) && !self.are_any.load(Ordering::Acquire) {
            return Vec::new();
        }
        match list.read(&root) {
            Ok(served) => {
                list.root = Some(root);
                self.serve(served)
            }
            Err(cause) => {
                list.root = None;
                log::warn!(target: TARGET, "what is mounted in the served folder cannot be found out: {cause}");
                Vec::new()
            }
        }
    }

    fn serve(&self, served: Vec<(Box<str>, u64)>) -> Vec<Box<str>> {
        let mut before = lock(&self.served);
        if *before == served {
            return Vec::new();
        }
        let names: Vec<_> = served.iter().map(|(path, _)| path).collect();
        log::info!(target: TARGET, "file systems mounted in the served folder are served too: {names:?}");
        let new = served.iter().filter(|mount| before.binary_search(mount).is_err()).map(|(path, _)| path.clone());
        let new = new.collect();
        self.are_any.store(!served.is_empty(), Ordering::Release);
        *before = served;
        new
    }

    /// The kernel's number of what is mounted at a path; it is not used again for another one.
    pub(crate) fn number_of(&self, path: &str) -> Option<u64> {
        let served = lock(&self.served);
        let at = served.binary_search_by(|(point, _)| (**point).cmp(path)).ok()?;
        Some(served[at].1)
    }

    /// The mount point at or above a path: the part of it that names that.
    pub(crate) fn of<'a>(&self, path: &'a str) -> Option<&'a str> {
        if !self.are_any.load(Ordering::Acquire) {
            return None;
        }
        let served = lock(&self.served);
        let ends = path.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'/').map(|(end, _)| end);
        let mut above = std::iter::once(path.len()).chain(ends).map(|end| &path[..end]);
        above.find(|above| served.binary_search_by(|(point, _)| (**point).cmp(above)).is_ok())
    }
}

impl Mounts {
    /// True if something is mounted in this directory or at it.
    pub(crate) fn is_any_in(&self, path: &str) -> bool {
        let is_in = |point: &str| point.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.are_any.load(Ordering::Acquire) && lock(&self.served).iter().any(|(point, _)| is_in(point))
    }
}

impl List {
    fn has_changed(&self) -> bool {
        let mut polled = [PollFd::new(&self.file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(PollFlags::PRI | PollFlags::ERR)
    }

    fn read(&mut self, root: &[u8]) -> io::Result<Vec<(Box<str>, u64)>> {
        self.file.rewind()?;
        let mut lines = BufReader::new((&self.file).take(LIST_BYTES_MAX));
        let (mut served, mut line, mut text, mut left_out) = (Vec::<(Box<str>, u64)>::new(), Vec::new(), 0, 0);
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some(mount) = point_inside(&line, root) {
                text += mount.0.len();
                match served.binary_search_by(|(point, _)| point.cmp(&mount.0)) {
                    // Of several at one path the last covers the others.
                    Ok(at) => served[at] = mount,
                    Err(at) if served.len() < SERVED_MAX && text <= TEXT_MAX => served.insert(at, mount),
                    Err(_) => left_out += 1,
                }
            }
            line.clear();
        }
        if left_out > 0 {
            log::warn!(target: TARGET, "{left_out} file systems mounted in the served folder are not served: too many");
        }
        Ok(served)
    }
}

/// The path inside `root` of the mount that a line of proc_pid_mountinfo(5) tells of, and its number, if it is to be
/// served.
fn point_inside(line: &[u8], root: &[u8]) -> Option<(Box<str>, u64)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    // What of its file system is mounted: a reserved directory is not served under another name.
    let source = unescaped(fields.nth(2)?);
    let point = unescaped(fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    if OF_THE_SYSTEM.iter().any(|name| name.as_bytes() == kind) {
        return None;
    }
    let inside = point.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?.strip_prefix(b"/")?;
    let inside = str::from_utf8(inside).ok().filter(|inside| !inside.is_empty() && !has_control(inside))?;
    let mut parts = source.split(|byte| *byte == b'/').chain(inside.as_bytes().split(|byte| *byte == b'/'));
    (!parts.any(is_reserved)).then(|| (inside.into(), number))
}

/// A path without its escapes, which are `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                path.push(escaped);
                rest = &after[3..];
            }
            None => {
                path.push(*byte);
                rest = after;
            }
        }
    }
    path
}

#[cfg(test)]
impl Mounts {
    pub(crate) fn set(&self, points: &[&str]) {
        self.serve((1..).zip(points).map(|(number, point)| (Box::from(*point), number)).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_a_mount_inside_the_root_if_that_holds_files() {
        let line = |point: &str, kind: &str| format!("60 22 0:50 / {point} rw shared:9 master:2 - {kind} src rw,a=b\n");
        let inside = |point, kind, root: &str| {
            let (path, number) = point_inside(line(point, kind).as_bytes(), root.as_bytes())?;
            assert_eq!(number, 60);
            Some(path)
        };
        assert_eq!(inside("/srv/d/vol", "ext4", "/srv/d").as_deref(), Some("vol"));
        assert_eq!(inside("/srv/d/a/b\\040c\\134", "fuse.sshfs", "/srv/d").as_deref(), Some("a/b c\\"));
        assert_eq!(inside("/mnt", "nfs4", "/").as_deref(), Some("mnt"));
        for (point, kind, root) in [
            ("/srv/d", "ext4", "/srv/d"),
            ("/srv/data", "ext4", "/srv/d"),
            ("/srv", "ext4", "/srv/d"),
            ("/", "ext4", "/"),
            ("/proc", "proc", "/"),
            ("/srv/d/.filewharf", "tmpfs", "/srv/d"),
            ("/srv/d/vol/.FileWharf/x", "tmpfs", "/srv/d"),
            ("/srv/d/a\\012b", "tmpfs", "/srv/d"),
            ("/srv/d/caf\\351", "tmpfs", "/srv/d"),
        ] {
            assert_eq!(inside(point, kind, root), None, "{point} {kind} {root}");
        }
        assert_eq!(point_inside(b"torn", b"/"), None);
        assert_eq!(point_inside(b"60 22 8:1 /srv/d/.filewharf /srv/d/x rw - ext4 src rw\n", b"/srv/d"), None);
    }

    #[test]
    fn a_path_is_in_the_nearest_mount_above_it() {
        let mounts = Mounts::default();
        assert_eq!(mounts.of("vol/a"), None);
        mounts.set(&["a b", "vol", "vol/in/ner"]);
        for (path, expected) in [
            ("vol", Some("vol")),
            ("vol/a", Some("vol")),
            ("vol/in", Some("vol")),
            ("vol/in/ner", Some("vol/in/ner")),
            ("vol/in/ner/a/b", Some("vol/in/ner")),
            ("vol/in/nerve", Some("vol")),
            ("volume/a", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(mounts.of(path), expected, "{path}");
        }
    }
}
