//! The log of requests: one line for each that ended, and a bounded number of lines a second about what failed:
//! a refused line may be much shorter than the log line about it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::reactor::env::Env;
use crate::session::Report;

/// How many lines about failures one connection has caused in one second of the server's uptime. Eight bytes, as
/// each idle connection has one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogQuota {
    second: u32,
    used: u16,
    suppressed: u16,
}

impl LogQuota {
    /// True if one more line may be logged.
    fn admits(&mut self, lines_max: u32, peer: SocketAddr, uptime: Duration) -> bool {
        // The quota of the last second ends with the connection after 136 years of uptime.
        let second = u32::try_from(uptime.as_secs()).unwrap_or(u32::MAX);
        if self.second != second {
            self.close(peer);
            *self = Self { second, used: 0, suppressed: 0 };
        }
        let admits = u32::from(self.used) < lines_max;
        let count = if admits { &mut self.used } else { &mut self.suppressed };
        *count = count.saturating_add(1);
        admits
    }

    /// Logs how many lines were left out.
    pub(super) fn close(&self, peer: SocketAddr) {
        if self.suppressed > 0 {
            log::info!(target: Report::TARGET, "note peer={peer} {} more lines were not logged", self.suppressed);
        }
    }
}

impl Env {
    /// Logs what the sessions have reported since the last call; all of it is about `peer`. The sink must not
    /// block: see `os::log`.
    pub(super) fn log_reports(&mut self, peer: SocketAddr, quota: &mut LogQuota) {
        if self.reports.is_empty() {
            return; // most steps end no request
        }
        let (uptime, lines_max) = (self.clock.uptime, self.limits.live.log_lines_per_s_max);
        for report in self.reports.drain(..) {
            match report {
                Report::Note(note) => {
                    if quota.admits(lines_max, peer, uptime) {
                        log::info!(target: Report::TARGET, "note peer={peer} {}", note.escape_debug());
                    }
                }
                Report::Request(ended) => {
                    if ended.result.is_ok() || quota.admits(lines_max, peer, uptime) {
                        self.request_lines.log(&ended, peer, &self.clock);
                    }
                }
            }
        }
    }
}
