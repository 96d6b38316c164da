//! Logging that cannot stop the loop: what is logged waits in bounded queues for a thread of its
//! own, which writes it to standard error. When that is slow, blocked, full or gone, lines are
//! dropped and counted, and the count is logged as soon as one can be written again. Never ends the
//! process.
//!
//! Lines about the server itself are few; on a terminal `simple_logger`
//! writes them. Lines about transfers may be a hundred thousand a second: they are made in one
//! buffer and written together a moment later, so that a request costs neither a wake-up nor a
//! system call.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::os::stderr;
use crate::time::Utc;

/// Lines about the server that may wait for the sink.
const LINES_MAX: usize = 4096;
/// Bytes of lines about transfers that may wait for the sink: ten times what a full core makes in
/// [`BATCH_TIME`].
const TRANSFERS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory for those that is kept when they are written.
const TRANSFERS_BYTES_KEPT: usize = 64 * 1024;
/// How long a line about a transfer may wait for others.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// The end of the process waits this long for what was logged to be written: the reader may have stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Targets that begin so are about transfers.
const TRANSFERS: &str = "filewharf::transfer";

/// Since the start.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A line about the server.
struct Line {
    /// Follows this many bytes of lines about transfers.
    after: usize,
    level: Level,
    target: String,
    text: String,
}

/// When the sink is to be woken.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Urgency {
    /// Nothing waits.
    #[default]
    None,
    /// After [`BATCH_TIME`].
    Soon,
    Now,
}

/// What waits for the sink.
#[derive(Default)]
struct Waiting {
    urgency: Urgency,
    transfers: String,
    lines: Vec<Line>,
    /// Answered when everything before has been written.
    flushes: Vec<SyncSender<()>>,
}

struct Queue {
    inside: Mutex<Inside>,
    filled: Condvar,
}

struct Inside {
    waiting: Waiting,
    stamp: Stamp,
    /// Until there is the thread that writes: each caller does so itself.
    sink: Option<Sink>,
}

impl Queue {
    fn new(sink: Sink) -> Self {
        let inside = Inside { waiting: Waiting::default(), stamp: Stamp::default(), sink: Some(sink) };
        Self { inside: Mutex::new(inside), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the sink, unless that was done.
    fn raise_urgency(&self, waiting: &mut Waiting, urgency: Urgency) {
        if waiting.urgency == Urgency::None || (waiting.urgency == Urgency::Soon && urgency == Urgency::Now) {
            waiting.urgency = urgency;
            self.filled.notify_one();
        }
    }

    /// Waits until there is something to write, and takes it. `empty` is what the queue continues with.
    fn take(&self, empty: Waiting) -> Waiting {
        let mut inside = self.lock();
        inside = self
            .filled
            .wait_while(inside, |inside| inside.waiting.urgency == Urgency::None)
            .unwrap_or_else(PoisonError::into_inner);
        inside = self
            .filled
            .wait_timeout_while(inside, BATCH_TIME, |inside| inside.waiting.urgency == Urgency::Soon)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        std::mem::replace(&mut inside.waiting, empty)
    }
}

/// The time at the front of a line, as text up to the second: made again once per second.
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
            let at = Utc::new(i64::try_from(self.second).unwrap_or(i64::MAX));
            let _ = write!(self.text, "{at}"); // writing to a String cannot fail
        }
        (&self.text, since.subsec_millis())
    }
}

