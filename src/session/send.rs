//! Downloads: from an open file to the last byte that left.
//!
//! Warm files go out straight from the page cache and hold no memory: what the socket did not
//! take is simply asked for again. Only bytes that had to be read by a disk worker are held, in
//! chunks. Decides what leaves next; the reactor moves it.

use crate::command::Answer;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure, StoreError};
use crate::ids::FileId;
use crate::object::Meta;
use crate::platform::{Completion, Op, Outcome, Source};
use crate::session::report::Segment;
use crate::session::state::{Parting, Sending, State, Supply, Wanted};
use crate::session::{Cx, Session};
use crate::transfer::{Hasher, Pace};

/// Found cold so many times in a row, a file is read into chunks instead: some file systems never
/// keep a page.
const COLD_MAX: u8 = 3;
/// How much of a file is brought into the page cache at once, in bytes.
const WARM_BYTES: u64 = 1024 * 1024;

/// What wants to leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Nothing.
    Nothing,
    /// Only what is in the outbox.
    Outbox,
    /// The outbox, then these bytes straight from the file.
    File {
        /// The open file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// How many, at least 1.
        len: u64,
        /// Must the bytes pass through this process?
        hash: bool,
    },
}

impl Session {
    /// What wants to leave now.
    pub fn outgoing(&self) -> Outgoing {
        if let State::SendingBody(sending) = &self.state
            && let Supply::Direct { .. } = sending.supply
            && sending.next < sending.end
        {
            let Sending { file, next, end, ref hasher, .. } = **sending;
            return Outgoing::File { file, offset: next, len: end - next, hash: hasher.is_wanted() };
        }
        if self.work.outbox.is_empty() { Outgoing::Nothing } else { Outgoing::Outbox }
    }

    /// What is queued.
    pub fn outbox(&self) -> &crate::buffer::Outbox {
        &self.work.outbox
    }

    /// The first `n` bytes of the outbox have left.
    pub fn sent(&mut self, n: usize, cx: &mut Cx<'_>) {
        let mut home = Vec::new();
        self.work.outbox.sent(n, &mut home);
        self.give_back(home, cx);
        self.active = cx.now;
        if let State::SendingBody(sending) = &mut self.state {
            sending.pace.moved(n);
        }
        self.supply(cx);
    }

    /// `n` bytes of the file have left; `bytes` are those, if they passed through this process.
    pub fn sent_file(&mut self, n: usize, bytes: Option<&[u8]>, cx: &mut Cx<'_>) {
        self.active = cx.now;
        if let State::SendingBody(sending) = &mut self.state {
            sending.pace.moved(n);
            sending.next += n as u64;
            debug_assert!(sending.next <= sending.end, "more bytes sent than were asked for");
            sending.supply = Supply::Direct { cold: 0 };
            if let Some(bytes) = bytes {
                sending.hasher.update(bytes);
            }
        }
        self.count_sent(n as u64, cx);
        self.supply(cx);
    }

    /// The next bytes are not in the page cache.
    pub fn found_cold(&mut self, cx: &mut Cx<'_>) {
        match self.take_state() {
            State::SendingBody(mut sending) => match sending.supply {
                Supply::Direct { cold } if cold < COLD_MAX => {
                    let len = (sending.end - sending.next).min(WARM_BYTES);
                    let len = usize::try_from(len).unwrap_or(usize::MAX);
                    self.work.ops.push_back(Op::Warm { file: sending.file, offset: sending.next, len });
                    sending.supply = Supply::Warming { cold: cold + 1 };
                    sending.pace.store_began(cx.now);
                    self.state = State::SendingBody(sending);
                }
                _ => self.set_state(State::AwaitSlot(Box::new(Wanted::Resume(*sending))), cx),
            },
            other => self.state = other,
        }
    }

    /// The file is shorter than it was promised, or cannot be read: what was sent must not look
    /// whole.
    pub fn source_failed(&mut self, cause: &str, cx: &mut Cx<'_>) {
        if let State::SendingBody(_) = &self.state {
            self.report_failure(Failure::Internal, cause, cx);
            self.end(CloseReason::SourceFailed, Parting::Reset, cx);
        }
    }

    /// The file is open: the dialect says the head of the reply.
    pub(super) fn begin_send(&mut self, file: FileId, meta: Meta, source: Source, cx: &mut Cx<'_>) {
        let total = meta.len;
        let action = self.with_protocol(cx, |protocol, context| protocol.answered(Ok(Answer::Opened(meta)), context));
        if let (Action::Send { range, hash: true }, Some(request)) = (&action, &mut self.work.request)
            && (range.start > 0 || range.end < total)
        {
            request.segment = Some(Segment { first: range.start, end: range.end, total });
        }
        self.send_or(action, file, source.into(), cx);
    }

