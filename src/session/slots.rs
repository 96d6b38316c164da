//! Transfer slots: what a session needs one for, and when it gives it back.

use std::time::Instant;

use crate::admission::Slot;
use crate::config::Limits;
use crate::groups::{Flow, Groups};
use crate::ids::{ConnId, GroupId};
use crate::session::Session;
use crate::session::behavior::{Behavior, in_state};
use crate::session::common::Common;
use crate::session::cx::{Cx, DiskPace};
use crate::session::state::{Name, SlotRequest, State};
use crate::session::step::Step;

impl Session {
    /// Its right to a slot.
    pub fn slot(&self) -> &Slot {
        &self.common.data.slot
    }

    /// Since when a slot is needed.
    pub fn waits_for_slot_since(&self) -> Option<Instant> {
        (self.common.name == Name::AwaitSlot).then_some(self.common.entered)
    }

    /// References to client groups that it has.
    pub fn groups_held(&self) -> usize {
        let data = &self.common.data;
        [data.group, data.slot.client(), data.counted_upload].into_iter().flatten().count()
    }

    /// The client group among whose bulk transfers this is one.
    pub fn bulk_group(&mut self, groups: &mut Groups, now: Instant) -> GroupId {
        match self.common.name {
            // It has no request yet.
            Name::AwaitHeader => groups.find(self.common.who(), now),
            _ => self.common.client_group(groups, now),
        }
    }

    /// The client group in whose turns its operations are done; only until the next one is looked up.
    pub fn store_group(&self, groups: &mut Groups, now: Instant) -> GroupId {
        match self.common.data.group {
            Some(group) => groups.whole_of(group),
            None => groups.find(self.common.who(), now),
        }
    }

    /// True if it is to ask for a slot now. `more`: bytes have come, which an upload without one may have to hold.
    pub fn wants_slot(&mut self, more: bool, cx: &mut Cx<'_>) -> bool {
        // What is at the store must end first: its completion is meant for an upload under way.
        if more && self.lacks_slot(cx.disk.pace) && !self.common.has_ops() {
            self.advance(cx, |state, _, _| match state {
                State::ReceivingBody(receiving) => Step::NeedSlot(SlotRequest::ResumeUpload(receiving)),
                other => Step::Stay(other),
            });
        }
        if self.common.name != Name::AwaitSlot || self.slot().is_waiting() {
            return false;
        }
        self.give_back_slot(cx);
        // What is still at the store may have chunks of the slot before.
        !self.common.has_ops()
    }

    /// Asks for a slot: granted or refused if true, else it waits.
    pub fn ask_for_slot(&mut self, id: ConnId, cx: &mut Cx<'_>) -> bool {
        let common = &mut self.common;
        // A slot that it still holds is full of what came after the request: that cannot wait for another.
        if !common.data.slot.is_held() {
            let client = common.client_group(cx.groups, cx.now);
            let slot = std::mem::take(&mut common.data.slot);
            common.data.slot = cx.slots.request(slot, id, client, cx.groups, cx.counters);
        }
        let (is_held, waits) = (self.slot().is_held(), self.slot().is_waiting());
        if !waits {
            self.advance(cx, |state, common, cx| match state {
                State::AwaitSlot(request) if is_held => request.granted(common, cx),
                State::AwaitSlot(request) => request.not_granted("the wait queue for slots is full", common, cx),
                other => Step::Stay(other),
            });
        }
        !waits
    }

    /// The head of the wait queue is given a slot.
    pub fn granted(&mut self, cx: &mut Cx<'_>) {
        let slot = std::mem::take(&mut self.common.data.slot);
        self.common.data.slot = slot.granted(cx.limits.fixed.chunks_per_slot);
        self.advance(cx, |state, common, cx| match state {
            State::AwaitSlot(request) => request.granted(common, cx),
            other => Step::Stay(other),
        });
    }

    /// Gives back a slot, or the share of an upload without one, that is not needed any more.
    pub fn give_back_slot(&mut self, cx: &mut Cx<'_>) {
        let Self { state, common } = self;
        let is_over = match &common.data.slot {
            Slot::None | Slot::Waiting { .. } => return,
            Slot::Held { .. } => common.is_slot_whole(cx.limits),
            Slot::ShareOnly { .. } => !common.has_ops(),
        };
        if is_over && !in_state!(&*state, state => state.needs_slot(common, cx.limits)) {
            let slot = std::mem::take(&mut common.data.slot);
            cx.slots.give_back(slot, cx.groups, cx.counters);
        } else if cx.slots.wants_slot_of_upload() && self.may_go_on_without_slot(cx.disk.pace, cx.limits) {
            let slot = std::mem::take(&mut self.common.data.slot);
            self.common.data.slot = cx.slots.keep_share(slot, cx.counters);
        }
    }

    /// True if this is an upload that holds a slot and needs none: its content goes straight to its file.
    pub fn may_go_on_without_slot(&self, pace: DiskPace, limits: &Limits) -> bool {
        let Self { state, common } = self;
        pace == DiskPace::KeepsUp
            && matches!(state, State::ReceivingBody(receiving) if receiving.is_into_file())
            && common.is_slot_whole(limits)
            && !common.holds_long_input(limits)
    }

    /// True for an upload that has no slot and must hold its next bytes in chunks.
    pub fn lacks_slot(&self, pace: DiskPace) -> bool {
        pace == DiskPace::Lags && self.common.name == Name::ReceivingBody && self.slot().is_share_only()
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

impl Common {
    /// True while it holds a slot, also one that it could not give back yet.
    pub(super) fn holds_slot(&self) -> bool {
        self.data.slot.is_held()
    }

    /// True if the slot could be given back: every chunk is at home, and no page of a listing is in the outbox on its
    /// account.
    fn is_slot_whole(&self, limits: &Limits) -> bool {
        matches!(self.data.slot, Slot::Held { credits, .. } if credits == limits.fixed.chunks_per_slot)
            && !self.has_ops()
            && self.data.outbox.len() <= limits.fixed.reply_bytes_max
    }

    /// True if a request has a slot now: a free one, or that of the request before it.
    pub(super) fn take_slot(&mut self, request: &SlotRequest, cx: &mut Cx<'_>) -> bool {
        // What is still at the store may have chunks of the slot. A share is given back first, or kept for the slot.
        if self.has_ops() || self.data.slot.is_share_only() {
            return false;
        }
        if cx.groups.is_limited() && request.is_upload() {
            let group = self.group(cx.groups, cx.now);
            let room = cx.groups.room(group, Flow::Up, cx.now);
            // What comes with the head must not be more than its client may send, nor come before what waits already:
            // whether that waits for the same bucket is looked at when the slot is asked for.
            if room == 0 || cx.is_any_paced && room < usize::MAX {
                return false;
            }
        }
        let whole = self.client_group(cx.groups, cx.now);
        match &self.data.slot {
            Slot::None => {
                self.data.slot = cx.slots.try_take(whole, cx.groups, cx.counters);
                self.holds_slot()
            }
            // A client that pipelines must not keep its slot from requests that wait, nor have that of another.
            Slot::Held { client, .. } => *client == whole && cx.slots.waiting() == 0 && self.is_slot_whole(cx.limits),
            Slot::Waiting { .. } | Slot::ShareOnly { .. } => false,
        }
    }

    /// Gives up the place in the wait queue.
    pub(super) fn stop_waiting(&mut self, cx: &mut Cx<'_>) {
        let slot = std::mem::take(&mut self.data.slot);
        self.data.slot = cx.slots.stop_waiting(slot, cx.groups, cx.counters);
    }
}
