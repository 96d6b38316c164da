//! The limits of a client: to which client group a request belongs, what counts for it, and what a session waits for when
//! the group has had as much as it may. That time is not taken for slowness of the peer.

use std::time::{Duration, Instant};

use crate::dialect::Action;
use crate::error::Failure;
use crate::groups::{Flow, Groups, Who};
use crate::ids::{ClientAddress, GroupId};
use crate::session::Session;
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::state::{AwaitHeader, Pausing, State};

impl Session {
    /// A connection of an address that shows wrong secrets is not read for a while.
    pub(super) fn wait_first(&mut self, delay: Duration, cx: &mut Cx<'_>) {
        self.advance(cx, |_, _, cx| Pausing::enter(None, delay, cx));
    }

    /// What must admit it before it continues in its present state: a client of a dialect without words for a refusal
    /// waits with its request, an upload with its content, a download with the file.
    pub fn paced_by(&mut self, groups: &mut Groups, now: Instant) -> Option<(GroupId, Flow)> {
        let common = &mut self.common;
        match &self.state {
            // What has begun is read on.
            State::AwaitHeader(AwaitHeader::Idle | AwaitHeader::HeldBack)
                if !common.can_refuse() && !common.holds_slot() && !common.data.is_admitted =>
            {
                Some((groups.find(common.who(), now), Flow::Requests))
            }
            State::AwaitSlot(request) if request.is_upload() => Some((common.group(groups, now), Flow::Up)),
            _ => self.transfers(),
        }
    }

    /// Which bucket the content under way is counted in.
    pub(super) fn transfers(&self) -> Option<(GroupId, Flow)> {
        let flow = match &self.state {
            State::ReceivingBody(_) => Flow::Up,
            State::SendingBody(_) => Flow::Down,
            _ => return None,
        };
        self.common.data.group.map(|group| (group, flow))
    }

    /// The rules have changed: what it moves counts for the rate that they permit now.
    pub(super) fn renew_rate(&mut self, cx: &mut Cx<'_>) {
        let key = self.common.data.request.as_ref().map(|request| request.key.clone());
        if let (Some(key), Some(group)) = (key, self.common.data.group) {
            let whole = cx.groups.parent_of(group);
            cx.groups.hold(whole);
            self.common.data.group = Some(whole);
            self.common.keep_rate(&key, cx);
            cx.groups.leave(group);
        }
    }

    /// It waits for the limits of its client.
    pub(super) fn begin_pacing(&mut self, cx: &mut Cx<'_>) {
        match &mut self.state {
            State::ReceivingBody(receiving) => receiving.min_rate.limit_began(cx.now),
            State::SendingBody(sending) => sending.min_rate.limit_began(cx.now),
            State::AwaitHeader(awaiting) => {
                *awaiting = AwaitHeader::HeldBack;
                // What it waits for stays as long as that is referred to.
                self.common.group(cx.groups, cx.now);
            }
            _ => {}
        }
    }

    /// It may continue.
    pub(super) fn resume_pacing(&mut self, now: Instant) {
        let has_waited = match &mut self.state {
            State::ReceivingBody(receiving) => receiving.min_rate.limit_ended(now),
            State::SendingBody(sending) => sending.min_rate.limit_ended(now),
            State::AwaitHeader(awaiting @ AwaitHeader::HeldBack) => {
                *awaiting = AwaitHeader::Idle;
                true
            }
            _ => false,
        };
        if has_waited {
            self.common.active = now;
        }
    }
}

