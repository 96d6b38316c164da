//! The most memory a server can use, known before the first connection.
#![warn(missing_docs)]

use std::fmt;
use std::mem::size_of;

use crate::access::Rules;
use crate::access::file::{FILE_LEN_MAX, QUOTAS_MAX, RULES_BYTES_MAX};
use crate::config::{Fixed, SHORT_REPLY_BYTES};
use crate::dav_locks::LOCKS_BYTES_MAX;
use crate::dialect::http;
use crate::os::net::tls::{KEY_WORKER_SESSIONS_MAX, SESSION_BYTES_MAX};
use crate::reactor::{CONNECTION_LIST_BYTES, OPERATOR_CONNECTIONS, Reactor};
use crate::server::platform::OsPlatform;
use crate::session::{RequestDataPool, Session};

/// Entries of the tables by client address, for each connection.
const ADDRESS_BYTES: usize = 128;
/// Entries of timers, for each connection.
const TIMERS_BYTES: usize = 256;

const _: () = assert!(Reactor::<OsPlatform>::idle_bytes() <= 256, "the bound of an idle plain connection");

/// Saturates.
fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

/// The most memory a server can use, known before the first connection. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// One connection: its entry, what it needs while something is under way, its longest head, its waiting
    /// replies, its timers.
    pub connection: usize,
    /// Connections at most.
    pub connections: usize,
    /// One transfer slot: its chunks.
    pub slot: usize,
    /// Slots.
    pub slots: usize,
    /// What exists once: the shared read buffer, those of the disk workers, kept files, the
    /// connections that are turned away, and those of the operator.
    pub shared: usize,
}

impl Ceiling {
    /// The arithmetic. `gathers`: a dialect holds whole messages.
    pub fn of(limits: &Fixed, gathers: bool) -> Self {
        let message = if gathers { limits.message_bytes_max } else { 0 };
        // Replies may overshoot their bound by the one that crossed it; a timer entry may be left behind for each of the
        // few deadlines a connection has.
        let replies = [limits.reply_bytes_max, limits.reply_bytes_max.max(SHORT_REPLY_BYTES)];
        let slot = limits.chunk_bytes.saturating_mul(limits.chunks_per_slot);
        let entry = Reactor::<OsPlatform>::entry_bytes()
            + Reactor::<OsPlatform>::pacing_bytes()
            + Session::WORK_BYTES
            + TIMERS_BYTES
            + ADDRESS_BYTES;
        let connection = sum([entry, limits.head_len_max, replies[0], replies[1]]);
        Self {
            connection,
            connections: limits.connections_max,
            // A message and the content found in it may be held at once.
            slot: slot
                .max(message.saturating_mul(2))
                .max(http::REPLY_BYTES_MIN)
                .max(http::FORM_BYTES_MAX.saturating_add(limits.head_len_max))
                .saturating_add(size_of::<usize>()),
            slots: limits.slots,
            shared: sum([
                connection.saturating_mul(limits.turned_away_max.saturating_add(OPERATOR_CONNECTIONS)),
                OPERATOR_CONNECTIONS * CONNECTION_LIST_BYTES,
                Reactor::<OsPlatform>::guesses_bytes(limits),
                Reactor::<OsPlatform>::groups_bytes(limits),
                limits.read_buffer_bytes,
                limits.held_bytes_max(),
                RequestDataPool::BYTES_MAX,
                if cfg!(feature = "webdav") { LOCKS_BYTES_MAX } else { 0 },
                if limits.cache_files_max > 0 { limits.cache_bytes_max } else { 0 },
                limits.io_workers.saturating_mul(crate::store::WORKER_BUFFER_BYTES),
                // A listing on its way from the store to the reply that is made of it.
                slot.saturating_mul(3),
                limits.list_kept_bytes_max,
                crate::store::MOUNTS_BYTES,
                // Each mount that is written to keeps uploads of its own.
                crate::store::MOUNTS_WRITTEN_MAX
                    .saturating_mul(limits.uploads_kept_max)
                    .saturating_mul(crate::store::UPLOAD_ENTRY_BYTES),
                // A recursive listing has a window of the present directory, and as much of those above; and as many
                // listings as there are workers for them hold a window between two steps.
                limits.list_workers().saturating_mul(3).saturating_mul(limits.list_window_bytes),
                limits.join_workers().saturating_mul(crate::store::WORKER_BUFFER_BYTES),
                crate::store::TREES_COPIED_MAX * crate::store::WALK_BYTES,
                // A crowd that the bounds do not permit counts where it is opened.
                sum([limits.uploads_kept_max, limits.slots, limits.uploads_without_slot_max])
                    .saturating_mul(crate::store::UPLOAD_ENTRY_BYTES),
            ]),
        }
    }

    /// Each connection may be encrypted, those that are turned away included. The worker for private keys may have
    /// sessions of connections that were closed meanwhile.
    pub(super) fn add_tls(&mut self, limits: &Fixed) {
        let others = sum([limits.turned_away_max, OPERATOR_CONNECTIONS, KEY_WORKER_SESSIONS_MAX]);
        self.connection = self.connection.saturating_add(SESSION_BYTES_MAX);
        self.shared = self.shared.saturating_add(SESSION_BYTES_MAX.saturating_mul(others));
    }

    /// Adds what the rules of an access file take.
    pub(super) fn add_access(&mut self, rules: &Rules, limits: &Fixed) {
        let waiting = limits.password_checks_max.saturating_mul(limits.head_len_max);
        let uploads = sum([limits.uploads_kept_max, limits.slots, limits.uploads_without_slot_max]);
        // The prefixes twice, and what all uploads hold; a count beside one that was given up and ends.
        let quotas = [
            2 * FILE_LEN_MAX + QUOTAS_MAX * 512,
            uploads.saturating_mul(crate::store::QUOTA_HOLDING_BYTES),
            2 * crate::store::WALK_BYTES,
        ];
        // Three rules: those in effect, those that replace them, and those before, which the loop is not to free.
        self.shared = sum([self.shared, 3 * RULES_BYTES_MAX, rules.passwords().memory(), waiting, sum(quotas)]);
    }

    /// All of it; `usize::MAX` stands for all that is more.
    pub const fn total(&self) -> usize {
        let connections = self.connection.saturating_mul(self.connections);
        connections.saturating_add(self.slot.saturating_mul(self.slots)).saturating_add(self.shared)
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: usize = 1 << 20;
        write!(
            f,
            "at most {} MiB: {} connections of {} bytes, {} slots of {} bytes, {} KiB shared",
            self.total().div_ceil(MIB),
            self.connections,
            self.connection,
            self.slots,
            self.slot,
            self.shared / 1024
        )
    }
}
