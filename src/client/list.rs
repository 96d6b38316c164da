//! Listings: pages of a folder as one stream of entries.
//!
//! At most one page is held. Names are passed on as the server sent them; who makes local files
//! of them asks [`Entry::is_safe`] first.

use std::collections::VecDeque;

use super::link::Link;
use super::{Client, ClientError, Trouble, as_folder};
use crate::wire::key;
use crate::wire::line::{Reply, escape};
use crate::wire::range::decimal;

/// Largest page taken from a server: 1,000 of the longest lines, four times over.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Without a slash at its end.
    pub name: String,
    /// It is a folder.
    pub folder: bool,
    /// Bytes; 0 for a folder.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// The version; folders have none.
    pub etag: Option<String>,
}

impl Entry {
    /// Is the name one plain component, so that a file of this name stays within its folder?
    pub fn is_safe(&self) -> bool {
        !self.name.contains('/') && key::component(&self.name).is_ok()
    }

    /// Reads `SIZE MTIME ETAG NAME`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (size, mtime, etag, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let mtime = decimal(mtime)?;
        match name.strip_suffix('/') {
            Some(name) if size == "-" => Some(Self { name: name.to_owned(), folder: true, size: 0, mtime, etag: None }),
            _ => {
                let (name, etag) = (name.to_owned(), Some(etag.to_owned()));
                Some(Self { name, folder: false, size: decimal(size)?, mtime, etag })
            }
        }
    }
}

/// The entries of a folder. A failed page ends it.
#[derive(Debug)]
pub struct Listing<'a> {
    client: &'a mut Client,
    path: String,
    after: Option<String>,
    page: VecDeque<Result<Entry, Trouble>>,
    more: bool,
}

impl<'a> Listing<'a> {
    pub(super) fn new(client: &'a mut Client, path: &str) -> Self {
        Self { client, path: as_folder(path), after: None, page: VecDeque::new(), more: true }
    }

    /// Asks for the next page.
    fn turn(&mut self) -> Result<(), ClientError> {
        self.client.check(&self.path)?;
        let line = match &self.after {
            Some(after) => format!("LIST after={} {}\n", escape(after), self.path),
            None => format!("LIST {}\n", self.path),
        };
        let (reply, body) = self.client.attempt(&self.path, &mut (), |link, _| page(link, &line))?;
        let after = self.after.take();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry = std::str::from_utf8(line).ok().and_then(Entry::parse);
            let Some(entry) = entry else {
                let shown = String::from_utf8_lossy(line).into_owned();
                self.page.push_back(Err(Trouble::Strange(format!("a line of the listing is {shown}"))));
                continue;
            };
            self.after = Some(entry.name.clone());
            self.page.push_back(Ok(entry));
        }
        self.more = reply.key("more") == Some("1");
        // A page that leads nowhere would be asked for again without end.
        if self.more && self.after <= after {
            self.more = false;
            self.page.push_back(Err(Trouble::Strange("a page of the listing does not lead on".to_owned())));
        }
        Ok(())
    }
}

/// Asks for one page and reads it whole.
fn page(link: &mut Link, line: &str) -> Result<(Reply, Vec<u8>), Trouble> {
    link.ask(line)?;
    let reply = link.ok()?;
    let Reply::Ok { size, .. } = reply else { return Err(Trouble::Strange("no size".to_owned())) };
    if size > PAGE_BYTES_MAX {
        return Err(Trouble::Strange(format!("a page of the listing has {size} bytes")));
    }
    let mut body = Vec::new();
    link.body(size, |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((reply, body))
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.page.is_empty() && self.more {
            if let Err(error) = self.turn() {
                self.more = false;
                return Some(Err(error));
            }
        }
        let entry = self.page.pop_front()?;
        Some(entry.map_err(|trouble| trouble.at(self.client.address(), &self.path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_listing_are_read_with_blanks_in_names() {
        let file = Entry::parse("12 34 ab-cd a b  c").expect("a file");
        assert_eq!((file.name.as_str(), file.size, file.mtime, file.folder), ("a b  c", 12, 34, false));
        let folder = Entry::parse("- 5 - some folder/").expect("a folder");
        assert_eq!((folder.name.as_str(), folder.folder, folder.etag), ("some folder", true, None));
        for bad in ["", "1 2 3", "x 2 3 n", "- 2 - n", "1 -2 3 n"] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_would_leave_their_folder_are_not_safe() {
        for bad in ["", ".", "..", "../a", "a/b", "/etc", "a\0", "a\u{1b}"] {
            let entry = Entry { name: bad.to_owned(), folder: false, size: 0, mtime: 0, etag: None };
            assert!(!entry.is_safe(), "{bad:?}");
        }
    }
}
