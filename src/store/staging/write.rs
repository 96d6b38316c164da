//! Staging files: making, writing, flushing and dropping them.
//!
//! The first error of a file is final. Nothing here ever touches a final name; missing directories
//! are made at the commit, so an upload that is given up leaves no trace.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, fchmod, unlinkat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::error::{Failure, StoreError};
use crate::os::sys;
use crate::store::fs::caps::Pages;
use crate::store::fs::errno::SiteErrno;
use crate::store::fs::errno::{TARGET, is_stale};
use crate::store::fs::linux;
use crate::store::fs::resolve::dir_flags;
use crate::store::fs::root::FileSystem;
use crate::store::fs::stat::At;
use crate::store::fs::sync::StageIn;
use crate::store::staging::dirs::{StageDir, StageDirs};
use crate::store::staging::gifts::Target;
use crate::store::staging::locks::OwnDir;
use crate::store::staging::space::Space;
use crate::store::staging::staged::Staged;

/// How much is moved at a time when bytes must go before a content.
const PREPEND_BLOCK: usize = 256 * 1024;

/// Most that one call writes to a disk. Measured on ext4 in a virtual machine that gives free memory back to
/// its host: with calls of 1 MiB, half of the rounds of 64 uploads of 16 MiB cost three to four times as much,
/// nearly all in copying to new pages; with these, hardly any, and a good one 13 % more. Not used in memory,
/// where it was not measured.
const PIECE_MAX: usize = 256 * 1024;

/// Where uploads grow until they have their names.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) file_mode: Option<Mode>,
    pub(crate) make: StageIn,
    /// None in a read-only store.
    pub(crate) dirs: Option<StageDirs>,
    pub(crate) space: Space,
    pub(crate) trash: OwnDir,
    pub(crate) notes: OwnDir,
}

impl Staging {
    /// A staging file, like one that is made in `target`.
    pub(crate) fn stage_file(
        &self,
        path: &str,
        len: Option<u64>,
        target: Option<&Target>,
    ) -> Result<Staged, StoreError> {
        let Some(dirs) = &self.dirs else {
            return Err(StoreError::refused(Failure::Denied("the server is read-only"), "read-only"));
        };
        let mut dir = dirs.current();
        let mut renewed = false;
        let (file, name) = loop {
            let name = dirs.fresh_name();
            match self.make_file((dir.fd.as_fd(), &name), target) {
                Ok(file) => break (file, name),
                Err(errno) if !renewed && (errno == Errno::NOENT || is_stale(errno)) => {
                    renewed = true;
                    dir = match self.renew_dir(dirs, &dir) {
                        Ok(dir) => dir,
                        Err((site, Errno::NOENT)) => return Err(self.fs.gone(site, path)),
                        Err((site, errno)) => return Err(self.staging_error(site, path, errno)),
                    };
                }
                Err(errno) => return Err(self.staging_error("openat staging", path, errno)),
            }
        };
        let staged = Staged::new(file, (dir, name), path, len);
        if let Some(mode) = self.file_mode
            && let Err(errno) = fchmod(&staged.file, mode)
        {
            self.abort(&staged);
            return Err(self.fs.change_error("fchmod", path, errno));
        }
        Ok(staged)
    }

    /// Makes a file in a private directory, like one that is made in `target`.
    pub(crate) fn make_file(&self, at: At<'_>, target: Option<&Target>) -> Result<OwnedFd, Errno> {
        let Some(target) = target else { return (self.make)(at.0, at.1) };
        let gifts = target.gifts(at.0, &self.fs.caps)?;
        if gifts.are_any()
            && self.fs.caps.unnamed
            && let Ok(file) = linux::make_unnamed(target.dir.fd.as_fd())
            && linux::name_unnamed(file.as_fd(), at.0, at.1).is_ok()
        {
            return Ok(file);
        }
        let file = (self.make)(at.0, at.1)?;
        gifts.give(&file);
        Ok(file)
    }

    fn renew_dir(&self, dirs: &StageDirs, gone: &Arc<StageDir>) -> Result<Arc<StageDir>, SiteErrno> {
        match dirs.renew(self.fs.root().fd.as_fd(), gone) {
            Err((_, errno)) if is_stale(errno) && self.fs.reopen_root() => dirs.renew(self.fs.root().fd.as_fd(), gone),
            renewed => renewed,
        }
    }

