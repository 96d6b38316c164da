//! The log of requests: one line for each that ended, and a bounded number of lines a second about what failed:
//! a refused line may be much shorter than the log line about it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::access::{Caller, Identity};
use crate::reactor::env::Env;
use crate::session::Report;
use crate::wire::http::forwarded::UNKNOWN;

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

/// The client of a request: the peer, or the one that the peer named, and what it has proved.
struct Shown {
    peer: SocketAddr,
    client: Option<IpAddr>,
    caller: Caller,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            None => self.peer.fmt(f),
            Some(UNKNOWN) => write!(f, "unknown via={}", self.peer),
            Some(client) => write!(f, "{client} via={}", self.peer),
        }?;
        match self.caller.identity() {
            None => Ok(()),
            Some(Identity::Secret) => f.write_str(" secret=full"),
            Some(Identity::ReadSecret) => f.write_str(" secret=read"),
            Some(Identity::Named { name, .. }) => write!(f, " user={name}"),
            Some(Identity::Link { link, .. }) => write!(f, " link={}", link.key_id),
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
        let (now, uptime, lines_max) = (self.clock.now, self.clock.uptime, self.limits.live.log_lines_per_s_max);
        for report in self.reports.drain(..) {
            let (word, key, caller, bytes, began, client, result) = match report {
                Report::Note(note) => {
                    if quota.admits(lines_max, peer, uptime) {
                        log::info!(target: Report::TARGET, "note peer={peer} {}", note.escape_debug());
                    }
                    continue;
                }
                Report::Request { word, key, caller, bytes, began, client, result } => {
                    (word, key, caller, bytes, began, client, result)
                }
            };
            let ms = now.saturating_duration_since(began).as_millis();
            let key = key.as_str().escape_debug();
            let peer = Shown { peer, client, caller };
            match result {
                Ok(()) => log::info!(
                    target: Report::TARGET,
                    "{word} peer={peer} key=\"/{key}\" bytes={bytes} result=ok ms={ms}"
                ),
                Err(trouble) if quota.admits(lines_max, peer.peer, uptime) => log::info!(
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
