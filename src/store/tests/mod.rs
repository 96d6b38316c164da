//! The store against a real directory, one body for every mode: with all of Linux and with what
//! every unix has, durable and not. No test sleeps; a watchdog ends one that waits for ever.

mod cache;
#[cfg(target_os = "linux")]
mod copies;
mod dav_records;
mod deferred_unlink;
mod digests;
mod inherited;
mod listing;
#[cfg(target_os = "linux")]
mod locks;
#[cfg(target_os = "linux")]
mod mounts;
mod names;
#[cfg(all(target_os = "linux", feature = "webdav"))]
mod properties;
#[cfg(target_os = "linux")]
mod quota_faults;
mod quotas;
mod reading;
mod recovery;
#[cfg(target_os = "linux")]
mod remote;
#[cfg(target_os = "linux")]
mod replaced_root;
mod resumable;
mod sorted;
mod space;
#[cfg(target_os = "linux")]
mod syncs;
mod times;
mod trash;
mod tree;
mod uploads;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::buffer::Chunk;
use crate::command::{Answer, Put, Whole};
use crate::config::{Fixed, StoreConfig};
use crate::error::Failure;
use crate::ids::{ConnId, FileId, OpId};
use crate::object::{Details, Durability, ExpectedKind, Key, Listing, Meta, MissingParents, Node, Precondition};
use crate::order::Order;
use crate::platform::{Completion, Op, Outcome, Permit, Source, Store};
use crate::store::DiskStore;
use crate::store::fs::sync::{Calls, Scope, SyncCalls};
use crate::wire::key::relative;

const CONN: OpId = OpId { conn: ConnId::new(0, 0), number: 0 };
/// A file in new directories waits for a sync of each of them, and a sync may take seconds.
const WATCHDOG: Duration = Duration::from_secs(300);

/// A store and its bell.
struct Bench {
    store: DiskStore,
    bell: Receiver<()>,
    root: PathBuf,
    inline: bool,
}

fn modes() -> Vec<StoreConfig> {
    let mut modes = Vec::new();
    for portable in [false, true] {
        for durability in [Durability::Durable, Durability::Written] {
            modes.push(StoreConfig { durability, portable, ..StoreConfig::default() });
        }
    }
    modes
}

/// As if the file system had to be synced as a whole; nothing is.
const EVERYTHING: SyncCalls = SyncCalls { content: |_, _| Ok(()), names: |_| Ok(()), scope: Scope::Everything };

/// Runs a body in a fresh directory, in every mode, with every way to sync.
fn in_every_mode(body: impl Fn(&mut Bench)) {
    let as_it_is = modes().into_iter().map(|config| (config, None));
    for (config, sync) in as_it_is.chain([(StoreConfig::default(), Some(EVERYTHING))]) {
        let dir = TempDir::new().unwrap();
        let mut bench = Bench::open_synced_by(dir.path(), &config, Fixed::default(), |root| {
            sync.unwrap_or_else(|| SyncCalls::of(root))
        });
        body(&mut bench);
        let made = bench.store.pool.volume.names.parents.unsynced.0.lock().unwrap();
        assert!(made.parents.is_empty() && made.moves.is_empty(), "{config:?}: folders owe a sync");
        drop(made);
        drop(bench);
        let left: Vec<_> = std::fs::read_dir(dir.path().join(".filewharf/staging")).into_iter().flatten().collect();
        assert!(left.is_empty(), "{config:?}: {left:?}");
    }
}

fn key(name: &str) -> Key {
    if name.is_empty() { Key::root() } else { relative(name).unwrap() }
}

fn put(name: &str, len: Option<u64>, precondition: Precondition) -> Put {
    Put { precondition, ..Put::new(key(name), len) }
}

fn chunk(bytes: &[u8]) -> Chunk {
    let mut chunk = Chunk::new(bytes.len().max(1));
    chunk.fill(bytes);
    chunk
}

impl Bench {
    fn open(root: &Path, config: &StoreConfig) -> Self {
        Self::open_limited(root, config, Fixed::default())
    }

    fn open_limited(root: &Path, config: &StoreConfig, limits: Fixed) -> Self {
        Self::open_synced_by(root, config, limits, SyncCalls::of)
    }

