//! Logging that cannot stop the loop: what is logged waits in bounded queues for a thread of its
//! own, which writes it to standard error. When the sink is slow or blocked, lines are dropped and
//! counted, and the count is logged as soon as the sink moves again.
//!
//! Lines about the server itself are few and go through `simple_logger` at once. Lines about
//! transfers may be a hundred thousand a second: they are made in one buffer and written together a
//! moment later, so that a request costs neither a wake-up nor a system call.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use time::OffsetDateTime;

/// Lines about the server that may wait for the sink.
const LINES_MAX: usize = 4096;
/// Bytes of lines about transfers that may wait for the sink: ten times what a full core makes in
/// [`TOGETHER`].
const TRANSFERS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory for those that is kept when they are written.
const TRANSFERS_BYTES_KEPT: usize = 64 * 1024;
/// How long a line about a transfer may wait for others.
const TOGETHER: Duration = Duration::from_millis(20);
/// Targets that begin so are about transfers.
const TRANSFERS: &str = "filewharf::transfer";

/// Since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A line about the server.
struct Line {
    /// It stands behind so many bytes of lines about transfers.
    after: usize,
    level: Level,
    target: String,
    text: String,
}

/// When does the sink want to be woken?
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Hurry {
    /// Nothing waits.
    #[default]
    None,
    /// A moment after it was told.
    Soon,
    Now,
}

/// What waits for the sink.
#[derive(Default)]
struct Waiting {
    hurry: Hurry,
    transfers: String,
    lines: Vec<Line>,
    /// Answered when everything before has been written.
    flushes: Vec<SyncSender<()>>,
}

#[derive(Default)]
struct Queue {
    inside: Mutex<(Waiting, Stamp)>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (Waiting, Stamp)> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the sink, unless it knows.
    fn hurry(&self, waiting: &mut Waiting, hurry: Hurry) {
        if waiting.hurry == Hurry::None || (waiting.hurry == Hurry::Soon && hurry == Hurry::Now) {
            waiting.hurry = hurry;
            self.filled.notify_one();
        }
    }

    /// Waits until there is something to write, and takes it. `empty` is what the queue goes on with.
    fn take(&self, empty: Waiting) -> Waiting {
        let mut inside = self.lock();
        inside = self
            .filled
            .wait_while(inside, |(waiting, _)| waiting.hurry == Hurry::None)
            .unwrap_or_else(PoisonError::into_inner);
        inside = self
            .filled
            .wait_timeout_while(inside, TOGETHER, |(waiting, _)| waiting.hurry == Hurry::Soon)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        std::mem::replace(&mut inside.0, empty)
    }
}

/// The time at the front of a line, as text up to the second: made anew once per second.
#[derive(Default)]
struct Stamp {
    second: u64,
    text: String,
}

impl Stamp {
    /// The present second, and the milliseconds of it.
    fn now(&mut self) -> (&str, u32) {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text.clear();
            let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(self.second);
            let _ = write!(
                self.text,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            ); // writing to a String cannot fail
        }
        (&self.text, since.subsec_millis())
    }
}

struct QueueLogger {
    level: LevelFilter,
    queue: Arc<Queue>,
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level && metadata.target().starts_with("filewharf")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut inside = self.queue.lock();
        let (waiting, stamp) = &mut *inside;
        if record.target().starts_with(TRANSFERS) {
            if waiting.transfers.len() >= TRANSFERS_BYTES_MAX {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let (second, ms) = stamp.now();
            let (level, target) = (record.level(), record.target());
            let _ = writeln!(waiting.transfers, "{second}.{ms:03}Z {level:<5} [{target}] {}", record.args());
            self.queue.hurry(waiting, Hurry::Soon);
        } else if waiting.lines.len() < LINES_MAX {
            let (target, text) = (record.target().to_owned(), record.args().to_string());
            waiting.lines.push(Line { after: waiting.transfers.len(), level: record.level(), target, text });
            self.queue.hurry(waiting, Hurry::Now);
        } else {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        {
            let mut inside = self.queue.lock();
            inside.0.flushes.push(done);
            self.queue.hurry(&mut inside.0, Hurry::Now);
        }
        let _ = written.recv();
    }
}

/// Installs the logger of the process. Errors if there is one already, or no thread can be made.
pub fn install(level: LevelFilter) -> io::Result<()> {
    let queue = Arc::new(Queue::default());
    let sink = SimpleLogger::new().with_level(level).with_utc_timestamps();
    let taken = Arc::clone(&queue);
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&taken, &sink))?;
    log::set_boxed_logger(Box::new(QueueLogger { level, queue })).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Lines that were dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

fn write_lines(queue: &Queue, sink: &dyn Log) {
    let (mut spare, mut told) = (Waiting::default(), 0);
    loop {
        let mut taken = queue.take(spare);
        let mut written = 0;
        for Line { after, level, target, text } in taken.lines.drain(..) {
            write_transfers(&taken.transfers[written..after]);
            written = after;
            write_line(sink, level, &target, &text);
        }
        write_transfers(&taken.transfers[written..]);
        let dropped = dropped();
        if dropped > told {
            write_line(sink, Level::Warn, "filewharf", &format!("{} log lines were dropped", dropped - told));
            told = dropped;
        }
        for done in taken.flushes.drain(..) {
            let _ = done.send(());
        }
        taken.hurry = Hurry::None;
        taken.transfers.clear();
        taken.transfers.shrink_to(TRANSFERS_BYTES_KEPT);
        taken.lines.shrink_to(1);
        spare = taken;
    }
}

/// Whoever reads the log has gone if this fails, and nobody is left to be told.
fn write_transfers(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn write_line(sink: &dyn Log, level: Level, target: &str, text: &str) {
    sink.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
}
