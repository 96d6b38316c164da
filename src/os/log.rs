//! Logging that cannot stop the loop: lines go through a bounded queue to a thread of their own.
//! When standard error is slow, blocked, full or gone, lines are dropped and counted, and the count
//! is logged as soon as it takes one again. Never ends the process: `eprintln!`, and loggers made of
//! it, panic when a line cannot be written.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Lines that may wait for the sink.
const QUEUE_MAX: usize = 4096;

static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Line {
    level: Level,
    target: String,
    text: String,
}

enum Message {
    Line(Line),
    /// Answered when everything before it has been written.
    Flush(SyncSender<()>),
}

struct QueueLogger {
    level: LevelFilter,
    queue: SyncSender<Message>,
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level && metadata.target().starts_with("filewharf")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = Line { level: record.level(), target: record.target().to_owned(), text: record.args().to_string() };
        if self.queue.try_send(Message::Line(line)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = written.recv();
        }
    }
}

/// Installs the logger of the process. Errors if there is one already, or no thread can be made.
pub fn install(level: LevelFilter) -> io::Result<()> {
    let (queue, lines) = sync_channel(QUEUE_MAX);
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines, &StandardError))?;
    log::set_boxed_logger(Box::new(QueueLogger { level, queue })).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

fn write_lines(lines: &Receiver<Message>, sink: &dyn Log) {
    for message in lines {
        match message {
            Message::Line(Line { level, target, text }) => write_line(sink, level, &target, &text),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            write_line(sink, Level::Warn, "filewharf", &format!("{dropped} log lines were dropped"));
        }
    }
}

fn write_line(sink: &dyn Log, level: Level, target: &str, text: &str) {
    sink.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
}

/// Where lines end up.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        #[allow(clippy::disallowed_methods, reason = "the log tells the time of the wall clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (level, target) = (record.level(), record.target());
        let line = format!("{} {level:<5} [{target}] {}\n", timestamp(now), record.args());
        if io::stderr().write_all(line.as_bytes()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// UTC, as RFC 3339 has it.
fn timestamp(since_1970: Duration) -> String {
    let (seconds, ms) = (since_1970.as_secs(), since_1970.subsec_millis());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days counted from 1 March of the year 0, so that a leap day is the last of its year; 400
    // years have 146,097 days, and the months from March on begin at (153 m + 2) / 5.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + turn;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_everybody_does() {
        for (ms, told) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (1_735_689_600_001, "2025-01-01T00:00:00.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_millis(ms)), told);
        }
    }
}
