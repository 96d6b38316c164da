//! From accept to the first request: what a connection waits for, and what the reactor reports of it.

use crate::dialect::Action;
use crate::error::CloseReason;
use crate::session::Session;
use crate::session::arrival::{Arrival, ArrivalEvent};
use crate::session::cx::Cx;
use crate::session::state::{AwaitHeader, Handshake, ProxyHeader, State};
use crate::session::step::Step;

impl Session {
    /// `None` from the first request on.
    pub(super) const fn arrival(&self) -> Option<Arrival> {
        Some(match &self.state {
            State::ProxyHeader(ProxyHeader { is_whole: false, .. }) => Arrival::Header,
            State::ProxyHeader(ProxyHeader { listener, .. }) => Arrival::Admission(*listener),
            State::Handshake(Handshake { awaits_key: true, .. }) => Arrival::Key,
            State::Handshake(_) => Arrival::Handshake,
            _ => return None,
        })
    }

    pub(super) fn arrive(&mut self, event: ArrivalEvent, cx: &mut Cx<'_>) {
        self.advance(cx, |state, common, cx| match (event, state) {
            (ArrivalEvent::Admitted(dialect, role), state) => {
                (common.dialect, common.peer_role) = (dialect, role);
                Step::Stay(state)
            }
            (ArrivalEvent::Encrypts, State::ProxyHeader(_)) => Step::enter(Handshake::default()),
            (ArrivalEvent::NeedsKey, State::Handshake(handshake)) => {
                Step::stay(Handshake { awaits_key: true, ..handshake })
            }
            (ArrivalEvent::KeyUsed, State::Handshake(_)) => {
                Step::stay(Handshake { awaits_key: false, is_answered: true })
            }
            (ArrivalEvent::Failed { reason, cause, is_answered }, State::Handshake(_)) => {
                Handshake::failed(reason, &cause, !is_answered, common, cx)
            }
            (ArrivalEvent::TurnedAway, _) => Step::End(CloseReason::Refused, false),
            (ArrivalEvent::ListenersClosed, State::ProxyHeader(_) | State::Handshake(_)) => {
                Step::End(CloseReason::Drained, false)
            }
            (_, state) => Step::Stay(state),
        });
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>) {
        if self.arrival().is_some() {
            self.advance(cx, |_, _, _| Step::enter(AwaitHeader::Idle));
        }
        self.advance(cx, |state, common, cx| {
            match common.with_protocol(cx, |protocol, context| protocol.opened(context)) {
                Action::More => Step::Stay(state),
                action => Step::Obey(action),
            }
        });
    }
}
