//! Logging that cannot stop the loop: what is logged waits in bounded queues for a thread of its
//! own, which writes it to standard error. When that is slow, blocked, full or gone, lines are
//! dropped and counted, and the count is logged as soon as one can be written again. Never ends the
//! process. Where requests are logged to a file, they have a queue and a thread of their own.
//!
//! Lines about the server itself are few; on a terminal `simple_logger`
//! writes them. Lines about transfers may be a hundred thousand a second: they are made in one
//! buffer and written together a moment later, so that a request costs neither a wake-up nor a
//! system call.

#[cfg_attr(not(feature = "access-log"), path = "no_file.rs")]
mod file;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::config::LogFormat;
use crate::os::stderr;
use crate::time::Utc;
use file::LogFile;

/// Lines about the server that may wait for the sink.
const LINES_MAX: usize = 4096;
/// Bytes of lines about transfers that may wait for the sink: ten times what a full core makes in
/// [`BATCH_TIME`].
const TRANSFERS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory for those that is kept when they are written.
const TRANSFERS_BYTES_KEPT: usize = 64 * 1024;
/// That of the lines about requests.
const LEVEL_OF_FILE: LevelFilter = LevelFilter::Info;
/// How long a line about a transfer may wait for others.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// The end of the process waits this long for what was logged to be written: the reader may have stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Targets that begin so are about transfers.
const TRANSFERS: &str = LogFormat::TEXT_TARGET;
/// Nothing is put in front of these lines.
const BARE: &str = LogFormat::BARE_TARGET;

/// The most that is logged to standard error.
static LEVEL: AtomicUsize = AtomicUsize::new(LevelFilter::Off as usize);
/// The queue of standard error.
static STDERR: OnceLock<Arc<Queue>> = OnceLock::new();
/// The queue of the file for requests.
static FILE: OnceLock<Arc<Queue>> = OnceLock::new();

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
    /// The file has been renamed: what follows belongs into another one.
    reopens: bool,
}

