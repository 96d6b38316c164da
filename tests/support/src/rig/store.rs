//! The store of the platform in memory: a map from names to contents, and what is open.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use filewharf::buffer::Chunk;
use filewharf::error::{Failure, StoreError};
use filewharf::ids::{ConnId, FileId};
use filewharf::object::{
    Durability, Entry, Etag, ExpectedKind, Key, Listing, Meta, Node, Placed, Precondition, Stored,
};
use filewharf::platform::{Completion, Health, Op, Outcome, Queued, ReadNow, Source, Store};

use super::Mode;

#[derive(Clone, Debug)]
pub struct StoredFile {
    pub bytes: Rc<Vec<u8>>,
    meta: Meta,
}

pub enum Open {
    Staged(Vec<u8>),
    Served(StoredFile),
}

/// What has become of the files since they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    None,
    /// Cut down to so many bytes.
    Short(usize),
    Unreadable,
    /// Nothing more can be written.
    Full,
}

/// What is remembered of files is good until bytes are received, as of the real store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    UpToDate,
    MayBeOld,
}

/// Files that others have replaced, and the store has not been asked since.
pub type ByOthers = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

pub struct MemStore {
    pub mode: Mode,
    pub damage: Damage,
    pub health: Health,
    pub files: BTreeMap<String, StoredFile>,
    pub by_others: ByOthers,
    dirs: BTreeSet<String>,
    /// Files that were opened, as they were then.
    remembered: BTreeMap<String, StoredFile>,
    memory: Memory,
    pub open: BTreeMap<FileId, Open>,
    next: u64,
    versions: u64,
    pub done: VecDeque<Completion>,
    /// What ended last is reported first.
    pub reversed: bool,
}

fn refused(failure: Failure) -> StoreError {
    StoreError::refused(failure, "memory")
}

