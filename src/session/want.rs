//! What a session wants of the reactor.

use std::time::Instant;

use crate::platform::{Op, Permit};
use crate::session::cx::DiskPace;
use crate::session::step::Outgoing;
use crate::upload::UploadId;

/// What a session wants now.
#[derive(Debug)]
pub enum Want {
    /// This operation of the store, with the number of its [`OpId`](crate::ids::OpId). It is in flight until
    /// [`Event::Completed`](super::Event::Completed).
    Run(u8, Op),
    /// To be informed of all connections, once no other is worked on: [`Event::Connections`](super::Event::Connections).
    Connections,
    /// A transfer slot: see [`Session::ask_for_slot`](super::Session::ask_for_slot).
    Slot,
    Send(Outgoing),
    /// Our half is to be closed. `may_close`: the whole connection at once, if nothing is unread: the peer announced
    /// that nothing comes after the request that was answered, so nothing can turn our last bytes into a reset (RFC
    /// 9112 §9.6).
    ShutDown {
        may_close: bool,
    },
    /// To know how much of what was sent is acknowledged.
    Unacknowledged,
    /// To be shown bytes that it holds, or else new ones: see [`Session::intake`](super::Session::intake).
    Receive,
}

/// The result of [`Session::ask_for_slot`](super::Session::ask_for_slot).
#[derive(Debug)]
pub enum SlotAnswer {
    /// It is granted, or the request is refused.
    Decided,
    /// The request waits; with the upload that it is about, as the connection that is attached to that may hold the very
    /// slot it waits for.
    Waits(Option<(UploadId, Permit)>),
}

/// The order in which wants are asked for. Operations come first, as their outcome may give bytes to send; sending
/// returns the chunks that receiving needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Stage {
    Operations,
    Slot,
    Output,
    Shutdown,
    Acknowledgement,
    Input,
}

/// One pass over everything that a session may want.
#[derive(Debug)]
pub struct Pass {
    /// How far it has come.
    pub(super) stage: Stage,
    pub(super) readable: bool,
    pub(super) now: Instant,
    pub(super) pace: DiskPace,
}

impl Pass {
    /// `readable`: more may have come. `pace`: how content gets to the disk in this turn.
    pub const fn new(readable: bool, now: Instant, pace: DiskPace) -> Self {
        Self { stage: Stage::Operations, readable, now, pace }
    }

    /// True for a stage that this pass has not come to yet: it is at that stage then.
    pub(super) fn enters(&mut self, stage: Stage) -> bool {
        let is_later = self.stage < stage;
        if is_later {
            self.stage = stage;
        }
        is_later
    }
}
