//! Messages on standard error: progress on a terminal, errors as one line each, a summary at the end.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{ClientError, ErrorKind, OnRetry, Progress, Waiting, printable};

/// The length is known: a bar. `wide_msg` is cut to what fits into the line.
const BAR: &str = "{wide_msg} {bytes}/{total_bytes} {bar:20} {bytes_per_sec} {eta} left";
/// The length is not known: numbers only.
const COUNT: &str = "{wide_msg} {bytes} {bytes_per_sec} {elapsed}";
/// Nothing is known yet.
const WAIT: &str = "{wide_msg}";

/// Shortest wait for another try that is worth a line.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// A wait that lasts is named again after this time.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Files,
    /// Files that are left out the next time.
    Sync,
    FromStdin,
    ToStdout,
}

impl Transfer {
    /// What the bar shows once a length may be known.
    fn template(self) -> &'static str {
        match self {
            Self::Files | Self::Sync | Self::ToStdout => BAR,
            Self::FromStdin => COUNT,
        }
    }
}

/// Writes one line to standard error, if that is open.
pub(super) fn print_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "filewharf: {}", printable(text));
}

/// Reports what all workers of a run do.
#[derive(Debug)]
pub(super) struct Reporter {
    bar: ProgressBar,
    quiet: bool,
    /// True for a summary at the end: on a terminal, also on one that shows no bar.
    has_summary: bool,
    /// `None` for commands that transfer no content.
    transfer: Option<Transfer>,
    started: Instant,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    expected: u64,
    done: u64,
    /// Left out, because they were there already.
    unchanged: u64,
    failed: u64,
    skipped: u64,
    /// Bytes that earlier runs had transferred.
    resumed: u64,
}

impl Reporter {
    pub(super) fn new(quiet: bool, transfer: Option<Transfer>) -> Self {
        let is_for_people = !quiet && io::stderr().is_terminal();
        let has_summary = is_for_people && transfer.is_some();
        let target = if is_for_people { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let reporter = Self { bar, quiet, has_summary, transfer, started: Instant::now(), counts: Arc::default() };
        if transfer.is_some() && !reporter.bar.is_hidden() {
            reporter.style(WAIT);
            reporter.bar.enable_steady_tick(Duration::from_millis(250));
        }
        reporter
    }

    fn style(&self, template: &str) {
        let style = ProgressStyle::with_template(template).expect("the template is a constant, and well formed");
        self.bar.set_style(style.progress_chars("=> "));
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    /// What is to be said when the program is interrupted; `updates` if what is done would be left out the next time.
    pub(super) fn last_words(&self, transfer: Transfer, updates: bool) -> impl FnOnce() + Send + 'static {
        let (bar, counts) = (self.bar.clone(), Arc::clone(&self.counts));
        move || {
            bar.finish_and_clear();
            print_line(&interruption(&lock(&counts), transfer, updates));
        }
    }

    /// Shows amounts, which are known from now on.
    fn show_amounts(&self) {
        if self.bar.position() == 0
            && let Some(transfer) = self.transfer
        {
            self.style(transfer.template());
        }
    }

    /// One more transfer is to be done, of this many bytes as far as is known.
    pub(super) fn expect(&self, bytes: u64) {
        self.counts().expected += 1;
        self.bar.inc_length(bytes);
        self.show_count();
    }

    /// These are all that is to be done.
    pub(super) fn expect_all(&self, count: u64, bytes: u64) {
        self.counts().expected += count;
        self.bar.inc_length(bytes);
        self.show_count();
    }

    /// True if something failed or was not tried.
    pub(super) fn has_failed(&self) -> bool {
        let counts = self.counts();
        counts.failed + counts.skipped > 0
    }

    /// True while a bar is shown.
    pub(super) fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Runs `print` without the bar in the way.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Follows a transfer that was expected with `size` bytes.
    pub(super) fn start(&self, name: &str, size: u64) -> TransferProgress<'_> {
        self.show_name(name);
        TransferProgress { reporter: self, name: name.to_owned(), total: size, position: 0, resumed: None }
    }

