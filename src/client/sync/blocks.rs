//! Compares a local listing with that of a server block by block: of a block of names with the same digest on both sides,
//! the server does not send the names. Never more than a batch of blocks is held.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::iter::empty;

use super::item::{Facts, Item, Node, PlanError, order};
use super::merge::Merge;
use crate::wire::key;
use crate::wire::listing_sum::ListingSum;

/// Names of one block.
const BLOCK_NAMES: usize = if cfg!(test) { 2 } else { 256 };
/// Blocks that are asked for together, in one round trip.
const BATCH_BLOCKS: usize = if cfg!(test) { 2 } else { 100 };
/// Names of a page beyond those that the local directory has.
const PAGE_SLACK: usize = if cfg!(test) { 1 } else { 32 };

/// What is asked of a server about some names of its listing.
#[derive(Debug)]
pub(crate) struct Block {
    /// The path before the first one, as it is on this side.
    pub(crate) after: Option<String>,
    pub(crate) names: usize,
}

/// What a server says of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSum {
    pub(crate) names: usize,
    pub(crate) sum: Box<str>,
    /// Names follow.
    pub(crate) more: bool,
}

/// A page of the listing of a server.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Result<Item, PlanError>>,
    /// The path after which the next one begins.
    pub(crate) next: Option<String>,
}

/// The listing of a server.
pub(crate) trait Remote {
    /// The sums of these blocks; `None` for one that is not known, or has names that no line can carry.
    fn sums(&mut self, blocks: &[Block]) -> Vec<Option<BlockSum>>;
    /// What comes after this path: at most this many names, or as many as fit a page.
    fn page(&mut self, after: Option<&str>, names: Option<usize>) -> Result<Page, PlanError>;
}

/// Names of the local directory in their order.
struct Local {
    items: Vec<Item>,
    after: Option<String>,
    /// The last path that can be named to a server.
    last: Option<String>,
    /// Of how many names, and what the sum is of these; `None` if equal names and times would not be enough.
    names: usize,
    sum: Option<Box<str>>,
    /// What a server has after `last` is after the last one of these names as well.
    is_tight: bool,
    /// No more follow.
    is_end: bool,
}

impl Local {
    /// The next block of a listing. `is_certain`: equal size and time mean equal content.
    fn next(
        items: &mut impl Iterator<Item = Result<Item, PlanError>>,
        after: Option<String>,
        exec: bool,
        is_certain: impl Fn(&Facts) -> bool,
    ) -> Result<Self, PlanError> {
        let mut block =
            Self { items: Vec::new(), after, last: None, names: 0, sum: None, is_tight: false, is_end: false };
        let (mut sum, mut is_comparable) = (ListingSum::new(exec), true);
        while block.names < BLOCK_NAMES && block.items.len() < 2 * BLOCK_NAMES {
            let Some(item) = items.next().transpose()? else {
                block.is_end = true;
                break;
            };
            match &item.node {
                Node::Dir => sum.dir(&item.path),
                Node::File(facts) => {
                    sum.file(&item.path, (facts.size, facts.mtime), facts.executable);
                    is_comparable &= is_certain(facts);
                }
                Node::Broken(_) => is_comparable = false,
                Node::Excluded | Node::Skipped | Node::Unnamed(_) => {}
            }
            block.names += usize::from(is_counted(&item));
            if !matches!(item.node, Node::Unnamed(_)) && key::relative(&item.path).is_ok() {
                block.last = Some(item.path.clone());
                block.is_tight = is_counted(&item);
            }
            block.items.push(item);
        }
        block.sum = Some(sum.finish()).filter(|_| is_comparable);
        Ok(block)
    }

    /// What a server is asked about it; `None` for a block without a place in its listing.
    fn question(&self) -> Option<Block> {
        let is_placed = self.last.is_some() || self.is_end;
        is_placed.then(|| Block { after: self.after.clone(), names: self.names.max(1) })
    }

    fn state(&self, told: Option<&BlockSum>) -> State {
        match told {
            Some(told) if told.names == 0 && !told.more => State::Over,
            Some(told) if told.names != self.names || self.sum.as_ref() != Some(&told.sum) => State::Other,
            Some(told) if self.is_tight || !told.more => State::Equal { is_last: !told.more },
            _ => State::Other,
        }
    }
}

/// How the names of a server are beside those of a local block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Equal {
        /// The server has no more.
        is_last: bool,
    },
    /// The server has none from here on.
    Over,
    /// No server can be asked about it.
    Unplaced,
    Other,
}

/// True for what a server lists as well.
fn is_counted(item: &Item) -> bool {
    matches!(item.node, Node::Dir | Node::File(_))
}