impl MemStore {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            damage: Damage::None,
            health: Health::Good,
            files: BTreeMap::new(),
            by_others: ByOthers::default(),
            dirs: BTreeSet::new(),
            remembered: BTreeMap::new(),
            memory: Memory::UpToDate,
            open: BTreeMap::new(),
            next: 0,
            versions: 0,
            done: VecDeque::new(),
            reversed: false,
        }
    }

    fn is_dir(&self, key: &Key) -> bool {
        let inside = format!("{key}/")[1..].to_owned();
        key.is_root() || self.dirs.contains(key.as_str()) || self.files.keys().any(|name| name.starts_with(&inside))
    }

    fn check(&self, key: &Key, precondition: &Precondition) -> Result<(), StoreError> {
        if precondition.holds(self.files.get(key.as_str()).map(|file| &file.meta)) {
            Ok(())
        } else {
            Err(refused(Failure::PreconditionFailed))
        }
    }

    /// Puts a file there before a conversation begins.
    pub fn place(&mut self, key: &str, bytes: &[u8], mtime: Option<i64>) {
        let key = filewharf::wire::key::relative(key).expect("a good name");
        self.publish(&key, bytes.to_vec(), mtime);
    }

    /// The names of all stored files.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Every change of a file makes one, a move among them.
    fn next_version(&mut self) -> Etag {
        self.versions += 1;
        let mut tag = [0; 16];
        tag[8..].copy_from_slice(&self.versions.to_be_bytes());
        Etag(tag)
    }

    fn publish(&mut self, key: &Key, bytes: Vec<u8>, mtime: Option<i64>) -> Stored {
        let etag = self.next_version();
        let meta = Meta { len: bytes.len() as u64, mtime: mtime.unwrap_or(1_700_000_000), etag };
        let before = self.files.insert(key.as_str().to_owned(), StoredFile { bytes: Rc::new(bytes), meta });
        let placed = if before.is_some() { Placed::Replaced } else { Placed::New };
        Stored { meta, durability: Durability::Durable, placed }
    }

    fn file_id(&mut self, open: Open) -> FileId {
        self.next += 1;
        self.open.insert(FileId(self.next), open);
        FileId(self.next)
    }

    fn staged(&mut self, file: FileId) -> &mut Vec<u8> {
        match self.open.get_mut(&file) {
            Some(Open::Staged(bytes)) => bytes,
            _ => panic!("{file:?} is no staging file"),
        }
    }

    fn put_at(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let (staged, at) = (self.staged(file), offset as usize);
        staged.resize(staged.len().max(at + bytes.len()), 0);
        staged[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What can be read of an open file from `offset` on.
    pub fn readable(&self, file: FileId, offset: usize) -> Result<&[u8], StoreError> {
        let bytes = &self.served(file).bytes;
        let len = match self.damage {
            Damage::None | Damage::Full => bytes.len(),
            Damage::Short(len) => len.min(bytes.len()),
            Damage::Unreadable => return Err(refused(Failure::Internal)),
        };
        Ok(&bytes[offset.min(len)..len])
    }

    pub fn served(&self, file: FileId) -> &StoredFile {
        match &self.open[&file] {
            Open::Served(file) => file,
            Open::Staged(_) => panic!("{file:?} is a staging file"),
        }
    }

    fn node(&self, key: &Key) -> Result<Node, StoreError> {
        match self.files.get(key.as_str()) {
            Some(file) => Ok(Node::File(file.meta)),
            None if self.is_dir(key) => Ok(Node::Dir { mtime: 1_600_000_000 }),
            None => Err(refused(Failure::NotFound)),
        }
    }

    fn list(&self, key: &Key, after: Option<&str>, limit: usize, bytes_max: usize) -> Result<Listing, StoreError> {
        match self.node(key)? {
            Node::File(_) => return Err(refused(Failure::Conflict("that is a file"))),
            Node::Dir { .. } => {}
        }
        let prefix = if key.is_root() { String::new() } else { format!("{}/", key.as_str()) };
        let names: BTreeSet<&str> = (self.files.keys().chain(&self.dirs))
            .filter_map(|name| name.strip_prefix(&prefix))
            .filter_map(|name| name.split('/').next())
            .filter(|name| !name.is_empty() && after.is_none_or(|after| *name > after))
            .collect();
        let mut listing = Listing { entries: Vec::new(), more: false };
        let mut bytes = 0;
        for name in names {
            bytes += name.len() + 96;
            if listing.entries.len() == limit || (bytes > bytes_max && !listing.entries.is_empty()) {
                listing.more = true;
                break;
            }
            let node = match self.files.get(&format!("{prefix}{name}")) {
                Some(file) => Node::File(file.meta),
                None => Node::Dir { mtime: 1_600_000_000 },
            };
            listing.entries.push(Entry { name: name.into(), node });
        }
        Ok(listing)
    }

    fn open(&mut self, key: &Key) -> Result<Outcome, StoreError> {
        match self.node(key)? {
            Node::File(_) => {
                let file = self.files[key.as_str()].clone();
                self.remembered.insert(key.as_str().to_owned(), file.clone());
                Ok(self.opened(file))
            }
            Node::Dir { .. } => Err(refused(Failure::Conflict("that is a folder"))),
        }
    }

    fn opened(&mut self, file: StoredFile) -> Outcome {
        let (meta, source) = (file.meta, if self.mode.held { Source::Held } else { Source::Direct });
        Outcome::Opened { file: self.file_id(Open::Served(file)), meta, source }
    }

    /// What is remembered of the file that is to be opened, if that counts.
    fn recall(&mut self, op: &Op) -> Option<StoredFile> {
        if self.memory == Memory::MayBeOld {
            self.remembered.clear();
            self.memory = Memory::UpToDate;
        }
        let Op::Open { key } = op else { return None };
        self.remembered.get(key.as_str()).cloned()
    }

    /// What others did is there, whether the server has asked or not.
    fn hear_of_others(&mut self) {
        for (name, bytes) in self.by_others.take() {
            let meta = Meta { len: bytes.len() as u64, mtime: 1_700_000_000, etag: self.next_version() };
            self.files.insert(name, StoredFile { bytes: Rc::new(bytes), meta });
        }
    }

    fn delete(
        &mut self,
        key: &Key,
        expected_kind: ExpectedKind,
        precondition: &Precondition,
    ) -> Result<Outcome, StoreError> {
        if let (ExpectedKind::Dir, Node::File(_)) = (expected_kind, self.node(key)?) {
            return Err(refused(Failure::Conflict("that is a file")));
        }
        self.check(key, precondition)?;
        self.files.remove(key.as_str());
        self.dirs.remove(key.as_str());
        Ok(Outcome::Deleted)
    }

    fn run(&mut self, op: Op) -> (Result<Outcome, StoreError>, Option<Chunk>) {
        if matches!(op, Op::Commit { .. } | Op::Delete { .. } | Op::Rename { .. } | Op::Store { .. }) {
            self.remembered.clear();
        }
        let result = match op {
            Op::Abort { file } => {
                assert!(self.open.remove(&file).is_some(), "{file:?} aborted twice");
                Ok(Outcome::Aborted)
            }
            Op::Close { file } => {
                assert!(self.open.remove(&file).is_some(), "{file:?} closed twice");
                Ok(Outcome::Closed)
            }
            Op::Commit { file, key, len, prepend, mtime, precondition } => {
                assert_eq!(self.staged(file).len() as u64, len, "the commit names another length than was written");
                self.staged(file).splice(..0, prepend);
                self.commit(file, &key, mtime, &precondition)
            }
            Op::Create(put) => match self.node(&put.key) {
                Ok(Node::Dir { .. }) => Err(refused(Failure::Conflict("a folder has that name"))),
                _ => self
                    .check(&put.key, &put.precondition)
                    .map(|()| Outcome::Created(self.file_id(Open::Staged(Vec::new())))),
            },
            Op::Delete { key, expected_kind, precondition } => self.delete(&key, expected_kind, &precondition),
            Op::Flush { .. } => Ok(Outcome::Flushed),
            Op::List { .. } if self.damage == Damage::Unreadable => Err(refused(Failure::Internal)),
            Op::List { key, after, limit, bytes_max } => {
                self.list(&key, after.as_deref(), limit, bytes_max).map(Outcome::Listed)
            }
            Op::MakeDir { key } => {
                self.dirs.insert(key.as_str().to_owned());
                Ok(Outcome::Made)
            }
            Op::Open { key } => self.open(&key),
            Op::Read { file, offset, len, mut chunk } => {
                let read = self.readable(file, offset as usize).map(|bytes| {
                    chunk.fill(&bytes[..bytes.len().min(len)]);
                    Outcome::Read
                });
                return (read, Some(chunk));
            }
            Op::Rename { from, to, precondition } => self.check(&to, &precondition).and_then(|()| {
                let mut file = self.files.remove(from.as_str()).ok_or(refused(Failure::NotFound))?;
                file.meta.etag = self.next_version();
                self.files.insert(to.as_str().to_owned(), file);
                Ok(Outcome::Renamed)
            }),
            Op::Stat { key } => self.node(&key).map(Outcome::Found),
            Op::Store { put, chunk } => {
                let result = match self.node(&put.key) {
                    Ok(Node::Dir { .. }) => Err(refused(Failure::Conflict("a folder has that name"))),
                    _ => self
                        .check(&put.key, &put.precondition)
                        .map(|()| Outcome::Committed(self.publish(&put.key, chunk.data().to_vec(), put.mtime))),
                };
                return (result, Some(chunk));
            }
            Op::Warm { .. } => Ok(Outcome::Warmed),
            Op::Write { file, offset, chunk } => {
                self.put_at(file, offset, chunk.data());
                return (Ok(Outcome::Written), Some(chunk));
            }
        };
        (result, None)
    }

    fn commit(
        &mut self,
        file: FileId,
        key: &Key,
        mtime: Option<i64>,
        precondition: &Precondition,
    ) -> Result<Outcome, StoreError> {
        let bytes = std::mem::take(self.staged(file));
        self.open.remove(&file);
        self.check(key, precondition)?;
        Ok(Outcome::Committed(self.publish(key, bytes, mtime)))
    }
}

impl Store for MemStore {
    fn try_now(&mut self, conn: ConnId, op: Op) -> Result<Completion, Op> {
        if self.mode.deferred {
            return Err(op);
        }
        self.hear_of_others();
        if let Some(file) = self.recall(&op) {
            return Ok(Completion { conn, result: Ok(self.opened(file)), chunk: None });
        }
        let (result, chunk) = self.run(op);
        Ok(Completion { conn, result, chunk })
    }

    fn submit(&mut self, conn: ConnId, op: Op) {
        self.hear_of_others();
        let (result, chunk) = self.run(op);
        self.done.push_back(Completion { conn, result, chunk });
    }

    fn next_completion(&mut self) -> Option<Completion> {
        if self.reversed { self.done.pop_back() } else { self.done.pop_front() }
    }

    fn received(&mut self) {
        self.memory = Memory::MayBeOld;
    }

    fn is_lagging(&self) -> bool {
        self.mode.lags
    }

    fn write_now(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        if self.damage == Damage::Full {
            return Err(refused(Failure::NoSpace));
        }
        self.put_at(file, offset, bytes);
        Ok(())
    }

    fn read_now(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<ReadNow, StoreError> {
        let bytes = self.readable(file, offset as usize)?;
        let n = buf.len().min(bytes.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(ReadNow::Bytes(n))
    }

    fn flush_window(&self) -> Option<u64> {
        Some(5)
    }

    fn health(&self) -> Health {
        self.health
    }

    fn queued(&self) -> Queued {
        Queued { in_flight: self.done.len() as u64, ..Queued::default() }
    }
}
