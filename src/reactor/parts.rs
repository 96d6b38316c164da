//! The reactor and the parts it consists of. Each part is a file of its own and knows none of the others above it.

use std::time::Instant;

use crate::access::Access;
use crate::access::Guesses;
use crate::admission::Admission;
use crate::buffer::ChunkPool;
use crate::config::{Fixed, Limits, LogFormat};
use crate::counters::{Counters, Health};
use crate::dialect::{Kind, Phase};
use crate::groups::Groups;
use crate::ids::ConnId;
use crate::platform::{Platform, Stream};
use crate::reactor::bulk_queue::BulkQueue;
use crate::reactor::clock::Clock;
use crate::reactor::connections::{self, Connections};
use crate::reactor::crowd::Crowd;
use crate::reactor::driver::{Buffers, Driver};
use crate::reactor::env::Env;
use crate::reactor::key_queue::KeyQueue;
use crate::reactor::listeners::{ListenerSetup, Listeners};
use crate::reactor::lock_check::LockCheck;
use crate::reactor::name_locks::NameLocks;
use crate::reactor::pacing::Pacing;
use crate::reactor::request_lines::RequestLines;
use crate::reactor::scheduling::Scheduler;
use crate::reactor::timers::Timers;
use crate::reactor::upload_locks::UploadLocks;
use crate::session::{Disk, DiskPace, RequestDataPool, Session};
use crate::transfer::Meter;

/// What a reactor is built from.
#[derive(Debug)]
pub struct Setup {
    pub limits: Limits,
    pub access: Access,
    /// In the order of their ids.
    pub listeners: Vec<ListenerSetup>,
}

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Requests that were cut off.
    pub cut_off: usize,
    pub health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Serving,
    /// Another process has the listeners; what was accepted is served until then.
    HandingOver {
        until: Instant,
    },
    /// Requests are refused; connections are accepted until the first time, transfers run until the second.
    Draining {
        listening_until: Instant,
        until: Instant,
    },
    Stopped {
        /// See [`Ended::cut_off`].
        cut_off: usize,
    },
}

/// The event loop and everything it owns.
pub struct Reactor<P: Platform> {
    pub(super) platform: P,
    pub(super) env: Env,
    pub(super) connections: Connections<P::Stream>,
    pub(super) listeners: Listeners,
    pub(super) key_queue: KeyQueue,
    pub(super) scheduler: Scheduler,
    pub(super) timers: Timers,
    /// The holders of slots are not checked before: see `contention`.
    pub(super) contention_check_after: Instant,
    pub(super) locks: NameLocks,
    pub(super) uploads: UploadLocks,
    pub(super) buffers: Buffers,
    pub(super) lifecycle: Lifecycle,
    pub(super) crowd: Crowd,
}

impl<P: Platform> Reactor<P> {
    /// Makes no call of the platform but for the time.
    pub fn new(platform: P, setup: Setup) -> Self {
        let Setup { limits, access, listeners } = setup;
        let clock = Clock::new(platform.now(), platform.wall_clock_ms());
        let mut counters =
            Counters { started_s: clock.wall_clock_s, dialect_names: &Kind::NAMES, ..Counters::default() };
        Self {
            platform,
            connections: Connections::new(&limits.fixed),
            listeners: Listeners::new(listeners),
            key_queue: KeyQueue::new(),
            scheduler: Scheduler::new(&limits.fixed),
            timers: Timers::new(clock.now),
            contention_check_after: clock.now,
            locks: NameLocks::default(),
            uploads: UploadLocks::default(),
            buffers: Buffers {
                scratch: vec![0; limits.fixed.read_buffer_bytes + limits.fixed.held_bytes_max()].into_boxed_slice(),
                events: Vec::with_capacity(1024),
            },
            lifecycle: Lifecycle::Serving,
            crowd: Crowd::default(),
            env: Env {
                admission: Admission::new(&limits.fixed, &mut counters),
                groups: Groups::new(&limits, clock.now),
                pacing: Pacing::default(),
                spare: RequestDataPool::default(),
                guesses: Guesses::default(),
                lock_check: LockCheck::default(),
                request_lines: RequestLines::default(),
                clock,
                access,
                certificate: None,
                phase: Phase::Serving,
                pool: ChunkPool::new(limits.fixed.chunk_bytes),
                meter: Meter::default(),
                counters,
                reports: Vec::new(),
                disk: Disk { pace: DiskPace::KeepsUp, flush_window: None },
                limits,
            },
        }
    }

    /// The lines of requests have this format from now on.
    pub const fn set_log_format(&mut self, format: LogFormat) {
        self.env.request_lines.format = format;
    }

    /// A connection together with the parts that working on it needs; `None` once it is gone.
    pub(super) fn driver(&mut self, id: ConnId) -> Option<Driver<'_, P>> {
        let connection = self.connections.get_mut(id)?;
        debug_assert!(self.env.reports.is_empty(), "they would be logged as those of this connection");
        if self.env.access.takes_certificates() {
            self.env.certificate = connection.stream.as_ref().and_then(Stream::peer_certificate);
        }
        Some(Driver {
            id,
            connection,
            platform: &mut self.platform,
            env: &mut self.env,
            scheduler: &mut self.scheduler,
            locks: &mut self.locks,
            uploads: &mut self.uploads,
            buffers: &mut self.buffers,
        })
    }

    /// Most bytes of the table of addresses that show wrong secrets, for the accounting of memory.
    pub const fn guesses_bytes(limits: &Fixed) -> usize {
        Guesses::bytes_max(limits)
    }

    /// Most bytes of what is kept of client groups, for the accounting of memory.
    pub const fn groups_bytes(limits: &Fixed) -> usize {
        limits.client_groups_max.saturating_mul(Groups::ENTRY_BYTES + BulkQueue::ACCOUNT_BYTES)
    }

    /// Most bytes of one connection that waits for the limits of its client, for the accounting of memory.
    pub const fn pacing_bytes() -> usize {
        Pacing::WAIT_BYTES
    }

    /// Bytes of one entry of the slab, for the accounting of memory.
    pub const fn entry_bytes() -> usize {
        connections::entry_bytes::<P::Stream>()
    }

    /// Bytes of an idle connection: its entries in the slab and in the timers.
    pub const fn idle_bytes() -> usize {
        Self::entry_bytes() + Timers::ENTRY_BYTES
    }

    pub const fn counters(&self) -> &Counters {
        &self.env.counters
    }

    /// Every session, for the simulator's invariant checks.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.connections.iter().map(|(_, connection)| &connection.session)
    }

    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// The platform, for tests that change it between turns.
    pub const fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }
}
