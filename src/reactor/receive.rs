//! From the socket to the session, and file content from there to the store.
//!
//! Every connection reads through one large buffer; content goes from it straight into the file.
//! Only what cannot be used at once is kept by the connection.

use std::io::ErrorKind;

use crate::error::CloseReason;
use crate::ids::{ConnId, FileId};
use crate::platform::{Platform, Readable, Store, Stream};
use crate::reactor::drive::{Budget, Progress, Slice};
use crate::reactor::{Connection, Reactor, Watched, cx, lookup};
use crate::session::state::Name;
use crate::session::{DiskPace, Use};

/// Content found in the buffer and not yet given to the store. Pieces that follow each other in
/// the file are brought together first, so that tiny chunks on the wire do not become tiny writes.
struct Content {
    file: FileId,
    offset: u64,
    start: usize,
    end: usize,
}

/// Bytes of one connection that came and were not used, as a debug build counts them: the session
/// must hold exactly these, until the conversation has ended. Nothing in a release.
#[derive(Debug, Default)]
pub(super) struct Unused(#[cfg(debug_assertions)] usize);

impl Unused {
    #[cfg(debug_assertions)]
    const fn came(&mut self, n: usize) {
        self.0 += n;
    }

    #[cfg(debug_assertions)]
    pub(super) fn used(&mut self, n: usize) {
        self.0 = self.0.checked_sub(n).expect("bytes were used twice");
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self, held: usize) {
        assert_eq!(held, self.0, "bytes held, and bytes that came and were not used");
    }

    #[cfg(not(debug_assertions))]
    const fn came(&mut self, _: usize) {}

    #[cfg(not(debug_assertions))]
    pub(super) const fn used(&mut self, _: usize) {}

    #[cfg(not(debug_assertions))]
    pub(super) const fn check(&self, _: usize) {}
}

impl<P: Platform> Reactor<P> {
    /// Receives for a connection that waits for a request, and leaves what the request asks for to its
    /// slice of the turn. Bodies wait for that as well: they are what the slices are for.
    pub(super) fn receive_request(&mut self, id: ConnId) {
        let limits = &self.limits;
        let waits = |connection: &&mut Connection<_>| {
            connection.session.state() == Name::AwaitHeader && !connection.session.is_bulk(limits)
        };
        if lookup(&mut self.connections, id).filter(waits).is_some() {
            let _ = self.fill(id, &mut Budget::new(self.limits.turn_bytes_max, 1, Slice::Small));
        }
    }

    /// Shows a connection the bytes it has not seen: those it holds, or else new ones.
    pub(super) fn fill(&mut self, id: ConnId, budget: &mut Budget) -> Progress {
        // What is held may be of no use without what follows, and that may be at the socket already:
        // no event will say so again.
        if self.show_held(id) == Progress::Moved {
            return Progress::Moved;
        }
        let Some(connection) = lookup(&mut self.connections, id) else { return Progress::Blocked };
        let Some(stream) = connection.stream.as_mut() else { return Progress::Blocked };
        let session = &mut connection.session;
        if connection.readiness.readable == Readable::Nothing {
            return Progress::Blocked;
        }
        let most = session.intake(&cx!(self));
        let wanted = most.min(budget.bytes);
        if wanted == 0 {
            return Progress::Blocked;
        }
        if budget.slice == Slice::Small && session.is_bulk(&self.limits) {
            // It has begun in this slice: more than came with its head comes in its part of the next turn.
            self.enqueue(id);
            return Progress::Blocked;
        }
        session.begin(&mut self.spare);
        let gathers = session.is_gathering(&self.limits);
        let held = session.take_held();
        let kept = if gathers { 0 } else { held.len() };
        self.scratch[..kept].copy_from_slice(&held[..kept]);
        let room = self.scratch.len().min(kept.saturating_add(wanted));
        match stream.recv(&mut self.scratch[kept..room]) {
            Ok(0) => {
                session.keep(held);
                let before = session.held_len();
                session.received_eof(&mut cx!(self));
                // An end may complete what is held.
                connection.unused.used(before - session.held_len());
                if let Some(key) = session.settles() {
                    self.gate.announce(id, key);
                }
                Progress::Moved
            }
            Ok(n) => {
                budget.spend(n);
                if connection.watched == Watched::NotYet {
                    connection.watched = Watched::Heard;
                }
                if n < room - kept && connection.readiness.readable == Readable::Bytes {
                    connection.readiness.readable = Readable::Nothing;
                }
                self.platform.store().received();
                session.arrived(n, &cx!(self));
                connection.unused.came(n);
                if gathers {
                    self.grow(id, held, n, most);
                } else {
                    let _ = self.consume(id, kept + n);
                }
                Progress::Moved
            }
            Err(error) => {
                session.keep(held);
                match error.kind() {
                    ErrorKind::WouldBlock => {
                        connection.readiness.readable = Readable::Nothing;
                        return Progress::Blocked;
                    }
                    ErrorKind::Interrupted => budget.spend(0),
                    _ => session.lost(CloseReason::PeerReset, &error.to_string(), &mut cx!(self)),
                }
                Progress::Moved
            }
        }
    }

    /// A message longer than a head grows where it is held, by the first `n` bytes of the buffer
    /// and by `most` altogether: to copy all of it for every piece that arrives would cost the
    /// square of its length.
    fn grow(&mut self, id: ConnId, mut held: Vec<u8>, n: usize, most: usize) {
        let Some(connection) = lookup(&mut self.connections, id) else { return };
        if held.capacity() - held.len() < n {
            held.reserve_exact(most.max(n));
        }
        held.extend_from_slice(&self.scratch[..n]);
        match connection.session.consume(&held, &mut cx!(self)) {
            Use::Wait => connection.session.keep(held),
            // The message is complete, or refused: what is behind it is shown as ever.
            Use::Took(used) => {
                connection.unused.used(used);
                let rest = &held[used..];
                self.scratch[..rest.len()].copy_from_slice(rest);
                let _ = self.consume(id, rest.len());
            }
            Use::Content { .. } => debug_assert!(false, "a message that is awaited is no content"),
        }
    }

    fn show_held(&mut self, id: ConnId) -> Progress {
        match lookup(&mut self.connections, id) {
            Some(connection) if connection.stream.is_some() && connection.session.has_unseen() => {
                let held = connection.session.take_held();
                self.scratch[..held.len()].copy_from_slice(&held);
                self.consume(id, held.len())
            }
            _ => Progress::Blocked,
        }
    }

    /// Lets the session use the first `filled` bytes of the buffer as far as it can.
    fn consume(&mut self, id: ConnId, filled: usize) -> Progress {
        let mut progress = Progress::Blocked;
        let mut at = 0;
        let mut content: Option<Content> = None;
        while let Some(connection) = lookup(&mut self.connections, id) {
            match connection.session.consume(&self.scratch[at..filled], &mut cx!(self)) {
                Use::Wait => break,
                Use::Took(n) => {
                    connection.unused.used(n);
                    at += n;
                }
                Use::Content { skip, len, file, offset } => {
                    connection.unused.used(skip + len);
                    at += skip;
                    content = self.gather(id, content, file, offset, at, len);
                    at += len;
                }
            }
            progress = Progress::Moved;
        }
        if let Some(content) = content {
            self.store_content(id, &content);
        }
        if let Some(connection) = lookup(&mut self.connections, id) {
            if let Some(key) = connection.session.settles() {
                self.gate.announce(id, key);
            }
            connection.session.hold(&self.scratch[at..filled]);
        }
        progress
    }

    /// Adds the `len` bytes at `at` to what was found before them, which they follow in the file: no
    /// other upload begins before this buffer has been used up.
    fn gather(
        &mut self,
        id: ConnId,
        before: Option<Content>,
        file: FileId,
        offset: u64,
        at: usize,
        len: usize,
    ) -> Option<Content> {
        let piece = Content { file, offset, start: at, end: at + len };
        if self.disk.pace == DiskPace::Lags {
            // The credits it takes must be gone before the session says how much more may come.
            self.store_content(id, &piece);
            return None;
        }
        match before {
            Some(mut content) => {
                debug_assert_eq!(content.file, file, "two uploads in one buffer");
                if content.end != at {
                    self.scratch.copy_within(at..at + len, content.end);
                }
                content.end += len;
                Some(content)
            }
            None => Some(piece),
        }
    }

    fn store_content(&mut self, id: ConnId, content: &Content) {
        let Some(connection) = lookup(&mut self.connections, id) else { return };
        let Content { file, offset, start, end } = *content;
        if !connection.session.receives(file) {
            return;
        }
        let bytes = &self.scratch[start..end];
        match self.disk.pace {
            DiskPace::KeepsUp => match self.platform.store().write_now(file, offset, bytes) {
                Ok(()) => connection.session.stored(bytes.len(), &mut cx!(self)),
                Err(error) => connection.session.store_failed(&error, &mut cx!(self)),
            },
            DiskPace::Lags => connection.session.hand_over(file, offset, bytes, &mut cx!(self)),
        }
    }
}
