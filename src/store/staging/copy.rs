//! Copies content from a file into one that is not visible yet.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::{Errno, pread, retry_on_intr};

use crate::error::{Failure, StoreError};
use crate::store::fs::errno;
use crate::store::fs::linux;
use crate::store::fs::read::SCRATCH;
use crate::store::staging::staged::Staged;
use crate::store::staging::write::Staging;
use crate::upload::DigestState;

/// Bytes copied by one job.
pub(crate) const STEP: u64 = 8 * 1024 * 1024;

impl Staging {
    /// Copies `len` bytes from one offset to the other; fewer where the source ends before. `digest`: of all that is
    /// before them, to be continued.
    pub(crate) fn copy(
        &self,
        staged: &Staged,
        source: BorrowedFd<'_>,
        (from, to): (u64, u64),
        len: u64,
        digest: Option<&mut DigestState>,
    ) -> Result<u64, StoreError> {
        self.space.take(&self.fs, staged, to, len)?;
        let done = if digest.is_none() { self.copy_range(staged, source, (from, to), len)? } else { 0 };
        Ok(done + self.read_and_write(staged, source, (from + done, to + done), len - done, digest)?)
    }

    /// Copies within the kernel, or within the file system where it can share blocks; fewer bytes where neither can.
    fn copy_range(
        &self,
        staged: &Staged,
        source: BorrowedFd<'_>,
        (from, to): (u64, u64),
        len: u64,
    ) -> Result<u64, StoreError> {
        let mut done = 0;
        while self.fs.caps.copy && done < len {
            match linux::copy_range((source, from + done), (staged.file.as_fd(), to + done), len - done) {
                Ok(n) if n > 0 => done += n,
                Ok(_) => break,
                // These say that the call is not for these files.
                Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::PERM) => break,
                Err(errno) => return Err(self.fs.change_error("copy_file_range", &staged.path, errno)),
            }
        }
        Ok(done)
    }

    fn read_and_write(
        &self,
        staged: &Staged,
        source: BorrowedFd<'_>,
        (from, to): (u64, u64),
        len: u64,
        mut digest: Option<&mut DigestState>,
    ) -> Result<u64, StoreError> {
        let mut block = vec![0; usize::try_from(len).unwrap_or(SCRATCH).min(SCRATCH)];
        let mut done = 0;
        while done < len {
            let wanted = usize::try_from(len - done).unwrap_or(SCRATCH).min(SCRATCH);
            let n = retry_on_intr(|| pread(source, &mut block[..wanted], from + done))
                .map_err(|errno| errno::broken("pread", &staged.path, errno))?;
            if n == 0 {
                break;
            }
            if let Some(digest) = &mut digest {
                let next = digest.after(&block[..n]);
                **digest = next.ok_or(StoreError::refused(Failure::Internal, "digest"))?;
            }
            self.write(staged, to + done, &block[..n])?;
            done += n as u64;
        }
        Ok(done)
    }
}
