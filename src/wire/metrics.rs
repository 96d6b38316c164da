//! Writes the counters in Prometheus' text format, version 0.0.4.
//!
//! Every name begins with `filewharf_`; times are in seconds and sizes in bytes, as its naming
//! rules want. Counters end in `_total`; all other numbers are gauges. Failures of requests are written once they
//! have happened, everything else always.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::counters::{Counters, Health, Histogram};

/// The media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Pieces of the text, which may be written at different moments: only the counts of requests are in more than one, those
/// of a kind in each.
pub const PIECES: usize = Counters::REQUESTS.len() + 3;
/// Longest piece, in bytes: every number at its largest, every failure seen.
pub const PIECE_LEN_MAX: usize = 5 * 1024;

/// Appends one piece of what `counters` say to `out`.
pub fn write(counters: &Counters, piece: usize, out: &mut String) {
    let mut text = Text(out);
    match piece.checked_sub(1).map(|kind| counters.answered_by_kind().nth(kind)) {
        None => {
            text.server(counters);
            text.connections(counters);
        }
        Some(Some((kind, count))) => {
            if piece == 1 {
                text.begin("requests_total", "Requests, by kind and outcome.");
            }
            text.sample("requests_total", &[("kind", kind), ("outcome", "ok")], count);
            text.failed(counters, kind);
        }
        Some(None) if piece + 1 < PIECES => {
            text.failed(counters, Counters::UNKNOWN);
            text.transfers(counters);
        }
        Some(None) => {
            text.store(counters);
            text.turns(counters);
        }
    }
}

struct Text<'a>(&'a mut String);

impl Text<'_> {
    fn server(&mut self, c: &Counters) {
        self.one("start_time_seconds", "When the server started, since 1970.", c.started_s);
        self.one("uptime_seconds", "Time since the start.", Seconds(Duration::from_millis(c.uptime_ms)));
        self.one("log_lines_dropped_total", "Log lines dropped: the sink was slow.", c.log_dropped);
    }

    fn connections(&mut self, c: &Counters) {
        self.each("connections", "Connections open, by what they do.", "state", c.open_by_state());
        let help = "Connections open, by what they speak.";
        self.each("dialect_connections", help, "dialect", c.open_by_dialect());
        self.one("connections_accepted_total", "Connections accepted.", c.accepted);
        self.one("connections_turned_away_total", "Connections turned away: there were too many.", c.turned_away);
        let help = "Connections closed at listeners for proxies: not from a proxy, or without a valid header.";
        self.one("connections_unidentified_total", help, c.unidentified);
        let help = "Connections closed because the TLS handshake failed.";
        self.one("tls_handshakes_failed_total", help, c.handshakes_failed);
        let help = "Times accepting rested for want of descriptors or memory.";
        self.one("accept_exhausted_total", help, c.accept_exhausted);
        self.each("connections_closed_total", "Connections ended, by reason.", "reason", c.closed_by_reason());
    }

    fn failed(&mut self, c: &Counters, kind: &str) {
        for (_, failure, count) in c.failed_by_kind().filter(|(of, _, count)| *of == kind && *count > 0) {
            self.sample("requests_total", &[("kind", kind), ("outcome", failure)], count);
        }
    }

    fn transfers(&mut self, c: &Counters) {
        self.one("received_bytes_total", "Bytes of file content received.", c.bytes_in);
        self.one("sent_bytes_total", "Bytes of file content sent.", c.bytes_out);
        let help = "From the last byte of an upload to its acknowledgement.";
        self.histogram("commit_seconds", help, &c.commit_time);
        self.one("slots", "Transfer slots there are.", c.slots);
        self.one("slots_used", "Transfer slots in use.", c.slots_used);
        self.one("slots_waiting", "Connections in line for a transfer slot.", c.slots_waiting);
    }

    fn store(&mut self, c: &Counters) {
        let lanes = [("io", c.queued.io), ("sync", c.queued.sync)];
        self.each("disk_queue_jobs", "Jobs that no disk worker has taken yet, by lane.", "lane", lanes);
        self.one("store_operations", "Store operations under way, waiting ones included.", c.queued.in_flight);
        let states = Health::ALL.map(|health| (health.word(), u64::from(health == c.health)));
        let help = "1 for the state the store is in. Changes are refused while it is read-only or degraded.";
        self.each("store_health", help, "state", states);
    }

    fn turns(&mut self, c: &Counters) {
        self.histogram("turn_seconds", "Turns of the loop, not counting the wait for events.", &c.turn_time);
        let longest = Seconds(Duration::from_micros(c.turn_longest_us));
        self.one("turn_longest_seconds", "Longest turn since the start.", longest);
        let help = "Times a connection had used up its part of a turn and was put back in the queue.";
        self.one("yields_total", help, c.yields);
        self.one("stale_events_total", "Events for connections that had already gone.", c.stale_events);
    }

    /// A metric with one sample.
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, help);
        self.sample(name, &[], value);
    }

    /// A metric with a sample for each value of one label.
    fn each<'a>(&mut self, name: &str, help: &str, label: &str, samples: impl IntoIterator<Item = (&'a str, u64)>) {
        self.begin(name, help);
        for (of, value) in samples {
            self.sample(name, &[(label, of)], value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.describe(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.within() {
            self.sample(&bucket, &[("le", &Seconds(bound).to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], Seconds(histogram.sum()));
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }

    fn begin(&mut self, name: &str, help: &str) {
        self.describe(name, help, if name.ends_with("_total") { "counter" } else { "gauge" });
    }

    fn describe(&mut self, name: &str, help: &str, kind: &str) {
        debug_assert!(!help.contains(['\\', '\n']), "help is not escaped");
        let _ = writeln!(self.0, "# HELP filewharf_{name} {help}\n# TYPE filewharf_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "filewharf_{name}");
        for (index, (label, of)) in labels.iter().enumerate() {
            let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{of}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// In seconds, exact, without trailing zeros.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests;