    /// Nothing can be staged, whatever the upload is called.
    fn staging_error(&self, site: &'static str, path: &str, errno: Errno) -> StoreError {
        let mut error = self.fs.change_error(site, path, errno);
        if matches!(error.failure, Failure::Conflict(_) | Failure::NotFound) {
            log::warn!(target: TARGET, "nothing can be staged: site={site} cause={errno}");
            error.failure = Failure::Unavailable;
        }
        self.fs.health.staging_failed(error.failure);
        error
    }

    /// Tries whether uploads can be stored again, with one that nothing asked for.
    pub(crate) fn probe(&self) {
        // Staging has descriptors of its own: it may work where the root does not.
        let opened = self.fs.open_own("", dir_flags(), false);
        let opened = opened.map_err(|errno| self.fs.change_error("open folder", "", errno));
        let staged = opened.and_then(|_| self.stage_file("", None, None)).and_then(|staged| {
            let written = self.write(&staged, 0, b"x").and_then(|()| {
                if !self.fs.durable {
                    return Ok(());
                }
                (self.fs.sync.content)(staged.file.as_fd(), false).map_err(|e| self.fs.sync_error("fdatasync", "", e))
            });
            self.abort(&staged);
            written
        });
        self.fs.health.probe_ended(staged.is_ok());
    }

    pub(crate) fn write(&self, staged: &Staged, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        staged.check()?;
        if let Some(holding) = &staged.holding {
            holding.cover(offset + bytes.len() as u64, staged.len).map_err(|error| staged.fail(error))?;
        }
        self.space.take(&self.fs, staged, offset, bytes.len() as u64).map_err(|error| staged.fail(error))?;
        let piece_max = if self.fs.caps.pages == Some(Pages::Memory) { usize::MAX } else { PIECE_MAX };
        let mut done = 0;
        while done < bytes.len() {
            let piece = &bytes[done..bytes.len().min(done.saturating_add(piece_max))];
            let result = retry_on_intr(|| pwrite(&staged.file, piece, offset + done as u64));
            match result {
                Ok(n) if n > 0 => done += n,
                other => {
                    let errno = other.err().unwrap_or(Errno::IO);
                    return Err(staged.fail(self.fs.change_error("pwrite", &staged.path, errno)));
                }
            }
        }
        Ok(())
    }

    /// Moves the `len` bytes that were written towards the end, and puts `bytes` before them. From
    /// the back, so that nothing is overwritten before it has been read.
    pub(crate) fn prepend(&self, staged: &Staged, len: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut block = vec![0; PREPEND_BLOCK];
        let mut end = len;
        while end > 0 {
            let start = end.saturating_sub(PREPEND_BLOCK as u64);
            let block = &mut block[..usize::try_from(end - start).unwrap_or(PREPEND_BLOCK)];
            let mut done = 0;
            while done < block.len() {
                match retry_on_intr(|| pread(&staged.file, &mut block[done..], start + done as u64)) {
                    Ok(n) if n > 0 => done += n,
                    other => {
                        let errno = other.err().unwrap_or(Errno::IO);
                        return Err(self.fs.change_error("pread", &staged.path, errno));
                    }
                }
            }
            self.write(staged, start + bytes.len() as u64, block)?;
            end = start;
        }
        self.write(staged, 0, bytes)
    }

    /// Brings a range to the disk, to bound the dirty memory of a long upload. The kernel reports
    /// a failed write-back only once, so an error here counts as a failed sync.
    pub(crate) fn flush(&self, staged: &Staged, offset: u64, len: u64) -> Result<(), StoreError> {
        staged.check()?;
        if !self.fs.caps.write_back || len == 0 {
            return Ok(());
        }
        let Err(error) = sys::write_back(staged.file.as_fd(), offset, len) else { return Ok(()) };
        match Errno::from_io_error(&error).unwrap_or(Errno::IO) {
            // These say that the call is not for this file, nothing about its data.
            Errno::SPIPE | Errno::INVAL | Errno::NOSYS => Ok(()),
            errno => Err(staged.fail(self.fs.sync_error("sync_file_range", &staged.path, errno))),
        }
    }

    /// Removes a staging file. What cannot be removed is swept at the next start.
    pub(crate) fn abort(&self, staged: &Staged) {
        let (dir, name) = staged.at();
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let path = &staged.path;
                log::warn!(target: TARGET, "a staging file could not be removed: path={path:?} cause={errno}");
            }
        }
    }
}
