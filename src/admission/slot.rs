//! The right of one connection to a transfer slot.

use crate::fair_queue::Ticket;
use crate::ids::GroupId;

/// The right of one connection to a transfer slot. It is moved, never copied, and refers to the client group that is
/// charged for it until [`Admission::give_back`](super::Admission::give_back).
#[derive(Debug, Default)]
pub enum Slot {
    #[default]
    None,
    /// In the wait queue.
    Waiting {
        client: GroupId,
        ticket: Ticket,
        /// True for an upload that gave its slot back: see [`Slot::ShareOnly`].
        has_share: bool,
    },
    Held {
        client: GroupId,
        /// Chunks that may still be taken.
        credits: usize,
    },
    /// An upload gave its slot back and continues: it still counts in the share of its client.
    ShareOnly { client: GroupId },
}

impl Slot {
    pub const fn client(&self) -> Option<GroupId> {
        match self {
            Self::None => None,
            Self::Waiting { client, .. } | Self::Held { client, .. } | Self::ShareOnly { client } => Some(*client),
        }
    }

    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    pub const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }

    /// True for an upload without a slot.
    pub const fn is_share_only(&self) -> bool {
        matches!(self, Self::ShareOnly { .. } | Self::Waiting { has_share: true, .. })
    }

    /// Chunks that may still be taken.
    pub const fn credits(&self) -> usize {
        if let Self::Held { credits, .. } = self { *credits } else { 0 }
    }

    /// Takes the right to one chunk, if there is one.
    pub fn take_credit(&mut self) -> Option<()> {
        let Self::Held { credits, .. } = self else { return None };
        *credits = credits.checked_sub(1)?;
        Some(())
    }

    /// Gives the right to a chunk back. A slot is only given back with all of them.
    pub fn return_credit(&mut self) {
        match self {
            Self::Held { credits, .. } => *credits += 1,
            _ => debug_assert!(false, "a chunk without a slot"),
        }
    }

    /// The wait is over: the request is at the head of the queue, and a slot is free.
    #[must_use]
    pub fn granted(self, credits: usize) -> Self {
        match self {
            Self::Waiting { client, .. } => Self::Held { client, credits },
            other => {
                debug_assert!(false, "a slot for one that does not wait: {other:?}");
                other
            }
        }
    }
}
