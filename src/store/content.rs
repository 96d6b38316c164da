//! What can be sent of an open file at once: bytes that are in the page cache, or a copy of them.

use std::io;
use std::os::fd::AsFd as _;

use crate::error::StoreError;
use crate::ids::FileId;
use crate::os::net::send::{FileContent, Ready};
use crate::platform::{ReadNow, Store as _};
use crate::store::DiskStore;
use crate::store::pool::jobs::no_such_file;

/// Bytes copied at a time where `sendfile` does not work.
const COPY_BYTES: usize = 64 * 1024;

/// Bytes of a file that are found to be in memory at once, by the first and the last of them.
pub(crate) const WINDOW_BYTES: usize = 1024 * 1024;

/// The content of an open file.
#[derive(Debug)]
pub(crate) struct Sendable<'a> {
    store: &'a mut DiskStore,
    file: FileId,
}

impl DiskStore {
    pub(crate) const fn content(&mut self, file: FileId) -> Sendable<'_> {
        Sendable { store: self, file }
    }
}

impl FileContent for Sendable<'_> {
    fn at(&mut self, offset: u64, len: usize) -> io::Result<Ready<'_>> {
        let DiskStore { files, fs, turn, .. } = &*self.store;
        if files.cached(self.file).is_some() {
            return self.copy(offset, len);
        }
        let Some(reading) = files.reading(self.file) else { return Err(told(no_such_file())) };
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut end = reading.warm_until(offset, turn.now).unwrap_or(offset);
        let asked = offset.saturating_add(len as u64);
        if end < asked {
            // Perhaps further than this call goes: the rest of the window need not be looked at again.
            let window = usize::try_from(asked - end).unwrap_or(len).max(WINDOW_BYTES);
            match fs.sendable(reading, end, window).map_err(told)? {
                Some(more) => {
                    reading.warmed(end..end + more as u64, turn.now);
                    end += more as u64;
                }
                None if end == offset => return Ok(Ready::Cold),
                None => {}
            }
            if end == offset {
                return Ok(Ready::Truncated);
            }
        }
        let len = len.min(usize::try_from(end - offset).unwrap_or(len));
        let was_there = offset + len as u64 <= reading.len_at_first();
        if !reading.sends_directly() {
            return self.copy(offset, len);
        }
        let Some(reading) = self.store.files.reading(self.file) else { return Err(told(no_such_file())) };
        Ok(Ready::Cached { file: reading.fd().as_fd(), len, was_there })
    }

    fn is_as_opened(&self) -> bool {
        self.store.files.reading(self.file).is_some_and(|reading| self.store.fs.is_as_opened(reading))
    }

    fn refuse_sendfile(&mut self) {
        if let Some(reading) = self.store.files.reading(self.file) {
            reading.refuse_sendfile();
        }
    }
}

impl Sendable<'_> {
    fn copy(&mut self, offset: u64, len: usize) -> io::Result<Ready<'_>> {
        let mut scratch = std::mem::take(&mut self.store.scratch);
        scratch.resize(COPY_BYTES, 0);
        let read = self.store.read_now(self.file, offset, &mut scratch[..len.min(COPY_BYTES)]);
        self.store.scratch = scratch;
        Ok(match read.map_err(told)? {
            ReadNow::Cold => Ready::Cold,
            ReadNow::Bytes(0) => Ready::Truncated,
            ReadNow::Bytes(n) => Ready::Copied(&self.store.scratch[..n]),
        })
    }
}

/// The words of a store error for a caller that takes an `io::Error`.
fn told(error: StoreError) -> io::Error {
    match error.source {
        // A plain `WouldBlock` would read as "the socket is full".
        Some(source) if source.kind() != io::ErrorKind::WouldBlock => source,
        _ => io::Error::other(error.to_string()),
    }
}
