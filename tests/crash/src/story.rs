//! What the connections do, planned in advance, and what each may find after a power cut.
//!
//! A connection makes its changes one after the other, to names that only it touches. So after
//! every cut its files are exactly those after its last acknowledged change, or those after the
//! one that was under way: nothing older, nothing torn, nothing in between. (A move under way to
//! a name that must be free may be seen under both names: without a call for it, that is a link and its
//! removal. Of small uploads that are sent together, each name may have any version since the last acknowledged change.)
//! A few names are written by all; of these, no version may be older than an acknowledged one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::parts::Told;
use support::content::{Content, Random};

/// Most files of one connection at a time: everything must fit on a small disk.
const FILES_MAX: usize = 6;
/// Names that all connections write.
const HOT_NAMES: u64 = 3;
/// Longest content. From 64 KiB on the server no longer takes an upload as a whole.
const LEN_MAX: u64 = 220 << 10;
/// At most this many uploads are sent together, if they are no longer than that; some before one of that many changes.
const TOGETHER_MAX: usize = 8;
const TOGETHER_LEN_MAX: u64 = 16 << 10;
const TOGETHER_EVERY: u64 = 10;
/// Most directories of one connection.
const DIRS_MAX: usize = 3;
/// Times that clients give to files, long before any that a file has by itself.
pub const TIMES: Range<i64> = 1_000_000_000..1_000_001_000;

/// One request that changes something. Of what is replaced and what replaces it, one is a directory; a directory is copied
/// to a new name.
#[derive(Clone, Debug)]
pub enum Change {
    Put { path: String, content: Content, framing: Framing, over: Over },
    Delete { path: String },
    Rename { from: String, to: String, over: Over },
    MakeDir { path: String },
    DeleteTree { path: String },
    Replace { from: String, to: String },
    SetTime { path: String, mtime: i64 },
    Copy { from: String, to: String },
}

/// How a client announces the length of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunks,
}

/// What may be replaced: there is another way to a name that must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Anything,
    Nothing,
}

impl Over {
    fn any(random: &mut Random) -> Self {
        if random.below(2) == 0 { Self::Anything } else { Self::Nothing }
    }
}

/// What happened beside the writes: which connection, which of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Not a byte of it was sent before this.
    Sent { line: usize, change: usize },
    /// Its acknowledgement was read before this.
    Acked { line: usize, change: usize },
    /// The upload that is made after each recovery was acknowledged before this.
    AckedAfterCut,
    /// The server has reported to a client how far an upload in parts is.
    Told { line: usize, upload: usize, told: Told },
}

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    File(Content),
    /// A client gave it this time.
    Dated(Content, i64),
    /// Only those that were asked for; directories made on the way are not recorded.
    Dir,
}

/// What a connection has.
pub type Own = BTreeMap<String, Node>;

/// The changes of one connection, and what it has before the first and after each.
pub struct Plan {
    pub changes: Vec<Change>,
    owns: Vec<Own>,
}

impl Plan {
    /// `changes` changes of connection `line`.
    pub fn new(line: usize, changes: usize, random: &mut Random) -> Self {
        let mut plan = Self { changes: Vec::new(), owns: vec![Own::new()] };
        let mut small = 0..0;
        for n in 0..changes {
            if random.below(TOGETHER_EVERY) == 0 {
                small = n..n + random.below(TOGETHER_MAX as u64) as usize;
            }
            let plan_one = if small.contains(&n) { small_put } else { next };
            plan.push(plan_one(line, n, &plan.owns[n], random));
        }
        plan
    }

    /// How many changes from this one on are sent together.
    pub fn together(&self, change: usize) -> usize {
        self.changes[change..].iter().take(TOGETHER_MAX).take_while(|change| change.is_small()).count().max(1)
    }

    fn push(&mut self, change: Change) {
        let mut own = self.owns[self.changes.len()].clone();
        apply(&mut own, &change);
        self.changes.push(change);
        self.owns.push(own);
    }
}

