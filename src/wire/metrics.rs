//! Writes the counters in Prometheus' text format, version 0.0.4, for whoever collects them.
//!
//! Every name begins with `filewharf_`; times are in seconds and sizes in bytes, as its naming
//! rules want. What can only grow ends in `_total`. Of the failures of requests only those are
//! written that have happened; everything else is always there. Reads nothing but the counters.

use std::fmt::Write as _;
use std::time::Duration;

use crate::counters::{Counters, Health, Histogram};
use crate::error::{CloseReason, Failure};

/// What the text is, for a head that names it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Longest text there can be, in bytes: every number at its largest, every failure seen.
pub const LEN_MAX: usize = 24 * 1024;

/// Appends all of `counters` to `out`.
pub fn write(counters: &Counters, out: &mut Vec<u8>) {
    let mut text = Text(String::with_capacity(8 * 1024));
    text.server(counters);
    text.connections(counters);
    text.requests(counters);
    text.store(counters);
    text.turns(counters);
    out.extend_from_slice(text.0.as_bytes());
}

/// How a family of samples behaves.
#[derive(Clone, Copy, Debug)]
enum Type {
    Counter,
    Gauge,
    Histogram,
}

struct Text(String);

impl Text {
    fn server(&mut self, c: &Counters) {
        self.one("start_time_seconds", Type::Gauge, "When the server started, since 1970.", c.started_s);
        self.begin("uptime_seconds", Type::Gauge, "Time since the start.");
        self.sample("uptime_seconds", &[], Seconds(Duration::from_millis(c.uptime_ms)));
        self.one("log_lines_dropped_total", Type::Counter, "Log lines dropped: the sink was slow.", c.log_dropped);
    }

    fn connections(&mut self, c: &Counters) {
        let states = Counters::STATES.into_iter().zip(c.states);
        self.each("connections", Type::Gauge, "Connections open, by what they do.", "state", states);
        let mut dialects: Vec<_> = c.dialect_names.iter().copied().zip(c.dialects).collect();
        dialects.sort_unstable();
        let help = "Connections open, by what they speak.";
        self.each("dialect_connections", Type::Gauge, help, "dialect", dialects);
        self.one("connections_accepted_total", Type::Counter, "Connections accepted.", c.accepted);
        let help = "Connections turned away: there were too many.";
        self.one("connections_turned_away_total", Type::Counter, help, c.turned_away);
        let help = "Times accepting rested for want of descriptors or memory.";
        self.one("accept_exhausted_total", Type::Counter, help, c.accept_exhausted);
        let reasons = CloseReason::ALL.into_iter().map(CloseReason::word).zip(c.closed);
        self.each("connections_closed_total", Type::Counter, "Connections ended, by reason.", "reason", reasons);
    }

    fn requests(&mut self, c: &Counters) {
        self.begin("requests_total", Type::Counter, "Requests, by kind and outcome.");
        let kinds = Counters::REQUESTS.into_iter().zip(c.requests.map(Some)).chain([("unknown", None)]);
        for ((kind, answered), failures) in kinds.zip(c.failures) {
            if let Some(answered) = answered {
                self.sample("requests_total", &[("kind", kind), ("outcome", "ok")], answered);
            }
            for (failure, count) in Failure::ALL.into_iter().zip(failures).filter(|(_, count)| *count > 0) {
                self.sample("requests_total", &[("kind", kind), ("outcome", failure.word())], count);
            }
        }
        self.one("received_bytes_total", Type::Counter, "Bytes of file content received.", c.bytes_in);
        self.one("sent_bytes_total", Type::Counter, "Bytes of file content sent.", c.bytes_out);
        let help = "From the last byte of an upload to its acknowledgement.";
        self.histogram("commit_seconds", help, &c.commit_time);
        self.one("slots", Type::Gauge, "Transfer slots there are.", c.slots);
        self.one("slots_used", Type::Gauge, "Transfer slots in use.", c.slots_used);
        self.one("slots_waiting", Type::Gauge, "Connections in line for a transfer slot.", c.slots_waiting);
    }

    fn store(&mut self, c: &Counters) {
        let lanes = [("io", c.queued.io), ("sync", c.queued.sync)];
        let help = "Jobs that no disk worker has taken yet, by lane.";
        self.each("disk_queue_jobs", Type::Gauge, help, "lane", lanes);
        let help = "Store operations under way, waiting ones included.";
        self.one("store_operations", Type::Gauge, help, c.queued.in_flight);
        let states = Health::ALL.map(|health| (health.word(), u64::from(health == c.health)));
        let help = "1 for the state the store is in. Changes are refused while it is read-only or degraded.";
        self.each("store_health", Type::Gauge, help, "state", states);
    }

    fn turns(&mut self, c: &Counters) {
        let help = "Turns of the loop, not counting the wait for events.";
        self.histogram("turn_seconds", help, &c.turn_time);
        self.begin("turn_longest_seconds", Type::Gauge, "Longest turn since the start.");
        self.sample("turn_longest_seconds", &[], Seconds(Duration::from_micros(c.turn_longest_us)));
        let help = "Times a connection had used up its part of a turn and was put back in the queue.";
        self.one("yields_total", Type::Counter, help, c.yields);
        let help = "Events for connections that had already gone.";
        self.one("stale_events_total", Type::Counter, help, c.stale_events);
    }

    /// A family with one sample.
    fn one(&mut self, name: &str, kind: Type, help: &str, value: u64) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with a sample for each value of one label.
    fn each<'a>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.begin(name, kind, help);
        for (of, value) in samples {
            self.sample(name, &[(label, of)], value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, Type::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.within() {
            self.sample(&bucket, &[("le", &Seconds(bound).to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], Seconds(histogram.sum()));
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }

    fn begin(&mut self, name: &str, kind: Type, help: &str) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        debug_assert!(!help.contains(['\\', '\n']), "help is not escaped");
        let _ = writeln!(self.0, "# HELP filewharf_{name} {help}\n# TYPE filewharf_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.0, "filewharf_{name}");
        for (place, (label, of)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if place == 0 { '{' } else { ',' }, Escaped(of));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A length of time in seconds, exact, without needless zeros.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The value of a label. None that is written today needs it; one day one may.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            letter => f.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests;