    fn open_synced_by<C: Into<Calls>>(
        root: &Path,
        config: &StoreConfig,
        limits: Fixed,
        calls: impl FnOnce(BorrowedFd<'_>) -> C,
    ) -> Self {
        let (tx, bell) = channel();
        let wake = Arc::new(move || {
            let _ = tx.send(());
        });
        let limits = Fixed { io_workers: 2, sync_workers: 3, ..limits };
        let mut store = DiskStore::open_synced_by(root, config, &limits, wake, calls).unwrap();
        // An answer at once, unless a test is about the wait.
        store.take_overs.within = Duration::ZERO;
        Self { store, bell, root: root.to_owned(), inline: true }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn next(&mut self) -> Completion {
        loop {
            if let Some(done) = self.store.next_completion() {
                return done;
            }
            self.bell.recv_timeout(WATCHDOG).expect("a completion in time");
        }
    }

    fn complete(&mut self, op: Op) -> Completion {
        let op = if self.inline {
            match self.store.try_now(CONN, op) {
                Ok(done) => return done,
                Err(op) => op,
            }
        } else {
            op
        };
        self.store.submit(CONN, None, op);
        self.next()
    }

    /// As if a request had come for it.
    fn run(&mut self, op: Op) -> Result<Outcome, Failure> {
        self.store.received();
        self.complete(op).result.map_err(|error| error.failure)
    }

    fn create(&mut self, name: &str, len: Option<u64>, precondition: Precondition) -> Result<FileId, Failure> {
        match self.run(Op::Create(put(name, len, precondition)))? {
            Outcome::Created(file) => Ok(file),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, file: FileId, name: &str, len: u64, precondition: Precondition) -> Result<Meta, Failure> {
        match self.run(Op::Commit {
            file,
            key: key(name),
            len,
            prepend: Box::default(),
            mtime: None,
            precondition,
            digest: None,
        })? {
            Outcome::Committed(stored) => Ok(stored.meta),
            other => panic!("{other:?}"),
        }
    }

    fn store_file(&mut self, name: &str, bytes: &[u8], precondition: Precondition) -> Result<Meta, Failure> {
        let done = self.complete(Op::Store { put: Box::new(put(name, None, precondition)), chunk: chunk(bytes) });
        assert!(done.chunk.is_some(), "the chunk comes back");
        match done.result.map_err(|error| error.failure)? {
            Outcome::Committed(stored) => Ok(stored.meta),
            other => panic!("{other:?}"),
        }
    }

    fn open_file(&mut self, name: &str) -> Result<(FileId, Meta, Source), Failure> {
        match self.run(Op::Open { key: key(name) })? {
            Outcome::Opened { file, meta, source } => Ok((file, meta, source)),
            other => panic!("{other:?}"),
        }
    }

    fn stat(&mut self, name: &str) -> Result<Node, Failure> {
        match self.run(Op::Run(Whole::Stat { key: key(name) }))? {
            Outcome::Answered(Answer::Found(node)) => Ok(node),
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, name: &str, after: Option<&str>, limit: usize) -> Result<Listing, Failure> {
        let op = Op::List {
            key: key(name),
            recursive: false,
            order: Order::default(),
            after: after.map(Into::into),
            limit,
            bytes_max: 1 << 20,
            details: Details::default(),
            hides: None,
        };
        match self.run(op)? {
            Outcome::Listed(listing) => Ok(listing),
            other => panic!("{other:?}"),
        }
    }

    fn names(&mut self, name: &str) -> Vec<String> {
        self.list(name, None, 1000).unwrap().entries.into_iter().map(|entry| entry.name.into()).collect()
    }

    fn delete(&mut self, name: &str, precondition: Precondition) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::Delete {
            key: key(name),
            is_recursive: false,
            expected_kind: ExpectedKind::Either,
            precondition,
        }))
    }

    fn delete_dir(&mut self, name: &str) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::Delete {
            key: key(name),
            is_recursive: false,
            expected_kind: ExpectedKind::Dir,
            precondition: Precondition::None,
        }))
    }

    fn make(&mut self, name: &str) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::MakeDir { key: key(name), parents: MissingParents::Make }))
    }

    fn rename(&mut self, from: &str, to: &str, precondition: Precondition) -> Result<Outcome, Failure> {
        self.run(Op::Run(Whole::Rename {
            from: key(from),
            to: key(to),
            precondition,
            parents: MissingParents::Make,
            replaces_dir: false,
            len_max: None,
        }))
    }

    /// Everything through the workers, as the reactor reads a file that is `Held`.
    fn content(&mut self, name: &str) -> Vec<u8> {
        let (file, meta, _) = self.open_file(name).unwrap();
        let mut all = Vec::new();
        loop {
            let op = Op::Read { file, offset: all.len() as u64, len: 1000, chunk: Chunk::new(1000) };
            let done = self.complete(op);
            assert!(matches!(done.result, Ok(Outcome::Read)));
            let chunk = done.chunk.unwrap();
            if chunk.is_empty() {
                break;
            }
            all.extend_from_slice(chunk.data());
        }
        assert_eq!(meta.len, all.len() as u64);
        assert!(matches!(self.run(Op::Close { file }), Ok(Outcome::Closed)));
        all
    }

    /// Names in our staging directory besides the lock.
    fn staged(&self) -> usize {
        let base = self.path(".filewharf/staging");
        let files = std::fs::read_dir(base)
            .unwrap()
            .flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap().map(|file| file.unwrap().file_name()));
        files.filter(|name| name != "LOCK").count()
    }
}

fn fifo(path: &Path) {
    let dir: OwnedFd = std::fs::OpenOptions::new().read(true).open(path.parent().unwrap()).unwrap().into();
    let name = path.file_name().unwrap();
    rustix::fs::mknodat(&dir, name, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
}

fn is_conflict<T>(result: &Result<T, Failure>) -> bool {
    matches!(result, Err(Failure::Conflict(_)))
}
