//! What a person sees: progress on a terminal, errors as one line each, a count at the end.
//!
//! Everything goes to standard error; progress only if that is a terminal. Results, which go to
//! standard output, are not this file's business.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{ClientError, ErrorKind, Progress, printable};

/// Known length: a bar. `wide_msg` is cut to what the line has room for.
const BAR: &str = "{wide_msg} {bytes}/{total_bytes} {bar:20} {bytes_per_sec} {eta} left";
/// Nothing is known yet, or what an earlier run left is checked.
const WAIT: &str = "{wide_msg}";
/// Length not known: numbers only.
const COUNT: &str = "{wide_msg} {bytes} {bytes_per_sec} {elapsed}";

/// Writes one line to standard error. If that is closed, nobody is left to tell.
pub(super) fn print_line(words: &str) {
    let _ = writeln!(io::stderr().lock(), "filewharf: {}", printable(words));
}

/// The state of what is shown, shared by all workers.
#[derive(Debug)]
pub(super) struct Reporter {
    bar: ProgressBar,
    quiet: bool,
    /// What the bar shows once a length is known; empty until a command moves content.
    template: OnceLock<&'static str>,
    /// When content began to move.
    began: OnceLock<Instant>,
    /// Bytes that were moved, and those that were here before.
    moved: AtomicU64,
    resumed: AtomicU64,
    expected: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

impl Reporter {
    pub(super) fn new(quiet: bool) -> Self {
        let visible = !quiet && io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            bar: ProgressBar::with_draw_target(Some(0), target),
            quiet,
            template: OnceLock::new(),
            began: OnceLock::new(),
            moved: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// Begins to show progress; commands that move no content do not call this.
    pub(super) fn show(&self, length_is_known: bool) {
        let _ = self.template.set(if length_is_known { BAR } else { COUNT });
        let _ = self.began.set(Instant::now());
        self.style(WAIT);
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn style(&self, template: &str) {
        let style = ProgressStyle::with_template(template).expect("the template is a constant, and well formed");
        self.bar.set_style(style.progress_chars("=> "));
    }

    /// Numbers mean something from now on.
    fn begin_numbers(&self) {
        if self.bar.position() == 0
            && let Some(template) = self.template.get()
        {
            self.style(template);
        }
    }

    /// One more thing is to be done; `bytes` of it if they are known. Watch it by the result.
    pub(super) fn expect(&self, bytes: u64) {
        self.expected.fetch_add(1, Ordering::Relaxed);
        self.bar.inc_length(bytes);
        self.show_count();
    }

    /// A thing is about to move: follows it. `known` are the bytes it was expected with.
    pub(super) fn start(&self, name: &str, known: u64) -> TransferProgress<'_> {
        self.name(name);
        TransferProgress { reporter: self, name: name.to_owned(), total: known, at: 0, base: 0, is_new: true }
    }

    fn name(&self, name: &str) {
        if self.expected.load(Ordering::Relaxed) <= 1 {
            self.bar.set_message(printable(name));
        }
    }

    /// One thing is done.
    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.show_count();
    }

    /// One thing failed. That nobody reads standard output any more is no news for anybody.
    pub(super) fn failed(&self, error: &ClientError) {
        if let ErrorKind::Local { source, path, .. } = &error.kind
            && source.kind() == io::ErrorKind::BrokenPipe
            && path.as_os_str() == "-"
        {
            self.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failed_text(error);
        }
    }

    /// One thing failed, in other words.
    pub(super) fn failed_text(&self, words: impl Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.bar.suspend(|| print_line(&words.to_string()));
    }

    /// One thing was not tried, because of what was told before.
    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Something to know that is no failure.
    pub(super) fn warn(&self, words: impl Display) {
        if !self.quiet {
            self.bar.suspend(|| print_line(&words.to_string()));
        }
    }

    /// Clears the line and counts what failed. Is everything done?
    pub(super) fn finish(&self) -> bool {
        let is_visible = !self.bar.is_hidden();
        self.bar.finish_and_clear();
        let count = |what: &AtomicU64| what.load(Ordering::Relaxed);
        let (done, failed, skipped) = (count(&self.done), count(&self.failed), count(&self.skipped));
        if is_visible
            && done > 0
            && failed + skipped == 0
            && let Some(began) = self.began.get()
        {
            print_line(&summary(done, count(&self.moved), count(&self.resumed), began.elapsed()));
        }
        if failed + skipped > 0 && done + failed + skipped > 1 {
            let untried = if skipped > 0 { format!(", {skipped} not tried") } else { String::new() };
            print_line(&format!("{failed} failed{untried}, {done} done"));
        }
        failed + skipped == 0
    }

    fn show_count(&self) {
        let (done, expected) = (self.done.load(Ordering::Relaxed), self.expected.load(Ordering::Relaxed));
        if expected > 1 {
            self.bar.set_message(format!("{done}/{expected} files"));
        }
    }
}

/// As in "3 files, 12.00 MiB in 2.1 s (5.71 MiB/s)".
fn summary(files: u64, moved: u64, resumed: u64, time: Duration) -> String {
    let word = if files == 1 { "file" } else { "files" };
    let rate = (moved as f64 / time.as_secs_f64().max(0.001)) as u64;
    let here = if resumed > 0 { format!(", {} of them were here", BinaryBytes(resumed)) } else { String::new() };
    let (size, rate) = (BinaryBytes(moved + resumed), BinaryBytes(rate));
    format!("{files} {word}, {size} in {:.1} s ({rate}/s){here}", time.as_secs_f64())
}

/// Follows one transfer and adds it to the whole.
#[derive(Debug)]
pub(super) struct TransferProgress<'a> {
    reporter: &'a Reporter,
    name: String,
    total: u64,
    at: u64,
    /// Of these, what was here before.
    base: u64,
    is_new: bool,
}

impl Progress for TransferProgress<'_> {
    fn checking(&mut self, bytes: u64) {
        if self.reporter.expected.load(Ordering::Relaxed) <= 1 {
            let name = printable(&self.name);
            self.reporter.bar.set_message(format!("{name}: checking the {} that are here", BinaryBytes(bytes)));
        }
    }

    fn total(&mut self, bytes: u64) {
        self.reporter.begin_numbers();
        let bar = &self.reporter.bar;
        if bytes >= self.total {
            bar.inc_length(bytes - self.total);
        } else {
            bar.dec_length(self.total - bytes);
        }
        self.total = bytes;
    }

    fn at(&mut self, bytes: u64) {
        let bar = &self.reporter.bar;
        if self.is_new {
            self.reporter.begin_numbers();
            self.reporter.name(&self.name);
            self.reporter.resumed.fetch_add(bytes, Ordering::Relaxed);
            self.base = bytes;
        } else {
            // A download that starts over goes back behind what was here.
            let base = self.base.min(bytes);
            self.reporter.resumed.fetch_sub(self.base - base, Ordering::Relaxed);
            let (before, now) = (self.at - self.base, bytes - base);
            self.reporter.moved.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
            self.base = base;
        }
        if bytes >= self.at {
            bar.inc(bytes - self.at);
            // What an earlier run had fetched says nothing about the rate of this one.
            if self.is_new && bytes > 0 {
                bar.reset_eta();
            }
        } else {
            bar.dec(self.at - bytes);
        }
        self.at = bytes;
        self.is_new = false;
    }

    fn retrying(&mut self, kind: &ErrorKind, wait: Duration) {
        if !self.reporter.bar.is_hidden() {
            self.reporter.warn(format!("{}: {kind} (next try in {:.1} s)", self.name, wait.as_secs_f64()));
        }
    }
}
