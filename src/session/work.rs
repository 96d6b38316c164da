//! What a session has only while something is under way: held bytes, replies, operations, the
//! report of a request. Most connections are idle most of the time, and pay for one pointer.
//!
//! Decides nothing: it only keeps the room, and gives it back, a few to be used again with the buffers
//! that are in them.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use crate::buffer::Outbox;
use crate::platform::Op;
use crate::session::state::Sending;
use crate::session::{Request, Segments};

/// What is under way.
#[derive(Debug)]
pub struct UnderWay {
    /// Bytes received and not yet used; exactly as long as they are.
    pub(super) inbox: Vec<u8>,
    pub(super) outbox: Outbox,
    /// Wanted, not yet submitted.
    pub(super) ops: VecDeque<Op>,
    /// Chunks that may still be taken.
    pub(super) credits: usize,
    pub(super) request: Option<Request>,
    /// Parts of a file that were sent and are not in the log yet.
    pub(super) segments: Option<Box<Segments>>,
    /// When the dialect was last told of a silence.
    pub(super) quiet_told: Option<Instant>,
    /// The room of the last download, for the next.
    pub(super) sent: Option<Box<Sending>>,
}

impl UnderWay {
    const NOTHING: Self = Self {
        inbox: Vec::new(),
        outbox: Outbox::EMPTY,
        ops: VecDeque::new(),
        credits: 0,
        request: None,
        segments: None,
        quiet_told: None,
        sent: None,
    };
}

/// What an idle session is seen to have.
const NOTHING: &UnderWay = &UnderWay::NOTHING;

/// The room for [`UnderWay`]: made by the first change, kept until [`Work::rest`].
#[derive(Debug, Default)]
pub(super) struct Work(Option<Box<UnderWay>>);

impl Work {
    /// Gives the room back if nothing is in it. `active` is when the peer last moved a byte: a
    /// silence told of before that is over.
    pub(super) fn rest(&mut self, active: Instant, spare: &mut Spare) {
        let told_before = self.quiet_told.is_none_or(|told| told <= active);
        let UnderWay { inbox, outbox, ops, credits, request, segments, quiet_told: _, sent: _ } = &**self;
        if told_before
            && inbox.is_empty()
            && outbox.is_empty()
            && ops.is_empty()
            && *credits == 0
            && request.is_none()
            && segments.is_none()
            && let Some(mut room) = self.0.take()
            && spare.0.len() < SPARE_MAX
        {
            room.quiet_told = None;
            spare.0.push(room);
        }
    }

    /// Something will be under way.
    pub(super) fn begin(&mut self, spare: &mut Spare) {
        if self.0.is_none() {
            self.0 = spare.0.pop();
        }
    }

    /// For a download that goes on, and may take long: gives back the room for operations that none
    /// waits in, and that of the head that has left. There may be thousands of slow readers, and this
    /// is the largest part of each.
    pub(super) fn shed(&mut self) {
        let Some(room) = &mut self.0 else { return };
        room.outbox.shrink();
        if room.ops.is_empty() && room.ops.capacity() > 0 {
            room.ops = VecDeque::new();
        }
    }

    /// Bytes of the room itself, of the few operations that may wait in it, of a download, and of its line.
    pub(super) const fn bytes() -> usize {
        size_of::<UnderWay>() + OPS_KEPT * size_of::<Op>() + size_of::<Sending>() + size_of::<Segments>()
    }
}

/// Rooms that were given back, to be used again.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "a room goes from session to session as it is, and is not copied")]
pub struct Spare(Vec<Box<UnderWay>>);

/// Rooms kept to be used again: as many as requests come in one turn of a busy server.
const SPARE_MAX: usize = 128;

impl Spare {
    /// Memory of all of them at most, for the accounting.
    pub const BYTES_MAX: usize = SPARE_MAX * (Work::bytes() + Outbox::KEPT_BYTES);
}

/// The least room that a `VecDeque` makes.
const OPS_KEPT: usize = 4;

impl Deref for Work {
    type Target = UnderWay;

    fn deref(&self) -> &UnderWay {
        self.0.as_deref().unwrap_or(NOTHING)
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut UnderWay {
        self.0.get_or_insert_with(|| Box::new(UnderWay::NOTHING))
    }
}
