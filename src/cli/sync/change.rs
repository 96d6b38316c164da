//! How the changes of a plan are written on standard output: the same in a dry run and in a run.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout, Write as _};

use crate::cli::reporter::Reporter;
use crate::client::printable;
use crate::client::sync::{Action, Change, Totals};
use crate::wire::json;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    None,
    Text,
    Json,
}

/// Writes changes, and counts them.
pub(super) struct Printer<'a> {
    form: Form,
    is_upload: bool,
    reporter: &'a Reporter,
    out: BufWriter<Stdout>,
    totals: Totals,
}

impl<'a> Printer<'a> {
    pub(super) fn new(form: Form, is_upload: bool, reporter: &'a Reporter) -> Self {
        Self { form, is_upload, reporter, out: BufWriter::new(io::stdout()), totals: Totals::default() }
    }

    pub(super) fn print(&mut self, change: &Change) {
        self.totals.count(change);
        let line = match self.form {
            Form::None => return,
            Form::Text => text(change, self.is_upload),
            Form::Json => object(change, self.is_upload),
        };
        self.write(&line);
    }

    /// That standard output is closed is no failure.
    fn write(&mut self, line: &str) {
        let out = &mut self.out;
        match self.reporter.is_visible() {
            true => self.reporter.suspend(|| {
                let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            }),
            false => {
                let _ = writeln!(out, "{line}");
            }
        }
    }

    /// Writes the last object.
    pub(super) fn finish(mut self, unchanged: u64, skipped: u64, is_done: bool) {
        if self.form == Form::Json {
            let Totals { files, bytes, dirs, copied, renamed, times, deleted, .. } = self.totals;
            let line = format!(
                "{{\"files\":{files},\"bytes\":{bytes},\"folders\":{dirs},\"copied\":{copied},\"renamed\":{renamed},\
                 \"times\":{times},\"deleted\":{deleted},\"unchanged\":{unchanged},\"skipped\":{skipped},\"ok\":{is_done}}}"
            );
            self.write(&line);
        }
        let _ = self.out.flush();
    }
}

/// The word for a change.
fn word(action: Action, is_upload: bool) -> &'static str {
    match action {
        Action::MakeDir => "mkdir",
        Action::Copy => "copy",
        Action::Rename => "rename",
        Action::Send if is_upload => "put",
        Action::Send => "get",
        Action::SetTime => "time",
        Action::Delete | Action::RemoveDir => "delete",
    }
}

fn is_dir(change: &Change) -> bool {
    matches!(change.action, Action::MakeDir | Action::RemoveDir)
}

/// As `rename old -> new`.
fn text(change: &Change, is_upload: bool) -> String {
    let (word, path, slash) = (word(change.action, is_upload), &change.path, if is_dir(change) { "/" } else { "" });
    let from = if change.from.is_empty() { String::new() } else { format!("{} -> ", change.from) };
    printable(&format!("{word} {from}{path}{slash}"))
}

fn object(change: &Change, is_upload: bool) -> String {
    let mut text = format!("{{\"action\":\"{}\",\"path\":", word(change.action, is_upload));
    json::quote(&change.path, &mut text);
    if !change.from.is_empty() {
        text.push_str(",\"from\":");
        json::quote(&change.from, &mut text);
    }
    text.push_str(if is_dir(change) { ",\"type\":\"folder\"" } else { ",\"type\":\"file\"" });
    if matches!(change.action, Action::Send | Action::Copy | Action::Rename) {
        let _ = write!(text, ",\"size\":{}", change.size); // writing to a String cannot fail
    }
    text + "}"
}
