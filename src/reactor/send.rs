//! From the session and the store to the socket: replies and small files in one write, large warm
//! files without copying, held chunks as they come.

use std::io::{self, ErrorKind};

use crate::buffer::SLICES_MAX;
use crate::error::CloseReason;
use crate::ids::{ConnId, FileId};
use crate::platform::{Platform, ReadNow, SendFile, Store, Stream};
use crate::reactor::drive::{Budget, Progress};
use crate::reactor::{Reactor, cx, lookup};
use crate::session::Outgoing;

/// Up to this many bytes of a file leave in one write with the head of the reply; above it,
/// `sendfile` saves the copy, and the reader gets bytes that are in a cache already. Two system calls
/// for a small file cost more than the copy does.
const COPIED_LEN_MAX: u64 = 16 * 1024;
/// Up to this many bytes, the head of the reply and the content are copied together first: one piece is
/// sent for less than two, and that is more than the copy costs.
const TOGETHER_LEN_MAX: usize = 8 * 1024;
/// Most that is read for one send when the content must pass through this process: what the
/// socket does not take is read again.
const HASHED_LEN_MAX: u64 = 128 * 1024;

impl<P: Platform> Reactor<P> {
    /// Sends what wants to leave, as far as the socket takes it.
    pub(super) fn flush(&mut self, id: ConnId, budget: &mut Budget) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        if !connection.readiness.writable {
            return Progress::Blocked;
        }
        match connection.session.outgoing() {
            Outgoing::Nothing => Progress::Blocked,
            Outgoing::Outbox => self.send_outbox(id, budget, false),
            Outgoing::File { file, offset, len, hash } if hash || len <= COPIED_LEN_MAX => {
                let most = if hash { HASHED_LEN_MAX } else { COPIED_LEN_MAX };
                self.send_copied(id, budget, file, offset, len.min(most), len)
            }
            Outgoing::File { .. } if !connection.session.outbox().is_empty() => self.send_outbox(id, budget, true),
            Outgoing::File { file, offset, len, .. } => self.send_from_file(id, budget, file, offset, len),
        }
    }

    fn send_outbox(&mut self, id: ConnId, budget: &mut Budget, more: bool) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_mut() else { return Progress::Blocked };
        let mut slices = [&[][..]; SLICES_MAX];
        let n = connection.session.outbox().slices(&mut slices);
        trim(&mut slices[..n], budget.bytes);
        match stream.send(&slices[..n], more) {
            Ok(n) => {
                budget.spend(n);
                connection.session.sent(n, &mut cx!(self));
                Progress::Moved
            }
            Err(error) => self.send_failed(id, budget, &error),
        }
    }

    /// Head and content in one write. The content is not held: what the socket does not take is
    /// looked for again.
    fn send_copied(
        &mut self,
        id: ConnId,
        budget: &mut Budget,
        file: FileId,
        offset: u64,
        most: u64,
        len: u64,
    ) -> Progress {
        let allowed = self.allowed(budget);
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_mut() else { return Progress::Blocked };
        let session = &mut connection.session;
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(self.scratch.len()).min(allowed);
        let head = session.outbox().len();
        let together = head + room <= TOGETHER_LEN_MAX.min(self.scratch.len());
        let at = if together { session.outbox().copy_to(&mut self.scratch) } else { 0 };
        let kept = if together { None } else { self.platform.store().in_memory(file, offset) };
        let content = match kept {
            Some(content) => &content[..content.len().min(room)],
            None => match self.platform.store().read_now(file, offset, &mut self.scratch[at..at + room]) {
                Ok(ReadNow::Bytes(got)) => &self.scratch[at..at + got],
                Ok(ReadNow::Cold) => {
                    session.found_cold(&mut cx!(self));
                    return Progress::Moved;
                }
                Err(error) => {
                    session.read_failed(&error, &mut cx!(self));
                    return Progress::Moved;
                }
            },
        };
        if content.is_empty() {
            session.source_failed("the file became shorter while it was sent", &mut cx!(self));
            return Progress::Moved;
        }
        let mut slices = [&[][..]; SLICES_MAX];
        let count = if together {
            slices[0] = &self.scratch[..at + content.len()];
            1
        } else {
            let before = session.outbox().slices(&mut slices);
            slices[before] = content;
            before + 1
        };
        trim(&mut slices[..count], allowed);
        match stream.send(&slices[..count], (content.len() as u64) < len) {
            Ok(n) => {
                budget.spend(n);
                let of_file = n.saturating_sub(head);
                if head > 0 {
                    session.sent(n - of_file, &mut cx!(self));
                }
                if of_file > 0 {
                    session.sent_file(of_file, Some(&content[..of_file]), &mut cx!(self));
                }
                Progress::Moved
            }
            Err(error) => self.send_failed(id, budget, &error),
        }
    }

    fn send_from_file(&mut self, id: ConnId, budget: &mut Budget, file: FileId, offset: u64, len: u64) -> Progress {
        let allowed = self.allowed(budget);
        if self.turn_left == 0 && len > allowed as u64 {
            // Asked for in this turn, whose large parts are given away: a small one would only be a call more.
            budget.bytes = 0;
            return Progress::Moved;
        }
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_mut() else { return Progress::Blocked };
        let session = &mut connection.session;
        let part = usize::try_from(len).unwrap_or(usize::MAX).min(allowed);
        match self.platform.send_file(stream, file, offset, part, (part as u64) < len) {
            Ok(sent @ (SendFile::Sent(n) | SendFile::SentUntilFull(n))) => {
                connection.readiness.writable = matches!(sent, SendFile::Sent(_));
                budget.spend(n);
                session.sent_file(n, None, &mut cx!(self));
            }
            Ok(SendFile::Cold) => session.found_cold(&mut cx!(self)),
            Ok(SendFile::Truncated) => {
                session.source_failed("the file became shorter while it was sent", &mut cx!(self));
            }
            Err(error) => return self.send_failed(id, budget, &error),
        }
        Progress::Moved
    }

    /// Bytes for one call: a few more than its share, rather than another call for the last of them.
    const fn allowed(&self, budget: &Budget) -> usize {
        budget.bytes.saturating_add(self.limits.turn_bytes_min)
    }

    /// The one place where errors of sending are told apart.
    fn send_failed(&mut self, id: ConnId, budget: &mut Budget, error: &io::Error) -> Progress {
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        match error.kind() {
            ErrorKind::WouldBlock => {
                connection.readiness.writable = false;
                return Progress::Blocked;
            }
            ErrorKind::Interrupted => budget.spend(0),
            _ => connection.session.lost(CloseReason::PeerReset, &error.to_string(), &mut cx!(self)),
        }
        Progress::Moved
    }
}

/// Cuts the slices down to `most` bytes together.
fn trim(slices: &mut [&[u8]], most: usize) {
    let mut left = most;
    for slice in slices {
        *slice = &slice[..slice.len().min(left)];
        left -= slice.len();
    }
}
