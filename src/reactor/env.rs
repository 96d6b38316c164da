//! What every call of a session is lent: time, bounds, chunks, counters, reports.

use std::net::SocketAddr;

use crate::buffer::ChunkPool;
use crate::config::{Access, Limits};
use crate::counters::Counters;
use crate::dialect::Phase;
use crate::reactor::clock::Clock;
use crate::reactor::logging::{LogQuota, log_reports};
use crate::session::{Cx, Disk, Report};

pub(super) struct Env {
    pub clock: Clock,
    pub limits: Limits,
    pub access: Access,
    pub phase: Phase,
    pub pool: ChunkPool,
    pub counters: Counters,
    /// Requests that ended and are not logged yet, all of one connection.
    pub reports: Vec<Report>,
    /// As the store was at the start of the turn.
    pub disk: Disk,
}

impl Env {
    /// Everything a session is lent for one call.
    pub(super) const fn cx(&mut self) -> Cx<'_> {
        Cx {
            now: self.clock.now,
            wall_clock_s: self.clock.wall_clock_s,
            limits: &self.limits,
            access: &self.access,
            phase: self.phase,
            pool: &mut self.pool,
            counters: &mut self.counters,
            reports: &mut self.reports,
            disk: self.disk,
        }
    }

    /// Logs what the sessions have reported since the last call; all of it is about `peer`.
    pub(super) fn log_reports(&mut self, peer: SocketAddr, quota: &mut LogQuota) {
        // Most steps end no request.
        if !self.reports.is_empty() {
            log_reports(&mut self.reports, peer, quota, self.limits.log_lines_per_s_max, &self.clock);
        }
    }
}