/// What a server has that is equal to the local names.
fn mirrored(items: &[Item]) -> Vec<Item> {
    let mut all: Vec<Item> = items.iter().filter(|item| is_counted(item)).cloned().collect();
    for item in &mut all {
        if let Node::File(facts) = &mut item.node {
            (facts.version, facts.sha256) = (String::new(), None);
        }
    }
    all
}

/// The names of a server after one path, and up to another.
struct Range<'a, R> {
    remote: &'a mut R,
    items: VecDeque<Result<Item, PlanError>>,
    /// The page that comes next, by the path before it.
    next: Option<Option<String>>,
    until: Option<String>,
    /// Names of the local directory that the pages so far had no place for.
    names_left: usize,
}

impl<'a, R> Range<'a, R> {
    fn new(remote: &'a mut R, after: Option<String>, until: Option<String>, names: usize) -> Self {
        Self { remote, items: VecDeque::new(), next: Some(after), until, names_left: names }
    }
}

impl<R: Remote> Iterator for Range<'_, R> {
    type Item = Result<Item, PlanError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.items.is_empty() {
            let after = self.next.take()?;
            // A server that has many more names sends them in few pages.
            let names = (self.names_left > 0).then_some(self.names_left + PAGE_SLACK);
            match self.remote.page(after.as_deref(), names) {
                Ok(page) => {
                    self.names_left = self.names_left.saturating_sub(page.items.len());
                    self.next = page.next.map(Some);
                    self.items = page.items.into();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let item = self.items.pop_front()?;
        let place = match (&item, &self.until) {
            (Ok(item), Some(until)) => order(&item.path, until),
            _ => Ordering::Less,
        };
        if place != Ordering::Less {
            self.next = None;
            self.items.clear();
        }
        (place != Ordering::Greater).then_some(item)
    }
}

/// Compares all that is local with all that the server has; `remote` is `None` where the directory is missing. With `exec`,
/// execute bits count.
pub(crate) fn compare(
    mut merge: Merge<'_>,
    mut local: impl Iterator<Item = Result<Item, PlanError>>,
    remote: Option<&mut impl Remote>,
    exec: bool,
) -> Result<(), PlanError> {
    match remote {
        None => merge.range(local, empty())?,
        Some(remote) if merge.rules.equality.needs_digest() => {
            merge.range(local, Range::new(remote, None, None, 0))?;
        }
        Some(remote) => {
            let (mut after, mut is_over) = (None, false);
            while !is_over {
                let mut batch: Vec<Local> = Vec::new();
                while batch.len() < BATCH_BLOCKS && batch.last().is_none_or(|block| !block.is_end) {
                    let block = Local::next(&mut local, after.clone(), exec, |facts| !merge.rules.is_recent(facts))?;
                    after = block.last.clone().or(after);
                    batch.push(block);
                }
                is_over = compare_batch(&mut merge, batch, remote)?;
            }
            merge.range(local, empty())?;
        }
    }
    Ok(merge.finish()?)
}

/// True if one of the sides has no names after the batch.
fn compare_batch(merge: &mut Merge<'_>, batch: Vec<Local>, remote: &mut impl Remote) -> Result<bool, PlanError> {
    let questions: Vec<Block> = batch.iter().filter_map(Local::question).collect();
    let mut told = remote.sums(&questions).into_iter();
    let blocks = batch.into_iter().map(|block| {
        let state = match block.question() {
            Some(_) => block.state(told.next().flatten().as_ref()),
            None => State::Unplaced,
        };
        (state, block)
    });
    let (mut blocks, mut is_over) = (blocks.peekable(), false);
    while let Some((state, mut block)) = blocks.next() {
        match state {
            State::Unplaced | State::Over => merge.range(found(block.items), empty())?,
            State::Equal { is_last } => {
                let there = mirrored(&block.items);
                merge.range(found(block.items), found(there))?;
                if block.is_end && !is_last {
                    merge.range(empty(), Range::new(remote, block.last, None, 0))?;
                }
            }
            State::Other => {
                while let Some((_, next)) = blocks.next_if(|(state, _)| *state == State::Other) {
                    block.items.extend(next.items);
                    block.names += next.names;
                    block.last = next.last.or(block.last);
                    block.is_end = next.is_end;
                }
                let until = block.last.filter(|_| !block.is_end);
                merge.range(found(block.items), Range::new(remote, block.after, until, block.names))?;
            }
        }
        is_over = block.is_end || matches!(state, State::Over | State::Equal { is_last: true });
    }
    Ok(is_over)
}

fn found(items: Vec<Item>) -> impl Iterator<Item = Result<Item, PlanError>> {
    items.into_iter().map(Ok)
}