    /// A slot for a download that is under way.
    pub(super) fn resume_send(&mut self, mut sending: Sending, cx: &mut Cx<'_>) {
        sending.supply = Supply::Held;
        // The wait for the slot was not the peer's.
        sending.pace = Pace::new(cx.now, cx.limits.rate_window);
        self.set_state(State::SendingBody(Box::new(sending)), cx);
        self.supply(cx);
    }

    /// Sends a range of the open file, or closes it and does what the dialect wants instead.
    pub(super) fn send_or(&mut self, action: Action, file: FileId, supply: Supply, cx: &mut Cx<'_>) {
        let (range, hash) = match action {
            Action::Send { range, hash } => (range, hash),
            Action::Pause(delay) => return self.begin_pause(Some((file, supply)), delay, cx),
            action => {
                self.work.ops.push_back(Op::Close { file });
                return self.apply(action, cx);
            }
        };
        let sending = Sending {
            file,
            next: range.start,
            end: range.end,
            supply,
            hasher: Hasher::new(hash),
            pace: Pace::new(cx.now, cx.limits.rate_window),
        };
        let room = match self.work.sent.take() {
            Some(mut room) => {
                *room = sending;
                room
            }
            None => Box::new(sending),
        };
        self.set_state(State::SendingBody(room), cx);
        self.supply(cx);
    }

    /// Asks the store for the next bytes where they are held, and notices the end.
    fn supply(&mut self, cx: &mut Cx<'_>) {
        let State::SendingBody(sending) = &mut self.state else { return self.next_part(cx) };
        match sending.supply {
            Supply::Held if sending.next < sending.end && self.work.credits > 0 => {
                let left = usize::try_from(sending.end - sending.next).unwrap_or(usize::MAX);
                let (file, offset) = (sending.file, sending.next);
                sending.supply = Supply::HeldReading;
                if self.work.outbox.is_empty() {
                    sending.pace.store_began(cx.now);
                }
                if let Some(chunk) = self.take_chunk(cx) {
                    let len = left.min(cx.pool.chunk_bytes());
                    self.work.ops.push_back(Op::Read { file, offset, len, chunk });
                }
            }
            Supply::Held if sending.next == sending.end && self.work.outbox.is_empty() => self.range_sent(cx),
            Supply::Direct { .. } if sending.next == sending.end => self.range_sent(cx),
            // Everything read so far has left: from here on the peer waits for our disk.
            Supply::HeldReading if self.work.outbox.is_empty() => sending.pace.store_began(cx.now),
            Supply::Held | Supply::HeldReading | Supply::Direct { .. } | Supply::Warming { .. } => {}
        }
    }

    fn range_sent(&mut self, cx: &mut Cx<'_>) {
        let State::SendingBody(mut sending) = self.take_state() else { return };
        let digest = sending.hasher.finish();
        let action = self.with_protocol(cx, |protocol, context| protocol.sent(digest, context));
        let (file, supply) = (sending.file, sending.supply);
        self.work.sent = Some(sending);
        self.send_or(action, file, supply, cx);
    }

    /// `Warm` or `Read` ended.
    pub(super) fn send_completed(&mut self, done: Completion, cx: &mut Cx<'_>) {
        let State::SendingBody(sending) = &mut self.state else { return self.give_back(done.chunk, cx) };
        sending.pace.store_ended(cx.now);
        self.active = cx.now;
        match (done.result, done.chunk) {
            (Ok(Outcome::Warmed), _) => {
                if let Supply::Warming { cold } = sending.supply {
                    sending.supply = Supply::Direct { cold };
                }
            }
            (Ok(Outcome::Read), Some(chunk)) if chunk.is_empty() => {
                self.give_back([chunk], cx);
                self.source_failed("the file became shorter while it was sent", cx);
            }
            (Ok(Outcome::Read), Some(chunk)) => {
                sending.next += chunk.len() as u64;
                sending.hasher.update(chunk.data());
                sending.supply = Supply::Held;
                let n = chunk.len() as u64;
                self.work.outbox.push(chunk);
                self.count_sent(n, cx);
                self.supply(cx);
            }
            (Ok(_), chunk) => self.give_back(chunk, cx),
            (Err(error), chunk) => {
                self.give_back(chunk, cx);
                self.read_failed(&error, cx);
            }
        }
    }

    /// The file cannot be read any more.
    pub fn read_failed(&mut self, error: &StoreError, cx: &mut Cx<'_>) {
        self.source_failed(&error.cause(), cx);
    }

    fn count_sent(&mut self, n: u64, cx: &mut Cx<'_>) {
        self.count_bytes(n);
        cx.counters.bytes_out += n;
    }
}
