//! GET and HEAD of a directory: the page for people, a plain index for programs that follow links, JSON for others.
//!
//! JSON is one page of names; `Link` leads to the next. The page, the index and the lines of a recursive listing are sent
//! in parts, each made from one listing of bounded size, so that they are complete whatever the size of the directory. A
//! failure between two parts resets the connection: a client never takes a partial index for a whole one.

use std::fmt::Write as _;

use crate::access::{Caller, Rights, link};
use crate::command::Command;
use crate::config::SHORT_REPLY_BYTES;
use crate::dialect::http::index;
use crate::dialect::http::login::{self, Visitor};
use crate::dialect::http::may::May;
use crate::dialect::http::page::{self, Carried, Page};
use crate::dialect::http::response::{ResponseMeta, field};
use crate::dialect::http::sharing::Offer;
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Details, Entry, Key, Listing, Node};
use crate::order::{By, Order};
use crate::wire::http::accept::{self, ListingFormat};
use crate::wire::http::head::Head;
use crate::wire::http::target::{self, Query};
use crate::wire::json;
use crate::wire::key::KEY_LEN_MAX;

/// Names of a page where no limit is asked for; its script, or a link, asks for more.
const PAGE_NAMES: usize = 200;
/// Bytes of a head, at most: `Link` has the longest path in it, with every byte escaped, and a signed link.
const HEAD_BYTES_MAX: usize = 3 * 1024 + 3 * KEY_LEN_MAX + CARRIED_LEN_MAX;
/// Longest signed link that the addresses of a listing carry on, in bytes: it is repeated for each name.
const CARRIED_LEN_MAX: usize = 2 * 1024;
/// Bytes that a reply about a directory takes even if it has few names: the template, the path, one name.
pub const REPLY_BYTES_MIN: usize = HEAD_BYTES_MAX + page::FIXED_BYTES_MAX;

/// How much of the page of a drop box is sent, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UploadPage {
    sent: usize,
    len: usize,
}

/// A GET or HEAD of a directory.
#[derive(Clone, Debug)]
pub(crate) struct List {
    key: Key,
    after: Option<Box<str>>,
    limit: usize,
    order: Order,
    /// With all that is under it.
    recursive: bool,
    /// Neither `after=` nor `limit=` was given.
    is_whole: bool,
    format: ListingFormat,
    /// Names sent so far; `None` before the head.
    names_sent: Option<usize>,
    /// The signed link that gives access to it, as a query with its `?`.
    link: Option<Box<str>>,
}

/// The page of a drop box leaves in parts of this many bytes, which take no slot.
const UPLOAD_PART_BYTES: usize = 4 * 1024;
const _: () = assert!(UPLOAD_PART_BYTES <= SHORT_REPLY_BYTES / 2, "a head comes before it");

/// Without the page, a browser gets the plain index.
pub(crate) const HAS_PAGE: bool = cfg!(feature = "page");

impl List {
    pub(crate) fn new(head: &Head<'_>, key: Key, context: &Context<'_>) -> Result<(Self, Command), Failure> {
        let query = head.query.map(|query| target::query(query, &[link::PARAMETER, login::PARAMETER]));
        let query = query.transpose()?.unwrap_or_default();
        let is_whole = query == Query::default();
        let format = match accept::listing_format(head.fields.accept.lines()) {
            // In one page that is read from its beginning.
            ListingFormat::Ndjson | ListingFormat::Page | ListingFormat::Index if query.recursive => {
                ListingFormat::Ndjson
            }
            ListingFormat::Page if !HAS_PAGE => ListingFormat::Index,
            format => format,
        };
        let names_max = context.limits.fixed.list_names_max;
        let default_limit = match format {
            ListingFormat::Page => PAGE_NAMES.min(names_max),
            ListingFormat::Index => usize::MAX,
            ListingFormat::Ndjson if query.recursive => usize::MAX,
            ListingFormat::Json | ListingFormat::Ndjson => names_max,
        };
        let limit = query.limit.map_or(default_limit, |limit| limit.min(names_max));
        let link = carried(head, &key, context)?;
        let order = order(&query, format);
        let Query { after, recursive, .. } = query;
        let list = Self { key, after, limit, order, recursive, is_whole, format, names_sent: None, link };
        let command = list.command(list.after.clone(), limit, context);
        Ok((list, command))
    }

    /// True if a page that is stored in the directory may be sent instead: HTML, and not a part of the listing.
    pub(crate) fn may_be_replaced(&self) -> bool {
        self.is_whole && matches!(self.format, ListingFormat::Page | ListingFormat::Index)
    }