    /// Shows the name, unless there are several.
    fn show_name(&self, name: &str) {
        if self.counts().expected <= 1 {
            self.bar.set_message(printable(name));
        }
    }

    fn show_count(&self) {
        let Counts { done, unchanged, expected, .. } = *self.counts();
        if expected > 1 {
            self.bar.set_message(format!("{}/{expected} files", done + unchanged));
        }
    }

    /// Counts one success.
    pub(super) fn done(&self) {
        self.counts().done += 1;
        self.show_count();
    }

    /// Counts one file of this size that need not be transferred.
    pub(super) fn unchanged(&self, size: u64) {
        self.counts().unchanged += 1;
        self.bar.dec_length(size);
        self.show_count();
    }

    /// Counts one failure and reports it, unless standard output was closed by its reader.
    pub(super) fn failed(&self, error: &ClientError) {
        match &error.kind {
            ErrorKind::LocalFile { source, path, .. }
                if source.kind() == io::ErrorKind::BrokenPipe && path.as_os_str() == "-" =>
            {
                self.counts().failed += 1;
            }
            _ => self.failed_text(error),
        }
    }

    /// Prints a line of the result on standard output. That it is closed is no failure.
    pub(super) fn say(&self, text: impl Display) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stdout().lock(), "{}", printable(&text.to_string()));
        });
    }

    pub(super) fn failed_text(&self, text: impl Display) {
        self.counts().failed += 1;
        self.bar.suspend(|| print_line(&text.to_string()));
    }

    /// Counts what was not tried because of an earlier failure.
    pub(super) fn skipped(&self) {
        self.counts().skipped += 1;
    }

    pub(super) fn warn(&self, text: impl Display) {
        if !self.quiet {
            self.bar.suspend(|| print_line(&text.to_string()));
        }
    }

    /// Says why the run waits: once for each reason and minute, whichever workers wait, and not for a moment's wait.
    pub(super) fn on_retry(&self) -> OnRetry {
        let (bar, quiet, last) = (self.bar.clone(), self.quiet, Mutex::new(None));
        OnRetry::new(move |Waiting { error, wait, left, .. }| {
            if quiet || *wait < WAIT_MIN {
                return;
            }
            let (now, reason) = (Instant::now(), error.kind.to_string());
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(&*last, Some((then, said)) if *said == reason && now - *then < SAY_AGAIN) {
                bar.suspend(|| print_line(&format!("{error} (trying again for up to {:.0} s)", left.as_secs_f64())));
                *last = Some((now, reason));
            }
        })
    }

    /// Clears the bar and prints a summary; true if everything was done.
    pub(super) fn finish(&self) -> bool {
        let bytes = self.bar.position();
        self.bar.finish_and_clear();
        let counts = self.counts();
        let Counts { done, unchanged, failed, skipped, .. } = *counts;
        if self.has_summary && done + unchanged > 0 && failed + skipped == 0 {
            print_line(&summary(&counts, bytes, self.started.elapsed()));
        }
        if failed + skipped > 0 && done + unchanged + failed + skipped > 1 {
            let untried = if skipped > 0 { format!(", {skipped} not tried") } else { String::new() };
            print_line(&format!("{failed} failed{untried}, {done} done{}", left_out(unchanged)));
        }
        failed + skipped == 0
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As in "interrupted, 1 of 3 files done; ...".
fn interruption(counts: &Counts, transfer: Transfer, updates: bool) -> String {
    if matches!(transfer, Transfer::FromStdin | Transfer::ToStdout) {
        return "interrupted; nothing is kept of a stream, so the same command starts again".to_owned();
    }
    let Counts { expected, done, unchanged, .. } = *counts;
    let ended = done + unchanged;
    let of_several = if expected > 1 { format!(", {ended} of {expected} files done") } else { String::new() };
    let without =
        if ended > 0 && !updates && transfer != Transfer::Sync { " (--update leaves out what is done)" } else { "" };
    format!("interrupted{of_several}; the same command resumes where this one stopped{without}")
}

/// As in ", 7 unchanged".
fn left_out(unchanged: u64) -> String {
    if unchanged > 0 { format!(", {unchanged} unchanged") } else { String::new() }
}

/// As in "3 files, 12.00 MiB in 2.1 s (5.71 MiB/s), 7 unchanged".
fn summary(counts: &Counts, bytes: u64, time: Duration) -> String {
    let Counts { done: files, unchanged, resumed, .. } = *counts;
    let word = if files == 1 { "file" } else { "files" };
    let rate = (bytes.saturating_sub(resumed) as f64 / time.as_secs_f64().max(0.001)) as u64;
    let here = if resumed > 0 { format!(", {} of them kept from before", BinaryBytes(resumed)) } else { String::new() };
    let (size, rate) = (BinaryBytes(bytes), BinaryBytes(rate));
    format!("{files} {word}, {size} in {:.1} s ({rate}/s){here}{}", time.as_secs_f64(), left_out(unchanged))
}

/// Adds one transfer to the whole.
#[derive(Debug)]
pub(super) struct TransferProgress<'a> {
    reporter: &'a Reporter,
    name: String,
    total: u64,
    position: u64,
    /// How many bytes an earlier run had transferred; `None` before the transfer begins.
    resumed: Option<u64>,
}

