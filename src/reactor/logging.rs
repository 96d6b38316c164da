//! What is logged of requests: one line for each that ended, and a bounded number of lines a second about
//! what failed. A line that is refused may be much shorter than the line that says so.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::ids::ConnId;
use crate::platform::Platform;
use crate::reactor::{Reactor, lookup};
use crate::session::Report;

/// How many lines about failures one connection may still cause in the present second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogQuota {
    until: Option<Instant>,
    used: u32,
    suppressed: u32,
}

impl LogQuota {
    /// True if one more line may be logged.
    fn admits(&mut self, lines_max: u32, peer: SocketAddr, now: Instant) -> bool {
        if self.until.is_none_or(|until| now >= until) {
            self.close(peer);
            *self = Self { until: Some(now + Duration::from_secs(1)), used: 0, suppressed: 0 };
        }
        let admits = self.used < lines_max;
        *if admits { &mut self.used } else { &mut self.suppressed } += 1;
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
        let Some(connection) = lookup(&mut self.connections, id) else { return self.reports.clear() };
        let (peer, quota, lines_max) = (connection.peer, &mut connection.log_quota, self.limits.log_lines_per_s_max);
        for report in self.reports.drain(..) {
            let (word, key, bytes, began, result) = match report {
                Report::Note(note) => {
                    if quota.admits(lines_max, peer, self.now) {
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
                Err(trouble) if quota.admits(lines_max, peer, self.now) => log::info!(
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
