//! What the reactor lends a session for one call.

use std::time::Instant;

use crate::access::{Access, ClientCertificate, Guesses};
use crate::admission::Admission;
use crate::buffer::ChunkPool;
use crate::config::Limits;
use crate::counters::Counters;
use crate::dav_locks::DavLocks;
use crate::dialect::Phase;
use crate::groups::Groups;
use crate::session::report::Report;
use crate::session::request_data::RequestDataPool;
use crate::transfer::Meter;

/// What the reactor lends a session for one call.
pub struct Cx<'a> {
    pub now: Instant,
    /// Wall-clock time in seconds since 1970.
    pub wall_clock_s: u64,
    pub limits: &'a Limits,
    pub access: &'a Access,
    /// The certificate of the client, where one may prove a name.
    pub certificate: Option<&'a ClientCertificate>,
    pub phase: Phase,
    pub pool: &'a mut ChunkPool,
    pub meter: &'a mut Meter,
    pub counters: &'a mut Counters,
    /// Requests that ended, for the log.
    pub reports: &'a mut Vec<Report>,
    pub disk: Disk,
    pub slots: &'a mut Admission,
    /// Memory that other sessions gave back.
    pub spare: &'a mut RequestDataPool,
    pub guesses: &'a mut Guesses,
    pub groups: &'a mut Groups,
    pub dav_locks: &'a DavLocks,
    /// True while connections wait for the limits of their client: others of the same client must not overtake them.
    pub is_any_paced: bool,
}

/// What a session must know of the disk in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub pace: DiskPace,
    /// See `Store::flush_window`.
    pub flush_window: Option<u64>,
}

/// How content of uploads gets to the disk in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskPace {
    /// Content is written from the loop itself.
    KeepsUp,
    /// Content is held in chunks and written by the disk workers.
    Lags,
}
