//! GET, HEAD and POST of a directory with `archive=`: all of it, or a selection, as one tar or zip.
//!
//! An archive is one long reply. The store gives a page of the recursive listing; each file of it is opened and sent, and
//! then comes the next page. A zip is walked through twice: its entries are counted before its first byte. What fails after
//! that resets the connection, so that no archive looks complete that is not.

pub(crate) mod places;
mod writer;

use std::sync::Arc;

use self::places::{Archives, ENTRIES_BYTES_MAX, PAGE_NAMES, Place};
use self::writer::{TooMany, Writer};
use crate::access::{Rights, link};
use crate::command::{Answer, Command, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::login;
use crate::dialect::http::response::{Refusal, ResponseMeta, field};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Details, Entry, Key, Node};
use crate::order::Order;
use crate::wire::http::archive_query::{self, FORM_LEN_MAX, Format, Query};
use crate::wire::http::head::{Framing, Head, Method};
use crate::wire::http::target;

const TOO_MANY_NAMES: Failure =
    Failure::Conflict("these are too many files for a zip, about 30,000: ask for archive=tar, or for fewer");
const TOO_MANY_ARCHIVES: Failure =
    Failure::Conflict("too many archives are being sent: try again, or ask for archive=tar");
const NO_FORM: Failure = Failure::Conflict(
    "the names of an archive are a form (application/x-www-form-urlencoded) of at most 64 KiB, with its length",
);
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// A request for an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    archives: Arc<Archives>,
    /// The form, where that was taken.
    form: Option<Box<str>>,
    /// The body, where it is no such form.
    incoming: Option<Incoming>,
    run: Option<Run>,
}

/// An archive under way.
#[derive(Debug)]
struct Run {
    _place: Place,
    dir: Key,
    format: Format,
    /// What is selected; all if that is nothing.
    names: Vec<Box<str>>,
    /// The present one of them.
    name: usize,
    page: Page,
    awaits: Awaits,
    stage: Stage,
}

/// What is left of the page of a listing.
#[derive(Debug, Default)]
struct Page {
    entries: std::vec::IntoIter<Entry>,
    /// Before each name.
    front: String,
    /// What follows it.
    next: Option<After>,
}

/// Where a listing continues.
#[derive(Debug)]
enum After {
    Start,
    Name(Box<str>),
}

/// What the store or the peer is waited for.
#[derive(Debug)]
enum Awaits {
    /// What a selected name stands for.
    Name,
    Page,
    /// Whether this directory can be listed, which could not be looked at.
    Dir(String),
    File(String),
    /// The content or the part is sent.
    Sent,
    /// A part of the end is sent.
    End,
}

#[derive(Debug)]
enum Stage {
    /// Bytes of the entries of a zip so far; of a tar, it is looked whether the names are there.
    Counting(usize),
    /// Before the head.
    Counted(usize),
    Sending(Writer),
}

/// True for such a request of a directory.
pub(crate) fn concerns(head: &Head<'_>) -> bool {
    matches!(head.method, Method::Get | Method::Head | Method::Post)
        && head.path.ends_with('/')
        && archive_query::asks(head.query)
}

/// The length of the form with the names of an archive, if that can be taken.
pub(crate) fn form_len(head: &Head<'_>) -> Option<usize> {
    let media_type = head.upload.as_ref().and_then(|fields| fields.content_type).unwrap_or_default();
    let is_form = media_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM_TYPE));
    match head.framing {
        Framing::Length(len) if head.method == Method::Post && is_form && concerns(head) => {
            usize::try_from(len).ok().filter(|len| *len <= FORM_LEN_MAX)
        }
        _ => None,
    }
}

impl Archive {
    pub(crate) fn new(head: &Head<'_>, form: Option<&str>, archives: &Arc<Archives>) -> Self {
        let incoming = (head.method == Method::Post && form.is_none()).then(|| Incoming::new(head));
        Self { archives: Arc::clone(archives), form: form.map(Into::into), incoming, run: None }
    }

    fn next(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(run) = &mut self.run else { return Action::Reset(CloseReason::Internal) };
        match run.next(response, context) {
            Ok(action) => action,
            Err(TooMany) if matches!(run.stage, Stage::Sending(_)) => Action::Reset(CloseReason::SourceFailed),
            Err(TooMany) => {
                let refusal = Refusal { status: 413, failure: TOO_MANY_NAMES, field: None };
                response.refuse_as(refusal, None, context)
            }
        }
    }
}

