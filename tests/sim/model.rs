//! What each name may hold: the history of a register per key, judged at every read.
//!
//! A read returns the value of some write that had begun and was not overwritten before the read
//! began; what was seen once is never followed by what was there before it. After a crash the
//! value of the last acknowledged write, or of one that was tried since, is there. A value is
//! always one whole version.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::clients::hostile;
use crate::locks::Locks;
use crate::resumable::Resumable;

pub type Content = Rc<[u8]>;

/// How a write ended, as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    InFlight,
    /// Stored, it was said.
    Acked,
    /// The server said that something went wrong in itself: done or not, it is over.
    Unsure,
    /// No answer will come: it may still happen.
    Lost,
    /// Nothing was changed, it was said.
    Refused,
}

/// One change of one key, in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteId {
    epoch: u32,
    number: usize,
}

/// A read under way.
#[derive(Clone, Copy, Debug)]
pub struct ReadId {
    epoch: u32,
    start: u64,
}

/// How much of a value may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// This client's uploads end with a silence or a plain close, so any front part may be taken
    /// for all of it.
    AnyFront,
}

#[derive(Debug)]
struct Write {
    key: Rc<str>,
    /// `None` removes.
    value: Option<Content>,
    extent: Extent,
    start: u64,
    /// By then it is over.
    end: u64,
    fate: Fate,
    /// By then it had been read.
    seen: u64,
    /// Its client has shown the token of the lock.
    is_holders: bool,
    /// The next change of the name that its connection has requested and that was acknowledged.
    next: Option<usize>,
}

/// The last change of each name that was acknowledged on one connection: what is requested on it later comes after that.
#[derive(Debug, Default)]
pub struct Acknowledged(BTreeMap<Rc<str>, WriteId>);

impl Acknowledged {
    pub const NONE: Self = Self(BTreeMap::new());

    pub fn of(&self, key: &str) -> Option<WriteId> {
        self.0.get(key).copied()
    }
}

