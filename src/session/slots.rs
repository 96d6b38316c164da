//! Transfer slots: what a session needs one for, and when it gives it back.

use std::time::Instant;

use crate::admission::Slot;
use crate::command::Command;
use crate::config::{Limits, SHORT_REPLY_BYTES};
use crate::groups::{Flow, Groups};
use crate::ids::ConnId;
use crate::platform::Permit;
use crate::session::Session;
use crate::session::arrival::PeerRole;
use crate::session::behavior::{Behavior, in_state};
use crate::session::common::Common;
use crate::session::cx::{Cx, DiskPace};
use crate::session::state::{Name, SlotRequest, State};
use crate::session::step::Step;
use crate::session::view::Owner;
use crate::session::want::SlotAnswer;
use crate::upload::UploadId;

impl Session {
    /// For which client it moves bytes and uses the store: for that of the upload with this number, where a reply to that
    /// is owed, or else of the present request. While no request refers to the group, only until the next one is looked up.
    pub fn owner(&mut self, number: u8, groups: &mut Groups, now: Instant) -> Owner<'_> {
        let common = &mut self.common;
        let name = common.name;
        let group = match (common.data.slot.client(), common.data.group) {
            (Some(client), _) if number > 0 => client,
            (_, Some(group)) => groups.parent_of(group),
            (_, None) if matches!(name, Name::ReceivingBody | Name::SendingBody) => common.client_group(groups, now),
            (_, None) => groups.find(common.who(), now),
        };
        let data = &common.data;
        let (caller, tokens) = match data.owed.with_number(number) {
            Some(upload) => (&upload.facts.caller, &upload.facts.lock_tokens),
            None => (&data.caller, &data.lock_tokens),
        };
        let (user, lock_tokens) = (caller.name().unwrap_or_default(), tokens.as_deref().unwrap_or_default());
        Owner { group, user, lock_tokens }
    }

    /// True if it is to ask for a slot now. `more`: bytes have come, which an upload without one may have to hold.
    pub(super) fn wants_slot(&self, more: bool, pace: DiskPace) -> bool {
        let waits = self.common.name == Name::AwaitSlot && !self.common.data.slot.is_waiting();
        waits || (more || self.common.has_unseen()) && self.lacks_slot(pace)
    }

    /// An upload without a slot waits for one once it has to; and what is not needed any more is given back first.
    pub(super) fn prepare_for_slot(&mut self, cx: &mut Cx<'_>) {
        if self.lacks_slot(cx.disk.pace) {
            self.advance(cx, |state, common, cx| match state {
                State::ReceivingBody(mut receiving) => {
                    receiving.min_rate.store_began(cx.now);
                    // What is at the store must end first: its completion is meant for an upload under way.
                    if common.has_ops() {
                        return Step::stay(receiving);
                    }
                    receiving.min_rate.limit_ended(cx.now);
                    Step::NeedSlot(SlotRequest::ResumeUpload(receiving))
                }
                other => Step::Stay(other),
            });
        }
        if self.common.name == Name::AwaitSlot {
            self.give_back_slot(cx);
        }
    }

    /// Asks for a slot.
    pub fn ask_for_slot(&mut self, id: ConnId, cx: &mut Cx<'_>) -> SlotAnswer {
        let common = &mut self.common;
        // A slot that it still holds is full of what came after the request: that cannot wait for another.
        if !common.data.slot.is_held() {
            let client = common.client_group(cx.groups, cx.now);
            let slot = std::mem::take(&mut common.data.slot);
            common.data.slot = cx.slots.request(slot, (id, common.entered), client, cx.groups, cx.counters);
        }
        let (is_held, waits) = (common.data.slot.is_held(), common.data.slot.is_waiting());
        if waits {
            return SlotAnswer::Waits(self.wanted(cx));
        }
        self.advance(cx, |state, common, cx| match state {
            State::AwaitSlot(request) if is_held => request.granted(common, cx),
            State::AwaitSlot(request) => request.not_granted("the wait queue for slots is full", common, cx),
            other => Step::Stay(other),
        });
        SlotAnswer::Decided
    }

    /// The upload that a request which waits for a slot is about.
    fn wanted(&self, cx: &Cx<'_>) -> Option<(UploadId, Permit)> {
        if let State::AwaitSlot(request) = &self.state
            && let SlotRequest::Command(Command::Append(append)) = &**request
        {
            return Some((append.upload.id()?, self.common.upload_permit(cx)));
        }
        None
    }

    /// The head of the wait queue is given a slot.
    pub(super) fn granted(&mut self, cx: &mut Cx<'_>) {
        let slot = std::mem::take(&mut self.common.data.slot);
        self.common.data.slot = slot.granted(cx.limits.fixed.chunks_per_slot);
        self.advance(cx, |state, common, cx| match state {
            State::AwaitSlot(request) => request.granted(common, cx),
            other => Step::Stay(other),
        });
    }

    /// Gives back a slot, or the share of an upload without one, that is not needed any more.
    pub(super) fn give_back_slot(&mut self, cx: &mut Cx<'_>) {
        let Self { state, common } = self;
        let is_over = match &common.data.slot {
            Slot::None | Slot::Waiting { .. } => return,
            Slot::Held { .. } => common.is_slot_whole(cx.limits),
            Slot::ShareOnly { .. } => !common.has_ops(),
        };
        if is_over && !in_state!(&*state, state => state.needs_slot(common, cx.limits)) {
            let slot = std::mem::take(&mut common.data.slot);
            cx.slots.give_back(slot, cx.groups, cx.counters);
        } else if cx.disk.pace == DiskPace::KeepsUp
            && cx.slots.wants_slot_of_upload()
            && self.may_continue_without_slot(cx.limits)
        {
            let slot = std::mem::take(&mut self.common.data.slot);
            self.common.data.slot = cx.slots.keep_share(slot, cx.counters);
        }
    }

    /// True if this is an upload that holds a slot and needs none while the disk keeps up: its content goes straight to
    /// its file.
    pub(super) fn may_continue_without_slot(&self, limits: &Limits) -> bool {
        let Self { state, common } = self;
        matches!(state, State::ReceivingBody(receiving) if receiving.is_into_file())
            && common.is_slot_whole(limits)
            && !common.holds_long_input(limits)
    }

    /// True for an upload that has no slot and must hold its next bytes in chunks.
    fn lacks_slot(&self, pace: DiskPace) -> bool {
        pace == DiskPace::Lags && self.common.name == Name::ReceivingBody && self.common.data.slot.is_share_only()
    }

    /// Bytes per second that move while it holds a slot, also while it waits for the limits of its client, and how many
    /// must; `in_kernel` as for [`Event::TimedOut`](super::Event::TimedOut). `None` where that does not depend on the
    /// peer, or is not known yet.
    pub fn slot_rate(&self, in_kernel: usize, groups: &Groups, now: Instant, limits: &Limits) -> Option<(u64, u64)> {
        if !self.common.holds_slot() {
            return None;
        }
        let (min, due) = self.least_rate(groups, limits);
        let rate = in_state!(&self.state, state => state.slot_rate(in_kernel, due, now, &self.common, limits));
        rate.map(|rate| (rate, min))
    }

    /// Bytes per second that a transfer must move, and the most that the limits of its client owe it when it waits for
    /// them. A client with a rate below what all transfers must move may have two of them at a time, not more: the
    /// others would hold slots only to wait for each other.
    fn least_rate(&self, groups: &Groups, limits: &Limits) -> (u64, u64) {
        let limit = self.transfers().and_then(|(group, flow)| groups.slowest(group, flow));
        let min = limits.live.contention_bytes_per_s_min;
        limit.map_or((min, 0), |(rate, due)| (min.min(rate / 2), due))
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

    /// False if a reply is longer than every connection may hold, and no slot is free for it.
    pub(super) fn may_hold_reply(&mut self, cx: &mut Cx<'_>) -> bool {
        let short = SHORT_REPLY_BYTES.saturating_add(cx.limits.fixed.reply_bytes_max);
        if self.data.outbox.text_capacity() <= short || self.peer_role == PeerRole::Operator {
            return true;
        }
        if self.data.slot.is_none() {
            let client = self.client_group(cx.groups, cx.now);
            self.data.slot = cx.slots.try_take(client, cx.groups, cx.counters);
        }
        self.holds_slot()
    }

    /// True if a request has a slot now: a free one, or that of the request before it.
    pub(super) fn take_slot(&mut self, request: &SlotRequest, cx: &mut Cx<'_>) -> bool {
        // What is still at the store may have chunks of the slot. A share is given back first, or kept for the slot.
        if self.has_own_ops() || self.data.slot.is_share_only() {
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
            Slot::Held { client, .. } => {
                *client == whole && cx.slots.waiting() == 0 && (self.owes() || self.is_slot_whole(cx.limits))
            }
            Slot::Waiting { .. } | Slot::ShareOnly { .. } => false,
        }
    }

    /// Gives up the place in the wait queue.
    pub(super) fn stop_waiting(&mut self, cx: &mut Cx<'_>) {
        let slot = std::mem::take(&mut self.data.slot);
        self.data.slot = cx.slots.stop_waiting(slot, cx.groups, cx.counters);
    }
}
