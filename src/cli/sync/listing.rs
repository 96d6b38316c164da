//! The two listings of a sync: names of the server, which are not trusted, and of this machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::iter::Enumerate;

use rustix::fs::OFlags;

use super::sides::Sides;
use crate::cli::worker::Worker;
use crate::client::sync::{Block, BlockSum, Facts, Item, Node, Page, PlanError, Remote};
use crate::client::{Answer, Client, ClientError, Dir, Entry, ErrorKind, Jobs, PageOptions, Request, as_dir, sum_line};
use crate::wire::key;
use crate::wire::range::decimal;

/// Opens a file of a local directory. No link on the way is followed.
pub(super) fn open_in(tree: &Dir, path: &str) -> io::Result<File> {
    let (parent, name) = split(path);
    tree.find(parent)?.open_file(OsStr::new(name), OFlags::RDONLY)
}

/// The directory that a path is in, and the last component.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The names of the directory of the server.
pub(super) struct Listed<'a> {
    sides: &'a Sides<'a>,
    client: &'a mut Client,
    dir: String,
}

impl<'a> Listed<'a> {
    pub(super) fn new(sides: &'a Sides<'a>, client: &'a mut Client) -> Self {
        Self { sides, client, dir: as_dir(&sides.remote_path(".")) }
    }
}

fn options(exec: bool, limit: Option<usize>) -> PageOptions {
    PageOptions { digests: true, exec, recursive: true, limit }
}

impl Remote for Listed<'_> {
    fn sums(&mut self, blocks: &[Block]) -> Vec<Option<BlockSum>> {
        let (dir, exec) = (&*self.dir, self.sides.args.perms);
        let line = |block: &Block| sum_line(dir, block.after.as_deref(), options(exec, Some(block.names)));
        let mut jobs = Sums { lines: blocks.iter().map(line).enumerate(), told: vec![None; blocks.len()] };
        self.client.pipeline(&mut jobs);
        jobs.told
    }

    fn page(&mut self, after: Option<&str>, names: Option<usize>) -> Result<Page, PlanError> {
        let page =
            self.client.page(&self.dir, after, options(self.sides.args.perms, names)).map_err(PlanError::Server)?;
        let items = page.entries.into_iter().filter_map(|entry| {
            self.sides.remote_item(entry.map_err(|kind| kind.at(&self.sides.remote.address, &self.dir)))
        });
        Ok(Page { items: items.collect(), next: page.next })
    }
}

/// Asks for the sums of blocks.
struct Sums<I> {
    lines: Enumerate<I>,
    told: Vec<Option<BlockSum>>,
}

impl<I: Iterator<Item = String>> Jobs for Sums<I> {
    type Job = usize;

    fn next(&mut self) -> Option<(usize, Request)> {
        let (place, line) = self.lines.next()?;
        Some((place, Request::new(line.into_bytes())))
    }

    fn done(&mut self, place: &usize, answer: Answer) -> bool {
        let reply = answer.reply;
        let names = reply.key("names").and_then(decimal).and_then(|names| usize::try_from(names).ok());
        if let (Some(names), Some(sum), None) = (names, reply.key("sum"), reply.key("unlisted")) {
            let more = reply.key("more") == Some("1");
            self.told[*place] = Some(BlockSum { names, sum: sum.into(), more });
        }
        true
    }
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