/// What a read showed.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    Absent,
    Bytes(&'a [u8]),
    /// Only its length.
    Len(u64),
    /// A part of this many bytes altogether.
    Part(u64, &'a [u8], u64),
}

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub struct Model {
    epoch: u32,
    clock: u64,
    writes: Vec<Write>,
    by_key: BTreeMap<Rc<str>, Vec<usize>>,
    /// Versions that a conditional write has replaced.
    replaced: BTreeMap<String, usize>,
    /// The content of each version that was the reply to an upload.
    versions: BTreeMap<String, Content>,
    /// Moves: what takes the old name away, and what gives the new one.
    moves: Vec<(usize, usize)>,
    /// Texts that may be kept in the inbox.
    pub messages: BTreeSet<Vec<u8>>,
    pub violations: Vec<String>,
    pub resumable: Resumable,
    pub locks: Locks,
    pub reads: u64,
    pub acks: u64,
}

impl Write {
    fn shows(&self, shown: Shown<'_>) -> bool {
        let any_front = self.extent == Extent::AnyFront;
        match (&self.value, shown) {
            (None, Shown::Absent) => true,
            (None, _) | (_, Shown::Absent) => false,
            (Some(value), Shown::Bytes(bytes)) => **value == *bytes || any_front && value.starts_with(bytes),
            (Some(value), Shown::Len(len)) => value.len() as u64 == len || any_front && len <= value.len() as u64,
            (Some(value), Shown::Part(start, bytes, total)) => {
                let start = start as usize;
                (value.len() as u64 == total || any_front && total <= value.len() as u64)
                    && value.get(start..start + bytes.len()) == Some(bytes)
            }
        }
    }

    fn over(&self) -> u64 {
        match self.fate {
            Fate::Acked | Fate::Unsure => self.end.min(self.seen),
            Fate::InFlight | Fate::Lost | Fate::Refused => self.seen,
        }
    }

    fn certain_by(&self) -> u64 {
        if self.fate == Fate::Acked { self.end.min(self.seen) } else { self.seen }
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            epoch: 0,
            clock: 0,
            writes: Vec::new(),
            by_key: BTreeMap::new(),
            replaced: BTreeMap::new(),
            versions: BTreeMap::new(),
            moves: Vec::new(),
            messages: BTreeSet::new(),
            violations: Vec::new(),
            resumable: Resumable::default(),
            locks: Locks::default(),
            reads: 0,
            acks: 0,
        }
    }

    const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn begin_write(&mut self, key: &str, value: Option<Content>, extent: Extent) -> WriteId {
        let start = self.tick();
        let key: Rc<str> = key.into();
        self.by_key.entry(Rc::clone(&key)).or_default().push(self.writes.len());
        self.writes.push(Write {
            key,
            value,
            extent,
            start,
            end: NEVER,
            fate: Fate::InFlight,
            seen: NEVER,
            is_holders: false,
            next: None,
        });
        WriteId { epoch: self.epoch, number: self.writes.len() - 1 }
    }

    pub fn end_write(&mut self, id: WriteId, fate: Fate) {
        let now = self.tick();
        if id.epoch == self.epoch {
            self.acks += u64::from(fate == Fate::Acked);
            let write = &mut self.writes[id.number];
            write.fate = fate;
            write.end = now;
            let lock = self.locks.against(&write.key, write.start).filter(|_| fate == Fate::Acked && !write.is_holders);
            if let Some(token) = lock {
                self.violations.push(format!("{}: {write} was made against the lock {token}", write.key));
            }
            if fate == Fate::Refused && write.seen != NEVER {
                let what = format!("{}: a write was refused, and has been read", write.key);
                self.wrong(what);
            }
        }
    }

    /// The same, on a connection on which these were acknowledged before.
    pub fn end_write_after(&mut self, id: WriteId, fate: Fate, before: &mut Acknowledged) {
        self.end_write(id, fate);
        if fate == Fate::Acked && id.epoch == self.epoch {
            let key = Rc::clone(&self.writes[id.number].key);
            if let Some(last) = before.0.insert(key, id).filter(|last| last.epoch == id.epoch) {
                self.writes[last.number].next = Some(id.number);
            }
        }
    }

    /// A later change of the connection came before this read, or is the one that it came after.
    fn was_replaced(&self, write: &Write, start: u64, after: Option<usize>) -> bool {
        write.next.is_some_and(|number| {
            let next = &self.writes[number];
            next.certain_by() < start || after == Some(number) || self.was_replaced(next, start, after)
        })
    }

    /// It shows the token of a lock.
    pub fn shows_token(&mut self, id: WriteId) {
        self.writes[id.number].is_holders = true;
    }

    /// A lock was granted, by a request of that time that makes an empty file where nothing is, or renewed.
    pub fn granted(&mut self, token: &str, key: &str, new: Option<WriteId>, (requested_us, seconds): (u64, u64)) {
        let answered = self.tick();
        let start = new.filter(|id| id.epoch == self.epoch).map(|id| self.writes[id.number].start);
        if let Some(other) = start.and_then(|start| self.locks.against(key, start)) {
            self.violations.push(format!("{key}: the lock {token} was granted against the lock {other}"));
        }
        self.locks.granted(token, key, answered, requested_us, seconds);
    }

    /// Its client may have ended it early: front parts may be taken for the whole.
    pub fn was_cut(&mut self, id: WriteId) {
        if id.epoch == self.epoch {
            self.writes[id.number].extent = Extent::AnyFront;
        }
    }

    pub const fn begin_read(&mut self) -> ReadId {
        ReadId { epoch: self.epoch, start: self.tick() }
    }

    /// The read showed this. False, and a violation, if it may not.
    pub fn end_read(&mut self, id: ReadId, key: &str, shown: Shown<'_>) -> bool {
        self.end_read_after(id, None, key, shown)
    }

    /// The same of a read that was requested after this change on the same connection.
    // covers: replaced-by-many
    pub fn end_read_after(&mut self, id: ReadId, after: Option<WriteId>, key: &str, shown: Shown<'_>) -> bool {
        self.reads += 1;
        let now = self.tick();
        if id.epoch != self.epoch {
            return true;
        }
        let history = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        let writes = || history.iter().map(|number| (*number, &self.writes[*number]));
        let certain = writes().filter(|(_, w)| w.certain_by() < id.start);
        let after = after.filter(|after| after.epoch == self.epoch).map(|after| after.number);
        let newest =
            certain.map(|(_, w)| w.start).chain(after.map(|after| self.writes[after].start)).max().unwrap_or(0);
        let possible = |w: &Write| {
            w.fate != Fate::Refused && w.over() > newest && !self.was_replaced(w, id.start, after) && w.shows(shown)
        };
        // Before the first write there is nothing.
        let initial = matches!(shown, Shown::Absent) && newest == 0;
        let found: Vec<usize> = writes().filter(|(_, w)| possible(w)).map(|(number, _)| number).collect();
        if let ([only], false) = (&found[..], initial) {
            let write = &mut self.writes[*only];
            write.seen = write.seen.min(now);
        }
        let good = initial || !found.is_empty();
        if !good {
            let known: Vec<String> = history.iter().map(|number| self.writes[*number].to_string()).collect();
            let what = format!("{key}: read {} at {}..{now}, but: {}", tell(shown), id.start, known.join("; "));
            self.wrong(what);
        }
        good
    }

    /// This upload was acknowledged as this version.
    pub fn stored_as(&mut self, id: WriteId, etag: &str) {
        let write = self.writes.get(id.number).filter(|write| id.epoch == self.epoch && write.extent == Extent::Whole);
        if let Some(value) = write.and_then(|write| write.value.clone()) {
            self.read_as(etag, &value);
            self.versions.insert(etag.to_owned(), value);
        }
    }

    /// This version was read, and has this content.
    pub fn read_as(&mut self, etag: &str, bytes: &[u8]) {
        if let Some(value) = self.versions.get(etag).filter(|value| ***value != *bytes) {
            let (stored, read) = (label(value), label(bytes));
            self.wrong(format!("version {etag} was that of an upload of {stored}, and is {read}"));
        }
    }

    /// These two are one move.
    pub fn moves(&mut self, from: WriteId, to: WriteId) {
        self.moves.push((from.number, to.number));
    }

    /// A move must not lose what it moves: gone from its old name, it is at the new one, or
    /// something that came there later is.
    fn check_moves(&mut self, found: &BTreeMap<String, Vec<u8>>) {
        for (from, to) in std::mem::take(&mut self.moves) {
            let (from, to) = (&self.writes[from], &self.writes[to]);
            let stored = self.by_key[&from.key].iter().any(|number| self.writes[*number].fate == Fate::Acked);
            if from.fate == Fate::Refused || !stored || found.contains_key(&*from.key) {
                continue;
            }
            let shown = found.get(&*to.key).map_or(Shown::Absent, |bytes| Shown::Bytes(bytes));
            let since = |w: &Write| w.shows(shown) && (w.fate != Fate::Acked || w.end > to.start);
            if !self.by_key[&to.key].iter().any(|number| since(&self.writes[*number])) {
                let what = format!("{} was moved to {} and is at neither, which has {}", from.key, to.key, tell(shown));
                self.violations.push(what);
            }
        }
    }

    /// A conditional change of this version succeeded: it was there, and no other change replaced it.
    pub fn replaced(&mut self, id: WriteId, etag: &str) {
        if let Some(before) = self.replaced.insert(etag.to_owned(), id.number)
            && id.epoch == self.epoch
        {
            let key = Rc::clone(&self.writes[id.number].key);
            self.wrong(format!("{key}: version {etag} was replaced twice ({before} and {})", id.number));
        }
    }

    /// True if this certainly existed during the whole of this read.
    pub fn is_there(&self, id: ReadId, key: &str) -> Option<bool> {
        let writes = self.by_key.get(key)?.iter().map(|number| &self.writes[*number]);
        let newest = writes.clone().filter(|w| w.certain_by() < id.start).map(|w| w.start).max().unwrap_or(0);
        let mut possible = writes.filter(|w| w.fate != Fate::Refused && w.over() > newest).peekable();
        if id.epoch != self.epoch || newest == 0 || possible.peek().is_none() {
            return None;
        }
        let there: Vec<bool> = possible.map(|w| w.value.is_some()).collect();
        (there.iter().all(|one| *one == there[0])).then_some(there[0])
    }

    pub fn keys(&self) -> Vec<Rc<str>> {
        self.by_key.keys().cloned().collect()
    }

    /// Names that no client chose: messages kept, uploads that were cut in their name or after it.
    fn is_known_odd(&self, key: &str, bytes: &[u8]) -> bool {
        if let Some(name) = key.strip_prefix("inbox/") {
            return name.ends_with(".json") || self.messages.contains(bytes);
        }
        // The menu reads its words and the name after them without a mark between.
        let spoken =
            |known: &str| format!("sendtext{known}").contains(key) || format!("sendimage{known}").contains(key);
        key.ends_with(".part") || self.by_key.keys().any(|known| spoken(known))
    }

    /// True if what is found after a crash is allowed.
    fn judge(&mut self, found: &BTreeMap<String, Vec<u8>>) {
        for (key, history) in &self.by_key {
            let shown = found.get(&**key).map_or(Shown::Absent, |bytes| Shown::Bytes(bytes));
            let writes = || history.iter().map(|number| &self.writes[*number]);
            let newest = writes().filter(|w| w.fate == Fate::Acked).map(|w| w.start).max().unwrap_or(0);
            let over = |w: &Write| if matches!(w.fate, Fate::Acked | Fate::Unsure) { w.end } else { NEVER };
            let possible =
                |w: &Write| w.fate != Fate::Refused && w.next.is_none() && over(w) > newest && w.shows(shown);
            let initial = matches!(shown, Shown::Absent) && newest == 0;
            if !initial && !writes().any(possible) {
                let known: Vec<String> = writes().map(ToString::to_string).collect();
                self.violations.push(format!(
                    "{key}: after a crash {} is there, but: {}",
                    tell(shown),
                    known.join("; ")
                ));
            }
        }
        let unwritten = self
            .unwritten(found)
            .map(|(key, bytes)| format!("{key}: nobody wrote this, and it is there after a crash: {}", label(bytes)));
        let unwritten = Vec::from_iter(unwritten);
        self.violations.extend(unwritten);
    }

    /// What is found under names that no client wrote.
    fn unwritten<'a>(&self, found: &'a BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = (&'a String, &'a Vec<u8>)> {
        found.iter().filter(|(key, bytes)| {
            !self.by_key.contains_key(&***key)
                && !self.is_known_odd(key, bytes)
                && !hostile::may_have_stored(key, bytes)
        })
    }

    /// The server was killed and the system lives: whatever was under way is over, and what is
    /// found stays, though only what was acknowledged must survive a power cut.
    pub fn killed(&mut self, found: &BTreeMap<String, Vec<u8>>) {
        self.judge(found);
        let now = self.tick();
        for write in &mut self.writes {
            if matches!(write.fate, Fate::InFlight | Fate::Lost) {
                (write.fate, write.end) = (Fate::Unsure, now);
            }
        }
        for key in self.keys() {
            let read = self.begin_read();
            let shown = found.get(&*key).map_or(Shown::Absent, |bytes| Shown::Bytes(bytes));
            self.end_read(read, &key, shown);
        }
    }

    /// The power was cut; this is what was found then. `durable` says whether acknowledged writes
    /// must have survived. Whatever is found is what there is from now on.
    pub fn crashed(&mut self, found: &BTreeMap<String, Vec<u8>>, durable: bool) {
        if durable {
            self.judge(found);
            self.check_moves(found);
        } else {
            self.resumable.forget();
            self.locks.forget();
        }
        self.replaced.clear();
        self.versions.clear();
        self.moves.clear();
        // What a cut has torn without breaking a promise stays as it is.
        self.messages.extend(found.iter().filter(|(key, _)| key.starts_with("inbox/")).map(|(_, bytes)| bytes.clone()));
        // Where nothing is synced, a cut may leave the files of a folder under the name that it had before a move.
        let unwritten = Vec::from_iter(self.unwritten(found).map(|(key, _)| Rc::from(&**key)));
        self.epoch += 1;
        self.writes.clear();
        let keys = std::mem::take(&mut self.by_key);
        for key in keys.keys().chain(&unwritten) {
            let value = found.get(&**key).map(|bytes| Content::from(&bytes[..]));
            let id = self.begin_write(key, value, Extent::Whole);
            self.shows_token(id);
            self.end_write(id, Fate::Acked);
            self.acks -= 1;
        }
    }
}

fn tell(shown: Shown<'_>) -> String {
    match shown {
        Shown::Absent => "nothing".to_owned(),
        Shown::Bytes(bytes) => format!("{} bytes {}", bytes.len(), label(bytes)),
        Shown::Len(len) => format!("{len} bytes"),
        Shown::Part(start, bytes, total) => format!("{}+{} of {total} bytes", start, bytes.len()),
    }
}

fn label(bytes: &[u8]) -> String {
    bytes.iter().take(24).map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '.' }).collect()
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.as_ref().map_or(Shown::Absent, |bytes| Shown::Bytes(bytes));
        let at = |time: u64| if time == NEVER { "-".to_owned() } else { time.to_string() };
        write!(f, "[{}..{} seen {}] {:?} {}", self.start, at(self.end), at(self.seen), self.fate, tell(value))
    }
}
