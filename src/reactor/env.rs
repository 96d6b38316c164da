//! What every call of a session is lent: time, bounds, chunks, counters, reports.

use crate::access::{Access, ClientCertificate, Guesses};
use crate::admission::Admission;
use crate::buffer::ChunkPool;
use crate::config::Limits;
use crate::counters::Counters;
use crate::dialect::Phase;
use crate::groups::Groups;
use crate::reactor::clock::Clock;
use crate::reactor::lock_check::LockCheck;
use crate::reactor::pacing::Pacing;
use crate::reactor::request_lines::RequestLines;
use crate::session::{Cx, Disk, Report, RequestDataPool};
use crate::transfer::Meter;

pub(super) struct Env {
    pub clock: Clock,
    pub limits: Limits,
    pub access: Access,
    /// Of the connection that is worked on; see [`Cx::certificate`].
    pub certificate: Option<ClientCertificate>,
    pub phase: Phase,
    pub pool: ChunkPool,
    pub meter: Meter,
    pub counters: Counters,
    /// Requests that ended and are not logged yet, all of one connection.
    pub reports: Vec<Report>,
    /// As the store was at the start of the turn.
    pub disk: Disk,
    pub admission: Admission,
    /// Memory of requests that sessions gave back.
    pub spare: RequestDataPool,
    pub guesses: Guesses,
    pub groups: Groups,
    pub pacing: Pacing,
    pub lock_check: LockCheck,
    pub request_lines: RequestLines,
}

impl Env {
    /// Everything a session is lent for one call.
    pub(super) fn cx(&mut self) -> Cx<'_> {
        Cx {
            now: self.clock.now,
            wall_clock_s: self.clock.wall_clock_s,
            limits: &self.limits,
            access: &self.access,
            certificate: self.certificate.as_ref(),
            phase: self.phase,
            pool: &mut self.pool,
            meter: &mut self.meter,
            counters: &mut self.counters,
            reports: &mut self.reports,
            disk: self.disk,
            slots: &mut self.admission,
            spare: &mut self.spare,
            guesses: &mut self.guesses,
            groups: &mut self.groups,
            dav_locks: &self.lock_check.locks,
            is_any_paced: !self.pacing.is_empty(),
        }
    }
}