impl Change {
    fn is_small(&self) -> bool {
        matches!(self, Self::Put { content, framing: Framing::Length, .. } if content.len <= TOGETHER_LEN_MAX)
    }
}

/// Of a name that all use, of one that is there, or of a new one.
fn small_put(line: usize, n: usize, own: &Own, random: &mut Random) -> Change {
    let files: Vec<&String> = own.iter().filter(|(_, node)| **node != Node::Dir).map(|(path, _)| path).collect();
    let path = match random.below(6) {
        _ if files.len() >= FILES_MAX => files[0].clone(),
        0 => format!("/hot/hot-{}", random.below(HOT_NAMES)),
        1..4 if !files.is_empty() => files[random.below(files.len() as u64) as usize].clone(),
        _ => fresh(line, n, &[], random),
    };
    let content = Content::new(random.next() >> 8, random.below(TOGETHER_LEN_MAX));
    Change::Put { path, content, framing: Framing::Length, over: Over::Anything }
}

/// Every name ends in a part that says which line made it, even if a directory above it was moved.
fn next(line: usize, n: usize, own: &Own, random: &mut Random) -> Change {
    let files: Vec<&String> = own.iter().filter(|(_, node)| **node != Node::Dir).map(|(path, _)| path).collect();
    let dirs: Vec<&String> = own.iter().filter(|(_, node)| **node == Node::Dir).map(|(path, _)| path).collect();
    let pick = |of: &[&String], random: &mut Random| of[random.below(of.len() as u64) as usize].clone();
    let full = files.len() >= FILES_MAX;
    match random.below(28) {
        0..5 if !dirs.is_empty() => {
            let dir = pick(&dirs, random);
            let others: Vec<&String> = own.keys().filter(|path| !is_in(path, &dir) && !is_in(&dir, path)).collect();
            match random.below(5) {
                0 | 1 if own.keys().any(|path| *path != dir && is_in(path, &dir)) => Change::DeleteTree { path: dir },
                0 => Change::Delete { path: dir },
                2 | 3 if !others.is_empty() => {
                    let other = pick(&others, random);
                    let (from, to) = if random.below(3) == 0 { (other, dir) } else { (dir, other) };
                    Change::Replace { from, to }
                }
                _ => {
                    let to = format!("/made/at{}/{line}-made-{n}", n / 8);
                    Change::Rename { from: dir, to, over: Over::Anything }
                }
            }
        }
        5..7 if dirs.len() < DIRS_MAX => Change::MakeDir { path: format!("/made/{line}-made-{n}") },
        7..9 if !files.is_empty() => Change::Delete { path: pick(&files, random) },
        9..11 if !files.is_empty() => {
            let mtime = TIMES.start + random.below((TIMES.end - TIMES.start) as u64) as i64;
            Change::SetTime { path: pick(&files, random), mtime }
        }
        11..14 if !files.is_empty() => {
            let (from, other) = (pick(&files, random), pick(&files, random));
            if from != other && random.below(3) == 0 {
                return Change::Rename { from, to: other, over: Over::Anything };
            }
            Change::Rename { from, to: fresh(line, n, &dirs, random), over: Over::any(random) }
        }
        14 if !dirs.is_empty() && !full => {
            Change::Copy { from: pick(&dirs, random), to: format!("/made/{line}-made-{n}") }
        }
        15 if !files.is_empty() && !full => {
            let from = pick(&files, random);
            let to = if random.below(2) == 0 { pick(&files, random) } else { fresh(line, n, &dirs, random) };
            if from == to { Change::Delete { path: from } } else { Change::Copy { from, to } }
        }
        16..18 => put(format!("/hot/hot-{}", random.below(HOT_NAMES)), Over::Anything, random),
        _ if full || (!files.is_empty() && random.below(3) == 0) => put(pick(&files, random), Over::Anything, random),
        _ => put(fresh(line, n, &dirs, random), Over::any(random), random),
    }
}