impl Common {
    /// Which client group sends the present request.
    pub(super) fn who(&self) -> Who<'_> {
        match self.data.caller.name() {
            Some(name) => Who::Name(name),
            None => Who::Address(ClientAddress::of_ip(self.client())),
        }
    }

    /// The client group of the present request. It stays until the request is over.
    pub(super) fn group(&mut self, groups: &mut Groups, now: Instant) -> GroupId {
        if let Some(group) = self.data.group {
            return group;
        }
        let group = groups.join(self.who(), now);
        self.data.group = Some(group);
        group
    }

    /// The group of the client that sends the present request, which is charged for its slot.
    pub(super) fn client_group(&mut self, groups: &mut Groups, now: Instant) -> GroupId {
        let group = self.group(groups, now);
        groups.parent_of(group)
    }

    /// The request is over.
    pub(super) fn leave_group(&mut self, groups: &mut Groups) {
        if let Some(group) = self.data.group.take() {
            groups.leave(group);
        }
        self.end_counted_upload(groups);
    }

    /// This many bytes of a file were received or sent.
    pub(super) fn charge(&self, flow: Flow, bytes: u64, cx: &mut Cx<'_>) {
        if cx.groups.is_limited()
            && let Some(group) = self.data.group
        {
            cx.groups.charge(group, flow, bytes, cx.now);
        }
    }

    /// True if a client of this dialect can be asked to try again later. Others have to wait.
    pub(super) fn can_refuse(&self) -> bool {
        self.dialect.kind().traits().legacy_address.is_none()
    }

    /// A request that cannot be refused is counted when its first bytes come: others are not to begin meanwhile.
    pub(super) fn pay_for_request(&mut self, cx: &mut Cx<'_>) {
        if cx.groups.is_limited() && !self.can_refuse() && !self.data.is_admitted {
            let group = self.group(cx.groups, cx.now);
            cx.groups.charge(group, Flow::Requests, 1, cx.now);
            self.data.is_admitted = true;
            // Until it is known to be none.
            self.count_upload(group, cx.groups);
        }
    }

    fn count_upload(&mut self, group: GroupId, groups: &mut Groups) {
        if self.data.counted_upload.is_none() {
            let whole = groups.parent_of(group);
            groups.hold(whole);
            groups.begin_upload(whole);
            self.data.counted_upload = Some(whole);
        }
    }

    fn end_counted_upload(&mut self, groups: &mut Groups) {
        if let Some(group) = self.data.counted_upload.take() {
            groups.end_upload(group);
            groups.leave(group);
        }
    }

    /// Counts a request of its client, and an upload.
    pub(super) fn count_request(&mut self, is_upload: bool, cx: &mut Cx<'_>) -> Result<(), Failure> {
        if !cx.groups.is_limited() {
            return Ok(());
        }
        let group = self.group(cx.groups, cx.now);
        let is_admitted = std::mem::take(&mut self.data.is_admitted);
        if !self.can_refuse() {
            if !is_admitted {
                cx.groups.charge(group, Flow::Requests, 1, cx.now); // it came with the one before
            }
        } else if let Err(seconds) = cx.groups.begin_request(group, is_upload, cx.now) {
            self.data.retry_after_s = Some(seconds);
            return Err(Failure::ClientLimit);
        }
        match is_upload {
            true => self.count_upload(group, cx.groups),
            false => self.end_counted_upload(cx.groups),
        }
        Ok(())
    }

    /// Counts a request that the dialect answered on its own: with a refusal, or with what is not in the store. Beyond the
    /// limit, the next one is not read for a while.
    pub(super) fn count_answered(&mut self, action: Action, cx: &mut Cx<'_>) -> Action {
        let is_command = matches!(action, Action::Run(_) | Action::Store(..));
        let is_unanswered =
            matches!(action, Action::More | Action::Proceed | Action::Part | Action::Speak | Action::Verify(_));
        if is_command || is_unanswered {
            return action;
        }
        // A connection that is turned away has made no request yet.
        if !cx.groups.is_limited() || self.dialect.is_turned_away() {
            return action;
        }
        if !self.can_refuse() {
            // It was paid for when it began; the next one is another.
            self.data.is_admitted = false;
            self.end_counted_upload(cx.groups);
            return action;
        }
        let wait = cx.groups.count_answered(self.who(), cx.now);
        match action {
            Action::Next if !wait.is_zero() => Action::Pause(wait),
            Action::Pause(delay) => Action::Pause(delay.max(wait)),
            action => action,
        }
    }
}
