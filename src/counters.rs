//! Facts about the server for its operator: what has happened since the start, and how things
//! stand now.
//!
//! Plain numbers in arrays of fixed size, changed in place where something happens, copied for
//! other threads after each turn. They are current within a turn as well. Nothing here
//! allocates or decides anything; `wire::metrics` writes them down.
#![warn(missing_docs)]

mod histogram;

use std::fmt::Display;
use std::net::SocketAddr;

use crate::error::{CloseReason, Failure};

pub use histogram::Histogram;

/// Whether the store accepts changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Everything works.
    #[default]
    Good,
    /// Configured so.
    ReadOnly,
    /// A sync failed: no change is accepted until a restart.
    Degraded,
    /// Nothing can be staged, or several commits in a row failed inside. Changes are tried on.
    Failing,
    /// The path of the served directory does not lead to it any more: nothing is read or changed until it leads to a
    /// directory.
    Gone,
}

impl Health {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Good, Self::ReadOnly, Self::Degraded, Self::Failing, Self::Gone];

    /// One word for people and programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::ReadOnly => "read-only",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// What waits at the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Operations submitted and not completed yet, those at work included.
    pub in_flight: u64,
    /// Jobs that no worker has taken yet, in the lane of opens, reads, writes and listings.
    pub io: u64,
    /// The same in the lane of syncs, renames and removes.
    pub sync: u64,
}

/// Facts about the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Wall-clock time of the start, in seconds since 1970.
    pub started_s: u64,
    /// Time since the start, as of the beginning of this turn, in milliseconds.
    pub uptime_ms: u64,
    /// The server takes no new work, or has ended.
    pub is_ending: bool,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open.
    pub open: u64,
    /// The open ones by state, in the order of [`Counters::STATES`].
    pub states: [u64; Self::STATES.len()],
    /// What each place of `dialects` counts.
    pub dialect_names: &'static [&'static str],
    /// The open ones by what they speak.
    pub dialects: [u64; Self::DIALECTS_MAX],
    /// Connections turned away because the limit was reached.
    pub turned_away: u64,
    /// Connections closed at listeners for proxies, because no header said for which client they were.
    pub unidentified: u64,
    /// Connections closed at listeners with TLS, because the handshake failed.
    pub handshakes_failed: u64,
    /// Times accepting stopped for want of descriptors or memory.
    pub accept_exhausted: u64,
    /// Connections ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Bytes of file content received.
    pub bytes_in: u64,
    /// Bytes of file content sent.
    pub bytes_out: u64,
    /// Requests answered well, by kind: see [`Counters::REQUESTS`].
    pub requests: [u64; Self::REQUESTS.len()],
    /// Requests refused or failed: all of `failures` together.
    pub failed: u64,
    /// Requests refused or failed, by kind and by failure in the order of [`Failure::ALL`]. Those
    /// that were refused before their kind was known have a row of their own after the others.
    pub failures: [[u64; Failure::ALL.len()]; Self::REQUESTS.len() + 1],
    /// How long uploads waited from the last byte of their body to their acknowledgement.
    pub commit_time: Histogram,
    /// Transfer slots there are.
    pub slots: u64,
    /// Transfer slots in use.
    pub slots_used: u64,
    /// Connections waiting for a slot.
    pub slots_waiting: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// How long they took, not counting the wait for events.
    pub turn_time: Histogram,
    /// Longest turn, not counting the wait for events, in microseconds.
    pub turn_longest_us: u64,
    /// Times a connection was put back in the queue because its budget was spent.
    pub yields: u64,
    /// Events for connections that had already gone.
    pub stale_events: u64,
    /// What waits at the store, as of the end of a turn.
    pub queued: Queued,
    /// Whether the store accepts changes.
    pub health: Health,
    /// Lines of the log that were dropped because its sink was slow.
    pub log_dropped: u64,
}

impl Counters {
    /// What each element of [`Counters::requests`] counts.
    pub const REQUESTS: [&'static str; 12] =
        ["delete", "get", "list", "mkdir", "put", "rename", "stat", "append", "copy", "space", "time", "webdav"];

    const PUT: usize = 4;

    /// The kind of requests that were refused before it was known.
    pub const UNKNOWN: &'static str = "unknown";

    /// What each place of [`Counters::states`] counts: the states of a session, in their order.
    pub const STATES: [&'static str; 19] = [
        "proxy-header",
        "handshake",
        "await-header",
        "verifying",
        "await-slot",
        "opening",
        "executing",
        "copying",
        "receiving-body",
        "finishing-writes",
        "committing",
        "saving",
        "sending-body",
        "sending-part",
        "pausing",
        "discarding",
        "sending-reply",
        "lingering",
        "done",
    ];

    /// Room in [`Counters::dialects`].
    pub const DIALECTS_MAX: usize = 16;

    /// The open connections by the name of their state.
    pub fn open_by_state(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::STATES.into_iter().zip(self.states)
    }

    /// The open connections by the name of what they speak.
    pub fn open_by_dialect(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.dialect_names.iter().copied().zip(self.dialects)
    }

    /// The connections that have ended by the name of the reason.
    pub fn closed_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseReason::ALL.into_iter().map(CloseReason::word).zip(self.closed)
    }

    /// The requests that were answered well by the name of their kind.
    pub fn answered_by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::REQUESTS.into_iter().zip(self.requests)
    }

    /// The requests that were refused or failed, by the name of their kind and of the failure.
    pub fn failed_by_kind(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let kinds = Self::REQUESTS.into_iter().chain([Self::UNKNOWN]).zip(self.failures);
        kinds.flat_map(|(kind, failures)| {
            Failure::ALL.into_iter().zip(failures).map(move |(failure, count)| (kind, failure.word(), count))
        })
    }

    /// True if the gauges agree with each other. They must at any moment, not only between turns: a request for
    /// them is answered in the middle of one.
    pub fn agree(&self) -> bool {
        self.states.iter().sum::<u64>() == self.open
            && self.dialects.iter().sum::<u64>() == self.open
            && self.slots_used <= self.slots
    }

    /// Requests answered well that brought no content.
    pub fn requests_but_uploads(&self) -> u64 {
        const { assert!(matches!(Self::REQUESTS[Self::PUT].as_bytes(), b"put")) };
        self.requests.iter().sum::<u64>() - self.requests[Self::PUT]
    }

    /// Counts a connection that is closed at a listener for proxies.
    pub fn count_unidentified(&mut self, peer: SocketAddr, cause: impl Display) {
        self.unidentified += 1;
        let refused = self.unidentified;
        if refused.is_power_of_two() {
            log::warn!("{peer}: closed at a listener for proxies: {cause} ({refused} so far)");
        }
    }

    /// Counts one request of the kind named by `Command::word` that was answered well.
    pub fn count_request(&mut self, word: &str) {
        if let Some(place) = Self::place(word) {
            self.requests[place] += 1;
        }
    }

    /// The methods that only WebDAV has are one kind.
    fn place(word: &str) -> Option<usize> {
        let kind = if matches!(word, "lock" | "propfind" | "proppatch" | "unlock") { "webdav" } else { word };
        Self::REQUESTS.iter().position(|known| *known == kind)
    }

    /// Counts one request, of whatever kind, that was refused or failed.
    pub fn count_failure(&mut self, word: &str, failure: Failure) {
        let kind = Self::place(word).unwrap_or(Self::REQUESTS.len());
        if let Some(count) = self.failures[kind].get_mut(failure.number()) {
            *count += 1;
        }
        self.failed += 1;
    }
}
