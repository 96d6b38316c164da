//! Transfer slots: what a session needs one for, and when it gives it back.

use std::time::Instant;

use crate::config::Limits;
use crate::groups::Groups;
use crate::ids::GroupId;
use crate::session::Session;
use crate::session::behavior::{Behavior, in_state};
use crate::session::cx::{Cx, DiskPace};
use crate::session::state::{Name, SlotRequest, State};
use crate::session::step::Step;

impl Session {
    /// True if a slot is needed now.
    pub fn wants_slot(&self) -> bool {
        self.common.name == Name::AwaitSlot
    }

    /// Since when a slot is needed.
    pub fn waits_for_slot_since(&self) -> Option<Instant> {
        self.wants_slot().then_some(self.common.entered)
    }

    /// The client group that is charged for the slot that it has, or waits for.
    pub fn slot_of(&self) -> Option<GroupId> {
        self.common.data.slot_of
    }

    /// The same for a slot that it is about to ask for.
    pub fn claim_slot(&mut self, groups: &mut Groups, now: Instant) -> GroupId {
        self.common.claim_slot(groups, now)
    }

    /// It has no slot and waits for none.
    pub fn unclaim_slot(&mut self, groups: &mut Groups) {
        self.common.unclaim_slot(groups);
    }

    /// References to client groups that it has.
    pub fn groups_held(&self) -> usize {
        let data = &self.common.data;
        [data.group, data.slot_of, data.counted_upload].into_iter().flatten().count()
    }

    /// The client group among whose bulk transfers this is one.
    pub fn bulk_group(&mut self, groups: &mut Groups, now: Instant) -> GroupId {
        match self.common.name {
            // It has no request yet.
            Name::AwaitHeader => groups.find(self.common.who(), now),
            _ => {
                let group = self.common.group(groups, now);
                groups.whole_of(group)
            }
        }
    }

    /// The client group in whose turns its operations are done; only until the next one is looked up.
    pub fn store_group(&self, groups: &mut Groups, now: Instant) -> GroupId {
        match self.common.data.group {
            Some(group) => groups.whole_of(group),
            None => groups.find(self.common.who(), now),
        }
    }

    /// True while it has one, also one that it could not give back yet.
    pub const fn holds_slot(&self) -> bool {
        self.common.has_slot
    }

    /// There is a slot for it.
    pub fn granted(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::AwaitSlot(request) => request.granted(common, cx),
            other => Step::Stay(other),
        });
    }

    /// There is no slot for it; `cause` is for the log.
    pub fn not_granted(&mut self, cause: &'static str, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match state {
            State::AwaitSlot(request) => request.not_granted(cause, common, cx),
            other => Step::Stay(other),
        });
    }

    /// True once when the slot is not needed any more; the caller takes it back.
    pub fn release_slot(&mut self, limits: &Limits) -> bool {
        let Self { state, common } = self;
        // Every chunk must be at home; and a page of a listing is in the outbox on the slot's account.
        if !common.has_slot
            || in_state!(&*state, state => state.needs_slot(common, limits))
            || common.has_ops()
            || common.data.credits != limits.chunks_per_slot
            || common.data.outbox.len() > limits.reply_bytes_max
        {
            return false;
        }
        common.has_slot = false;
        common.data.credits = 0;
        true
    }

    /// True for an upload that gave its slot back and goes on, and until its share of the slots is taken back.
    pub const fn is_upload_without_slot(&self) -> bool {
        self.common.is_without_slot
    }

    /// True if this is an upload that holds a slot and needs none: its content goes straight to its file.
    pub fn may_go_on_without_slot(&self, pace: DiskPace, limits: &Limits) -> bool {
        let Self { state, common } = self;
        common.has_slot
            && pace == DiskPace::KeepsUp
            && matches!(state, State::ReceivingBody(receiving) if receiving.is_into_file())
            && !common.has_ops()
            && common.data.credits == limits.chunks_per_slot
            && !common.holds_long_input(limits)
            && common.data.outbox.len() <= limits.reply_bytes_max
    }

    /// True if this is such an upload. It then has given its slot back, and the caller takes it.
    pub fn go_on_without_slot(&mut self, pace: DiskPace, limits: &Limits) -> bool {
        if !self.may_go_on_without_slot(pace, limits) {
            return false;
        }
        let common = &mut self.common;
        common.has_slot = false;
        common.data.credits = 0;
        common.is_without_slot = true;
        true
    }

    /// True for an upload that has no slot and must hold its next bytes in chunks.
    pub fn lacks_slot(&self, pace: DiskPace) -> bool {
        self.common.is_without_slot && pace == DiskPace::Lags && self.common.name == Name::ReceivingBody
    }

    /// An upload without a slot waits for one.
    pub fn need_slot_again(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, _, _| match state {
            State::ReceivingBody(receiving) => Step::NeedSlot(SlotRequest::ResumeUpload(receiving)),
            other => Step::Stay(other),
        });
    }

    /// True once when an upload without a slot is over; the caller takes its share back.
    pub fn release_share(&mut self, limits: &Limits) -> bool {
        let Self { state, common } = self;
        if !common.is_without_slot || common.has_ops() || in_state!(&*state, state => state.needs_slot(common, limits))
        {
            return false;
        }
        common.is_without_slot = false;
        true
    }

    /// True once for an upload without a slot that is granted one: its share is the slot's from now on.
    pub const fn take_share(&mut self) -> bool {
        std::mem::replace(&mut self.common.is_without_slot, false)
    }

    /// Bytes per second that move while it holds a slot, also while it waits for the limits of its client, which owe it
    /// `due` bytes; `in_kernel` as for [`Session::timed_out`]. `None` where that depends on neither of both, or is not
    /// known yet.
    pub fn slot_rate(&self, in_kernel: usize, due: u64, now: Instant, limits: &Limits) -> Option<u64> {
        in_state!(&self.state, state => state.slot_rate(in_kernel, due, now, &self.common, limits))
    }

    /// Ends a transfer as one that is too slow.
    pub fn end_slow_transfer(&mut self, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| in_state!(state, state => state.end_slow_transfer(common, cx)));
    }
}
