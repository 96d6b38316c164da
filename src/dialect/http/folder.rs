//! Folders: the page for people, one JSON object a line for programs.
//!
//! One page of names at a time, whatever the folder's size; the next is found behind the last name
//! of this one.

use std::fmt::Write as _;

use crate::command::Command;
use crate::dialect::http::page::{self, Page};
use crate::dialect::http::reply::{Manner, field};
use crate::dialect::{Act, Talk};
use crate::error::Failure;
use crate::object::{Entry, Key, Listing, Node};
use crate::platform::Health;
use crate::wire::http::accept;
use crate::wire::http::head::Head;
use crate::wire::http::target;
use crate::wire::json;

/// Most names of a page for people, who have a script that asks for more, or a link to follow.
const PAGE_NAMES_MAX: usize = 200;

/// A GET or HEAD of a folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    key: Key,
    after: Option<Box<str>>,
    limit: usize,
    form: accept::Listing,
}

impl Folder {
    pub(super) fn of(head: &Head<'_>, key: Key, talk: &Talk<'_>) -> Result<(Self, Command), Failure> {
        let query = head.query.map(target::query).transpose()?.unwrap_or_default();
        let form = accept::listing(head.fields.accept.lines());
        let names_max = match form {
            accept::Listing::Html => talk.limits.list_names_max.min(PAGE_NAMES_MAX),
            accept::Listing::Json => talk.limits.list_names_max,
        };
        let limit = query.limit.map_or(names_max, |limit| limit.min(names_max));
        let command = Command::List { key: key.clone(), after: query.after.clone(), limit };
        Ok((Self { key, after: query.after, limit, form }, command))
    }

    pub(super) fn listed(&self, mut listing: Listing, manner: &Manner, talk: &mut Talk<'_>) -> Act {
        let mut content = Vec::new();
        manner.head(200, talk);
        let kind = match self.form {
            accept::Listing::Html => {
                // A name may take twelve times its length, and the reply lives on the slot's account.
                let fitting = page::fitting(&listing.entries, talk.limits.chunk_bytes * talk.limits.chunks_per_slot);
                listing.more |= fitting < listing.entries.len();
                listing.entries.truncate(fitting);
                let listing = &listing;
                let writable = !talk.access.is_read_only() && talk.counters.health == Health::Good;
                let Self { key: folder, after, limit, .. } = self;
                page::write(&Page { folder, listing, after: after.as_deref(), writable, limit: *limit }, &mut content);
                field("Content-Security-Policy", &page::content_security_policy(), talk.out);
                field("Referrer-Policy", &"same-origin", talk.out);
                "text/html; charset=utf-8"
            }
            accept::Listing::Json => {
                let mut lines = String::new();
                listing.entries.iter().for_each(|entry| write_line(entry, &mut lines));
                content = lines.into_bytes();
                "application/x-ndjson"
            }
        };
        if let Some(last) = listing.entries.last().filter(|_| listing.more) {
            self.link_next(last, talk.out);
        }
        // What is sent depends on what was asked for, and on what is there now.
        talk.out.extend_from_slice(b"Vary: Accept\r\nCache-Control: no-cache\r\n");
        manner.content_of(kind, &content, talk);
        manner.then()
    }

    /// RFC 8288: where the list goes on, relative to the target.
    fn link_next(&self, last: &Entry, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Link: <?after=");
        target::encode_component(&last.name, out);
        out.extend_from_slice(format!("&limit={}>; rel=\"next\"\r\n", self.limit).as_bytes());
    }

    pub(super) fn failed(&self, failure: Failure, manner: &Manner, talk: &mut Talk<'_>) -> Act {
        // A file has no names beneath it: there is nothing under this address.
        let failure = if let Failure::Conflict(_) = failure { Failure::NotFound } else { failure };
        manner.refuse(failure, Some(&self.key), talk, manner.then())
    }
}

/// `{"name":"a.txt","type":"file","size":5,"mtime":1700000000,"etag":"…"}` and a line feed. A
/// folder has neither size nor etag.
fn write_line(entry: &Entry, out: &mut String) {
    out.push_str("{\"name\":");
    json::quote(&entry.name, out);
    let _ = match entry.node {
        Node::File(meta) => writeln!(
            out,
            ",\"type\":\"file\",\"size\":{},\"mtime\":{},\"etag\":\"{}\"}}",
            meta.len, meta.mtime, meta.etag
        ),
        Node::Folder { mtime } => writeln!(out, ",\"type\":\"folder\",\"mtime\":{mtime}}}"),
    };
}
