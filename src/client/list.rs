//! Listings: pages of a directory as one stream of entries, of which at most one page is held.

use super::address::as_dir;
use super::connection::Connection;
use super::entry::Entry;
use super::error::{ClientError, ErrorKind};
use super::page::PageOptions;
use super::requests::Client;
use crate::wire::line::{Reply, escape};
use crate::wire::range::decimal;

/// Most names in one page; the protocol promises no more.
const PAGE_NAMES_MAX: usize = 1000;
/// Largest page taken from a server, in bytes: this many lines, each three times the longest name.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// One page of a directory.
#[derive(Debug)]
pub(crate) struct Page {
    /// In the order of the server; lines that cannot be parsed are errors.
    pub(crate) entries: Vec<Result<Entry, ErrorKind>>,
    /// The name after which the next page begins, if there is one.
    pub(crate) next: Option<String>,
}

impl Client {
    /// One level of a directory of any size. A page is requested when the one before is used up.
    pub fn list(&mut self, path: &str) -> Listing<'_> {
        self.listing(path, PageOptions::default())
    }

    /// Everything under a directory: as [`Self::list`], and the names are paths below it.
    pub fn list_all(&mut self, path: &str) -> Listing<'_> {
        self.listing(path, PageOptions { recursive: true, ..PageOptions::default() })
    }

    /// What a directory holds, as these options say.
    pub(crate) fn listing(&mut self, path: &str, options: PageOptions) -> Listing<'_> {
        Listing { client: self, path: as_dir(path), options, page: Vec::new().into_iter(), next: Some(None) }
    }

    /// The page of a directory that begins after the name `after`, or the first one.
    pub(crate) fn page(&mut self, path: &str, after: Option<&str>, options: PageOptions) -> Result<Page, ClientError> {
        let path = as_dir(path);
        self.check(&path)?;
        let digest = if options.digests { "digest=1 " } else { "" };
        let line = list_line(digest, &path, after, options);
        self.attempt(&path, &mut (), || true, |connection, _| page(connection, &line, after, options))
    }
}

fn list_line(told: &str, path: &str, after: Option<&str>, options: PageOptions) -> String {
    let after = after.map(|after| format!("after={} ", escape(after))).unwrap_or_default();
    let recursive = if options.recursive { "recursive=1 " } else { "" };
    let exec = if options.exec { "exec=1 " } else { "" };
    let limit = options.limit.map_or_else(String::new, |limit| format!("limit={limit} "));
    format!("LIST {recursive}{told}{exec}{limit}{after}{path}\n")
}

/// Asks for the sum of a page, which is one line: `names=`, `sum=`, and `more=` and `unlisted=` as a page has them.
pub(crate) fn sum_line(path: &str, after: Option<&str>, options: PageOptions) -> String {
    list_line("sum=1 ", path, after, options)
}

/// The order of names, and of paths component by component.
fn components(path: &str) -> std::str::Split<'_, char> {
    path.split('/')
}

/// Requests one page and reads all of it.
fn page(connection: &mut Connection, line: &str, after: Option<&str>, options: PageOptions) -> Result<Page, ErrorKind> {
    let reply = connection.ask(line)?;
    let Reply::Ok { size, .. } = reply else { return Err(ErrorKind::Protocol("no size".to_owned())) };
    if size > PAGE_BYTES_MAX {
        return Err(ErrorKind::Protocol(format!("a page of the listing has {size} bytes")));
    }
    let mut body = Vec::new();
    connection.body(size, |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    let mut entries = Vec::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if entries.len() == PAGE_NAMES_MAX {
            return Err(ErrorKind::Protocol(format!("a page of the listing has more than {PAGE_NAMES_MAX} names")));
        }
        let entry = std::str::from_utf8(line).ok().and_then(|line| Entry::parse(line, options));
        entries.push(entry.ok_or_else(|| {
            let shown = String::from_utf8_lossy(line).into_owned();
            ErrorKind::Protocol(format!("a line of the listing is {shown}"))
        }));
    }
    let last = entries.iter().rev().find_map(|entry| Some(entry.as_ref().ok()?.name.clone()));
    let mut next = (reply.key("more") == Some("1")).then_some(last);
    // A page that does not advance would be requested again without end.
    let leads_on = |last: &str| after.is_none_or(|after| components(last).gt(components(after)));
    if next.take_if(|last| !last.as_deref().is_some_and(leads_on)).is_some() {
        entries.push(Err(ErrorKind::Protocol("a page of the listing does not lead on".to_owned())));
    }
    // Every page of one level tells the same; of a recursive listing, each tells of the directories that it begins.
    if let (true, Some(count)) = (next.is_none() || options.recursive, reply.key("unlisted").and_then(decimal)) {
        entries.push(Err(ErrorKind::Unlisted(count)));
    }
    Ok(Page { entries, next: next.flatten() })
}

/// Iterates over the entries of a directory; see [`Client::list`] and [`Client::list_all`]. A failed page ends it.
#[derive(Debug)]
pub struct Listing<'a> {
    client: &'a mut Client,
    path: String,
    options: PageOptions,
    page: std::vec::IntoIter<Result<Entry, ErrorKind>>,
    /// The next page to request, by the name after which it begins.
    next: Option<Option<String>>,
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(entry.map_err(|kind| self.client.error(&self.path, kind)));
            }
            let after = self.next.take()?;
            match self.client.page(&self.path, after.as_deref(), self.options) {
                Ok(page) => {
                    self.page = page.entries.into_iter();
                    self.next = page.next.map(Some);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
