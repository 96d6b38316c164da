//! Driving a session: its events, and what it then wants.

use crate::error::CloseReason;
use crate::session::Session;
use crate::session::behavior::{Behavior, in_state};
use crate::session::cx::Cx;
use crate::session::event::Event;
use crate::session::state::{Name, State};
use crate::session::step::Outgoing;
use crate::session::want::{Pass, Stage, Want};

impl Session {
    /// Tells the present state about an event, and does what follows until a state continues.
    pub fn tell(&mut self, event: Event<'_>, cx: &mut Cx<'_>) {
        match event {
            Event::Arrival(event) => self.arrive(event, cx),
            Event::Opened => self.open(cx),
            Event::Role(role) => self.common.peer_role = role,
            Event::MustWait(delay) => self.wait_first(delay, cx),
            Event::Arrived { len, is_all } => self.arrived(len, is_all, cx),
            Event::Ended => self.received_eof(cx),
            Event::CutShort(_) if self.is_between_messages() => self.received_eof(cx),
            Event::CutShort(cause) => self.cut_off(CloseReason::CutShort, cause, true, cx),
            // A disk that fails in the middle of a file looks like this too: it must not pass for its end.
            Event::Lost(cause) => {
                let is_reset = in_state!(&self.state, state => state.is_in_a_file());
                self.cut_off(CloseReason::PeerReset, cause, is_reset, cx);
            }
            Event::GivenUp(cause) => self.given_up(cause, cx),
            Event::Superseded => {
                self.advance(cx, |state, common, cx| in_state!(state, state => state.superseded(common, cx)));
            }
            Event::Stored(len) => {
                self.advance(cx, |state, common, cx| in_state!(state, state => state.stored(len, common, cx)));
            }
            Event::HandOver { file, offset, content } => self.hand_over(file, offset, content, cx),
            Event::StoreFailed(error) => self.store_failed(error, cx),
            Event::Sent(n) => self.sent(n, cx),
            Event::SentFile(n, bytes) => self.sent_file(n, bytes, cx),
            Event::FoundCold => self.found_cold(cx),
            Event::SourceFailed(cause) => self.source_failed(cause, cx),
            Event::Closed => self.end(CloseReason::Finished, false, cx),
            Event::ShutDown => self.shut_down(cx),
            Event::Unacknowledged(n) => self.looked(n, cx),
            Event::Completed(done) => self.completed(done, cx),
            Event::Connections(text) if self.common.name == Name::AwaitHeader => {
                (self.common.data.connections, self.common.is_unseen) = (Some(text), true);
            }
            Event::Connections(_) => {} // it has ended meanwhile
            Event::TimedOut { in_kernel } => self.timed_out(in_kernel, cx),
            Event::AsksForSlot => self.prepare_for_slot(cx),
            Event::SlotGranted => self.granted(cx),
            Event::TooSlow => {
                self.advance(cx, |state, common, cx| in_state!(state, state => state.end_slow_transfer(common, cx)));
            }
            Event::Paced => self.begin_pacing(cx),
            Event::Unpaced => self.resume_pacing(cx.now),
            Event::RulesChanged => self.renew_rate(cx),
            Event::Drained => {
                self.advance(cx, |state, common, cx| in_state!(state, state => state.drained(common, cx)));
            }
            Event::Stopped => self.stop(cx),
        }
    }

    /// What it wants next in this pass; `None` at its end. All operations are asked for one after the other, and
    /// everything else once in a pass.
    pub fn poll(&mut self, pass: &mut Pass) -> Option<Want> {
        if pass.stage == Stage::Operations
            && let Some((number, op)) = self.next_op()
        {
            return Some(Want::Run(number, op));
        }
        if self.common.data.wants_connections {
            self.common.data.wants_connections = false;
            return Some(Want::Connections);
        }
        if pass.enters(Stage::Slot) && self.wants_slot(pass.readable, pass.pace) {
            return Some(Want::Slot);
        }
        if pass.enters(Stage::Output) {
            let outgoing = self.outgoing();
            if outgoing != Outgoing::Nothing {
                return Some(Want::Send(outgoing));
            }
        }
        if pass.enters(Stage::Shutdown) && self.common.name == Name::SendingReply && self.common.data.outbox.is_empty()
        {
            return Some(Want::ShutDown { may_close: self.may_close_at_once() });
        }
        if pass.enters(Stage::Acknowledgement)
            && let State::Pausing(pausing) = &self.state
            && pausing.is_check_due(&self.common, pass.now)
        {
            return Some(Want::Unacknowledged);
        }
        (pass.enters(Stage::Input) && (pass.readable || self.common.has_unseen())).then_some(Want::Receive)
    }
}