struct QueueLogger {
    queue: Arc<Queue>,
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("filewharf")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut inside = self.queue.lock();
        let Inside { waiting, stamp, sink } = &mut *inside;
        if let Some(sink) = sink {
            return sink.line_at_once(record.level(), record.target(), &record.args().to_string());
        }
        if record.target().starts_with(TRANSFERS) {
            if waiting.transfers.len() >= TRANSFERS_BYTES_MAX {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                return;
            }
            let (second, ms) = stamp.now();
            let (level, target) = (record.level(), record.target());
            let _ = writeln!(waiting.transfers, "{second}.{ms:03}Z {level:<5} [{target}] {}", record.args());
            self.queue.raise_urgency(waiting, Urgency::Soon);
        } else if waiting.lines.len() < LINES_MAX {
            let (target, text) = (record.target().to_owned(), record.args().to_string());
            waiting.lines.push(Line { after: waiting.transfers.len(), level: record.level(), target, text });
            self.queue.raise_urgency(waiting, Urgency::Now);
        } else {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        {
            let mut inside = self.queue.lock();
            if inside.sink.is_some() {
                return;
            }
            inside.waiting.flushes.push(done);
            self.queue.raise_urgency(&mut inside.waiting, Urgency::Now);
        }
        let _ = written.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Installs the logger of the process, without a thread: until [`Writer::start`], lines are written by the thread that
/// logs them. Errors if there is one already. [`log::set_max_level`] changes the level.
pub fn install(level: LevelFilter) -> io::Result<Writer> {
    let queue = Arc::new(Queue::new(Sink::new()));
    let writer = Writer(Arc::clone(&queue));
    log::set_boxed_logger(Box::new(QueueLogger { queue })).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(writer)
}

/// The thread that writes what is logged, before it is started.
pub struct Writer(Arc<Queue>);

impl Writer {
    /// From now on no caller waits for a line to be written. Errors if no thread can be made.
    pub fn start(self) -> io::Result<()> {
        let mut inside = self.0.lock();
        let Some(sink) = inside.sink.take() else { return Ok(()) };
        let taken = Arc::clone(&self.0);
        thread::Builder::new().name("log".into()).spawn(move || write_lines(&taken, &sink)).map(drop)
    }
}

/// Lines that were dropped since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Writes lines at once or not at all, and not as a message of the log: the thread that writes those may block for ever
/// on a reader, and holds the lock of `eprintln!`.
pub fn write_now(lines: &str) {
    let stderr = io::stderr();
    if stderr::takes_bytes() {
        let _ = rustix::io::write(&stderr, format!("{lines}\n").as_bytes());
    }
}

fn write_lines(queue: &Queue, sink: &Sink) {
    let (mut spare, mut told) = (Waiting::default(), 0);
    loop {
        let mut taken = queue.take(spare);
        let mut written = 0;
        for Line { after, level, target, text } in taken.lines.drain(..) {
            write(&taken.transfers[written..after]);
            written = after;
            sink.line(level, &target, &text);
        }
        write(&taken.transfers[written..]);
        let dropped = dropped();
        if dropped > told {
            sink.line(Level::Warn, "filewharf", &format!("{} log lines were dropped", dropped - told));
            told = dropped;
        }
        for done in taken.flushes.drain(..) {
            let _ = done.send(());
        }
        taken.urgency = Urgency::None;
        taken.transfers.clear();
        taken.transfers.shrink_to(TRANSFERS_BYTES_KEPT);
        taken.lines.shrink_to(1);
        spare = taken;
    }
}

/// Where lines about the server end up. `simple_logger` ends the process when a line cannot be
/// written (it uses `eprintln!`), so it only ever writes to an open terminal: a file may be
/// on a full disk, and the reader of a pipe may be closed.
enum Sink {
    Terminal(SimpleLogger),
    Other,
}

impl Sink {
    fn new() -> Self {
        let all = LevelFilter::Trace;
        if io::stderr().is_terminal() { Self::Terminal(SimpleLogger::new().with_level(all)) } else { Self::Other }
    }

    /// The same where nothing may be waited for: a line that is not taken at once is dropped.
    fn line_at_once(&self, level: Level, target: &str, text: &str) {
        if stderr::takes_bytes() {
            self.line(level, target, text);
        } else {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn line(&self, level: Level, target: &str, text: &str) {
        let mut stamp = Stamp::default();
        let (second, ms) = stamp.now();
        match self {
            Self::Terminal(logger) if stderr::is_open() => {
                // The time in front is ours, as in every other line: that of simple_logger needs a
                // crate for dates.
                write(&format!("{second}.{ms:03}Z "));
                logger.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
            }
            Self::Terminal(_) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            Self::Other => write(&format!("{second}.{ms:03}Z {level:<5} [{target}] {text}\n")),
        }
    }
}

/// Writes whole lines. What cannot be written is counted.
fn write(lines: &str) {
    if io::stderr().write_all(lines.as_bytes()).is_err() {
        let lost = lines.bytes().filter(|byte| *byte == b'\n').count();
        DROPPED.fetch_add(lost as u64, Ordering::Relaxed);
    }
}
