//! Downloads: from an open file to its last byte.
//!
//! Warm files are sent straight from the page cache and hold no memory: what the socket did not take is asked for
//! again. Only bytes that had to be read by a disk worker are held, in chunks. Decides what is sent next; the reactor
//! moves it.

use std::borrow::Cow;
use std::time::Instant;

use crate::command::Answer;
use crate::config::Limits;
use crate::dialect::Action;
use crate::error::{CloseReason, Failure};
use crate::groups::Flow;
use crate::ids::FileId;
use crate::object::Meta;
use crate::platform::{Completion, Op, Outcome, Source};
use crate::session::behavior::Behavior;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::min_rate::MinRate;
use crate::session::report::Segment;
use crate::session::state::{Pausing, Sending, SlotRequest, Supply};
use crate::session::step::Step;
use crate::transfer::{Hash, Hasher};

/// Found cold this many times in a row, a file is read into chunks instead: some file systems never keep a page.
const COLD_MAX: u8 = 3;
/// How much of a file is brought into the page cache at once, in bytes.
const WARM_BYTES: u64 = 1024 * 1024;

impl Behavior for Box<Sending> {
    const IS_IN_A_FILE: bool = true;

    /// Asks the store for the next bytes where they are held, and notices the end.
    fn begin(mut self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let is_sent = common.data.outbox.is_empty();
        match self.supply {
            Supply::Held if self.next < self.end && common.data.slot.credits() > 0 => {
                let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
                self.supply = Supply::HeldReading;
                if is_sent {
                    self.min_rate.store_began(cx.now);
                }
                if let Some(chunk) = common.take_chunk(cx) {
                    let len = left.min(cx.pool.chunk_bytes());
                    common.data.ops.push_back(Op::Read { file: self.file, offset: self.next, len, chunk });
                }
            }
            Supply::Held if self.next == self.end && is_sent => return self.range_sent(common, cx),
            Supply::Direct { .. } if self.next == self.end => return self.range_sent(common, cx),
            // Everything read so far was sent: from here on the peer waits for our disk.
            Supply::HeldReading if is_sent => self.min_rate.store_began(cx.now),
            Supply::Held | Supply::HeldReading | Supply::Direct { .. } | Supply::Warming { .. } => {}
        }
        Step::stay(self)
    }

    fn sent(mut self, n: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.min_rate.sent(n);
        common.charge(Flow::Down, n as u64, cx);
        self.begin(common, cx)
    }

    /// `Warm` or `Read` ended.
    fn completed(mut self, done: Completion, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.min_rate.store_ended(cx.now);
        common.active = cx.now;
        match (done.result, done.chunk) {
            (Ok(Outcome::Warmed), _) => {
                if let Supply::Warming { cold } = self.supply {
                    self.supply = Supply::Direct { cold };
                }
            }
            (Ok(Outcome::Read), Some(chunk)) if chunk.is_empty() => {
                common.give_back([chunk], cx);
                return self.source_failed("the file became shorter while it was sent", common, cx);
            }
            (Ok(Outcome::Read), Some(chunk)) => {
                let n = chunk.len() as u64;
                self.next += n;
                self.hasher.update(chunk.data());
                self.supply = Supply::Held;
                common.data.outbox.push(chunk);
                common.count(Flow::Down, n, cx);
                return self.begin(common, cx);
            }
            (Ok(_), chunk) => common.give_back(chunk, cx),
            (Err(error), chunk) => {
                common.give_back(chunk, cx);
                return self.source_failed(error.cause(), common, cx);
            }
        }
        Step::stay(self)
    }

    fn deadline(&self, common: &Common, limits: &Limits) -> Option<Instant> {
        self.min_rate.deadline().map(|window_end| window_end.min(common.active + limits.live.stall_timeout))
    }

    fn timed_out(mut self, in_kernel: usize, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let is_window_over = self.min_rate.deadline().is_some_and(|at| at <= cx.now);
        if self.min_rate.check(cx.now, cx.limits, in_kernel as u64).is_err() {
            return self.end_slow_transfer(common, cx);
        }
        if is_window_over {
            // It reads, though the kernel has not asked for more in a while.
            common.active = cx.now;
        } else if cx.now >= common.active + cx.limits.live.stall_timeout {
            self.release(common, cx);
            return common.stop_sending("the peer does not read", cx);
        }
        Step::stay(self)
    }