    /// True for a directory of which the caller sees no name and where it may upload. The page of it does not depend on what
    /// is there, so the store is not asked.
    pub(crate) fn is_drop_box(&self, context: &Context<'_>) -> bool {
        let Some(rules) = context.access.rules().filter(|_| self.format == ListingFormat::Page) else { return false };
        let (caller, from, rights) = (&context.caller, context.client, context.rights(&self.key));
        (rights.has(Rights::CREATE) || rights.has(Rights::REPLACE))
            && !rules.may_list(caller, from, &self.key)
            && rules.takes_uploads(caller, from, &self.key)
    }

    /// Sends the next part of the page of a drop box.
    pub(crate) fn send_upload_page(
        &self,
        progress: &mut UploadPage,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let (visitor, may) = (&Visitor::new(context), &May::new(&self.key, context));
        let (offer, caller) = (&Offer::new(&self.key, context), context.caller.clone());
        // Not "empty": that would tell what is there.
        let nothing = Listing { entries: Vec::new(), more: false, unlisted: 0, total: None };
        let page = self.page((visitor, may, offer), &caller, &nothing);
        let mut text = String::new();
        page::begin(&page, &mut text);
        page::end(&page, &mut text);
        if progress.sent == 0 {
            progress.len = text.len();
            self.send_head((&nothing, None), None, response, context);
            if response.head_only {
                return response.next_action();
            }
        }
        if progress.len != text.len() {
            // The rules were read again meanwhile.
            return Action::Reset(CloseReason::SourceFailed);
        }
        let to = text.len().min(progress.sent + UPLOAD_PART_BYTES);
        response.part(&text.as_bytes()[progress.sent..to], to == text.len(), context);
        progress.sent = to;
        if to == text.len() { response.next_action() } else { Action::Part }
    }

