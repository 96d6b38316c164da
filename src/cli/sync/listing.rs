//! The two listings of a sync: names of the server, which are not trusted, and of this machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use rustix::fs::OFlags;

use super::sides::Sides;
use crate::cli::worker::Worker;
use crate::client::sync::{Facts, Item, Node, PlanError};
use crate::client::{Client, ClientError, Dir, Entry, ErrorKind, PageOptions, as_dir};
use crate::wire::key;

/// Opens a file of a local directory. No link on the way is followed.
pub(super) fn open_in(tree: &Dir, path: &str) -> io::Result<File> {
    let (parent, name) = split(path);
    tree.find(parent)?.open_file(OsStr::new(name), OFlags::RDONLY)
}

/// The directory that a path is in, and the last component.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Sides<'_> {
    /// A client for the directory of the server; `None` if it is missing. A source must be there.
    pub(super) fn remote_dir<'w>(&self, worker: &'w mut Worker<'_>) -> Result<Option<&'w mut Client>, PlanError> {
        let (address, path) = (&self.remote.address, self.remote_path("."));
        let stat = |client: &mut Client| client.stat(if path == "/" { "/" } else { path.trim_end_matches('/') });
        let conflict = |why: &str| PlanError::Server(ErrorKind::conflict(why).at(address, &path));
        match worker.try_on(address, stat) {
            Some(Ok(entry)) if entry.dir => {}
            Some(Ok(_)) => return Err(conflict("is a file; for files there are put and get")),
            Some(Err(error)) if error.kind.code() == Some(404) && self.is_upload => return Ok(None),
            Some(Err(error)) => return Err(PlanError::Server(error)),
            None => return Err(conflict("the server cannot be used")),
        }
        Ok(worker.client())
    }

    /// All names of the directory of the server.
    pub(super) fn listed<'c>(
        &'c self,
        client: &'c mut Client,
    ) -> impl Iterator<Item = Result<Item, PlanError>> + use<'c> {
        let options = PageOptions { digests: true, exec: self.args.perms, recursive: true };
        client.listing(&as_dir(&self.remote_path(".")), options).filter_map(|entry| self.remote_item(entry))
    }

    fn remote_item(&self, entry: Result<Entry, ClientError>) -> Option<Result<Item, PlanError>> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if matches!(error.kind, ErrorKind::Unlisted(_)) => {
                match self.is_upload {
                    true => self.run.reporter.warn(&error),
                    false => self.run.reporter.failed(&error),
                }
                return None;
            }
            Err(error) => return Some(Err(PlanError::Server(error))),
        };
        if key::relative(&entry.name).is_err() {
            let why = format!("the server lists the name {:?}, refused", entry.name);
            return Some(Err(PlanError::Server(ErrorKind::Protocol(why).at(&self.remote.address, &self.base))));
        }
        let node = if !self.takes(&entry.name, entry.dir) {
            Node::Excluded
        } else if !self.is_upload && Self::is_part(&entry.name) {
            Node::Skipped
        } else if entry.unseen {
            Node::Broken("the server cannot look at it".to_owned())
        } else if entry.dir {
            Node::Dir
        } else {
            let Entry { size, mtime, sha256, executable, .. } = entry;
            let version = entry.etag.unwrap_or_default();
            Node::File(Facts { size, mtime, version, sha256, executable })
        };
        Some(Ok(Item { path: entry.name, node }))
    }

    /// What the walk found, as this command takes it.
    pub(super) fn local_item(&self, item: Result<Item, PlanError>) -> Result<Item, PlanError> {
        let mut item = item?;
        if self.is_upload && Self::is_part(&item.path) {
            item.node = Node::Skipped;
        } else if let Node::File(facts) = &mut item.node {
            facts.executable &= self.args.perms;
        }
        Ok(item)
    }
}
