//! Directories: the page for people, a plain index for programs that follow links, JSON for others.
//!
//! JSON is one page of names; the next is found behind the last name of this one. The page and the
//! index are sent in parts, each made of one listing of bounded size, so that an index is complete
//! whatever the size of the directory. A failure between two parts resets the connection: a client
//! never takes a partial index for a whole one.

use std::fmt::Write as _;

use crate::command::Command;
use crate::dialect::http::index;
use crate::dialect::http::page::{self, Page};
use crate::dialect::http::reply::{Content, Manner, field};
use crate::dialect::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Entry, Key, Listing, Node};
use crate::platform::Health;
use crate::wire::http::accept::{self, Form};
use crate::wire::http::head::Head;
use crate::wire::http::target;
use crate::wire::json;

/// Names of a page where no number is asked for; its script, or a link, asks for more.
const PAGE_NAMES: usize = 200;
/// Bytes of a head, at most: `Link` has the longest name in it, with every byte escaped.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Bytes that a reply about a directory takes even if it has few names: the template, the way to the
/// directory, one name.
pub(super) const REPLY_BYTES_MIN: usize = HEAD_BYTES_MAX + page::FIXED_BYTES_MAX;

/// A GET or HEAD of a directory.
#[derive(Clone, Debug)]
pub(super) struct Dir {
    key: Key,
    after: Option<Box<str>>,
    limit: usize,
    form: Form,
    progress: Progress,
}

/// How far the reply is.
#[derive(Clone, Debug)]
enum Progress {
    Asked,
    /// Parts have left, with so many names.
    Sending {
        names: usize,
    },
}

impl Dir {
    pub(super) fn of(head: &Head<'_>, key: Key, context: &Context<'_>) -> Result<(Self, Command), Failure> {
        let query = head.query.map(target::query).transpose()?.unwrap_or_default();
        let form = accept::form(head.fields.accept.lines());
        let names_max = context.limits.list_names_max;
        let unasked = match form {
            Form::Page => PAGE_NAMES.min(names_max),
            Form::Index => usize::MAX,
            Form::Json | Form::Lines => names_max,
        };
        let limit = query.limit.map_or(unasked, |limit| limit.min(names_max));
        let dir = Self { key, after: query.after, limit, form, progress: Progress::Asked };
        let command = dir.list(dir.after.clone(), limit, context);
        Ok((dir, command))
    }

    /// Asks for the next names, of which `left` are wanted.
    fn list(&self, after: Option<Box<str>>, left: usize, context: &Context<'_>) -> Command {
        let part_max = if self.form == Form::Page { PAGE_NAMES } else { context.limits.list_names_max };
        Command::List { key: self.key.clone(), after, limit: left.min(part_max) }
    }

    pub(super) fn listed(&mut self, listing: &Listing, manner: &mut Manner, context: &mut Context<'_>) -> Action {
        match self.form {
            Form::Json | Form::Lines => self.say_data(listing, manner, context),
            Form::Page | Form::Index => self.say_part(listing, manner, context),
        }
    }

    fn say_data(&self, listing: &Listing, manner: &Manner, context: &mut Context<'_>) -> Action {
        let (kind, [open, between, close]) = match self.form {
            Form::Json => ("application/json", ["[", ",\n", "]\n"]),
            _ => ("application/x-ndjson", ["", "\n", "\n"]),
        };
        let mut text = open.to_owned();
        let bytes_max = content_bytes_max(context).saturating_sub(close.len());
        let fitting = write_rows(&listing.entries, bytes_max, &mut text, |entry, text| {
            if text.len() > open.len() {
                text.push_str(between);
            }
            write_object(entry, text);
        });
        if fitting > 0 || self.form == Form::Json {
            text.push_str(close);
        }
        manner.head(200, context);
        let more = listing.more || fitting < listing.entries.len();
        if let Some(last) = fitting.checked_sub(1).map(|last| &listing.entries[last]).filter(|_| more) {
            self.link_next(&last.name, context.out);
        }
        vary(context.out);
        manner.content_of(kind, text.as_bytes(), context);
        manner.then()
    }