    /// The page of this directory, without its names.
    fn page<'a>(
        &'a self,
        (visitor, may, offer): (&'a Visitor, &'a May<'a>, &'a Offer<'a>),
        caller: &'a Caller,
        listing: &Listing,
    ) -> Page<'a> {
        let carried = self.link.as_deref().zip(caller.link());
        let carried = carried.map(|(query, link)| Carried { query, prefix: &link.prefix });
        let (dir, after, unlisted) = (&self.key, self.after.as_deref(), listing.unlisted);
        Page { dir, after, visitor, may, offer, carried, empty: false, next: None, unlisted }
    }

    /// Asks for the next part, of at most `limit` names.
    fn command(&self, after: Option<Box<str>>, limit: usize, context: &Context<'_>) -> Command {
        let part_max =
            if self.format == ListingFormat::Page { PAGE_NAMES } else { context.limits.fixed.list_names_max };
        let (key, recursive) = (self.key.clone(), self.recursive);
        Command::List {
            key,
            recursive,
            after,
            limit: limit.min(part_max),
            details: Details::default(),
            order: self.order.clone(),
        }
    }

    pub(crate) fn listed(
        &mut self,
        listing: &Listing,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        match self.format {
            ListingFormat::Json => self.send_data("application/json", ["[", ",\n", "]\n"], listing, response, context),
            ListingFormat::Ndjson if self.limit == usize::MAX => self.send_lines(listing, response, context),
            ListingFormat::Ndjson => {
                self.send_data("application/x-ndjson", ["", "\n", "\n"], listing, response, context)
            }
            ListingFormat::Page | ListingFormat::Index => self.send_part(listing, response, context),
        }
    }

    fn send_data(
        &self,
        media_type: &str,
        [open, between, close]: [&str; 3],
        listing: &Listing,
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let mut text = open.to_owned();
        let (offer, may) = (Offer::new(&self.key, context), May::new(&self.key, context));
        let bytes_max = content_bytes_max(context).saturating_sub(close.len());
        let fitting = write_rows(&listing.entries, bytes_max, &mut text, |entry, text| {
            if text.len() > open.len() {
                text.push_str(between);
            }
            write_object(entry, (offer.has(&self.key, &entry.name), may.at(&self.key, &entry.name)), text);
        });
        if fitting > 0 || !open.is_empty() {
            text.push_str(close);
        }
        response.head(200, context);
        counts(listing, context.out);
        if let Some(last) = last_before_more(listing, fitting) {
            self.link_next(last, context.out);
        }
        vary(context.out);
        response.content(media_type, text.as_bytes(), context);
        response.next_action()
    }

    /// One object a line, in as many parts as it takes.
    fn send_lines(&mut self, listing: &Listing, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        const TYPE: &str = "application/x-ndjson";
        let mut text = String::new();
        let (offer, may) = (Offer::new(&self.key, context), May::new(&self.key, context));
        let fitting = write_rows(&listing.entries, content_bytes_max(context), &mut text, |entry, text| {
            write_object(entry, (offer.has(&self.key, &entry.name), may.at(&self.key, &entry.name)), text);
            text.push('\n');
        });
        let next = last_before_more(listing, fitting).map(|last| self.order.cursor(last).into());
        let is_first = self.names_sent.is_none();
        if is_first {
            if next.is_some() {
                response.set_length_unknown();
            }
            response.head(200, context);
            counts(listing, context.out);
            vary(context.out);
            match next {
                Some(_) => response.begin_parts(TYPE, context),
                None => response.content(TYPE, text.as_bytes(), context),
            }
        }
        match next {
            Some(_) if response.head_only => return response.next_action(),
            None if is_first => {}
            _ => response.part(text.as_bytes(), next.is_none(), context),
        }
        let Some(after) = next else { return response.next_action() };
        self.names_sent = Some(self.names_sent.unwrap_or(0) + fitting);
        Action::Continue(self.command(Some(after), self.limit, context))
    }

    fn send_part(&mut self, listing: &Listing, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let is_page = HAS_PAGE && self.format == ListingFormat::Page;
        let is_first = self.names_sent.is_none();
        let (visitor, may) = (&Visitor::new(context), &May::new(&self.key, context));
        let (offer, caller) = (&Offer::new(&self.key, context), context.caller.clone());
        let mut page = self.page((visitor, may, offer), &caller, listing);
        let mut text = String::new();
        if is_first && is_page {
            page::begin(&page, &mut text);
        } else if is_first {
            index::begin(&page, &mut text);
        }
        let bytes_max = content_bytes_max(context).saturating_sub(page::END_BYTES_MAX);
        let row = if is_page { page::row } else { index::row };
        let fitting = write_rows(&listing.entries, bytes_max, &mut text, |entry, text| row(&page, entry, text));
        let names = self.names_sent.unwrap_or(0) + fitting;
        page.empty = names == 0 && may.in_dir().has(Rights::LIST);
        let last = last_before_more(listing, fitting);
        page.next = last.map(|last| self.next(last));
        // Where the next part begins; `None` if this is the last one.
        let next = last.filter(|_| names < self.limit).map(|last| self.order.cursor(last).into());
        if next.is_none() && is_page {
            page::end(&page, &mut text);
        } else if next.is_none() {
            index::end(&page, &mut text);
        }
        if is_first {
            let content = next.is_none().then_some(text.as_str());
            let last = last.filter(|_| content.is_some());
            self.send_head((listing, last), content, response, context);
        }
        match next {
            Some(_) if response.head_only => response.next_action(),
            Some(after) => {
                response.part(text.as_bytes(), false, context);
                self.names_sent = Some(names);
                Action::Continue(self.command(Some(after), self.limit - names, context))
            }
            None => {
                if !is_first {
                    response.part(text.as_bytes(), true, context);
                }
                response.next_action()
            }
        }
    }

    /// The head of the page or the index, with the content where that is complete; otherwise it follows in parts.
    fn send_head(
        &self,
        (listing, last): (&Listing, Option<&Entry>),
        content: Option<&str>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) {
        if content.is_none() {
            response.set_length_unknown();
        }
        response.head(200, context);
        let is_page = HAS_PAGE && self.format == ListingFormat::Page;
        let policy = if is_page { page::content_security_policy() } else { index::CONTENT_SECURITY_POLICY };
        field("Content-Security-Policy", &policy, context.out);
        field("Referrer-Policy", &"same-origin", context.out);
        counts(listing, context.out);
        if let Some(last) = last {
            self.link_next(last, context.out);
        }
        vary(context.out);
        let media_type = "text/html; charset=utf-8";
        match content {
            Some(content) => response.content(media_type, content.as_bytes(), context),
            None => response.begin_parts(media_type, context),
        }
    }

    /// RFC 8288: where the list continues.
    fn link_next(&self, last: &Entry, out: &mut Vec<u8>) {
        field("Link", &format!("<{}>; rel=\"next\"", self.next(last)), out);
    }

    /// The query for what follows this entry, with its `?`.
    fn next(&self, last: &Entry) -> String {
        let Order { by, descending, filter } = &self.order;
        let mut next = String::from(if self.recursive { "?recursive&" } else { "?" });
        next.push_str(match by {
            By::Bytes => "",
            By::Name => "sort=name&",
            By::Size => "sort=size&",
            By::Mtime => "sort=mtime&",
        });
        next.push_str(if *descending { "order=desc&" } else { "" });
        if let Some(filter) = filter {
            let _ = write!(next, "filter={}&", target::component(filter));
        }
        let cursor = self.order.cursor(last);
        let _ = write!(next, "after={}&limit={}", target::component(&cursor), self.limit);
        if let Some(carried) = &self.link {
            let _ = write!(next, "&{}", carried.trim_start_matches('?'));
        }
        next
    }

    pub(crate) fn failed(&self, failure: Failure, response: &ResponseMeta, context: &mut Context<'_>) -> Action {
        if self.names_sent.is_some() {
            // What was sent must not look complete.
            return Action::Reset(CloseReason::SourceFailed);
        }
        // A file has no names under it: nothing has this address.
        let failure = if let Failure::Conflict(_) = failure { Failure::NotFound } else { failure };
        response.refuse(failure, Some(&self.key), context)
    }
}

