//! File content into a socket, straight from the page cache or by copies.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::platform::SendFile;

/// A peer that went away is reported by an error only.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// Not to be had for one call there; programs in Rust ignore that signal.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// The content of an open file.
pub(crate) trait FileContent {
    /// What of it can be sent at once, from `offset` on, at most `len` bytes.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<Ready<'_>>;
    /// False if it was changed since it was opened.
    fn is_as_opened(&self) -> bool;
    /// `sendfile` does not work with it: from now on it is copied.
    fn refuse_sendfile(&mut self);
}

/// What can be sent of a file.
#[derive(Debug)]
pub(crate) enum Ready<'a> {
    /// This number of bytes is in the page cache; `was_there`: and was in the file when it was opened.
    Cached {
        file: BorrowedFd<'a>,
        len: usize,
        was_there: bool,
    },
    Copied(&'a [u8]),
    /// A disk must be waited for.
    Cold,
    Truncated,
}

/// `WouldBlock` means the socket; [`SendFile::Cold`] that the bytes must be warmed first. Where `is_looked_at` promises
/// that the socket is looked at before it is waited for, [`SendFile::SentUntilFull`] may also mean the end of a file that
/// was truncated, or a signal.
pub(crate) fn send_file(
    socket: BorrowedFd<'_>,
    content: &mut impl FileContent,
    offset: u64,
    len: usize,
    is_looked_at: bool,
) -> io::Result<SendFile> {
    loop {
        let (file, asked, was_there) = match content.at(offset, len)? {
            Ready::Cached { file, len, was_there } => (file, len, was_there),
            Ready::Copied(bytes) => {
                // What the socket does not take is read again the next time.
                return Ok(SendFile::Sent(rustix::net::send(socket, bytes, NO_SIGNAL | SendFlags::DONTWAIT)?));
            }
            Ready::Cold => return Ok(SendFile::Cold),
            Ready::Truncated => return Ok(SendFile::Truncated),
        };
        return match sendfile(socket, file, offset, asked) {
            Ok(0) => Ok(SendFile::Truncated),
            // Asked for more than there was at first, it says nothing about the socket.
            Ok(n) if n == asked || !was_there => Ok(SendFile::Sent(n)),
            Ok(n) if is_looked_at || content.is_as_opened() => Ok(SendFile::SentUntilFull(n)),
            Ok(n) => Ok(SendFile::Sent(n)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                content.refuse_sendfile();
                continue;
            }
            Err(errno) => Err(errno.into()),
        };
    }
}

#[cfg(target_os = "linux")]
fn sendfile(socket: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<usize, Errno> {
    let mut at = offset;
    rustix::io::retry_on_intr(|| rustix::fs::sendfile(socket, file, Some(&mut at), len))
}

#[cfg(not(target_os = "linux"))]
fn sendfile(_socket: BorrowedFd<'_>, _file: BorrowedFd<'_>, _offset: u64, _len: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}
