//! Sending file content into a socket, from the page cache or by copies.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::error::StoreError;
use crate::ids::{ConnId, FileId};
use crate::platform::{ReadNow, SendFile, Store as _};
use crate::store::DiskStore;
use crate::store::fs::linux;
use crate::store::pool::jobs::no_such_file;

/// Bytes copied at a time where `sendfile` does not work.
const COPY_BYTES: usize = 64 * 1024;
/// A peer that went away is told of by an error only.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// Not to be had for one call there; programs in Rust ignore that signal.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Bytes of a file whose presence in memory is found out at once, by the first and the last of them.
pub(crate) const WINDOW_BYTES: usize = 1024 * 1024;

impl DiskStore {
    /// Sends file content straight from the page cache into a socket. `WouldBlock` means the
    /// socket; [`SendFile::Cold`] that the bytes must be warmed first. `conn` is the connection of the
    /// socket, if it is registered for events: then [`SendFile::SentUntilFull`] may also mean the end of a file that was
    /// truncated, or a signal, and [`send_again`](Self::send_again) must be called before the next wait.
    pub fn send_file(
        &mut self,
        file: FileId,
        offset: u64,
        len: usize,
        socket: BorrowedFd<'_>,
        conn: Option<ConnId>,
    ) -> io::Result<SendFile> {
        let now = self.turn.now;
        if self.files.cached(file).is_some() {
            return self.copy_file(file, offset, len, socket);
        }
        let Some(reading) = self.files.reading(file) else { return Err(told(no_such_file())) };
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut end = reading.warm_until(offset, now).unwrap_or(offset);
        let asked = offset.saturating_add(len as u64);
        if end < asked {
            // Perhaps further than this call goes: the rest of the window need not be looked at again.
            let window = usize::try_from(asked - end).unwrap_or(len).max(WINDOW_BYTES);
            match self.fs.sendable(reading, end, window).map_err(told)? {
                Some(more) => {
                    reading.warmed(end..end + more as u64, now);
                    end += more as u64;
                }
                None if end == offset => return Ok(SendFile::Cold),
                None => {}
            }
            if end == offset {
                return Ok(SendFile::Truncated);
            }
        }
        let len = len.min(usize::try_from(end - offset).unwrap_or(len));
        if reading.sends_directly() {
            match linux::send_file(socket, reading.fd().as_fd(), offset, len) {
                Ok(0) => return Ok(SendFile::Truncated),
                // Asked for more than there was at first, it says nothing about the socket.
                Ok(n) if n == len || offset + len as u64 > reading.len_at_first() => {
                    return Ok(SendFile::Sent(n));
                }
                Ok(n) => match conn {
                    Some(conn) => {
                        self.partial.note(socket, conn);
                        return Ok(SendFile::SentUntilFull(n));
                    }
                    None if self.fs.is_as_opened(reading) => return Ok(SendFile::SentUntilFull(n)),
                    None => return Ok(SendFile::Sent(n)),
                },
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => reading.refuse_sendfile(),
                Err(errno) => return Err(errno.into()),
            }
        }
        self.copy_file(file, offset, len, socket)
    }

    /// Calls `has_room` for the connections that were told [`SendFile::SentUntilFull`] since the last call, though
    /// their socket may not be full.
    pub fn send_again(&mut self, has_room: impl FnMut(ConnId)) {
        self.partial.look(has_room);
    }

    /// True if [`DiskStore::send_again`] has any to look at.
    pub const fn has_to_send_again(&self) -> bool {
        !self.partial.is_empty()
    }

    /// What the socket does not take is read again the next time.
    fn copy_file(&mut self, file: FileId, offset: u64, len: usize, socket: BorrowedFd<'_>) -> io::Result<SendFile> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(COPY_BYTES, 0);
        let read = self.read_now(file, offset, &mut scratch[..len.min(COPY_BYTES)]);
        let sent = match read.map_err(told)? {
            ReadNow::Cold => Ok(SendFile::Cold),
            ReadNow::Bytes(0) => Ok(SendFile::Truncated),
            ReadNow::Bytes(n) => rustix::net::send(socket, &scratch[..n], NO_SIGNAL | SendFlags::DONTWAIT)
                .map(SendFile::Sent)
                .map_err(io::Error::from),
        };
        self.scratch = scratch;
        sent
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