impl Handler for Archive {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        if self.incoming.is_some() {
            return Err(Refusal { status: 413, failure: NO_FORM, field: None });
        }
        let dir = target::path(head.path)?.key;
        let (query, form) = (head.query.unwrap_or_default(), self.form.take().unwrap_or_default());
        let Query { format, names } = archive_query::query(query, &form, &[link::PARAMETER, login::PARAMETER])?;
        let Some(place) = self.archives.take(format) else {
            context.retry_after_s = Some(5);
            return Err(Refusal { status: 503, failure: TOO_MANY_ARCHIVES, field: None });
        };
        let is_counted = !response.head_only && (format == Format::Zip || !names.is_empty());
        let stage = if is_counted { Stage::Counting(0) } else { Stage::Counted(0) };
        let (page, awaits) = (Page::default(), Awaits::Page);
        let mut run = Run { _place: place, dir, format, names, name: 0, page, awaits, stage };
        let command = run.begin();
        self.run = Some(run);
        Ok(Action::Run(command))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(run) = &mut self.run else { return Action::Reset(CloseReason::Internal) };
        if let Stage::Counted(entries) = run.stage {
            run.send_head(response, context);
            if response.head_only {
                return response.next_action();
            }
            run.stage = Stage::Sending(Writer::new(run.format, entries));
        }
        match (answer, std::mem::replace(&mut run.awaits, Awaits::Sent)) {
            (Answer::Found(node), Awaits::Name) => run.found(node),
            (Answer::Listed(listing), Awaits::Page) => {
                let last = listing.entries.last().filter(|_| listing.more).map(|last| After::Name(last.name.clone()));
                (run.page.entries, run.page.next) = (listing.entries.into_iter(), last);
            }
            (Answer::Listed(_), Awaits::Dir(path)) => {
                let now_s = i64::try_from(context.wall_clock_s).unwrap_or(i64::MAX);
                if let Err(TooMany) = run.dir(&path, now_s) {
                    return Action::Reset(CloseReason::SourceFailed);
                }
            }
            (Answer::Opened(meta), Awaits::File(path)) => {
                let Stage::Sending(writer) = &mut run.stage else { return Action::Reset(CloseReason::Internal) };
                writer.file(&path, meta.len, meta.mtime, response, context);
                return Action::Send { range: 0..meta.len, hash: writer.hash() };
            }
            _ => return Action::Reset(CloseReason::Internal),
        }
        self.next(response, context)
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(run) = &mut self.run else { return self.refuse(failure.into(), response, context) };
        let is_gone = matches!(failure, Failure::NotFound | Failure::Conflict(_));
        match (&run.stage, &run.awaits) {
            // Removed, or replaced by a directory, since it was listed.
            (Stage::Sending(_), Awaits::File(_)) if is_gone => self.next(response, context),
            (Stage::Sending(_), _) => Action::Reset(CloseReason::SourceFailed),
            // A file has no names under it: nothing has this address.
            (_, awaits) => {
                let key = if let Awaits::Dir(path) = awaits { run.dir.child(path) } else { run.subject() };
                response.refuse(if is_gone { Failure::NotFound } else { failure }, Some(&key), context)
            }
        }
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let Some(Run { stage: Stage::Sending(writer), awaits, .. }) = &mut self.run else {
            return Action::Reset(CloseReason::Internal);
        };
        if let Awaits::End = awaits {
            return end(writer, response, context);
        }
        match writer.file_sent(digest) {
            Ok(()) => self.next(response, context),
            Err(TooMany) => Action::Reset(CloseReason::SourceFailed),
        }
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        self.incoming.as_mut()
    }

    fn body_left(&self) -> u64 {
        self.incoming.as_ref().map_or(0, Incoming::left)
    }
}

fn end(writer: &mut Writer, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
    if writer.end(response, context) { response.next_action() } else { Action::Part }
}

fn listing(key: Key, recursive: bool, after: Option<Box<str>>, limit: usize) -> Command {
    Command::List { key, recursive, after, limit, details: Details::default(), order: Order::default() }
}

impl Run {
    /// What a walk begins with.
    fn begin(&mut self) -> Command {
        (self.name, self.page) = (0, Page::default());
        match self.names.first() {
            Some(name) => self.look(&Box::clone(name)),
            None => self.list(After::Start),
        }
    }

