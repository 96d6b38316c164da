//! Input: from the socket to the session, and file content from there to the store.
//!
//! Every connection reads through one large buffer; content goes from it straight into the file.
//! Only what cannot be used at once is kept by the connection.

use std::io::{self, ErrorKind};

use crate::ids::FileId;
use crate::platform::{Platform, Readable, Store, Stream};
use crate::reactor::connections::Registration;
use crate::reactor::driver::{Budget, Driver};
use crate::session::state::Name;
use crate::session::{Consumed, DiskPace, Event};

/// Content found in the buffer and not yet given to the store. Pieces that follow each other in
/// the file are joined first, so that tiny chunks on the wire do not become tiny writes.
struct Content {
    file: FileId,
    offset: u64,
    start: usize,
    end: usize,
}

impl<P: Platform> Driver<'_, P> {
    /// Receives for a connection that waits for a request, or for the header before it, and leaves what the request asks for to its
    /// drive. Bodies wait for that as well: they are what the budgets are for. A request that is refused at once
    /// is logged at once: other connections receive before this one is driven.
    pub(super) fn receive_request(&mut self) {
        let (session, limits) = (&self.connection.session, &self.env.limits);
        if matches!(session.state(), Name::ProxyHeader | Name::AwaitHeader) && !session.is_bulk(limits) {
            let mut budget = Budget::new(limits.fixed.turn_bytes_max, self.env, false, false);
            self.receive(&mut budget);
            self.log_reports();
        }
    }

    /// Shows the session the bytes it has not seen: those it holds, or else new ones.
    pub(super) fn receive(&mut self, budget: &mut Budget) -> bool {
        if self.connection.readable == Readable::Nothing && !self.connection.session.held().is_unseen {
            return false;
        }
        let Some(permitted) = self.permitted(false, budget) else { return false };
        // What is held may be useless without what follows, and that may be at the socket already:
        // no event will say so again.
        if self.show_held() {
            return true;
        }
        let connection = &mut *self.connection;
        let (session, env) = (&mut connection.session, &mut *self.env);
        let Some(stream) = connection.stream.as_mut() else { return false };
        if connection.readable == Readable::Nothing {
            return false;
        }
        let most = session.intake(&env.cx());
        let wanted = most.min(budget.bytes(env.meter)).min(permitted);
        if wanted == 0 {
            return false;
        }
        if !budget.is_bulk && session.is_bulk(&env.limits) {
            // It became bulk in this drive: more than came with its head it receives as bulk, in the next turn.
            self.enqueue();
            return false;
        }
        // A message is awaited of which more is here than a head may have.
        let gathers = session.state() == Name::AwaitHeader && session.held().len >= env.limits.fixed.head_len_max;
        let held = session.take_held(&mut env.cx());
        let kept = if gathers { 0 } else { held.len() };
        let scratch = &mut self.buffers.scratch;
        scratch[..kept].copy_from_slice(&held[..kept]);
        let end = scratch.len().min(kept.saturating_add(wanted));
        match stream.recv(&mut scratch[kept..end]) {
            Ok(n) if n > 0 => {
                budget.spend(n, &mut env.meter);
                if connection.registration == Registration::NotYet {
                    connection.registration = Registration::NotYetButRead;
                }
                if n < end - kept && connection.readable == Readable::Bytes && !stream.holds_input() {
                    connection.readable = Readable::Nothing;
                }
                self.platform.store().received();
                let is_all = connection.readable == Readable::Nothing && n < stream.receive_buffer_min();
                session.tell(Event::Arrived { len: n, is_all }, &mut env.cx());
                connection.unused.add(n);
                if gathers {
                    self.gather_message(held, n, most);
                } else {
                    self.consume(kept + n);
                }
                true
            }
            result => {
                session.hold(held);
                self.received_nothing(result, budget)
            }
        }
    }

    /// `recv` found the end of the stream, or failed.
    fn received_nothing(&mut self, result: io::Result<usize>, budget: &mut Budget) -> bool {
        let Self { connection, env, locks, .. } = self;
        match result {
            Ok(_) => {
                let held = connection.session.held().len;
                connection.session.tell(Event::Ended, &mut env.cx());
                // An end may complete what is held.
                connection.unused.remove(held - connection.session.held().len);
                if let Some(key) = connection.session.upload().completes {
                    locks.announce(self.id.into(), key);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.readable = Readable::Nothing;
                return false;
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                connection.session.tell(Event::CutShort(&error.to_string()), &mut env.cx());
            }
            Err(error) => {
                budget.spend(0, &mut self.env.meter);
                self.socket_failed(&error);
            }
        }
        true
    }

    /// A message longer than a head grows where it is held, by the first `n` bytes of the buffer
    /// and by `most` altogether: to copy all of it for every piece that arrives would cost the
    /// square of its length.
    fn gather_message(&mut self, mut held: Vec<u8>, n: usize, most: usize) {
        if held.capacity() - held.len() < n {
            held.reserve_exact(most.max(n));
        }
        held.extend_from_slice(&self.buffers.scratch[..n]);
        match self.connection.session.consume(&held, &mut self.env.cx()) {
            Consumed::Wait => self.connection.session.hold(held),
            // The message is complete, or refused: what is after it is shown as ever.
            Consumed::Took(used) => {
                self.connection.unused.remove(used);
                let rest = &held[used..];
                self.buffers.scratch[..rest.len()].copy_from_slice(rest);
                self.consume(rest.len());
            }
            Consumed::Content { .. } => debug_assert!(false, "a message that is awaited is no content"),
        }
    }

    fn show_held(&mut self) -> bool {
        if self.connection.stream.is_none() || !self.connection.session.held().is_unseen {
            return false;
        }
        let held = self.connection.session.take_held(&mut self.env.cx());
        self.buffers.scratch[..held.len()].copy_from_slice(&held);
        self.consume(held.len())
    }

    /// Lets the session use the first `filled` bytes of the buffer as far as it can.
    fn consume(&mut self, filled: usize) -> bool {
        let mut at = 0;
        let mut any = false;
        let mut content: Option<Content> = None;
        loop {
            match self.connection.session.consume(&self.buffers.scratch[at..filled], &mut self.env.cx()) {
                Consumed::Wait => break,
                Consumed::Took(n) => {
                    self.connection.unused.remove(n);
                    at += n;
                }
                Consumed::Content { skip, len, file, offset } => {
                    self.connection.unused.remove(skip + len);
                    let start = at + skip;
                    at = start + len;
                    content = self.join_content(content, Content { file, offset, start, end: at });
                }
            }
            any = true;
        }
        if let Some(content) = content {
            self.store_content(&content);
        }
        let session = &mut self.connection.session;
        if let Some(key) = session.upload().completes {
            self.locks.announce(self.id.into(), key);
        }
        session.hold(self.buffers.scratch[at..filled].to_vec());
        any
    }

    /// Joins a piece to the content before it, which it follows in the file: no other upload begins before this
    /// buffer has been used up.
    fn join_content(&mut self, before: Option<Content>, piece: Content) -> Option<Content> {
        if self.env.disk.pace == DiskPace::Lags {
            // The credits it takes must be gone before the session says how much more may come.
            self.store_content(&piece);
            return None;
        }
        let Some(mut content) = before else { return Some(piece) };
        debug_assert_eq!(content.file, piece.file, "two uploads in one buffer");
        if content.end != piece.start {
            self.buffers.scratch.copy_within(piece.start..piece.end, content.end);
        }
        content.end += piece.end - piece.start;
        Some(content)
    }

    fn store_content(&mut self, content: &Content) {
        let Content { file, offset, start, end } = *content;
        let (session, cx) = (&mut self.connection.session, &mut self.env.cx());
        // What followed its content may have broken the upload.
        if !matches!(session.state(), Name::ReceivingBody | Name::FinishingWrites) {
            return;
        }
        let bytes = &self.buffers.scratch[start..end];
        match cx.disk.pace {
            DiskPace::KeepsUp => match self.platform.store().write_now(file, offset, bytes) {
                Ok(()) => session.tell(Event::Stored(bytes.len()), cx),
                Err(error) => session.tell(Event::StoreFailed(&error), cx),
            },
            DiskPace::Lags => session.tell(Event::HandOver { file, offset, content: bytes }, cx),
        }
    }
}