    fn needs_slot(&self, common: &Common, limits: &Limits) -> bool {
        // What comes straight from the page cache needs no chunk.
        common.holds_long_input(limits) || self.supply.needs_slot()
    }

    fn slot_rate(&self, in_kernel: usize, due: u64, now: Instant, _common: &Common, limits: &Limits) -> Option<u64> {
        self.min_rate.rate(now, limits, in_kernel as u64, due)
    }

    fn end_slow_transfer(self, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        self.release(common, cx);
        common.stop_sending("the peer reads too slowly", cx)
    }

    fn is_bulk(&self, _common: &Common, limits: &Limits) -> bool {
        self.end - self.next > limits.fixed.turn_bytes_min as u64
    }

    fn release(self, common: &mut Common, _cx: &mut Cx<'_>) {
        common.close(self.file);
    }
}

impl Sending {
    /// The file is open: the dialect writes the head of the reply.
    pub(in crate::session) fn start(
        file: FileId,
        meta: Meta,
        source: Source,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        let total = meta.len;
        let action = common.with_protocol(cx, |protocol, context| protocol.answered(Ok(Answer::Opened(meta)), context));
        if let (Action::Send { range, hash: Hash::Sha256 }, Some(request)) = (&action, &mut common.data.request)
            && (range.start > 0 || range.end < total)
        {
            request.segment = Some(Segment { first: range.start, end: range.end, total });
        }
        Self::send_or(action, file, source.into(), common, cx)
    }

    /// Sends a range of the open file, or closes it and does what the dialect wants instead.
    pub(super) fn send_or(action: Action, file: FileId, supply: Supply, common: &mut Common, cx: &Cx<'_>) -> Step {
        let (range, hash) = match action {
            Action::Send { range, hash } => (range, hash),
            Action::Pause(delay) => return Pausing::enter(Some((file, supply)), delay, cx),
            action => {
                common.close(file);
                return Step::Obey(action);
            }
        };
        let min_rate = MinRate::new(cx.now, cx.limits.fixed.rate_window);
        let sending = Self { file, next: range.start, end: range.end, supply, hasher: Hasher::new(hash), min_rate };
        Step::enter(match common.data.sent.take() {
            Some(mut memory) => {
                *memory = sending;
                memory
            }
            None => Box::new(sending),
        })
    }

    fn range_sent(mut self: Box<Self>, common: &mut Common, cx: &mut Cx<'_>) -> Step {
        let digest = self.hasher.finish();
        let action = common.with_protocol(cx, |protocol, context| protocol.sent(digest, context));
        let (file, supply) = (self.file, self.supply);
        common.data.sent = Some(self);
        Self::send_or(action, file, supply, common, cx)
    }

    /// `n` bytes of the file were sent; `bytes` are those, if they passed through this process.
    pub(in crate::session) fn sent_file(
        mut self: Box<Self>,
        n: usize,
        bytes: Option<&[u8]>,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        self.min_rate.sent(n);
        self.next += n as u64;
        debug_assert!(self.next <= self.end, "more bytes sent than were asked for");
        self.supply = Supply::Direct { cold: 0 };
        if let Some(bytes) = bytes {
            self.hasher.update(bytes);
        }
        common.active = cx.now;
        common.moved(Flow::Down, n as u64, cx);
        self.begin(common, cx)
    }

    /// The next bytes are not in the page cache.
    pub(in crate::session) fn found_cold(mut self: Box<Self>, common: &mut Common, cx: &Cx<'_>) -> Step {
        self.min_rate.store_began(cx.now);
        match self.supply {
            Supply::Direct { cold } if cold < COLD_MAX => {
                let len = usize::try_from((self.end - self.next).min(WARM_BYTES)).unwrap_or(usize::MAX);
                common.data.ops.push_back(Op::Warm { file: self.file, offset: self.next, len });
                self.supply = Supply::Warming { cold: cold + 1 };
                Step::stay(self)
            }
            _ => Step::NeedSlot(SlotRequest::Resume(self)),
        }
    }

    /// The file is shorter than promised, or cannot be read: what was sent must not look whole.
    pub(in crate::session) fn source_failed(
        self,
        cause: impl Into<Cow<'static, str>>,
        common: &mut Common,
        cx: &mut Cx<'_>,
    ) -> Step {
        common.report_failure(Failure::Internal, cause, cx);
        common.close(self.file);
        Step::End(CloseReason::SourceFailed, true)
    }
}
