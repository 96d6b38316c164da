//! Logging that cannot stop the loop: lines go through a bounded queue to a thread of their own,
//! which writes them with `simple_logger`. When the sink is slow or blocked, lines are dropped and
//! counted, and the count is logged as soon as the sink moves again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// Lines that may wait for the sink.
const QUEUE_MAX: usize = 4096;

/// Since the start.
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
    let sink = SimpleLogger::new().with_level(level).with_utc_timestamps();
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&lines, &sink))?;
    log::set_boxed_logger(Box::new(QueueLogger { level, queue })).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Lines that were dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn write_lines(lines: &Receiver<Message>, sink: &dyn Log) {
    let mut told = 0;
    for message in lines {
        match message {
            Message::Line(Line { level, target, text }) => write_line(sink, level, &target, &text),
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
        let dropped = dropped();
        if dropped > told {
            write_line(sink, Level::Warn, "filewharf", &format!("{} log lines were dropped", dropped - told));
            told = dropped;
        }
    }
}

fn write_line(sink: &dyn Log, level: Level, target: &str, text: &str) {
    sink.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
}