/// A new name: in the root, in one large directory, in our own, or in one that others are making at
/// this moment too.
fn fresh(line: usize, n: usize, dirs: &[&String], random: &mut Random) -> String {
    let name = format!("{line}-{n}");
    match random.below(6) {
        0 => format!("/{name}"),
        1 | 2 => format!("/flat/{name}"),
        3 | 4 if !dirs.is_empty() => format!("{}/{name}", dirs[random.below(dirs.len() as u64) as usize]),
        _ => format!("/new/r{}/deep/{name}", n / 3),
    }
}

fn put(path: String, over: Over, random: &mut Random) -> Change {
    let len = match random.below(10) {
        0 => random.below(3),
        1..4 => random.below(4 << 10),
        4..8 => random.below(60 << 10),
        _ => random.below(LEN_MAX + 1),
    };
    let framing = if random.below(4) == 0 { Framing::Chunks } else { Framing::Length };
    Change::Put { path, content: Content::new(random.next() >> 8, len), framing, over }
}

/// True for a name that all connections write.
fn is_hot(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("hot-"))
}

/// The line that made this name; `None` for directories that were made on the way.
fn line_of(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.split_once('-')?.0.parse().ok()
}

/// True for a path, and for those under it.
fn is_in(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn apply(own: &mut Own, change: &Change) {
    match change {
        Change::Put { path, .. } if is_hot(path) => {}
        Change::Put { path, content, .. } => {
            own.insert(path.clone(), Node::File(*content));
        }
        Change::Delete { path } => {
            own.remove(path);
        }
        Change::DeleteTree { path } => own.retain(|there, _| !is_in(there, path)),
        Change::SetTime { path, mtime } => {
            if let Some(Node::File(content) | Node::Dated(content, _)) = own.get(path).copied() {
                own.insert(path.clone(), Node::Dated(content, *mtime));
            }
        }
        Change::Copy { from, to } => {
            let copied = own.iter().filter(|(path, _)| is_in(path, from));
            let copied = copied.map(|(path, node)| (format!("{to}{}", &path[from.len()..]), *node));
            own.extend(copied.collect::<Vec<_>>());
        }
        Change::Replace { from, to } => {
            own.retain(|there, _| !is_in(there, to));
            apply(own, &Change::Rename { from: from.clone(), to: to.clone(), over: Over::Anything });
        }
        Change::MakeDir { path } => {
            own.insert(path.clone(), Node::Dir);
        }
        Change::Rename { from, to, .. } => {
            let moved = own.iter().filter(|(path, _)| is_in(path, from));
            let moved = moved.map(|(path, node)| (path.clone(), format!("{to}{}", &path[from.len()..]), *node));
            for (path, to, node) in moved.collect::<Vec<_>>() {
                own.remove(&path);
                own.insert(to, node);
            }
        }
    }
}

/// What was found at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(Vec<u8>),
    /// With one of the times that clients give.
    Dated(Vec<u8>, i64),
    Dir,
}

/// Everything visible on an image.
pub type Visible = BTreeMap<String, Found>;

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// The file system does not come back.
    Unmountable,
    /// The server does not come back, or does not do its work.
    Unserved,
    /// Acknowledged, and not there, also not as a later version.
    Lost,
    /// No version that was ever sent.
    Torn,
    /// A version older than the acknowledged one.
    Stale,
    /// Less is safe of an upload than was reported.
    Fell,
    /// Acknowledged as deleted or moved, and there again.
    Returned,
    /// Moved, and now under neither name, or under both where nothing needs that.
    Vanished,
    /// What a move under way was to replace is gone, and the moved is still where it was.
    TargetGone,
    /// Left in the staging directory, or in a listing that must not have it.
    Unswept,
}