/// The signed link that the caller holds, if it is for this directory: the addresses of what is in it carry it on.
pub(crate) fn carried(head: &Head<'_>, dir: &Key, context: &Context<'_>) -> Result<Option<Box<str>>, Failure> {
    let Some(query) = head.query.filter(|_| context.caller.link().is_some_and(|link| link.covers(dir))) else {
        return Ok(None);
    };
    let link = target::parameter(query, link::PARAMETER)?;
    let query = link.map(|link| format!("?{}={}", link::PARAMETER, target::component(&link)));
    Ok(query.filter(|query| query.len() <= CARRIED_LEN_MAX).map(String::into_boxed_str))
}

/// The order that a query asks for. A page begins as people expect it to.
fn order(query: &Query, format: ListingFormat) -> Order {
    let is_of_page = format == ListingFormat::Page && query.after.is_none();
    let by = match query.sort {
        Some(by) => by,
        None if query.descending.is_some() || is_of_page => By::Name,
        None => By::Bytes,
    };
    Order { by, descending: query.descending == Some(true), filter: query.filter.clone() }
}

/// The last of the `fitting` entries that are sent, if more follow it.
pub(super) fn last_before_more(listing: &Listing, fitting: usize) -> Option<&Entry> {
    let last = listing.entries.get(fitting.checked_sub(1)?)?;
    (listing.more || fitting < listing.entries.len()).then_some(last)
}

/// Bytes of content in one part: head and content count against the buffers of one transfer slot.
pub(super) fn content_bytes_max(context: &Context<'_>) -> usize {
    (context.limits.fixed.chunk_bytes * context.limits.fixed.chunks_per_slot).max(REPLY_BYTES_MIN) - HEAD_BYTES_MAX
}

/// How many names of the directory are not listed, where there are such, and how many all pages have.
pub(super) fn counts(listing: &Listing, out: &mut Vec<u8>) {
    if listing.unlisted > 0 {
        field("Unlisted-Names", &listing.unlisted, out);
    }
    if let Some(total) = listing.total {
        field("Filewharf-Total", &total, out);
    }
}

/// The response depends on `Accept`, and on what is there now.
fn vary(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Vary: Accept\r\nCache-Control: no-cache\r\n");
}

/// Writes as many entries as fit into `bytes_max` with what is there, at least one; returns how many.
pub(super) fn write_rows(
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
/// size nor etag, and what could not be looked at has no mtime either. `"may":"rd"` where the
/// rights are others than in the directory, and `"link":true` where the caller can make a signed link.
fn write_object(entry: &Entry, (has_link, may): (bool, Option<Rights>), out: &mut String) {
    out.push_str("{\"name\":");
    json::quote(&entry.name, out);
    out.push_str(if entry.is_dir { ",\"type\":\"folder\"" } else { ",\"type\":\"file\"" });
    let _ = match entry.node {
        Some(Node::File(meta)) => {
            let exec = if meta.is_executable { ",\"exec\":true" } else { "" };
            write!(out, ",\"size\":{},\"mtime\":{},\"etag\":\"{}\"{exec}", meta.len, meta.mtime, meta.etag)
        }
        Some(Node::Dir { mtime }) => write!(out, ",\"mtime\":{mtime}"),
        None => Ok(()),
    };
    if let Some(may) = may {
        let _ = write!(out, ",\"may\":\"{may}\"");
    }
    out.push_str(if has_link { ",\"link\":true}" } else { "}" });
}
