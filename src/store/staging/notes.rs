//! Notes of what is out of sight for a moment. What replaces a directory is moved to the trash first and changes places
//! there with what it replaces, which is then in the trash at the same moment. A process may end between the two. So it
//! is noted before, in `.filewharf/replacing/<name in the trash>`, which inode it has and where it was: by that the next
//! start knows it from what it replaces, and puts it back.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir as Names, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, pread, pwrite};

use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::Dir;
use crate::wire::key::RESERVED;

pub(crate) const NOTES: &str = "replacing";
/// Longer than any path.
const LEN_MAX: usize = 16 * 1024;

/// A note: the number of the inode and the path.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) dir: Arc<Dir>,
    name: Box<str>,
}

impl Note {
    /// The note, and the file that it is in.
    pub(crate) fn make(dir: Arc<Dir>, name: &str, (inode, path): (u64, &str)) -> Result<(Self, OwnedFd), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&dir.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
        let (note, text) = (Self { dir, name: name.into() }, format!("{inode} {path}"));
        match pwrite(&file, text.as_bytes(), 0) {
            Ok(written) if written == text.len() => Ok((note, file)),
            failed => {
                note.remove();
                Err(failed.err().unwrap_or(Errno::NOSPC))
            }
        }
    }

    /// The name in the trash.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The inode and the path that it is of.
    pub(crate) fn read(&self) -> Option<(u64, String)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.dir.fd, &*self.name, flags, Mode::empty()).ok()?;
        let mut text = vec![0; LEN_MAX];
        let len = pread(file.as_fd(), &mut text, 0).ok()?;
        let (inode, path) = std::str::from_utf8(&text[..len]).ok()?.split_once(' ')?;
        Some((inode.parse().ok()?, path.to_owned()))
    }

    pub(crate) fn remove(&self) {
        let _ = unlinkat(&self.dir.fd, &*self.name, AtFlags::empty());
    }
}

/// All notes there are.
pub(crate) fn find(root: BorrowedFd<'_>) -> Result<Vec<Note>, Errno> {
    let ours = openat(root, RESERVED, dir_flags(), Mode::empty())?;
    let dir = Dir::of(openat(&ours, NOTES, dir_flags(), Mode::empty())?, NOTES)?;
    let mut notes = Vec::new();
    for entry in Names::read_from(&dir.fd)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !matches!(name, "." | "..") {
            notes.push(Note { dir: Arc::clone(&dir), name: name.into() });
        }
    }
    Ok(notes)
}
