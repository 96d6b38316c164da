//! What a person sees: progress on a terminal, errors as one line each, a count at the end.
//!
//! Everything goes to standard error; progress only if that is a terminal. Results, which go to
//! standard output, are not this file's business.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::client::{ClientError, Trouble, Watch, printable};

/// Known length: a bar. `wide_msg` is cut to what the line has room for.
const BAR: &str = "{wide_msg} {bytes}/{total_bytes} {bar:20} {bytes_per_sec} {eta} left";
/// Length not known: numbers only.
const COUNT: &str = "{wide_msg} {bytes} {bytes_per_sec} {elapsed}";

/// Writes one line to standard error. If that is closed, nobody is left to tell.
pub(super) fn complain(words: &str) {
    let _ = writeln!(io::stderr().lock(), "filewharf: {}", printable(words));
}

/// The state of what is shown, shared by all workers.
#[derive(Debug)]
pub(super) struct Screen {
    bar: ProgressBar,
    quiet: bool,
    expected: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

impl Screen {
    pub(super) fn new(quiet: bool) -> Self {
        let visible = !quiet && io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            bar: ProgressBar::with_draw_target(Some(0), target),
            quiet,
            expected: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }
    }

    /// Begins to show progress; commands that move no content do not call this.
    pub(super) fn show(&self, length_is_known: bool) {
        let template = if length_is_known { BAR } else { COUNT };
        let style = ProgressStyle::with_template(template).expect("the template is a constant, and well formed");
        self.bar.set_style(style.progress_chars("=> "));
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    /// One more thing is to be done; `bytes` of it if they are known. Watch it by the result.
    pub(super) fn expect(&self, bytes: u64) {
        self.expected.fetch_add(1, Ordering::Relaxed);
        self.bar.inc_length(bytes);
        self.tell();
    }

    /// A thing is about to move: follows it. `known` are the bytes it was expected with.
    pub(super) fn follow(&self, name: &str, known: u64) -> Meter<'_> {
        if self.expected.load(Ordering::Relaxed) <= 1 {
            self.bar.set_message(printable(name));
        }
        Meter { screen: self, name: name.to_owned(), total: known, at: 0, is_new: true }
    }

    /// One thing is done.
    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    /// One thing failed. That nobody reads standard output any more is no news for anybody.
    pub(super) fn failed(&self, error: &ClientError) {
        if let Trouble::Local { source, path, .. } = &error.trouble
            && source.kind() == io::ErrorKind::BrokenPipe
            && path.as_os_str() == "-"
        {
            self.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failed_with(error);
        }
    }

    /// One thing failed, in other words.
    pub(super) fn failed_with(&self, words: impl Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.bar.suspend(|| complain(&words.to_string()));
    }

    /// One thing was not tried, because of what was told before.
    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Something to know that is no failure.
    pub(super) fn warn(&self, words: impl Display) {
        if !self.quiet {
            self.bar.suspend(|| complain(&words.to_string()));
        }
    }

    /// Clears the line and counts what failed. Is everything done?
    pub(super) fn conclude(&self) -> bool {
        self.bar.finish_and_clear();
        let count = |what: &AtomicU64| what.load(Ordering::Relaxed);
        let (done, failed, skipped) = (count(&self.done), count(&self.failed), count(&self.skipped));
        if failed + skipped > 0 && done + failed + skipped > 1 {
            let untried = if skipped > 0 { format!(", {skipped} not tried") } else { String::new() };
            complain(&format!("{failed} failed{untried}, {done} done"));
        }
        failed + skipped == 0
    }

    fn tell(&self) {
        let (done, expected) = (self.done.load(Ordering::Relaxed), self.expected.load(Ordering::Relaxed));
        if expected > 1 {
            self.bar.set_message(format!("{done}/{expected} files"));
        }
    }
}

/// Follows one transfer and adds it to the whole.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    screen: &'a Screen,
    name: String,
    total: u64,
    at: u64,
    is_new: bool,
}

impl Watch for Meter<'_> {
    fn total(&mut self, bytes: u64) {
        let bar = &self.screen.bar;
        if bytes >= self.total {
            bar.inc_length(bytes - self.total);
        } else {
            bar.dec_length(self.total - bytes);
        }
        self.total = bytes;
    }

    fn at(&mut self, bytes: u64) {
        let bar = &self.screen.bar;
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

    fn retrying(&mut self, trouble: &Trouble, wait: Duration) {
        if !self.screen.bar.is_hidden() {
            self.screen.warn(format!("{}: {trouble} (next try in {:.1} s)", self.name, wait.as_secs_f64()));
        }
    }
}
