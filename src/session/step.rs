//! What follows an event.

use std::borrow::Cow;

use crate::dialect::Action;
use crate::error::{CloseReason, Failure, StoreError};
use crate::ids::FileId;
use crate::session::state::{SlotRequest, State};

/// What follows an event.
#[derive(Debug)]
pub(super) enum Step {
    /// The state continues.
    Stay(State),
    /// Another state is entered, or the same one again.
    Enter(State),
    /// The dialect decided.
    Obey(Action),
    /// The request failed, for this cause: it is reported, and the dialect decides.
    Refuse(Failure, Cow<'static, str>),
    /// A slot is needed for this.
    NeedSlot(SlotRequest),
    /// The conversation is over; its files have been released.
    End(CloseReason, IsReset),
}

/// True if the peer must see a reset instead of an end of stream.
pub(super) type IsReset = bool;

impl Step {
    pub(super) fn stay(state: impl Into<State>) -> Self {
        Self::Stay(state.into())
    }

    pub(super) fn enter(state: impl Into<State>) -> Self {
        Self::Enter(state.into())
    }

    pub(super) const fn refuse(failure: Failure, cause: &'static str) -> Self {
        Self::Refuse(failure, Cow::Borrowed(cause))
    }
}

impl From<StoreError> for Step {
    fn from(error: StoreError) -> Self {
        Self::Refuse(error.failure, error.cause().into())
    }
}

/// What [`Session::consume`](crate::session::Session::consume) did with the bytes it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// This many bytes are used up; show the rest.
    Took(usize),
    /// Nothing can be done with them now; hold them.
    Wait,
    /// `skip` bytes are used up; the `len` after them belong into `file` at `offset`. Tell with
    /// `Event::Stored`, `HandOver` or `StoreFailed`, then show what is after them.
    Content {
        /// Framing before the content.
        skip: usize,
        len: usize,
        /// The staging file.
        file: FileId,
        offset: u64,
    },
}

/// What is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    Nothing,
    /// Only what is in the outbox.
    Outbox,
    /// The outbox, then these bytes straight from the file.
    File {
        file: FileId,
        offset: u64,
        /// At least 1.
        len: u64,
        /// True if the bytes must pass through this process.
        hash: bool,
    },
}