    fn say_part(&mut self, listing: &Listing, manner: &mut Manner, context: &mut Context<'_>) -> Action {
        let (first, names) = match self.progress {
            Progress::Asked => (true, 0),
            Progress::Sending { names } => (false, names),
        };
        let writable = !context.access.is_read_only() && context.counters.health == Health::Good;
        let Self { key: dir, after, limit, .. } = &*self;
        let mut page = Page { dir, after: after.as_deref(), writable, limit: *limit, empty: false, next: None };
        let mut text = String::new();
        match (first, self.form) {
            (false, _) => {}
            (true, Form::Page) => page::begin(&page, &mut text),
            (true, _) => index::begin(dir, &mut text),
        }
        let row = if self.form == Form::Page { page::row } else { index::row };
        let bytes_max = content_bytes_max(context).saturating_sub(page::END_BYTES_MAX);
        let fitting = write_rows(&listing.entries, bytes_max, &mut text, row);
        let names = names + fitting;
        let last = fitting.checked_sub(1).map(|last| &*listing.entries[last].name);
        page.empty = names == 0;
        page.next = last.filter(|_| listing.more || fitting < listing.entries.len());
        let next = page.next.filter(|_| names < self.limit).map(Box::from);
        match (&next, self.form) {
            (Some(_), _) => {}
            (None, Form::Page) => page::end(&page, &mut text),
            (None, _) => index::end(&mut text),
        }
        let kind = "text/html; charset=utf-8";
        if first {
            if next.is_some() {
                manner.length_is_unknown();
            }
            manner.head(200, context);
            let policy = if self.form == Form::Page { page::content_security_policy() } else { index::POLICY };
            field("Content-Security-Policy", &policy, context.out);
            field("Referrer-Policy", &"same-origin", context.out);
            if next.is_none()
                && let Some(last) = page.next
            {
                self.link_next(last, context.out);
            }
            vary(context.out);
            match next {
                None => manner.content_of(kind, text.as_bytes(), context),
                Some(_) => manner.begin_parts(kind, context),
            }
        }
        match next {
            None if first => return manner.then(),
            Some(_) if manner.content() == Content::Withheld => return manner.then(),
            _ => manner.part(text.as_bytes(), next.is_none(), context),
        }
        if next.is_none() {
            return manner.then();
        }
        self.progress = Progress::Sending { names };
        Action::Continue(self.list(next, self.limit - names, context))
    }

    /// RFC 8288: where the list goes on.
    fn link_next(&self, last: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Link: <?after=");
        target::encode_component(last, out);
        out.extend_from_slice(format!("&limit={}>; rel=\"next\"\r\n", self.limit).as_bytes());
    }

    pub(super) fn failed(&self, failure: Failure, manner: &Manner, context: &mut Context<'_>) -> Action {
        if let Progress::Sending { .. } = self.progress {
            // What was sent must not look whole.
            return Action::Reset(CloseReason::SourceFailed);
        }
        // A file has no names beneath it: there is nothing under this address.
        let failure = if let Failure::Conflict(_) = failure { Failure::NotFound } else { failure };
        manner.refuse(failure, Some(&self.key), context, manner.then())
    }
}

/// Bytes of content in one part: head and content live on the account of the transfer slot.
fn content_bytes_max(context: &Context<'_>) -> usize {
    (context.limits.chunk_bytes * context.limits.chunks_per_slot).max(REPLY_BYTES_MIN) - HEAD_BYTES_MAX
}

/// What is sent depends on what was asked for, and on what is there now.
fn vary(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Vary: Accept\r\nCache-Control: no-cache\r\n");
}

/// Writes as many entries as fit into `bytes_max` with what is there, at least one; returns how many.
fn write_rows(
    entries: &[Entry],
    bytes_max: usize,
    text: &mut String,
    mut row: impl FnMut(&Entry, &mut String),
) -> usize {
    for (index, entry) in entries.iter().enumerate() {
        let len = text.len();
        row(entry, text);
        if text.len() > bytes_max && index > 0 {
            text.truncate(len);
            return index;
        }
    }
    entries.len()
}

/// `{"name":"a.txt","type":"file","size":5,"mtime":1700000000,"etag":"…"}`. A directory has neither
/// size nor etag.
fn write_object(entry: &Entry, out: &mut String) {
    out.push_str("{\"name\":");
    json::quote(&entry.name, out);
    let _ = match entry.node {
        Node::File(meta) => write!(
            out,
            ",\"type\":\"file\",\"size\":{},\"mtime\":{},\"etag\":\"{}\"}}",
            meta.len, meta.mtime, meta.etag
        ),
        Node::Dir { mtime } => write!(out, ",\"type\":\"folder\",\"mtime\":{mtime}}}"),
    };
}