struct Queue {
    inside: Mutex<Inside>,
    filled: Condvar,
    /// Lines of this queue that were dropped since the start.
    dropped: AtomicU64,
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
        Self { inside: Mutex::new(inside), filled: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    fn drop_lines(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
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

    /// Waits until what was logged before has been written, or for [`FLUSH_TIMEOUT`].
    fn flush(&self) {
        let (done, written) = sync_channel(1);
        {
            let mut inside = self.lock();
            if inside.sink.is_some() {
                return;
            }
            inside.waiting.flushes.push(done);
            self.raise_urgency(&mut inside.waiting, Urgency::Now);
        }
        let _ = written.recv_timeout(FLUSH_TIMEOUT);
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
    /// That of the file for requests.
    file: Option<Arc<Queue>>,
    /// Where lines as text, and the notes between them, belong into the file too.
    has_text_in_file: bool,
}

/// Lines of these levels are logged, from now on.
pub fn set_max_level(level: LevelFilter) {
    LEVEL.store(level as usize, Ordering::Relaxed);
    log::set_max_level(if has_file() { level.max(LEVEL_OF_FILE) } else { level });
}

/// True for a line that is logged to standard error.
fn is_for_people(level: Level) -> bool {
    level as usize <= LEVEL.load(Ordering::Relaxed)
}

fn is_about_transfers(target: &str) -> bool {
    target == BARE || target.starts_with(TRANSFERS)
}

impl QueueLogger {
    /// The queue of the file, for what belongs there.
    fn file(&self, target: &str) -> Option<&Queue> {
        let file = self.file.as_deref()?;
        (target == BARE || (self.has_text_in_file && target.starts_with(TRANSFERS))).then_some(file)
    }
}

impl Log for QueueLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let (level, target) = (metadata.level(), metadata.target());
        // What a file was named for is written however little else is.
        let in_file = self.file.is_some() && level <= LEVEL_OF_FILE && is_about_transfers(target);
        (in_file || is_for_people(level)) && target.starts_with("filewharf")
    }

    fn log(&self, record: &Record<'_>) {
        let file = self.file(record.target());
        if !self.enabled(record.metadata()) || (file.is_none() && !is_for_people(record.level())) {
            return;
        }
        let queue = file.unwrap_or(&self.queue);
        let mut inside = queue.lock();
        let Inside { waiting, stamp, sink } = &mut *inside;
        if let Some(sink) = sink {
            let lost = sink.line_at_once(record.level(), record.target(), &record.args().to_string());
            return queue.drop_lines(lost);
        }
        if is_about_transfers(record.target()) {
            if waiting.transfers.len() >= TRANSFERS_BYTES_MAX {
                return queue.drop_lines(1);
            }
            let (level, target) = (record.level(), record.target());
            let _ = if target == BARE {
                writeln!(waiting.transfers, "{}", record.args())
            } else {
                let (second, ms) = stamp.now();
                writeln!(waiting.transfers, "{second}.{ms:03}Z {level:<5} [{target}] {}", record.args())
            };
            queue.raise_urgency(waiting, Urgency::Soon);
        } else if waiting.lines.len() < LINES_MAX {
            let (target, text) = (record.target().to_owned(), record.args().to_string());
            waiting.lines.push(Line { after: waiting.transfers.len(), level: record.level(), target, text });
            queue.raise_urgency(waiting, Urgency::Now);
        } else {
            queue.drop_lines(1);
        }
    }

    fn flush(&self) {
        for queue in self.file.iter().chain([&self.queue]) {
            queue.flush();
        }
    }
}

/// Installs the logger of the process, without a thread: until [`Writer::start`], lines are written by the thread that
/// logs them. Errors if there is one already. [`set_max_level`] changes the level.
pub fn install(level: LevelFilter, requests: Option<Requests>) -> io::Result<Writer> {
    let queue = Arc::new(Queue::new(Sink::new()));
    let has_text_in_file = requests.as_ref().is_some_and(|requests| requests.is_text);
    let file = requests.map(|requests| Arc::new(Queue::new(Sink::File(requests.file))));
    if let Some(file) = &file {
        let _ = FILE.set(Arc::clone(file));
    }
    let _ = STDERR.set(Arc::clone(&queue));
    let writer = Writer(file.iter().chain([&queue]).map(Arc::clone).collect());
    log::set_boxed_logger(Box::new(QueueLogger { queue, file, has_text_in_file })).map_err(io::Error::other)?;
    set_max_level(level);
    Ok(writer)
}

/// Where requests are logged, apart from all else.
pub struct Requests {
    file: LogFile,
    is_text: bool,
}

impl Requests {
    /// Opens the file. `is_text`: the lines are not in the format of another program.
    pub fn open(path: &Path, is_text: bool) -> io::Result<Self> {
        Ok(Self { file: LogFile::open(path)?, is_text })
    }
}

/// True if requests are logged to a file.
pub fn has_file() -> bool {
    FILE.get().is_some()
}

/// That file was renamed, or will not be used any more: another one with its name is opened, soon.
pub fn reopen() {
    if let Some(queue) = FILE.get() {
        let mut inside = queue.lock();
        inside.waiting.reopens = true;
        queue.raise_urgency(&mut inside.waiting, Urgency::Now);
    }
}

/// The threads that write what is logged, before they are started.
pub struct Writer(Vec<Arc<Queue>>);

impl Writer {
    /// From now on no caller waits for a line to be written. Errors if no thread can be made.
    pub fn start(self) -> io::Result<()> {
        for queue in self.0 {
            let Some(sink) = queue.lock().sink.take() else { continue };
            thread::Builder::new().name("log".into()).spawn(move || write_lines(&queue, sink))?;
        }
        Ok(())
    }
}

/// Lines that were dropped since the start.
pub fn dropped() -> u64 {
    [&STDERR, &FILE].iter().filter_map(|queue| queue.get()).map(|queue| queue.dropped.load(Ordering::Relaxed)).sum()
}

/// Writes lines at once or not at all, and not as a message of the log: the thread that writes those may block for ever
/// on a reader, and holds the lock of `eprintln!`.
pub fn write_now(lines: &str) {
    let stderr = io::stderr();
    if stderr::takes_bytes() {
        let _ = rustix::io::write(&stderr, format!("{lines}\n").as_bytes());
    }
}

fn write_lines(queue: &Queue, mut sink: Sink) {
    let (mut spare, mut reported) = (Waiting::default(), 0);
    loop {
        let mut taken = queue.take(spare);
        let (mut written, mut lost) = (0, 0);
        for Line { after, level, target, text } in taken.lines.drain(..) {
            lost += sink.write(&taken.transfers[written..after]);
            written = after;
            lost += sink.line(level, &target, &text);
        }
        lost += sink.write(&taken.transfers[written..]);
        queue.drop_lines(lost);
        let dropped = queue.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            sink.report_dropped(dropped - reported);
            reported = dropped;
        }
        if std::mem::take(&mut taken.reopens) {
            sink.reopen();
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

/// Where lines end up. `simple_logger` ends the process when a line cannot be
/// written (it uses `eprintln!`), so it only ever writes to an open terminal: a file may be
/// on a full disk, and the reader of a pipe may be closed.
enum Sink {
    Terminal(SimpleLogger),
    Other,
    /// Of requests only.
    File(LogFile),
}

/// All of these return the number of lines that could not be written.
impl Sink {
    fn new() -> Self {
        let all = LevelFilter::Trace;
        if io::stderr().is_terminal() { Self::Terminal(SimpleLogger::new().with_level(all)) } else { Self::Other }
    }

    /// The same where nothing may be waited for: a line that is not taken at once is dropped.
    fn line_at_once(&mut self, level: Level, target: &str, text: &str) -> u64 {
        if stderr::takes_bytes() { self.line(level, target, text) } else { 1 }
    }

    fn line(&mut self, level: Level, target: &str, text: &str) -> u64 {
        let mut stamp = Stamp::default();
        let (second, ms) = stamp.now();
        match self {
            Self::Terminal(logger) if stderr::is_open() => {
                // The time in front is ours, as in every other line: that of simple_logger needs a
                // crate for dates.
                let _ = io::stderr().write_all(format!("{second}.{ms:03}Z ").as_bytes());
                logger.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
                0
            }
            Self::Terminal(_) => 1,
            Self::Other | Self::File(_) => self.write(&format!("{second}.{ms:03}Z {level:<5} [{target}] {text}\n")),
        }
    }

    /// Writes whole lines.
    fn write(&mut self, lines: &str) -> u64 {
        let written = match self {
            Self::Terminal(_) | Self::Other => io::stderr().write_all(lines.as_bytes()),
            Self::File(file) => file.write(lines.as_bytes()),
        };
        if written.is_ok() { 0 } else { lines.bytes().filter(|byte| *byte == b'\n').count() as u64 }
    }

    /// In the log of the server, which is not this one where that has only requests.
    fn report_dropped(&mut self, count: u64) {
        match self {
            Self::Terminal(_) | Self::Other => {
                self.line(Level::Warn, "filewharf", &format!("{count} log lines were dropped"));
            }
            Self::File(file) => log::warn!("{count} log lines were dropped, which {file} did not take"),
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file) = self {
            file.reopen();
        }
    }
}
