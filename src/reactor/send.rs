//! Output: from the session and the store to the socket. Replies and small files leave in one write, large warm
//! files without copying, chunks as they come.

use std::io::{self, ErrorKind};

use crate::buffer::SLICES_MAX;
use crate::ids::FileId;
use crate::platform::{Platform, ReadNow, SendFile, Store, Stream};
use crate::reactor::driver::{Budget, Driver};
use crate::session::{Event, Outgoing};

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

const TRUNCATED: &str = "the file became shorter while it was sent";

impl<P: Platform> Driver<'_, P> {
    /// Sends what the session has to send, as far as the socket takes it.
    pub(super) fn send(&mut self, outgoing: Outgoing, budget: &mut Budget) -> bool {
        if !self.connection.writable || self.connection.stream.is_none() {
            return false;
        }
        let Some(permitted) = self.permitted(true, budget) else { return false };
        // The limits of the client bound this call only.
        let until = budget.until;
        budget.until = until.min(self.env.meter.after(permitted));
        let session = &self.connection.session;
        let takes_files = self.connection.stream.as_ref().is_some_and(Stream::takes_files);
        let sent = match outgoing {
            Outgoing::Nothing => return false,
            Outgoing::Outbox => self.send_outbox(budget, false),
            Outgoing::File { file, offset, len, hash } if hash || !takes_files || len <= COPIED_LEN_MAX => {
                let most = if hash || !takes_files { HASHED_LEN_MAX } else { COPIED_LEN_MAX };
                self.send_copied(budget, file, offset, len.min(most), len)
            }
            Outgoing::File { .. } if !session.outbox().is_empty() => self.send_outbox(budget, true),
            Outgoing::File { file, offset, len, .. } => self.send_from_file(budget, file, offset, len),
        };
        budget.until = until;
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.connection.writable = false;
                return false;
            }
            Err(error) => {
                budget.spend(0, &mut self.env.meter);
                self.socket_failed(&error);
            }
        }
        true
    }

    fn send_outbox(&mut self, budget: &mut Budget, more: bool) -> io::Result<()> {
        let Some(stream) = self.connection.stream.as_mut() else { return Ok(()) };
        let session = &mut self.connection.session;
        let mut slices = [&[][..]; SLICES_MAX];
        let n = session.outbox().slices(&mut slices);
        trim(&mut slices[..n], budget.bytes(self.env.meter));
        let n = stream.send(&slices[..n], more)?;
        self.connection.writable = !stream.is_full();
        budget.spend(n, &mut self.env.meter);
        session.tell(Event::Sent(n), &mut self.env.cx());
        Ok(())
    }

    /// Head and content in one write. The content is not held: what the socket does not take is
    /// read again.
    fn send_copied(&mut self, budget: &mut Budget, file: FileId, offset: u64, most: u64, len: u64) -> io::Result<()> {
        let Some(stream) = self.connection.stream.as_mut() else { return Ok(()) };
        let (session, cx) = (&mut self.connection.session, &mut self.env.cx());
        let (store, scratch) = (self.platform.store(), &mut self.buffers.scratch);
        // A few more than the budget, rather than another call for the last of them.
        let allowed = budget.bytes(*cx.meter).saturating_add(cx.limits.fixed.turn_bytes_min);
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(scratch.len()).min(allowed);
        let head = session.outbox().len();
        let together = head + room <= TOGETHER_LEN_MAX.min(scratch.len());
        let at = if together { session.outbox().copy_to(scratch) } else { 0 };
        let cached = if together { None } else { store.in_memory(file, offset) };
        let content = match cached {
            Some(content) => &content[..content.len().min(room)],
            None => match store.read_now(file, offset, &mut scratch[at..at + room]) {
                Ok(ReadNow::Bytes(n)) => &scratch[at..at + n],
                Ok(ReadNow::Cold) => {
                    session.tell(Event::FoundCold, cx);
                    return Ok(());
                }
                Err(error) => {
                    session.tell(Event::SourceFailed(error.cause().into()), cx);
                    return Ok(());
                }
            },
        };
        if content.is_empty() {
            session.tell(Event::SourceFailed(TRUNCATED.into()), cx);
            return Ok(());
        }
        if content.len() as u64 == len
            && let Err(error) = store.check_version(file)
        {
            session.tell(Event::SourceFailed(error.cause().into()), cx);
            return Ok(());
        }
        let mut slices = [&[][..]; SLICES_MAX];
        let count = if together {
            slices[0] = &scratch[..at + content.len()];
            1
        } else {
            let before = session.outbox().slices(&mut slices);
            slices[before] = content;
            before + 1
        };
        trim(&mut slices[..count], allowed);
        let n = stream.send(&slices[..count], (content.len() as u64) < len)?;
        self.connection.writable = !stream.is_full();
        budget.spend(n, cx.meter);
        let of_file = n.saturating_sub(head);
        if head > 0 {
            session.tell(Event::Sent(n - of_file), cx);
        }
        if of_file > 0 {
            session.tell(Event::SentFile(of_file, Some(&content[..of_file])), cx);
        }
        Ok(())
    }

    fn send_from_file(&mut self, budget: &mut Budget, file: FileId, offset: u64, len: u64) -> io::Result<()> {
        let Some(stream) = self.connection.stream.as_mut() else { return Ok(()) };
        let (session, cx) = (&mut self.connection.session, &mut self.env.cx());
        let allowed = budget.bytes(*cx.meter).saturating_add(cx.limits.fixed.turn_bytes_min);
        if budget.is_turn_spent && len > allowed as u64 {
            // Requested in this turn, after its bulk bytes were given away: a small part would only be one more call.
            budget.end();
            return Ok(());
        }
        let part = usize::try_from(len).unwrap_or(usize::MAX).min(allowed);
        if part as u64 == len
            && let Err(error) = self.platform.store().check_version(file)
        {
            session.tell(Event::SourceFailed(error.cause().into()), cx);
            return Ok(());
        }
        match self.platform.send_file(stream, file, offset, part, (part as u64) < len)? {
            sent @ (SendFile::Sent(n) | SendFile::SentUntilFull(n)) => {
                self.connection.writable = matches!(sent, SendFile::Sent(_));
                budget.spend(n, cx.meter);
                session.tell(Event::SentFile(n, None), cx);
            }
            SendFile::Cold => session.tell(Event::FoundCold, cx),
            SendFile::Truncated => session.tell(Event::SourceFailed(TRUNCATED.into()), cx),
        }
        Ok(())
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