/// One thing that is wrong, in words.
#[derive(Clone, Debug)]
pub struct Violation {
    pub wrong: Wrong,
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.wrong, self.words)
    }
}

/// When everything happened, as places in the log.
pub struct History<'a> {
    plans: &'a [Plan],
    /// By connection and change; changes are sent and acknowledged in their order.
    sent: Vec<Vec<usize>>,
    acked: Vec<Vec<usize>>,
}

impl<'a> History<'a> {
    pub fn new(plans: &'a [Plan], events: impl Iterator<Item = (usize, Event)>) -> Self {
        let mut history = Self { plans, sent: vec![Vec::new(); plans.len()], acked: vec![Vec::new(); plans.len()] };
        for (place, event) in events {
            let (of, line, change) = match event {
                Event::Sent { line, change } => (&mut history.sent, line, change),
                Event::Acked { line, change } => (&mut history.acked, line, change),
                Event::AckedAfterCut | Event::Told { .. } => continue,
            };
            assert_eq!(of[line].len(), change, "changes happen in their order");
            of[line].push(place);
        }
        history
    }

    /// How many changes were acknowledged before this place of the log.
    pub fn acked_before(&self, cut: usize) -> usize {
        self.acked.iter().map(|places| before(places, cut)).sum()
    }

    /// What every connection had done by this place of the log: its changes, and at which places each
    /// was sent and acknowledged.
    pub fn tell(&self, cut: usize) -> String {
        let mut text = String::new();
        for (line, plan) in self.plans.iter().enumerate() {
            text.push_str(&format!("\nconnection {line}\n"));
            let (sent, acked) = (&self.sent[line], &self.acked[line]);
            for (n, change) in plan.changes[..before(sent, cut)].iter().enumerate() {
                let acked = acked.get(n).filter(|place| **place < cut);
                let acked = acked.map_or("under way".to_owned(), |place| format!("acknowledged {place}"));
                text.push_str(&format!("  {n}: sent {}, {acked}: {change:?}\n", sent[n]));
            }
        }
        text
    }