impl Progress for TransferProgress<'_> {
    fn verifying(&mut self, bytes: u64) {
        if self.reporter.counts().expected <= 1 {
            let name = printable(&self.name);
            self.reporter.bar.set_message(format!("{name}: verifying the {} that are here", BinaryBytes(bytes)));
        }
    }

    fn total(&mut self, bytes: u64) {
        self.reporter.show_amounts();
        let bar = &self.reporter.bar;
        bar.inc_length(bytes.saturating_sub(self.total));
        bar.dec_length(self.total.saturating_sub(bytes));
        self.total = bytes;
    }

    fn position(&mut self, bytes: u64) {
        let bar = &self.reporter.bar;
        let resumed = match self.resumed {
            None => {
                self.reporter.show_amounts();
                self.reporter.show_name(&self.name);
                self.reporter.counts().resumed += bytes;
                bytes
            }
            // A download that starts again goes back after what was here.
            Some(resumed) if bytes < resumed => {
                self.reporter.counts().resumed -= resumed - bytes;
                bytes
            }
            Some(resumed) => resumed,
        };
        bar.inc(bytes.saturating_sub(self.position));
        bar.dec(self.position.saturating_sub(bytes));
        // What an earlier run had transferred must not count in the rate of this one.
        if self.resumed.is_none() && bytes > 0 {
            bar.reset_eta();
        }
        (self.position, self.resumed) = (bytes, Some(resumed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_files_bytes_time_and_what_was_left_out() {
        let told = |done, unchanged, resumed| {
            let counts = Counts { done, unchanged, resumed, ..Counts::default() };
            summary(&counts, 3 << 20, Duration::from_secs(2))
        };
        assert_eq!(told(1, 0, 0), "1 file, 3.00 MiB in 2.0 s (1.50 MiB/s)");
        let resumed = "2 files, 3.00 MiB in 2.0 s (1.00 MiB/s), 1.00 MiB of them kept from before, 7 unchanged";
        assert_eq!(told(2, 7, 1 << 20), resumed);
    }

    #[test]
    fn an_interruption_says_how_to_continue() {
        let told = |expected, done, unchanged, updates| {
            let counts = Counts { expected, done, unchanged, ..Counts::default() };
            interruption(&counts, Transfer::Files, updates)
        };
        assert_eq!(told(1, 0, 0, false), "interrupted; the same command resumes where this one stopped");
        let several = "interrupted, 2 of 9 files done; the same command resumes where this one stopped";
        assert_eq!(told(9, 2, 0, false), format!("{several} (--update leaves out what is done)"));
        assert_eq!(told(9, 1, 1, true), several);
        let stream = interruption(&Counts::default(), Transfer::FromStdin, false);
        assert_eq!(stream, "interrupted; nothing is kept of a stream, so the same command starts again");
    }
}