    fn look(&mut self, name: &str) -> Command {
        self.awaits = Awaits::Name;
        Command::Run(Whole::Stat { key: self.dir.child(name) })
    }

    /// The next page of the directory, or of the present name.
    fn list(&mut self, after: After) -> Command {
        self.awaits = Awaits::Page;
        let after = if let After::Name(name) = after { Some(name) } else { None };
        listing(self.subject(), true, after, PAGE_NAMES)
    }

    /// What is walked through: the present name, or the directory.
    fn subject(&self) -> Key {
        self.names.get(self.name).map_or_else(|| self.dir.clone(), |name| self.dir.child(name))
    }

    /// The selected name stands for this.
    fn found(&mut self, node: Node) {
        let name = &self.names[self.name];
        let is_dir = matches!(node, Node::Dir { .. });
        let is_walked = is_dir && !matches!((self.format, &self.stage), (Format::Tar, Stage::Counting(_)));
        let next = is_walked.then_some(After::Start);
        self.page = Page { entries: vec![Entry::new(name, node)].into_iter(), front: String::new(), next };
    }

    /// Goes through the names that are known, until the store is to be asked, or a part to be sent.
    fn next(&mut self, response: &ResponseMeta, context: &mut Context<'_>) -> Result<Action, TooMany> {
        while let Some(entry) = self.page.entries.next() {
            let path = format!("{}{}", self.page.front, entry.name);
            let key = self.dir.child(&path);
            match entry.node {
                None if entry.is_dir => {
                    self.awaits = Awaits::Dir(path);
                    return Ok(Action::Continue(listing(key, false, None, 1)));
                }
                Some(Node::Dir { mtime }) => self.dir(&path, mtime)?,
                _ if !context.rights(&key).has(Rights::READ) => {}
                _ => match &mut self.stage {
                    Stage::Sending(_) => {
                        self.awaits = Awaits::File(path);
                        return Ok(Action::Continue(Command::Get { key }));
                    }
                    _ => self.count(&path)?,
                },
            }
            if let Stage::Sending(writer) = &mut self.stage
                && writer.is_full()
            {
                writer.flush(0, response, context);
                self.awaits = Awaits::Sent;
                return Ok(Action::Part);
            }
        }
        if let Some(after) = self.page.next.take() {
            if let (After::Start, Some(name)) = (&after, self.names.get(self.name)) {
                self.page.front = format!("{name}/");
            }
            return Ok(Action::Continue(self.list(after)));
        }
        self.name += 1;
        if let Some(name) = self.names.get(self.name) {
            let name = Box::clone(name);
            return Ok(Action::Continue(self.look(&name)));
        }
        match &mut self.stage {
            Stage::Sending(writer) => {
                self.awaits = Awaits::End;
                Ok(end(writer, response, context))
            }
            Stage::Counting(entries) | Stage::Counted(entries) => {
                self.stage = Stage::Counted(*entries);
                Ok(Action::Continue(self.begin()))
            }
        }
    }

    fn dir(&mut self, path: &str, mtime: i64) -> Result<(), TooMany> {
        match &mut self.stage {
            Stage::Sending(writer) => writer.dir(path, mtime),
            _ => self.count(path),
        }
    }

    fn count(&mut self, path: &str) -> Result<(), TooMany> {
        let (Stage::Counting(bytes), Format::Zip) = (&mut self.stage, self.format) else { return Ok(()) };
        *bytes += Writer::entry_bytes(path);
        if *bytes > ENTRIES_BYTES_MAX { Err(TooMany) } else { Ok(()) }
    }

    fn send_head(&self, response: &mut ResponseMeta, context: &mut Context<'_>) {
        let (media_type, extension) = match self.format {
            Format::Tar => ("application/x-tar", "tar"),
            Format::Zip => ("application/zip", "zip"),
        };
        response.set_length_unknown();
        response.head(200, context);
        let name = if self.dir.is_root() { "files" } else { self.dir.name() };
        // RFC 8187: a name of any characters.
        let name = format!("attachment; filename*=UTF-8''{}.{extension}", target::component(name));
        field("Content-Disposition", &name, context.out);
        field("Cache-Control", &"no-cache", context.out);
        response.begin_parts(media_type, context);
    }
}