    /// Judges what is visible after a power cut at this place of the log.
    pub fn judge(&self, cut: usize, visible: &Visible) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut founds = vec![Visible::new(); self.plans.len()];
        for (path, found) in visible.iter().filter(|(path, _)| !is_hot(path)) {
            match line_of(path) {
                Some(line) if line < founds.len() => {
                    founds[line].insert(path.clone(), found.clone());
                }
                _ if *found == Found::Dir => {}
                _ => violations.push(Violation { wrong: Wrong::Torn, words: format!("{path} was never sent") }),
            }
        }
        for (line, found) in founds.iter().enumerate() {
            self.judge_line(line, cut, found, &mut violations);
        }
        self.judge_hot(cut, visible, &mut violations);
        violations
    }

    fn judge_line(&self, line: usize, cut: usize, found: &Visible, violations: &mut Vec<Violation>) {
        let (acked, sent) = (before(&self.acked[line], cut), before(&self.sent[line], cut));
        let plan = &self.plans[line];
        let mut may_be: Vec<Own> = plan.owns[acked..=sent].to_vec();
        if let Some(Change::Rename { over: Over::Nothing, .. }) = plan.changes[..sent].get(acked) {
            let mut both = may_be[0].clone();
            both.extend(may_be[1].clone());
            may_be.push(both);
        }
        if may_be.iter().any(|own| is_all(own, found)) {
            return;
        }
        if let Some(Change::Rename { to, .. }) = plan.changes[..sent].get(acked) {
            let mut gone = plan.owns[acked].clone();
            if gone.remove(to).is_some() && is_all(&gone, found) {
                let words = format!("connection {line}: in the middle of {:?}", plan.changes[acked]);
                return violations.push(Violation { wrong: Wrong::TargetGone, words });
            }
        }
        let count = violations.len();
        let mut paths: Vec<&String> = may_be.iter().flat_map(Own::keys).chain(found.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let here = found.get(path);
            let fits = |own: &Own| is(own.get(path), here);
            if may_be.iter().any(fits) {
                continue;
            }
            let wrong = match here {
                None => Wrong::Lost,
                Some(_) if !plan.owns.iter().any(fits) => Wrong::Torn,
                Some(_) if may_be.iter().all(|own| !own.contains_key(path)) => Wrong::Returned,
                Some(_) => Wrong::Stale,
            };
            let words = format!("{path}: {}, after {acked} changes it was {:?}", described(here), may_be[0].get(path));
            violations.push(Violation { wrong, words });
        }
        // Each name for itself is as it may be, but not together.
        if violations.len() == count && sent <= acked + 1 {
            let words = format!("connection {line}: in the middle of {:?}", plan.changes.get(acked));
            violations.push(Violation { wrong: Wrong::Vanished, words });
        }
    }

    fn judge_hot(&self, cut: usize, visible: &Visible, violations: &mut Vec<Violation>) {
        for name in 0..HOT_NAMES {
            let path = format!("/hot/hot-{name}");
            let place = |places: &[usize], n: usize| places.get(n).copied().unwrap_or(usize::MAX);
            // Every version: when it was sent, when acknowledged, what it is.
            let versions: Vec<(usize, usize, Content)> = (self.plans.iter().enumerate())
                .flat_map(|(line, plan)| plan.changes.iter().enumerate().map(move |(n, change)| (line, n, change)))
                .filter_map(|(line, n, change)| match change {
                    Change::Put { path: to, content, .. } if *to == path => {
                        Some((place(&self.sent[line], n), place(&self.acked[line], n), *content))
                    }
                    _ => None,
                })
                .filter(|(sent, ..)| *sent < cut)
                .collect();
            let newest_ack = versions.iter().filter(|(_, acked, _)| *acked < cut).map(|(sent, ..)| *sent).max();
            let here = visible.get(&path);
            let wrong = match here {
                None if newest_ack.is_none() => continue,
                None => Wrong::Lost,
                Some(found) => {
                    let matching =
                        || versions.iter().filter(|(.., content)| is(Some(&Node::File(*content)), Some(found)));
                    // Stale: another one was sent after the acknowledgement of this one, and is
                    // acknowledged itself.
                    if matching().any(|(_, acked, _)| newest_ack.is_none_or(|sent| sent < *acked)) {
                        continue;
                    }
                    if matching().next().is_some() { Wrong::Stale } else { Wrong::Torn }
                }
            };
            violations.push(Violation { wrong, words: format!("{path}: {}", described(here)) });
        }
    }
}

fn before(places: &[usize], cut: usize) -> usize {
    places.partition_point(|place| *place < cut)
}

fn is(node: Option<&Node>, found: Option<&Found>) -> bool {
    match (node, found) {
        (None, None) | (Some(Node::Dir), Some(Found::Dir)) => true,
        (Some(Node::File(content)), Some(Found::File(bytes))) => is_content(content, bytes),
        (Some(Node::Dated(content, mtime)), Some(Found::Dated(bytes, found))) => {
            mtime == found && is_content(content, bytes)
        }
        _ => false,
    }
}

fn is_content(content: &Content, bytes: &[u8]) -> bool {
    content.len == bytes.len() as u64 && content.matches(0, bytes)
}

fn is_all(own: &Own, found: &Visible) -> bool {
    own.len() == found.len() && own.iter().all(|(path, node)| is(Some(node), found.get(path)))
}

fn described(found: Option<&Found>) -> String {
    match found {
        None => "not there".to_owned(),
        Some(Found::Dir) => "a folder".to_owned(),
        Some(Found::File(bytes)) => format!("{} bytes", bytes.len()),
        Some(Found::Dated(bytes, mtime)) => format!("{} bytes of {mtime}", bytes.len()),
    }
}

#[cfg(test)]
mod tests;
