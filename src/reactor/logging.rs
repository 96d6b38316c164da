//! What is logged of requests: one line for each that ended, and a bounded number of lines a second about
//! what failed. A line that is refused may be much shorter than the line that says so.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::ConnId;
use crate::platform::Platform;
use crate::reactor::{Reactor, lookup};
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
        // After 136 years the last of them does not end.
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

impl<P: Platform> Reactor<P> {
    /// Called while all reports are of one connection. The sink must not block: see `os::log`.
    pub(super) fn log_reports(&mut self, id: ConnId) {
        if self.reports.is_empty() {
            return; // most steps end no request
        }
        let uptime = self.now.saturating_duration_since(self.started);
        let Some(connection) = lookup(&mut self.connections, id) else { return self.reports.clear() };
        let (peer, quota, lines_max) = (connection.peer, &mut connection.log_quota, self.limits.log_lines_per_s_max);
        for report in self.reports.drain(..) {
            let (word, key, bytes, began, result) = match report {
                Report::Note(note) => {
                    if quota.admits(lines_max, peer, uptime) {
                        log::info!(target: Report::TARGET, "note peer={peer} {}", note.escape_debug());
                    }
                    continue;
                }
                Report::Request { word, key, bytes, began, result } => (word, key, bytes, began, result),
            };
            let ms = self.now.saturating_duration_since(began).as_millis();
            let key = key.as_str().escape_debug();
            match result {
                Ok(()) => log::info!(
                    target: Report::TARGET,
                    "{word} peer={peer} key=\"/{key}\" bytes={bytes} result=ok ms={ms}"
                ),
                Err(trouble) if quota.admits(lines_max, peer, uptime) => log::info!(
                    target: Report::TARGET,
                    "{word} peer={peer} key=\"/{key}\" bytes={bytes} result=failed told=\"{}\" cause=\"{}\" ms={ms}",
                    trouble.failure,
                    trouble.cause.escape_debug()
                ),
                Err(_) => {}
            }
        }
    }
}
